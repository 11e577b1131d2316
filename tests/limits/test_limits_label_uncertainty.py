import os
from pathlib import Path

import numpy as np
import pytest
import torch

from surefoot.limits import label_uncertainty, largest_gamma


@pytest.mark.parametrize(
    ("row", "label", "expected"),
    [
        ([1.0, 0.0, 0.0], 0, 0.0),  # undisputed
        ([0.5, 0.5, 0.0], 1, 1.0),  # a tie
        ([0.25, 0.75, 0.0], 0, 1.5),  # people prefer another
        ([0.0, 1.0, 0.0], 0, 2.0),  # none agrees
        ([0.5, 0.25, 0.25], 0, 0.75),
    ],
)
def test_values_by_hand(row, label, expected):
    found = label_uncertainty(torch.tensor([row]), torch.tensor([label]))
    assert found.tolist() == [expected]


def test_three_votes_can_only_give_the_six_values():
    votes = torch.cartesian_prod(*[torch.arange(3)] * 3)
    fractions = torch.nn.functional.one_hot(votes, 3).double().mean(1)
    found = label_uncertainty(fractions, torch.zeros(27, dtype=torch.int64))
    allowed = torch.tensor([0, 2 / 3, 1, 4 / 3, 5 / 3, 2], dtype=torch.float64)
    torch.testing.assert_close((found[:, None] - allowed).abs().amin(1), torch.zeros_like(found))


def test_rounded_rows_stay_in_range():
    rounded = torch.tensor([[1.0009, 0.0], [0.0, 1.0009]])
    assert label_uncertainty(rounded, torch.tensor([0, 0])).tolist() == [0.0, 2.0]


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([[1.0], [1.0]], [0, 0], "C >= 2"),
        ([[0.6, 0.5]], [0], "sum to one"),
        ([[1.5, -0.5]], [0], "non-negative"),
        ([[float("nan"), 1.0]], [0], "non-negative"),
        ([[float("inf"), 0.0]], [0], "sum to one"),
        ([[1.0, 0.0]], [2], "must lie in"),
        ([[1.0, 0.0]], [-1], "must be one integer in"),
    ],
)
def test_what_is_no_distribution_raises(rows, labels, message):
    with pytest.raises(ValueError, match=message):
        label_uncertainty(torch.tensor(rows), torch.tensor(labels))


@pytest.mark.parametrize(("risk", "expected"), [(0.2, 1.5), (0.4, 1.25), (0.41, 1.0), (1.0, 0.6)])
def test_largest_gamma_is_the_mean_of_the_largest(risk, expected):
    values = torch.tensor([0.0, 1.5, 0.5, 0.0, 1.0])
    assert largest_gamma(values, risk) == pytest.approx(expected)


def test_no_subset_has_more_uncertainty_than_largest_gamma():
    values = torch.rand(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chosen = torch.cartesian_prod(*[torch.tensor([False, True])] * 9)
    big = chosen[chosen.sum(1) >= 4]  # ceil(0.4 * 9)
    means = (big * values).sum(1) / big.sum(1)
    assert largest_gamma(values, 0.4) == pytest.approx(means.max().item())


@pytest.mark.parametrize(
    ("values", "risk"), [([], 0.5), ([float("nan"), 1.0], 0.5), ([1.0], 0.0), ([1.0], 1.1)]
)
def test_largest_gamma_raises(values, risk):
    with pytest.raises(ValueError, match="must"):
        largest_gamma(torch.tensor(values), risk)


@pytest.mark.data
def test_cifar10h_with_the_labels_of_the_data_set():
    folder = os.environ.get("SUREFOOT_DATA")
    if not folder:
        pytest.skip("SUREFOOT_DATA is not set: CIFAR-10H is not bundled")
    with (
        np.load(Path(folder) / "cifar10h.npz") as votes,
        np.load(Path(folder) / "cifar10_test.npz") as images,
    ):
        counts = torch.from_numpy(votes["counts"]).double()
        labels = torch.from_numpy(images["y"]).long()
    found = label_uncertainty(counts / counts.sum(1, keepdim=True), labels)
    assert found.mean().item() == pytest.approx(0.08325, abs=5e-6)
    assert (found == 0).double().mean().item() == pytest.approx(0.439, abs=5e-4)
    assert (found > 0.5).double().mean().item() == pytest.approx(0.0362, abs=5e-5)
    assert (found >= 1).double().mean().item() == pytest.approx(0.0080, abs=5e-5)
    assert found.max().item() == 2
    quantiles = torch.tensor([0.5, 0.7, 0.8, 0.9, 0.95, 0.98], dtype=torch.float64)
    expected = pytest.approx([0.0385, 0.059, 0.098, 0.220, 0.404, 0.700], abs=5e-4)
    assert found.quantile(quantiles).tolist() == expected
    ceilings = [largest_gamma(found, risk) for risk in (0.02, 0.05, 0.1, 0.2)]
    assert ceilings == pytest.approx([1.002, 0.716, 0.507, 0.326], abs=5e-4)
