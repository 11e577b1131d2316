"""Fixed-step attacks: closed forms, a literal restatement, and what they must not touch."""

import copy

import pytest
import torch
from oracles import Linear, random_linear
from torch import nn

from surefoot.attacks import apgd, fgsm, pgd, udp
from surefoot.attacks.objectives import cross_entropy, cw, entropy
from surefoot.models import PreActResNet18, build
from surefoot.threat import Threat


@pytest.fixture
def images(generator):
    return torch.rand(32, 1, 8, 8, generator=generator)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build("mlp", inputs=64, hidden=(32,)).eval()


def labels_of(model, images):
    return model(images).argmax(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_step_on_a_linear_model_is_the_worst_case(norm, generator):
    """For two classes the worst point of the ball is x + eps s(w_1 - w_0), box aside."""
    model = random_linear(2, 6)
    images = 0.5 + 0.01 * torch.randn(20, 6, generator=generator, dtype=torch.float64)
    labels = model(images).argmax(1)
    threat = Threat(norm, 0.1)
    found = fgsm(model, images, labels, threat=threat)
    normal = model.weight[1] - model.weight[0]
    sign = 1 - 2 * labels.unsqueeze(1)
    direction = normal.sign() if norm == "linf" else normal / normal.norm()
    assert torch.allclose(found, images + 0.1 * sign * direction, atol=1e-6)
    again = pgd(model, images, labels, threat=threat, steps=10, step_size=0.03)
    assert torch.allclose(cw(model(again), labels), cw(model(found), labels), atol=1e-6)


def test_pgd_is_its_update_rule_step_by_step(model, images):
    labels, threat = labels_of(model, images), Threat("linf", 0.1)
    found = pgd(model, images, labels, threat=threat, steps=7, step_size=0.03)
    x = images.clone()
    for _ in range(7):
        x.requires_grad_()
        (g,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), labels), x)
        x = (x + 0.03 * g.sign()).detach().clamp(0, 1)
        x = images + (x - images).clamp(-0.1, 0.1)
    assert torch.allclose(found, x, atol=2e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_udp_is_its_update_rule_with_the_same_counts(model, images, norm):
    threat, draw = Threat(norm, 0.3), torch.Generator().manual_seed(5)
    found = udp(model, images, threat=threat, steps=9, step_size=0.05, generator=draw)
    counts = torch.randint(1, 10, (32,), generator=torch.Generator().manual_seed(5))
    x = images.clone()
    for step in range(9):
        x.requires_grad_()
        p = model(x).softmax(1)
        (g,) = torch.autograd.grad(-(p * p.log()).sum(), x)
        unit = g.sign() if norm == "linf" else g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        moved = threat.project((x + 0.05 * unit).detach(), images)
        x = torch.where((counts > step).view(-1, 1, 1, 1), moved, x.detach())
    differs = ((found - x).abs() > 1e-5).float().mean().item()
    assert differs < 0.005  # a sign may flip where a gradient is 0 but for rounding


def test_udp_raises_the_entropy_and_needs_no_label(model, images):
    found = udp(model, images, threat=Threat("linf", 0.2), steps=10, step_size=0.02)
    assert bool((entropy(model(found)) > entropy(model(images))).float().mean() > 0.95)


def test_entropy_climbs_from_a_gap_of_ten_thousand():
    model = Linear(torch.tensor([[1e4, 0.0], [-1e4, 0.0]]))
    images = torch.tensor([[0.9, 0.5]])
    start = images.clone().requires_grad_()
    value = entropy(model(start))
    (gradient,) = torch.autograd.grad(value.sum(), start)
    assert bool(value.isfinite().all() & gradient.isfinite().all())
    found = udp(
        model, images, threat=Threat("linf", 0.5), steps=5, step_size=0.1, step_counts="fixed"
    )
    assert found[0, 0].item() == pytest.approx(0.4, abs=1e-5)


def test_the_uncertain_column_takes_no_part_in_the_entropy(model, images):
    class Shy(nn.Module):
        rejects = True

        def forward(self, x):
            logits = model(x)
            return torch.cat([logits, 100 * x.flatten(1)[:, :1]], 1)

    draw = [torch.Generator().manual_seed(1) for _ in range(2)]
    kwargs = {"threat": Threat("linf", 0.2), "steps": 5, "step_size": 0.02}
    plain = udp(model, images, generator=draw[0], **kwargs)
    assert torch.equal(udp(Shy(), images, generator=draw[1], **kwargs), plain)


ATTACKS = {
    "fgsm": lambda m, x, y, t: fgsm(m, x, y, threat=t),
    "pgd": lambda m, x, y, t: pgd(m, x, y, threat=t, steps=3, step_size=0.05, restarts=2),
    "udp": lambda m, x, y, t: udp(m, x, threat=t, steps=3, step_size=0.05),
    "apgd": lambda m, x, y, t: apgd(m, x, y, threat=t, steps=5),
}


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", list(ATTACKS))
def test_attacks_stay_legal_and_touch_neither_statistics_nor_weights(name, norm, generator):
    torch.manual_seed(0)
    model = PreActResNet18(planes=1, width=4, dropout=0.3)
    model.train()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    images = torch.rand(6, 1, 8, 8, generator=generator)
    threat = Threat(norm, 0.1)
    found = ATTACKS[name](model, images, torch.zeros(6, dtype=torch.long), threat)
    assert bool(threat.inside(found, images).all())
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(w.grad is None and w.requires_grad for w in model.parameters())
    if name in ("fgsm", "apgd"):  # the others draw from no generator of ours here
        assert torch.equal(state, torch.get_rng_state())


def test_restarts_keep_the_best_for_each_example(model, images, generator):
    labels, threat = labels_of(model, images), Threat("linf", 0.1)
    kwargs = {"threat": threat, "steps": 3, "step_size": 0.05, "random_start": True}
    one = pgd(model, images, labels, generator=torch.Generator().manual_seed(3), **kwargs)
    many = pgd(
        model, images, labels, generator=torch.Generator().manual_seed(3), restarts=4, **kwargs
    )
    first, best = cross_entropy(model(one), labels), cross_entropy(model(many), labels)
    assert bool((best >= first).all())
    assert bool((best > first).any())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "anger"}, "cross-entropy, cw, dlr, entropy"),
        ({"steps": 0}, "steps >= 1"),
        ({"step_size": 0.0}, "step_size > 0"),
        ({"images": torch.full((32, 1, 8, 8), 1.5)}, r"must lie in \[0, 1\]"),
        ({"images": torch.full((32, 1, 8, 8), torch.nan)}, r"must lie in \[0, 1\]"),
    ],
)
def test_bad_arguments(model, images, change, message):
    arguments = {"images": images, "steps": 2, "step_size": 0.1, **change}
    x = arguments.pop("images")
    with pytest.raises(ValueError, match=message):
        pgd(model, x, torch.zeros(32, dtype=torch.long), threat=Threat(), **arguments)


def test_an_image_a_rounding_error_outside_is_accepted(model):
    images = torch.full((2, 1, 8, 8), 1 + 3e-8)
    found = fgsm(model, images, torch.tensor([0, 1]), threat=Threat())
    assert found.max().item() <= 1.0
