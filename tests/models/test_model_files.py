"""Saving and loading, models from outside, and files that must be refused."""

import json
import pickle
import re
import warnings

import pytest
import torch
from torch import nn

from surefoot.models import build, fingerprint, load, open_model, save


@pytest.fixture
def saved(tmp_path):
    model = build("lipschitz-mlp", inputs=9, hidden=(4,), classes=3, normalize=((0.5,), (0.2,)))
    save(model, tmp_path / "run", note="hello")
    return model.eval(), tmp_path / "run"


def test_a_saved_model_comes_back_equal(saved):
    model, folder = saved
    images = torch.rand(4, 1, 3, 3)
    again = load(folder)
    assert torch.equal(again(images), model(images))
    assert fingerprint(again) == fingerprint(model)
    assert json.loads((folder / "config.json").read_text())["note"] == "hello"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_fingerprints_tell_weights_apart():
    first, second = build("mlp", inputs=4), build("mlp", inputs=4)
    assert fingerprint(first) != fingerprint(second)


def make_tiny():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


def make_nothing():
    return None


def test_a_factory_with_weights(tmp_path, monkeypatch):
    model = make_tiny()
    save(model, tmp_path)
    (tmp_path / "mymodels.py").write_text(
        "from torch import nn\n"
        "def tiny():\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))\n"
        "def nothing():\n    return None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = open_model("mymodels:tiny", tmp_path / "model.safetensors")
    images = torch.rand(3, 1, 2, 2)
    assert torch.equal(found(images), model(images))
    with pytest.raises(ValueError, match="must return"):
        open_model("mymodels:nothing")
    with pytest.raises(ValueError, match="cannot import"):
        open_model("mymodels:absent")
    with pytest.raises(ValueError, match="does not say how to build"):
        load(tmp_path)


def export(path):
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        make_tiny().eval(), (torch.rand(2, 1, 2, 2),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, path)
    return program.module()


def script(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript old
        traced = torch.jit.trace(make_tiny().eval(), torch.rand(2, 1, 2, 2))
        torch.jit.save(traced, path)
    return traced


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "name"),
    [(export, "net.pt2"), (script, "net.ts"), (script, "net.torchscript"), (script, "net.pt")],
)
def test_a_file_that_is_code_opens_only_when_trusted(make, name, tmp_path):
    original, images = make(tmp_path / name), torch.rand(5, 1, 2, 2)
    with pytest.raises(ValueError, match=r"executes code from the file.*--trust-code.*run folder"):
        open_model(str(tmp_path / name))
    opened = open_model(str(tmp_path / name), trust_code=True)
    assert not opened.training
    assert torch.equal(opened(images), original(images))


@pytest.mark.parametrize("name", ["net.pt2", "net.ts", "net.torchscript"])
def test_a_damaged_file_of_code_is_named(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=f"{name} cannot be opened"):
        open_model(str(tmp_path / name), trust_code=True)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("trust_code", [False, True])
@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.ckpt", "net.bin", "net.pkl"])
def test_a_pickled_checkpoint_is_never_opened(name, trust_code, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="is a pickled checkpoint"):
        open_model(str(tmp_path / name), trust_code=trust_code)


