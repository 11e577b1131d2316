"""Shards of a run, on processes or machines of their own, and their merge."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from surefoot import Local, Smoothed, Threat, Vote, bracket, check, load, open_model, report
from surefoot.attacks import VoteSearch
from surefoot.cli import main
from surefoot.evaluation import Plain, Record, Shard, merge, read
from surefoot.evaluation.limit_tasks import LimitTasks
from surefoot.evaluation.shards import shard_folders, with_shard
from surefoot.models import build
from surefoot.training import RECIPES, Training, fit

COMMANDS = {
    "attack": ("--norm", "l2", "--eps", "0.2", "--count", "100", "--steps", "2"),
    "certify": ("--eps", "0.1", "--count", "100", "--sigma", "0.2", "--n-certify", "200"),
    "evaluate": (
        *("--norm", "l2", "--eps", "0.2", "--radii", "0.1", "--count", "100", "--steps", "2"),
        *("--reject", "entropy", "--threshold", "2"),
    ),
    "limit": ("--count", "100", "--radii", "0.25", "--components", "2", "--splits", "2"),
}
WRITE_PAGE = report.write_page
DRIVER = """
import json, sys
import surefoot.cli as cli
from surefoot.evaluation import Plain
from surefoot import report
Plain.chunk, report.write_page = 50, lambda *_, **__: None
cli._part = lambda: None  # one launch for all commands: starting it takes longer than they do
for line in json.loads(sys.argv[1]):
    cli.main(line)
