"""Square attack: random search with squares, no gradients.

Andriushchenko, Croce, Flammarion, Hein 2020, in the version that AutoAttack runs.
"""

import math
from functools import cache

import torch
from torch import Tensor

from surefoot.attacks.apgd import Found
from surefoot.attacks.counted import Counted
from surefoot.attacks.draws import ByExample, Draws
from surefoot.attacks.objectives import margin, wrong
from surefoot.models.frozen import frozen
from surefoot.threat import Threat, spread
from surefoot.types import Images, Labels, Model, check_images, check_labels

FIRST_SHARE = 0.8
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After these queries the area of the square is halved."""


def area(query: int) -> float:
    """Give the share of the image that the square of a query covers; not rescaled to the budget."""
    return FIRST_SHARE / 2 ** sum(query > limit for limit in HALVINGS)


def side(query: int, height: int, width: int, least: int = 1) -> int:
    """Give the side of the square of a query; for l2 it is odd and at least 3."""
    found = max(round(math.sqrt(area(query) * height * width)), least)
    if least == 3 and found % 2 == 0:
        found += 1
    return min(found, height, width)


def square_search(
    model: Counted,
    origins: Images,
    labels: Labels,
    draws: Draws,
    *,
    threat: Threat,
    queries: int,
) -> Found:
    """Search at random for misclassified images; found examples leave in each query."""
    pixels = origins if origins.ndim == 4 else origins.flatten(1)[:, None, None, :]
    first, propose = (_stripes, _linf) if threat.norm == "linf" else (_tiles, _l2)
    best = first(pixels, threat, draws)
    lead = -margin(model(best.view_as(origins)), labels)
    # What still stands is kept together; the rest is copied out once, when it is found.
    rows = (lead > 0).nonzero().flatten()
    now, anchors, own, ahead = best[rows], pixels[rows], labels[rows], lead[rows]
    for query in range(queries):
        if len(rows) == 0:
            break
        proposal = propose(now, anchors, threat, draws, rows, query)
        found = -margin(model(proposal.view(-1, *origins.shape[1:])), own)
        better = (found < ahead) | (found <= 0)
        now = torch.where(spread(better, now), proposal, now)
        ahead = torch.where(better, found, ahead)
        stands = ahead > 0
        if not bool(stands.all()):
            best[rows], lead[rows] = now, ahead
            rows, now, anchors = rows[stands], now[stands], anchors[stands]
            own, ahead = own[stands], ahead[stands]
    best[rows] = now
    return Found(best.view_as(origins), lead <= 0)


def _signs(uniform: Tensor) -> Tensor:
    return (2 * uniform - 1).sign()


def _place(uniform: Tensor, room: int) -> Tensor:
    return (uniform * room).long()


def _stripes(origins: Images, threat: Threat, draws: Draws) -> Images:
    """Start with a random sign for each column and plane."""
    count, planes, _, width = origins.shape
    signs = _signs(draws.uniform((planes, 1, width), torch.arange(count))).to(origins)
    return (origins + threat.eps * signs).clamp(threat.low, threat.high)


def _linf(
    best: Images, origins: Images, threat: Threat, draws: Draws, rows: Tensor, query: int
) -> Images:
    """Push one square of each image to a corner of the ball, one sign a plane."""
    planes, height, width = origins.shape[1:]
    size = side(query, height, width)
    uniform, _ = draws.query(query, 2 + planes, 0, rows)
    top, left = _place(uniform[:, 0], height - size), _place(uniform[:, 1], width - size)
    push = 2 * threat.eps * _signs(uniform[:, 2:]).to(origins)[:, :, None, None]
    window = _window(top, left, size, height, width).unsqueeze(1).to(origins)
    moved = torch.addcmul(best, window, push)
    moved = torch.minimum(torch.maximum(moved, origins - threat.eps), origins + threat.eps)
    return moved.clamp_(threat.low, threat.high)


def _window(top: Tensor, left: Tensor, size: int, height: int, width: int) -> Tensor:
    down = torch.arange(height, device=top.device)
    across = torch.arange(width, device=top.device)
    in_rows = (down >= top[:, None]) & (down < top[:, None] + size)
    in_columns = (across >= left[:, None]) & (across < left[:, None] + size)
    return in_rows[:, :, None] & in_columns[:, None, :]


@cache
def bump(size: int) -> Tensor:
    """Give the l2 proposal: a pyramid up and a pyramid down, of unit length, `[size, size]`."""
    result = torch.zeros(size, size)
    result[: size // 2] = _pyramid(size // 2, size)
    result[size // 2 :] = -_pyramid(size - size // 2, size)
    return result / result.square().sum().sqrt()


def _pyramid(height: int, width: int) -> Tensor:
    middle = height // 2 + 1, width // 2 + 1
    result = torch.zeros(height, width)
    for ring in range(max(middle)):
        top, left = middle[0] - 1 - ring, middle[1] - 1 - ring
        down = slice(max(top, 0), min(top + 2 * ring + 1, height))
        across = slice(max(left, 0), min(left + 2 * ring + 1, width))
        result[down, across] += 1 / (ring + 1) ** 2
    return result / result.square().sum().sqrt()


def _turned(size: int, uniform: Tensor) -> Tensor:
    """Give the bump, transposed where the draw says so, `[len(uniform), 1, size, size]`."""
    shape = bump(size).to(uniform.device)
    turn = (uniform > 0.5).view(-1, 1, 1)
    return torch.where(turn, shape.T, shape).unsqueeze(1)


def _to_sphere(offset: Images, threat: Threat, origins: Images) -> Images:
    length = torch.linalg.vector_norm(offset.flatten(1), dim=1)
    moved = origins + threat.eps * offset / spread(length + 1e-12, offset)
    return moved.clamp(threat.low, threat.high)


def _tiles(origins: Images, threat: Threat, draws: Draws) -> Images:
    """Start with a tiling of bumps, each with random signs."""
    count, planes, height, width = origins.shape
    size = max(min(height, width) // 5, 1)
    edge = max((height - 5 * size) // 2, 0)
    rows, offset = torch.arange(count), torch.zeros_like(origins)
    for down in range(height // size):
        for across in range(width // size):
            turn = draws.shared(1, rows)[:, 0].to(origins.device)
            signs = _signs(draws.uniform((planes, 1, 1), rows)).to(origins)
            top, left = edge + down * size, edge + across * size
            part = offset[:, :, top : top + size, left : left + size]
            tile = _turned(size, turn)[:, :, : part.shape[2], : part.shape[3]] if size > 1 else 1.0
            part += tile * signs
    return _to_sphere(offset, threat, origins)


def _l2(
    best: Images, origins: Images, threat: Threat, draws: Draws, rows: Tensor, query: int
) -> Images:
    """Move the energy of one window, and the unused budget, into a new bump in another."""
    count, planes, height, width = origins.shape
    size = side(query, height, width, least=3)
    offset = best - origins
    uniform, own_draws = draws.query(query, 5, planes, rows)
    uniform = uniform.expand(count, -1)
    signs = _signs(own_draws).to(origins)[:, :, None, None]
    top, left = _place(uniform[:, 0], height - size), _place(uniform[:, 1], width - size)
    top2, left2 = _place(uniform[:, 2], height - size), _place(uniform[:, 3], width - size)
    first, second = _index(top, left, size), _index(top2, left2, size)
    window = offset[first].permute(0, 3, 1, 2)
    own = window.square().sum((2, 3), keepdim=True).sqrt()
    both = _window(top, left, size, height, width) | _window(top2, left2, size, height, width)
    squares = offset.square()
    energy = (squares * both.unsqueeze(1)).sum((2, 3), keepdim=True)
    unused = threat.eps**2 - squares.sum((1, 2, 3), keepdim=True)
    fresh = _turned(size, uniform[:, 4]) * signs + window / (1e-12 + own)
    fresh = fresh / (1e-12 + fresh.square().sum((2, 3), keepdim=True).sqrt())
    fresh = fresh * (unused.clamp(min=0) / planes + energy).sqrt()
    offset[second] = 0.0
    offset[first] = fresh.permute(0, 2, 3, 1)
    return _to_sphere(offset, threat, origins)


def _index(top: Tensor, left: Tensor, size: int) -> tuple[Tensor, slice, Tensor, Tensor]:
    """Index a window of each image; the planes come last."""
    span = torch.arange(size, device=top.device)
    image = torch.arange(len(top), device=top.device)[:, None, None]
    return image, slice(None), (top[:, None] + span)[:, :, None], (left[:, None] + span)[:, None]


def square(
    model: Model,
    images: Images,
    labels: Labels,
    *,
    threat: Threat,
    queries: int = 5000,
    seed: int = 0,
) -> Images:
    """Search for misclassified images without gradients.

    Args:
        model: maps images to logits.
        images: origins `[B, planes, H, W]` inside the box; other shapes count as one row of pixels.
        labels: true labels.
        threat: ball and box.
        queries: most forward passes for each image.
        seed: of the squares, one stream an example.

    Returns:
        a misclassified image inside the threat where one was found, else the original.
    """
    check_images(images, threat.low, threat.high)
    with frozen(model):
        counted = Counted(model)
        outcomes = counted(images)
        check_labels(labels, images, outcomes.shape[1])
        rows = (~wrong(outcomes, labels)).nonzero().flatten()
        result = images.clone()
        if len(rows):
            origins, own = images[rows], labels[rows]
            draws = ByExample.of(origins, seed)
            found = square_search(counted, origins, own, draws, threat=threat, queries=queries)
            settled = threat.project(found.images, origins)
            won = wrong(counted(settled), own)
            result[rows[won]] = settled[won]
    return result
