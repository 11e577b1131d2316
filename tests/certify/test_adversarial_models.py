"""A catalogue of models made to be certified falsely: an error, or a radius that nothing breaks.

Each entry is a name, and what builds the model together with the images at which it is certified;
where a counterexample is known, it stands beside. Kinds of models, in this order:

- layers that are not what their class says, and functions of torch that were replaced;
- third operands, and other arguments that a reader might overlook;
- views as another type, casts;
- memory that two values share;
- answers that depend on the other images of a batch;
- numbers that overflow, or are flushed to zero;
- weights and features that are drawn anew;
- code that does something else once it has been read;
- votes: draws and rows that are shared, flips that read the last bits of floating noise.
"""

import itertools
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from surefoot.attacks import VoteSearch, break_guarantee
from surefoot.attacks.vote_attack import vote_fails
from surefoot.certify import smoothing
from surefoot.certify.lipschitz import certify
from surefoot.guarantees import Local
from surefoot.models import Normalize, Scale
from surefoot.models.lipschitz import NormPool
from surefoot.threat import Threat
from surefoot.uncertainty import LogitMarginSelective
from surefoot.uncertainty.vote import Vote

CERTIFIABLE = "certifiable"
"""Kinds that end with it may be certified; what they then claim is attacked."""


class Case(NamedTuple):
    """A model at images, a known counterexample to them, and what has to be undone afterwards."""

    model: nn.Module
    images: Tensor
    counterexample: Tensor | None = None


def images(count: int = 6, *shape: int) -> Tensor:
    return torch.rand(count, *(shape or (1, 4, 4)), generator=torch.Generator().manual_seed(7))


def broken(case: Case, radius: Tensor) -> bool:
    """Look for a point inside the largest radius with another label, or with no finite logits."""
    if case.counterexample is not None:
        distance = (case.counterexample.double() - case.images.double()).flatten(1).norm(dim=1)
        points, rows = case.counterexample, distance < radius
    else:
        row = int(radius.argmax())
        if not radius[row] > 0:
            return False
        threat = Threat("l2", radius[row].item() * (1 - 1e-6))
        result = break_guarantee(
            case.model, case.images[row : row + 1], guarantee=Local(), threat=threat, steps=20
        )
        return bool(result.success.any())
    with torch.no_grad():
        clean, there = case.model(case.images), case.model(points)
    wrong = (there.argmax(1) != clean.argmax(1)) | ~there.isfinite().all(1)
    return bool((wrong & rows).any())


# --- Layers that are not what their class says --------------------------------------------------


def with_layer(layer: nn.Module, features: int = 16) -> Case:
    return Case(nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(features, 3)), images())


def convolutional(layer: nn.Module) -> Case:
    return Case(nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)), images())


