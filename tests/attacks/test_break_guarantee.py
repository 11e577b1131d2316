"""Breaking guarantees: exact on linear models, one counterexample an alternative, never fooled."""

import pytest
import torch
from oracles import Linear, exact_pairwise, random_linear
from torch import nn

from surefoot.attacks import apgd, break_guarantee
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.uncertainty import Selective
from surefoot.uncertainty.scores import entropy

GUARANTEES = [Local(), TopK(2), RelaxedTopK(3), Affinity(((0, 1), (2, 3, 4)))]


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=repr)
def test_each_alternative_falls_exactly_beyond_its_radius(guarantee, generator):
    model = random_linear(5, 12).float()
    images = 0.5 + 0.03 * torch.randn(60, 12, generator=generator)
    outcomes = model(images).detach()
    sets = guarantee.sets(outcomes)
    radii = guarantee.lipschitz_radii(outcomes, sets, exact_pairwise(model).detach().double())
    eps = radii[radii > 0].median().item()
    result = break_guarantee(model, images, guarantee=guarantee, threat=Threat("l2", eps), steps=50)
    available = sets.any(2)
    clear = available & ((radii - eps).abs() > 1e-3 * eps)
    assert torch.equal(result.broken[clear], (radii < eps)[clear])
    assert torch.equal(result.success, (result.broken | ~available).all(1))
    where = result.broken.nonzero()
    counterexamples = result.counterexamples[result.broken]
    assert bool(Threat("l2", eps).inside(counterexamples, images[where[:, 0]]).all())
    margins = guarantee.margins(model(counterexamples), sets[where[:, 0]])
    assert bool((margins[torch.arange(len(where)), where[:, 1]] <= 0).all())


def test_two_alternatives_may_need_two_images():
    """{0} falls only to the right, {0, 1} only to the left: no single image breaks both."""
    model = Linear(torch.tensor([[0.0], [1.0], [-1.0]]), torch.tensor([0.3, -0.4, 0.25]))
    images = torch.tensor([[0.5]])
    guarantee, threat = RelaxedTopK(2), Threat("linf", 0.4)
    sets = guarantee.sets(model(images))
    assert sets.sum().item() == 3
    grid = torch.linspace(0.1, 0.9, 801).unsqueeze(1)
    broken = guarantee.margins(model(grid), sets.expand(801, -1, -1)) <= 0
    assert bool(broken.any(0).all())
    assert not bool(broken.all(1).any())
    result = break_guarantee(model, images, guarantee=guarantee, threat=threat)
    assert bool(result.success.all())
    assert result.broken.tolist() == [[True, True]]


def test_labels_restrict_the_attack_to_alternatives_that_are_right():
    model = Linear(torch.eye(4), torch.tensor([0.3, 0.2, 0.1, 0.0]))
    images = torch.full((3, 4), 0.5)
    labels = torch.tensor([0, 1, 3])
    result = break_guarantee(
        model, images, guarantee=RelaxedTopK(2), threat=Threat("linf", 0.01), labels=labels
    )
    assert result.success.tolist() == [False, False, True]
    assert result.by == ["", "", "clean"]


def test_local_is_at_least_as_strong_as_plain_auto_pgd(generator):
    torch.manual_seed(0)
    model = build("mlp", inputs=64, hidden=(64, 64)).eval()
    images = torch.rand(100, 1, 8, 8, generator=generator)
    labels = model(images).argmax(1)
    for threat in (Threat("linf", 0.015), Threat("l2", 0.08)):
        plain = model(apgd(model, images, labels, threat=threat)).argmax(1) != labels
        ours = break_guarantee(model, images, guarantee=Local(), threat=threat).success
        assert 0 < plain.sum() < 100
        assert ours.sum() >= plain.sum()


