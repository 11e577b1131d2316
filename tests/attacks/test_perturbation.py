"""Perturbations and their parts: published updates restated, one-dimensional cases, layers."""

import math

import pytest
import torch
from oracles import Linear
from torch import nn
from torch.nn.functional import cross_entropy

from surefoot.attacks import udp
from surefoot.attacks.ascent import counts_of, nearest_crossing, predicted
from surefoot.attacks.latent import FeatureShift, Space, cut_behind, evaluate
from surefoot.attacks.objectives import entropy, kl_divergence, mutual_information
from surefoot.attacks.perturbation import Perturbation, perturb
from surefoot.models import LeNet, Normalize, PreActResNet18, build
from surefoot.threat import Threat


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(generator):
    return torch.rand(32, 1, 8, 8, generator=generator)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build("mlp", inputs=64, hidden=(32, 32)).eval()


# --- the update of the authors' repository -------------------------------------------------------


@pytest.mark.parametrize("method", ["pgd", "udp"])
def test_the_repositorys_update_restated(method, generator):
    """All samples go to the last step; d is clamped by the box, then by the ball (target T1)."""
    torch.manual_seed(0)
    model = LeNet().eval()
    x = torch.rand(64, 1, 28, 28, generator=generator)
    y = torch.randint(0, 10, (64,), generator=generator)
    eps, size, most = 0.3, 0.03, 10
    objective = "entropy" if method == "udp" else "cross-entropy"
    step_counts = "uniform" if method == "udp" else "fixed"
    how = Perturbation(
        Threat("linf", eps), objective, steps=most, step_size=size, step_counts=step_counts
    )
    found = perturb(model, x, y, how, generator=seeded(3))

    k = torch.full((64,), most)
    if method == "udp":
        k = torch.randint(1, most + 1, (64,), generator=seeded(3))
    d = torch.zeros_like(x)
    for i in range(most):
        d.requires_grad_(True)
        z = model((x + d).clamp(0, 1))
        p = z.softmax(1)
        goal = -(p * p.log()).sum(1) if method == "udp" else cross_entropy(z, y, reduction="none")
        (g,) = torch.autograd.grad(goal.sum(), d)
        with torch.no_grad():
            d = d + size * g.sign() * (k > i).view(-1, 1, 1, 1)
            d = (x + d).clamp(0, 1) - x
            d = d.clamp(-eps, eps)
    differs = ((found - (x + d)).abs() > 1e-6).float().mean().item()
    assert differs <= 0.005
    assert float((found - x).abs().mean()) > 0.03


# --- step rules and step counts in one dimension -------------------------------------------------


def line(boundary):
    """Class 1 above the boundary, class 0 below: entropy is greatest at the boundary."""
    return Linear(torch.tensor([[-4.0], [4.0]]), torch.tensor([4.0, -4.0]) * boundary)


def walk(steps, **parts):
    how = Perturbation(Threat("linf", 1.0), steps=steps, **parts)
    found = perturb(line(0.5), torch.tensor([[0.2]]), torch.tensor([0]), how)
    return found.item()


@pytest.mark.parametrize(
    ("steps", "reached"), [(1, 0.36), (2, 0.36), (3, 0.44), (4, 0.44), (5, 0.48), (12, 0.495)]
)
def test_backtracking_halves_each_step_that_flips(steps, reached):
    """0.36, (0.52 back), 0.44, (0.52 back), 0.48, (0.52 back), (0.50..), ... towards 0.5."""
    parts = {"objective": "entropy", "step_size": 0.16, "step_rule": "backtracking"}
    found = walk(steps, **parts)
    assert found < 0.5
    assert found == pytest.approx(reached, abs=1e-6 if steps < 12 else 5e-3)


def test_plain_steps_overshoot_where_backtracking_does_not(model, images):
    start = predicted(model(images))
    parts = {"objective": "entropy", "steps": 12, "step_size": 0.1, "step_counts": "uniform"}
    threat = Threat("linf", 0.8)
    for rule, flips in (("steepest", True), ("backtracking", False)):
        how = Perturbation(threat, step_rule=rule, **parts)
        found = perturb(model, images, None, how, generator=seeded())
        assert bool(threat.inside(found, images).all())
        assert bool((predicted(model(found)) != start).any()) == flips
        assert bool((entropy(model(found)) > entropy(model(images))).float().mean() > 0.9)