import torch.distributed as group
group.destroy_process_group()
"""


def line(name: str, net: Path, folder: Path, *more: str) -> list[str]:
    model = () if name == "limit" else ("--model", str(net))
    return [name, *model, *COMMANDS[name], "--folder", str(folder), *more]


def same(one: Record, other: Record) -> None:
    """Compare everything but how long it took."""

    def timeless(record: Record):
        work = record.header.attack and record.header.attack.work
        if work:  # its seconds differ, and it attacks once more in a check of the first chunk
            attack = replace(record.header.attack, work=None)
            record = replace(record, header=replace(record.header, attack=attack))
        notes = tuple(note for note in record.header.notes if "auto took" not in note)
        return replace(record.header, seconds=None, command="", versions={}, notes=notes)

    pd.testing.assert_frame_equal(one.rows, other.rows, check_exact=True)
    assert timeless(one) == timeless(other)
    assert one.counterexamples.keys() == other.counterexamples.keys()
    assert all(torch.equal(one.counterexamples[k], other.counterexamples[k])
               for k in one.counterexamples)  # fmt: skip


def answers(path: Path) -> dict:
    found = json.loads((path / "limit.json").read_text())
    return {name: found[name] for name in ("identity", "asked", "estimates", "ceilings")}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    torch.manual_seed(0)
    settings = Training(epochs=6, learning_rate=5e-3)
    model = build("mlp", inputs=64, hidden=(8,))
    return fit(model, load("digits", "train"), RECIPES["standard"], tmp_path_factory.mktemp("net"),
               training=settings)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small():
    """Chunks of 50 rows, not 250, so that 100 rows are two; and pages, slow to draw, on demand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plain, "chunk", 50)
        patch.setattr(report, "write_page", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module")
def whole(net, tmp_path_factory):
    """The runs of one process."""
    folder = tmp_path_factory.mktemp("whole")
    for name in COMMANDS:
        main(line(name, net, folder / name))
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_two_shards_merge_to_the_record_of_one_run(name, net, whole, tmp_path):
    run = tmp_path / "run"
    for number in (2, 1):
        main(line(name, net, run, "--shard", f"{number}/2"))
    assert [path.name for path in shard_folders(run)] == ["shard-1-of-2", "shard-2-of-2"]
    main(["report", str(run), "--output", str(tmp_path / "page.html")])
    if name == "limit":
        assert answers(run) == answers(whole / name)
        return
    same(read(run), read(whole / name))
    found = read(run).header.headline
    ends = [found[one] for one in ("certified", "attacked", "clean") if found[one] is not None]
    assert 0.2 < ends[-1] < 1
    assert bool(read(run).header.limit) == bool(read(run).header.ceiling) == (name == "evaluate")
    assert ends[0] < ends[-1]
    assert check.main([str(run), *map(str, shard_folders(run))]) == 0
    before = (run / "record.csv").stat().st_mtime_ns
    main(line(name, net, run))  # the whole command finds the merged record as its own
    assert (run / "record.csv").stat().st_mtime_ns == before
    assert "partial" not in (tmp_path / "page.md").read_text()


def test_two_processes_give_what_one_gives(net, whole, tmp_path):
    driver, lines = tmp_path / "driver.py", [line(n, net, tmp_path / n) for n in COMMANDS]
    driver.write_text(DRIVER)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_processes", "2", str(driver), json.dumps(lines)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    # The first process speaks for both.
    assert done.stdout.count("record and page") == 3
    assert done.stdout.count("limit.json") == 1
    for name in COMMANDS:
        if name == "limit":
            assert answers(tmp_path / name) == answers(whole / name)
        else:
            same(read(tmp_path / name), read(whole / name))


@pytest.fixture(scope="module")
def shards(net, tmp_path_factory):
    """Three shards of one run, one of other settings, one of another number of shards."""
    folder = tmp_path_factory.mktemp("shards")
    flags = ("certify", "--model", str(net), "--count", "12", "--n-certify", "50")
    for number in (1, 2, 3):
        main([*flags, "--folder", str(folder / "run"), "--shard", f"{number}/3"])
    main([*flags, "--folder", str(folder / "other"), "--shard", "3/3", "--seed", "1"])
    main([*flags, "--folder", str(folder / "four"), "--shard", "4/4"])
    return folder


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["report", *map(str, arguments)])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_what_does_not_belong_together_is_named(shards, tmp_path, capsys):
    one, two, three = shard_folders(shards / "run")
    capsys.readouterr()
    error = refused(capsys, one, three)
    assert "of 3 shards 2 missing" in error
    assert "--shard 2/3" in error
    assert "differ in: config, seeds" in refused(capsys, one, two, shards / "other/shard-3-of-3")
    assert "one of 3 shards there, of 4 here" in refused(
        capsys, one, two, three, shards / "four/shard-4-of-4"
    )
    copy = tmp_path / "shard-2-of-3"
    copy.mkdir()
    for path in two.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    error = refused(capsys, one, two, three, copy)
    assert "shard 2 of 3 is there twice" in error
    assert str(copy) in error
    (copy / "outcomes.safetensors").write_bytes(b"half")
    assert "Copy the whole folder" in refused(capsys, one, copy, three)
    (copy / "record.json").unlink()
    error = refused(capsys, one, copy, three)
    assert f"2 missing ({copy}: begun, without a result)" in error
    with pytest.raises(ValueError, match="the record of a whole run"):
        merge([one, tmp_path_of_whole(shards)])


def tmp_path_of_whole(shards: Path) -> Path:
    merged = merge(shard_folders(shards / "run"))
    merged.save(shards / "merged")
    return shards / "merged"


def test_a_part_is_merged_on_demand_alone_and_called_partial(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "write_page", WRITE_PAGE)
    one, _, three = shard_folders(shards / "run")
    output = tmp_path / "few.html"
    main(["report", str(one), str(three), "--partial", "--output", str(output)])
    few = read(tmp_path / "few")
    assert few.header.shard is not None
    assert few.header.shard.numbers == (1, 3)
    assert few.header.name.endswith("(partial: 2 of 3 shards)")
    assert "partial: shards 1, 3 of 3, 8 of the 12 rows" in output.read_text()
    assert few.rows["index"].tolist() == [0, *range(5, 12)]
    assert check.main([str(tmp_path / "few")]) == 0
    # A part goes on to be merged with the rest.
    rest = shard_folders(shards / "run")[1]
    assert merge([tmp_path / "few", rest]).rows.equals(merge(shard_folders(shards / "run")).rows)


