"""Distances between all pairs of two sets of points, at the speed of the machine.

Not here: which pairs are needed.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Squares = Float[Tensor, "N"]

TILE = 1024
"""Columns compared at once: a tile stays in the cache."""

NOISE = 1e-14
"""Squared distances below this fraction of the squared norms are the round-off of equal points."""


def chebyshev(block: Float[Tensor, "R K"], columns: Float[Tensor, "K N"]) -> Float[Tensor, "R N"]:
    """Return largest difference over the coordinates, tile by tile, so that it stays in cache."""
    tiles = []
    for tile in columns.split(TILE, dim=1):
        apart, gap = block.new_zeros(2, len(block), tile.shape[1])
        for own, others in zip(block.T.contiguous().unsqueeze(2), tile, strict=True):
            torch.maximum(apart, torch.sub(own, others, out=gap).abs_(), out=apart)
        tiles.append(apart)
    return torch.cat(tiles, 1)


def euclidean(
    block: Float[Tensor, "R K"], columns: Float[Tensor, "K N"], squares: Squares
) -> Float[Tensor, "R N"]:
    r"""Return the distances by one matrix product; `squares` are the squared norms of the columns.

    $$ \lVert a - b \rVert^2 = \lVert a \rVert^2 + \lVert b \rVert^2 - 2 a \cdot b $$
    Error: about 1e-8 of the norms in float64; distances below 1e-7 of them count as 0. Move the
    origin to the mean first: it makes the norms small.
    """
    norms = block.square().sum(1, keepdim=True) + squares
    squared = torch.addmm(norms, block, columns, alpha=-2)
    return squared.masked_fill_(squared <= NOISE * norms, 0.0).sqrt_()