class Standardised(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.std((1, 2, 3)).view(
            -1, 1, 1, 1
        )
        return super()._conv_forward(x, weight, bias)


class LoudLine(nn.Conv1d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, 50 * weight, bias)


class LoudCall(nn.Linear):
    def __call__(self, x):
        return 50 * super().__call__(x)


class LoudImplementation(nn.Linear):
    def _call_impl(self, *args, **kwargs):
        return 50 * super()._call_impl(*args, **kwargs)


class LoudSlowForward(nn.Linear):
    def _wrapped_call_impl(self, *args, **kwargs):
        return 50 * super()._wrapped_call_impl(*args, **kwargs)


def with_property(read: Callable[[nn.Linear], Tensor]) -> nn.Linear:
    """Let the class decide what is read under the name of the weight."""
    layer = nn.Linear(16, 16)
    layer.__class__ = type("WithProperty", (nn.Linear,), {"weight": property(read)})
    return layer


def alternating() -> nn.Linear:
    """A weight that is small each time it is looked at first."""
    turns = itertools.count()
    return with_property(lambda layer: layer._parameters["weight"] * (1, 50)[next(turns) % 2])


class Mixin:
    def _call_impl(self, *args, **kwargs):
        return 50 * nn.Module._call_impl(self, *args, **kwargs)


class MixedIn(Mixin, nn.Linear):
    pass


class LyingAttributes(nn.Linear):
    def __getattr__(self, name):
        found = super().__getattr__(name)
        return 50 * found if name == "weight" else found


class LyingLookup(nn.Linear):
    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        return (lambda x: 50 * found(x)) if name == "forward" else found


class LoudTensor(Tensor):
    """A weight that is multiplied wherever it enters a dense layer."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
            return 50 * result if func is functional.linear else result


def loud_weight() -> Case:
    layer = nn.Linear(16, 16)
    weight = layer.weight.detach().as_subclass(LoudTensor)
    del layer._parameters["weight"]
    layer._buffers["weight"] = weight
    return with_layer(layer)


def set_on_instance(layer: nn.Module, name: str, value: object) -> nn.Module:
    setattr(layer, name, value)
    return layer


def loud_instance() -> Case:
    layer = nn.Conv2d(1, 4, 3, padding=1)
    layer._conv_forward = lambda x, w, b: functional.conv2d(x, 50 * w, b, padding=1)
    return convolutional(layer)


def padded_behind_its_back(**settings: Any) -> nn.Conv2d:
    """What is padded stands under another name than what was asked for."""
    layer = nn.Conv2d(1, 4, 3, padding=1, padding_mode="replicate")
    for name, value in settings.items():
        setattr(layer, name, value)
    return layer


def compiled_by_hand() -> Case:
    layer = nn.Linear(16, 16)
    layer._compiled_call_impl = lambda x: 50 * layer.forward(x)
    return with_layer(layer)


def hooked() -> Case:
    layer = nn.Linear(16, 16)
    layer.register_forward_hook(lambda module, inputs, output: 50 * output)
    return with_layer(layer)


class LoudRejection(LogitMarginSelective):
    """Certified as if leads decided."""

    def outcomes(self, logits):
        return super().outcomes(-logits)


class HarmlessSubclass(nn.Linear):
    """An own start and own words change nothing."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        nn.init.orthogonal_(self.weight)

    def extra_repr(self):
        return "harmless"

    def of_no_call(self):
        return 3


class OwnSequence(nn.Sequential):
    def forward(self, x):
        return 50 * super().forward(x)


class CallsItself(nn.ReLU):
    def __call__(self, x):
        return 50 * x.relu()


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


LAYERS: dict[str, Callable[[], Case]] = {
    "weight standardisation in _conv_forward": lambda: convolutional(
        Standardised(1, 4, 3, padding=1)
    ),
    "_conv_forward of a 1-D convolution": lambda: Case(
        nn.Sequential(LoudLine(1, 4, 3), nn.Flatten(), nn.Linear(56, 3)), images(6, 1, 16)
    ),
    "_conv_forward of the instance": loud_instance,
    "forward of the instance": lambda: with_layer(
        set_on_instance(nn.Linear(16, 16), "forward", lambda x: 50 * x)
    ),
    "_call_impl of the instance": lambda: with_layer(
        set_on_instance(nn.Linear(16, 16), "_call_impl", lambda x: 50 * x)
    ),
    "_compiled_call_impl of the instance": compiled_by_hand,
    "__call__": lambda: with_layer(LoudCall(16, 16)),
    "_call_impl": lambda: with_layer(LoudImplementation(16, 16)),
    f"_wrapped_call_impl, which no call meets, {CERTIFIABLE}": lambda: with_layer(
        LoudSlowForward(16, 16)
    ),
    "_call_impl of a class mixed in": lambda: with_layer(MixedIn(16, 16)),
    "weight as a property": lambda: with_layer(
        with_property(lambda layer: 50 * layer._parameters["weight"])
    ),
    "weight that alternates": lambda: with_layer(alternating()),
    "weight of a tensor subclass": loud_weight,
    "__getattr__ that lies": lambda: with_layer(LyingAttributes(16, 16)),
    "__getattribute__ that lies": lambda: with_layer(LyingLookup(16, 16)),
    "forward hook": hooked,
    "rejection that turns leads around": lambda: Case(
        LoudRejection(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.ones(3, 3)), images()
    ),
    f"__call__ of an activation, {CERTIFIABLE}": lambda: with_layer(CallsItself()),
    f"forward of a sequence, {CERTIFIABLE}": lambda: Case(
        OwnSequence(nn.Flatten(), nn.Linear(16, 3)), images()
    ),
    f"subclass that changes no call, {CERTIFIABLE}": lambda: with_layer(HarmlessSubclass(16, 16)),
    f"padding that is not what runs, {CERTIFIABLE}": lambda: Case(
        nn.Sequential(
            padded_behind_its_back(padding=(0, 0), _reversed_padding_repeated_twice=[3, 3, 3, 3]),
            nn.Flatten(),
            nn.Linear(256, 3),
        ),
        images(),
    ),
    f"parametrised weight, {CERTIFIABLE}": lambda: with_layer(
        parametrize.register_parametrization(nn.Linear(16, 16), "weight", Doubled())
    ),
}


@contextmanager
def replaced(owner, name, value):
    """Replace an attribute, also one that the owner only inherits."""
    own = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before) if own else delattr(owner, name)


