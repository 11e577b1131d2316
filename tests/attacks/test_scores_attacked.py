"""Attacks on the score: closed form on a line, every score up and down, and refusals undone."""

import pytest
import torch
from oracles import Linear

from surefoot.attacks import break_selective, lower_score, raise_score
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.uncertainty import Selective
from surefoot.uncertainty.scores import SCORES

LINE = Linear(torch.tensor([[8.0], [-8.0]]), torch.tensor([-4.0, 4.0]))
"""Two classes that meet at .5: certainty grows with the distance from there."""


@pytest.mark.parametrize("score", ["entropy", "least-confidence", "margin-uncertainty"])
def test_on_a_line_the_extremes_are_known(score):
    images = torch.tensor([[0.1], [0.45], [0.8]])
    threat = Threat("linf", 0.2)
    unsure = raise_score(LINE, images, threat=threat, score=score, steps=60)
    assert torch.allclose(unsure, torch.tensor([[0.3], [0.5], [0.6]]), atol=2e-3)
    sure = lower_score(LINE, images, threat=threat, score=score, steps=60)
    assert torch.allclose(sure, torch.tensor([[0.0], [0.25], [1.0]]), atol=2e-3)


@pytest.mark.parametrize("score", list(SCORES))
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_score_moves_the_way_it_is_pushed(score, norm, generator):
    torch.manual_seed(0)
    model = build("mlp", inputs=16, hidden=(32,), classes=5).eval()
    images = torch.rand(12, 1, 4, 4, generator=generator)
    threat = Threat(norm, 0.1 if norm == "linf" else 0.4)
    measure = SCORES[score]
    here = measure(model(images))
    up = raise_score(model, images, threat=threat, score=score, steps=20)
    down = lower_score(model, images, threat=threat, score=score, steps=20, batch_size=5)
    assert bool((measure(model(up)) > here).all())
    assert bool((measure(model(down)) < here).all())
    for moved in (up, down):
        assert bool(threat.inside(moved, images).all())
    again = lower_score(model, images, threat=threat, score=score, steps=20)
    assert torch.allclose(measure(model(again)), measure(model(down)), atol=1e-3)


def test_scores_that_are_flat_in_floating_point_are_climbed_all_the_same():
    steep = Linear(torch.tensor([[4000.0], [-4000.0]]), torch.tensor([-2000.0, 2000.0]))
    images = torch.tensor([[0.6]])
    for score in ("entropy", "least-confidence", "margin-uncertainty"):
        found = raise_score(steep, images, threat=Threat("linf", 0.2), score=score)
        assert abs(found.item() - 0.5) < 1e-3


def test_a_refused_stranger_is_made_acceptable_without_a_label():
    model = Selective(LINE, "least-confidence", 0.05)
    images = torch.tensor([[0.5], [0.45]])
    assert model(images).argmax(1).tolist() == [2, 2]
    near, far = Threat("linf", 0.1), Threat("linf", 0.3)  # accepted from .5 +- .184 on
    for threat, falls in ((near, False), (far, True)):
        found = break_selective(model, images, None, threat=threat, question="accepted")
        assert found.success.tolist() == [falls] * 2
    with pytest.raises(ValueError, match="labels"):
        break_selective(model, images, None, threat=near)


def test_an_unknown_score_is_named():
    with pytest.raises(ValueError, match="entropy"):
        raise_score(LINE, torch.tensor([[0.5]]), threat=Threat(), score="surprise")
