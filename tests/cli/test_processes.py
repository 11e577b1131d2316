"""Two processes end together; that they give the rows of one is in `test_shards`."""

import os
import subprocess
import sys


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
