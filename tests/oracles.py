"""Models and cases whose answers are known in closed form; shared by the tests of every room."""

import itertools

import torch
from torch import Tensor, nn

from surefoot.models import MinMax, Normalize, Scale


class Linear(nn.Module):
    """f(x) = W x + b on flattened images."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(len(weight)) if bias is None else bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + self.bias


def random_linear(classes: int, dimension: int, seed: int = 0) -> Linear:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, dimension, generator=generator, dtype=torch.float64)
    bias = 0.1 * torch.randn(classes, generator=generator, dtype=torch.float64)
    return Linear(weight, bias)


def exact_pairwise(model: Linear) -> Tensor:
    return torch.cdist(model.weight, model.weight, compute_mode="donot_use_mm_for_euclid_dist")


def nearest_violation(model: Linear, image: Tensor, members: set[int]) -> float:
    """Distance to the nearest point where some outcome outside reaches some member (l2, no box)."""
    logits = model(image.unsqueeze(0))[0]
    others = set(range(len(logits))) - members
    return min(
        ((logits[a] - logits[i]) / (model.weight[a] - model.weight[i]).norm()).item()
        for a, i in itertools.product(members, others)
    )


def members_of(row: Tensor) -> set[int]:
    return set(row.nonzero().flatten().tolist())


def make_net():
    """A dense net with every kind of layer that has a slope of its own."""
    torch.manual_seed(1)
    return nn.Sequential(
        Normalize((0.5,), (0.25,)),
        nn.Flatten(),
        nn.Linear(16, 12),
        MinMax(),
        nn.Linear(12, 8),
        nn.ReLU(),
        nn.Linear(8, 5),
        Scale(3.0),
    ).eval()
