"""Lipschitz constants of layers and nets: above every sampled one and every Jacobian."""

import pytest
import torch
from oracles import make_net
from torch import fx, nn
from torch.nn.functional import pad
from torch.nn.utils import parametrize, prune

from surefoot.certify.lipschitz import (
    Bound,
    certify,
    gloro,
    pairwise,
    register,
    spectral_norm_bound,
)
from surefoot.certify.lipschitz.certificate import measured
from surefoot.guarantees import Local
from surefoot.models import LipschitzMLP, Scale, build
from surefoot.types import rejects
from surefoot.uncertainty import Selective, logit_gap


def steepest(model, shape, generator, points=60):
    """Return the largest gradient norm of each difference of logits over random points."""
    model = model.double()
    images = torch.rand(points, *shape, generator=generator).double()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: model(x[None])[0]))(images).flatten(2)
    differences = jacobian.unsqueeze(2) - jacobian.unsqueeze(1)
    return differences.norm(dim=3).amax(0).detach()


def test_a_single_dense_layer_is_exact():
    layer = nn.Linear(6, 4)
    found = pairwise(nn.Sequential(nn.Flatten(), layer))
    truth = torch.cdist(
        layer.weight.double(), layer.weight.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert bool((found >= truth * (1 - 1e-15)).all())
    assert torch.allclose(found, truth.detach(), rtol=1e-12)
    assert found.dtype == torch.float64


def batch_norm(planes):
    layer = nn.BatchNorm2d(planes)
    with torch.no_grad():
        layer.weight.uniform_(-2, 2)
        layer.bias.uniform_(-1, 1)
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(0.2, 2)
    return layer


class Residual(nn.Module):
    """Sums, a stack, slices, padding, a mean, constants: what nets do between their layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.norm = batch_norm(4)
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.register_buffer("shift", torch.rand(4, 1, 1))
        self.head = nn.Linear(8, 3)

    def forward(self, images):
        inner = self.first(images).relu()
        inner = inner + pad(images, (0, 0, 0, 0, 1, 1)) * self.gain - self.shift
        small = self.norm(self.second(inner))
        both = torch.cat([small, -inner[:, :, ::2, ::2]], dim=1) / 2
        return self.head(both.mean((2, 3)).view(images.shape[0], -1)) * 3 + 1


NETS = {
    "dense": ((1, 4, 4), make_net),
    "residual": ((2, 6, 6), Residual),
    "pools": (
        (2, 8, 8),
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding="same", groups=2),
            nn.MaxPool2d(3, 1, 1),
            nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", dilation=1),
            nn.Tanh(),
            nn.AvgPool2d(3, 2, 1),
            nn.LeakyReLU(2.0),
            nn.PixelUnshuffle(2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
    ),
    "line": (
        (2, 9),
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3, stride=2, padding=1, padding_mode="circular"),
            nn.SiLU(),
            nn.Conv1d(4, 2, 2),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
    ),
    "no dense end": (
        (1, 4, 4),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.ReLU(), nn.Sigmoid(), nn.ELU()),
    ),
    "resnet": ((3, 8, 8), lambda: build("resnet20", width=2)),
    "preactresnet": ((3, 8, 8), lambda: build("preactresnet18", width=2)),
    "liresnet": ((3, 8, 8), lambda: build("liresnet", size=8, width=4, depth=2, neck=8)),
    "lipnext": ((3, 8, 8), lambda: build("lipnext", size=8, width=16, depth=2)),
    "residual-mlp": ((1, 4, 4), lambda: build("residual-mlp", inputs=16, hidden=(8, 8))),
}


@pytest.mark.parametrize("name", NETS)
def test_no_gradient_is_steeper_than_the_bound(name, generator):
    torch.manual_seed(3)
    shape, make = NETS[name]
    model = make().eval()
    bound = pairwise(model, shape)
    found = steepest(model, shape, generator)
    assert bool((found <= bound * (1 + 1e-9)).all())
    assert bool((bound.diagonal() == 0).all())
    assert bound.isfinite().all()


def test_constants_follow_the_weights():
    model = make_net()
    before = pairwise(model)
    with torch.no_grad():
        model[2].weight *= 100
    assert torch.allclose(pairwise(model), 100 * before)


def test_a_residual_block_is_measured_again_after_its_weights_changed(generator):
    """The kernel of the block is the identity plus the weights: not proportional to them."""
    model = build("liresnet", size=8, width=4, depth=2, neck=8).eval()
    before = pairwise(model, (3, 8, 8))
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 100
    after = pairwise(model, (3, 8, 8))
    assert bool((steepest(model, (3, 8, 8), generator) <= after * (1 + 1e-9)).all())
    assert after[0, 1] > 1000 * before[0, 1]


def test_orthogonal_nets_are_tight():
    model = LipschitzMLP(64, (32, 32), 10, scale=1.0)
    off_diagonal = pairwise(model)[~torch.eye(10, dtype=torch.bool)]
    assert torch.allclose(off_diagonal, torch.tensor(2.0).sqrt().double(), atol=1e-5)


class Twice(nn.Module):
    def forward(self, features):
        return features + features


def test_a_flow_added_to_itself_counts_twice(generator):
    """Sums were reported as 1.15 elsewhere, where the truth is 2.30."""
    layer = nn.Linear(4, 3)
    model = nn.Sequential(nn.Flatten(), Twice(), layer)
    single = pairwise(nn.Sequential(nn.Flatten(), layer))
    assert torch.allclose(pairwise(model, (4,)), 2 * single)


def test_overlapping_windows_count_for_max_pooling():
    """One pixel leads nine windows: Lipschitz constant 3, not 1."""
    model = nn.Sequential(nn.MaxPool2d(3, 1), nn.Flatten(), nn.Linear(9, 2)).eval()
    found = measured(model, (1, 5, 5)).layers[0]
    assert found["Lipschitz constant"] == pytest.approx(3.0)
    spike = torch.zeros(1, 1, 5, 5)
    spike[0, 0, 2, 2] = 1.0
    assert model[0](spike).norm().item() == pytest.approx(3.0)


def test_disjoint_windows_do_not_count():
    model = nn.Sequential(nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(1, 2)).eval()
    lipschitz_of = {
        layer["kind"]: layer["Lipschitz constant"] for layer in measured(model, (1, 4, 4)).layers
    }
    assert "MaxPool2d" not in lipschitz_of or lipschitz_of["MaxPool2d"] == pytest.approx(1.0)
    assert lipschitz_of["AvgPool2d"] == pytest.approx(0.5)


def test_groups_take_the_largest_not_the_product():
    layer = nn.Conv2d(4, 4, 1, groups=4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 0.5, 1.0, 0.5]).view(4, 1, 1, 1))
    found = measured(nn.Sequential(layer, nn.Flatten(), nn.Linear(16, 2)), (4, 2, 2)).layers[0]
    assert found["Lipschitz constant"] == pytest.approx(1.0)


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_padding_is_what_runs_whatever_the_settings_say(mode, generator):
    layer = nn.Conv2d(1, 2, 3, padding=1, padding_mode=mode)
    layer.padding, layer._reversed_padding_repeated_twice = (0, 0), [2, 1, 0, 2]
    layer.kernel_size = (1, 1)
    net = nn.Sequential(layer, nn.Flatten(), nn.Linear(50, 2)).eval()
    with torch.no_grad():
        net[2].in_features = int(net[:2](torch.zeros(1, 1, 5, 4)).shape[1])
    assert net[2].in_features == 50
    found = steepest(net, (1, 5, 4), generator)
    assert bool((found <= pairwise(net.float(), (1, 5, 4)) * (1 + 1e-6)).all())


def test_settings_that_cannot_be_read_are_named():
    layer = nn.Conv2d(1, 2, 3)
    layer.stride = 1
    with pytest.raises(
        ValueError, match=r"cannot read its settings .*Conv2d\(\.\.\.\), not afterwards"
    ):
        pairwise(nn.Sequential(layer, nn.Flatten()), (1, 4, 4))


class Louder(nn.Sequential):
    def forward(self, images):
        return 10 * super().forward(images)


class FastReLU(nn.ReLU):
    def forward(self, features):
        return 5 * features.relu()


def with_hook(kind):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    if kind == "hook":
        model[1].register_forward_hook(lambda module, inputs, output: 10 * output)
    elif kind == "pre-hook":
        model.register_forward_pre_hook(lambda module, inputs: (10 * inputs[0],))
    else:
        model[1].forward = lambda features: 10 * features[:, :4]
    return model


@pytest.mark.parametrize(
    "model",
    [
        Louder(nn.Flatten(), nn.Linear(16, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(16, 16), FastReLU(), nn.Linear(16, 4)),
        with_hook("pre-hook"),
    ],
    ids=["own forward", "own activation", "pre-hook"],
)
def test_what_containers_and_subclasses_compute_is_read_from_their_code(model, generator):
    bound = pairwise(model, (16,))
    found = steepest(model, (16,), generator)
    assert bool((found <= bound * (1 + 1e-9)).all())
    assert found.max() > 1


@pytest.mark.parametrize("kind", ["hook", "patched"])
def test_a_layer_with_something_around_it_is_not_taken_for_its_kind(kind):
    with pytest.raises(ValueError, match="no Lipschitz bound is known for the layer Linear"):
        pairwise(with_hook(kind))


class Branches(nn.Module):
    def forward(self, images):
        return images.flatten(1) if images.sum() > 0 else -images.flatten(1)


class Squares(nn.Module):
    def forward(self, images):
        return images.flatten(1) * images.flatten(1)


class ScaledByItself(nn.Module):
    def forward(self, images):
        return images.flatten(1) * images.max().item()


class MixesTheBatch(nn.Module):
    def forward(self, images):
        return images.flatten(1).transpose(0, 1)


class Overwrites(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU(inplace=True)

    def forward(self, images):
        features = images.flatten(1) * 2
        return self.act(features) + features


class Broadcasts(nn.Module):
    def forward(self, images):
        return images.flatten(1) + images.flatten(1)[:, :1]


class FancyIndex(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, [0, 0, 0]]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Softmax(1)), "layer Softmax"),
        (nn.Sequential(nn.LayerNorm(4)), "layer LayerNorm"),
        (Branches(), "cannot be read"),
        (Squares(), "two flows"),
        (ScaledByItself(), "operation max"),
        (MixesTheBatch(), "axis of the batch|one row an image"),
        (Overwrites(), "inplace=False"),
        (Broadcasts(), "different shapes"),
        (FancyIndex(), "no slice"),
        (nn.Sequential(nn.AvgPool2d(2, ceil_mode=True)), "ceil_mode"),
        (Selective(build("mlp", inputs=16), "entropy", 0.5), "how it rejects"),
        (lambda x: x, r"needs an nn\.Module"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_bound_is_refused_by_name(model, message):
    with pytest.raises(ValueError, match=message):
        pairwise(model, (1, 4, 4))


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)),
        nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU()),
        Residual(),
    ],
    ids=["convolution", "no dense end", "operations"],
)
def test_without_the_shape_of_an_image_it_is_asked_for(model):
    with pytest.raises(ValueError, match="shape="):
        pairwise(model.eval())


class Doubling(nn.Module):
    def forward(self, features):
        return 2 * features.sin()


def test_a_layer_of_the_users_own_can_be_registered():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), Doubling(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="operation sin"):
        pairwise(model, (4,))
    register(Doubling, lambda layer, shape: 2.0)
    plain = pairwise(nn.Sequential(model[0], model[1], model[3]), (4,))
    assert torch.allclose(pairwise(model, (4,)), 2 * plain)
    register(Doubling, lambda layer, shape: Bound(2.5, gain=2.5, terms=4))
    assert torch.allclose(pairwise(model, (4,)), 2.5 * plain)


def test_random_dropout_is_refused_and_batch_statistics_too():
    class Stays(nn.Dropout):
        def train(self, mode=True):
            return super().train(True)

    model = nn.Sequential(nn.Flatten(), Stays(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="stays random"):
        pairwise(model)
    model = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten())
    with pytest.raises(ValueError, match="running statistics"):
        pairwise(model, (1, 2, 2))


def test_estimates_replace_bounds_and_carry_gradients():
    model = make_net()
    found = pairwise(
        model,
        (1, 4, 4),
        bound_of=lambda layer, shape: layer.weight.norm() if isinstance(layer, nn.Linear) else None,
    )
    found.sum().backward()
    assert bool((found >= pairwise(model, (1, 4, 4)).to(found) - 1e-6).all())  # Frobenius norms
    assert all(
        layer.weight.grad.isfinite().all() for layer in model if isinstance(layer, nn.Linear)
    )


def test_a_net_that_rejects_by_leads_is_bounded_by_its_logits():
    model = make_net()
    selective = logit_gap(model, 0.5, 5)
    assert rejects(selective)
    assert torch.equal(pairwise(selective), pairwise(model))


@fx.wrap
def relu(images):
    """A function of the user's that fx keeps closed, under a known name."""
    return 100 * images


def doubled_view(images):
    features = images * 1.0
    some = features[:, :4]
    some += 10 * features[:, 4:]
    return features


def added_to_itself(images):
    features = start = images * 1.0
    features += 5 * features
    return start + features


def written_out(images):
    features = images * 1.0
    torch.abs(10 * images, out=features)
    return features


class First(nn.Module):
    """Some operation on images of 8 pixels, then a dense layer."""

    def __init__(self, operation):
        super().__init__()
        self.operation, self.head = operation, nn.Linear(8, 4)

    def forward(self, images):
        return self.head(self.operation(images))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: torch.clamp(x, min=5 * x), "flow as an option"),
        (lambda x: x[:, :1].clamp(min=-torch.ones(1, 8)), "repeats the flow"),
        (doubled_view, "in place overwrites"),
        (added_to_itself, "in place overwrites"),
        (written_out, "with `out`"),
        (lambda x: x * x.shape[0], "images' size"),
        (lambda x: x / (1 / x.size(0)), "images' size"),
        (lambda x: pad(x, (0, 0, 1, -1)), "along the batch"),
        (lambda x: relu(x), r"operation \?"),
        (lambda x: torch.abs(x * torch.tensor(1 + 9j)), "real numbers"),
    ],
)
def test_operations_that_hide_a_slope_are_refused(operation, message):
    """Each of these was once bounded below its constant, or mixed the images of a batch."""
    with pytest.raises(ValueError, match=message):
        pairwise(First(operation).eval(), (8,))


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 4)

    def forward(self, images):
        return self.head(images.transpose(1, dim1=0).flatten(1))


