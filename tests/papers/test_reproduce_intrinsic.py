"""Limits as experiments: the authors' figures on digits, published lines, what pictures say."""

import pandas as pd
import pytest

from surefoot.papers import EXPERIMENTS, reproduce
from surefoot.papers.drawing.lines import bands_and_points
from surefoot.papers.intrinsic.cifar10h import ALPHA, FITS, GAMMA
from surefoot.report.style import to_svg


def test_the_program_of_the_authors_is_reproduced_figure_by_figure(tmp_path):
    outcome = reproduce(EXPERIMENTS["intrinsic-digits"], "small", tmp_path)
    assert len(outcome.compared) >= 4 * 5
    for entry in outcome.compared:
        if entry.published is not None:
            unsure = entry.figure.startswith("label uncertainty")
            assert entry.ours == pytest.approx(entry.published, abs=6e-4 if unsure else 6e-5)
    assert sum(entry.published is not None for entry in outcome.compared) == 4 * 6
    assert outcome.findings[-1].startswith("l2 0.5, gamma 0.8: infeasible")


def test_published_lines_pass_through_the_published_points():
    (alpha, fall, _), (gamma, steep, _) = FITS[ALPHA], FITS[GAMMA]
    for risk, robustness in ((0.010, 0.985), (0.053, 0.937), (0.101, 0.880), (0.156, 0.825)):
        assert alpha + fall * risk == pytest.approx(robustness, abs=0.004)
    for risk, robustness in ((0.026, 0.946), (0.052, 0.895), (0.096, 0.823), (0.161, 0.722)):
        assert gamma + steep * risk == pytest.approx(robustness, abs=0.008)


def test_tables_hold_the_published_figures():
    cases = EXPERIMENTS["intrinsic-cifar10"].scales["paper"].keywords["cases"]
    found = {case.name: case.published for case in cases}
    assert found["linf 8/255, rectangles"] == {"risk": 0.0594, "adversarial risk": 0.1813}
    assert found["l2 0.981, balls"] == {"risk": 0.0512, "adversarial risk": 0.0656}
    cases = EXPERIMENTS["intrinsic-mnist"].scales["paper"].keywords["cases"]
    assert sum(case.settings["family"] == "balls" for case in cases) == 3


def test_bands_name_their_points_and_mark_what_is_not_confirmed():
    lines = pd.DataFrame(
        {
            "row": ["limit"] * 2,
            "x": [0.05, 0.1],
            "y": [0.9, 0.8],
            "low": [0.88, 0.78],
            "high": [0.92, 0.82],
            "confirmed": [1.0, 0.0],
        }
    )
    points = pd.DataFrame({"row": ["models"], "x": [0.1], "y": [0.5], "low": None, "high": None})
    fits = {"line": (1.0, -1.0, 0.1)}
    labels = ("T", "risk", "robustness")
    figure = bands_and_points(lines, points, *labels, fits=fits, note="kinds differ")
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words == ["limit", "models (1)"]
    assert "not confirmed" in figure.axes[0].get_legend().get_title().get_text()
    assert b"<svg" in to_svg(figure)
