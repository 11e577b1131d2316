"""Certified training by bounds: each loss on a case whose answer is known."""

from functools import partial
from itertools import pairwise, product

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from surefoot.certify.relaxation import certify
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.models import MinMax
from surefoot.threat import Threat
from surefoot.training import Recipe, make_recipe
from surefoot.training.bound_loss import BoundLoss
from surefoot.training.outputs import Outputs, criterion_of
from surefoot.training.surroundings import Ball, BallRegion, Ramp

EPS = 0.1
NOW = Ramp(0.0, 0.0)
"""The final eps from the first step on."""


@pytest.fixture
def images(generator):
    return torch.rand(6, 1, 4, 4, generator=generator)


@pytest.fixture
def small(images):
    """Few pixels: all corners of a ball can be tried."""
    return images[:, :, :3, :3]


@pytest.fixture
def labels(generator):
    return torch.randint(0, 3, (6,), generator=generator)


def net_of(*layers, seed=0):
    torch.manual_seed(seed)
    made = [layer() for layer in layers]
    return nn.Sequential(*made)


LINEAR = (nn.Flatten, partial(nn.Linear, 9, 3))
RELU_NET = (
    partial(nn.Conv2d, 1, 4, 3, 2, 1),
    nn.ReLU,
    nn.Flatten,
    partial(nn.Linear, 16, 8),
    nn.ReLU,
    partial(nn.Linear, 8, 3),
)
NORMALISED = (
    partial(nn.Conv2d, 1, 4, 3, 2, 1, bias=False),
    partial(nn.BatchNorm2d, 4),
    nn.ReLU,
    partial(nn.AvgPool2d, 2),
    nn.Flatten,
    partial(nn.Linear, 4, 3),
)
MIXED = (
    partial(nn.Conv2d, 1, 4, 3, 1, 1),
    MinMax,
    partial(nn.MaxPool2d, 2),
    nn.Flatten,
    partial(nn.Dropout, 0.5),
    partial(nn.Linear, 16, 8),
    nn.Sigmoid,
    partial(nn.Linear, 8, 8),
    nn.GELU,
    partial(nn.Linear, 8, 3),
)
NETS = {"relu": RELU_NET, "batch norm": NORMALISED, "mixed": MIXED}


def loss_of(recipe, net, images, labels, *, done=1.0, train=True):
    """Return the loss of each example as the loop takes it."""
    net.train(train)
    found = recipe.perturb(net, images, labels, torch.Generator().manual_seed(1), done)
    region = found if isinstance(found, BallRegion) else None
    point = found.point if region is not None else found
    outputs = Outputs(
        net, images, point, labels, criterion_of(net, 0.0), net, done=done, region=region
    )
    return recipe.loss(outputs)


def recipe_of(name, norm="linf", eps=EPS, **options):
    return make_recipe(name, threat=Threat(norm, eps), ramp=NOW, regularisation=0.0, **options)


def corners(image, eps, low=0.0, high=1.0):
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=image.numel()))).view(-1, *image.shape)
    return (image + eps * signs).clamp(low, high)


@pytest.mark.parametrize("name", ["ibp", "crown-ibp"])
def test_on_a_linear_net_the_loss_is_the_exact_worst_case(name, small, labels):
    net = net_of(*LINEAR)
    options = {"lines": 1.0} if name == "crown-ibp" else {}
    found = loss_of(recipe_of(name, **options), net, small, labels)
    for image, label, loss in zip(small, labels, found, strict=True):
        with torch.no_grad():  # a margin is linear: each is least at a corner of its own
            logits = net(corners(image, EPS))
            worst = (logits - logits[:, label : label + 1]).amax(0)
        expected = cross_entropy(worst.unsqueeze(0), label.view(1))
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ibp", "crown-ibp"])
def test_on_a_linear_net_the_loss_at_l2_is_the_exact_worst_case(name, small, labels):
    net = net_of(*LINEAR)
    options = {"lines": 1.0} if name == "crown-ibp" else {}
    found = loss_of(recipe_of(name, "l2", **options), net, small, labels)
    weight = net[1].weight
    apart = (weight[labels].unsqueeze(1) - weight).norm(dim=2)
    logits = net(small)
    worst = logits - logits.gather(1, labels.unsqueeze(1)) + EPS * apart
    torch.testing.assert_close(found, cross_entropy(worst, labels, reduction="none"))


