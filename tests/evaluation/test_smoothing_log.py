"""Smoothing logs: there and back, beside our records, and the published ones."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from surefoot.cli import main
from surefoot.data import load
from surefoot.evaluation import metrics
from surefoot.evaluation.bracket import bracket
from surefoot.evaluation.classifiers import Smoothed
from surefoot.evaluation.record import read
from surefoot.evaluation.smoothing_log import read_log, write_log
from surefoot.guarantees import Local, TopK
from surefoot.models import build
from surefoot.stats import lower_bound
from surefoot.threat import Threat
from surefoot.uncertainty.vote import Vote

PUBLISHED = Path(os.environ.get("SUREFOOT_DATA", "nowhere")) / "smoothing_pa_cifar10.npz"
LOG = (
    "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
    "0\t3\t3\t0.377\t1\t0:00:13.702614\n"
    "20\t8\t-1\t0.0\t0\t13.5\n"
    "40\t0\t8\t1.25\t0\t1 day, 0:00:01\n"
    "60\t6\t6\t9.4e-1\t1\t\n"
)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "cohen.tsv"
    path.write_text(LOG)
    return path


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    torch.manual_seed(0)
    net = build("mlp", inputs=64, hidden=(16,), classes=10).eval()
    return bracket(
        Smoothed(Vote(net, 0.25), n_select=50, n_certify=200, seed=0),
        load("digits").first(30),
        guarantee=Local(),
        threat=Threat("l2", 0.25),
        attack=False,
        limits=False,
        folder=tmp_path_factory.mktemp("run"),
    )


def certified(record, radius):
    fraction = metrics.certified_accuracy(record, radius)
    assert fraction is not None
    return fraction.value


def test_a_log_is_a_record(log):
    rows = read_log(log).rows
    assert rows["index"].tolist() == [0, 20, 40, 60]
    assert rows["prediction"].tolist() == [3, -1, 8, 6]
    assert rows["accepted"].tolist() == [True, False, True, True]
    assert rows["clean"].tolist() == [True, False, False, True]
    assert rows["certified"].tolist() == [0.377, 0, 0, 0.94]
    assert rows["seconds"].tolist()[:3] == [13.702614, 13.5, 86401]
    assert math.isnan(rows["seconds"][3])
    found = read_log(log)
    assert found.header.radii == (0.25, 0.5, 0.75)
    assert [certified(found, radius) for radius in (0.25, 0.5, 0.95)] == [0.5, 0.25, 0]
    assert metrics.coverage(found).value == 0.75


def test_there_and_back(log, tmp_path):
    first = read_log(log)
    write_log(first, tmp_path / "again.tsv")
    again = read_log(tmp_path / "again.tsv")
    assert again.rows.equals(first.rows)
    first.save(tmp_path / "folder")
    assert read(tmp_path / "folder").rows["certified"].equals(first.rows["certified"])


def test_our_record_as_a_log_keeps_every_certified_accuracy(record, tmp_path):
    write_log(record, tmp_path / "ours.tsv")
    lines = (tmp_path / "ours.tsv").read_text().splitlines()
    assert lines[0] == "idx\tlabel\tpredict\tradius\tcorrect\ttime"
    again = read_log(tmp_path / "ours.tsv").rows
    assert again["certified"].tolist() == record.rows["certified"].tolist()
    radii = record.rows["radii"].astype(float)
    assert (again["prediction"] == -1).tolist() == (radii == 0).tolist()
    sure = radii > 0
    assert again["prediction"][sure].tolist() == record.rows["prediction"][sure].tolist()
    assert again["radii"].astype(float)[sure].tolist() == radii[sure].tolist()
    assert sure.any()
    assert (~record.rows["clean"] & sure).any()  # radii of wrong labels are in the log too


def test_other_records_have_no_log(record, tmp_path):
    sets = bracket(
        Smoothed(Vote(torch.nn.Flatten(), 0.25), n_select=50, n_certify=200),
        load("digits").first(2),
        guarantee=TopK(2),
        threat=Threat("l2", 0.25),
        attack=False,
        limits=False,
    )
    with pytest.raises(ValueError, match="TopK"):
        write_log(sets, tmp_path / "sets.tsv")
    linf = replace(record.header, threat=replace(record.header.threat, norm="linf"))
    with pytest.raises(ValueError, match="norm linf"):
        write_log(type(record)(record.rows, linf), tmp_path / "linf.tsv")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("80\t1\t1\t0.5\t0\t1.0\n", "do not go together"),
        ("80\t1\t1\t-0.5\t1\t1.0\n", "do not go together"),
        ("80\t1\t1\tnan\t1\t1.0\n", "do not go together"),
        ("80\t1\t1\n", "line 6.*`radius` must be a number"),
        ("80\t1\t1\t0.5\tyes\t1.0\n", "`correct` must be 0 or 1"),
        ("80\tnan\t1\t0.5\t0\t1.0\n", "`label` must be a whole number"),
        ("80\t1.5\t1\t0.5\t0\t1.0\n", "`label` must be a whole number"),
        ("80\t-1\t-1\t0.5\t1\t1.0\n", "do not go together"),  # no abstention is right
    ],
)
def test_bad_lines_are_named(log, line, words):
    log.write_text(LOG + line)
    with pytest.raises(ValueError, match=words):
        read_log(log)


def test_what_is_no_log_is_named(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("index,label\n0,1\n")
    with pytest.raises(ValueError, match="missing idx"):
        read_log(path)
    path.write_text(LOG.splitlines()[0])
    with pytest.raises(ValueError, match="no line"):
        read_log(path)


def test_report_draws_logs_beside_records_and_writes_them(record, log, tmp_path, capsys):
    run = tmp_path / "run"
    record.save(run)
    page = tmp_path / "both.html"
    main(["report", str(run), str(log), "--output", str(page)])
    assert "cohen" in page.read_text()
    assert "read from a smoothing log" in page.with_suffix(".md").read_text()
    assert sorted(path.name for path in log.parent.glob("*card*")) == []
    assert (run / "model-card.md").exists()
    main(["report", str(run), "--output", str(page), "--log", str(tmp_path / "ours.tsv")])
    assert str(tmp_path / "ours.tsv") in capsys.readouterr().out
    assert len(read_log(tmp_path / "ours.tsv")) == 30
    with pytest.raises(SystemExit):
        main(["report", str(run), str(log), "--log", str(tmp_path / "two.tsv")])
    assert "one record" in capsys.readouterr().err


def published(name, folder):
    """One of the published logs, in the format it was published in."""
    arrays = np.load(PUBLISHED)
    columns = [arrays[f"{kind}_{name}"] for kind in ("label", "predict", "radius", "correct")]
    lines = ["\t".join(("idx", "label", "predict", "radius", "correct", "time"))]
    for index, (label, predict, radius, correct) in enumerate(zip(*columns, strict=True)):
        lines.append(f"{index}\t{label}\t{predict}\t{radius:.3}\t{int(correct)}\t0:00:14")
    path = folder / f"{name}.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.data
@pytest.mark.skipif(not PUBLISHED.is_file(), reason="SUREFOOT_DATA holds no published logs")
@pytest.mark.parametrize(
    ("name", "fractions"),
    [
        ("cohen_0.25", {0.25: 61.2, 0.5: 42.2, 0.75: 25.1}),
        ("catrs_0.25", {0.25: 68.1, 0.5: 58.8, 0.75: 48.2}),
        ("cohen_1.0", {0.5: 33.8, 1.0: 22.1, 2.0: 6.6}),
    ],
)
def test_published_logs_give_published_figures(name, fractions, tmp_path):
    record = read_log(published(name, tmp_path))
    assert len(record) == 10_000
    for radius, fraction in fractions.items():
        assert abs(100 * certified(record, radius) - fraction) < 0.051


@pytest.mark.data
@pytest.mark.skipif(not PUBLISHED.is_file(), reason="SUREFOOT_DATA holds no published logs")
@pytest.mark.parametrize("sigma", ["0.25", "0.5", "1.0"])
def test_counts_give_the_published_radii(sigma):
    arrays = np.load(PUBLISHED)
    sure = arrays[f"predict_cohen_{sigma}"] >= 0
    printed = arrays[f"radius_cohen_{sigma}"][sure].astype(float)
    probability = arrays[f"pa_cohen_{sigma}"][sure].astype(float)
    every = lower_bound(torch.arange(50_000, 100_001), 100_000, 0.001)
    radii = float(sigma) * torch.special.ndtri(every).numpy()
    # Each printed number is, to its last digit, the radius of some count ...
    shown = np.array([float(f"{radius:.3}") for radius in radii])
    assert np.isin(printed.astype(np.float32), shown.astype(np.float32)).all()
    # ... and near that of the count behind the probability, where the radius says which one it was.
    clear = probability < 0.9999
    ours = radii[np.rint(probability[clear] * 100_000).astype(int) - 50_000]
    error = np.abs(ours - printed[clear])
    assert (error < 1.001e-3 * np.where(printed[clear] < 1, 1, 10)).all()
    assert clear.sum() > 6_000