def loud(function):
    return lambda *args, **kwargs: 50 * function(*args, **kwargs)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (nn.Linear, "forward"),
        (nn.Conv2d, "_conv_forward"),
        (nn.Module, "_call_impl"),
        (nn.Linear, "__call__"),
        (nn.Conv2d, "__call__"),
        (nn.MaxPool2d, "forward"),
        (functional, "linear"),
        (functional, "conv2d"),
        (functional, "relu"),
        (functional, "max_pool2d"),
        (torch, "relu"),
        (torch, "flatten"),
        (Tensor, "add"),
        (Tensor, "__add__"),
        (Tensor, "flatten"),
        (Normalize, "forward"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_functions_replaced_since_the_import_make_no_certificate(owner, name):
    class Sums(nn.Module):
        def forward(self, x):
            return torch.flatten(x, 1).flatten(1).add(1.0) + 1.0

    net = nn.Sequential(
        Normalize((0.5,), (0.5,)),
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        Sums(),
        nn.Linear(16, 3),
    ).eval()
    with replaced(owner, name, loud(getattr(owner, name))):
        with pytest.raises(ValueError, match="was replaced") as error:
            certify(net, images(), guarantee=Local())
        assert f"{owner.__name__}.{name}" in str(error.value)
    assert bool((certify(net, images(), guarantee=Local()).radius > 0).any())


def test_code_exchanged_inside_a_function_of_torch_makes_no_certificate():
    def other(input, inplace=False):
        return 50 * torch.relu(input)

    code = functional.relu.__code__
    functional.relu.__code__ = other.__code__
    try:
        with pytest.raises(ValueError, match="relu` was replaced"):
            certify(with_layer(nn.ReLU()).model, images(), guarantee=Local())
    finally:
        functional.relu.__code__ = code


@pytest.mark.parametrize("register", ["forward_pre_hook", "forward_hook"])
def test_hooks_on_all_modules_make_no_certificate(register):
    hooks = {
        "forward_pre_hook": lambda module, inputs: (
            (50 * inputs[0],) if isinstance(module, nn.Linear) else None
        ),
        "forward_hook": lambda module, inputs, output: (
            50 * output if isinstance(module, nn.Linear) else None
        ),
    }
    handle = getattr(nn.modules.module, f"register_module_{register}")(hooks[register])
    try:
        with pytest.raises(ValueError, match="hook"):
            certify(with_layer(nn.Linear(16, 16)).model, images(), guarantee=Local())
    finally:
        handle.remove()


class Louder(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return 50 * result if func is functional.linear else result


def test_a_mode_around_torch_makes_no_certificate():
    net = with_layer(nn.ReLU()).model
    with Louder(), pytest.raises(ValueError, match="Louder is active"):
        certify(net, images(), guarantee=Local())
    with torch.device("cpu"):
        assert bool((certify(net, images(), guarantee=Local()).radius > 0).any())


# --- Arguments that a reader might overlook -----------------------------------------------------


class Operation(nn.Module):
    """An operation on 16 features, between two dense layers."""

    def __init__(self, operation: Callable[[Tensor], Tensor], features: int = 16) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(16, 16), nn.Linear(features, 3)
        self.operation = operation

    def forward(self, x):
        return self.head(self.operation(self.first(x.flatten(1))))


ARGUMENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.add(x, 100, x)": lambda x: torch.add(x, 100, x),
    "x.add(100, x)": lambda x: x.add(100, x),
    "torch.sub(x, -99, x)": lambda x: torch.sub(x, -99.0, x),
    "x.sub(-99, x)": lambda x: x.sub(-99.0, x),
    "add with alpha": lambda x: torch.add(x, x, alpha=100),
    "sub with alpha": lambda x: x.sub(x, alpha=-100),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=100),
    "addcdiv": lambda x: torch.addcdiv(x, x, 0 * x + 0.01),
    "lerp": lambda x: torch.lerp(x, 100 * x, 2.0),
    "where": lambda x: torch.where(x > 0.5, 100 * x, x),
    "division that rounds": lambda x: torch.div(x, 0.01, rounding_mode="floor"),
    "clamp by a flow": lambda x: torch.clamp(x, 50 * x, 100 * x),
    "clamp by a flow, named": lambda x: x.clamp(min=50 * x),
    "maximum": lambda x: torch.maximum(x, 100 * x),
    "mean with a type": lambda x: x.mean((1,), True, dtype=torch.float64).float() + 0 * x,
    "out": lambda x: torch.neg(x, out=x),
    "pad along the batch": lambda x: functional.pad(x, (0, 0, 1, -1)),
    "fx.wrap": lambda x: relu(x),
    "matrix product": lambda x: x @ (100 * torch.eye(16)),
    "functional dropout": lambda x: functional.dropout(x, 0.5, training=True),
    "alpha dropout": lambda x: functional.alpha_dropout(x, 0.5, training=True),
    f"clamp to numbers, {CERTIFIABLE}": lambda x: x.clamp(max=0.5, min=0.1),
    f"other, {CERTIFIABLE}": lambda x: torch.mul(x, other=100.0),
    f"in place on what nothing else reads, {CERTIFIABLE}": lambda x: (x * 1.0).__iadd__(x * 99),
}