@pytest.mark.parametrize("layers", NETS.values(), ids=NETS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("lines", [0.0, 1.0])
def test_bounds_hold_at_random_points_and_gradients_reach_every_weight(
    layers, norm, lines, images, labels, generator
):
    net = net_of(*layers)
    ball, loss = Ball(Threat(norm, EPS), NOW), BoundLoss(lines=lines, initial="given")
    found = loss_of(Recipe(ball, loss), net, images, labels)
    found.sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())
    assert all(bool(weight.grad.isfinite().all()) for weight in net.parameters())
    if layers is NORMALISED:
        return  # its bounds are of another net than the one in eval mode: below
    worst = torch.zeros(len(images))
    net.eval()
    for _ in range(100):
        point = Threat(norm, EPS).random_point(images, generator)
        with torch.no_grad():
            worst = worst.maximum(cross_entropy(net(point), labels, reduction="none"))
    assert bool((worst > 0).all())
    assert bool((worst <= found.detach() + 1e-4).all())


def test_batch_normalisation_takes_the_statistics_of_the_batch(images, labels):
    net, recipe = net_of(*NORMALISED), recipe_of("ibp")
    layer = net[1]
    layer.momentum = 1.0  # stored statistics become those of the batch, but for Bessel's factor
    of_batch = loss_of(recipe, net, images, labels)
    count = len(images) * 4
    layer.running_var.mul_((count - 1) / count)
    torch.testing.assert_close(loss_of(recipe, net, images, labels, train=False), of_batch)
    assert not torch.allclose(layer.running_mean, torch.zeros(4))


def test_bounds_are_those_of_the_certificate(images, labels):
    """On a net that is trained no further, a positive least margin is a certificate by IBP."""
    net = net_of(*RELU_NET).eval()
    with torch.no_grad():
        net[-1].weight.mul_(8)
        labels = net(images).argmax(1)
        for eps in (0.005, 0.01, 0.02, 0.04, 0.08):
            for effort, name in (("ibp", "ibp"), ("crown", "crown-ibp")):
                options = {"lines": 1.0} if name == "crown-ibp" else {}
                found = certify(
                    net,
                    images,
                    guarantee=Local(),
                    threat=Threat("linf", eps),
                    radii=[eps],
                    effort=effort,
                )
                own = positive(recipe_of(name, eps=eps, **options), net, images, labels)
                if effort == "ibp":
                    assert torch.equal(own, found.radius > 0)
                else:  # the certificate also tightens hidden layers
                    assert bool((~own | (found.radius > 0)).all())


def positive(recipe, net, images, labels):
    """Return whether the label's worst logit is above the others: from losses of two labels."""
    seen = []

    def keep(outcomes, truth):
        seen.append(outcomes)
        return cross_entropy(outcomes, truth, reduction="none")

    region = recipe.perturb(net, images, labels, torch.Generator())
    recipe.loss(Outputs(net, images, images, labels, keep, net, region=region))
    others = seen[-1].scatter(1, labels.unsqueeze(1), -torch.inf)
    return others.amax(1) < 0


def test_the_loss_grows_with_eps(images, labels):
    net = net_of(*RELU_NET)
    for name in ("ibp", "crown-ibp"):
        options = {"lines": 1.0} if name == "crown-ibp" else {}
        found = [
            loss_of(recipe_of(name, eps=eps, **options), net, images, labels)
            for eps in (0.0, 0.01, 0.05, 0.1, 0.5)
        ]
        for smaller, larger in pairwise(found):
            assert bool((smaller < larger + 1e-6).all())
        clean = cross_entropy(net(images), labels, reduction="none")
        torch.testing.assert_close(found[0], clean)


