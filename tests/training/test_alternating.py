"""Recipes that take turns: each batch is one of theirs, and the loss is the one they share."""

import pytest
import torch
from torch import nn

from surefoot.threat import Threat
from surefoot.training import PGD, UDP, Alternating, Training, fit


def test_every_batch_belongs_to_one_of_the_recipes_and_all_get_their_turn(generator):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    images = 0.5 + 0.1 * torch.rand(6, 1, 4, 4, generator=generator)
    labels = net(images).argmax(1)
    recipes = tuple(
        PGD(Threat(norm, 0.1), steps=3, step_size=0.05, random_start=False)
        for norm in ("linf", "l2")
    )
    single = [recipe.perturb(net, images, labels, generator) for recipe in recipes]
    turns = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(40):
        moved = Alternating(recipes).perturb(net, images, labels, turns)
        seen.add(next(i for i, one in enumerate(single) if torch.equal(moved, one)))
    assert seen == {0, 1}


def test_recipes_of_different_losses_do_not_mix():

    with pytest.raises(ValueError, match="one kind"):
        Alternating((PGD(), UDP()))
    with pytest.raises(ValueError, match="two or more"):
        Alternating((PGD(),))


def test_it_trains_like_any_recipe(tmp_path):
    from surefoot.data import load

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    data = load("digits", "train").first(200)
    recipe = Alternating((UDP(Threat("linf", 0.1), steps=2), UDP(Threat("l2", 0.5), steps=2)))
    training = Training(epochs=20, batch_size=50, learning_rate=3e-2)
    fit(net, data, recipe, tmp_path, training=training)
    images, labels = data.batch(slice(None))
    assert (net(images).argmax(1) == labels).float().mean().item() > 0.7