@fx.wrap
def relu(x):
    return 100 * x


# --- Views as another type, casts ---------------------------------------------------------------


class Viewed(nn.Module):
    """What the low bits of a pair say, read as one float64."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(2, 2, bias=False), nn.Linear(1, 2).double()
        with torch.no_grad():
            self.first.weight.copy_(8 * torch.eye(2))
            self.head.weight.copy_(torch.tensor([[1.0], [0.0]]))
            self.head.bias.copy_(torch.tensor([0.0, 1000.0]))

    def forward(self, x):
        return self.head(self.first(x).view(torch.float64))


TYPES: dict[str, Callable[[Tensor], Tensor]] = {
    "view(dtype=...)": lambda x: x.view(dtype=torch.float64).float().repeat(1, 2),
    "view as int32 and back": lambda x: x.view(torch.int32).view(torch.float32),
    "view as bfloat16": lambda x: x.view(torch.bfloat16)[:, 1::2].float(),
    "int and back": lambda x: (100 * x).int().float(),
    "long and back": lambda x: (100 * x).long() / 1.0,
    "half and back": lambda x: (1e5 * x).half().float(),
    "to(float16)": lambda x: (1e5 * x).to(torch.float16).to(torch.float32),
    "type(...)": lambda x: x.type(torch.int32).type(torch.float32),
    "round": lambda x: (100 * x).round(),
    "sign": lambda x: x.sign(),
    "complex": lambda x: torch.view_as_real(torch.complex(x, x))[..., 0],
    "view_as_complex": lambda x: torch.view_as_complex(x.view(-1, 8, 2)).abs().repeat(1, 2),
}


# --- Memory that two values share ---------------------------------------------------------------


def contiguous_copy(x):
    z = x * 1.0
    some = z[:, :8].contiguous()  # a copy for several images, the same memory for one
    some += 30 * z[:, 8:]
    return z


def reshaped_copy(x):
    z = x * 1.0
    some = z[:, :8].reshape(-1, 8)
    some += 30 * z[:, 8:]
    return z


def flattened_copy(x):
    z = x * 1.0
    some = z.view(-1, 4, 4).transpose(1, 2).flatten(1)
    some *= 30
    return z + some


def view_of_view(x):
    z = x * 1.0
    some = z.view(-1, 4, 4)[:, 1:].flatten(1)
    some *= 30.0
    return z


def doubled(x):
    z = x * 1.0
    same = z.double()
    same *= 30.0
    return z


def through_identity(x):
    z = x * 1.0
    same = nn.Identity()(z)
    same *= 30.0
    return z


def through_dropout(x):
    z = x * 1.0
    same = nn.Dropout(0.5).eval()(z)
    same *= 30.0
    return z


def added_to_itself(x):
    z = start = x * 1.0
    z += 30 * z
    return start + z


def relu_in_place(x):
    z = x * 1.0
    functional.relu(z, inplace=True)
    return z * 30


def method_in_place(x):
    z = x * 1.0
    z.mul_(30.0)
    return z


def item_assigned(x):
    z = x * 1.0
    z[:, :8] = 30 * x[:, 8:]
    return z


MEMORY = (
    contiguous_copy,
    reshaped_copy,
    flattened_copy,
    view_of_view,
    doubled,
    through_identity,
    through_dropout,
    added_to_itself,
    relu_in_place,
    method_in_place,
    item_assigned,
)


# --- Outputs that depend on the batch -----------------------------------------------------------


class Direct(nn.Module):
    """An operation on the images, then a dense layer."""

    def __init__(self, operation: Callable[..., Tensor], features: int = 16) -> None:
        super().__init__()
        self.operation, self.head = operation, nn.Linear(features, 3)
        self.register_buffer("rows", 100 * torch.rand(3, 16))
        self.norm = nn.BatchNorm1d(16, track_running_stats=False)

    def forward(self, x):
        return self.head(self.operation(self, x))


BATCHES: dict[str, Callable[[], nn.Module]] = {
    "mean of x[:, :len(x)]": lambda: Direct(
        lambda s, x: x[:, : x.size(0)].mean(1, keepdim=True), 1
    ),
    "divided by the number of images": lambda: Direct(lambda s, x: 100 * x / x.shape[0]),
    "clamped at the number of images": lambda: Direct(lambda s, x: 100 * x.clamp(max=x.shape[0])),
    "padded by the number of images": lambda: Direct(
        lambda s, x: functional.pad(x, (x.shape[0], -x.shape[0]))
    ),
    "axes from the number of images": lambda: Direct(
        lambda s, x: x.view(-1, 4, 4).permute(0, 1 + x.shape[0] % 2, 2 - x.shape[0] % 2).flatten(1)
    ),
    "mean over the images": lambda: Direct(lambda s, x: x - x.mean(0)),
    "mean over the images, kept": lambda: Direct(lambda s, x: x - x.mean(0, keepdim=True)),
    "statistics of the batch": lambda: Direct(lambda s, x: s.norm(x)),
    "three rows as a literal": lambda: Direct(lambda s, x: x.reshape(3, -1, 16).mean(1)),
    "a buffer of three rows": lambda: Direct(lambda s, x: x + s.rows),
    "a buffer of three rows as a bound": lambda: Direct(lambda s, x: x.clamp(max=s.rows)),
    "sorted images": lambda: Direct(lambda s, x: x.sort(0).values),
    "rolled images": lambda: Direct(lambda s, x: x.roll(1, 0)),
    "flipped images": lambda: Direct(lambda s, x: x.flip(0)),
    "the first image": lambda: Direct(lambda s, x: x + x[:1]),
    "transposed images": lambda: Direct(lambda s, x: x.t().reshape(-1, 16)),
    "ZeroPad2d along the batch": lambda: nn.Sequential(
        nn.ZeroPad2d((0, 0, 1, -1)), nn.Linear(16, 3)
    ),
    "Flatten of the batch": lambda: nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (-1, 16))),
    "a bias of three rows": lambda: nn.Sequential(three_biases()),
    "a convolution without an axis of images": lambda: nn.Sequential(nn.Conv1d(3, 3, 3, padding=1)),
    "sorting along the batch": lambda: Direct(lambda s, x: torch.cat((x, x), dim=-2)[:3]),
}


def three_biases() -> nn.Linear:
    layer = nn.Linear(16, 3)
    layer.bias = nn.Parameter(torch.rand(3, 3))
    return layer


# --- Numbers that overflow, or are flushed ------------------------------------------------------


def dense(*weights: list[list[float]]) -> nn.Module:
    layers = []
    for rows in weights:
        layer = nn.Linear(len(rows[0]), len(rows), bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(rows))
        layers.append(layer)
    return nn.Sequential(nn.Flatten(), *layers)


def at(model: nn.Module, image: list[float], other: list[float]) -> Case:
    return Case(model, torch.tensor([image]), torch.tensor([other]))


def pooled(weight: float, down: float) -> nn.Module:
    first, head = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(1, 2)
    with torch.no_grad():
        first.weight.fill_(weight)
        head.weight.copy_(torch.tensor([[down], [0.0]]))
        head.bias.zero_()
    return nn.Sequential(first, NormPool(), head)


def normalised(mean: float, deviation: float, down: float) -> Case:
    head = dense([[down], [0.0]])[1]
    net = nn.Sequential(Normalize((mean,), (deviation,)), nn.Flatten(), head)
    return Case(net, torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 0.9))


def batch_normalised(variance: float, weight: float, down: float) -> Case:
    norm = nn.BatchNorm1d(1, eps=0.0)
    with torch.no_grad():
        norm.running_var.fill_(variance)
        norm.weight.fill_(weight)
    net = nn.Sequential(nn.Flatten(), norm, dense([[down], [0.0]])[1])
    return at(net, [0.5], [0.9])


OVERFLOW: dict[str, Callable[[], Case]] = {
    "3e38 then 1e-38": lambda: at(
        dense([[3e38, 3e38], [0.0, 0.0]], [[1e-38, 0.0], [0.0, 0.0]]), [0.5, 0.5], [0.6, 0.6]
    ),
    "3e38 alone": lambda: at(dense([[3e38, 3e38], [0.0, 0.0]]), [0.5, 0.5], [0.6, 0.6]),
    "infinite less infinite": lambda: at(
        dense([[3e38, 3e38], [1e38, 0.0]], [[1e-38, 0.0], [0.0, 1e-38]]), [0.5, 0.5], [0.6, 0.6]
    ),
    "a sum that cancels": lambda: at(
        dense([[2e38, 2e38, -2e38], [0.0, 0.0, 0.0]], [[1e-38, 0.0], [0.0, 0.0]]),
        [0.8, 0.8, 0.8],
        [0.9, 0.9, 0.9],
    ),
    "squares in NormPool": lambda: Case(
        pooled(1.7e19, 1e-19), torch.full((1, 1, 1, 2), 0.7), torch.full((1, 1, 1, 2), 0.9)
    ),
    "a sum before its mean": lambda: Case(
        nn.Sequential(
            Scale(1e38), nn.AvgPool2d(2), Scale(1e-38), nn.Flatten(), dense([[1.0], [0.0]])[1]
        ),
        torch.full((1, 1, 2, 2), 0.8),
        torch.full((1, 1, 2, 2), 0.95),
    ),
    "factors": lambda: at(
        nn.Sequential(Scale(1e30), Scale(6e8), Scale(1e-38), dense([[1.0], [0.0]])[1]),
        [0.5],
        [0.9],
    ),
    "a factor without bound": lambda: at(
        nn.Sequential(Scale(float("inf")), dense([[1.0], [0.0]])[1]), [0.5], [0.0]
    ),
    "a deviation of 1e-38": lambda: normalised(0.0, 2e-39, 1e-38),
    "no variance": lambda: batch_normalised(0.0, 1.0, 1e-38),
    "a variance of 1e-40": lambda: batch_normalised(1e-40, 1.0, 1e-20),
    "a negative variance": lambda: batch_normalised(-1.0, 1.0, 1.0),
}
FLUSHED: dict[str, Callable[[], Case]] = {
    "pixels": lambda: at(dense([[1e30], [0.0]]), [1.5e-38], [1.1e-38]),
    "features": lambda: at(dense([[1e-38], [0.0]], [[1e38, 0.0], [0.0, 0.0]]), [1.0], [0.9]),
    "weights": lambda: at(dense([[1e30], [0.0]], [[1.1e-38, 0.0], [0.0, 0.0]]), [0.9], [0.8]),
    "weights that count": lambda: at(
        dense([[1e30], [0.0]], [[1.1e-38, 0.0], [0.0, 1.0]]), [0.9], [0.8]
    ),
    "a divisor": lambda: Case(
        nn.Sequential(Operation(lambda x: x * 1e-30 / 1e-39)), images(1), images(1)
    ),
    "a product": lambda: at(
        nn.Sequential(Scale(1e-20), Scale(1.2e-18), Scale(1e38), dense([[1.0], [0.0]])[1]),
        [1.0],
        [0.97],
    ),
}


# --- Weights and features that are drawn anew ---------------------------------------------------


class Noisy(nn.Module):
    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, weight):
        return weight + self.size * torch.randn_like(weight)


class Counting(nn.Module):
    """Another weight in each context."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = itertools.count()

    def forward(self, weight):
        return weight * (1 + next(self.turns))