def test_axes_by_keyword_are_seen():
    with pytest.raises(ValueError, match="axis of the batch"):
        pairwise(Transposed().eval(), (3, 4))


class Overwriting(nn.Module):
    """In place, but on values that nothing else reads."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.act = nn.ReLU(inplace=True)

    def forward(self, images):
        features = self.first(images)
        features *= 3.0
        features += 1.0
        after = self.first(self.act(self.first(features.clamp(-1, 1))))
        after += features
        return self.head(self.act(after.view(-1, 8)))


def test_overwriting_what_nothing_else_reads_is_bounded(generator):
    model = Overwriting().eval()
    bound = pairwise(model, (8,))
    images = torch.rand(200, 8, generator=generator)
    moved = images + 0.01 * torch.randn(200, 8, generator=generator)
    with torch.no_grad():
        change = model(moved.clone()) - model(images.clone())
    lipschitz_of = (change.unsqueeze(2) - change.unsqueeze(1)).abs() / (moved - images).norm(dim=1)[
        :, None, None
    ]
    assert bool((lipschitz_of.amax(0) <= bound * (1 + 1e-3)).all())


class Loud(nn.Linear):
    def forward(self, features):
        return 10 * super().forward(features)


class Signs(Scale):
    def forward(self, features):
        return features * torch.tensor([3.0, -3.0, 3.0, -3.0])


def test_registered_subclasses_are_taken_at_their_rule(generator):
    """They are dense layers and scales by name only: neither rows nor one factor bound them."""
    register(Loud, lambda layer, shape: 10 * float(spectral_norm_bound(layer.weight)))
    register(Signs, lambda layer, shape: 3.0)
    alike = nn.Linear(8, 4)
    with torch.no_grad():
        alike.weight[1:] = alike.weight[0]
    for model in (nn.Sequential(Loud(8, 4)), nn.Sequential(alike, Signs(1.0))):
        bound = pairwise(model.eval(), (8,))
        assert bool((steepest(model, (8,), generator) <= bound * (1 + 1e-9)).all())


def test_rows_that_differ_by_less_than_squares_can_hold_still_differ():
    layer = nn.Linear(2, 2).double()
    with torch.no_grad():
        layer.weight.copy_(1e-170 * torch.eye(2, dtype=torch.float64))
    assert pairwise(layer)[0, 1] > 1e-170


def plain_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def eagerly(net):
    return torch.compile(net, backend="eager")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, eagerly, lambda net: eagerly(nn.DataParallel(net)), fx.symbolic_trace],
    ids=["DataParallel", "compiled", "both", "traced by fx"],
)
def test_a_wrapped_net_is_certified_as_the_net(wrap, generator):
    images = torch.rand(5, 1, 4, 4, generator=generator)
    found = certify(wrap(plain_net()), images, guarantee=Local()).radius
    assert torch.equal(found, certify(plain_net(), images, guarantee=Local()).radius)
    assert torch.equal(pairwise(wrap(plain_net()), (1, 4, 4)), pairwise(plain_net(), (1, 4, 4)))
    rejecting = certify(gloro(wrap(plain_net()), 0.01, (1, 4, 4)), images, guarantee=Local())
    assert bool((rejecting.radius <= found).all())


def compiled_in_place():
    net = plain_net()
    net.compile(backend="eager")
    return net


def pruned():
    net = plain_net()
    prune.l1_unstructured(net[1], "weight", 0.5)
    return net


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: torch.jit.script(plain_net()), r"net that torch\.jit was called on"),
        (lambda: torch.jit.trace(plain_net(), torch.rand(2, 16)), r"torch\.jit was called on"),
        (lambda: torch.jit.freeze(torch.jit.script(plain_net())), r"torch\.jit was called on"),
        (
            lambda: torch.ao.quantization.quantize_dynamic(plain_net(), {nn.Linear}),
            "certify the float net",
        ),
        (lambda: nn.Sequential(nn.DataParallel(plain_net())), r"put `\.module` of it"),
        (lambda: nn.Sequential(eagerly(plain_net())), r"put `\._orig_mod` of it"),
        (compiled_in_place, r"before `\.compile\(\)`"),
        (pruned, r"torch\.nn\.utils\.prune\.remove"),
    ],
    ids=["script", "trace", "freeze", "quantised", "parallel", "compiled", "in place", "pruned"],
)
def test_what_cannot_be_read_is_refused_with_the_line_to_write(make, line):
    with pytest.raises(ValueError, match=line):
        certify(make(), torch.rand(2, 1, 4, 4), guarantee=Local())


def test_the_lines_for_hooks_and_subclasses_help(generator):
    images = torch.rand(3, 1, 4, 4, generator=generator)
    net = pruned()
    prune.remove(net[1], "weight")
    assert bool((certify(net, images, guarantee=Local()).radius > 0).any())

    class Standardise(nn.Module):
        def forward(self, weight):
            return (weight - weight.mean()) / weight.std()

    net = plain_net()
    parametrize.register_parametrization(net[1], "weight", Standardise())
    bound = pairwise(net, (1, 4, 4))
    assert bool((steepest(net, (1, 4, 4), generator) <= bound * (1 + 1e-9)).all())


class Squeezes(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes, self.head = axes, nn.Linear(4, 3)

    def forward(self, images):
        return self.head(images.mean(2, keepdim=True).squeeze(*self.axes).flatten(1))


def test_squeezing_other_axes_than_that_of_the_batch_is_known():
    net = Squeezes(2).eval()
    assert torch.allclose(pairwise(net, (4, 8)), pairwise(net.head) * 8**-0.5, rtol=1e-9)
    for axes in ((), (0,)):
        with pytest.raises(ValueError, match=r"one row an image|as if it were alone|at once"):
            pairwise(Squeezes(*axes).eval(), (1, 1, 4))
