"""The page of results is that of the stored rows, and its verdicts say what they must."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def results_page():
    sys.path.insert(0, str(FOLDER))
    import results_page

    yield results_page
    sys.path.remove(str(FOLDER))


def test_the_page_is_that_of_the_stored_rows():
    line = [sys.executable, str(FOLDER / "results_page.py"), "--check"]
    found = subprocess.run(line, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def stored(row, ours, published, *, figure="clean"):
    return {
        **{"experiment": "udp-fashion-mnist", "scale": "small", "seed": 0, "day": "2026-11-26"},
        **{"row": row, "figure": figure, "published": published, "fraction": True},
        **{"ours": ours, "low": ours - 0.02, "high": ours + 0.02},
    }


def test_a_verdict_needs_the_figure_or_the_direction(results_page):
    rows = [
        stored("first", 0.5, 0.51),
        stored("same side", 0.6, 0.8),
        stored("other side", 0.4, 0.8),
        stored("not in the paper", 0.4, None),
    ]
    found = results_page.latest(rows)
    assert found["verdict"].tolist() == ["reproduced", "direction only", "not reproduced", ""]
    again = results_page.latest([*rows, stored("first", 0.7, 0.51)])
    assert len(again) == len(rows)
    assert again["verdict"].tolist()[-1] == "not reproduced"  # itself the first: no direction


def test_what_contradicts_a_paper_has_its_own_table(results_page):
    found = results_page.latest([stored("first", 0.9, 0.51), stored("next", 0.91, 0.515)])
    text = results_page.negatives(found)
    assert text.startswith("1 of 2 figures")
    assert "| first | clean | 51.0 | 90.0 [88.0, 92.0] |" in text
    assert isinstance(found, pd.DataFrame)


def test_every_experiment_has_a_status(results_page):
    text = results_page.status(results_page.latest([stored("first", 0.9, 0.51)]))
    assert text.count("\n") == 1 + len(results_page.EXPERIMENTS)
    assert "2026-11-26, seed 0: 1 figures" in text
