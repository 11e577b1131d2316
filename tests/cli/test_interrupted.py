"""Runs that end early: stopped, out of space, beside another run, with damaged files."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from surefoot import report
from surefoot.cli import main
from surefoot.evaluation import read
from surefoot.files import locked
from surefoot.models import build, save


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    torch.manual_seed(0)
    save(build("mlp", inputs=64, hidden=(32,)), folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def without_pages():
    """A page is drawn once a run has ended, and takes longer than the runs of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_page", lambda *_, **__: None)
        yield


def line(net, folder, *more, protocol="fast"):
    """An evaluation of 500 rows in shards of 100."""
    return [
        *("attack", "--model", str(net), "--norm", "l2", "--eps", "0.2"),
        *("--protocol", protocol, "--folder", str(folder), *more),
    ]


def start(arguments, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "surefoot", *arguments]
    return subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        **options,
    )


def wait_for(process, folder, name):
    while not list(folder.rglob(name)):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def test_an_evaluation_that_is_stopped_says_what_is_kept_and_goes_on(net, tmp_path, capsys):
    process = start(line(net, tmp_path / "run"))
    wait_for(process, tmp_path, "0.json")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.count("\n") == 1
    assert "Traceback" not in error
    kept = int(error.split("stopped; ")[1].split(" of 500 rows kept; the same command goes on")[0])
    assert kept in (100, 200, 300, 400)
    assert not list(tmp_path.rglob("*.partial"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.csv")}
    assert len(before) >= kept // 100
    first = next(path for path in before if path.name == "0.csv")
    rows = pd.read_csv(first)
    main(line(net, tmp_path / "run"))
    record = read(tmp_path / "run")
    assert len(record) == 500
    assert record.rows["attacked"].iloc[:100].tolist() == rows["attacked"].tolist()
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir()) == []


def test_a_training_that_is_stopped_says_what_is_kept(tmp_path):
    arguments = ["train", "pgd", "--data", "digits", "--net", "mlp", "--epochs", "500"]
    process = start([*arguments, "--folder", str(tmp_path / "net")])
    wait_for(process, tmp_path, "state.safetensors")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert " of 500 epochs kept; the same command goes on\n" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["limit", "data", "train", "report"])
def test_a_command_that_is_stopped_early_is_one_line(name, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tyro.cli", stop)
    monkeypatch.setattr("surefoot.progress._reached", "")
    with pytest.raises(SystemExit) as ended:
        main([name])
    assert ended.value.code == 130
    goes_on = "what was finished is kept; the same command goes on"
    expected = goes_on if name in ("train", "limit") else "nothing was kept"
    assert capsys.readouterr().err == f"surefoot: stopped; {expected}\n"


def test_a_full_disk_names_the_file_and_leaves_nothing(net, tmp_path):
    """The system allows files of 5,000 bytes only; the outcomes of 500 rows take 20,000."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    process = start(line(net, tmp_path / "run"), preexec_fn=limit)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2, error
    assert "cannot write" in error
    assert str(tmp_path / "run") in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


IN_TURN = """
import json, sys
from surefoot.cli import main
for line in json.loads(sys.argv[1]):
    try:
        main(line)
    except SystemExit as stop:
        print("ended with", stop.code)
"""


def test_a_folder_in_use_is_an_error_and_stays_as_it_is(net, tmp_path):
    """Of another process: one runs all commands in turn, starting it takes longer than they do."""
    folder = str(tmp_path / "run")
    commands = [
        line(net, folder, "--count", "5"),
        ["train", "standard", "--epochs", "1", "--count", "64", "--folder", folder],
        ["demo", "--folder", folder],
    ]
    with locked(tmp_path / "run"):
        found = subprocess.run(
            [sys.executable, "-c", IN_TURN, json.dumps(commands)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert found.stdout.count("ended with 2\n") == 3, found.stderr
        errors = found.stderr.splitlines()
        assert len(errors) == 3
        for error in errors:
            assert f"run is in use by process {os.getpid()} on" in error
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


DAMAGES = {
    "a digit": lambda path: path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1)),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.fixture(scope="module")
def stopped(net, tmp_path_factory):
    """A folder with the shards of a run that never ended, and what it should give."""
    folder = tmp_path_factory.mktemp("stopped")
    arguments = line(net, folder / "whole", "--count", "110", protocol="fast")
    main(arguments)
    wanted = read(folder / "whole").rows

    def never(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["surefoot.evaluation.bracket"], "_leave", never)
        with pytest.raises(SystemExit):
            main(line(net, folder / "shards", "--count", "110", protocol="fast"))
    return folder / "shards", wanted


@pytest.mark.parametrize("kind", [".csv", ".json", ".safetensors"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_and_done_again(kind, damage, net, stopped, tmp_path, capsys):
    folder, wanted = stopped
    shutil.copytree(folder, tmp_path / "run")
    (path,) = tmp_path.rglob(f"100{kind}")
    DAMAGES[damage](path)
    main(line(net, tmp_path / "run", "--count", "110", protocol="fast"))
    error = capsys.readouterr().err
    gone = kind == ".json" and damage == "gone"  # then it was never said to be complete
    changed = damage != "a digit" or kind == ".csv"
    assert (f"{path.with_suffix('')} is damaged" in error) == (changed and not gone)
    pd.testing.assert_frame_equal(read(tmp_path / "run").rows, wanted)


def test_a_damaged_record_is_named_and_done_again(net, stopped, tmp_path, capsys):
    folder, wanted = stopped
    shutil.copytree(folder.parent / "whole", tmp_path / "run")
    (tmp_path / "run" / "counterexamples.safetensors").write_bytes(b"nothing")
    main(line(net, tmp_path / "run", "--count", "110", protocol="fast"))
    assert "counterexamples.safetensors are damaged" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "record.json").read_text())["rows_hash"]
    pd.testing.assert_frame_equal(read(tmp_path / "run").rows, wanted)
