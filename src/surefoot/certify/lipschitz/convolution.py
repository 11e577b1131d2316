r"""Norms of convolutions on images of a given size: exact where small, by Fourier where large.

A convolution with zero padding is a compression of the circular one on a grid that is large enough
for no wrap-around, (n + k - 1) a side: the largest norm over its frequencies bounds it from above,
and is a fraction of a percent too large. The grid of the image itself bounds nothing: kernel
(1, -1) on three pixels has norm 1.802, its grid says 1.732.

A stride s makes the s x s phases of the image into channels (space-to-depth), and the kernel a
shorter one over those.

Sedghi, Gupta, Long 2019 (frequencies); the rest derived here.
"""

from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import pad

from surefoot.certify.lipschitz.norms import UNIT, remembered, spectral_norm_bound

EXACT_ENTRIES = 2**24
"""Operators of at most so many entries are written out as matrices."""
CHUNK_ENTRIES = 2**23
"""So many entries of frequency responses are held at a time (128 MB)."""

Pair = tuple[int, int]


@remembered
def convolution_bound(
    weight: Tensor,
    size: Pair,
    *,
    stride: Pair = (1, 1),
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
    mode: str = "zeros",
    entries: int = EXACT_ENTRIES,
) -> Tensor:
    """Bound the l2 norm of a convolution from above.

    Args:
        weight: `[out, in / groups, kh, kw]`.
        size: height and width of the image.
        stride: of both axes, as the rest.
        padding: (before, after) of both axes.
        dilation: distance of taps.
        groups: of channels; the norm of the whole is the largest of theirs.
        mode: "zeros", "circular", "reflect" or "replicate".
        entries: up to so many entries the operator is written out.

    Returns:
        float64 scalar. Written out or circular without stride: exact up to rounding. With
        "reflect", "replicate" or circular with stride: the norm of the padding times that of the
        convolution without, which is looser.

    Reference: module docstring.
    """
    weight = weight.double()
    out, per_group, height, width = weight.shape
    padded = (size[0] + sum(padding[0]), size[1] + sum(padding[1]))
    after = [
        (whole - step * (taps - 1) - 1) // hop + 1
        for whole, step, taps, hop in zip(padded, dilation, (height, width), stride, strict=True)
    ]
    pixels = size[0] * size[1]
    if min(after) < 1:
        raise ValueError(f"a kernel of {height} x {width} does not fit in an image of {size}")
    if out * after[0] * after[1] * per_group * pixels <= entries:
        shape = (size, (after[0], after[1]))
        return spectral_norm_bound(
            _written_out(weight, *shape, stride, padding, dilation, groups, mode)
        )
    if mode == "circular" and stride == (1, 1) and tuple(after) == tuple(size):
        return _over_frequencies(weight, size, (1, 1), ((0, 0), (0, 0)), dilation, groups, size)
    if mode != "zeros":
        spread = padding_norm(size, padding, mode)
        none = ((0, 0), (0, 0))
        return spread * _over_frequencies(weight, padded, stride, none, dilation, groups)
    return _over_frequencies(weight, size, stride, padding, dilation, groups)


def padding_norm(size: Pair, padding: tuple[Pair, Pair], mode: str) -> float:
    """Return the norm of padding that repeats pixels: the root of how often one is repeated."""
    often = 1.0
    for length, (before, after) in zip(size, padding, strict=True):
        line = torch.arange(length, dtype=torch.float64).view(1, 1, 1, -1)
        where = pad(line, (before, after, 0, 0), mode=mode)
        often *= float(where.long().flatten().bincount().max())
    return often**0.5 * (1 + UNIT)


def _written_out(
    weight: Tensor,
    size: Pair,
    after: Pair,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    mode: str,
) -> Tensor:
    """Return the matrix of each group: every tap where it falls, and nothing is computed."""
    per_group, out = weight.shape[1], weight.shape[0] // groups
    matrices = weight.new_zeros(groups, out, *after, per_group, *size)
    rows = _falls(size[0], after[0], weight.shape[2], stride[0], padding[0], dilation[0], mode)
    columns = _falls(size[1], after[1], weight.shape[3], stride[1], padding[1], dilation[1], mode)
    parts = weight.view(groups, out, per_group, *weight.shape[2:])
    for down, (high, low) in enumerate(rows):
        for right, (left, inside) in enumerate(columns):
            y, x = (grid.flatten() for grid in torch.meshgrid(high, left, indexing="ij"))
            v, u = (grid.flatten() for grid in torch.meshgrid(low, inside, indexing="ij"))
            # Padding that repeats pixels lets several taps of one output fall on one pixel.
            matrices[:, :, y, x, :, v, u] += parts[..., down, right]
    return matrices.flatten(4).flatten(1, 3)