def test_lines_are_nearer_than_intervals_on_a_small_ball(images, labels):
    net = net_of(*RELU_NET)
    by = {
        lines: loss_of(recipe_of("crown-ibp", eps=0.02, lines=lines), net, images, labels)
        for lines in (0.0, 0.5, 1.0)
    }
    assert bool((by[1.0] <= by[0.0] + 1e-6).all())
    assert by[1.0].sum() < by[0.5].sum() < by[0.0].sum()
    torch.testing.assert_close(by[0.0], loss_of(recipe_of("ibp", eps=0.02), net, images, labels))


def test_special_cases(images, labels):
    net = net_of(*RELU_NET)
    ibp = loss_of(recipe_of("ibp"), net, images, labels)
    sabr = recipe_of("sabr", fraction=1.0)
    torch.testing.assert_close(loss_of(sabr, net, images, labels), ibp)
    whole = recipe_of("mtl-ibp", weight=1.0)
    torch.testing.assert_close(loss_of(whole, net, images, labels), ibp)
    none = recipe_of("mtl-ibp", weight=0.0, steps=5)
    pgd = make_recipe("pgd", threat=Threat("linf", EPS), steps=5)
    torch.testing.assert_close(
        loss_of(none, net, images, labels), loss_of(pgd, net, images, labels)
    )
    half = recipe_of("mtl-ibp", weight=0.5, steps=5)
    expected = (ibp + loss_of(pgd, net, images, labels)) / 2
    torch.testing.assert_close(loss_of(half, net, images, labels), expected)


def test_a_small_ball_lies_inside_the_whole_one(images, labels):
    net = net_of(*RELU_NET)
    for norm in ("linf", "l2"):
        recipe = recipe_of("sabr", norm, eps=0.3, fraction=0.25)
        region = recipe.perturb(net, images, labels, torch.Generator())
        assert region.threat.eps == pytest.approx(0.075)
        distance = Threat(norm).distance(region.centers, images)
        assert bool((distance <= 0.225 + 1e-6).all())
        assert distance.max() > 0.1
        small = loss_of(recipe_of("sabr", norm, eps=0.3, fraction=0.25), net, images, labels)
        whole = loss_of(recipe_of("ibp", norm, eps=0.3), net, images, labels)
        assert bool((small <= whole + 1e-5).all())


def test_the_course_of_eps_is_smooth_and_rises():
    ramp = Ramp(0.1, 0.5)
    points = [index / 1000 for index in range(1001)]
    found = [ramp.progress(point) for point in points]
    assert found[:100] == [0.0] * 100
    assert found[601:] == [1.0] * 400
    steps = [later - sooner for sooner, later in pairwise(found)]
    assert min(steps) >= 0
    bends = [abs(later - sooner) for sooner, later in pairwise(steps)]
    assert max(bends[101:595]) < 1e-4
    assert Ramp(0.0, 0.0).progress(0.0) == 1.0
    with pytest.raises(ValueError, match="together at most 1"):
        Ramp(0.6, 0.5)


SETS = (TopK(2), RelaxedTopK(2), Affinity(((0, 1), (2,))))


@pytest.mark.parametrize("guarantee", SETS, ids=repr)
@pytest.mark.parametrize("eps", [0.0, 0.01, 0.04])
def test_sets_take_the_best_alternative(guarantee, eps, small, labels):
    """Against every pair of logits, alternative by alternative, on a linear net: exact bounds."""
    net = net_of(*LINEAR)
    found = loss_of(recipe_of("ibp", eps=eps, guarantee=guarantee), net, small, labels)
    logits = net(small)
    for place, (image, label) in enumerate(zip(small, labels.tolist(), strict=True)):
        with torch.no_grad():
            at_corners = net(corners(image, eps)) if eps else logits[place : place + 1]
        least = (at_corners.unsqueeze(2) - at_corners.unsqueeze(1)).amin(0)
        sets = guarantee.sets(logits[place : place + 1])[0]
        own = [set(row.nonzero().flatten().tolist()) for row in sets if row[label]] or [{label}]
        best = max(own, key=lambda one: min(least[a, i] for a in one for i in {0, 1, 2} - one))
        worst = logits[place] - logits[place, label]
        for i in {0, 1, 2} - best:
            worst[i] = -min(least[a, i] for a in best)
        expected = cross_entropy(worst.unsqueeze(0), torch.tensor([label]))
        torch.testing.assert_close(found[place], expected, rtol=1e-4, atol=1e-5)


