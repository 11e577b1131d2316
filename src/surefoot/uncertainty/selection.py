"""What is chosen on validation images: thresholds by coverage and by risk, and a temperature.

Never on images that are evaluated. `by_coverage`, `by_risk` and `tempered` take a model and images;
`threshold_at_coverage` and `threshold_at_risk` take scores. For a classifier that will see noise,
take the scores of noisy images (`sigma`): a threshold from clean images accepts fewer of them than
it promises. By radius: `certify.smoothing.by_radius`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.models.frozen import device_of, frozen
from surefoot.stats import upper_bound
from surefoot.streams import keys, normal
from surefoot.types import (
    AnyLabels,
    Flags,
    Images,
    Labels,
    Model,
    Outcomes,
    PerExample,
    checked_labels,
)
from surefoot.uncertainty.selective import scored
from surefoot.uncertainty.temperature import Tempered, fit_temperature

STEPS = 20
"""Thresholds of a grid."""
AMPLE = 3.0
"""The first threshold of a grid accepts this many times what would do if all were right."""


def by_coverage(
    model: Model, images: Images, score: str, coverage: float, *, sigma: float = 0.0
) -> tuple[float, float]:
    """Return the smallest threshold that accepts at least `coverage` of the images, and how much.

    Args:
        model: without a column "uncertain".
        images: validation images.
        score: one of `selective.NAMES`.
        coverage: fraction to accept.
        sigma: noise that the classifier will see.
    """
    _, scores = _scored(model, images, score, sigma)
    threshold = threshold_at_coverage(scores, coverage)
    return threshold, (scores <= threshold).double().mean().item()


def by_risk(
    model: Model,
    images: Images,
    labels: AnyLabels,
    score: str,
    risk: float,
    *,
    alpha: float = 0.05,
    sigma: float = 0.0,
) -> "RiskThreshold":
    """Return the largest threshold whose selective risk is at most `risk`, see `threshold_at_risk`.

    The first third of the images fixes the grid of thresholds, the others test it.

    Args:
        model: without a column "uncertain".
        images: validation images.
        labels: of these images.
        score: one of `selective.NAMES`.
        risk: largest fraction of wrong ones among the accepted.
        alpha: probability of a threshold whose risk is larger.
        sigma: noise that the classifier will see.
    """
    images, labels = _checked(images, labels)
    first = len(images) // 3
    _, scores = _scored(model, images[:first], score, sigma)
    grid = grid_for(scores, risk, count=len(images) - first, alpha=alpha)
    logits, scores = _scored(model, images[first:], score, sigma)
    wrong = logits.argmax(1) != labels[first:]
    return threshold_at_risk(scores, wrong, risk, grid=grid, alpha=alpha)


def tempered(model: Model, images: Images, labels: AnyLabels, *, sigma: float = 0.0) -> Tempered:
    """Return the model with the temperature that fits the first third of the images best.

    So `by_risk` may test on the others of the same images.

    Args:
        model: maps images to logits.
        images: validation images.
        labels: of these images.
        sigma: noise that the classifier will see.
    """
    images, labels = _checked(images, labels)
    first = len(images) // 3
    logits, _ = _scored(model, images[:first], "energy", sigma)
    return Tempered(model, fit_temperature(logits, labels[:first]))


def threshold_at_coverage(scores: PerExample, coverage: float) -> float:
    """Return the smallest threshold that accepts at least `coverage` of these validation scores."""
    if not 0 < coverage <= 1 or bool(scores.isnan().any()):
        raise ValueError("`coverage` must lie in (0, 1] and scores must not be NaN")
    ordered = scores.sort().values
    rank = -int(-coverage * len(ordered) // 1)
    return ordered[min(rank, len(ordered)) - 1].item()


@dataclass(frozen=True)
class RiskThreshold:
    """What `threshold_at_risk` found.

    Attributes:
        threshold: the largest one that passed; None if none did.
        coverage: fraction of the validation images that it accepts; 0 for None.
        wrong: fraction of wrong ones among these; NaN for None.
        bound: upper Clopper-Pearson bound of the selective risk, the one that was tested; for None
            that of the first threshold, which failed.
    """

    threshold: float | None
    coverage: float
    wrong: float
    bound: float


def threshold_at_risk(
    scores: PerExample, wrong: Flags, risk: float, *, grid: Tensor, alpha: float = 0.05
) -> RiskThreshold:
    r"""Return the largest threshold of a grid whose selective risk is at most `risk`, certainly
    enough.

    With $n_t$ scores at most t, and $k_t$ wrong among them, thresholds are tested from below,
    $$ V_t = B^{-1}(1 - \alpha; k_t + 1, n_t - k_t) \le \mathrm{risk}, $$
    and the last one before the first that fails is taken. With probability at least 1 - alpha over
    the validation images, $R(t) = P(\text{wrong} \mid u \le t)$ is at most `risk` there.

    Proof. Let t* be the first threshold of the grid with $R(t^*) > \mathrm{risk}$; it is a fixed
    number, as the grid is. A threshold of too large a risk can be taken only if t* was passed:
    all before it are good, and none behind it is reached otherwise. Given $n_{t^*}$, $k_{t^*}$ is
    binomial with $R(t^*)$, and the bound of Clopper and Pearson lies below $R(t^*)$, hence at most
    at `risk`, with probability at most alpha. So one alpha serves the whole grid (fixed-sequence
    testing), whether or not R rises with t.

    Holds if: scores are of independent images (one noise sample each, if noise is added),
    distributed as those that will be seen, and grid, model and temperature do not depend on them.

    Args:
        scores: of validation images; NaN is not accepted.
        wrong: whether the label is wrong, of the same images.
        risk: largest fraction of wrong ones among the accepted.
        grid: rising thresholds, fixed beforehand: a range of the score, or `grid_for` other images.
        alpha: probability of a threshold whose risk is larger.

    Reference: Geifman, El-Yaniv 2017 (selection with guaranteed risk); Angelopoulos, Bates, Candes,
    Jordan, Lei 2021 (fixed sequences).
    """
    _check(risk, alpha)
    if len(grid) == 0 or bool((grid.diff() < 0).any()) or bool(grid.isnan().any()):
        raise ValueError("`grid` must hold rising thresholds, and at least one")
    if len(scores) != len(wrong) or len(scores) == 0:
        raise ValueError(f"need scores and flags alike; found {len(scores)} and {len(wrong)}")
    found: RiskThreshold | None = None
    for threshold in grid.tolist():
        accepted = scores <= threshold
        count, errors = int(accepted.sum()), int((wrong & accepted).sum())
        bound = upper_bound(torch.tensor([errors]), count, alpha).item() if count else 1.0
        if bound > risk:
            return found or RiskThreshold(None, 0.0, math.nan, bound)
        found = RiskThreshold(threshold, count / len(scores), errors / count, bound)
    assert found is not None
    return found


def grid_for(
    scores: PerExample, risk: float, *, count: int, alpha: float = 0.05, steps: int = STEPS
) -> Tensor:
    r"""Return thresholds to test on `count` other images: quantiles of these scores.

    With $\log \alpha / \log(1 - \mathrm{risk})$ accepted images, all of them right, a test passes.
    The first threshold is to accept three times as many, so that some may be wrong; where that is
    more than half of the images, half, or as many as it takes. Where it lies decides what is found,
    and not what holds.

    Args:
        scores: of images that take no part in the test.
        risk: to be tested.
        count: images of the test.
        alpha: of the test.
        steps: number of thresholds.

    Returns:
        rising thresholds; the last is the largest score.
    """
    _check(risk, alpha)
    needed = math.log(alpha) / math.log1p(-risk) / count
    first = min(max(needed, min(AMPLE * needed, 0.5)), 1.0)
    fractions = torch.linspace(first, 1.0, steps)
    kept = scores[~scores.isnan()]
    if len(kept) == 0:
        raise ValueError("a grid needs scores that are not NaN; found none")
    return torch.tensor([threshold_at_coverage(kept, fraction) for fraction in fractions.tolist()])


def noisy(images: Images, sigma: float, *, seed: int = 0) -> Images:
    """Return one noise sample of each image, in pixel units and not clipped; sigma = 0: the images.

    Args:
        images: `[B, ...]`.
        sigma: standard deviation of the noise.
        seed: of the noise; the stream depends on it and on the image.
    """
    if not 0 <= sigma < math.inf:
        raise ValueError(f"`sigma` must be finite and at least 0; found {sigma}")
    if sigma == 0:
        return images
    noise = [normal(images.shape[1:], seed, key) for key in keys(images)]
    return images + sigma * torch.stack(noise).to(images)


def _check(risk: float, alpha: float) -> None:
    if not (0 < risk < 1 and 0 < alpha < 1):
        raise ValueError(f"need `risk` and `alpha` strictly in (0, 1); found {risk}, {alpha}")


def _checked(images: Images, labels: AnyLabels) -> tuple[Images, Labels]:
    if len(images) < 3:
        raise ValueError(f"need 3 images or more, a third for the grid; found {len(images)}")
    return images, checked_labels(labels, images)


def _scored(model: Model, images: Images, score: str, sigma: float) -> tuple[Outcomes, PerExample]:
    """Return logits and scores, of noisy images, in eval mode and without gradients."""
    images = noisy(images, sigma)
    with torch.no_grad(), frozen(model):
        logits, scores = scored(model, images.to(device_of(model)), score)
    return logits.cpu(), scores.cpu()
