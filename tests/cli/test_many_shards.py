"""64 shards of which a tenth is killed: nothing is lost, nothing is there twice."""

import os
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from surefoot import check, report
from surefoot.cli import main
from surefoot.evaluation import read
from surefoot.evaluation.shards import shard_folders
from surefoot.models import build, save

pytestmark = pytest.mark.slow

SHARDS, KILLED = 64, 7


def killed_after_its_first_chunk(command, folder):
    """Start a shard, and kill it once it has kept something."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "surefoot", *command], env=environment, stdout=subprocess.DEVNULL
    )
    while not list(folder.rglob("chunks/*/*.json")):
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.communicate()


def test_64_shards_merge_to_one_record_though_some_were_killed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "write_page", lambda *_, **__: None)
    stream = np.random.default_rng(0)
    labels = stream.integers(0, 2, 6400)
    points = 0.5 + 0.1 * (2 * labels[:, None] - 1) + 0.15 * stream.standard_normal((6400, 4))
    np.savez(tmp_path / "data.npz", x=points.clip(0, 1).astype(np.float32), y=labels)
    torch.manual_seed(0)
    save(build("mlp", inputs=4, hidden=(8,), classes=2), tmp_path / "net")
    flags = ["certify", "--model", str(tmp_path / "net"), "--data", str(tmp_path / "data.npz")]
    flags += ["--count", "0", "--sigma", "0.1", "--eps", "0.05", "--n-certify", "300"]
    main([*flags, "--folder", str(tmp_path / "whole")])
    run, draw = tmp_path / "run", random.Random(0)
    killed = set(draw.sample(range(1, SHARDS + 1), KILLED))
    shards = {i: [*flags, "--folder", str(run), "--shard", f"{i}/{SHARDS}"] for i in range(1, 65)}
    unfinished = []
    for number, command in shards.items():
        folder = run / f"shard-{number}-of-{SHARDS}"
        if number in killed:
            killed_after_its_first_chunk(command, folder)
            unfinished += [] if (folder / "record.json").exists() else [number]
        else:
            main(command)
    assert unfinished, "every kill came after the end"
    with pytest.raises(SystemExit):
        main(["report", str(run), "--output", str(tmp_path / "page.html")])
    capsys.readouterr()
    for number in killed:
        main(shards[number])
    main(["report", str(run), "--output", str(tmp_path / "page.html")])
    assert f"merged from {SHARDS} shards" in capsys.readouterr().out
    one, many = read(tmp_path / "whole"), read(run)
    pd.testing.assert_frame_equal(many.rows, one.rows, check_exact=True)
    assert many.header.headline == one.header.headline
    assert many.header.identity == one.header.identity
    assert 0 < (many.header.headline["certified"] or 0) < 1
    assert check.main([str(run), *map(str, shard_folders(run))]) == 0
    left = [path for path in run.rglob("*") if path.name == "chunks" or path.suffix == ".partial"]
    assert left == []
    shutil.rmtree(run / "shard-5-of-64")
    with pytest.raises(SystemExit):
        main(["report", str(run), "--output", str(tmp_path / "page.html")])
    assert "of 64 shards 5 missing" in capsys.readouterr().err
