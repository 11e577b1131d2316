"""Warnings of attacks: each with a case that must set it off and one that must not."""

import pytest
import torch
from torch import nn

from surefoot.attacks import break_guarantee
from surefoot.attacks.attack_warnings import (
    black_box_wins,
    blind_gradients,
    short_steps,
    square_alone,
)
from surefoot.attacks.counted import Cost
from surefoot.guarantees import Local
from surefoot.threat import Threat


def test_attacks_without_gradients_are_named_in_one_sentence():
    costs = {
        "soft": Cost(backwards=100, blind=100),
        "margin": Cost(backwards=100, blind=6),
        "target": Cost(backwards=100, blind=5),
        "square": Cost(forwards=5000),
    }
    (said,) = blind_gradients(costs)
    assert "soft (100%), margin (6%):" in said
    assert "target" not in said
    assert "square" not in said
    assert blind_gradients({name: costs[name] for name in ("target", "square")}) == []


def test_a_search_without_gradients_that_finds_more_is_named():
    found = {"apgd": Cost(found=40), "square": Cost(found=3)}
    assert "broke 3 of 1000 images" in black_box_wins(found, 1000)[0]
    assert black_box_wins(found, 1500) == []  # 0.2 % is an accident
    assert black_box_wins({"apgd": Cost(found=40), "square": Cost()}, 10) == []
    assert black_box_wins({"apgd": Cost(found=40)}, 10) == []


@pytest.mark.parametrize(("steps", "fraction"), [(40, 1 / 20), (3, 2 / 3), (7, 2 / 7), (10, 0.3)])
@pytest.mark.parametrize("eps", [8 / 255, 0.1, 0.3])
def test_steps_that_just_cross_the_ball_are_enough(steps, fraction, eps):
    assert short_steps(steps, fraction * eps, eps) == []


def test_steps_that_cannot_cross_the_ball_are_reported_with_the_least_that_can():
    eps = 0.3
    (said,) = short_steps(40, eps / 30, eps)  # a default in the field: 1.33 eps
    assert "40 steps of 0.01 reach 0.4, less than the diameter 0.6" in said
    assert "at least 0.015" in said
    assert short_steps(40, 0.015, eps) == []
    assert len(short_steps(40, 0.015 * (1 - 1e-6), eps)) == 1


class Masked(nn.Module):
    """A linear net, or the same answers without their gradient."""

    def __init__(self, fraction):
        super().__init__()
        self.fraction = fraction

    def forward(self, images):
        lead = images.flatten(1).sum(1, keepdim=True) - 1
        logits = torch.cat([lead, -lead], 1)
        hidden = images.flatten(1)[:, :1] < self.fraction
        return torch.where(hidden, logits.detach(), logits)


@pytest.mark.parametrize(("fraction", "warnings"), [(1.1, 1), (-0.1, 0)])
def test_results_carry_their_warnings(fraction, warnings):
    images = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    result = break_guarantee(
        Masked(fraction), images, guarantee=Local(), threat=Threat("linf", 0.05), steps=5
    )
    assert len(result.warnings) == warnings


def test_square_beats_only_what_has_had_its_turn():
    costs = {"apgd-ce": Cost(10, 10, 0.1, 0, 5), "square": Cost(10, 0, 0.1, 0, 3)}
    assert black_box_wins(costs, 100)
    later = costs | {"apgd-t": Cost(10, 10, 0.1, 0, 2)}
    assert black_box_wins(later, 100) == []


@pytest.mark.parametrize("name", ["square", "square-vote"])
def test_square_without_any_other_search_is_named(name):
    alone = {"checks": Cost(forwards=9), name: Cost(forwards=9, found=4)}
    assert "Square alone" in square_alone(alone)[0]
    assert black_box_wins(alone, 10) == []
    assert square_alone({"apgd-ce": Cost(backwards=1), **alone}) == []
    assert square_alone({"checks": Cost(forwards=9)}) == []
