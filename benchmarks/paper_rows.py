"""Train and evaluate the rows of the papers' tables side by side, on one accelerator or many cores.

    python benchmarks/paper_rows.py runs "udp-cifar10 medium" "gloro-cifar100 medium" --at-once 12
    python benchmarks/paper_rows.py runs "smoothing-cifar10 medium" --minutes 8

Each row is a process of its own, in the run folder where `surefoot reproduce` expects it; when all
rows of an experiment are there, `reproduce` reads them back and compares. Killed or out of time,
the same command goes on. Experiments come in the order given, rows of the earlier ones first. The
log of each row, its seconds and the device stand beside the folders (`jobs/`).
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from surefoot.papers import EXPERIMENTS
from surefoot.papers.rejection_radii import rejection_radii
from surefoot.papers.smoothing.rejection_gains import QUICK

ROWS = ("rows", "nets")
"""What the kinds of experiment call their classifiers."""


@dataclass(frozen=True)
class Options:
    """What to run.

    Args:
        folder: of the runs, one folder an experiment.
        experiments: "name scale", in order.
        at_once: processes.
        minutes: after which nothing new is begun and what runs is stopped; 0 is no limit.
        row: run this row of the one experiment, in this process.
        seed: of everything.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    experiments: Annotated[tuple[str, ...], tyro.conf.Positional]
    at_once: int = 8
    minutes: float = 0.0
    row: int = -1
    seed: int = 0


@dataclass
class Job:
    """A row, or with row -1 the whole experiment once its rows are done."""

    experiment: str
    scale: str
    row: int
    process: subprocess.Popen[bytes] | None = None
    begun: float = 0.0
    needs: list["Job"] = field(default_factory=list)
    done: bool | None = None

    @property
    def name(self) -> str:
        """Return what log and cost are called."""
        return f"{self.experiment}-{self.scale}" + (f"-row{self.row}" if self.row >= 0 else "")


def classifiers(experiment: str, scale: str) -> tuple[str, int]:
    """Return how the rows are called, and how many there are; 1 where there is no table of rows."""
    keywords = EXPERIMENTS[experiment].scales[scale].keywords
    found = [(name, len(keywords[name])) for name in ROWS if name in keywords]
    return found[0] if found else ("", 1)


def run_row(options: Options) -> None:
    """Run one row: it leaves its run folder and records behind."""
    torch.backends.cudnn.allow_tf32 = False  # a certificate would pay for what tf32 rounds
    experiment, scale = options.experiments[0].split()
    name, _ = classifiers(experiment, scale)
    kind = EXPERIMENTS[experiment].scales[scale]
    one: dict[str, Any] = {name: kind.keywords[name][options.row : options.row + 1]}
    if kind.func is rejection_radii and options.row > 0:  # it attacks its first row alone
        one |= {"search": QUICK, "radii": (0.125,)}
    folder = folder_of(options, experiment, scale)
    partial(kind.func, **{**kind.keywords, **one})(folder, options.seed)


def folder_of(options: Options, experiment: str, scale: str) -> Path:
    """Return the folder of an experiment."""
    return options.folder / f"{experiment}-{scale}-{options.seed}"


def jobs_of(options: Options) -> list[Job]:
    """Return the rows of all experiments, and after them the experiments."""
    jobs = list[Job]()
    for text in options.experiments:
        experiment, scale = text.split()
        _, count = classifiers(experiment, scale)
        rows = [Job(experiment, scale, row) for row in range(count)] if count > 1 else []
        jobs += [*rows, Job(experiment, scale, -1, needs=rows)]
    return jobs


def start(job: Job, options: Options) -> None:
    """Start a process whose log is its own."""
    if job.row < 0:
        words = ["-m", "surefoot", "reproduce", job.experiment, "--scale", job.scale]
        words += ["--folder", str(folder_of(options, job.experiment, job.scale))]
    else:
        words = [__file__, str(options.folder), f"{job.experiment} {job.scale}"]
        words += ["--row", str(job.row)]
    log = options.folder / "jobs" / f"{job.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as opened:
        command = [sys.executable, *words, "--seed", str(options.seed)]
        job.process = subprocess.Popen(command, stdout=opened, stderr=subprocess.STDOUT)
    job.begun = time.monotonic()


def end(job: Job, options: Options) -> None:
    """Note what a process cost."""
    assert job.process is not None
    job.done = job.process.returncode == 0
    seconds = time.monotonic() - job.begun
    on = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    line = {"experiment": job.experiment, "scale": job.scale, "row": job.row, "device": on}
    line |= {"seconds": round(seconds, 1), "status": job.process.returncode}
    with (options.folder / "jobs" / "costs.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(f"{job.name}: {'done' if job.done else 'FAILED'} after {seconds:.0f} s", flush=True)


def main(options: Options) -> None:
    """Keep so many processes at work until all is done or time is up."""
    if options.row >= 0:
        return run_row(options)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    limit = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    jobs = jobs_of(options)
    while time.monotonic() < limit and any(job.done is None for job in jobs):
        for job in jobs:
            if job.process is not None and job.done is None and job.process.poll() is not None:
                end(job, options)
            if any(need.done is False for need in job.needs):
                job.done = False
        running = sum(job.process is not None and job.done is None for job in jobs)
        ready = [job for job in jobs if job.process is None and job.done is None]
        ready = [job for job in ready if all(need.done for need in job.needs)]
        for job in ready[: max(0, options.at_once - running)]:
            start(job, options)
        time.sleep(0.2)
    for job in jobs:
        if job.process is not None and job.done is None:
            job.process.terminate()
            print(f"{job.name}: stopped, out of time", flush=True)
    return None


if __name__ == "__main__":
    main(tyro.cli(Options))
