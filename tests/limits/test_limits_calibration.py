"""The three parts: who sees what, what calibration raises, and several estimates together."""

import math

import pytest
import torch

from surefoot.limits import concentration, repeated
from surefoot.limits.calibration import calibrated
from surefoot.limits.goal import Goal
from surefoot.limits.measures import Measures
from surefoot.stats import interval

SETTINGS = {"risk": 0.1, "gamma": 0.0, "eps": 0.3, "norm": "l2"}


def cloud(points, dimensions=8, seed=0):
    source = torch.Generator().manual_seed(seed)
    drawn = torch.randn(points, dimensions, generator=source, dtype=torch.float64)
    return drawn, torch.rand(points, generator=source, dtype=torch.float64)


def test_without_calibration_many_balls_fall_short_and_with_it_they_do_not():
    plain, raised = [], []
    for seed in range(5):
        points, unsure = cloud(1200, seed=seed)
        rows = torch.randperm(1200, generator=torch.Generator().manual_seed(seed))
        parts = {"search": rows[:600], "report": rows[900:]}
        plain.append(concentration(points, unsure, **SETTINGS, **parts))
        parts["calibrate"] = rows[600:900]
        raised.append(concentration(points, unsure, **SETTINGS, **parts))
    assert [found.calibrated for found in plain] == ["none"] * 5
    assert sum(found.risk.value for found in plain) / 5 < 0.09
    assert sum(found.risk.value for found in raised) / 5 > 0.093
    for found in raised:
        assert found.calibrated in ("value", "limit")
        assert found.calibrate.risk.value >= 0.1
        assert found.delta >= 0.05


def test_lower_limits_can_be_required_and_make_the_report_valid():
    valid = 0
    for seed in range(3):
        points, unsure = cloud(1200, 3, seed)
        found = concentration(
            points, unsure, risk=0.1, gamma=0.3, eps=0.3, norm="l2", calibrate_to="limit", seed=seed
        )
        assert found.calibrated == "limit"
        assert found.calibrate.risk.low >= 0.1
        assert found.calibrate.label_uncertainty.low >= 0.3
        assert found.risk.value >= 0.1
        valid += found.valid
    assert valid >= 1


def test_the_report_part_changes_nothing():
    points, unsure = cloud(400)
    rows = torch.arange(400)
    parts = {"search": rows[:200], "calibrate": rows[200:300], "report": rows[300:]}
    first = concentration(points, unsure, **SETTINGS, **parts)
    points[300:] += 50
    second = concentration(points, unsure, **SETTINGS, **parts)
    assert torch.equal(first.region.centres, second.region.centres)
    assert torch.equal(first.region.radii, second.region.radii)
    assert first.calibrate.risk == second.calibrate.risk
    assert second.risk.value == 0.0


def test_default_parts_are_a_half_and_two_quarters():
    points, unsure = cloud(402, 2)
    found = concentration(points, unsure, components=1, **SETTINGS)
    counts = []
    for part in (found.search, found.calibrate, found):
        # Clopper-Pearson for no point out of n is [0, 1 - .025 ** (1 / n)]: n from a measure.
        counts.append(part.risk)
    sizes = zip(counts, (201, 101, 100), strict=True)
    expected = [interval(round(risk.value * n), n, 0.05) for risk, n in sizes]
    assert counts == expected


@pytest.mark.parametrize("given", ["search", "report", "calibrate"])
def test_parts_that_are_not_given_are_the_rest(given):
    points, unsure = cloud(60, 2)
    rows = torch.arange(60)
    found = concentration(points, unsure, **SETTINGS, **{given: rows[:20]})
    assert (found.calibrated == "none") == (given != "calibrate")
    sizes = {"search": (20, 40), "report": (40, 20), "calibrate": (20, 20)}[given]
    for part, size in zip((found.search, found), sizes, strict=True):
        assert part.risk == interval(round(part.risk.value * size), size, 0.05)


def test_parts_may_not_overlap():
    points, unsure = cloud(60, 2)
    rows = torch.arange(60)
    for parts in (
        {"search": rows[:30], "calibrate": rows[29:40]},
        {"calibrate": rows},
        {"search": rows[:30], "calibrate": rows[30:30], "report": rows[40:]},
        {"calibrate": rows[:20] + 50},
    ):
        with pytest.raises(ValueError, match="must hold"):
            concentration(points, unsure, **SETTINGS, **parts)