@pytest.mark.parametrize("whole", [False, True])
def test_the_advice_for_a_checkpoint_works(whole, tmp_path, monkeypatch):
    """The lines of the message are run as they stand; weights that fraction storage among them."""
    model = make_tiny()
    model[1].bias = nn.Parameter(model[1].weight.detach()[0, :2])
    torch.save(model if whole else model.state_dict(), tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="pickled") as caught:
        open_model("net.pt")
    found = re.search(
        r"(state = .*?\)); (safetensors\..*?'\))\. .* (state = .*?dict\(\))\.", str(caught.value)
    )
    of_weights, write, of_net = found.groups()
    exec(f"import torch, safetensors.torch\n{of_net if whole else of_weights}\n{write}", {})
    (tmp_path / "mynets.py").write_text(
        "from torch import nn\n"
        "def tiny():\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    again = open_model("mynets:tiny", tmp_path / "net.safetensors")
    images = torch.rand(3, 1, 2, 2)
    assert torch.equal(again(images), model(images))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("absent", "there is no model absent"),
        ("absent.pt2", "there is no model"),
        ("file.txt", "is no model file"),
        ("file.safetensors", "holds weights alone"),
        (".x:f", "cannot import"),
        ("x:", "cannot import"),
        (":f", "cannot import"),
        ("json:loads", r"loads\(\) fails: TypeError"),
        ("raising:net", "cannot import.*ZeroDivisionError"),
        ("recursive:net", "fails: RecursionError"),
    ],
)
def test_references_that_are_no_model(reference, message, tmp_path, monkeypatch):
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "file.safetensors").write_text("")
    (tmp_path / "raising.py").write_text("1 / 0")
    (tmp_path / "recursive.py").write_text("def net():\n    return net()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_model(reference)


def test_weights_that_would_be_ignored_are_an_error(saved):
    with pytest.raises(ValueError, match=r"--weights .* brings its own weights"):
        open_model(str(saved[1]), saved[1] / "model.safetensors")


CONFIGS = {
    "a name that is a list": ('{"model": {"name": ["mlp"], "inputs": 4}}', "does not name a net"),
    "no name": ('{"model": {"inputs": 4}}', "does not name a net"),
    "a model that is a list": ('{"model": [1]}', "does not name a net"),
    "a model that is text": ('{"model": "mlp"}', "does not name a net"),
    "an unknown name": ('{"model": {"name": "vgg"}}', "one of mlp"),
    "normalize 3": ('{"model": {"name": "mlp", "inputs": 4, "normalize": 3}}', "not take these"),
    "normalize text": ('{"model": {"name": "mlp", "inputs": 4, "normalize": "ab"}}', "not take"),
    "inputs text": ('{"model": {"name": "mlp", "inputs": "four"}}', "does not take these"),
    "inputs a list": ('{"model": {"name": "mlp", "inputs": [4]}}', "does not take these"),
    "inputs negative": ('{"model": {"name": "mlp", "inputs": -4}}', "does not take these"),
    "hidden text": ('{"model": {"name": "mlp", "inputs": 4, "hidden": "wide"}}', "not take these"),
    "hidden a number": ('{"model": {"name": "mlp", "inputs": 4, "hidden": 3}}', "not take these"),
    "one argument too many": ('{"model": {"name": "mlp", "inputs": 4, "self": 3}}', "not take"),
    "a net within without name": ('{"model": {"name": "tempered", "model": {}}}', "not take these"),
    "not UTF-8": (b'{"model": "\xff"}', "not valid JSON"),
    "deep nesting": ('{"model": ' + '{"net": ' * 100_000, "nested too deeply"),
    "deep nesting within the limit": (
        '{"model": ' + '{"name": "tempered", "model": ' * 300 + "1" + "}" * 301,
        "does not take these",
    ),
    "a number without end": ('{"model": ' + "9" * 5000 + "}", "not valid JSON"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_was_tampered_with_is_one_clear_error(case, saved):
    content, message = CONFIGS[case]
    path = saved[1] / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        load(saved[1])
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "not a run folder"),
        (lambda run: (run / "config.json").write_text("{"), "not valid JSON"),
        (lambda run: (run / "model.safetensors").unlink(), "no weights"),
        (lambda run: (run / "model.safetensors").write_bytes(b"x"), "not a readable safetensors"),
    ],
)
def test_damaged_run_folders(saved, break_it, message):
    break_it(saved[1])
    with pytest.raises(ValueError, match=message):
        load(saved[1])


def test_weights_of_another_net_are_refused(saved, tmp_path):
    save(make_tiny(), tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").rename(saved[1] / "model.safetensors")
    with pytest.raises(ValueError, match="do not fit the net"):
        load(saved[1])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vgg", {}, "one of mlp, lenet"),
        ("lenet", {"depth": 3}, "does not take"),
        ("lenet", {"size": 4}, "at least 8 x 8"),
        ("lipschitz-mlp", {"inputs": 4, "hidden": (3,)}, "even"),
        ("mlp", {"inputs": 4, "normalize": ((0.0,), (0.0,))}, "deviation > 0"),
    ],
)
def test_nets_that_cannot_be_built(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(name, **arguments)
