"""Two processes give the rows of one."""

import os
import subprocess
import sys

import pandas as pd
import torch

from surefoot.evaluation import read
from surefoot.models import build, save


def run(processes, folder, model):
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)),
        *("--standalone", "-m", "surefoot", "evaluate", "--model", str(model), "--norm", "l2"),
        *("--eps", "0.2", "--count", "500", "--steps", "2", "--folder", str(folder)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_share_the_work_and_write_one_record(tmp_path):
    torch.manual_seed(0)
    save(build("mlp", inputs=64, hidden=(8,)), tmp_path / "net")
    printed = [run(n, tmp_path / f"runs{n}", tmp_path / "net") for n in (1, 2)]
    assert printed[1].count("record and page") == 1
    one, two = read(tmp_path / "runs1"), read(tmp_path / "runs2")
    pd.testing.assert_frame_equal(one.rows, two.rows)


def test_two_processes_end_a_training_together_also_when_it_was_finished_before(tmp_path):
    """A process that leaves while another still writes is aborted, and the other one stopped."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"),
        *("-m", "surefoot", "train", "standard", "--net", "mlp", "--count", "100", "--epochs", "2"),
        *("--folder", str(tmp_path / "net")),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("model:") == 1
    names = {path.name for path in (tmp_path / "net").iterdir()}
    assert names == {"model.safetensors", "config.json", "log.jsonl", "state.safetensors"}