@pytest.mark.parametrize(
    ("held_out", "deltas", "risk"),
    [
        # A search that reaches 80 % of what it is asked for: nothing below 1.25 will do.
        (lambda cover: 0.8 * cover, [0.0, 0.25, 0.125, 0.1875, 0.21875], 0.1),
        # One that jumps: the first that does covers more than is needed.
        (
            lambda cover: cover if cover > 1.1 else 0.8,
            [0.0, 0.25, 0.125, 0.0625, 0.09375],
            0.1125,
        ),
        (lambda cover: 1.01 * cover, [0.0], 0.101),
    ],
)
def test_steps_of_calibration_by_hand(held_out, deltas, risk):
    goal = Goal(0.1, 0.0, 0.1, "l2", components=1, delta=0.0)
    asked = []

    def fit(goal):
        asked.append(goal)
        return "region"

    def measured(region):
        fraction = interval(round(10_000 * 0.1 * held_out(1 + asked[-1].delta)), 10_000, 0.05)
        return Measures(fraction, fraction, interval(1, 2, 0.05))

    end = calibrated.__wrapped__(fit, goal, measured)
    assert [g.delta for g in asked] == pytest.approx(deltas)
    assert end.measures.risk.value == pytest.approx(risk)


def test_components_and_gamma_are_chosen_on_the_calibration_part():
    points, unsure = cloud(1200)
    found = concentration(points, unsure, components=8, **(SETTINGS | {"gamma": 0.5}))
    assert found.components in (1, 2, 4, 8)
    assert found.gamma >= 0.5
    assert found.calibrate.label_uncertainty.value >= 0.5


def test_what_cannot_be_confirmed_is_missed():
    """Uncertainty by chance: a search finds it, no other point confirms it."""
    points, _ = cloud(400, 20)
    unsure = torch.zeros(400, dtype=torch.float64)
    rows = torch.arange(400)
    unsure[rows[:200][::4]] = 1.0  # all in the search part
    parts = {"search": rows[:200], "calibrate": rows[200:300], "report": rows[300:]}
    found = concentration(points, unsure, **(SETTINGS | {"gamma": 0.4}), **parts)
    assert found.feasible
    assert (found.calibrated, found.valid) == ("missed", False)
    assert found.search.label_uncertainty.value >= 0.4
    assert found.calibrate.label_uncertainty.value == 0.0


def test_repeated_splits():
    points, unsure = cloud(400, 3)
    many = repeated(points, unsure, splits=4, components=2, **SETTINGS)
    values = [found.adversarial_risk.value for found in many.estimates]
    assert len(set(values)) > 1
    assert many.adversarial_risk.mean == pytest.approx(sum(values) / 4)
    spread = torch.tensor(values, dtype=torch.float64).std().item()
    assert many.adversarial_risk.sd == pytest.approx(spread)
    assert many.feasible == 1.0
    again = concentration(points, unsure, components=2, seed=1, **SETTINGS)
    assert again.adversarial_risk == many.estimates[1].adversarial_risk
    one = repeated(points, unsure, splits=1, **SETTINGS)
    assert math.isnan(one.risk.sd)
    never = repeated(points, unsure, splits=2, **(SETTINGS | {"gamma": 1.9}))
    assert (never.feasible, never.valid) == (0.0, 0.0)
    assert math.isnan(never.risk.mean)
    for bad in ({"splits": 0}, {"splits": 2, "search": torch.arange(20)}):
        with pytest.raises(ValueError, match="`splits`"):
            repeated(points, unsure, **SETTINGS, **bad)


def test_best_family_is_the_one_that_fits_the_cloud():
    points, unsure = cloud(1000, 10)
    points[:, 0] *= 4  # half-spaces across the long side
    best = SETTINGS | {"family": "best"}
    found = concentration(points, unsure, **best)
    assert found.family == "half-spaces"
    every = {
        family: concentration(points, unsure, family=family, **SETTINGS)
        for family in ("balls", "half-spaces")
    }
    assert found.risk == every["half-spaces"].risk
    least = min(one.calibrate.adversarial_risk.value for one in every.values())
    assert found.calibrate.adversarial_risk.value == least
    none = concentration(points, unsure, **(best | {"gamma": 1.9}))
    assert (none.family, none.feasible) == ("none", False)
    with pytest.raises(ValueError, match="`calibrate`"):
        concentration(points, unsure, search=torch.arange(20), **best)


def test_families_and_norms():
    points, unsure = cloud(40, 2)
    for norm, family in (("linf", "balls"), ("l2", "cubes"), ("l2", "rectangles")):
        with pytest.raises(ValueError, match=f"`family` '{family}' has no closed expansion"):
            concentration(points, unsure, family=family, **(SETTINGS | {"norm": norm}))


def test_an_empty_region_is_furthest_from_the_goal():
    goal = Goal(**SETTINGS, components=2, delta=0.0, constraint="union")
    counts = {"empty": 0, "short": 40}

    def fit(asked):
        return "empty" if asked.components == 2 else "short"

    def measured(region):
        held, reached = counts[region], counts[region] + 10
        return Measures(interval(held, 1000), interval(reached, 1000), interval(1, 2))

    found = calibrated(fit, goal, measured)
    assert found.region == "short"
