"""Error regions beside random balls, gap_to_limit, abstention: hand-made records, brute force."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from made_header import made_header
from surefoot.data import Data
from surefoot.evaluation import Record
from surefoot.evaluation.header import AttackPart, LimitPart
from surefoot.evaluation.studies.abstention import abstention, areas, at_quantiles
from surefoot.evaluation.studies.error_region import correlation, error_region, random_balls, wrong
from surefoot.papers.gap_to_limit import gap_to_limit
from surefoot.report.error_region_chart import PublishedRange, error_region_chart, said
from surefoot.report.style import to_svg
from surefoot.stats import Interval

INF, NAN = float("inf"), float("nan")


def make(clean, limit=(), attack=AttackPart("hand"), **columns):  # noqa: B008
    count = len(clean)
    rows = {
        "index": range(count),
        "label": [0] * count,
        "prediction": [0] * count,
        "accepted": [True] * count,
        "certified_accepted": [True] * count,
        "score": np.linspace(0, 1, count),
        "set": ["0"] * count,
        "set_size": [1] * count,
        "sets": ["0"] * count,
        "radii": [""] * count,
        "clean": clean,
        "certified": [NAN] * count,
        "attacked": [INF if right else 0.0 for right in clean],
        "nearest": [INF] * count,
        "attack": [""] * count,
        "samples": [0] * count,
    }
    return Record(
        pd.DataFrame(rows | columns),
        made_header(count, attack=attack, limit=limit),
    )


def line(count, disputed):
    """Points on a line; the votes of the disputed ones are split."""
    votes = torch.tensor([[1.0, 0.0]]).repeat(count, 1)
    votes[disputed] = 0.5
    images = torch.linspace(0, 1, count).unsqueeze(1)
    labels = torch.zeros(count, dtype=torch.int64)
    return Data(images, labels, classes=("a", "b"), probabilities=votes, name="line")


def test_random_balls_are_what_brute_force_finds(generator):
    points = torch.rand(40, 3, generator=generator, dtype=torch.float64)
    unsure = torch.rand(40, generator=generator, dtype=torch.float64)
    apart = torch.cdist(points, points)
    order = apart.argsort(1)
    expected = {size: unsure[order[:, :size]].mean(1) for size in (1, 5, 40)}
    found = random_balls(points, unsure, [1, 5, 40], balls=100)
    assert found.shape == (40, 3)
    for column, size in enumerate(expected):
        torch.testing.assert_close(found[:, column].sort().values, expected[size].sort().values)


def test_equal_points_count_once_each():
    unsure = torch.tensor([1.0, 0.0, 0.0, 0.0])
    found = random_balls(torch.zeros(4, 2), unsure, [1, 4])
    assert sorted(found[:, 0].tolist()) == [0, 0, 0, 1]  # each centre is its own nearest point
    assert found[:, 1].tolist() == [0.25] * 4


def test_a_region_of_disputed_points_stands_out_and_one_of_clear_points_does_not():
    disputed = torch.arange(0, 200, 10)  # spread out: no ball holds many
    data = line(200, disputed)
    clean = [place % 10 != 0 for place in range(200)]
    found = error_region(make(clean), data, balls=99)
    assert found.risk.value == pytest.approx(0.1)
    assert found.label_uncertainty.value == 1.0
    assert found.elsewhere == 0.0
    assert found.balls.value == pytest.approx(0.1, abs=0.03)
    assert found.p_value == pytest.approx(0.01)
    other = [place % 10 != 5 for place in range(200)]
    assert error_region(make(other), data, balls=99).p_value == 1.0


def test_no_errors_no_region_and_wrong_lengths_are_refused():
    data = line(20, torch.arange(5))
    assert error_region(make([True] * 20), data) is None
    with pytest.raises(ValueError, match="the same rows"):
        error_region(make([False] * 19), data)
    with pytest.raises(ValueError, match="no votes"):
        error_region(
            make([False] * 2), Data(data.images[:2], data.labels[:2], classes=("a", "b"), name="x")
        )
    with pytest.raises(ValueError, match="sizes"):
        random_balls(torch.zeros(4, 2), torch.zeros(4), [5])
    assert wrong(make([True, False])).tolist() == [False, True]


def entry(value, radius=0.5, **changes):
    part = LimitPart(radius, feasible=True, valid=True, demanded_risk=0.1, gamma=0.0)
    return replace(part, robustness=Interval(value, value - 0.05, value + 0.05), **changes)


def test_headroom_is_limit_minus_attacked_and_names_both_kinds():
    clean = [True] * 8 + [False] * 2
    record = make(clean, (entry(0.9),), attacked=[INF] * 4 + [0.3] * 4 + [0.0] * 2)
    (found,) = gap_to_limit(record)
    assert found.attacked.value == 0.4
    assert found.unexplained == pytest.approx(0.5)
    assert found.certified is None
    assert not found.crossed
    assert "(error region)" in found.text()
    assert "(label at x)" in found.text()
    above = make([True] * 200, (entry(0.5, valid=False),))
    assert gap_to_limit(above)[0].crossed
    assert "not valid" in gap_to_limit(above)[0].text()
    missing = replace(entry(0.5), feasible=False, robustness=None)
    assert gap_to_limit(make(clean, (missing,))) == []
    unattacked = gap_to_limit(make(clean, (entry(0.9),), None))[0]
    assert unattacked.unexplained is None


def test_abstention_keeps_the_least_uncertain():
    record = make(
        [True, True, False, False],
        attacked=[INF, 0.1, 0.0, 0.0],
        certified=[0.6, 0.0, 0.0, 0.0],
    )
    oracle = torch.tensor([0.0, 0.1, 0.2, 0.3])
    table = abstention(record, {"oracle": oracle, "worst": -oracle}, 0.5, (0.25, 0.5, 1.0))
    found = table.set_index(["score", "kind", "coverage"]).sort_index()["accuracy"]
    assert found["oracle", "clean"].to_dict() == {0.25: 1.0, 0.5: 1.0, 1.0: 0.5}
    assert found["oracle", "attacked"].to_dict() == {0.25: 1.0, 0.5: 0.5, 1.0: 0.25}
    assert found["oracle", "certified"].to_dict() == {0.25: 1.0, 0.5: 0.5, 1.0: 0.25}
    assert found["worst", "clean"].to_dict() == {0.25: 0.0, 0.5: 0.0, 1.0: 0.5}
    area = (
        areas(record, {"oracle": oracle, "worst": -oracle}, 0.5)
        .set_index(["score", "kind"])
        .sort_index()
    )
    assert area["area"]["oracle", "clean"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert area["area"]["worst", "clean"] == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)
    assert area["random"]["oracle", "attacked"] == 0.75


def test_equal_scores_stay_or_go_together():
    record = make([True, False, True, False])
    table = abstention(record, {"flat": torch.zeros(4)}, 0.5, (0.25, 1.0))
    assert table["coverage"].tolist() == [1.0, 1.0]  # clean and attacked
    assert set(table["accuracy"]) == {0.5}
    with pytest.raises(ValueError, match="each of 4 rows"):
        abstention(record, {"short": torch.zeros(3)}, 0.5)


def test_quantiles_of_human_uncertainty():
    unsure = torch.linspace(0, 1, 101)
    clean = [place <= 90 for place in range(101)]
    table = at_quantiles(make(clean), unsure, 0.5)
    clean_rows = table[table["kind"] == "clean"].set_index("quantile")
    assert clean_rows["threshold"].tolist() == pytest.approx([0.98, 0.9, 0.8])
    assert clean_rows["accuracy"][0.9] == 1.0
    assert clean_rows["accuracy"][0.98] == pytest.approx(91 / 99)
    assert clean_rows["coverage"][0.8] == pytest.approx(81 / 101)


def test_label_uncertainty_that_falls_with_risk_is_correlated_with_it():
    disputed = torch.arange(0, 200, 10)
    data = line(200, disputed)
    regions = []
    for errors in range(10, 100, 10):  # the disputed points first, then clear ones
        wrongs = [*disputed.tolist(), *(place for place in range(200) if place % 10)][:errors]
        regions.append(error_region(make([p not in wrongs for p in range(200)]), data, balls=20))
    found = correlation(regions)
    assert -1 <= found.low <= found.value < -0.9
    assert found.high < -0.5
    assert "over 9 classifiers" in said(regions)
    assert b"published, standard" in to_svg(
        error_region_chart(
            regions,
            kinds=["standard"] * 4 + ["other"] * 5,
            published={"standard": [PublishedRange((0.1, 0.2), (0.5, 0.6))]},
        )
    )
    assert "none from 1" in said(regions[:1])
    assert to_svg(error_region_chart(regions[:1]))