def test_a_shard_that_was_killed_goes_on(net, whole, tmp_path, monkeypatch):
    module = sys.modules["surefoot.evaluation.bracket"]
    flags = (
        "certify",
        "--model",
        str(net),
        "--count",
        "200",
        "--sigma",
        "0.2",
        "--n-certify",
        "50",
    )
    main([*flags, "--folder", str(tmp_path / "whole")])
    original, worked = module._chunk, []

    def dying(job, rows):
        if len(worked) == 1:
            raise KeyboardInterrupt
        worked.append(rows.start)
        return original(job, rows)

    second = [*flags, "--folder", str(tmp_path / "run"), "--shard", "2/2"]
    monkeypatch.setattr(module, "_chunk", dying)
    with pytest.raises(SystemExit) as stop:
        main(second)
    assert stop.value.code == 130
    monkeypatch.setattr(
        module, "_chunk", lambda job, rows: worked.append(rows.start) or original(job, rows)
    )
    main(second)
    assert worked == [1, 101]  # nothing twice
    main([*flags, "--folder", str(tmp_path / "run"), "--shard", "1/2"])
    same(merge(shard_folders(tmp_path / "run")), read(tmp_path / "whole"))


def test_the_limit_of_a_vote_is_left_out_with_a_word(net, tmp_path):
    """No shard knows the votes of the other rows; what is proven for all rows is merged."""
    vote = Smoothed(Vote(open_model(net), 0.2), n_certify=100, search=VoteSearch(steps=2))
    data, asked = load("digits").first(40), {"guarantee": Local(), "threat": Threat("l2", 0.1)}
    one = bracket(vote, data, folder=tmp_path / "one", **asked)
    for number in (1, 2):
        bracket(vote, data, folder=tmp_path / "run", shard=Shard(number, 2), **asked)
    merged = merge(shard_folders(tmp_path / "run"))
    assert one.header.limit
    assert merged.header.limit == ()
    assert merged.header.ceiling == one.header.ceiling
    assert merged.header.identity == one.header.identity
    wrong = 1 - one.rows["clean"].mean()
    assert [f"--risk {wrong:.4g} " in note for note in merged.header.notes].count(True) == 1


def test_a_limit_that_was_killed_goes_on(net, whole, tmp_path, monkeypatch):
    original, worked = LimitTasks.compute, []

    def dying(self, name):
        if len(worked) == 3:
            raise KeyboardInterrupt
        worked.append(name)
        return original(self, name)

    command = line("limit", net, tmp_path)
    monkeypatch.setattr(LimitTasks, "compute", dying)
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 130
    assert not (tmp_path / "limit.json").exists()
    monkeypatch.setattr(
        LimitTasks, "compute", lambda self, name: worked.append(name) or original(self, name)
    )
    main(command)
    assert len(worked) == len(set(worked)) == 8  # of two radii: two ceilings, two splits
    assert answers(tmp_path) == answers(whole / "limit")


def test_shards_have_every_row_once():
    for count, of, size in ((500, 2, 250), (500, 3, 250), (64, 64, 50), (6400, 64, 50), (7, 5, 3)):
        chunks = [one for i in range(1, of + 1) for one in Shard(i, of).chunks(count, size)]
        rows = [row for one in chunks for row in range(one.start, one.stop)]
        assert sorted(rows) == list(range(count))
        assert all(Shard(i, of).chunks(count, size) for i in range(1, of + 1))


@pytest.mark.parametrize("text", ["3", "0/2", "3/2", "a/b", "1/2/3", "-1/2", "65/500"])
def test_a_shard_that_is_none_is_refused(text, net, tmp_path, capsys):
    flags = ("--count", "30", "--folder", str(tmp_path / "run"), "--shard", text)
    with pytest.raises(SystemExit):
        main(["certify", "--model", str(net), *flags])
    assert "--shard" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_command_names_another_shard():
    command = "surefoot certify --model 'a b' --shard 1/4 --eps 0.5"
    assert with_shard(command) == "surefoot certify --model 'a b' --eps 0.5"
    assert with_shard(command, Shard(2, 4)).endswith("--eps 0.5 --shard 2/4")
    assert with_shard("surefoot limit --shard=1/4") == "surefoot limit"
