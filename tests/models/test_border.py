"""Models from outside: what they return, what they depend on, what they may touch."""

import types
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from surefoot.attacks import apgd, break_guarantee
from surefoot.certify import smoothing
from surefoot.data import Data
from surefoot.evaluation import Plain, bracket
from surefoot.guarantees import Local
from surefoot.models.border import LOWEST, behaviour, outcomes_of
from surefoot.models.frozen import frozen
from surefoot.threat import Threat
from surefoot.uncertainty import MCDropout, Selective


def mlp() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 3)).eval()


def images(count: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))


class Through(nn.Module):
    """A net, and what is done with its logits."""

    def __init__(self, change) -> None:
        super().__init__()
        self.net, self.change = mlp(), change

    def forward(self, pixels):
        return self.change(self.net(pixels))


RETURNED = {
    "tensor": lambda logits: logits,
    "tuple": lambda logits: (logits, logits.sum(1)),
    "list": lambda logits: [logits],
    "dict": lambda logits: {"loss": None, "logits": logits},
    "object": lambda logits: types.SimpleNamespace(logits=logits),
    "squeezed": lambda logits: logits.squeeze(0),
}


@pytest.mark.parametrize("form", RETURNED)
def test_logits_are_found_in_whatever_holds_them(form):
    pixels, wanted = images(), mlp()(images())
    model = Through(RETURNED[form])
    assert torch.equal(outcomes_of(model, pixels), wanted)
    assert torch.equal(outcomes_of(model, pixels[:1]), mlp()(pixels[:1]))
    # And everything that runs a model runs this one.
    labels = wanted.argmax(1)
    plain = break_guarantee(
        mlp(), pixels, guarantee=Local(), threat=Threat("linf", 0.1), labels=labels, steps=5
    )
    found = break_guarantee(
        model, pixels, guarantee=Local(), threat=Threat("linf", 0.1), labels=labels, steps=5
    )
    assert torch.equal(found.images, plain.images)
    assert torch.equal(Selective(model, "entropy", 0.9)(pixels)[:, :3], wanted)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda logits: {"scores": logits, "loss": 1}, "a dict with the keys scores, loss"),
        (lambda logits: None, "it returned a NoneType"),
        (lambda logits: logits[:, 0], r"\(0, z\)"),
        (lambda logits: logits[:, :1], r"pad\(net\(images\).view\(-1, 1\), \(1, 0\)\)"),
        (lambda logits: logits.argmax(1, keepdim=True).expand(-1, 3), "torch.int64"),
        (lambda logits: logits[:, :, None, None].expand(-1, -1, 2, 2), "Average over positions"),
        (lambda logits: logits[:2], r"gave \(2, 3\)"),
    ],
)
def test_other_outputs_are_named_with_the_line_to_write(returned, message):
    with pytest.raises(ValueError, match=message):
        outcomes_of(Through(returned), images())


def test_the_line_for_one_sigmoid_logit_works():
    net = Through(lambda logits: logits[:, :1])
    model = lambda pixels: nn.functional.pad(net(pixels).view(-1, 1), (1, 0))  # noqa: E731
    logit = net(images())[:, 0]
    outcomes = outcomes_of(model, images())
    assert torch.allclose(outcomes.softmax(1)[:, 1], logit.sigmoid())


@pytest.mark.parametrize("precision", [torch.float64, torch.float16, torch.bfloat16])
def test_images_take_the_precision_of_the_weights(precision):
    net = mlp().to(precision)
    outcomes = outcomes_of(net, images())
    assert outcomes.dtype == (torch.float64 if precision == torch.float64 else torch.float32)
    found = apgd(net, images(), outcomes.argmax(1), threat=Threat("linf", 0.3), steps=5)
    assert found.dtype == torch.float32
    certified = smoothing.certify(net, images(2), guarantee=Local(), sigma=0.2, n_certify=50)
    assert certified.radii.isfinite().all()


