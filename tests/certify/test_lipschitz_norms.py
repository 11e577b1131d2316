"""Norms of weights: never below the truth, and hardly above it, whatever was made to deceive."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from surefoot.certify.lipschitz import convolution_bound, norms, spectral_norm_bound
from surefoot.certify.lipschitz.convolution import padding_norm


def hidden_direction(size):
    """One singular value 1, the rest .9: a power iteration from a bad start misses it."""
    q, _ = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(2)))
    values = torch.full((size,), 0.9)
    values[-1] = 1.0
    return (q * values) @ q.T


def ones_start(size):
    """Orthogonal to the all-ones vector: a power iteration from ones returns 0."""
    matrix = torch.zeros(size, size)
    matrix[0, 0], matrix[0, 1] = 1.0, -1.0
    return matrix


@pytest.mark.parametrize("shape", [(512, 512), (128, 64), (10, 300), (1, 5), (7, 1)])
def test_dense_bounds_lie_above_the_truth_by_a_billionth_at_most(shape, generator):
    for scale in (1.0, 1e-6, 1e6, 1e-30, 1e30):
        matrix = scale * torch.randn(shape, generator=generator)
        truth = torch.linalg.svdvals(matrix.double())[0].item()
        bound = spectral_norm_bound(matrix).item()
        assert truth <= bound <= truth * (1 + 1e-9)


@pytest.mark.parametrize("make", [hidden_direction, ones_start, torch.zeros, torch.eye])
def test_matrices_made_to_deceive(make):
    matrix = make(64) if make is not torch.zeros else torch.zeros(64, 64)
    truth = torch.linalg.matrix_norm(matrix.double(), 2).item()
    bound = spectral_norm_bound(matrix).item()
    assert truth <= bound <= truth + 1e-6


@pytest.mark.parametrize("guess", [0.0, 0.5, 0.999])
def test_a_solver_that_lies_cannot_lower_the_bound(guess, monkeypatch, generator):
    """The proof, not the guess, makes the bound: guesses that are too small fail and are raised."""
    matrix = torch.randn(20, 30, generator=generator)
    truth = torch.linalg.svdvals(matrix.double())[0].item()
    honest, calls = norms._largest, []

    def liar(grams):
        calls.append(1)
        return honest(grams) * (guess if len(calls) < 3 else 1.0)

    monkeypatch.setattr(norms, "_largest", liar)
    assert spectral_norm_bound.__wrapped__(matrix).item() >= truth
    assert len(calls) >= 3


def test_the_worst_of_many_matrices_is_found_among_heavier_ones(generator):
    """Fifty flat matrices weigh more, by their moments, than the one with the largest norm."""
    flat = torch.eye(40).repeat(50, 1, 1) * 2.9
    spike = torch.zeros(1, 40, 40)
    spike[0, 3, 5] = 3.0
    bound = spectral_norm_bound(torch.cat([flat, spike])).item()
    assert 3.0 <= bound <= 3.0 * (1 + 1e-9)


def test_large_matrices_go_by_lanczos(generator, monkeypatch):
    monkeypatch.setattr(norms, "DENSE", 32)
    matrix = torch.randn(50, 60, generator=generator)
    truth = torch.linalg.svdvals(matrix.double())[0].item()
    assert truth <= spectral_norm_bound.__wrapped__(matrix).item() <= truth * (1 + 1e-9)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="diverged"):
        spectral_norm_bound(torch.tensor([[1.0, torch.nan]]))


def test_a_weight_changed_in_place_is_measured_again(generator):
    weight = nn.Parameter(torch.randn(8, 8, generator=generator))
    before = spectral_norm_bound(weight).item()
    weight.data.mul_(100)  # version counters and identity do not see this
    assert spectral_norm_bound(weight).item() == pytest.approx(100 * before)


NONE = ((0, 0), (0, 0))
ONE = ((1, 1), (1, 1))
GEOMETRIES = [
    {"padding": ONE},
    {"padding": NONE},
    {"stride": (2, 2), "padding": ONE},
    {"stride": (2, 2)},
    {"stride": (3, 2), "padding": ((2, 1), (0, 1))},
    {"dilation": (2, 2), "padding": ((2, 2), (2, 2))},
    {"dilation": (2, 1), "stride": (3, 2), "padding": ((2, 2), (1, 1))},
    {"groups": 2, "padding": ONE},
    {"groups": 4, "stride": (2, 2), "padding": ONE},
    {"mode": "circular", "padding": ONE},
    {"mode": "reflect", "padding": ONE},
    {"mode": "replicate", "padding": ((2, 1), (1, 1))},
    {"mode": "circular", "stride": (2, 2), "padding": ONE},
]


def operator_norm(
    weight, size, stride=(1, 1), padding=NONE, dilation=(1, 1), groups=1, mode="zeros"
):
    """Return the norm of the whole operator, from its outputs on unit vectors."""
    channels = weight.shape[1] * groups
    basis = torch.eye(channels * size[0] * size[1], dtype=torch.float64).view(-1, channels, *size)
    kind = "constant" if mode == "zeros" else mode
    basis = pad(basis, (*padding[1], *padding[0]), mode=kind)
    made = conv2d(basis, weight.double(), stride=stride, dilation=dilation, groups=groups)
    return torch.linalg.matrix_norm(made.flatten(1), 2).item()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", [(6, 5), (9, 8)])
def test_convolutions_written_out_are_exact(geometry, size, generator):
    weight = torch.randn(4, 4 // geometry.get("groups", 1), 3, 3, generator=generator)
    truth = operator_norm(weight, size, **geometry)
    bound = convolution_bound(weight, size, **geometry).item()
    assert truth * (1 - 1e-12) <= bound <= truth * (1 + 1e-8)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", [(6, 5), (9, 8)])
def test_frequencies_bound_convolutions_from_above(geometry, size, generator):
    weight = torch.randn(4, 4 // geometry.get("groups", 1), 3, 3, generator=generator)
    truth = operator_norm(weight, size, **geometry)
    bound = convolution_bound(weight, size, **geometry, entries=0).item()
    # Small maps are the worst case; padding that repeats pixels is bounded apart from the rest.
    looser = 2.2 if geometry.get("mode", "zeros") != "zeros" else 1.5
    assert truth * (1 - 1e-12) <= bound <= truth * looser


def test_circular_convolutions_are_exact_by_frequencies(generator):
    weight = torch.randn(3, 4, 3, 3, generator=generator)
    truth = operator_norm(weight, (8, 7), padding=ONE, mode="circular")
    bound = convolution_bound(weight, (8, 7), padding=ONE, mode="circular", entries=0).item()
    assert truth * (1 - 1e-12) <= bound <= truth * (1 + 1e-8)


def test_the_grid_of_the_image_alone_would_be_too_small():
    """Kernel (1, -1) on three pixels: the 3-point grid says 1.732, the truth is 1.802."""
    weight = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2)
    bound = convolution_bound(weight, (1, 3), padding=((0, 0), (1, 1)), entries=0).item()
    truth = operator_norm(weight, (1, 3), padding=((0, 0), (1, 1)))
    assert truth > 3**0.5 + 1e-3
    assert bound >= truth


def test_two_hundred_random_layers_are_never_underrated(generator):
    """Random channels, kernels, strides, paddings, dilations, groups and sizes, both methods."""

    def draw(low, high):
        return int(torch.randint(low, high + 1, (), generator=generator))

    for _ in range(200):
        groups = draw(1, 2)
        weight = torch.randn(
            groups * draw(1, 3), draw(1, 3), draw(1, 3), draw(1, 3), generator=generator
        ) * 10 ** draw(-3, 3)
        geometry = {
            "stride": (draw(1, 3), draw(1, 3)),
            "padding": ((draw(0, 2), draw(0, 2)), (draw(0, 2), draw(0, 2))),
            "dilation": (draw(1, 2), draw(1, 2)),
            "groups": groups,
        }
        size = (draw(5, 7), draw(5, 7))
        truth = operator_norm(weight, size, **geometry)
        exact = convolution_bound(weight, size, **geometry).item()
        above = convolution_bound(weight, size, **geometry, entries=0).item()
        assert truth * (1 - 1e-12) <= exact <= truth * (1 + 1e-8)
        assert above >= truth * (1 - 1e-12)


def test_frequencies_are_close_on_large_maps(generator):
    """Beside the operator written out: a few thousandths at 20 pixels, less on larger maps."""
    weight = torch.randn(4, 4, 3, 3, generator=generator)
    exact = convolution_bound(weight, (24, 24), padding=ONE).item()
    above = convolution_bound(weight, (24, 24), padding=ONE, entries=0).item()
    assert exact <= above <= exact * 1.01


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_norms_are_those_of_the_padding_matrix(mode):
    basis = torch.eye(20).view(-1, 1, 4, 5)
    made = pad(basis, (2, 1, 1, 2), mode=mode).flatten(1)
    truth = torch.linalg.matrix_norm(made.double(), 2).item()
    assert padding_norm((4, 5), ((1, 2), (2, 1)), mode) == pytest.approx(truth)


def test_a_kernel_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        convolution_bound(torch.ones(1, 1, 5, 5), (3, 3))


def test_a_bound_that_is_changed_does_not_change_what_is_remembered():
    spectral_norm_bound(torch.eye(5)).mul_(0.01)
    assert spectral_norm_bound(torch.eye(5)).item() >= 1


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e170, 1e300])
def test_squares_neither_vanish_nor_overflow(size):
    bound = spectral_norm_bound(size * torch.eye(3, dtype=torch.float64)).item()
    assert size <= bound <= size * (1 + 1e-9)
