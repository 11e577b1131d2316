"""Build a wheel, install it into an empty environment, run the README's commands from there.

    SUREFOOT_DATA=... python benchmarks/wheel.py

Prints each step with its seconds; ends in an error at the first that fails. Without SUREFOOT_DATA
the block that needs it is left out. Rows go to results/wheel.jsonl.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rows

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from docs_blocks import blocks  # noqa: E402


def step(command: str, folder: Path, environment: dict[str, str]) -> dict:
    """Run one command as a new user does; return what it took and printed."""
    began = time.monotonic()
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = round(time.monotonic() - began, 1)
    print(f"{seconds:6.1f} s  {command}", done.stdout[-2000:], sep="\n", flush=True)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode}: {command}\n{done.stderr[-2000:]}")
    command = command.replace(str(ROOT), ".").replace(sys.executable, "python")
    return {"command": command, "seconds": seconds, "lines": done.stdout.splitlines()[:8]}


def main() -> None:
    """Build, install, run."""
    torch = next(
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("torch==")
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        clean["PIP_CONSTRAINT"] = str(ROOT / "constraints.txt")
        environment = {**clean, "PATH": f"{programs}{os.pathsep}{clean['PATH']}"}
        pip = "python -m pip install --quiet --disable-pip-version-check"
        done = [
            step(f'"{sys.executable}" -m venv venv', folder, clean),
            step(
                f'{pip.replace("install", "wheel")} --no-deps -w dist "{ROOT}"', folder, environment
            ),
            step(f"{pip} {torch}", folder, environment),
            step(f"{pip} dist/*.whl", folder, environment),
        ]
        (folder / "reader").mkdir()
        for block in blocks(ROOT / "README.md"):
            for command in block.commands() if block.kind == "sh" else ():
                needed = "$SUREFOOT_DATA" in block.text and "SUREFOOT_DATA" not in os.environ
                if command.startswith("make ") or needed:
                    continue
                done.append(step(command, folder / "reader", environment))
    for row in done:
        rows.append("wheel", row)
    print(f"{sum(row['seconds'] for row in done) / 60:.1f} minutes in all")


if __name__ == "__main__":
    main()
