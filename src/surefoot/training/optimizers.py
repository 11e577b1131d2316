"""Optimisers and the course of their learning rate."""

import math
from typing import Any

import torch
from torch import nn

from surefoot.training.settings import Training


def optimizer_of(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Build Adam, or SGD with Nesterov momentum 0.9."""
    how: dict[str, Any] = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if training.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True, **how)
    return torch.optim.Adam(model.parameters(), **how)


def rate(training: Training, done: float) -> float:
    """Return the fraction of the peak learning rate after a fraction `done` of all steps."""
    if training.schedule == "triangular":
        return max(2 * min(done, 1 - done), 1e-3)
    if training.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if training.schedule == "multistep":
        return 0.1 ** sum(done >= milestone for milestone in training.milestones)
    return 1.0