class WhileCached(nn.Module):
    def forward(self, weight):
        return weight if parametrize._cache_enabled else 50 * weight


def parametrised(how: nn.Module) -> Case:
    return with_layer(parametrize.register_parametrization(nn.Linear(16, 16), "weight", how))


class AlwaysRandom(nn.Dropout):
    def train(self, mode=True):
        return super().train(True)


class Cached(nn.Module):
    """Keep what the first pass found."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.seen = nn.Linear(16, 3), None

    def forward(self, x):
        x = x.flatten(1)
        if self.seen is None:
            self.seen = 1
            return self.head(x)
        return self.head(50 * x)


RANDOM: dict[str, Callable[[], Case]] = {
    "noise of 1": lambda: parametrised(Noisy(1.0)),
    "noise of 1e-7": lambda: parametrised(Noisy(1e-7)),
    "another weight in each context": lambda: parametrised(Counting()),
    "random features": lambda: Case(Operation(lambda x: x + torch.randn(16)), images()),
    "random features for each image": lambda: Case(
        Operation(lambda x: x + torch.randn_like(x)), images()
    ),
    "a random factor of Python": lambda: Case(
        Operation(lambda x: x * float(torch.rand(()))), images()
    ),
    "dropout that stays random": lambda: with_layer(AlwaysRandom(0.5)),
    "a state": lambda: Case(Cached(), images()),
    f"a weight while cached, {CERTIFIABLE}": lambda: parametrised(WhileCached()),
}


# --- Code that does something else once it has been read ----------------------------------------


class Reading(nn.Module):
    """Distinguish reading from running, and add a jump far from the images."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.head = kind, nn.Linear(16, 3)

    def forward(self, x):
        x = x.flatten(1)
        read = isinstance(x, fx.Proxy)
        if self.kind == "branch" and not read and bool((x[:, 0] > 0.999).any()):
            x = x - 100
        if self.kind == "operation" and not read:
            x = x + 1000 * (x - 0.9999).relu()
        if self.kind == "list" and not read:
            x = x + 100 * float(max(row[0] for row in x.tolist()) > 0.999)
        if self.kind == "batch" and not read and len(x) == 1:
            x = x + 1000 * (x - 0.9999).relu()
        if self.kind == "constant" and not read:
            x = x + 1e-9 * torch.ones(16)
        return self.head(x)


class Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 100 * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient


READING: dict[str, Callable[[], Case]] = {
    **{
        kind: lambda kind=kind: Case(Reading(kind), images() * 0.99)
        for kind in ("branch", "operation", "list", "batch", "constant")
    },
    f"autograd function, {CERTIFIABLE}": lambda: Case(Operation(Function.apply), images()),
    "data_ptr": lambda: Case(Operation(lambda x: x * x.data_ptr()), images()),
    "numpy": lambda: Case(Operation(lambda x: torch.from_numpy(100 * x.numpy())), images()),
    "item": lambda: Case(Operation(lambda x: x * x.max().item()), images()),
    "list of modules": lambda: Case(nn.ModuleList([nn.Linear(16, 3)]), images()),
}


# ------------------------------------------------------------------------------------------------

CATALOGUE: dict[str, dict[str, Callable[[], Case]]] = {
    "layer": LAYERS,
    "argument": {
        name: lambda operation=operation: Case(Operation(operation), images())
        for name, operation in ARGUMENTS.items()
    },
    "type": {
        "view(torch.float64)": lambda: Case(
            Viewed(), torch.tensor([[0.0, 0.6]]), torch.tensor([[0.0, 0.5]])
        ),
        **{
            name: lambda operation=operation: Case(Operation(operation), images())
            for name, operation in TYPES.items()
        },
    },
    "memory": {
        f"{operation.__name__}, {count} images": lambda operation=operation, count=count: Case(
            Operation(operation), images(count)
        )
        for operation in MEMORY
        for count in (1, 3, 6)
    },
    "batch": {
        f"{name}, {count} images": lambda make=make, count=count: Case(make(), images(count, 16))
        for name, make in BATCHES.items()
        for count in (1, 3, 6)
    },
    "overflow": OVERFLOW,
    "random": RANDOM,
    "reading": READING,
}
"""Kind -> name -> case: all at Lipschitz certificates. Models for votes stand beside, see below."""


