"""Temperature scaling: one number that makes the confidence of a net fit its errors.

Guo, Pleiss, Sun, Weinberger 2017. No label changes; scores do, and with them what is rejected.
"""

import math

from torch import nn

from surefoot.types import AnyLabels, Images, Labels, Model, Outcomes, checked_labels, rejects

LOWEST, HIGHEST = 1e-2, 1e2
"""Bounds of the temperature."""
BISECTION_STEPS = 60


class Tempered(nn.Module):
    """Divide the logits of a model by a temperature: above 1 it is less sure, below 1 surer.

    Args:
        model: maps images to logits `[B, C]`; its members, if any, are no longer seen.
        temperature: above 0.

    Raises:
        ValueError: the model rejects by itself (temper the net inside), or another temperature.

    Example:
        >>> import torch
        >>> Tempered(nn.Identity(), 2.0)(torch.tensor([[4.0, 0.0]]))
        tensor([[2., 0.]])
    """

    def __init__(self, model: Model, temperature: float) -> None:
        super().__init__()
        if rejects(model):
            raise ValueError(
                f"{type(model).__name__} answers 'uncertain' by a column of its own, which a"
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
    convex in b: a log-sum-exp of linear functions, and a linear one. Its slope, the mean of
    $E_p f - f_y$ at b, rises, so bisection an interval at whose middle the slope's sign says where
    to go on converges to the minimum, or to an end of the interval if that is where it lies: 100 if
    the logits say less than nothing, 0.01 if all labels are right. 60 bisection_steps of log b are
    exact to rounding. The loss never ends above that of T = 1.

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
    low, high = -math.log(HIGHEST), -math.log(LOWEST)  # of log b
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        expected = ((math.exp(middle) * exact).softmax(1) * exact).sum(1).mean()
        low, high = (low, middle) if bool(expected > target) else (middle, high)
    found = math.exp(-(low + high) / 2)
    return found if loss_at(logits, labels, found) < loss_at(logits, labels, 1.0) else 1.0


def loss_at(logits: Outcomes, labels: Labels, temperature: float) -> float:
    """Return the mean cross-entropy of the logits at a temperature, in float64."""
    scaled = logits.double() / temperature
    return nn.functional.cross_entropy(scaled, labels).item()
