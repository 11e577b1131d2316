"""Linear relaxations: every layer holds every point, linear nets are exact, rounding counts."""

import math

import pytest
import torch
from oracles import make_net
from torch import nn

from surefoot.certify.lipschitz.graph import trace
from surefoot.certify.relaxation import Curve, certify, register
from surefoot.certify.relaxation.curves import (
    HARDSIGMOID,
    HARDSWISH,
    RELU,
    SELU,
    SIGMOID,
    SILU,
    TANH,
    clamped,
    exponential,
    gelu,
    leaky,
)
from surefoot.certify.relaxation.input_set import input_set_of
from surefoot.certify.relaxation.rules import RULES
from surefoot.certify.relaxation.substitution import Bounds, RelaxedNet
from surefoot.guarantees import Local
from surefoot.models import Double, Normalize
from surefoot.models.lipschitz import MinMax, Scale
from surefoot.models.lipschitz.one_lipschitz import Shift
from surefoot.threat import Threat

UNITS = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


class Branches(nn.Module):
    """Sums, differences, constants, slices, concatenation and reshaping between layers."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        self.register_buffer("shift", torch.rand(4, 1, 1))
        self.last = nn.Linear(6 * 36, 5)

    def forward(self, images):
        one, other = self.one(images).relu(), self.other(images).abs()
        both = one + other - 0.3
        both = torch.cat([both, (one - other)[:, :2]], 1) * 1.5
        clipped = torch.clamp(-both[:, :4] / 2 + self.shift, -1.1, 0.9)
        whole = torch.cat([clipped, both[:, 4:].transpose(2, 3)], 1)
        return self.last(whole.reshape(whole.size(0), -1))


class Functions(nn.Module):
    """Functions and methods in place of layers."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 2)
        self.last = nn.Linear(27, 4)

    def forward(self, images):
        features = nn.functional.leaky_relu(self.one(images), negative_slope=0.2)
        features = nn.functional.max_pool2d(features, 3, 2, 1, ceil_mode=True)
        features = nn.functional.gelu(3 * features, approximate="tanh").narrow(2, 0, 3)
        features = nn.functional.hardtanh(self.other(features), -0.2, max_val=0.9)
        features = nn.functional.avg_pool2d(features, 1, stride=2, ceil_mode=True)
        features = nn.functional.dropout(features.sigmoid(), training=self.training)
        features = torch.clip(features, 0.2, 0.8).clamp_min(0.3).clamp_max(max=0.75)
        features = nn.functional.adaptive_avg_pool2d(torch.tanh(features), (3, 3))
        return self.last(nn.functional.elu(nn.functional.silu(features)).flatten(1))


