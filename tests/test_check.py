"""The checker that needs numpy alone: whole records pass, each planted fault is named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tampered import Change, cell, counterexample, put, rows, untouched_hash

from surefoot import check
from surefoot.data import load
from surefoot.evaluation import Plain, Smoothed, bracket
from surefoot.evaluation.record import read_rows
from surefoot.guarantees import Local
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.uncertainty.vote import Vote


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    net = build("lipschitz-mlp", inputs=64, hidden=(16,)).eval()
    data, made = load("digits").first(40), {}
    for name, classifier, threat in (
        ("lipschitz", Plain(net, "lipschitz", steps=5), Threat("l2", 0.2)),
        ("linf", Plain(net, steps=5), Threat("linf", 0.05)),
        ("relaxation", Plain(net, "relaxation", steps=5), Threat("linf", 0.004)),
        ("smoothing", Smoothed(Vote(net, 0.2), n_certify=200), Threat("l2", 0.1)),
    ):
        made[name] = tmp_path_factory.mktemp(name)
        how = {"guarantee": Local(), "threat": threat, "radii": [threat.eps / 2]}
        bracket(classifier, data, folder=made[name], **how)
    return made


@pytest.mark.parametrize("name", ["lipschitz", "linf", "smoothing", "relaxation"])
def test_a_whole_record_passes(name: str, folders: dict[str, Path]) -> None:
    assert check.check(folders[name]) == []


def broken_row(folder: Path) -> int:
    """Return the first row that was broken at a radius above 0."""
    return int(load_file(folder / "counterexamples.safetensors")["index"].min())


def far(folder: Path) -> None:
    tensors = load_file(folder / "counterexamples.safetensors")
    moved = (tensors["images"] + 0.4).clamp(0, 1).contiguous()
    save_file(tensors | {"adversarial": moved}, folder / "counterexamples.safetensors")


def fewer(folder: Path) -> None:
    (folder / "counterexamples.safetensors").unlink()


def raised(folder: Path) -> None:
    cell("certified", "9.0", broken_row(folder))(folder)


def lowered(folder: Path) -> None:
    """Take the radii of the sets of a certified row away."""
    certified = read_rows((folder / "record.csv").read_text())["certified"] > 0
    cell("radii", "0.0", int(certified.to_numpy().argmax()))(folder)


def shrunk(folder: Path) -> None:
    """Certify a row to less than its radius, which is none of the grid."""
    certified = read_rows((folder / "record.csv").read_text())["certified"]
    place = int((certified > 0).to_numpy().argmax())
    cell("certified", str(certified[place] * 0.6), place)(folder)


def made_right(folder: Path) -> None:
    """Call the rows right that are wrong at the image."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        wrong = frame["clean"] == "False"
        frame.loc[wrong, ["clean", "attacked", "nearest"]] = ["True", "inf", "inf"]
        return frame

    rows(change)(folder)


def emptied(folder: Path) -> None:
    certified = read_rows((folder / "record.csv").read_text())["certified"] > 0
    cell("radii", "", int(certified.to_numpy().argmax()))(folder)


FAULTS: dict[str, tuple[str, Change, str]] = {
    "a digit": ("lipschitz", untouched_hash(lambda text: text.replace("0.", "0.1", 1)), "hash"),
    "a headline": ("lipschitz", put("headline.attacked", 0.99), "attacked is"),
    "a count": ("lipschitz", put("data.count", 41), "the header counts 41"),
    "radii": ("lipschitz", put("radii", [0.2, 0.1]), "do not increase"),
    "a radius above the counterexample": ("lipschitz", raised, "with a counterexample at"),
    "a radius no sample shows": ("smoothing", cell("certified", "3.0"), "is the most that"),
    "a radius that was not decided": ("relaxation", shrunk, "did not decide"),
    "a radius above its set": ("lipschitz", lowered, "its sets with the label only"),
    "a radius of no grid": ("linf", cell("attacked", "0.033"), "no radius of the grid"),
    "a radius without certificate": ("linf", cell("certified", "0.5"), "without a certificate"),
    "a far counterexample": ("linf", far, "outside"),
    "a counterexample outside the box": (
        "linf",
        counterexample("adversarial", lambda value: value + 2),
        "leaves the box",
    ),
    "rows made right": ("lipschitz", made_right, "in none of its sets"),
    "a radius without those of its sets": ("lipschitz", emptied, "without the radii"),
    "a negative radius": ("lipschitz", cell("certified", "-1.0"), "negative"),
    "no headline": ("lipschitz", put("headline", {}), "no headline"),
    "no counterexamples": ("linf", fewer, "no counterexamples"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault: str, folders: dict[str, Path], tmp_path: Path) -> None:
    name, change, message = FAULTS[fault]
    folder = tmp_path / "record"
    shutil.copytree(folders[name], folder)
    change(folder)
    found = check.check(folder)
    assert [text for text in found if message in text], found
    assert check.main([str(folder)]) == 1


def test_the_file_alone_needs_numpy_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    script = subprocess.run(
        [sys.executable, "-m", "surefoot", "check", "--script"], capture_output=True, check=True
    )
    (tmp_path / "check.py").write_bytes(script.stdout)
    assert len(script.stdout.splitlines()) <= 200
    probe = "import sys, check; print(check.main(sys.argv[1:]), 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", probe, str(folders["linf"])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 False"
    assert "every check holds" in done.stdout


def test_an_infinite_radius_of_an_unbroken_row_is_no_contradiction() -> None:
    row = {"index": "0", "label": "1", "accepted": "True", "clean": "True", "certified": "inf"}
    row |= {"attacked": "inf", "nearest": "inf", "sets": "1", "radii": "inf"}
    header = {"radii": [0.1], "certificate": {"method": "lipschitz"}}
    header["guarantee"] = {"counts_rejection_as_right": False}
    assert list(check._row(row, header)) == []


def test_what_is_no_record_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"schema": 5}))
    assert check.main([str(tmp_path)]) == 1
    assert "cannot be read" in capsys.readouterr().out
