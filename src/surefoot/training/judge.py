"""Validation accuracy of an epoch, clean and attacked, and two reasons to stop.

The attack is made for every image on its own, from its own origin, so that the figure does not
depend on the batch. Catastrophic overfitting (Wong et al. 2020): a model that is robust to one step
and broken by several.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surefoot.attacks.perturbation import Perturbation, perturb_images
from surefoot.data import Data
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import device_of, frozen
from surefoot.threat import Norm, Threat

Figures = dict[str, Any]
CLEAN, ONE_STEP, ATTACKED = (
    "validation_accuracy",
    "validation_one_step_accuracy",
    "validation_attacked_accuracy",
)
LEAST = 0.05
"""Attacked accuracy below which there is nothing to collapse."""


class CatastrophicOverfitting(UserWarning):
    """Accuracy under one attack step is far above that under several."""


@dataclass(frozen=True)
class Judge:
    """How validation images judge an epoch. The best epoch is kept beside the last.

    Args:
        judge_norm: Norm of the validation attack.
        judge_eps: Radius of the validation attack; 0 judges by clean accuracy and watches for no
            overfitting.
        judge_steps: Number of its PGD steps, of length 2.5 eps / steps.
        judge_count: Attack the first so many validation images; 0 takes all.
        patience: Stop after so many epochs without a better one; 0 never stops.
        stop_on_collapse: Stop when one-step and multi-step accuracy part (they are compared, with a
            warning, whenever judge_eps is above 0).
    """

    judge_norm: Norm = "linf"
    judge_eps: float = 0.0
    judge_steps: int = 10
    judge_count: int = 0
    patience: int = 0
    stop_on_collapse: bool = False

    def __post_init__(self) -> None:
        if self.judge_steps < 1 or self.judge_count < 0 or self.patience < 0:
            raise ValueError(
                "need judge_steps >= 1, judge_count >= 0 and patience >= 0; found"
                f" {self.judge_steps}, {self.judge_count}, {self.patience}"
            )
        if self.stop_on_collapse and not self.judge_eps > 0:
            raise ValueError("`stop_on_collapse` compares attacks: give `judge_eps` above 0")
        Threat(self.judge_norm, self.judge_eps)

    @property
    def needed(self) -> bool:
        """Return whether validation images serve for more than clean accuracy."""
        return self.judge_eps > 0 or self.patience > 0

    def figures(self, model: nn.Module, data: Data) -> Figures:
        """Return the figures of an epoch."""
        found: Figures = {CLEAN: accuracy(model, data)}
        if self.judge_eps > 0:
            part = data.first(min(self.judge_count or len(data), len(data)))
            threat = Threat(self.judge_norm, self.judge_eps, *data.box)
            found[ONE_STEP] = attacked_accuracy(model, part, threat, 1)
            found[ATTACKED] = attacked_accuracy(model, part, threat, self.judge_steps)
        return found

    def stops(self, log: list[Figures]) -> bool:
        """Return whether the epochs so far are enough."""
        if self.stop_on_collapse and any(line.get("collapsed") for line in log):
            return True
        return 0 < self.patience <= len(log) - 1 - best_epoch(log) if log else False


def worth(line: Figures) -> float:
    """Return the figure by which an epoch is judged; it has none without validation images."""
    return line.get(ATTACKED, line.get(CLEAN, -math.inf))


def best_epoch(log: list[Figures]) -> int:
    """Return the index of the first epoch of greatest worth."""
    return max(range(len(log)), key=lambda index: worth(log[index]))


def collapsed(log: list[Figures]) -> bool:
    """Return whether the last epoch shows catastrophic overfitting.

    That is: accuracy under several steps has lost more than half of its best, and accuracy under
    one step lies above it by more than that half. When both drop together, training has failed in
    another way; a best below `LEAST` was never robust.
    """
    last = log[-1]
    if ATTACKED not in last:
        return False
    best = max(line[ATTACKED] for line in log)
    return best >= LEAST and last[ATTACKED] < best / 2 < last[ONE_STEP] - last[ATTACKED]


def warn_of(line: Figures) -> None:
    """Warn of the collapse that the line shows."""
    warnings.warn(
        f"catastrophic overfitting in epoch {line['epoch']}: validation accuracy"
        f" {line[ONE_STEP]:.1%} under one attack step, {line[ATTACKED]:.1%} under several. The"
        " model has learnt the attack; take more steps, n-fgsm or udp, or a smaller eps.",
        CatastrophicOverfitting,
        stacklevel=2,
    )


def accuracy(model: nn.Module, data: Data, batch_size: int = 1000) -> float:
    """Return the fraction of images whose largest logit is the label's."""
    right = 0
    with torch.no_grad(), frozen(model):
        for images, labels in _batches(model, data, batch_size):
            right += int(_right(model, images, labels).sum())
    return right / len(data)


def attacked_accuracy(
    model: nn.Module, data: Data, threat: Threat, steps: int, batch_size: int = 1000
) -> float:
    """Return the fraction of images that are right, and stay so under FGSM (one step) or PGD.

    An upper bound of the robust accuracy, and a loose one: for choosing between epochs.
    """
    right = 0
    how = Perturbation(threat, steps=steps, relative_step=1.0 if steps == 1 else 2.5)
    with frozen(model):
        for images, labels in _batches(model, data, batch_size):
            moved = perturb_images(model, images, labels, how)
            with torch.no_grad():
                both = _right(model, images, labels) & _right(model, moved, labels)
            right += int(both.sum())
    return right / len(data)


def _right(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return outcomes_of(model, images).argmax(1) == labels


def _batches(model: nn.Module, data: Data, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for first in range(0, len(data), batch_size):
        images, labels = data.batch(slice(first, first + batch_size))
        yield images.to(device_of(model)), labels.to(device_of(model))
