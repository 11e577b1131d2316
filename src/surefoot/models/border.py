"""The border to models from outside: what goes in is a copy, what comes out is checked.

A foreign model may write into its input, return a dict, answer differently in another batch, or
draw one random number for a whole batch. `outcomes_of` runs a model on a copy of the images and
returns plain outcomes; `behaviour` sends a few batches that tell what the model depends on.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from surefoot.models.frozen import device_of, first_weight, frozen
from surefoot.streams import own_randomness
from surefoot.types import Images, Model, Outcomes

LOWEST = -1e30
"""What an outcome of minus infinity becomes: a class that never wins, in finite arithmetic."""
ASKED = 3
"""Rows whose draws are looked into."""
MASK = 1e3
"""Outcomes beyond this size are taken for masks of a class where a tolerance is chosen."""
ROWS, COPIES, CALLS = 8, 64, 16
"""Rows that are run alone and together; equal inputs in a batch, and batches of them."""
TOLERANCE = 1e-3
"""Of the size of the outcomes: batches of other sizes are summed in another order."""
SHARED = 5.0
"""Variance between batch means over what independent draws give it: F(15, 1008) exceeds 5 with
probability below 1e-8; a tenth of the variance shared within a batch gives about 8."""
APART = 8.0
"""Standard errors between a mean outcome in one batch and in another."""


def outcomes_of(model: Model, images: Images) -> Outcomes:
    """Run a model on a copy of the images, in the precision of its weights.

    The outputs may be a tensor, or a tuple, dict or object that holds logits. Half precision is
    widened to float32; minus infinity (a masked class) becomes `LOWEST`.

    Raises:
        ValueError: outputs that are not floating-point outcomes `[B, O]`; it names what came.
    """
    if not callable(model):
        raise ValueError(not_callable(model))
    weight = first_weight(model)
    precision = images.dtype if weight is None else weight.dtype
    # Always a copy: foreign code, and layers that work in place, may write into their input.
    found = logits_in(model(images.to(precision, copy=True)))
    if found.ndim == 1 and len(images) == 1 and found.numel() > 1:
        found = found.unsqueeze(0)  # squeezed by the model at batch 1
    if found.shape in ((len(images),), (len(images), 1)):
        raise ValueError(
            f"the model returns one number an image, {tuple(found.shape)}; expected a column for"
            " each class. For a binary net with one logit z (before the sigmoid) pass the model"
            " lambda images: torch.nn.functional.pad(net(images).view(-1, 1), (1, 0)), whose"
            " logits are (0, z)"
        )
    if found.ndim != 2 or len(found) != len(images) or not found.is_floating_point():
        raise ValueError(
            f"the model must map images to floating-point outcomes [B, O]; images"
            f" {tuple(images.shape)} gave {tuple(found.shape)}, {found.dtype}. Average over"
            " positions or time, and flatten, inside the model"
        )
    if torch.finfo(found.dtype).bits < 32:
        found = found.float()
    return found.masked_fill(found.isneginf(), LOWEST)


def not_callable(model: object) -> str:
    """Describe what a thing that is no model is, and how a model is made of it."""
    what = f"a model is called with images [B, ...]; found a {type(model).__name__}, which is not"
    if hasattr(model, "predict_proba") or hasattr(model, "predict"):
        return f"{what} callable. Pass surefoot.models.from_estimator(estimator)"
    return f"{what} callable. Pass a torch.nn.Module, or a function from images to logits"


def has_gradient(model: Model, images: Images) -> bool:
    """Return whether outcomes depend on the images by a graph that autograd can follow.

    A gradient of zero counts as one. Code outside torch (scikit-learn, NumPy, a remote service) has
    none, and may fail where it meets a tensor that records a graph.
    """
    few = images[:2].to(device_of(model)).detach().requires_grad_()
    with frozen(model), torch.enable_grad(), own_randomness(0):
        try:
            outcomes = outcomes_of(model, few)
            if not outcomes.requires_grad:
                return False
            (found,) = torch.autograd.grad(outcomes.sum(), few, allow_unused=True)
        except RuntimeError:  # "can't call numpy() on a tensor that requires grad", and the like
            return False
    return found is not None


def logits_in(found: Any) -> Tensor:
    """Return the tensor of logits in what a model returned, or raise and name what it is."""
    if isinstance(found, np.ndarray):
        found = torch.from_numpy(found)
    if isinstance(found, Tensor):
        return found
    if isinstance(found, Mapping) and isinstance(found.get("logits"), Tensor):
        return found["logits"]
    held = getattr(found, "logits", None)
    if isinstance(held, Tensor):
        return held
    if isinstance(found, tuple | list) and found and isinstance(found[0], Tensor):
        return found[0]
    what = f"a {type(found).__name__}"
    if isinstance(found, Mapping):
        what += f" with the keys {', '.join(map(str, found))}"
    raise ValueError(
        f"the model must return a tensor of logits, or a tuple, dict or object that holds them"
        f" (first entry, key or attribute `logits`); it returned {what}. Pass a function that picks"
        " them: lambda images: net(images)['scores']"
    )


class Behaviour(NamedTuple):
    """What a few batches told about a model.

    Args:
        random: equal images get other outcomes when the random streams are seeded anew.
        problem: why counts of its outcomes, and outcomes of single rows, mean nothing; "" if none.
    """

    random: bool
    problem: str


def behaviour(model: Model, images: Images) -> Behaviour:
    r"""Find out whether a model is random, and whether rows of a batch influence each other.

    Deterministic models: each of a few rows alone, and all in another order, must equal the same
    rows together. Random models: in batches of equal inputs the variance of the batch mean must be
    that of independent draws, $\mathrm{Var}(\bar o) = \mathrm{Var}(o) / n$; a draw that a batch
    shares (sampled weights, one dropout mask) raises it. And the mean outcome of an input must be
    the same among copies of itself as among copies of another one.

    It finds what happens on these images; dependence that is hidden on purpose may pass.

    Args:
        model: maps images to outcomes.
        images: at least one; the first few are used.

    Raises:
        ValueError: the model fails on a batch of another size.
    """
    few = images[:ROWS].to(device_of(model))
    once, again = _run(model, few, 0), _run(model, few, 1)
    if not _same(once, again):
        # A black or a clear image may show no draw: ask those whose outcomes moved most.
        moved = (once - again).nan_to_num(0.0, 0.0, 0.0).abs().amax(1).argsort(descending=True)
        problems = (_shared_draws(model, few.roll(-row, 0)) for row in moved[:ASKED].tolist())
        return Behaviour(True, next(filter(None, problems), ""))
    try:
        alone = torch.cat([_run(model, row.unsqueeze(0), 0) for row in few])
        turned = _run(model, torch.cat([few.flip(0), few[:1]]), 0)[:-1].flip(0)
    except Exception as error:  # whatever a foreign model may raise
        raise ValueError(
            f"the model takes {len(few)} images together, but not one alone or {len(few) + 1}"
            f" ({type(error).__name__}: {error}), so its outcomes depend on the other images of the"
            " batch. Give it a free batch size, and batch normalisation its running statistics"
        ) from error
    if _same(once, alone) and _same(once, turned):
        return Behaviour(False, "")
    return Behaviour(
        False,
        "the model's outcomes for an image depend on the other images of the batch (batch"
        " normalisation without running statistics, x - x.mean(0), dynamic quantisation, noise"
        " fixed by the place in the batch): no outcome of a single image is defined. Use running"
        " statistics (train them, then model.eval()) and reduce over features only",
    )


def check_rows(model: Model, images: Images) -> None:
    """Raise where rows of a batch influence each other: then no count and no certificate holds."""
    found = behaviour(model, images)
    if found.problem:
        raise ValueError(f"no count and no certificate: {found.problem}")


def _run(model: Model, images: Images, seed: int) -> Tensor:
    # A context of its own each time: parametrised weights may be drawn at random, once a context.
    with torch.no_grad(), frozen(model), own_randomness(seed):
        return outcomes_of(model, images).double()


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and close(one, other, TOLERANCE)


def close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Return whether outcomes are the same, to a tolerance relative to the size of their column.

    A class that is masked by a large number must not hide what happens in the others; a column
    near zero counts as a tenth of the largest number that is no mask.
    """
    usual = one.masked_fill(~(one.isfinite() & (one > LOWEST)), 0).abs()
    floor = usual.masked_fill(usual > MASK, 0).amax() / 10
    size = usual.amax(0).clamp(min=floor)
    alike = ((one - other).abs() <= tolerance * size + 1e-12) | (one == other)
    return bool((alike | (one.isnan() & other.isnan())).all())


