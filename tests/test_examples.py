"""Every example runs, in a folder of its own, and prints what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
LINES = {
    "train_and_bracket": r"lipschitz( +\d+\.\d%){3}",
    "reject_and_attack": r" +80%( +\d+\.\d%){3}",
    "relaxed_guarantees": r"RelaxedTopK\(3\)( +\d+\.\d%){3} +\d\.\d\d",
    "two_radii": r"0\.2( +\d+\.\d%){3}",
    "limit_of_a_gaussian": r" +0\.2 +0\.366 +0\.\d+ \[0\.\d+, 0\.\d+\].*",
    "own_model": r"clean \d+\.\d%, attacked at linf 0\.1: \d+\.\d%",
}


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(LINES)


@pytest.mark.parametrize("name", LINES)
def test_example(name: str, tmp_path: Path) -> None:
    path = EXAMPLES / f"{name}.py"
    before = {file: file.stat().st_mtime_ns for file in EXAMPLES.iterdir()}
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "SUREFOOT_QUICK": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert any(re.fullmatch(LINES[name], line) for line in done.stdout.splitlines()), done.stdout
    assert {file: file.stat().st_mtime_ns for file in EXAMPLES.iterdir()} == before
