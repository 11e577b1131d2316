"""Attacks on the smoothed score: brute force on a line, both ways, and certificates that hold."""

import pytest
import torch
from oracles import Linear

from surefoot.attacks import push_mean_score
from surefoot.attacks.mean_score import MeanSearch
from surefoot.certify.smoothing import count, mean_bounds
from surefoot.models import build
from surefoot.streams import normal
from surefoot.threat import Threat
from surefoot.uncertainty.scores import SCORES
from surefoot.uncertainty.vote import Vote

LINE = Linear(torch.tensor([[8.0], [-8.0]]), torch.tensor([-4.0, 4.0]))
"""Two classes that meet at .5: the mean score over noise falls with the distance from there."""
FINE = tuple(j / 1000 for j in range(1, 1001))


def mean_score(model, images, sigma, score):
    """The mean over noise that no attack has seen."""
    noise = normal((4000, *images.shape[1:]), 99)
    return torch.stack([SCORES[score](model(image + sigma * noise)).mean() for image in images])


@pytest.mark.parametrize("score", ["entropy", "least-confidence", "margin-uncertainty"])
def test_on_a_line_the_extremes_are_those_of_brute_force(score):
    images, threat, vote = torch.tensor([[0.2], [0.35], [0.8]]), Threat("l2", 0.1), Vote(LINE, 0.2)
    up = push_mean_score(vote, images, threat=threat, score=score, how=MeanSearch(draws=500))
    down = push_mean_score(
        vote, images, threat=threat, score=score, direction="down", how=MeanSearch(draws=500)
    )
    assert torch.allclose(up, torch.tensor([[0.3], [0.45], [0.7]]), atol=1e-3)
    assert torch.allclose(down, torch.tensor([[0.1], [0.25], [0.9]]), atol=1e-3)
    grid = torch.linspace(0.1, 0.3, 41).unsqueeze(1)
    means = mean_score(LINE, grid, 0.2, score)
    assert abs(mean_score(LINE, up[:1], 0.2, score) - means.max()) < 2e-3
    assert abs(mean_score(LINE, down[:1], 0.2, score) - means.min()) < 2e-3


def test_the_mean_moves_further_in_larger_balls_and_never_past_its_certificate(generator):
    torch.manual_seed(0)
    model = build("mlp", inputs=16, hidden=(32,), classes=5).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3)  # a net that is sure here and unsure there
    images, vote = torch.rand(10, 1, 4, 4, generator=generator), Vote(model, 0.25)
    table = count(vote, images, 2000, 5, edges=FINE)
    last = {"up": torch.zeros(10), "down": torch.ones(10)}
    for eps in (0.1, 0.3, 0.6):
        threat = Threat("l2", eps)
        low, high = mean_bounds(table.scores(), eps / 0.25, 1e-3)
        for direction, sign in (("up", 1), ("down", -1)):
            found = push_mean_score(
                vote, images, threat=threat, direction=direction, how=MeanSearch(draws=16)
            )
            assert bool(threat.inside(found, images).all())
            mean = mean_score(model, found, 0.25, "entropy")
            assert bool((sign * (mean - last[direction]) > 0).all())
            assert bool(((low <= mean) & (mean <= high)).all())
            last[direction] = mean


def test_batches_change_nothing_and_the_original_stays_where_all_is_flat(generator):
    images, vote = torch.rand(7, 1, generator=generator), Vote(LINE, 0.1)
    whole = push_mean_score(vote, images, threat=Threat("l2", 0.05), how=MeanSearch(steps=5))
    parts = push_mean_score(
        vote, images, threat=Threat("l2", 0.05), how=MeanSearch(steps=5, batch_size=3)
    )
    assert torch.equal(whole, parts)
    flat = Vote(Linear(torch.zeros(2, 1)), 0.1)
    assert torch.equal(push_mean_score(flat, images, threat=Threat("l2", 0.1)), images)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="entropy"):
        push_mean_score(Vote(LINE, 0.1), torch.tensor([[0.5]]), threat=Threat(), score="surprise")
    with pytest.raises(ValueError, match="draws"):
        push_mean_score(
            Vote(LINE, 0.1), torch.tensor([[0.5]]), threat=Threat(), how=MeanSearch(draws=0)
        )