def _shared_draws(model: Model, images: Images) -> str:
    """Return how draws for the first image are shared within a batch; "" if nothing shows."""
    equal = images[:1].expand(COPIES, *images.shape[1:])
    other = images[-1:] if len(images) > 1 else 1 - images[:1]
    mixed = torch.stack([equal, other.expand_as(equal)], 1).flatten(0, 1)
    batches = torch.stack([_run(model, equal, seed) for seed in range(CALLS)])
    # By column: the own noise of one class must not hide what a batch shares in another.
    rounding = (1e-6 * batches.abs().amax((0, 1))).square()
    within = batches.var(1).mean(0)
    between = batches.mean(1).var(0) * COPIES
    if bool((between > SHARED * within + rounding).any()):
        return (
            "equal inputs in one batch share random draws (weights or a member sampled once a call,"
            " one dropout mask for a batch), so noise samples are not independent. Draw anew for"
            " each row of the batch, or certify each member on its own"
        )
    among = torch.stack([_run(model, mixed, CALLS + seed)[::2] for seed in range(CALLS)])
    gap = (batches.mean((0, 1)) - among.mean((0, 1))).square()
    error = (batches.var((0, 1)) + among.var((0, 1))) / (COPIES * CALLS)
    if bool((gap > APART**2 * error + rounding).any()):
        return (
            "the distribution of the model's outcomes for an image depends on the other images of"
            " the batch: reduce over features only, and use running statistics"
        )
    return ""
