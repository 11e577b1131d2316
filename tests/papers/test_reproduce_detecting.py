"""Experiments on OOD inputs: what the table, the sentences and the pictures say."""

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from surefoot.evaluation.studies import detection
from surefoot.papers import EXPERIMENTS, Outcome, reproduce
from surefoot.papers.drawing.histograms import BINS, overlaid_histograms
from surefoot.papers.ood_detection import verdict
from surefoot.stats import Interval


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> Outcome:
    folder = tmp_path_factory.mktemp("digits")
    return reproduce(EXPERIMENTS["smoothing-ood-digits"], "smoke", folder)


def test_the_table_is_ordered_and_complete(outcome):
    found = {(one.row.split(": ")[1], one.figure): one for one in outcome.compared}
    estimators = {row for row, _ in found}
    assert len(estimators) == 5
    for row in estimators - {"score of the net"}:
        for figure, sign in (("AUROC", 1), ("FPR95", -1)):
            names = (f"{figure} clean", f"{figure} attacked 0.125", f"{figure} guaranteed 0.125")
            clean, attacked, guaranteed = (sign * found[row, name].ours for name in names)
            assert guaranteed <= attacked <= clean
    assert ("score of the net", "AUROC guaranteed 0.125") not in found


def test_every_reading_gets_a_verdict(outcome):
    (text,) = outcome.findings
    assert text.count("points [") == 4
    assert "The best guarantee there" in text


def test_warnings_are_among_the_findings(tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "broken_orders", lambda found: ["the order is broken"])
    found = reproduce(EXPERIMENTS["smoothing-ood-digits"], "smoke", tmp_path).findings
    assert found[1:] == ["WARNING, small MLP, entropy, shuffled: the order is broken"]


def test_verdicts_follow_the_interval():
    assert verdict(Interval(0.02, 0.01, 0.03)) == "helps (+2.0 points [+1.0, +3.0])"
    assert verdict(Interval(-0.02, -0.03, -0.01)).startswith("hurts")
    assert verdict(Interval(0.02, -0.01, 0.03)).startswith("makes no sure difference")


def test_curves_start_clean_and_fall(outcome):
    (frame, *_) = outcome.figures["auroc-radius"].args
    for _, line in frame.groupby("row"):
        assert line["x"].tolist() == [0, 0.125, 0.5]
        assert (line["y"].diff().dropna() <= 0).all()


def test_histograms_hold_every_value_once():
    values = {"data": np.array([0.0, 0.01, 1.0]), "OOD inputs": np.full(5, 0.5)}
    figure = overlaid_histograms(values, "t", "score")
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]
    heights = [patch.get_data()[0] for patch in patches]
    assert [len(one) for one in heights] == [BINS] * 4
    assert np.allclose([one.sum() for one in heights], 1)
    assert heights[0][0] == pytest.approx(2 / 3)
    assert heights[0][-1] == pytest.approx(1 / 3)