@pytest.mark.parametrize(
    ("extra", "steps", "reached"),
    [(0, 10, 0.55), (1, 10, 0.65), (2, 10, 0.75), (9, 10, 1.0), (0, 2, 0.4)],
)
def test_steps_until_the_boundary_and_beyond(extra, steps, reached):
    how = Perturbation(
        Threat("linf", 1.0),
        steps=steps,
        step_size=0.1,
        step_counts="until-boundary",
        extra_steps=extra,
    )
    images = torch.tensor([[0.25], [0.7]])
    if steps == 2:
        images = torch.tensor([[0.2], [0.7]])
    found = perturb(line(0.5), images, torch.tensor([0, 0]), how)
    assert found[0].item() == pytest.approx(reached, abs=1e-5)
    assert found[1].item() == pytest.approx(min(0.7 + 0.1 * extra, 1.0), abs=1e-5)


@pytest.mark.parametrize(
    ("step_counts", "drawn"),
    [
        ("uniform", {1, 2, 3, 4}),
        ("uniform-below", {1, 2, 3}),
        ("uniform-from-two", {2, 3, 4}),
        ("fixed", {4}),
    ],
)
def test_step_counts_are_uniform(step_counts, drawn):
    counts = counts_of(step_counts, 4, 30_000, seeded())
    fractions = torch.bincount(counts, minlength=5) / 30_000
    expected = [1 / len(drawn) if count in drawn else 0 for count in range(5)]
    assert fractions.tolist() == pytest.approx(expected, abs=0.02)
    assert set(counts.tolist()) == drawn


def test_algorithm_1_to_the_letter_takes_one_step_more_than_it_drew():
    """UDP, Algorithm 1: k ~ U(1, K - 1), then i = 0, ..., k."""
    drawn = counts_of("uniform-below", 7, 1000, seeded())
    assert torch.equal(counts_of("uniform-from-two", 7, 1000, seeded()), drawn + 1)


def test_finished_examples_leave_the_batch(images, model):
    seen = []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return model(x)

    how = Perturbation(
        Threat("linf", 0.1), "entropy", steps=9, step_size=0.02, step_counts="uniform"
    )
    perturb(Watched(), images, None, how, generator=seeded(4))
    counts = torch.randint(1, 10, (32,), generator=seeded(4))
    assert sum(seen) == counts.sum()
    assert seen == sorted(seen, reverse=True)


def test_a_ramp_rises_to_its_peak_and_falls():
    how = Perturbation(Threat("linf", 0.5), steps=5, step_size=0.05, ramp=0.5)
    assert how.step_sizes == pytest.approx([0.05, 0.15, 0.25, 0.15, 0.05])
    flat = Perturbation(Threat("linf", 0.5), steps=3, step_size=0.3, ramp=0.5)
    assert flat.step_sizes == pytest.approx([0.3] * 3)  # never below the step size
    assert walk(3, objective="cw", step_size=0.02, ramp=0.1) == pytest.approx(0.34, abs=1e-6)


def test_the_nearest_crossing_lies_behind_the_boundary_within_a_halving():
    boundary, bisection_steps = 0.4321, 12
    origins, found = torch.tensor([[0.0], [0.3]]), torch.tensor([[1.0], [0.9]])
    near = nearest_crossing(found, origins, lambda x: x[:, 0] > boundary, bisection_steps)
    assert bool((near > boundary).all())
    assert near.flatten().tolist() == pytest.approx([boundary] * 2, abs=2.0**-bisection_steps)


# --- objectives ----------------------------------------------------------------------------------


def test_the_divergence_has_no_slope_at_the_clean_point_so_that_start_is_refused(images, model):
    start = images.clone().requires_grad_()
    clean = model(images).detach()
    (flat,) = torch.autograd.grad(kl_divergence(model(start), clean).sum(), start)
    (steep,) = torch.autograd.grad(entropy(model(start)).sum(), start)
    assert flat.abs().mean() < 1e-4 * steep.abs().mean()
    with pytest.raises(ValueError, match=r"gradient zero at the origin.*uniform"):
        Perturbation(objective="kl")


@pytest.mark.parametrize("start", ["uniform", "normal"])
def test_the_divergence_is_climbed_from_elsewhere(start, images, model):
    threat, clean = Threat("linf", 0.1), model(images).detach()
    how = Perturbation(threat, "kl", steps=5, step_size=0.04, start=start)
    found = perturb(model, images, None, how, generator=seeded())
    assert bool(threat.inside(found, images).all())
    at_random = threat.random_point(images, seeded(1))
    far = kl_divergence(model(found), clean)
    assert bool((far > kl_divergence(model(at_random), clean)).all())


def test_divergence_and_mutual_information_by_hand():
    half, skew = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    value = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert kl_divergence(skew, half).item() == pytest.approx(value, rel=1e-5)
    agree = torch.stack([skew, skew, skew], 2)
    assert mutual_information(agree).item() == pytest.approx(0.0, abs=1e-6)
    sure = torch.tensor([[1e4, 0.0]])
    opposed = torch.stack([sure, sure.flip(1)], 2).requires_grad_()
    value = mutual_information(opposed)
    assert value.item() == pytest.approx(math.log(2), rel=1e-5)
    (gradient,) = torch.autograd.grad(value.sum(), opposed)
    assert bool(gradient.isfinite().all())