class Residual(nn.Module):
    """A block whose input flows twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.last = nn.Linear(2, 4)

    def forward(self, images):
        images = torch.nn.functional.pad(images, (1, 0, 0, 1), value=0.1)
        features = torch.relu(self.norm(self.conv(images))) + images
        return self.last(features.mean(dim=(2, 3)))


class InPlace(nn.Module):
    """Operations in place, and a constant that float32 cancels: it counts as it is computed."""

    def __init__(self):
        super().__init__()
        self.one, self.last = nn.Conv2d(2, 2, 1), nn.Linear(72, 3)
        self.register_buffer("large", torch.tensor(2.0**24))
        self.register_buffer("small", torch.tensor(0.7))

    def forward(self, images):
        features = self.one(images)
        features += 0.1
        features *= 1.3
        features = features.relu()
        other = self.one(images) - 0.2
        other -= features
        other /= 0.7
        other += (self.large + self.small) - self.large
        return self.last(other.flatten(1).abs())


def shuffled_norm(kind, planes):
    norm = kind(planes)
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.2, 2)
        norm.weight.uniform_(-2, 2)
        norm.bias.uniform_(-1, 1)
    return norm


def dense(*layers, width=12, classes=4):
    return nn.Sequential(nn.Flatten(), *layers, nn.LazyLinear(classes))


def planes(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(4))


IMAGE, LINE = (2, 6, 6), (2, 12)
NETS = {
    "dense": (lambda: dense(nn.Linear(72, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU()), IMAGE),
    "leaky": (lambda: dense(nn.Linear(72, 12), nn.LeakyReLU(0.2), nn.Dropout()), IMAGE),
    "sigmoid": (
        lambda: dense(nn.Linear(72, 12), nn.Sigmoid(), nn.Linear(12, 9), nn.Sigmoid()),
        IMAGE,
    ),
    "tanh": (lambda: dense(nn.Linear(72, 12), nn.Tanh(), Scale(4.0), nn.Tanh()), IMAGE),
    "gelu": (
        lambda: dense(nn.Linear(72, 12), Scale(3.0), nn.GELU(), nn.Linear(12, 9), nn.SiLU()),
        IMAGE,
    ),
    "clamps": (
        lambda: dense(nn.Linear(72, 12), Scale(9.0), nn.ReLU6(), nn.Hardtanh(0.5, 2.3)),
        IMAGE,
    ),
    "minmax": (lambda: dense(nn.Linear(72, 12), MinMax(), nn.Linear(12, 8), MinMax()), IMAGE),
    "minmax planes": (lambda: planes(nn.Conv2d(2, 4, 3), MinMax(), Shift()), IMAGE),
    "convolutions": (
        lambda: planes(
            Normalize((0.3, 0.6), (0.2, 0.3)),
            nn.Conv2d(2, 4, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2),
            nn.ReLU(),
        ),
        IMAGE,
    ),
    "padding": (
        lambda: planes(
            nn.Conv2d(2, 4, 3, padding="same"),
            nn.ReLU(),
            nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"),
            nn.ReLU(),
            nn.Conv2d(3, 3, 3, stride=2, padding=1, padding_mode="circular"),
        ),
        IMAGE,
    ),
    "lines": (
        lambda: planes(
            nn.Conv1d(2, 4, 3, stride=2, padding=1),
            shuffled_norm(nn.BatchNorm1d, 4),
            nn.ReLU(),
            nn.Conv1d(4, 4, 3, groups=2),
            nn.ReLU(),
        ),
        LINE,
    ),
    "norm": (
        lambda: planes(
            nn.Conv2d(2, 4, 3),
            shuffled_norm(nn.BatchNorm2d, 4),
            nn.ReLU(),
            nn.ZeroPad2d(1),
            nn.PixelUnshuffle(2),
            nn.Conv2d(16, 3, 1),
            nn.ReLU(),
        ),
        IMAGE,
    ),
    "maximum": (
        lambda: planes(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.MaxPool2d(3, 2, padding=1),
            nn.Conv2d(4, 4, 2),
            nn.ReLU(),
            nn.MaxPool2d(2, 1),
        ),
        IMAGE,
    ),
    "average": (
        lambda: planes(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((2, 1)),
        ),
        IMAGE,
    ),
    "functions": (Functions, IMAGE),
    "ceil": (
        lambda: planes(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.MaxPool2d((3, 2), (2, 3), padding=(1, 0), ceil_mode=True),
            nn.ConstantPad2d((0, 1, 2, 0), 0.3),
            nn.MaxPool2d(2, 3, dilation=2, ceil_mode=True),
            nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
        ),
        (2, 10, 9),
    ),
    "smooth": (
        lambda: dense(
            *(nn.Linear(72, 12), Scale(3.0), nn.GELU("tanh"), nn.Linear(12, 9), nn.ELU(0.7)),
            *(nn.Linear(9, 9), Scale(3.0), nn.SELU(), Scale(3.0), nn.Hardswish(), Scale(4.0)),
            *(nn.Hardsigmoid(), nn.PReLU()),
        ),
        IMAGE,
    ),
    "branches": (Branches, IMAGE),
    "residual": (Residual, IMAGE),
    "in place": (InPlace, IMAGE),
}


def built(name):
    torch.manual_seed(3)
    make, shape = NETS[name]
    net = make()
    net(torch.rand(2, *shape))
    return net.eval(), shape


def bounds_of(net, images, threat, effort):
    with torch.no_grad():
        relaxed = RelaxedNet(trace(net, tuple(images.shape[1:])))
        eps = torch.full((len(images),), threat.eps, dtype=torch.float64)
        region = input_set_of(images, eps, threat)
        return Bounds(relaxed, region, UNITS[images.dtype], effort)


def all_pairs(images, classes):
    return (~torch.eye(classes, dtype=torch.bool)).expand(len(images), -1, -1)


def corners(images, threat, count, generator):
    """Return points of the set around each image: inside it and on its border."""
    tiled = images.repeat_interleave(count, 0)
    move = torch.randn(tiled.shape, generator=generator, dtype=tiled.dtype)
    if threat.norm == "linf":
        move = (
            move.sign()
            * torch.rand(len(tiled), 1, generator=generator)
            .round()
            .view(-1, *(1,) * (tiled.ndim - 1))
            .to(tiled)
            + move.clamp(-1, 1) * 1e-3
        )
    points = threat.project(tiled + 2 * threat.eps * move, tiled)
    assert bool(threat.inside(points, tiled).all())
    return points


class Kept(torch.fx.Interpreter):
    """Keep a copy of every value: later ones may overwrite it."""

    def run_node(self, n):
        value = super().run_node(n)
        self.__dict__.setdefault("kept", {})[n.name] = (
            value.clone() if isinstance(value, torch.Tensor) else value
        )
        return value


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("linf", 0.4), ("l2", 1.0)])
@pytest.mark.parametrize("name", NETS)
def test_bounds_hold_at_every_point(name, norm, eps, generator):
    net, shape = built(name)
    images, threat = torch.rand(3, *shape, generator=generator), Threat(norm, eps)
    points = corners(images, threat, 40, generator)
    ends = {}
    for effort in ("ibp", "crown", "alpha-crown"):
        bounds = bounds_of(net, images, threat, effort)
        margins = bounds.margins(all_pairs(images, net(images).shape[1]))
        values = dict(bounds.known)
        run = Kept(bounds.net.graph.module, graph=bounds.net.graph.nodes)
        with torch.no_grad():
            logits = run.run(points)
        for node, value in run.kept.items():
            if node in values:
                known = values[node]
                value = value.double().view(3, 40, *value.shape[1:])
                assert bool((value >= known.lower.unsqueeze(1)).all()), node
                assert bool((value <= known.upper.unsqueeze(1)).all()), node
        found = (logits.unsqueeze(2) - logits.unsqueeze(1)).double().view(3, 40, *margins.shape[1:])
        apart = margins.isfinite()
        assert int(apart.sum()) == 3 * margins.shape[1] * (margins.shape[1] - 1)
        assert bool((found.amin(1)[apart] >= margins[apart]).all())
        ends[effort] = margins[apart]
    assert bool((ends["crown"] >= ends["ibp"] - 1e-9).all())
    assert ends["alpha-crown"].mean() >= ends["crown"].mean() - 1e-9


CURVES = {
    "relu": RELU,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "silu": SILU,
    "clamp": clamped(-0.5, 0.25),
    "gelu": gelu(nn.GELU(), ()),
    "leaky": leaky(nn.LeakyReLU(0.1), ()),
    "concave": leaky(nn.LeakyReLU(3.0), ()),
    "negative": leaky(nn.LeakyReLU(-0.4), ()),
    "gelu by tanh": gelu(nn.GELU("tanh"), ()),
    "elu": exponential(1.0, 0.6),
    "steep elu": exponential(1.0, 2.5),
    "negative elu": exponential(1.0, -0.5),
    "elu without": exponential(1.0, 0.0),
    "selu": SELU,
    "hardswish": HARDSWISH,
    "hardsigmoid": HARDSIGMOID,
}


@pytest.mark.parametrize("name", CURVES)
def test_lines_enclose_their_function(name, generator):
    curve: Curve = CURVES[name]
    scale = 10 ** (4 * torch.rand(4000, generator=generator, dtype=torch.float64) - 2.5)
    middle = torch.randn(4000, generator=generator, dtype=torch.float64) * scale.flip(0)
    lower, upper = middle - scale, middle + scale * torch.rand(4000, generator=generator)
    lines, (least, most) = curve.lines(lower, upper), curve.range(lower, upper)
    for part in torch.linspace(0, 1, 401, dtype=torch.float64):
        place = torch.minimum(lower + (upper - lower) * part, upper)
        value = curve.value(place)
        above = lines.upper_slope * place + lines.upper - value
        below = value - lines.lower_slope * place - lines.lower
        assert above.min() >= -1e-15 * (1 + place.abs().max()), (name, above.min())
        assert below.min() >= -1e-15 * (1 + place.abs().max()), (name, below.min())
        assert bool((value >= least).all() & (value <= most).all())


@pytest.mark.parametrize("name", CURVES)
def test_lines_of_any_slope_enclose_their_function(name, generator):
    curve: Curve = CURVES[name]
    lower = torch.randn(2000, generator=generator, dtype=torch.float64) * 3
    upper = lower + 4 * torch.rand(2000, generator=generator, dtype=torch.float64)
    slopes = [torch.randn(2000, generator=generator, dtype=torch.float64) for _ in range(2)]
    lines = curve.tilted(lower, upper, curve.lines(lower, upper), slopes)
    for part in torch.linspace(0, 1, 201, dtype=torch.float64):
        place = torch.minimum(lower + (upper - lower) * part, upper)
        value = curve.value(place)
        assert (lines.upper_slope * place + lines.upper - value).min() >= -1e-13
        assert (value - lines.lower_slope * place - lines.lower).min() >= -1e-13
    bent = curve.unstable(lower, upper)
    assert bool((lines.lower_slope == slopes[0])[bent].all())


@pytest.mark.parametrize(("low", "high"), [(-2.0, 1.0), (-1.0, 2.0)])
def test_relu_takes_the_lines_of_crown(low, high):
    lines = RELU.lines(torch.tensor([low]).double(), torch.tensor([high]).double())
    assert lines.upper_slope.item() == pytest.approx(high / 3)
    assert lines.upper.item() == pytest.approx(-low * high / 3)
    assert lines.lower_slope.item() == (1.0 if high > -low else 0.0)
    assert lines.lower.item() == pytest.approx(0.0, abs=1e-12)


def linear(classes=4, inputs=6):
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))


@pytest.mark.parametrize("effort", ["ibp", "crown"])
def test_margins_of_linear_nets_are_exact_on_boxes(effort, generator):
    net, images = Double(linear()).eval(), torch.rand(20, 6, generator=generator).double()
    threat = Threat("linf", 0.2)
    weight, shift = net.model[1].weight.detach(), net.model[1].bias.detach()
    found = bounds_of(net, images, threat, effort).margins(all_pairs(images, 4))
    low, high = (images - 0.2).clamp(min=0), (images + 0.2).clamp(max=1)
    rows = weight.unsqueeze(1) - weight
    truth = (
        shift.unsqueeze(1)
        - shift
        + (rows.clamp(min=0) * low[:, None, None] + rows.clamp(max=0) * high[:, None, None]).sum(3)
    )
    apart = all_pairs(images, 4)
    assert bool((found <= truth)[apart].all())
    assert torch.allclose(found[apart], truth[apart], rtol=0, atol=1e-11)


def test_margins_of_linear_nets_are_exact_on_balls(generator):
    net, images = Double(linear()).eval(), 10 + torch.rand(20, 6, generator=generator).double()
    weight, shift = net.model[1].weight.detach(), net.model[1].bias.detach()
    threat = Threat("l2", 0.7, -math.inf, math.inf)
    found = bounds_of(net, images, threat, "crown").margins(all_pairs(images, 4))
    rows = weight.unsqueeze(1) - weight
    truth = (images[:, None, None] * rows).sum(3) + shift.unsqueeze(1) - shift
    truth = truth - 0.7 * rows.norm(dim=2)
    apart = all_pairs(images, 4)
    assert bool((found <= truth)[apart].all())
    assert torch.allclose(found[apart], truth[apart], rtol=0, atol=1e-9)


def test_the_cut_of_ball_and_box_is_better_than_both(generator):
    """The true minimum over the cut, by projected gradients, is at most a little larger."""
    net = Double(linear()).eval()
    images = torch.rand(20, 6, generator=generator).double().round() * 0.9 + 0.05
    cut = bounds_of(net, images, Threat("l2", 0.4), "crown").margins(all_pairs(images, 4))
    free = Threat("l2", 0.4, -math.inf, math.inf)
    ball = bounds_of(net, images, free, "crown").margins(all_pairs(images, 4))
    apart = all_pairs(images, 4)
    assert bool((cut >= ball - 1e-9)[apart].all())
    assert (cut - ball)[apart].mean() > 0.01
    threat, rows = Threat("l2", 0.4), net.model[1].weight.detach()
    for a, i in ((0, 1), (2, 3)):
        points, row = images.clone(), rows[a] - rows[i]
        for _ in range(300):
            points = threat.project(points - 0.02 * row, images)
        logits = net(points)
        reached = logits[:, a] - logits[:, i]
        assert bool((cut[:, a, i] <= reached).all())
        assert (reached - cut[:, a, i]).max() < 0.05


def test_radii_of_linear_nets_reach_the_border(generator):
    net, images = Double(linear()).eval(), torch.rand(10, 6, generator=generator)
    threat = Threat("linf", 0.05, -math.inf, math.inf)
    found = certify(net, images, guarantee=Local(), threat=threat)
    weight = net.model[1].weight.detach()
    logits = net(images).detach()
    best = logits.argmax(1)
    gaps = (weight[best].unsqueeze(1) - weight).abs().sum(2)
    lead = logits.gather(1, best[:, None]) - logits
    truth = torch.where(gaps > 0, lead / gaps.clamp(min=1e-300), torch.inf).amin(1)
    assert found.norm == "linf"
    assert bool((found.radius < truth).all())
    assert bool((found.radius > 0.98 * truth - 2e-4).all())


def test_given_radii_are_decided(generator):
    net, images = make_net(), torch.rand(8, 1, 4, 4, generator=generator)
    full = certify(net, images, guarantee=Local(), threat=Threat("linf", 0.01))
    grid = (0.001, 0.01, 0.03)
    found = certify(net, images, guarantee=Local(), threat=Threat("linf", 0.01), radii=grid)
    assert set(found.radius.tolist()) <= {0.0, *grid}
    assert bool((found.radius <= full.radius * 1.2 + 1e-3).all())
    assert bool((found.radius > 0).any())


def test_a_net_of_tiny_margins_is_not_certified_in_float32():
    """The margin is above 0 in exact arithmetic and lies within the rounding of float32."""
    weight = torch.tensor([[1.0, 2e-7], [1.0, 0.0]])
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data.copy_(weight)
    images, threat = torch.full((1, 2), 0.5), Threat("linf", 1e-9)
    coarse = certify(net, images, guarantee=Local(), threat=threat, radii=[1e-9])
    assert coarse.radius.item() == 0
    fine = certify(Double(net), images, guarantee=Local(), threat=threat, radii=[1e-9])
    assert fine.radius.item() == 1e-9


def test_a_net_that_cancels_large_numbers_is_not_certified_in_float32(generator):
    """Jia and Rinard 2021: rounding flips the label of a net whose exact logits never tie."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        net[1].bias.copy_(torch.tensor([2.0**24, 2.0**24]))
        net[3].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
        net[3].bias.copy_(torch.tensor([0.25, 0.0]))
    images = torch.rand(5, 2, generator=generator)
    threat = Threat("linf", 0.1)
    assert certify(net, images, guarantee=Local(), threat=threat, radii=[0.1]).radius.max() == 0
    double = certify(Double(net), images, guarantee=Local(), threat=threat, radii=[0.1])
    assert double.radius.min() == 0.1


