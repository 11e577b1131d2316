"""Flags that make one model of several nets."""

import importlib.util

import pytest

from surefoot.cli.net import Net
from surefoot.data import load
from surefoot.uncertainty import DUE, DropoutEnsemble, Ensemble


def test_flags_make_ensembles_that_the_seed_decides():
    data = load("digits").first(40)
    model = Net("mlp", hidden=(8,), members=3).build(data)
    assert isinstance(model, Ensemble)
    weights = [net[1].weight for net in model.nets]
    assert len({weight.sum().item() for weight in weights}) == 3
    again = Net("mlp", hidden=(8,), members=3).build(data)
    assert again.nets[2][1].weight.equal(weights[2])
    dropping = Net("preactresnet18", width=4, dropout=0.2, draws=5).build(data)
    assert isinstance(dropping, DropoutEnsemble)
    assert dropping.draws == 5


@pytest.mark.skipif(
    importlib.util.find_spec("gpytorch") is None, reason="gpytorch (extra gp) is not installed"
)
def test_inducing_points_make_a_process_placed_among_the_data():
    data = load("digits").first(40)
    model = Net("residual-mlp", hidden=(8, 8), inducing=6, features=5).build(data)
    assert isinstance(model, DUE)
    assert model.posterior.inducing_points.shape == (6, 5)
    assert model.count == 40
    assert model.scale.item() != 1.0


def test_flags_that_exclude_each_other_are_refused():
    with pytest.raises(ValueError, match="one of --members"):
        Net("mlp", members=2, inducing=5)