def _falls(
    length: int, after: int, taps: int, hop: int, edge: Pair, step: int, mode: str
) -> list[tuple[Tensor, Tensor]]:
    """For each tap along an axis: the outputs that it reaches, and the pixels under them."""
    line = torch.arange(1, length + 1, dtype=torch.float64).view(1, 1, 1, -1)
    kind = "constant" if mode == "zeros" else mode
    padded = pad(line, (*edge, 0, 0), mode=kind).flatten().long() - 1  # -1: nothing but zeros
    outputs = torch.arange(after)
    under = [padded[outputs * hop + tap * step] for tap in range(taps)]
    return [(outputs[pixels >= 0], pixels[pixels >= 0]) for pixels in under]


def _over_frequencies(
    weight: Tensor,
    size: Pair,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    grid: Pair | None = None,
) -> Tensor:
    """Bound the norm over the frequencies of the circular convolution that contains this one."""
    if stride == (1, 1) and grid is None:
        # Taps d pixels apart never mix the d x d phases of the image: each is an image of its own.
        size = (ceil(size[0] / dilation[0]), ceil(size[1] / dilation[1]))
        padding, dilation = ((0, 0), (0, 0)), (1, 1)
    kernel = _phases_to_depth(weight, stride, padding, dilation)
    taps = (kernel.shape[-2], kernel.shape[-1])
    if grid is None:
        rows, columns = (
            ceil(length / hop) + long - 1
            for length, hop, long in zip(size, stride, taps, strict=True)
        )
        grid = (rows, columns)
    vertical = _waves(grid[0], grid[0], taps[0]).to(weight.device)
    # A real kernel has the same norm at a frequency and at its mirror: half of them will do.
    horizontal = _waves(grid[1], grid[1] // 2 + 1, taps[1]).to(weight.device)
    out, depth = kernel.shape[0] // groups, kernel.shape[1]
    kernel = kernel.view(groups, out, depth, *taps)
    half = torch.einsum("goipq,wq->wgoip", kernel.to(torch.complex128), horizontal)
    found = torch.zeros((), dtype=torch.float64)
    many = max(1, CHUNK_ENTRIES // half[..., 0].numel())
    for some in vertical.split(many):
        responses = torch.einsum("wgoip,hp->hwgoi", half, some)
        found = torch.maximum(found, spectral_norm_bound.__wrapped__(responses).cpu())  # pyright: ignore[reportFunctionMemberAccess]
    error = 8 * UNIT * (sum(taps) + 8) * kernel.abs().sum((3, 4)).square().sum((1, 2)).sqrt().amax()
    return found + error.cpu()


def _phases_to_depth(
    weight: Tensor, stride: Pair, padding: tuple[Pair, Pair], dilation: Pair
) -> Tensor:
    r"""Write a strided kernel as one without stride on the phases of the image.

    A tap at offset $t d - p = s q + r$, $0 \le r < s$, is tap q on phase r:
    `[out, in, kh, kw]` to `[out, in s^2, qh, qw]`.
    """
    out, channels, height, width = weight.shape
    places = []
    for taps, hop, (before, _), step in zip(
        (height, width), stride, padding, dilation, strict=True
    ):
        offsets = torch.arange(taps) * step - before
        tap = torch.div(offsets, hop, rounding_mode="floor")
        places.append((offsets - tap * hop, tap - tap.min(), int(tap.max() - tap.min()) + 1))
    (phase_h, tap_h, long_h), (phase_w, tap_w, long_w) = places
    deep = weight.new_zeros(out, channels, *stride, long_h, long_w)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    deep[:, :, phase_h[rows], phase_w[columns], tap_h[rows], tap_w[columns]] = weight
    return deep.flatten(1, 3)


def _waves(period: int, count: int, taps: int) -> Tensor:
    r"""Return $e^{2 \pi i f t / N}$ for `count` frequencies f and all taps t."""
    turns = torch.outer(torch.arange(count), torch.arange(taps)).remainder(period)
    angles = turns.double() * (2 * torch.pi / period)
    return torch.polar(torch.ones_like(angles), angles)