class Two(nn.Module):
    """Two nets; the answer is the log of the mean probability."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.nets = nn.ModuleList([build("mlp", inputs=64, hidden=(16,)) for _ in range(2)])

    def members(self, x):
        return torch.stack([net(x) for net in self.nets])

    def forward(self, x):
        return self.members(x).log_softmax(2).logsumexp(0) - math.log(2)


def test_members_are_driven_apart(images):
    model = Two()
    how = Perturbation(Threat("linf", 0.1), "mutual-information", steps=8, step_size=0.03)

    def apart(x):
        return mutual_information(model.members(x).movedim(0, 2))

    found = perturb(model, images, None, how)
    assert bool((apart(found) > apart(images)).all())
    driven = perturb(
        model, images, None, Perturbation(how.threat, "entropy", steps=8, step_size=0.03)
    )
    assert apart(found).mean() > apart(driven).mean()


def test_entropy_of_an_ensemble_is_that_of_the_mean(images):
    """Total uncertainty: the search climbs H of the mean answer, not the mean of H."""
    model = Two()
    found = udp(model, images, threat=Threat("linf", 0.2), steps=1, step_size=0.01)
    start = images.clone().requires_grad_()
    mean = model.members(start).softmax(2).mean(0)
    (slope,) = torch.autograd.grad(-(mean * mean.log()).sum(), start)
    expected = (images + 0.01 * slope.sign()).clamp(0, 1)
    assert ((found - expected).abs() > 1e-6).float().mean() < 0.005


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("objective", ["cross-entropy", "entropy", "kl"])
@pytest.mark.parametrize("rule", ["steepest", "backtracking"])
def test_moving_an_identity_layer_is_moving_the_image(norm, objective, rule, model, generator):
    """Where the image box does not bind, both give the same point."""
    images = 0.3 + 0.4 * torch.rand(16, 64, generator=generator)
    labels = model(images).argmax(1)
    wrapped = nn.Sequential(nn.Identity(), model)
    parts = {"steps": 6, "step_size": 0.02, "start": "uniform", "step_rule": rule}
    threat = Threat(norm, 0.1)
    at_input = Perturbation(threat, objective, **parts)
    at_layer = Perturbation(threat, objective, **parts, space=Space("0", "absolute"))
    found = perturb(wrapped, images, labels, at_input, generator=seeded())
    shift = perturb(wrapped, images, labels, at_layer, generator=seeded())
    assert isinstance(shift, FeatureShift)
    assert shift.offset.abs().max() > 0.01
    assert torch.allclose(images + shift.offset, found, atol=1e-5)
    assert torch.allclose(evaluate(wrapped, wrapped, shift), model(found), atol=1e-4)


class Plain(nn.Module):
    """The same net, out of reach for the cut: the layer's output is replaced by a hook."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("layer", ["0", "1", "2", "3"])
def test_a_cut_net_and_a_hooked_net_give_the_same_offsets(layer, model, images):
    labels = model(images).argmax(1)
    parts = {"steps": 5, "step_size": 0.05, "step_counts": "uniform"}
    offsets = []
    for net, name in ((model, layer), (Plain(model), f"net.{layer}")):
        how = Perturbation(Threat("l2", 0.3), **parts, space=Space(name))
        offsets.append(perturb(net, images, labels, how, generator=seeded()).offset)
    assert torch.allclose(offsets[0], offsets[1], atol=1e-6)
    assert offsets[0].abs().max() > 0


def test_a_cut_composes_to_the_whole(images):
    torch.manual_seed(0)
    net = nn.Sequential(Normalize([0.5], [0.2]), PreActResNet18(planes=1, width=2)).eval()
    for layer in ("0", "1", "1.0", "1.8", "1.12"):
        front, back = cut_behind(net, layer)
        assert torch.equal(back(front(images)), net(images))
    assert cut_behind(net, "1.8.conv1") is None


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_eps_counts_in_typical_norms_of_the_layer(norm, model, images):
    labels = model(images).argmax(1)
    how = Perturbation(Threat(norm, 0.5), steps=4, step_size=0.5, space=Space("2"))
    offset = perturb(model, images, labels, how).offset.flatten(1)
    features = nn.Sequential(*list(model)[:3])(images)
    order = math.inf if norm == "linf" else 2
    typical = torch.linalg.vector_norm(features, order, dim=1).mean()
    reached = torch.linalg.vector_norm(offset, order, dim=1)
    assert torch.allclose(reached, 0.5 * typical.expand_as(reached), rtol=1e-4)


