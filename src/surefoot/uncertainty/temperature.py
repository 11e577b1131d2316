"""Temperature scaling: one number that makes the confidence of a net fit its errors.

Guo, Pleiss, Sun, Weinberger 2017. No label changes; scores do, and with them what is rejected.
"""

import math

from torch import Tensor, nn

from surefoot.stats import bisection
from surefoot.types import AnyLabels, Images, Labels, Model, Outcomes, checked_labels, rejects

LOWEST, HIGHEST = 1e-2, 1e2
"""Bounds of the temperature."""
BISECTION_STEPS = 60


class Tempered(nn.Module):
    """Divide the logits of a model by a temperature: above 1 it is less confident, below 1 more.

    Args:
        model: maps images to logits `[B, C]`; its members, if any, are no longer seen.
        temperature: above 0.

    Raises:
        ValueError: the model rejects by itself (temper the net inside), or another temperature.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> Tempered(nn.Identity(), 2.0)(torch.tensor([[4.0, 0.0]]))
        tensor([[2., 0.]])
    """

    def __init__(self, model: Model, temperature: float) -> None:
        super().__init__()
        if rejects(model):
            raise ValueError(
                f"{type(model).__name__} predicts 'uncertain' by a column of its own, which a"
                " temperature would move: temper the net inside, and let that reject"
            )
        if not 0 < temperature < math.inf:
            raise ValueError(f"`temperature` must be finite and above 0; found {temperature}")
        self.model, self.temperature = model, temperature
        inner = getattr(model, "config", None)
        own = {"name": "tempered", "model": inner, "temperature": temperature}
        self.config = own if inner else None

    def forward(self, images: Images) -> Outcomes:
        """Map images to logits."""
        return self.model(images) / self.temperature


def fit_temperature(logits: Outcomes, labels: AnyLabels) -> float:
    r"""Return the temperature in [0.01, 100] at which validation images are likeliest.

    With $b = 1 / T$ the mean loss $\frac{1}{N} \sum_n \log \sum_c e^{b f_{nc}} - b f_{n y_n}$ is
    convex in b. Its derivative, the mean of $E_p f - f_y$ at b, increases, so bisection by its sign
    converges to the minimum, or to an end of the interval: 100 if the logits are worse than
    chance, 0.01 if all labels are right. 60 steps in log b are exact to rounding. The loss never
    ends above that of T = 1.

    Args:
        logits: of validation images, `[B, C]`, finite.
        labels: of the same images.
    """
    if logits.ndim != 2 or len(logits) == 0 or not bool(logits.isfinite().all()):
        raise ValueError(
            f"`logits` must be finite, [B, C] with B >= 1; found shape {tuple(logits.shape)} and"
            f" {int((~logits.isfinite()).sum())} values that are not finite"
        )
    labels = checked_labels(labels, logits, logits.shape[1])
    exact, own = logits.double(), labels.unsqueeze(1)
    target = exact.gather(1, own).mean()

    def too_small(log_b: Tensor) -> Tensor:
        return ((math.exp(log_b) * exact).softmax(1) * exact).sum(1).mean() <= target

    low, high = bisection(-math.log(HIGHEST), -math.log(LOWEST), too_small, BISECTION_STEPS)
    found = math.exp(-(low + high) / 2)
    return found if loss_at(logits, labels, found) < loss_at(logits, labels, 1.0) else 1.0


def loss_at(logits: Outcomes, labels: Labels, temperature: float) -> float:
    """Return the mean cross-entropy of the logits at a temperature, in float64."""
    scaled = logits.double() / temperature
    return nn.functional.cross_entropy(scaled, labels).item()
