"""The blocks of a page of the documentation, and a reader who types them one after the other."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

from surefoot.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>[^>]*) -->\n+)?^( *)```(?P<kind>\w+)?(?P<info>[^\n]*)\n(?P<text>.*?)^ *```",
    re.DOTALL | re.MULTILINE,
)
NEEDS_NETWORK = "not run: needs the network"
SHORT = "its trainings run for one epoch on 600 images in the tests"
DATA = "needs SUREFOOT_DATA"


@dataclass(frozen=True)
class Block:
    """Code of a page.

    Args:
        kind: language; "" for plain text.
        file: name of the file that the block is the text of; "" for code that is run.
        text: the code.
        mark: comment above it.
    """

    kind: str
    file: str
    text: str
    mark: str

    def commands(self) -> list[str]:
        """Return the lines of a shell block, continued lines joined, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """Read the blocks of a page."""
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        title = re.search(r'title="([^"]+)"', match["info"])
        found.append(
            Block(
                match["kind"] or "",
                title.group(1) if title else "",
                match["text"],
                (match["mark"] or "").strip(),
            )
        )
    return found


def run(page: Path, *, data: bool, execute: Callable[[str], int] | None = None) -> None:
    """Write the files of a page and run its code, in order, in the current folder.

    Args:
        page: a Markdown file.
        data: whether to run what needs SUREFOOT_DATA.
        execute: runs a command and returns its exit status; None: in this process where it can be.
    """
    names: dict[str, object] = {"__name__": page.stem}
    known = set(sys.modules)
    sys.path.insert(0, os.getcwd())
    try:
        for block in blocks(page):
            if block.mark != NEEDS_NETWORK and _at_hand(block, data):
                _run_block(block, names, execute or run_command)
    finally:
        sys.path.remove(os.getcwd())
        for name in set(sys.modules) - known:
            if Path(f"{name}.py").exists():
                del sys.modules[name]  # another page has a file of this name


def _at_hand(block: Block, data: bool) -> bool:
    """Return whether what a block needs is there: data, or the package of an extra."""
    package = re.search(r"needs the package (\w+)", block.mark)
    return (data or DATA not in block.mark) and not (package and not find_spec(package.group(1)))


def _run_block(block: Block, names: dict[str, object], execute: Callable[[str], int]) -> None:
    if block.file:
        Path(block.file).write_text(block.text, encoding="utf-8")
    elif block.kind == "python":
        exec(compile(block.text, "page", "exec"), names)
    elif block.kind == "bash":
        for line in block.commands():
            short = line.startswith("surefoot train ") and SHORT in block.mark
            command, _, told = line.partition("  # exit status ")
            status = execute(command + (" --epochs 1 --count 600" if short else ""))
            assert status == int(told or 0), command


def run_command(command: str) -> int:
    """Run one line, in this process if it is a plain command of surefoot."""
    if command.startswith("surefoot ") and not re.search(r"[|>;&$]", command):
        words = shlex.split(command)
        try:
            with patch.object(sys, "argv", words):  # a record keeps the command that wrote it
                main(words[1:])
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0
    return in_shell(command).returncode


def in_shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run one line as a reader does, with this environment's programs, and keep what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env={**os.environ, "PATH": path, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