def test_a_masked_class_never_wins_and_costs_nothing():
    def masked(logits):
        return torch.cat([logits, torch.full_like(logits[:, :2], -torch.inf)], 1)

    model, pixels = Through(masked), images(40)
    assert (outcomes_of(model, pixels)[:, 3:] == LOWEST).all()
    labels = mlp()(pixels).argmax(1)
    data = Data(pixels, labels, classes=tuple("abcde"), name="some")
    how = {"guarantee": Local(), "threat": Threat("linf", 0.01), "limits": False}
    record = bracket(Plain(model, steps=3), data, **how)
    assert record.rows["clean"].all()
    assert not any("infinite" in text for text in record.header.warnings)
    assert (Selective(model, "entropy", 1.0)(pixels).isfinite()).all()


def test_rows_that_are_not_finite_are_counted_and_told():
    def broken(logits):
        return torch.where(torch.arange(len(logits))[:, None] % 4 == 0, torch.nan, logits)

    pixels = images(40)
    data = Data(pixels, mlp()(pixels).argmax(1), classes=tuple("abc"), name="some")
    how = {"guarantee": Local(), "threat": Threat("linf", 0.01), "limits": False}
    record = bracket(Plain(Through(broken), steps=3), data, **how)
    assert any("25.0% of the rows (10)" in text for text in record.header.warnings)


def test_more_outcomes_than_classes_are_told():
    pixels = images(40)
    data = Data(pixels, torch.arange(40) % 2, classes=("a", "b"), name="some")
    how = {"guarantee": Local(), "threat": Threat("linf", 0.01), "limits": False}
    record = bracket(Plain(mlp(), steps=3), data, **how)
    assert any("3 outcomes, the data 2 classes" in text for text in record.header.warnings)


class Writes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, pixels):
        pixels -= 0.5
        pixels *= 4
        return self.net(pixels)


class Caches(nn.Module):
    """Keeps what its first pass computed."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.kept = mlp(), None

    def forward(self, pixels):
        if self.kept is None:
            self.kept = self.net[1].weight * 2
        return nn.functional.linear(pixels.flatten(1), self.kept[:3]) + 0 * self.net(pixels)


def test_a_model_that_writes_into_its_input_does_not_touch_the_images():
    pixels = images()
    before, labels = pixels.clone(), torch.zeros(6, dtype=torch.long)
    model = Writes()
    assert torch.equal(outcomes_of(model, pixels), mlp()((before - 0.5) * 4))
    threat = Threat("linf", 0.2)
    found = break_guarantee(model, pixels, guarantee=Local(), threat=threat, steps=5)
    assert threat.inside(found.images, before).all()
    apgd(model, pixels, labels, threat=threat, steps=3)
    smoothing.certify(model, pixels, guarantee=Local(), sigma=0.2, n_certify=50)
    assert torch.equal(pixels, before)
    data = Data(pixels, labels, classes=tuple("abc"), name="some")
    record = bracket(Plain(model, steps=3), data, guarantee=Local(), threat=threat, limits=False)
    assert any("writes into its input" in text for text in record.header.warnings)
    assert torch.equal(data.images, before)


def test_a_model_that_caches_stays_usable_with_gradients():
    model = Caches()
    smoothing.certify(model, images(2), guarantee=Local(), sigma=0.2, n_certify=50)
    loss = model(images()).sum()
    loss.backward()
    assert model.net[3].weight.grad is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "wrapped",
    ["traced", "scripted", "jit-frozen", "data-parallel", "compiled", "pruned"],
)
def test_wrapped_nets_are_attacked_and_smoothed_like_the_net(wrapped):
    net = mlp()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = {
            "traced": lambda: torch.jit.trace(net, images(2)),
            "scripted": lambda: torch.jit.script(net),
            "jit-frozen": lambda: torch.jit.freeze(torch.jit.script(net)),
            "data-parallel": lambda: nn.DataParallel(net),
            "compiled": lambda: torch.compile(net, backend="eager"),
            "pruned": lambda: prune.l1_unstructured(net[1], "weight", 0.1) and net,
        }[wrapped]()
        threat, labels = Threat("linf", 0.2), net(images()).argmax(1)
        found = apgd(model, images(), labels, threat=threat, steps=5)
        assert torch.equal(found, apgd(net, images(), labels, threat=threat, steps=5))
        how = {"guarantee": Local(), "sigma": 0.2, "n_certify": 100}
        ours = smoothing.certify(model, images(2), **how)
        assert torch.equal(ours.radii, smoothing.certify(net, images(2), **how).radii)


def test_what_a_dynamically_quantised_net_lacks_is_named():
    """Its activations are scaled by the range of the batch, and rounded: no rows, no gradient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            net = torch.ao.quantization.quantize_dynamic(mlp(), {nn.Linear})
        except RuntimeError as error:
            pytest.skip(f"no quantised kernels in this build of torch: {error}")
        with pytest.raises(ValueError, match="dynamic quantisation"):
            smoothing.certify(net, images(2), guarantee=Local(), sigma=0.2, n_certify=50)
        with pytest.raises(ValueError, match=r"surefoot\.attacks\.square"):
            apgd(net, images(), outcomes_of(net, images()).argmax(1), threat=Threat(), steps=2)


