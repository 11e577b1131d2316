"""A last ReLU is moved into the specification: the same statement, point by point, and provable."""

import numpy as np
import pytest
import torch
from torch import nn

from surefoot.certify.relaxation.checked_net import relaxed_net_of
from surefoot.verification import Specification, Violation, verify
from surefoot.verification.last_relu import without_last_relu


def relaxed(*layers):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), *layers).eval()
    with torch.no_grad():
        return net, relaxed_net_of(net, torch.zeros(1, 3))


ROWS = torch.tensor([[1.0, -1, 0, 0], [2, 0, 0, -0.5], [0, 0, 3, 0]]).double()


def test_pieces_say_the_same_at_every_point(generator):
    _, whole = relaxed(nn.ReLU())
    bounds = torch.tensor([0.0, 0.2, 0.5]).double()
    cut, pieces = without_last_relu(whole, ROWS, bounds)
    assert len(cut.graph.steps) == len(whole.graph.steps) - 1
    before = 2 * torch.randn(4000, 4, generator=generator).double()
    said = before.clamp(min=0) @ ROWS.T > bounds
    above = before @ pieces.rows.T > pieces.bounds
    assert torch.equal(said, (above.unsqueeze(1) | ~pieces.members).all(2))
    assert 0.1 < said.double().mean() < 0.9


def test_a_piece_that_rows_share_is_bounded_once():
    rows = torch.eye(4).double()[0] - torch.eye(4).double()[1:]
    _, pieces = without_last_relu(relaxed(nn.ReLU())[1], rows, torch.zeros(3).double())
    assert len(pieces.rows) == 4
    assert pieces.members.sum(1).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("layers", "rows", "bound"),
    [
        ((), ROWS, 0.0),
        ((nn.ReLU(), nn.Linear(4, 4)), ROWS, 0.0),
        ((nn.Sigmoid(),), ROWS, 0.0),
        ((nn.ReLU(),), ROWS, -0.1),  # may hold where no positive part is above 0
        ((nn.ReLU(),), torch.tensor([[1.0, 1, 0, 0]]).double(), 0.0),
        ((nn.ReLU(),), torch.tensor([[1.0, -1, -1, 0]]).double(), 0.0),
        ((nn.ReLU(),), torch.tensor([[0.0, -1, 0, 0]]).double(), 0.0),
    ],
)
def test_anything_else_stays_as_it_is(layers, rows, bound):
    _, whole = relaxed(*layers)
    bounds = torch.full((len(rows),), bound, dtype=torch.float64)
    found, pieces = without_last_relu(whole, rows, bounds)
    assert found is whole
    assert torch.equal(pieces.rows, rows)
    assert torch.equal(pieces.members, torch.eye(len(rows)).bool())


def test_the_height_of_a_last_relu_is_not_lost():
    """y = (relu(s + 3), relu(s)) with s in [-1, 1]: lines around the ReLU alone lose 1/4."""
    net = nn.Sequential(nn.Linear(30, 2), nn.ReLU()).eval()
    with torch.no_grad():
        net[0].weight.fill_(1 / 30)
        net[0].bias.copy_(torch.tensor([1.05, 0.0]))
    row = np.array([[1.0, -1.0]])
    low, high = -np.ones(30), np.ones(30)
    for bound, answer in ((0.0, "holds"), (1.2, "violated")):
        case = Violation(low, high, row, np.array([bound]))
        found = verify(net, Specification(30, 2, [case]), (30,), seconds=20.0)
        assert (found.answer, found.parts) == (answer, int(answer == "holds"))
