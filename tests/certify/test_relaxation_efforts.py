"""Optimised slopes and branch and bound: exact where the answer is known, never false."""

import time
from contextlib import contextmanager
from fractions import Fraction

import pytest
import torch
from test_relaxation_guarantees import GUARANTEES, check_by_brute_force, selective_nets, wobbly
from torch import nn

from surefoot.certify.lipschitz.graph import trace
from surefoot.certify.relaxation import certify
from surefoot.certify.relaxation.backward import Pull, Substitution
from surefoot.certify.relaxation.checked_net import relaxed_net_of
from surefoot.certify.relaxation.input_set import InputSet, input_set_of
from surefoot.certify.relaxation.relaxed_net import RelaxedNet
from surefoot.certify.relaxation.splitting import Problem, Search
from surefoot.certify.relaxation.substitution import Bounds
from surefoot.guarantees import LabelOrUncertain, Local
from surefoot.threat import Threat


class Folded(nn.Module):
    """f(x) = sum |x_i| - |sum x_i|, whose least value on a box around 0 is exactly 0."""

    def __init__(self, inputs):
        super().__init__()
        self.first = nn.Linear(inputs, 2 * inputs + 2)
        self.last = nn.Linear(2 * inputs + 2, 1)
        with torch.no_grad():
            eye = torch.eye(inputs)
            ones = torch.ones(1, inputs)
            self.first.weight.copy_(torch.cat([eye, -eye, ones, -ones]))
            self.first.bias.zero_()
            self.last.weight.copy_(torch.cat([torch.ones(2 * inputs), -torch.ones(2)]))
            self.last.bias.zero_()

    def forward(self, images):
        return self.last(self.first(images).relu())


def searched(net, inputs, offset, seconds=20.0, half=1.0):
    """Search a proof of f > offset on a box around 0."""
    region = InputSet(
        torch.zeros(1, inputs, dtype=torch.float64),
        torch.full((1, inputs), -half, dtype=torch.float64),
        torch.full((1, inputs), half, dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
        "linf",
    )
    double = net.double()
    problem = Problem(
        torch.ones(1, 1, dtype=torch.float64),
        torch.tensor([offset], dtype=torch.float64),
        lambda values: (values > 0).all(1),
        lambda values: values.argmin(1),
        lambda points: double(points)[:, 0] <= offset,
    )
    with torch.no_grad():
        search = Search(RelaxedNet(trace(net, (inputs,))), 2.0**-53, region, problem)
        return search.run(time.monotonic() + seconds), search


@pytest.mark.parametrize("inputs", [2, 4, 24])
def test_a_range_that_is_known_is_proven_and_no_more(inputs):
    """Few inputs are halved, many numbers cut; the answer is the same."""
    proof, search = searched(Folded(inputs), inputs, -0.5, seconds=20.0 if inputs < 24 else 0.1)
    assert search.by_inputs == (inputs <= 20)
    if inputs < 24:
        assert proof.proven
    found, _ = searched(Folded(inputs), inputs, 0.05, seconds=1.0)
    assert not found.proven  # 0 is reached


@pytest.mark.parametrize("inputs", [1, 2])
def test_cuts_alone_prove_what_lines_do_not(inputs, monkeypatch):
    monkeypatch.setattr("surefoot.certify.relaxation.splitting.FEW_INPUTS", 0)
    proof, search = searched(Folded(inputs), inputs, -0.2)
    assert not search.by_inputs
    assert proof.proven
    assert proof.left == 0
    assert proof.parts > 1


def test_a_counterexample_ends_the_search():
    proof, _ = searched(Folded(2), 2, 0.5)
    assert proof.counterexample is not None
    assert Folded(2).double()(proof.counterexample).item() <= 0.5


def test_time_ends_the_search():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(30, 60), nn.ReLU(), nn.Linear(60, 60), nn.ReLU())
    net.append(nn.Linear(60, 1))
    began = time.monotonic()
    proof, _ = searched(net, 30, -0.3, seconds=0.5, half=3.0)
    assert not proof.proven
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("few", [0, 20])
def test_progress_is_the_fraction_that_is_proven(few, monkeypatch):
    monkeypatch.setattr("surefoot.certify.relaxation.splitting.FEW_INPUTS", few)
    told = []

    @contextmanager
    def recorded(description, total):
        yield lambda done, remark: told.append((done, total, remark))

    monkeypatch.setattr("surefoot.certify.relaxation.splitting.gauge", recorded)
    monkeypatch.setattr("surefoot.certify.relaxation.splitting.HALVED", 4)
    proof, _ = searched(Folded(2), 2, -0.02 if few else -0.5)
    assert proof.proven
    done = [one[0] for one in told]
    assert done == sorted(done)
    assert done[0] == 0
    assert 0 < done[-1] < told[0][1] == 1000
    assert all("parts bounded, at most 0:00:" in one[2] for one in told)