@pytest.mark.parametrize("guarantee", [Local(), RelaxedTopK(2)], ids=repr)
def test_verdicts_do_not_depend_on_the_batch(guarantee, generator):
    torch.manual_seed(0)
    model = build("mlp", inputs=64, hidden=(64,)).eval()
    images = torch.rand(8, 1, 8, 8, generator=generator)
    threat = Threat("linf", 0.01)
    results = [
        break_guarantee(
            model, images, guarantee=guarantee, threat=threat, steps=10, batch_size=size
        )
        for size in (1, 3, 250)
    ]
    assert 0 < results[0].broken.sum() < results[0].broken.numel()
    assert torch.equal(results[0].broken, results[1].broken)
    assert torch.equal(results[0].broken, results[2].broken)


class Ridge(nn.Module):
    """Label 0 up to .4, label 1 beyond; uncertain around it: wrong AND accepted from .6 on."""

    rejects = True

    def forward(self, images):
        x = images.flatten(1)[:, :1]
        return torch.cat([0.4 - x, x - 0.4, 0.5 * (0.2 + (x - 0.4).abs())], 1)


def test_the_search_does_not_stop_at_wrong_but_rejected():
    model, images = Ridge(), torch.tensor([[0.2]])
    points = model(torch.tensor([[0.2], [0.5], [0.7]])).argmax(1)
    assert points.tolist() == [0, 2, 1]
    guarantee = LabelOrUncertain()
    near = break_guarantee(model, images, guarantee=guarantee, threat=Threat("linf", 0.35))
    assert not bool(near.success.any())  # wrong labels are in reach, but all are rejected
    far = break_guarantee(model, images, guarantee=guarantee, threat=Threat("linf", 0.45))
    assert bool(far.success.all())
    assert model(far.images).argmax(1).item() == 1
    assert bool(
        break_guarantee(model, images, guarantee=Local(), threat=Threat("linf", 0.35)).success
    )


def test_rejection_makes_wrong_and_accepted_rarer_and_unchanged_rarer_too(generator):
    torch.manual_seed(0)
    base = build("mlp", inputs=64, hidden=(64,)).eval()
    images = torch.rand(60, 1, 8, 8, generator=generator)
    threshold = entropy(base(images)).median().item()
    model, threat = Selective(base, "entropy", threshold), Threat("linf", 0.01)
    given = {"threat": threat, "labels": base(images).argmax(1), "steps": 40}
    plain = break_guarantee(base, images, guarantee=Local(), **given).success
    wrong = break_guarantee(model, images, guarantee=LabelOrUncertain(), **given).success
    changed = break_guarantee(model, images, guarantee=Local(), **given).success
    assert wrong.sum() < plain.sum() < changed.sum()
    assert not bool((wrong & ~plain).any())


def test_a_model_that_answers_nan_claims_nothing():
    class Broken(nn.Module):
        def forward(self, images):
            logits = torch.stack([images.flatten(1)[:, 0] - 0.5, 0.5 - images.flatten(1)[:, 0]], 1)
            return torch.where(images.flatten(1)[:, :1] > 0.9, torch.nan, logits)

    images = torch.tensor([[0.95], [0.7]])
    result = break_guarantee(Broken(), images, guarantee=Local(), threat=Threat("linf", 0.1))
    assert result.success.tolist() == [True, False]
    wider = break_guarantee(Broken(), images, guarantee=Local(), threat=Threat("linf", 0.21))
    assert wider.success.tolist() == [True, True]


def test_a_radius_of_zero_changes_nothing(generator):
    model = random_linear(3, 4).float()
    images = torch.rand(10, 4, generator=generator)
    result = break_guarantee(model, images, guarantee=Local(), threat=Threat("l2", 0.0))
    assert not bool(result.success.any())
    assert result.by == [""] * 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guarantee": LabelOrUncertain()}, "rejects = True"),
        ({"guarantee": TopK(3)}, "3 of 3 outcomes"),
        ({"labels": torch.tensor([0, 3])}, r"must lie in \[0, 2\]"),
        ({"images": torch.full((2, 4), 255.0)}, "raw input"),
    ],
)
def test_bad_arguments(change, message):
    model = random_linear(3, 4).float()
    arguments = {
        "images": torch.full((2, 4), 0.5),
        "guarantee": Local(),
        "threat": Threat(),
        **change,
    }
    images = arguments.pop("images")
    with pytest.raises((ValueError, TypeError), match=message):
        break_guarantee(model, images, **arguments)