@pytest.mark.filterwarnings("ignore:This overload of")
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, cases in CATALOGUE.items() for name in cases]
)
def test_an_error_or_a_radius_that_nothing_breaks(kind, name):
    torch.manual_seed(0)
    case = CATALOGUE[kind][name]()
    case = case._replace(model=case.model.eval())
    if CERTIFIABLE not in name:
        with suppress(ValueError):
            assert bool((certify(case.model, case.images, guarantee=Local()).radius == 0).all())
        return
    found = certify(case.model, case.images, guarantee=Local())
    assert bool((found.radius > 0).any())
    assert not broken(case, found.radius)


def broken_when_flushed(case: Case, radius: Tensor) -> bool:
    """Return whether label 0 is lost inside the radius, with small numbers flushed or not."""
    distance = (case.counterexample.double() - case.images.double()).flatten(1).norm(dim=1)
    lost = False
    for flush in (True, False):
        try:
            torch.set_flush_denormal(flush)
            with torch.no_grad():
                clean, there = case.model(case.images), case.model(case.counterexample)
        finally:
            torch.set_flush_denormal(False)
        lost |= not bool(clean[0, 0] > clean[0, 1]) or not bool(there[0, 0] > there[0, 1])
    return lost and bool((distance < radius).any())


@pytest.mark.parametrize("name", FLUSHED)
@pytest.mark.parametrize("flush_while_certifying", [True, False])
def test_no_radius_breaks_when_small_numbers_are_flushed(name, flush_while_certifying):
    torch.manual_seed(0)
    case = FLUSHED[name]()
    case = case._replace(model=case.model.eval())
    try:
        torch.set_flush_denormal(flush_while_certifying)
        with suppress(ValueError):
            radius = certify(case.model, case.images, guarantee=Local()).radius
            torch.set_flush_denormal(False)
            assert not broken_when_flushed(case, radius)
    finally:
        torch.set_flush_denormal(False)


# --- Models for votes: shared draws, planted flips of floats (their certificates are not Lipschitz)


