"""Attacks from elsewhere join in; nothing they claim is believed."""

import pytest
import torch
from oracles import Linear

from surefoot.attacks import apgd, fgsm, union
from surefoot.threat import Threat

THREAT = Threat("linf", 0.1)


@pytest.fixture
def case(generator):
    model = Linear(torch.randn(3, 16, generator=generator))
    images = 0.5 + 0.05 * torch.randn(40, 16, generator=generator)
    return model, images, model(images).argmax(1)


def test_the_union_is_at_least_as_strong_as_each_part(case):
    model, images, labels = case
    parts = {
        "fgsm": lambda m, x, y: fgsm(m, x, y, threat=THREAT),
        "apgd": lambda m, x, y: apgd(m, x, y, threat=THREAT, steps=20),
    }
    joined = union(model, images, labels, threat=THREAT, attacks=parts)
    for attack in parts.values():
        broken = model(attack(model, images, labels)).argmax(1) != labels
        assert not bool((broken & ~joined.success).any())
    assert set(joined.by) <= {"", "fgsm", "apgd"}
    assert bool(THREAT.inside(joined.images, images).all())
    assert bool((model(joined.images).argmax(1) != labels)[joined.success].all())


@pytest.mark.parametrize(
    "cheat",
    [
        lambda m, x, y: torch.full_like(x, torch.nan),
        lambda m, x, y: x + 0 * x,
        lambda m, x, y: torch.full_like(x, torch.inf),
    ],
    ids=["nan", "nothing", "infinite"],
)
def test_cheats_gain_nothing(cheat, case):
    model, images, labels = case
    found = union(model, images, labels, threat=THREAT, attacks={"cheat": cheat})
    assert not bool(found.success.any())
    assert torch.equal(found.images, images)


def test_an_attack_that_leaves_the_ball_is_brought_back(case):
    model, images, labels = case
    far = {"far": lambda m, x, y: fgsm(m, x, y, threat=Threat("linf", 0.5))}
    found = union(model, images, labels, threat=Threat("linf", 1e-4), attacks=far)
    assert bool(Threat("linf", 1e-4).inside(found.images, images).all())
    assert found.success.sum() < 5


def test_another_shape_is_named(case):
    model, images, labels = case
    with pytest.raises(ValueError, match="'odd' must return"):
        union(model, images, labels, threat=THREAT, attacks={"odd": lambda m, x, y: x[:1]})


def test_what_an_attack_from_elsewhere_costs_is_counted(case):
    model, images, labels = case

    def steps(m, x, y):
        for _ in range(3):
            x = fgsm(m, x, y, threat=Threat("linf", 0.01))
        return x

    joined = union(model, images, labels, threat=THREAT, attacks={"steps": steps})
    assert joined.costs["steps"].forwards == 3 * 40
    assert joined.costs["steps"].found == sum(name == "steps" for name in joined.by)
    assert joined.forwards == (3 + 2) * 40
    assert not model._forward_pre_hooks


class Shaky(torch.nn.Module):
    """Right about everything, unless its dropout is on."""

    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.9)

    def forward(self, images):
        return self.drop(torch.ones(len(images), 4)).cumsum(1).flip(1) + 0 * images.mean()


def moved_in_place(model, images, labels):
    images.fill_(0.9)
    return images


def relabelled(model, images, labels):
    labels.add_(1).remainder_(3)
    return images


def shaken(model, images, labels):
    model.train()
    return images


@pytest.mark.parametrize("cheat", [moved_in_place, relabelled, shaken])
def test_an_attack_that_tampers_with_what_judges_it_wins_nothing(cheat, generator):
    torch.manual_seed(0)
    model = Shaky().eval()
    images = 0.2 + 0.01 * torch.rand(30, 16, generator=generator)
    labels = torch.zeros(30, dtype=torch.long)
    joined = union(model, images, labels, threat=Threat("linf", 0.01), attacks={"cheat": cheat})
    assert not bool(joined.success.any())
    assert labels.unique().tolist() == [0]
    assert images.max().item() < 0.3
