"""Pictures: what is drawn equals the figures; no pixel is compared."""

import subprocess
import sys
from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from report_records import make_limit, make_record, make_selective

from surefoot.evaluation import metrics
from surefoot.evaluation.record import Record
from surefoot.report import (
    bracket_chart,
    comparison_chart,
    perturbation_grid,
    rejection_curve,
    write_page,
)
from surefoot.report.perturbations import chosen
from surefoot.report.rejection_chart import curves
from surefoot.report.steps import MOST_STEPS, steps
from surefoot.report.style import to_svg


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def drawn(ax) -> str:
    return " ".join(text.get_text() for text in ax.texts)


@pytest.mark.parametrize("record", [make_record(count=90), make_selective(count=90)])
def test_step_curves_equal_the_figures_inside_every_interval(record):
    found = steps(record, 0.6)
    assert found.certified is not None
    for left, right, certified, attacked in zip(
        found.edges[:-1], found.edges[1:], found.certified, found.attacked, strict=True
    ):
        middle = float(left + right) / 2
        proven = metrics.certified_accuracy(record, middle)
        assert proven is not None
        assert certified / 90 == pytest.approx(proven.value)
        assert attacked / 90 == pytest.approx(metrics.attacked_accuracy(record, middle).value)


def test_thinned_curve_lies_below_the_full_one():
    record = make_record(count=2000)
    found = steps(record, 0.6)
    assert len(found.edges) <= MOST_STEPS + 5
    for place, left in enumerate(found.edges[:-1]):
        inside = left + 1e-9
        full = metrics.certified_accuracy(record, float(inside))
        assert full is not None
        assert found.certified is not None
        assert found.certified[place] / 2000 <= full.value + 1e-12


def test_attacked_curve_holds_the_value_of_the_smaller_radius():
    record = make_record(certificate=None)
    found = steps(record, 0.6)
    assert found.certified is None
    assert found.edges.tolist() == [0.0, 0.1, 0.25, 0.5, 0.6]
    clean = metrics.clean_accuracy(record).value
    assert found.attacked[0] / 360 == pytest.approx(clean)


def test_markers_sit_at_the_tested_radii():
    record = make_record()
    ax = bracket_chart(record)
    line = next(line for line in ax.lines if len(line.get_xdata()) == 3)
    assert tuple(line.get_xdata()) == record.header.radii
    expected = [metrics.attacked_accuracy(record, radius).value for radius in (0.1, 0.25, 0.5)]
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_bracket_chart_says_what_it_shows():
    ax = bracket_chart(make_record(limit=(make_limit(0.25, 0.9),)))
    assert "n = 360" in ax.get_legend().get_title().get_text()
    assert any("estimated" in text for text in texts(ax))
    assert "unknown" in texts(ax)
    assert "ℓ₂" in ax.get_xlabel()
    assert "unknown" in drawn(ax)
    figure = ax.get_figure()
    assert figure is not None
    assert "config" in figure.get_supxlabel()
    assert "torch 2.13.0" in figure.get_supxlabel()


def test_infeasible_limit_is_not_drawn():
    part = replace(make_limit(0.25, 0.9), feasible=False, robustness=None)
    assert not any("estimated" in text for text in texts(bracket_chart(make_record(limit=(part,)))))


def test_contradictory_chart_is_marked():
    record = make_record(count=40)
    wrong = Record(record.rows.assign(certified=1.0), record.header)
    assert "certified exceeds attacked" in bracket_chart(wrong).get_title(loc="left")


def test_pictures_draw_on_given_axes():
    grid = Figure().subplots(1, 2)
    assert bracket_chart(make_record(), grid[0]) is grid[0]
    assert rejection_curve(make_record(), grid[1]) is grid[1]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_comparison_has_a_panel_for_each_record(count):
    records = [make_record(f"r{number}", count=30, seed=number) for number in range(count)]
    figure = comparison_chart(records)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in shown] == [f"r{n} (n = 30)" for n in range(count)]
    assert len({ax.get_xlim() for ax in shown}) == 1


def test_rejection_legend_holds_the_area():
    record = make_record()
    found = texts(rejection_curve(record))
    score = record.rows["score"]
    curve = metrics.risk_coverage(metrics.certified_right(record.rows, 0.5), score)
    area = metrics.area_under_risk_coverage(curve)
    assert f"not certified at 0.5: AURC {area:.3f}" in found
    assert not any(
        "certified" in text for text in texts(rejection_curve(make_record(certificate=None)))
    )


def test_rejection_marks_the_share_that_is_accepted():
    record = make_selective()
    fraction = metrics.coverage(record).value
    assert f"accepts {100 * fraction:.1f} %" in texts(rejection_curve(record))


def test_missing_score_counts_as_least_certain():
    record = make_record(count=10)
    record.rows.loc[0, "score"] = np.nan
    curve = curves(record)["clean"]
    assert np.isinf(curve["threshold"].iloc[-1])
    rejection_curve(record)


def test_grid_takes_the_lowest_indices_at_the_smallest_radius():
    counterexamples = {
        "index": torch.tensor([9, 3, 3, 5]),
        "radius": torch.tensor([0.1, 0.5, 0.25, 0.1]),
    }
    assert chosen(counterexamples) == [2, 3, 0]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (2, 8, 8)])
def test_grid_shows_six_examples_and_names_the_outcomes(shape):
    figure = perturbation_grid(make_record(shape=shape, classes=["$a", "<i>b", "c"]))
    assert figure is not None
    assert len(figure.axes) == 24
    words = drawn(figure.axes[3])
    assert "<i>b, 90 %" in words
    assert "→ uncertain, 60 %" in words
    assert "tested 0.5" in words
    to_svg(figure)


@pytest.mark.parametrize("shape", [None, (2,)])
def test_no_pictures_no_grid(shape):
    assert perturbation_grid(make_record(shape=shape)) is None


def test_same_record_gives_the_same_bytes():
    first, second = (bracket_chart(make_record(count=30)).get_figure() for _ in range(2))
    assert isinstance(first, Figure)
    assert isinstance(second, Figure)
    assert to_svg(first) == to_svg(second)


def test_import_leaves_the_drawing_library_alone():
    code = "import sys, surefoot.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_charts_show_in_a_notebook_and_pages_open_no_figure(monkeypatch, tmp_path):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    ipython = MagicMock(version_info=(9, 0))  # its shell has a kernel, as in a notebook
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    try:
        ax = bracket_chart(make_record())
        assert pyplot.get_fignums() == [1]
        assert pyplot.gcf() is ax.get_figure()
        write_page([make_record(), make_record(shape=(1, 8, 8))], tmp_path / "page.html")
        assert pyplot.get_fignums() == [1]
    finally:
        pyplot.close("all")