def test_a_shift_adds_to_one_layer_and_leaves_no_hook(model, images):
    offset = torch.randn(32, 32, generator=seeded())
    shift = FeatureShift(images, "1", offset)
    front, back = nn.Sequential(*list(model)[:2]), nn.Sequential(*list(model)[2:])
    expected = back(front(images) + offset)
    assert torch.allclose(evaluate(model, model, shift), expected, atol=1e-5)
    assert all(not module._forward_hooks for module in model.modules())


def test_mutual_information_at_a_layer(images):
    model = Two()
    how = Perturbation(
        Threat("l2", 0.5), "mutual-information", steps=3, step_size=0.2, space=Space("nets.0.1")
    )
    assert perturb(model, images, None, how).offset.abs().max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": Space("nowhere")}, r"`layer` must be one of 0, 1.*'nowhere'"),
        ({"objective": "mutual-information"}, r"members\(images\)"),
        ({"objective": "anger"}, "cross-entropy, cw"),
        ({"steps": 1, "step_counts": "uniform-below"}, "steps >= 2"),
        ({"steps": 1, "step_counts": "uniform-from-two"}, "steps >= 2"),
        ({"extra_steps": -1}, "extra_steps >= 0"),
        ({"objective": "cw", "labels": None}, "needs `labels`"),
        ({"objective": "entropy", "step_counts": "until-boundary", "labels": None}, "`labels`"),
    ],
)
def test_bad_parts_are_refused(change, message, model, images):
    change = dict(change)
    labels = change.pop("labels", torch.zeros(32, dtype=torch.long))
    with pytest.raises(ValueError, match=message):
        perturb(model, images, labels, Perturbation(**change))


def test_a_layer_that_never_runs_is_named(model, images):
    lazy = Plain(model)
    lazy.unused = nn.Linear(1, 1)
    how = Perturbation(space=Space("unused"))
    with pytest.raises(ValueError, match="'unused' is not used"):
        perturb(lazy, images, torch.zeros(32, dtype=torch.long), how)


# --- the theorem ---------------------------------------------------------------------------------


class Moving(nn.Module):
    """A boundary for each example: images (u, w, mean), where u is the way walked towards it."""

    def forward(self, images):
        way = images[:, 0] - 1.0  # the boundary lies at u = 1
        return torch.stack([-way, way], 1)


STEPS = 10


def oracle(boundary, mean, draw):
    """The perturbed point between a class mean and the boundary, found by our own UDP."""
    start = torch.zeros(len(boundary), 1)
    threat = Threat("linf", 1.0)
    way = udp(Moving(), start, threat=threat, steps=STEPS, step_size=1 / STEPS, generator=draw)
    return mean + way[:, 0] * (boundary - mean)


@pytest.mark.parametrize(("low", "high", "start"), [(-1.0, 1.0, 0.9), (-1.0, 3.0, 2.8)])
def test_the_boundary_walks_to_the_middle_in_the_mean_and_keeps_a_known_spread(low, high, start):
    """Theorem B.1, with the moments of k/K in place of those of a uniform number (target T3).

    With b = 1 - k/K, m = E b, s = E b^2, D half the distance of the means: the mean goes to the
    middle by the factor 1 - eta m, and the stationary variance is
    eta D^2 (2/3 s - 1/3 m^2) / (2 m - eta (2/3 s + 1/3 m^2)); 5 eta D^2 / (36 - 11 eta) as K grows.
    """
    eta, chains, draw = 0.5, 4000, seeded(0)
    middle, half = (low + high) / 2, (high - low) / 2
    m = (STEPS - 1) / (2 * STEPS)
    s = (STEPS - 1) * (2 * STEPS - 1) / (6 * STEPS**2)
    boundary = torch.full((chains,), start)
    means = []
    for _ in range(60):
        fraction = torch.rand(chains, generator=draw)
        points = [oracle(boundary, mean, draw) for mean in (low, high)]
        seen = fraction * points[0] + (1 - fraction) * points[1]
        boundary = boundary + eta * (seen - boundary)
        means.append(boundary.mean().item())
    first = middle + (1 - eta * m) * (start - middle)
    assert means[0] == pytest.approx(first, abs=0.02)
    assert means[-1] == pytest.approx(middle, abs=0.02)
    variance = eta * half**2 * (2 / 3 * s - m**2 / 3) / (2 * m - eta * (2 / 3 * s + m**2 / 3))
    assert boundary.std().item() == pytest.approx(math.sqrt(variance), rel=0.04)
    limit = math.sqrt(5 * eta * half**2 / (36 - 11 * eta))
    assert math.sqrt(variance) == pytest.approx(limit, rel=0.12)
