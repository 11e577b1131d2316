"""Accuracy over radii of an attack, against a linear net where both are known."""

import torch
from torch import nn

from surefoot.data import Data
from surefoot.papers.overfitting import accuracy_over_radii


def test_a_linear_net_loses_each_image_at_its_distance():
    model = nn.Linear(1, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0], [1.0]]))
        model.bias.copy_(torch.tensor([0.5, 0.0]))  # class 1 above 0.5
    places = torch.tensor([0.1, 0.25, 0.45, 0.4, 0.7, 0.9]).unsqueeze(1)
    data = Data(places, torch.tensor([0, 0, 0, 1, 1, 1]), classes=("low", "high"), name="line")
    radii = (0.0, 0.04, 0.06, 0.21, 0.3)
    found = accuracy_over_radii(model, data, radii=radii, steps=5, restarts=2, seed=0)
    distances = torch.tensor([0.4, 0.25, 0.05, -0.1, 0.2, 0.4])
    expected = {radius: (distances > radius).double().mean().item() for radius in radii}
    assert {radius: ours.value for radius, ours in found.items()} == expected
    assert all(ours.low < ours.value < ours.high for ours in found.values())
