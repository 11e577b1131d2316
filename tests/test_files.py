"""Files that are written whole, and folders that one run has for itself."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from surefoot.files import LOCK, locked, read_json, write_json, write_whole

HOLDER = """
import sys, time
from pathlib import Path
from surefoot.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("broken", ["write_bytes", "replace"])
def test_a_full_disk_is_named_and_leaves_the_old_content_alone(broken, tmp_path, monkeypatch):
    path = tmp_path / "new" / "file.txt"
    write_whole(path, b"old")
    monkeypatch.setattr(*((Path, broken) if broken == "write_bytes" else (os, broken)), full)
    with pytest.raises(OSError, match=r"cannot write .*file\.txt: No space left") as caught:
        write_whole(path, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert [one.name for one in path.parent.iterdir()] == ["file.txt"]


def test_an_interruption_leaves_no_part(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file.txt", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file/below: "):
        write_whole(tmp_path / "file" / "below", b"")


def test_json_comes_back_and_faults_name_the_file(tmp_path):
    write_json({"a": [1, None]}, tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") == {"a": [1, None]}
    for content, message in ((b"{", "not valid"), (b"\xff", "not valid"), (b"[" * 100_000, "deep")):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(ValueError, match=rf"a\.json is .*{message}"):
            read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "b.json")


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_belongs_to_one_process_until_it_ends_however_it_ends(holder, tmp_path):
    with (
        pytest.raises(ValueError, match=rf"run is in use by process {holder.pid} on .*another"),
        locked(tmp_path / "run"),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists()  # nobody cleaned up, and nobody has to
    with locked(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run" / LOCK).read_text()
    assert list((tmp_path / "run").iterdir()) == []


def test_runs_within_a_run_and_processes_of_one_launch_share_a_folder(holder, tmp_path):
    with locked(tmp_path / "run", owner=False):  # of the launch that the holder belongs to
        pass
    with locked(tmp_path / "other"), locked(tmp_path / "other"):
        assert (tmp_path / "other" / LOCK).exists()


def test_a_run_that_keeps_nothing_leaves_no_folder(tmp_path):
    def fails(folder, content=()):
        with suppress(ZeroDivisionError), locked(folder, scratch=("scratch",)):
            for name in content:
                write_whole(folder / name, b"")
            _ = 1 / 0

    fails(tmp_path / "a" / "b")
    fails(tmp_path / "a" / "b", ["part/scratch"])
    assert list(tmp_path.iterdir()) == []
    fails(tmp_path / "a" / "b", ["kept"])
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["kept"]
    (tmp_path / "old").mkdir()
    fails(tmp_path / "old")
    assert (tmp_path / "old").exists()  # it was there before
