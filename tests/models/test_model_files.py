"""Saving and loading, models from outside, and files that must be refused."""

import json
import pickle
import zipfile

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


def export(path, example_inputs):
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        make_tiny().eval(), (torch.rand(2, 1, 2, 2),), dynamic_shapes=({0: batch},)
    )
    program.example_inputs = example_inputs
    torch.export.save(program, path)
    return program.module()


@pytest.mark.filterwarnings("ignore")
def test_a_program_without_pickles_opens_and_one_with_sample_inputs_is_refused(tmp_path):
    original = export(tmp_path / "safe.pt2", None)
    images = torch.rand(5, 1, 2, 2)
    assert torch.equal(open_model(str(tmp_path / "safe.pt2"))(images), original(images))
    export(tmp_path / "inputs.pt2", ((torch.rand(2, 1, 2, 2),), {}))
    with pytest.raises(ValueError, match=r"sample_inputs.*execute code.*--trust-pickle"):
        open_model(str(tmp_path / "inputs.pt2"))
    trusted = open_model(str(tmp_path / "inputs.pt2"), trust_pickle=True)
    assert trusted(images).shape == (5, 2)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def tamper(source, target, change):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))
        root = old.namelist()[0].split("/")[0]
    return root


@pytest.mark.filterwarnings("ignore")
def test_planted_code_is_refused_before_anything_is_loaded(tmp_path):
    export(tmp_path / "safe.pt2", None)

    def pickled_weight(name, content):
        if name.endswith("weights_config.json"):
            return content.replace(b'"use_pickle": false', b'"use_pickle": true')
        return pickle.dumps(Bomb()) if "/weight_" in name else content

    def expression(name, content):
        if "models/" in name:
            changed = content.replace(b'"expr_str": "', b'"expr_str": "exec(chr(49))+')
            assert changed != content
            return changed
        return content

    def guard(name, content):
        return content.replace(b'"guards_code": []', b'"guards_code": ["exec(chr(49))"]')

    def bomb_inputs(name, content):
        return pickle.dumps(Bomb()) if "sample_inputs" in name else content

    for change in (pickled_weight, expression, guard, bomb_inputs):
        tamper(tmp_path / "safe.pt2", tmp_path / "bad.pt2", change)
        with pytest.raises(ValueError, match="execute code"):
            open_model(str(tmp_path / "bad.pt2"))


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
