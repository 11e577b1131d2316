"""`surefoot verify`: exit statuses, counterexample files, lists that go on, clear errors."""

import csv

import numpy as np
import pytest
import torch
from torch import nn

from surefoot.cli import main
from surefoot.verification import instances

onnx = pytest.importorskip("onnx")
HEAD = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n"
BOX = "(assert (>= X_0 0)) (assert (<= X_0 1)) (assert (>= X_1 0)) (assert (<= X_1 1))\n"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Make a folder with net.onnx, y = |x_0 - x_1|, and three specifications."""
    monkeypatch.chdir(tmp_path)
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
        net[2].weight.fill_(1.0)
        net[0].bias.zero_()
        net[2].bias.zero_()
    torch.onnx.export(net.eval(), (torch.zeros(1, 2),), "net.onnx", dynamo=False, input_names=["x"])
    for name, bound in (("holds", -0.1), ("violated", 0.1)):
        (tmp_path / f"{name}.vnnlib").write_text(f"{HEAD}{BOX}(assert (<= Y_0 {bound}))")
    return tmp_path


def run(line):
    with pytest.raises(SystemExit) as stop:
        main(["verify", *line.split()])
    return stop.value.code


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestCommand:
    """All on one exported net."""

    def test_a_proof_ends_in_status_0(self, work, capsys):
        main(["verify", "net.onnx", "holds.vnnlib"])
        assert capsys.readouterr().out.startswith("holds (")
        assert not (work / "counterexample.txt").exists()

    def test_a_counterexample_is_written_and_ends_in_status_10(self, work, capsys):
        assert run("net.onnx violated.vnnlib --counterexample found.txt") == 10
        assert capsys.readouterr().out.startswith("violated (attack")
        words = (work / "found.txt").read_text().replace("(", " ").replace(")", " ").split()
        values = dict(zip(words[::2], map(float, words[1::2]), strict=True))
        assert set(values) == {"X_0", "X_1", "Y_0"}
        assert all(0 <= values[name] <= 1 for name in ("X_0", "X_1"))
        assert values["Y_0"] <= 0.1
        assert values["Y_0"] == np.abs(np.float32(values["X_0"]) - np.float32(values["X_1"]))

    def test_double_precision(self, work):
        main(["verify", "net.onnx", "holds.vnnlib", "--float64"])

    def test_a_list_goes_on_where_it_was(self, work, capsys, monkeypatch):
        (work / "list.csv").write_text(
            "net.onnx,holds.vnnlib,5\nnet.onnx,violated.vnnlib,5\nnet.onnx,absent.vnnlib,5\n"
        )
        assert run("list.csv --folder out") == 2
        assert "1 holds, 1 violated, 1 error" in capsys.readouterr().out
        with (work / "out" / "verdicts.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["answer"] for row in rows] == ["holds", "violated", "error"]
        assert len(list((work / "out").glob("*.counterexample"))) == 1
        (work / "absent.vnnlib").write_bytes((work / "holds.vnnlib").read_bytes())
        decided = []
        kept = instances.write_whole
        monkeypatch.setattr(instances, "write_whole", lambda *one: decided.append(1) or kept(*one))
        assert run("list.csv --folder out") == 10
        assert len(decided) == 1  # the two others are kept

    def test_a_list_may_have_a_header(self, work):
        (work / "list.csv").write_text("name,spec,net,timeout_s\na,holds.vnnlib,net.onnx,5\n")
        main(["verify", "list.csv", "--folder", "out"])
        assert "net.onnx,holds.vnnlib,holds" in (work / "out" / "verdicts.csv").read_text()

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("net.onnx", "NET.onnx and SPEC.vnnlib"),
            ("net.onnx absent.vnnlib", "no specification"),
            ("absent.onnx holds.vnnlib", "no ONNX file"),
            ("holds.vnnlib holds.vnnlib", "not a readable ONNX file"),
            ("net.onnx net.onnx", "no readable VNN-LIB"),
            ("net.onnx holds.vnnlib --seconds -1", "--seconds"),
            ("net.onnx holds.vnnlib --folder x", "--folder has no effect"),
            ("absent.csv", "no list of instances"),
            ("bad.csv", "line 1"),
            ("empty.csv", "lists no instance"),
        ],
    )
    def test_a_fault_ends_in_one_line(self, work, capsys, line, message):
        (work / "bad.csv").write_text("net.onnx\n")
        (work / "empty.csv").write_text("\n")
        before = set(work.iterdir())
        assert run(line) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert set(work.iterdir()) == before


def test_a_killed_run_leaves_whole_rows(tmp_path):
    """What is stored is replaced whole; a row with an error is decided again."""
    listed = [instances.Instance(f"{place}.onnx", "spec", None) for place in range(3)]

    def decide(one):
        if one.net == "2.onnx":
            raise KeyboardInterrupt
        raise ValueError("broken\nfile")

    with pytest.raises(KeyboardInterrupt):
        instances.decide_all(listed, tmp_path, decide)
    lines = (tmp_path / "verdicts.csv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("broken file")
