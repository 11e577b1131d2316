"""Verification: known answers, counterexamples that were run, none false among planted nets."""

import numpy as np
import pytest
import torch
from planted_nets import below, folded, instance, valley
from torch import nn

from surefoot.verification import Specification, Violation, verify


@pytest.mark.parametrize("number", range(24))
def test_planted_instances_have_the_answer_that_is_known(number):
    net, specification, truth = instance(number)
    found = verify(net, specification, (specification.inputs,), seconds=20.0)
    assert found.answer == truth
    if truth == "violated":
        check_counterexample(net, specification, found)


@pytest.mark.slow
def test_a_thousand_planted_instances_have_no_false_answer():
    answers = []
    for number in range(1000):
        net, specification, truth = instance(number)
        found = verify(net, specification, (specification.inputs,), seconds=2.0)
        assert found.answer in (truth, "unknown"), number
        answers.append(found.answer)
    assert answers.count("unknown") < 100


def check_counterexample(net, specification, found):
    assert found.counterexample is not None
    (case,) = specification.cases
    assert bool((found.counterexample >= case.lower).all())
    assert bool((found.counterexample <= case.upper).all())
    point = torch.from_numpy(found.counterexample).float().unsqueeze(0)
    outputs = net(point).detach().double().numpy()[0]
    assert (case.rows @ outputs <= case.bounds).all()
    np.testing.assert_array_equal(outputs, found.outputs)


def test_valleys_are_missed_by_the_attack_and_found_by_splitting():
    draw = torch.Generator().manual_seed(5)
    net, least = valley(4, draw)
    found = verify(net, below(4, least + 0.1), (4,), seconds=30.0)
    assert (found.answer, found.by) == ("violated", "branch and bound")


def test_time_is_up_without_a_claim():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, 60), nn.ReLU(), nn.Linear(60, 60), nn.ReLU())
    net.append(nn.Linear(60, 1)).eval()
    found = verify(net, below(40, -1.5), (40,), seconds=0.2)
    assert found.answer == "unknown"
    assert found.counterexample is None


def test_every_case_must_be_excluded_and_every_row_of_it_fulfilled():
    """Outputs are x and 1 - x on [0, 1]."""
    net = nn.Linear(1, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        net.bias.copy_(torch.tensor([0.0, 1.0]))
    low, high, eye = np.zeros(1), np.ones(1), np.eye(2)

    def answer(*cases):
        cases = [Violation(low, high, rows, np.array(bounds)) for rows, bounds in cases]
        return verify(net, Specification(1, 2, cases), (1,), seconds=5.0).answer

    assert answer((eye, [0.4, 0.4])) == "holds"  # both small: never
    assert answer((eye, [0.6, 0.6])) == "violated"
    assert answer((eye, [0.4, 0.4]), (eye[:1], [-0.1])) == "holds"
    assert answer((eye, [0.4, 0.4]), (eye[:1], [0.1])) == "violated"
    assert answer() == "holds"  # nothing is a violation


def test_a_counterexample_must_be_confirmed():
    net, least = folded(2, torch.Generator().manual_seed(0))
    specification = below(2, least + 0.5)
    assert verify(net, specification, (2,), seconds=2.0).answer == "violated"
    found = verify(
        net, specification, (2,), seconds=0.5, confirm=lambda point: np.array([least + 9.0])
    )
    assert found.answer == "unknown"


def test_ends_that_the_network_rounds_count_as_it_reads_them():
    """The box is one point that float32 does not hold: what is read is above the box."""
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(1.0)
    point = np.array([0.7])
    read = float(np.float32(0.7))
    assert read < 0.7
    case = Violation(point, point, np.ones((1, 1)), np.array([read]))
    found = verify(net, Specification(1, 1, [case]), (1,), seconds=1.0)
    assert found.answer == "violated"
    assert found.counterexample == point


@pytest.mark.parametrize(
    ("shape", "outputs", "message"), [((3,), 1, "3 inputs|2 inputs"), ((2,), 2, "outputs")]
)
def test_sizes_must_fit(shape, outputs, message):
    specification = Specification(
        2, outputs, [Violation(np.zeros(2), np.ones(2), np.ones((1, outputs)), np.zeros(1))]
    )
    with pytest.raises(ValueError, match=message):
        verify(nn.Linear(shape[0], 1), specification, shape)


def test_seconds_must_be_above_0():
    with pytest.raises(ValueError, match="above 0"):
        verify(nn.Linear(1, 1), below(1, 0.0), (1,), seconds=0.0)
