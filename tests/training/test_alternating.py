"""Perturbations that take turns: each batch is moved by one of them."""

import pytest
import torch
from torch import nn

from surefoot.threat import Threat
from surefoot.training import Alternating, Perturbation, Recipe, Training, fit, make_recipe


def test_every_batch_is_moved_by_one_perturbation_and_all_get_their_turn(generator):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    images = 0.5 + 0.1 * torch.rand(6, 1, 4, 4, generator=generator)
    labels = net(images).argmax(1)
    moves = tuple(
        Perturbation(Threat(norm, 0.1), steps=3, step_size=0.05) for norm in ("linf", "l2")
    )
    single = [one.move(net, images, labels, generator) for one in moves]
    turns = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(40):
        moved = Recipe(Alternating(moves)).perturb(net, images, labels, turns)
        seen.add(next(i for i, one in enumerate(single) if torch.equal(moved, one)))
    assert seen == {0, 1}


def test_one_perturbation_alone_takes_no_turns():
    with pytest.raises(ValueError, match="two or more"):
        Alternating((Perturbation(),))


def test_it_trains_like_any_recipe(tmp_path):
    from surefoot.data import load

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    data = load("digits", "train").first(200)
    one, other = (
        make_recipe("udp", norm=norm, eps=eps, steps=2).perturbation
        for norm, eps in (("linf", 0.1), ("l2", 0.5))
    )
    training = Training(epochs=20, batch_size=50, learning_rate=3e-2)
    fit(net, data, Recipe(Alternating((one, other))), tmp_path, training=training)
    images, labels = data.batch(slice(None))
    assert (net(images).argmax(1) == labels).float().mean().item() > 0.7
