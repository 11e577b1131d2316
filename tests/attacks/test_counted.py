"""Passes: counted, charged to the right attack, and cut without changing any result."""

import pytest
import torch
from torch import nn

from surefoot.attacks import (
    apgd,
    autoattack,
    break_guarantee,
    break_selective,
    counted,
    ddn,
    fab,
    fmn,
    lower_score,
    pgd,
    square,
    udp,
)
from surefoot.attacks.counted import Counted
from surefoot.attacks.latent import FeatureShift, Space
from surefoot.attacks.perturbation import Perturbation, perturb
from surefoot.guarantees import RelaxedTopK
from surefoot.threat import Threat
from surefoot.uncertainty import Selective

THREAT = Threat("l2", 0.3)


class Members(nn.Sequential):
    """Three linear members on shared features."""

    def members(self, images):
        hidden = torch.relu(self[1](images.flatten(1)))
        return torch.stack([self[3](hidden) * factor for factor in (0.5, 1.0, 2.0)])


@pytest.fixture
def case(generator):
    torch.manual_seed(0)
    net = Members(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 5)).double().eval()
    images = torch.rand(11, 1, 4, 4, generator=generator, dtype=torch.float64)
    return net, images, net(images).argmax(1)


def latent(net, images, labels):
    how = Perturbation(THREAT, "entropy", steps=4, step_size=0.1, space=Space("2"))
    shift = perturb(net, images, labels, how)
    assert isinstance(shift, FeatureShift)
    return shift.offset


def informed(net, images, labels):
    how = Perturbation(THREAT, "mutual-information", steps=4, step_size=0.1)
    return perturb(net, images, labels, how)


ATTACKS = {
    "pgd": lambda m, x, y: pgd(m, x, y, threat=THREAT, steps=5, step_size=0.1),
    "udp": lambda m, x, y: udp(m, x, threat=THREAT, steps=5, step_size=0.1, step_counts="fixed"),
    "apgd": lambda m, x, y: apgd(m, x, y, threat=THREAT, steps=10),
    "fab": lambda m, x, y: fab(m, x, y, threat=THREAT, steps=10),
    "fab, nearest": lambda m, x, y: fab(m, x, y, threat=THREAT, steps=10, targeted=False),
    "square": lambda m, x, y: square(m, x, y, threat=THREAT, queries=30),
    # Its iterates lie on the boundary itself, where the last bit decides: only verdicts compare.
    "fmn": lambda m, x, y: (m(fmn(m, x, y, norm="l2", steps=30)).argmax(1) != y).double(),
    "ddn": lambda m, x, y: ddn(m, x, y, steps=10),
    "autoattack": lambda m, x, y: autoattack(m, x, y, threat=THREAT, version="fast").images,
    "guarantee": lambda m, x, y: (
        break_guarantee(m, x, guarantee=RelaxedTopK(2), threat=THREAT, steps=10).images
    ),
    "selective": lambda m, x, y: (
        break_selective(Selective(m, "entropy", 0.6), x, y, threat=THREAT, steps=10).images
    ),
    "score": lambda m, x, y: lower_score(m, x, threat=THREAT, steps=10),
    "latent": latent,
    "members": informed,
}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_smaller_passes_change_nothing(name, case, monkeypatch):
    whole = ATTACKS[name](*case)
    monkeypatch.setattr(counted, "PASS_PIXELS", 1)
    monkeypatch.setattr(counted, "LEAST_PASS", 3)
    assert torch.allclose(ATTACKS[name](*case), whole, atol=1e-9)


def test_passes_are_charged_to_the_attack_that_makes_them(case):
    net, images, _ = case
    model = Counted(net)
    with model.charging("first") as cost:
        model(images)
        model.evaluate(lambda out, rows: out[:, 0], images, torch.arange(11))
    model(images[:2])
    assert (cost.forwards, cost.backwards, cost.blind) == (22, 11, 0)
    assert model.costs["checks"].forwards == 2
    assert (model.forwards, model.backwards) == (24, 11)
    assert cost.seconds > 0


def test_gradients_of_no_use_are_counted(case):
    _, images, _ = case
    flat = Counted(lambda x: x.flatten(1)[:, :2] * torch.tensor([[0.0], [1.0], [torch.nan]]))
    flat.evaluate(lambda out, rows: out[:, 0], images[:3], torch.arange(3))
    assert flat.costs["checks"].blind == 2


def test_a_result_adds_up(case):
    net, images, labels = case
    result = autoattack(net, images, labels, threat=THREAT, version="fast")
    assert sum(cost.forwards for cost in result.costs.values()) == result.forwards
    assert sum(cost.backwards for cost in result.costs.values()) == result.backwards
    found = {name: cost.found for name, cost in result.costs.items() if cost.found}
    assert found == {name: result.by.count(name) for name in set(result.by) - {"", "clean"}}
