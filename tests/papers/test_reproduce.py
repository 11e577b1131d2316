"""Experiments of papers: every one runs at the smallest scale, and verdicts say what they must."""

import html
import inspect
import math

import pandas as pd
import pytest

from surefoot.papers import DESCRIPTIONS, EXPERIMENTS, Published, reproduce, verdicts
from surefoot.papers.asked import BANNER, asked_run
from surefoot.papers.drawing.experiment_page import write_experiment


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_runs_at_the_smallest_scale(name, tmp_path):
    experiment = EXPERIMENTS[name]
    outcome = reproduce(experiment, "smoke", tmp_path)
    frame = pd.read_csv(tmp_path / "comparison.csv") if outcome.compared else pd.DataFrame()
    assert len(frame) == len(outcome.compared)
    for entry in outcome.compared:
        assert entry.low <= entry.ours <= entry.high or math.isnan(entry.low)
        assert entry.published is None
    page = write_experiment(experiment, outcome, tmp_path).read_text()
    for entry in outcome.compared:
        assert entry.row in page
    asked = asked_run(experiment, "smoke", 0)
    assert asked.data
    assert asked.text() in html.unescape(page)
    assert BANNER in html.unescape(page)
    assert experiment.source not in html.unescape(page)
    for record in outcome.records:  # our own nets come in eval mode
        assert not [text for text in record.header.warnings if "train mode" in text]
    for figure in outcome.figures:
        assert (tmp_path / f"{figure}.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_scale_gives_its_kind_what_it_takes(name):
    for run in EXPERIMENTS[name].scales.values():
        inspect.signature(run.func).bind("folder", 0, **run.keywords)


def test_every_experiment_is_described_and_every_description_belongs_to_one():
    assert list(DESCRIPTIONS) == list(EXPERIMENTS)


def test_published_figures_are_those_of_the_tables():
    rows = EXPERIMENTS["udp-fashion-mnist"].scales["paper"].keywords["rows"]
    found = {row.name: row.published for row in rows}
    assert found["udpr"] == {
        "clean": 0.848,
        "linf 0.05": 0.725,
        "linf 0.1": 0.609,
        "linf 0.2": 0.4,
        "l2 1.5": 0.341,
        "trade-off linf 0.05": 0.786,
        "trade-off linf 0.1": 0.728,
        "trade-off linf 0.2": 0.623,
        "trade-off l2 1.5": 0.594,
    }
    assert set(EXPERIMENTS["udp-fashion-mnist"].scales) == {"smoke", "small", "medium", "paper"}


def entry(row, ours, published=None, figure="clean"):
    return Published(row, figure, published, ours, ours - 0.03, ours + 0.03)


def test_a_verdict_needs_a_gap_that_both_intervals_confirm():
    standard = entry("standard", 0.8, 0.7)
    assert verdicts([standard, entry("udp", 0.9, 0.75)]) == [
        "clean: udp wins, +10.0 points against standard (published +5.0)"
    ]
    assert "loses, -10.0" in verdicts([standard, entry("udp", 0.7)])[0]
    assert "within the intervals" in verdicts([standard, entry("udp", 0.82)])[0]
    assert "udpr wins" in verdicts([standard, entry("udp", 0.7), entry("udpr", 0.9)])[0]
    assert verdicts([standard]) == []


def test_an_unknown_scale_is_named(tmp_path):
    with pytest.raises(ValueError, match="smoke, small, paper, medium"):
        reproduce(EXPERIMENTS["udp-fashion-mnist"], "huge", tmp_path)
