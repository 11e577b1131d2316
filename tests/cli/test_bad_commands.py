"""Hundreds of command lines that cannot be obeyed: exit status 2, one message, no folder left."""

import subprocess
import sys

import bad_commands
import pytest

from surefoot.cli import main

LINES = bad_commands.lines()
SAMPLE = LINES[:: len(LINES) // 60]
PROCESSES = LINES[7 :: len(LINES) // 20][:20]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    bad_commands.damaged(folder / "bad")
    bad_commands.nets(folder)
    return folder


@pytest.fixture
def work(damaged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUREFOOT_DATA", str(damaged / "no-data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", str(damaged / "bad"))
    monkeypatch.syspath_prepend(damaged / "bad")
    return tmp_path


def arguments(line, damaged):
    places = {"bad": damaged / "bad", "net": damaged / "net", "mlp": damaged / "mlp"}
    return [one.format(**places) for one in line.split(" ")] if line else ["fly"]


def check(line, damaged, work, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments(line, damaged))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    if error.startswith("surefoot: error:"):
        assert error.count("\n") == 1
        assert len(error) > 40
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("line", SAMPLE)
def test_a_bad_command_ends_in_one_message_and_leaves_no_folder(line, damaged, work, capsys):
    check(line, damaged, work, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in LINES if line not in SAMPLE])
def test_every_bad_command_does(line, damaged, work, capsys):
    check(line, damaged, work, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("line", PROCESSES)
def test_a_bad_command_as_a_process(line, damaged, work):
    command = [sys.executable, "-m", "surefoot", *arguments(line, damaged)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert list(work.iterdir()) == []


def test_there_are_enough_of_them():
    assert len(LINES) >= 400
    assert len(PROCESSES) == 20
