"""The README is true: its code runs, its figures are those of the demo's own tables."""

import re
import shlex
from pathlib import Path

import pytest

from surefoot.cli import COMMANDS, main

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(), re.DOTALL)


def commands():
    lines = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    return [line for line in lines if line.startswith("surefoot ")]


def test_every_block_is_known_to_these_tests():
    for kind, text in BLOCKS:
        assert kind in ("python", "sh")
        if kind == "sh":
            assert all(re.match(r"surefoot |make demo$", line) for line in text.splitlines())


def test_python_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for kind, text in BLOCKS:
        if kind == "python":
            assert len(text.splitlines()) <= 16
            exec(compile(text, "README.md", "exec"), {})
    assert "certified" in capsys.readouterr().out
    assert (tmp_path / "runs" / "udp" / "report.html").exists()


def test_commands_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in commands():
        main(shlex.split(line)[1:])
    assert (tmp_path / "runs" / "both.html").exists()
    assert "limit" in capsys.readouterr().out


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_is_named(command):
    assert f"`surefoot {command}`" in README.read_text() or command in ("data", "demo", "report")


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