@pytest.mark.parametrize("factor", [1e30, 1e38, math.inf, math.nan])
def test_what_may_overflow_is_not_certified(factor):
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    with torch.no_grad():
        for layer in (net[1], net[3]):
            layer.weight.fill_(1.0)
            layer.weight[0] = factor if factor != factor or factor > 1e31 else 1e25
            layer.bias.fill_(1.0)
    threat = Threat("linf", 0.01)
    try:
        found = certify(
            net, torch.full((1, 2), 0.5), guarantee=Local(), threat=threat, radii=[0.01]
        )
    except ValueError:
        return
    assert found.radius.item() == 0


class Cubed(nn.Module):
    def forward(self, features):
        return features**3


class Softsigned(nn.Module):
    def forward(self, features):
        return features / (1 + features.abs())


def test_unknown_layers_are_named_and_can_be_registered(generator):
    images, threat = torch.rand(4, 6, generator=generator), Threat("linf", 0.01)
    net = nn.Sequential(nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 3)).eval()
    with pytest.raises(ValueError, match="the layer Softplus"):
        certify(net, images, guarantee=Local(), threat=threat)
    net = nn.Sequential(nn.Linear(6, 5), nn.Softsign(), nn.Linear(5, 3)).eval()
    with pytest.raises(ValueError, match=r"Softsign.*relaxation\.register"):
        certify(net, images, guarantee=Local(), threat=threat)
    curve = Curve(
        nn.functional.softsign,
        lambda slope: [
            sign * (slope.clamp(min=1e-300).rsqrt() - 1).clamp(min=0) for sign in (-1, 1)
        ],
        terms=4,
    )
    register(nn.Softsign, lambda layer, shape: curve)
    try:
        found = certify(net, images, guarantee=Local(), threat=threat)
        assert bool((found.radius > 0).all())
        points = corners(images, threat, 50, generator)
        logits = net(points).double().detach().view(4, 50, 3)
        margins = bounds_of(net, images, threat, "crown").margins(all_pairs(images, 3))
        gaps = (logits.unsqueeze(3) - logits.unsqueeze(2)).amin(1)
        apart = all_pairs(images, 3)
        assert bool((gaps >= margins)[apart].all())
    finally:
        del RULES[nn.Softsign]