def test_frozen_restores_modes_and_gradients_after_an_error():
    net = mlp().train()
    net[1].weight.requires_grad_(False)
    seen = []

    def fails():
        with frozen(net):
            seen.append(net.training)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [False]
    assert net.training
    assert [weight.requires_grad for weight in net.parameters()] == [False, True, True, True]


class OneDraw(nn.Module):
    """Weights that are drawn once a call."""

    def forward(self, pixels):
        return pixels.flatten(1) @ torch.randn(9, 3)


class OneMask(nn.Module):
    """A dropout mask that the whole batch shares."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, pixels):
        return self.net(pixels * (torch.rand(1, 1, 3, 3) > 0.3))


class MostlyOwn(nn.Module):
    """A third of the variance is shared by the batch, the rest is each row's own."""

    def forward(self, pixels):
        own, shared = torch.randn(len(pixels), 3), torch.randn(1, 3)
        return pixels.flatten(1)[:, :3] + 0.8 * own + 0.57 * shared


class Member(nn.Module):
    """One of two members a call."""

    def forward(self, pixels):
        first = torch.rand(()) < 0.5
        return torch.tensor([[1.0, 0.0]] if first else [[0.0, 1.0]]).expand(len(pixels), 2)


class Replayed(nn.Module):
    """Noise that is the same in every call, and other at each place of the batch."""

    def forward(self, pixels):
        noise = torch.randn(len(pixels), 9, generator=torch.Generator().manual_seed(0))
        return (pixels.flatten(1) + noise) @ torch.ones(9, 3).cumsum(1)


class Jitter(nn.Module):
    def forward(self, weight):
        return weight + torch.randn(weight.shape)


def jittered() -> nn.Module:
    """Weights drawn anew by their parametrisation, which evaluation caches for a while."""
    net = mlp()
    parametrize.register_parametrization(net[1], "weight", Jitter())
    return net


SHARED = {
    "parametrised": jittered,
    "weights": OneDraw,
    "mask": OneMask,
    "part": MostlyOwn,
    "member": Member,
}


@pytest.mark.parametrize("kind", SHARED)
def test_draws_that_a_batch_shares_are_found(kind):
    found = behaviour(SHARED[kind](), images())
    assert found.random
    assert "share random draws" in found.problem
    with pytest.raises(ValueError, match="share random draws"):
        smoothing.certify(SHARED[kind](), images(), guarantee=Local(), sigma=0.2, n_certify=50)


class BatchMean(nn.Module):
    def forward(self, pixels):
        flat = pixels.flatten(1)
        return (flat - flat.mean(0)) @ torch.ones(9, 3).cumsum(1)


class Ranked(nn.Module):
    """The first row of a batch is special."""

    def forward(self, pixels):
        flat = pixels.flatten(1)[:, :3]
        return torch.cat([flat[:1] * 3, flat[1:]])


def no_running_statistics() -> nn.Module:
    layer = nn.BatchNorm2d(1, track_running_stats=False)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(9, 3))


class RandomMean(nn.Module):
    """Fresh noise in each row, and the mean of the batch."""

    def forward(self, pixels):
        flat = pixels.flatten(1)[:, :3]
        return flat - flat.mean(0) + 0.1 * torch.randn(len(pixels), 3)