class Whole(nn.Module):
    """A model made of one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x.flatten(1))


def two_columns(first: Tensor) -> Tensor:
    """Label 0 where a row says so, else label 1."""
    return torch.stack([first, ~first], 1).float()


SHARED_DRAWS = {
    "one member a call": lambda x: two_columns((torch.rand(()) < 0.5).expand(len(x))),
    "weights drawn a call": lambda x: x[:, :3] @ torch.randn(3, 2),
    "one mask a call": lambda x: (x * (torch.rand(1, 16) > 0.5))[:, :3],
    "a third of the variance": lambda x: (
        x[:, :2] + 0.8 * torch.randn(len(x), 2) + torch.randn(2) / 2
    ),
    "one draw for each half": lambda x: two_columns(
        (torch.rand(2) < 0.5).repeat_interleave(len(x) // 2 + 1)[: len(x)]
    ),
    "one draw, mixed by row": lambda x: (
        x[:, :2] * (1 + torch.randn(1, 1)) + 1e-3 * torch.randn(len(x), 2)
    ),
}
OTHER_ROWS = {
    "centred": lambda x: (x - x.mean(0))[:, :3],
    "scaled by the largest": lambda x: (x / x.abs().amax())[:, :3],
    "ranked": lambda x: x.argsort(0).argsort(0).float()[:, :3],
    "the first row": lambda x: x[:, :3] + x[:1, 3:6],
    "its neighbour": lambda x: x[:, :3] * x.roll(1, 0)[:, 3:6],
    "batch normalised": lambda x: functional.batch_norm(x, None, None, training=True)[:, :3],
    "by its place": lambda x: x[:, :3] + torch.arange(len(x))[:, None] % 3,
}


@pytest.mark.parametrize("name", [*SHARED_DRAWS, *OTHER_ROWS])
@pytest.mark.parametrize("radii", [None, (0.05,)])
def test_votes_whose_rows_are_not_independent_are_not_counted(name, radii):
    model = Whole((SHARED_DRAWS | OTHER_ROWS)[name])
    with pytest.raises(ValueError, match="batch"):
        smoothing.certify(
            model, images(), guarantee=Local(), sigma=0.25, radii=radii, n_certify=100
        )


def came_down(x: Tensor) -> Tensor:
    """Which pixels noise has brought down, so that subtraction has left the last bits of x."""
    return (x > -0.24) & (x < -0.06)


FLIPS = {
    "parity of the last place": lambda x: two_columns(
        ((came_down(x) & ((x.double() * 2.0**26).round().long() % 2 == 0)).sum(1))
        > (came_down(x) & ((x.double() * 2.0**26).round().long() % 2 == 1)).sum(1)
    ),
    "last bit of the number": lambda x: two_columns(
        ((x.view(torch.int32) & 1) == 0).float().mean(1) > 0.52
    ),
    "multiples of 2^-24": lambda x: two_columns(
        ((x.double() * 2.0**24) % 1 == 0).double().mean(1) > 0.9
    ),
    "what half precision drops": lambda x: two_columns((x == x.half().float()).any(1)),
    "on the grid of bytes": lambda x: two_columns(
        ((x * 255).round() / 255 == x).float().mean(1) > 0.5
    ),
    "sum of the last bits": lambda x: two_columns((x.view(torch.int32) & 7).sum(1) % 2 == 0),
}


def flip_breaks(name: str) -> tuple[bool, bool]:
    """Certify a net that reads the last bits, on the grid; return (certified, broken)."""
    model, pixels = Whole(FLIPS[name]), torch.full((1, 1, 8, 8), 48 / 255)
    found = smoothing.certify(
        model, pixels, guarantee=Local(), sigma=0.25, n_certify=2000, levels=255
    )
    assert 0 < found.details["tv_error"] < 1e-6
    vote, search = Vote(model, 0.25, 255), VoteSearch(n_confirm=2000, alpha=1e-6)
    broken = False
    for step in (1 / 255, -1 / 255, 2.0**-26, -(2.0**-26)):
        there = pixels + step
        inside = (there.double() - pixels.double()).norm() < found.radius
        broken |= bool(inside & vote_fails(vote, there, found.sets, Local(), search, 1))
    return bool(found.radius > 0), broken


@pytest.mark.parametrize("name", FLIPS)
def test_what_reads_the_last_bits_has_no_certificate_beyond_the_truth(name):
    """On the grid of 8-bit pixels noise is drawn exactly, and no last bit tells where x was."""
    assert not flip_breaks(name)[1]
    # With floating noise the same claim rests on an assumption, and says so.
    model, pixels = Whole(FLIPS[name]), torch.full((1, 1, 8, 8), 48 / 255)
    floating = smoothing.certify(model, pixels, guarantee=Local(), sigma=0.25, n_certify=100)
    assert floating.details["tv_error"] is None
