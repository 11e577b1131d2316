"""Each kind of model from outside, attacked, smoothed and evaluated from the command line."""

import warnings

import pytest
import torch
from torch import nn

from surefoot.cli import main
from surefoot.evaluation import read
from surefoot.models import build, load

SOURCE = """
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from surefoot import load

def fitted():
    images, labels = load("digits", "train").batch(slice(None))
    return LogisticRegression(max_iter=200).fit(images.flatten(1).numpy(), labels.numpy())

def net():
    layer = nn.Linear(64, 10)
    found = fitted()
    layer.weight.data = torch.from_numpy(found.coef_).float()
    layer.bias.data = torch.from_numpy(found.intercept_).float()
    return nn.Sequential(nn.Flatten(), layer).eval()

def function():
    inner = fitted()
    return lambda images: inner.decision_function(images.flatten(1).numpy())
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "kinds.py").write_text(SOURCE)
    made = {}
    exec(SOURCE, made)
    net, images = made["net"](), torch.rand(2, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript old
        torch.jit.save(torch.jit.trace(net, images), folder / "net.ts")
        torch.jit.save(torch.jit.script(net), folder / "net.pt")
        program = torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("b")},))
        torch.export.save(program, folder / "net.pt2")
    return folder


KINDS = {
    "factory": ["kinds.py:net"],
    "TorchScript, traced": ["net.ts", "--trust-code"],
    "TorchScript, scripted": ["net.pt", "--trust-code"],
    "exported": ["net.pt2", "--trust-code"],
    "scikit-learn": ["kinds.py:fitted"],
    "function": ["kinds.py:function"],
}
ON = ("--count", "12", "--data-seed", "1")


def command(name, kind, *more):
    main([name, "--model", *KINDS[kind], *ON, *more, "--folder", "out"])
    return read("out")


@pytest.fixture(autouse=True)
def there(models, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for path in models.iterdir():
        (tmp_path / path.name).symlink_to(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_evaluated_attacked_and_smoothed(kind, capsys):
    record = command("evaluate", kind, "--eps", "0.15", "--steps", "4")
    planned = "attack: square alone" if kind in ("scikit-learn", "function") else "attack: apgd"
    assert planned in capsys.readouterr().out
    assert not any("train mode" in one for one in record.header.warnings)
    rows = record.rows
    assert rows["clean"].mean() > 0.7
    assert rows["attack"].isin(["square"]).any() == (kind in ("scikit-learn", "function"))
    assert (rows["attacked"] <= 0.15).mean() > 0.3
    record = command("attack", kind, "--norm", "l2", "--eps", "0.5", "--steps", "4")
    assert record.header.certificate is None
    record = command("certify", kind, "--eps", "0.1", "--n-certify", "200")
    assert record.rows["certified"].gt(0).mean() > 0.3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["exported", "scikit-learn"])
def test_a_smoothed_classifier_is_attacked_too(kind):
    record = command(
        *("evaluate", kind, "--certificate", "smoothing", "--n-certify", "200"),
        *("--norm", "l2", "--eps", "1"),
    )
    found = set(record.rows["attack"]) - {"", "clean"}
    assert found == {"square-vote" if kind == "scikit-learn" else "pgd-vote"}


def test_preprocessing_on_the_command_line_is_part_of_the_model(models, tmp_path):
    """The same net on doubled and shifted images, undone by --mean and --std."""
    plain = command("evaluate", "factory", "--eps", "0.1", "--steps", "4").rows
    (tmp_path / "shifted.py").write_text(
        SOURCE + "\ninner = net\n"
        "class Shifted(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.net = inner()\n"
        "    def forward(self, images):\n        return self.net(images * 0.5 + 0.25)\n"
        "def make():\n    return Shifted().eval()\n"
    )
    main(
        [
            *("evaluate", "--model", "shifted.py:make", "--mean", "0.25", "--std", "0.5", *ON),
            *("--eps", "0.1", "--steps", "4", "--folder", "shifted"),
        ]
    )
    assert read("shifted").rows["attacked"].equals(plain["attacked"])


def test_training_saves_the_preprocessing_with_the_net():
    main(
        [
            *("train", "standard", "--epochs", "1", "--count", "64", "--net", "lenet"),
            *("--mean", "0.3", "--std", "0.4", "--resize", "16", "--folder", "net"),
        ]
    )
    net, images = load("net"), torch.rand(3, 1, 8, 8)
    bare = build("lenet", size=16).eval()
    bare.load_state_dict(net[2].state_dict())
    large = nn.functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    assert torch.allclose(net(images), bare((large - 0.3) / 0.4), atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mean", "0.5"], "--mean and --std belong together"),
        (["--mean", "0.5", "0.5", "0.5", "--std", "1", "1", "1"], "Normalize has 3 planes"),
        (["--resize", "4"], "the model fails on images of shape"),
        (["--resize", "1", "2", "3"], "--resize takes a height and a width"),
        (["--protocol", "standard"], "returns no gradient.*Square alone"),
    ],
)
def test_flags_that_do_not_fit_end_in_one_message(flags, message, capsys):
    model = "kinds.py:function" if "--protocol" in flags else "kinds.py:net"
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--model", model, *ON, *flags, "--folder", "out"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
