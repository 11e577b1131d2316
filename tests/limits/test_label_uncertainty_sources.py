"""Sources of label uncertainty: hand-computed cases, simulations with known truth, digits."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from surefoot.limits import label_uncertainty
from surefoot.limits.annotators import count_votes, voted_uncertainty
from surefoot.limits.confident import confident_joint, label_errors, likely_labels, noise_joint
from surefoot.limits.out_of_fold import out_of_fold


def test_values_of_three_votes_by_hand():
    counts = count_votes(torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 1, -1]]), 3)
    found = voted_uncertainty(counts, torch.zeros(4, dtype=torch.int64), prior=0.5)
    assert found.plain.tolist() == pytest.approx([0, 2 / 3, 1, 2])
    # (3.5, .5, .5) / 4.5; (2.5, 1.5, .5) / 4.5; equal; (.5, 2.5, .5) / 3.5
    expected = [1 - 3 / 4.5, 1 - 1 / 4.5, 1, 1 + 2 / 3.5]
    assert found.smoothed.tolist() == pytest.approx(expected)
    # Row 2 without one vote: (1, 1): 1 twice, (2, 0): 0 once; 3 * 2/3 - 2 * 2/3. Row 3: 3 - 2 * ...
    assert found.corrected[:2].tolist() == pytest.approx([0, 2 / 3])
    without = (2 * 1 + 1 * 1.5) / 3  # (1, 1, 0): 1; (0, 1, 1): 1 - 0 + 1/2
    assert found.corrected[2].item() == pytest.approx(3 - 2 * without)
    assert bool((found.low <= found.high).all())


@pytest.mark.parametrize("votes", [3, 5, 20])
def test_the_correction_brings_the_mean_closer_to_the_truth(votes):
    stream = np.random.default_rng(0)
    truth = stream.dirichlet([2.0, 0.5, 0.5, 0.5, 0.5], 4000)
    counts = torch.from_numpy(stream.multinomial(votes, truth)).double()
    labels = torch.zeros(4000, dtype=torch.int64)
    exact = label_uncertainty(torch.from_numpy(truth), labels).mean().item()
    found = voted_uncertainty(counts, labels, draws=2)
    plain = found.plain.mean().item()
    assert plain > exact + 0.01  # the maximum of noisy fractions is too large
    assert abs(found.mean - exact) < 0.6 * abs(plain - exact)


def test_credible_intervals_cover_when_the_prior_is_the_truth():
    stream = np.random.default_rng(1)
    truth = stream.dirichlet([0.5] * 4, 2000)
    counts = torch.from_numpy(stream.multinomial(5, truth)).double()
    labels = torch.zeros(2000, dtype=torch.int64)
    exact = label_uncertainty(torch.from_numpy(truth), labels)
    found = voted_uncertainty(counts, labels, prior=0.5, draws=400)
    covered = ((found.low <= exact) & (exact <= found.high)).double().mean().item()
    assert 0.93 < covered < 0.97
    middle = found.posterior_mean
    assert middle.low <= exact.mean().item() <= middle.high
    assert middle.high - middle.low < 0.04
    fitted = voted_uncertainty(counts, labels, draws=400)
    assert fitted.prior == pytest.approx(0.5, rel=0.1)
    covered = ((fitted.low <= exact) & (exact <= fitted.high)).double().mean().item()
    assert 0.92 < covered < 0.98
    again = voted_uncertainty(counts, labels, prior=0.5, draws=400)
    assert torch.equal(found.low, again.low)


@pytest.mark.parametrize(
    ("counts", "prior", "message"),
    [
        ([[0.0, 0.0]], None, "1 points without a vote"),
        ([[0.5, 0.5]], None, r"whole numbers.*found 0\.5 in row 0.*multiplied"),
        ([[2.0, -1.0]], None, "whole numbers.*found -1 in row 0"),
        ([[2.0, torch.nan]], None, "whole numbers.*found nan in row 0"),
        ([[2.0, torch.inf]], None, "whole numbers.*found inf in row 0"),
        ([[2.0, 1.0]], 0.0, "`prior`"),
    ],
)
def test_broken_counts_raise(counts, prior, message):
    with pytest.raises(ValueError, match=message):
        voted_uncertainty(torch.tensor(counts), torch.tensor([0]), prior=prior)


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        (torch.tensor([[-2, 1]]), "found -2 to 1"),
        (torch.tensor([[0, 2]]), "found 0 to 2"),
        (torch.tensor([[0.9, 0.9]]), r"found 0\.9, which is not whole"),
        (torch.tensor([[0.0, torch.nan]]), "NaN in 1 places.*nan_to_num"),
        (torch.tensor([[0.0, torch.inf]]), "found 0 to inf"),
        (torch.tensor([0, 1, 1]), r"found shape \(3,\).*votes\[:, None\]"),
        (torch.zeros(2, 0), r"found shape \(2, 0\)"),
    ],
)
def test_votes_that_are_none_are_named(votes, message):
    with pytest.raises(ValueError, match=message):
        count_votes(votes, 2)


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int32, torch.float64])
def test_votes_of_any_type_are_counted(kind):
    assert count_votes(torch.tensor([[0, 1, 1]], dtype=kind), 2).tolist() == [[1.0, 2.0]]


def test_the_advice_for_missing_and_for_single_votes_works():
    missing = torch.tensor([[0.0, torch.nan], [1.0, 1.0]]).nan_to_num(-1)
    assert count_votes(missing, 2).tolist() == [[1.0, 0.0], [0.0, 2.0]]
    assert count_votes(torch.tensor([0, 1])[:, None], 2).tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ({"counts": np.full((12, 2), 0.5)}, "whole numbers"),
        ({"counts": np.array([["a", "b"]] * 12)}, "`counts` must hold numbers; found <U1"),
        ({"counts": np.ones((12, 3))}, r"found \(12, 3\)"),
        ({"counts": np.ones(12)}, r"found \(12,\)"),
        ({"first": np.full(12, 0.9)}, "which is not whole"),
        ({"first": np.full(12, np.nan)}, "NaN in 12 places"),
        ({"first": np.array(["a"] * 12)}, "must hold numbers"),
        ({"first": np.zeros((12, 2, 2))}, r"must be votes \[N\] or"),
        ({"first": np.zeros(12), "rest": np.zeros((11, 2))}, "of the same images"),
    ],
)
def test_votes_of_the_command_that_are_none_are_named(votes, message, tmp_path, capsys):
    from surefoot.cli import main

    np.savez(tmp_path / "set.npz", x=np.linspace(0, 1, 24).reshape(12, 2), y=[0, 1] * 6)
    np.savez(tmp_path / "votes.npz", **votes)
    line = ["label-uncertainty", "--data", str(tmp_path / "set.npz"), "--source", "votes"]
    line += ["--votes", str(tmp_path / "votes.npz"), "--annotators", *votes]
    with pytest.raises(SystemExit) as stop:
        main(line)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


FRACTIONS = torch.tensor(
    [
        [0.8, 0.2, 0.0],  # label 0
        [0.6, 0.3, 0.1],  # label 0; p_0 below t_0 = .6: mean of .8, .6, .4 -> confident
        [0.4, 0.6, 0.0],  # label 0; t_1 = .5: likely 1
        [0.5, 0.5, 0.0],  # label 1; likely 1
        [0.4, 0.5, 0.1],  # label 1
        [0.3, 0.3, 0.4],  # label 2; t_2 = .4
        [0.3, 0.4, 0.3],  # label 1?  see below
    ]
)
GIVEN = torch.tensor([0, 0, 0, 1, 1, 2, 2])


def test_the_confident_joint_by_hand():
    # t = (.6, .5, .35)
    assert likely_labels(FRACTIONS, GIVEN).tolist() == [0, 0, 1, 1, 1, 2, -1]
    assert confident_joint(FRACTIONS, GIVEN).tolist() == [[2, 1, 0], [0, 2, 0], [0, 0, 1]]
    assert label_errors(FRACTIONS, GIVEN).nonzero().flatten().tolist() == [2]
    expected = torch.tensor([[2, 1, 0], [0, 2, 0], [0, 0, 2]]).double() / 7
    torch.testing.assert_close(noise_joint(FRACTIONS, GIVEN), expected)
    flagged = label_errors(FRACTIONS, GIVEN, method="noise-rate")
    assert flagged.nonzero().flatten().tolist() == [2]


def test_a_class_nobody_carries_is_never_likely():
    fractions = torch.tensor([[0.3, 0.2, 0.5], [0.1, 0.4, 0.5]])
    assert likely_labels(fractions, torch.tensor([0, 1])).tolist() == [0, 1]


def digits():
    pixels, labels = load_digits(return_X_y=True)
    return torch.from_numpy(pixels / 16), torch.from_numpy(labels).long()


def test_out_of_fold_digits_are_those_of_the_facts():
    pixels, labels = digits()
    fractions = out_of_fold(pixels, labels, calibration="none")
    assert (fractions.argmax(1) == labels).double().mean().item() == pytest.approx(0.960, abs=5e-4)
    unsure = label_uncertainty(fractions, labels)
    assert unsure.mean().item() == pytest.approx(0.246, abs=5e-4)


def test_injected_errors_of_labels_are_found():
    pixels, labels = digits()
    stream = torch.Generator().manual_seed(0)
    swapped = torch.rand(len(labels), generator=stream) < 0.1
    moved = torch.randint(1, 10, (len(labels),), generator=stream)
    noisy = torch.where(swapped, (labels + moved) % 10, labels)
    fractions = out_of_fold(pixels, noisy, folds=5)
    for method in ("confident-joint", "noise-rate"):
        found = label_errors(fractions, noisy, method=method)
        right = (found & swapped).sum().item()
        assert right / found.sum().item() > 0.9
        assert right / swapped.sum().item() > 0.65


class Overconfident:
    """Predict the truth in three of four cases, always almost certain."""

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return np.where(x[:, :1] > 0, [[0.99, 0.01]], [[0.01, 0.99]])


@pytest.mark.parametrize("calibration", ["temperature", "isotonic"])
def test_calibrated_probabilities_are_the_fraction_of_right_predictions(calibration):
    labels = torch.tensor([0, 1]).repeat(200)
    signs = torch.tensor([1.0, -1.0]).repeat(200)
    signs[torch.arange(400) % 8 < 2] *= -1
    found = out_of_fold(
        signs.unsqueeze(1), labels, make=Overconfident, folds=4, calibration=calibration
    )
    torch.testing.assert_close(found.sum(1), torch.ones(400, dtype=torch.float64))
    assert found.amax(1).mean().item() == pytest.approx(0.75, abs=0.02)


def test_too_few_points_for_the_folds():
    with pytest.raises(ValueError, match="a class of 1 points"):
        out_of_fold(torch.zeros(4, 2), torch.tensor([0, 0, 0, 1]), folds=3)


def votes_of(file):
    folder = os.environ.get("SUREFOOT_DATA")
    if not folder:
        pytest.skip(f"SUREFOOT_DATA is not set: {file} is not bundled")
    return np.load(Path(folder) / file)


@pytest.mark.data
def test_three_annotators_of_cifar10n_give_six_values():
    with votes_of("cifar10n_train.npz") as arrays:
        names = ("random1", "random2", "random3")
        votes = torch.stack([torch.from_numpy(arrays[name]).long() for name in names], 1)
        labels = torch.from_numpy(arrays["clean"]).long()
    found = voted_uncertainty(count_votes(votes, 10), labels, draws=2)
    values = sorted({round(value, 6) for value in found.plain.tolist()})
    assert values == pytest.approx([0, 2 / 3, 1, 4 / 3, 5 / 3, 2], abs=1e-5)
    assert found.mean < found.plain.mean().item()


def test_the_command_reads_votes_and_queries_a_model(tmp_path, capsys):
    from surefoot.cli import main

    images, labels = np.linspace(0, 1, 24).reshape(12, 2), np.array([0, 1] * 6)
    np.savez(tmp_path / "set.npz", x=images, y=labels, classes=np.array(["a", "b"]))
    votes = np.stack([labels, labels, 1 - labels], 1)
    counts = np.stack([(votes == 0).sum(1), (votes == 1).sum(1)], 1)
    np.savez(tmp_path / "votes.npz", counts=counts, first=votes[:, 0], rest=votes[:, 1:])
    own = ["label-uncertainty", "--data", str(tmp_path / "set.npz")]
    given = [*own, "--source", "votes", "--votes", str(tmp_path / "votes.npz")]
    for more in ([], ["--annotators", "first", "rest"]):
        main([*given, *more, "--output", str(tmp_path / "rows.csv")])
        assert "0.6667" in capsys.readouterr().out
        lines = (tmp_path / "rows.csv").read_text().splitlines()
        assert lines[0] == "index,label,label_uncertainty,smoothed,corrected,low,high"
        assert len(lines) == 13
    main([*own, "--source", "cross-validated", "--folds", "3", "--errors", "confident-joint"])
    assert "labels likely wrong" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*own, "--errors", "noise-rate"])
    assert "cross-validated" in capsys.readouterr().err
