"""What a user types first: fractions, names, gates, formats, completion, runs that go on."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from surefoot import progress
from surefoot.cli import COMMANDS, main
from surefoot.cli.completion import flags_of
from surefoot.cli.numbers import read_number, shown
from surefoot.data import load
from surefoot.evaluation import read
from surefoot.evaluation.store import Chunk, Store
from surefoot.models import build, save


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    torch.manual_seed(0)
    save(build("lipschitz-mlp", inputs=64, hidden=(16,)), folder)
    return folder


def run(text, capsys):
    """Run a command; return status, what it printed, and its errors."""
    status = 0
    try:
        main(text.split())
    except SystemExit as stop:
        status = stop.code
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), ("1/4", 0.25), ("0.25", 0.25), ("1e-3", 1e-3)]
)
def test_numbers_may_be_fractions(text, value):
    assert read_number(text) == value


@pytest.mark.parametrize("text", ["8/0", "8/", "/255", "two", "1/2/3", ""])
def test_what_is_no_number_is_named(text):
    with pytest.raises(ValueError, match="is no"):
        read_number(text)


@pytest.mark.parametrize(
    ("value", "text"), [(8 / 255, "8/255"), (0.25, "0.25"), (1 / 255, "1/255"), (0.1, "0.1")]
)
def test_numbers_are_shown_as_they_would_be_typed(value, text):
    assert shown(value) == text
    assert read_number(shown(value)) == value


def test_fractions_names_and_the_plan(net, tmp_path, capsys):
    status, out, _ = run(
        f"evaluate --model {net} --count 20 --eps 8/255 --radii 2/255 4/255 --steps 3"
        f" --name mine --folder {tmp_path}",
        capsys,
    )
    assert status == 0
    header = read(tmp_path).header
    assert header.radii == (2 / 255, 4 / 255, 8 / 255)
    assert header.name == "mine"
    assert "8/255" in out
    assert "certificate: Lipschitz bounds (auto: a bound is known for every layer)" in out
    assert "attack: apgd" in out
    stored = json.loads((tmp_path / "record.json").read_text())["headline"]
    assert stored["clean"] == pytest.approx(read(tmp_path).rows["clean"].mean())


def test_a_gate_ends_with_status_4_and_names_what_missed(net, tmp_path, capsys):
    base = f"evaluate --model {net} --count 20 --steps 2 --folder {tmp_path} --fail-under"
    assert run(f"{base} clean=0 certified=0", capsys)[0] == 0
    status, _, err = run(f"{base} coverage=1/2 clean=0.99", capsys)
    assert status == 4
    assert "clean" in err
    assert "is under 99.0 %" in err
    assert "coverage" not in err
    status, _, err = run(f"certify --model {net} --count 5 --folder {tmp_path / 'c'}"
                         " --n-certify 100 --fail-under attacked=0", capsys)  # fmt: skip
    assert status == 4
    assert "attacked was not measured" in err


@pytest.mark.parametrize("demand", ["certified", "robust=0.5", "clean=2", "clean=x", "=0.5"])
def test_a_gate_that_asks_for_nothing_known_is_an_error(demand, net, tmp_path, capsys):
    folder = tmp_path / "run"
    status, _, err = run(f"evaluate --model {net} --folder {folder} --fail-under {demand}", capsys)
    assert status == 2
    assert "METRIC=FRACTION" in err
    assert not folder.exists()


def test_smoothing_decides_five_radii_unless_told_otherwise(net, tmp_path, capsys):
    base = f"certify --model {net} --count 6 --eps 1/4 --n-certify 200"
    run(f"{base} --folder {tmp_path / 'few'}", capsys)
    few = read(tmp_path / "few").header
    assert few.radii == (0.0625, 0.125, 0.25, 0.375, 0.5)
    assert len(few.certificate.decided) == 5
    run(f"{base} --no-at-radii --folder {tmp_path / 'full'}", capsys)
    full = read(tmp_path / "full").header
    assert full.radii == (0.25,)
    assert full.certificate.decided == ()


def test_reports_in_every_format_tell_equal_names_apart(net, tmp_path, capsys):
    for name in ("a", "b"):
        run(f"attack --model {net} --count 10 --steps 2 --folder {tmp_path / name}", capsys)
    page = tmp_path / "page.html"
    status, _, _ = run(
        f"report {tmp_path / 'a'} {tmp_path / 'b'} --output {page} --format html md csv latex json",
        capsys,
    )
    assert status == 0
    assert {one.suffix for one in tmp_path.glob("page.*")} == {
        *(".html", ".md", ".csv", ".tex", ".json")
    }
    frame = pd.read_csv(page.with_suffix(".csv"))
    assert frame["name"].is_unique
    assert frame["name"].str.contains(r"[\\/]b\)").sum() == 1
    found = json.loads(page.with_suffix(".json").read_text())
    assert found[0]["certified"] is None
    assert "tabular" in page.with_suffix(".tex").read_text()


def test_a_training_goes_on_with_more_epochs_and_names_what_differs(tmp_path, capsys):
    base = f"train standard --net mlp --hidden 8 --count 100 --folder {tmp_path}"
    assert run(f"{base} --epochs 2", capsys)[0] == 0
    status, _, err = run(f"{base} --epochs 4", capsys)
    assert status == 0
    assert "goes on from epoch 2 of 2 to 4" in err
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4
    status, _, err = run(f"{base} --epochs 3", capsys)
    assert status == 2
    assert "has 4 epochs behind it; 3 were asked for" in err
    status, _, err = run(f"{base} --epochs 4 --learning-rate 0.5 --seed 3", capsys)
    assert status == 2
    assert "training.learning_rate: 0.001 there, 0.5 now" in err
    assert "training.seed: 0 there, 3 now" in err


def test_a_device_that_is_not_there_is_named(net, tmp_path, capsys):
    folder = tmp_path / "run"
    status, _, err = run(f"attack --model {net} --device cuda:7 --folder {folder}", capsys)
    assert status == 2
    assert "--device cuda:7 is not there" in err
    assert not folder.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_completed(command):
    done = subprocess.run(
        [sys.executable, "-m", "surefoot", command, "--help-all"], capture_output=True, text=True
    )
    flags = set(flags_of(command))
    # Flags stand at the border of their box; the sentences about them are indented.
    listed = re.findall(r"^│ (?:-h, )?(--[\w-]+)", done.stdout, re.MULTILINE)
    assert listed
    named = {word for word in listed if not word.startswith("--no-")} - {"--help"}
    assert named - flags == set()


def test_completion_scripts_name_commands_and_flags(capsys):
    for shell in ("bash", "zsh", "fish"):
        status, out, _ = run(f"completion {shell}", capsys)
        assert status == 0
        assert "evaluate" in out
        assert "fail-under" in out
    script = f"{run('completion bash', capsys)[1]}\nCOMP_WORDS=(surefoot eval); COMP_CWORD=1\n"
    done = subprocess.run(
        ["bash", "-c", script + "_surefoot; echo ${COMPREPLY[@]}"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "evaluate"


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch, capsys):
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    assert list(progress.track(range(5), "count", 5)) == [0, 1, 2, 3, 4]
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 3
    assert lines[0].startswith("surefoot: count: ")
    assert "left" in lines[0]


def test_a_gauge_inside_another_progress_has_lines_of_its_own(monkeypatch, capsys):
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    for _ in progress.track(range(1), "outer", 1):
        with progress.gauge("inner", 10) as tell:
            for done in (0, 0, 4, 5):
                tell(done, " (remark)")
        assert list(progress.track(range(3), "silent", 3)) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "surefoot: inner: 0 of 10, 0:00:40 (remark)",
        "surefoot: inner: 5 of 10, 0:01:20, about 0:01:20 left (remark)",
    ]


def test_on_a_terminal_a_gauge_is_a_bar_beside_the_other(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for _ in progress.track(range(1), "outer", 1):
        with progress.gauge("inner", 10) as tell:
            tell(3, " (remark)")
            assert progress._shown is not None
            shown = [(one.description, one.completed) for one in progress._shown.tasks]
            assert shown == [("outer", 0), ("inner (remark)", 3)]
        assert len(progress._shown.tasks) == 1
    assert progress._shown is None
    capsys.readouterr()


def test_the_first_part_tells_how_long_the_whole_may_take(monkeypatch, capsys):
    from surefoot.evaluation import store

    now = [0.0]
    monkeypatch.setattr(store.time, "monotonic", lambda: now[0])

    def compute(place):
        now[0] += 30
        return Chunk(pd.DataFrame())

    Store(None, "x", {}).fill(range(4), compute, "evaluate net")
    assert "the first part took 30.0 s: about 0:02:00 in all" in capsys.readouterr().err
    sizes = {0: 4, 1: 50, 2: 46, 3: 100}
    Store(None, "x", {}).fill(range(4), compute, "evaluate net", sizes)
    told = capsys.readouterr().err
    assert "the first 4 rows of 200 took 30.0 s: about 0:25:00 in all" in told


def test_coverage_is_chosen_without_labels_and_risk_is_not(net, tmp_path, capsys):
    images = load("digits").first(60).inputs(slice(None)).numpy()
    np.savez(tmp_path / "images.npz", x=images.astype("float32"))
    base = f"attack --model {net} --data {tmp_path / 'images.npz'} --count 20 --steps 2"
    run_folder = tmp_path / "run"
    status, out, _ = run(f"{base} --reject entropy --coverage 0.8 --folder {run_folder}", capsys)
    assert status == 0
    assert "of 40 other images" in out
    assert "the data have no labels" in out
    status, _, err = run(f"{base} --reject entropy --risk 0.2 --folder {tmp_path / 'x'}", capsys)
    assert status == 2
    assert "label" in err


def test_a_report_compares_the_scores_on_other_data(net, tmp_path, capsys):
    ours, other = tmp_path / "ours", tmp_path / "other"
    base = f"certify --model {net} --count 20"
    run(f"{base} --folder {ours}", capsys)
    run(f"{base} --data digits --split train --folder {other}", capsys)
    page = tmp_path / "page.html"
    assert run(f"report {ours} --ood {other} --output {page}", capsys)[0] == 0
    text = page.read_text()
    assert "Data of another kind" in text
    assert "AUROC" in text