BATCHED = {
    "mean": BatchMean,
    "first": Ranked,
    "batch norm": no_running_statistics,
    "replayed": Replayed,
    "random": RandomMean,
}


@pytest.mark.parametrize("kind", BATCHED)
def test_outcomes_that_depend_on_the_batch_have_no_certificate(kind):
    model = BATCHED[kind]()
    assert "other images of the batch" in behaviour(model, images()).problem
    with pytest.raises(ValueError, match="other images of the batch"):
        smoothing.certify(model, images(), guarantee=Local(), sigma=0.2, n_certify=50)
    data = Data(images(40), torch.zeros(40, dtype=torch.long), classes=tuple("abc"), name="some")
    how = {"guarantee": Local(), "threat": Threat("linf", 0.1), "limits": False}
    record = bracket(Plain(model, steps=2), data, **how)
    assert any("other images of the batch" in text for text in record.header.warnings)


def test_a_model_that_fails_alone_is_named_before_any_work():
    layer = nn.BatchNorm1d(9, track_running_stats=False)
    model = nn.Sequential(nn.Flatten(), layer, nn.Linear(9, 3))
    data = Data(images(40), torch.zeros(40, dtype=torch.long), classes=tuple("abc"), name="some")
    with pytest.raises(ValueError, match="8 images together, but not one alone"):
        bracket(Plain(model), data, guarantee=Local(), threat=Threat("linf", 0.1))


@pytest.mark.parametrize("seed", range(5))
def test_honest_models_pass(seed):
    assert behaviour(mlp(), images(seed=seed)) == (False, "")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        dropping = nn.Sequential(nn.Flatten(), nn.Linear(9, 20), nn.Dropout(0.5), nn.Linear(20, 3))
    assert behaviour(MCDropout(dropping.eval()), images(seed=seed)) == (True, "")
    assert behaviour(mlp(), images(1)) == (False, "")


class Masked(nn.Module):
    """A class that is masked by a large number, beside one draw a call or the mean of the batch."""

    def __init__(self, mask: float, random: bool) -> None:
        super().__init__()
        self.mask, self.random = mask, random

    def forward(self, x):
        x = x.flatten(1)
        own = torch.randn(()).expand(len(x)) if self.random else (x - x.mean(0)).sum(1)
        return torch.stack([torch.full_like(own, 0.25), own, torch.full_like(own, self.mask)], 1)


@pytest.mark.parametrize("mask", [-10.0, -1e3, -1e4, -1e9, -torch.inf])
@pytest.mark.parametrize("random", [True, False])
def test_a_masked_class_hides_nothing(mask, random):
    assert behaviour(Masked(mask, random), images(8)).problem
    with pytest.raises(ValueError, match="no certificate"):
        smoothing.certify(
            Masked(mask, random), images(8), guarantee=Local(), sigma=0.25, n_certify=100
        )


class OnceACall(nn.Module):
    """Sampled weights without a bias, which a black image does not show."""

    def forward(self, x):
        x = x.flatten(1)
        return torch.cat([torch.full((len(x), 1), 0.1), x @ torch.randn(x.shape[1], 1)], 1)


def test_shared_draws_are_found_behind_a_first_image_that_shows_none():
    batch = images(8)
    batch[0] = 0
    assert "share random draws" in behaviour(OnceACall(), batch).problem


def test_a_logit_near_zero_is_no_dependence():
    net = nn.Linear(9, 3).double().eval()
    with torch.no_grad():
        net.weight[0] *= 1e-6
        net.bias[0] = 0
        net.weight[1:] *= 100
    assert behaviour(nn.Sequential(nn.Flatten(), net.float()), images(8)).problem == ""
    assert behaviour(nn.Sequential(nn.Flatten(), net), images(1)).problem == ""


class Drowned(nn.Module):
    """One draw a call in one column; loud noise of each row's own in another."""

    def forward(self, x):
        own = 100 * torch.randn(len(x))
        return torch.stack([own, torch.randn(()).expand(len(x)), own * 0], 1)


def test_own_noise_of_one_class_hides_nothing_in_another():
    assert "share random draws" in behaviour(Drowned(), images(8)).problem
