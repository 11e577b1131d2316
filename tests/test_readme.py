"""The README is true: its commands run, its links lead somewhere."""

import os
import re
from pathlib import Path

import pytest
from docs_blocks import DOCS, Block, blocks, run_command

from surefoot.cli import COMMANDS

README = Path(__file__).parents[1] / "README.md"
BLOCKS = [block for block in blocks(README) if block.kind]


def type_in(block: Block) -> None:
    for command in block.commands():
        assert run_command(command) == 0, command


def needs_data(block: Block) -> bool:
    return "$SUREFOOT_DATA" in block.text


def test_every_block_is_known_to_these_tests():
    known = r"surefoot |printf .*> nets.py$|make demo$"
    for block in BLOCKS:
        assert block.kind == "sh"
        assert all(re.match(known, command) for command in block.commands())
    assert sum(map(needs_data, BLOCKS)) == 1


def test_commands_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in BLOCKS:
        if not needs_data(block) and "make demo" not in block.text:
            type_in(block)
    assert (tmp_path / "runs" / "both.html").exists()
    assert "attacked" in capsys.readouterr().out


@pytest.mark.data
@pytest.mark.slow
def test_commands_on_real_data_run(tmp_path, monkeypatch):
    if "SUREFOOT_DATA" not in os.environ:
        pytest.skip("SUREFOOT_DATA is not set")
    monkeypatch.chdir(tmp_path)
    for block in filter(needs_data, BLOCKS):
        type_in(block)
    assert (tmp_path / "runs" / "resnet20" / "report.html").exists()


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_is_named(command):
    assert f"`surefoot {command}" in (DOCS / "index.md").read_text(encoding="utf-8")


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