def test_a_wrong_rule_is_caught_at_the_images(generator):
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanhshrink(), nn.Linear(5, 3)).eval()
    register(nn.Tanhshrink, lambda layer, shape: TANH)
    try:
        with pytest.raises(ValueError, match="outside of what was proven"):
            certify(net, torch.rand(2, 6), guarantee=Local(), threat=Threat("linf", 0.01))
    finally:
        del RULES[nn.Tanhshrink]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"seconds": 0.0}, "seconds"),
        ({"radii": [-1.0]}, "radii"),
        ({"threat": Threat("linf", 0.0)}, "above 0"),
    ],
)
def test_wrong_settings_are_named(change, match):
    given = {"guarantee": Local(), "threat": Threat("linf", 0.1)} | change
    with pytest.raises(ValueError, match=match):
        certify(linear(), torch.rand(1, 6), **given)


def test_after_the_time_limit_nothing_more_is_certified(generator):
    images, threat = torch.rand(50, 6, generator=generator), Threat("linf", 1e-4)
    found = certify(linear(), images, guarantee=Local(), threat=threat, seconds=1e-9)
    assert found.radius.max() == 0


def test_chunks_of_rows_change_nothing(generator, monkeypatch):
    net, shape = built("convolutions")
    images, threat = torch.rand(4, *shape, generator=generator), Threat("linf", 0.05)
    whole = bounds_of(net, images, threat, "crown").margins(all_pairs(images, 4))
    monkeypatch.setattr("surefoot.certify.relaxation.substitution.MEMORY", 2**14)
    parts = bounds_of(net, images, threat, "crown").margins(all_pairs(images, 4))
    apart = all_pairs(images, 4)
    assert torch.allclose(whole[apart], parts[apart], rtol=1e-9, atol=1e-9)