def test_a_gap_is_required_of_the_label_or_allowed_to_it(small, labels):
    """By hand: (i) shifts every other class up by the gap, (ii) down."""
    net, gap = net_of(*LINEAR), 0.3
    apart = (net[1].weight[labels].unsqueeze(1) - net[1].weight).abs()
    middle = (small - EPS).clamp(min=0) / 2 + (small + EPS).clamp(max=1) / 2
    half = (small + EPS).clamp(max=1) / 2 - (small - EPS).clamp(min=0) / 2
    worst = net(middle) - net(middle).gather(1, labels.unsqueeze(1))
    worst = worst + (apart @ half.flatten(1).unsqueeze(2)).squeeze(2)
    others = 1 - nn.functional.one_hot(labels, 3)
    for guarantee, sign in ((Local(), 1), (LabelOrUncertain(), -1)):
        recipe = recipe_of("ibp", guarantee=guarantee, gap=gap)
        expected = cross_entropy(worst + sign * gap * others, labels, reduction="none")
        torch.testing.assert_close(loss_of(recipe, net, small, labels), expected)


def test_weights_move_with_eps(images, labels):
    net = net_of(*RELU_NET)
    with torch.no_grad():
        net[3].weight.mul_(8)  # wide bounds: the penalty is above 0
    recipe = make_recipe("ibp", threat=Threat("linf", EPS), ramp=Ramp(0.2, 0.6))
    clean = cross_entropy(net(images), labels, reduction="none")
    torch.testing.assert_close(loss_of(recipe, net, images, labels, done=0.1), clean)
    region = recipe.perturb(net, images, labels, torch.Generator(), 0.5)
    assert 0 < region.progress < 1
    assert region.threat.eps == pytest.approx(EPS * region.progress)
    at_half = loss_of(recipe, net, images, labels, done=0.5)
    # What is left of the penalty is the same for every example.
    bare = make_recipe("ibp", threat=Threat("linf", EPS), ramp=Ramp(0.2, 0.6), regularisation=0.0)
    penalty = at_half - loss_of(bare, net, images, labels, done=0.5)
    assert penalty.min() > 0
    torch.testing.assert_close(penalty, penalty.mean().expand_as(penalty))
    inner = recipe_of("ibp", eps=EPS * region.progress)
    worst = loss_of(inner, net, images, labels)
    mixed = (1 - region.progress) * clean + region.progress * worst
    torch.testing.assert_close(loss_of(bare, net, images, labels, done=0.5), mixed)


def test_mistakes_are_named(images, labels):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]; found 1.5"):
        BoundLoss(weight=1.5)
    with pytest.raises(ValueError, match="`gap` goes with"):
        BoundLoss(guarantee=TopK(2), gap=1.0)
    with pytest.raises(ValueError, match="`fraction` must lie"):
        make_recipe("sabr", fraction=0.0)
    with pytest.raises(ValueError, match="give the recipe a perturbation"):
        loss_of(Recipe(loss=BoundLoss()), net_of(*RELU_NET), images, labels)

    class Factor(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.net = net_of(*LINEAR)

        def forward(self, images):
            return self.net(images) * self.weight

    with pytest.raises(ValueError, match="bounds give it no gradient"):
        loss_of(recipe_of("ibp"), Factor(), images[:, :, :3, :3], labels)
