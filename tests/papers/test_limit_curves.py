"""Sweeps of the limit: what varies, what is kept, what splits say."""

import pytest
import torch

from surefoot.limits import concentration
from surefoot.papers import limit_curves
from surefoot.papers.limit_curves import Cloud, estimate, over_splits, sweep

SETTINGS = {"gamma": 0.0, "norm": "l2", "family": "half-spaces", "components": 1}


def cloud(count=400):
    draw = torch.Generator().manual_seed(0)
    return Cloud("gauss", torch.randn(count, 2, generator=draw), torch.zeros(count))


def test_an_estimate_is_that_of_concentration_and_is_read_back(tmp_path, monkeypatch):
    settings = SETTINGS | {"risk": 0.2, "eps": 0.3}
    found = estimate(cloud(), folder=tmp_path, seed=3, **settings)
    exact = concentration(cloud().points, torch.zeros(400), seed=3, **settings)
    assert found["adversarial_risk"]["value"] == exact.adversarial_risk.value
    assert found["calibrated"] == exact.calibrated
    monkeypatch.setattr(limit_curves, "concentration", None)
    assert estimate(cloud(), folder=tmp_path, seed=3, **settings) == found
    with pytest.raises(TypeError):
        estimate(cloud(), folder=tmp_path, seed=4, **settings)


def test_the_protocol_of_the_authors_calibrates_nothing():
    settings = SETTINGS | {"risk": 0.2, "eps": 0.3}
    given = cloud()._replace(search=torch.arange(200))
    found = estimate(given, calibrated=False, **settings)
    assert found["calibrated"] == "none"
    search = concentration(given.points, torch.zeros(400), search=torch.arange(200), **settings)
    assert found["search"]["risk"]["value"] == search.search.risk.value


def test_robustness_falls_with_risk_and_radius():
    for over, fixed in (("risk", {"eps": 0.3}), ("eps", {"risk": 0.2})):
        table = sweep(cloud(2_000), over, (0.1, 0.3, 0.6), splits=2, **SETTINGS, **fixed)
        assert len(table) == 6
        curve = over_splits(table)
        assert curve["y"].is_monotonic_decreasing
        assert (curve["low"] <= curve["y"]).all()
        assert (curve["splits"] == 2).all()


def test_other_settings_vary_and_infeasible_ones_are_left_out(tmp_path):
    given = cloud()._replace(uncertainty=torch.linspace(0, 1, 400))
    fixed = {key: SETTINGS[key] for key in ("norm", "family")} | {"risk": 0.2, "eps": 0.3}
    gammas = sweep(given, "gamma", (0.0, 1.5), components=1, **fixed)
    assert gammas["feasible"].tolist() == [True, False]
    assert over_splits(gammas)["value"].tolist() == [0.0]
    components = sweep(given, "components", (1, 2), gamma=0.0, folder=tmp_path, **fixed)
    assert components["feasible"].all()
    counts = sweep(given, "points", (100, 400), gamma=0.0, components=1, folder=tmp_path, **fixed)
    assert len(list(tmp_path.glob("*.json"))) == 4
    assert (counts["risk_high"] - counts["risk_low"]).is_monotonic_decreasing