def test_bounds_of_parts_hold_in_them(generator):
    """Numbers inside a net lie in the interval of one of the parts, and in its bounds."""
    net = wobbly(3)
    relaxed = RelaxedNet(trace(net, (2,)))
    lower = torch.zeros(1, 2, dtype=torch.float64)
    region = InputSet(lower, lower, lower + 1, torch.ones(1).double(), "linf")
    points = torch.rand(4000, 2, generator=generator)
    with torch.no_grad():
        whole = Bounds(relaxed, region, 2.0**-24, "crown")
        name = relaxed.graph.steps[2].name  # the second dense layer
        hidden = net[2](net[1](net[0](points))).double()
        known = whole.known[name]
        cut = int((known.upper - known.lower).argmax())
        for below in (True, False):
            low, high = known.lower.clone(), known.upper.clone()
            (high if below else low)[0, cut] = 0.0
            part = Bounds(relaxed, region, 2.0**-24, "crown", {name: (low, high)})
            inside = (hidden[:, cut] <= 0) if below else (hidden[:, cut] >= 0)
            logits, bounds = net(points[inside]).double(), part.known[relaxed.graph.result]
            assert int(inside.sum()) > 0
            assert bool((logits >= bounds.lower).all() & (logits <= bounds.upper).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("guarantee", GUARANTEES, ids=repr)
def test_branch_and_bound_proves_nearly_all_that_holds(guarantee, norm, generator, monkeypatch):
    """On two inputs a grid knows what holds; l2 balls are cut, boxes are halved."""
    images = torch.rand(8, 2, generator=generator)
    threat = Threat(norm, 0.15)
    unproven = check_by_brute_force(wobbly(), guarantee, norm, threat.eps, images)[0]
    monkeypatch.setattr("test_relaxation_guarantees.certify", slow_certify)
    proven, unbroken = check_by_brute_force(wobbly(), guarantee, norm, threat.eps, images)
    assert unproven <= proven <= unbroken
    assert proven >= 0.9 * unbroken


def slow_certify(*arguments, effort, **more):
    return certify(*arguments, **more, effort="branch-and-bound", seconds=10.0)


@pytest.mark.parametrize("guarantee", [Local(), LabelOrUncertain()], ids=repr)
@pytest.mark.parametrize("name", selective_nets(0))
def test_branch_and_bound_of_rejections_is_never_false(name, guarantee, generator, monkeypatch):
    images, model = torch.rand(8, 2, generator=generator), selective_nets(0)[name].eval()
    before, _ = check_by_brute_force(model, guarantee, "linf", 0.1, images)
    monkeypatch.setattr("test_relaxation_guarantees.certify", slow_certify)
    proven, unbroken = check_by_brute_force(model, guarantee, "linf", 0.1, images)
    assert before <= proven <= unbroken


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_better_slopes_are_never_worse(norm, generator):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU())
    net.append(nn.Linear(20, 3))
    images = torch.rand(6, 6, generator=generator)
    size = 1 if norm == "linf" else 3
    radii = [size * radius for radius in torch.linspace(0.05, 0.6, 12).tolist()]
    found = {
        effort: certify(
            net.eval(),
            images,
            guarantee=Local(),
            threat=Threat(norm, 0.1),
            radii=radii,
            effort=effort,
        ).radius
        for effort in ("crown", "alpha-crown")
    }
    assert bool((found["alpha-crown"] >= found["crown"]).all())
    assert found["alpha-crown"].mean() > found["crown"].mean()


def test_branch_and_bound_needs_a_time():
    with pytest.raises(ValueError, match="give `seconds`"):
        certify(
            wobbly(),
            torch.rand(1, 2),
            guarantee=Local(),
            threat=Threat("linf", 0.1),
            effort="branch-and-bound",
        )


def test_multipliers_round_down_where_they_cancel(generator):
    # The row vanishes behind the split: what is left is the sum of weights times points alone.
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU()).eval()
    torch.nn.init.eye_(net[0].weight)
    torch.nn.init.zeros_(net[0].bias)
    relaxed = relaxed_net_of(net, torch.zeros(1, 64))
    region = input_set_of(torch.zeros(1, 64), torch.ones(1), Threat("linf", 1.0, -1.0, 1.0))
    known = Bounds(relaxed, region, 2.0**-24, "ibp").known
    name = relaxed.graph.steps[0].name
    for _ in range(20):
        weights = torch.randn(1, 64, generator=generator, dtype=torch.float64)
        points = torch.rand(1, 64, generator=generator, dtype=torch.float64)
        points[0, 0] -= (weights * points).sum() / weights[0, 0]  # the sum is nearly 0
        back = Substitution(relaxed, region, known, [1], {name: Pull(weights, points)})
        found = back.run(name, weights.clone(), stop=False).item()
        pairs = zip(weights[0].tolist(), points[0].tolist(), strict=True)
        assert Fraction(found) <= sum(Fraction(one) * Fraction(other) for one, other in pairs)
