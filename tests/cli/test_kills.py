"""Twenty kills over demo, reproduce, train, evaluate and report: nothing is lost, all goes on."""

import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

KILLS = 5
COMMANDS = {
    "demo": ["demo", "--count", "120", "--epochs", "4", "--n-certify", "1000"],
    "reproduce": ["reproduce", "udp-fashion-mnist", "--scale", "smoke"],
    "train": ["train", "pgd", "--net", "mlp", "--epochs", "12", "--count", "400"],
    "evaluate": [
        *("evaluate", "--norm", "l2", "--eps", "0.2", "--count", "500", "--protocol", "standard"),
        *("--model", "{net}"),
    ],
}
ANSWERS = {
    "demo": ["*/record.csv", "*/model.safetensors"],
    "reproduce": ["**/record.csv", "comparison.csv", "**/model.safetensors"],
    "train": ["model.safetensors", "config.json"],
    "evaluate": ["record.csv"],
}


def command(name: str, folder: Path, net: Path, processes: int) -> list[str]:
    launch = [sys.executable, "-m"]
    if processes > 1:
        launch += ["torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
        launch += ["-m"]
    arguments = [one.format(net=net) for one in COMMANDS[name]]
    return [*launch, "surefoot", *arguments, "--folder", str(folder)]


def start(line: list[str]) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True,
    )  # fmt: skip


def kill(process: subprocess.Popen) -> None:
    """Kill a launch with all its processes, which a launcher puts into sessions of their own."""
    launch = psutil.Process(process.pid)
    for one in [launch, *launch.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()


def finish(line: list[str]) -> float:
    began = time.monotonic()
    process = start(line)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error[-2000:]
    return time.monotonic() - began


def answers(name: str, folder: Path) -> dict[str, bytes]:
    found = {path for pattern in ANSWERS[name] for path in folder.glob(pattern)}
    assert found
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(found)}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    import torch

    from surefoot.models import build, save

    torch.manual_seed(0)
    save(build("mlp", inputs=64, hidden=(32,)), folder)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_runs_of_two_processes_end_as_if_never_killed(name, net, tmp_path):
    seconds = finish(command(name, tmp_path / "whole", net, 2))
    stream, killed = random.Random(name), command(name, tmp_path / "killed", net, 2)
    for _ in range(KILLS):
        process = start(killed)
        time.sleep(stream.uniform(0.3, 0.95) * seconds)
        kill(process)
        for path in tmp_path.rglob("record.json"):
            json.loads(path.read_text())  # whole, or not there
    finish(killed)
    assert answers(name, tmp_path / "killed") == answers(name, tmp_path / "whole")
    left = [path for path in (tmp_path / "killed").rglob("*") if path.suffix == ".partial"]
    assert left == []
    assert not list((tmp_path / "killed").rglob("chunks"))


def test_a_killed_report_leaves_the_old_page_or_the_new_one(net, tmp_path):
    finish(command("evaluate", tmp_path / "run", net, 1))
    line = [sys.executable, "-m", "surefoot", "report", str(tmp_path / "run"), "--output"]
    page = tmp_path / "page.html"
    seconds = finish([*line, str(page)])
    whole, stream = page.read_bytes(), random.Random(0)
    for _ in range(KILLS):
        process = start([*line, str(page)])
        time.sleep(stream.uniform(0.5, 1.0) * seconds)
        kill(process)
        assert page.read_bytes() == whole
    finish([*line, str(page)])
    assert page.read_bytes() == whole
