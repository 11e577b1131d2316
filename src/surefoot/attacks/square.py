"""Square attack: random search with squares, no gradients.

Andriushchenko, Croce, Flammarion, Hein 2020, in the version that AutoAttack runs.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from surefoot.attacks.apgd import Found
from surefoot.attacks.counted import Counted
from surefoot.attacks.draws import ByExample, Draws
from surefoot.attacks.objectives import cw, wrong
from surefoot.models.frozen import frozen
from surefoot.progress import track
from surefoot.threat import Threat, spread
from surefoot.types import AnyLabels, Images, Labels, Model, checked_labels

FIRST_FRACTION = 0.8
AREA_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After these queries the area of the square is halved."""


def area(query: int) -> float:
    """Return the fraction of the image that a query's square covers; not rescaled to the budget."""
    return FIRST_FRACTION / 2 ** sum(query > limit for limit in AREA_HALVED_AFTER)


def side(query: int, height: int, width: int, least: int = 1) -> int:
    """Return the side of the square of a query; for l2 it is odd and at least 3."""
    found = max(round(math.sqrt(area(query) * height * width)), least)
    if least == 3 and found % 2 == 0:
        found += 1
    return min(found, height, width)


Lead = Callable[[Images, Tensor], Tensor]
"""(images `[b, ...]`, rows `[b]` they belong to) -> what is minimised `[b]`; found at 0 or less."""


def square_search(
    lead_of: Lead, origins: Images, draws: Draws, *, threat: Threat, queries: int
) -> Found:
    """Search at random for images whose lead is 0 or less; found examples leave in each query."""
    origins = origins.contiguous()
    pixels = origins if origins.ndim == 4 else origins.flatten(1)[:, None, None, :]
    first, propose = (_stripes, _linf) if threat.norm == "linf" else (_tiles, _l2)
    if origins.ndim != 4:  # features in a row: windows of it, and each of them in turn
        propose = _linf_of_row if threat.norm == "linf" else _l2_of_row
    best = first(pixels, threat, draws)
    lead = lead_of(best.view_as(origins), torch.arange(len(origins), device=origins.device))
    # What is not broken is kept together; the rest is copied out once, when it is found.
    rows = (lead > 0).nonzero().flatten()
    fixed = _corners(pixels[rows], threat) if threat.norm == "linf" else pixels[rows]
    now, ahead = best[rows], lead[rows]
    for query in track(range(queries), "square", queries):
        if len(rows) == 0:
            break
        proposal = propose(now, fixed, threat, draws, rows, query)
        found = lead_of(proposal.view(-1, *origins.shape[1:]), rows)
        better = ((found < ahead) | (found <= 0)).nonzero().flatten()
        now[better], ahead[better] = proposal[better], found[better]
        unbroken = ahead > 0
        if not bool(unbroken.all()):
            best[rows], lead[rows] = now, ahead
            rows, now, fixed = rows[unbroken], now[unbroken], fixed[unbroken]
            ahead = ahead[unbroken]
    best[rows] = now
    return Found(best.view_as(origins), lead <= 0)


def of_labels(model: Model, labels: Labels) -> Lead:
    """Return the logit margin of the label, to be minimised; an undefined outcome is wrong."""

    def lead(images: Images, rows: Tensor) -> Tensor:
        return (-cw(model(images), labels[rows])).nan_to_num(nan=-torch.inf)

    return lead


def _signs(uniform: Tensor) -> Tensor:
    return (2 * uniform - 1).sign()


def _place(uniform: Tensor, room: int) -> Tensor:
    return (uniform * room).long()


def _stripes(origins: Images, threat: Threat, draws: Draws) -> Images:
    """Start with a random sign for each column and plane."""
    count, planes, _, width = origins.shape
    signs = _signs(draws.uniform((planes, 1, width), torch.arange(count))).to(origins)
    return (origins + threat.reach * signs).clamp(threat.low, threat.high)


def _corners(origins: Images, threat: Threat) -> Tensor:
    """Return the lower and the upper corner of ball and box, `[b, 2, planes, H, W]`."""
    both = torch.stack([origins - threat.reach, origins + threat.reach], 1)
    return both.clamp_(threat.low, threat.high)


def _linf(
    best: Images, corners: Tensor, threat: Threat, draws: Draws, rows: Tensor, query: int
) -> Images:
    """Set one square of each image to a corner of the ball, one sign a plane.

    A step of 2 eps from anywhere in the ball, clipped to it, ends at a corner.
    """
    planes, height, width = best.shape[1:]
    size = side(query, height, width)
    uniform, _ = draws.query(query, 2 + planes, 0, rows)
    top, left = _place(uniform[:, 0], height - size), _place(uniform[:, 1], width - size)
    corner = (top * width + left).view(-1, 1, 1)
    pixels = corner + _square(size, width).to(corner.device)
    plane = torch.arange(len(best) * planes, device=best.device).view(-1, planes, 1)
    upper = (uniform[:, 2:] > 0.5).unsqueeze(2)
    moved = best.clone()
    place = plane * (height * width) + pixels
    source = place + (upper + plane // planes) * best[0].numel()
    moved.view(-1)[place] = corners.view(-1)[source]
    return moved


def _windows(uniform: Tensor, query: int, width: int) -> Tensor:
    """Place a window of a row, any of its features among them, `[b, size]`."""
    size = max(round(area(query) * width), 1)
    first = _place(uniform, width - size + 1).clamp(max=width - size)
    return first[:, None] + torch.arange(size, device=uniform.device)


def _linf_of_row(
    best: Images, corners: Tensor, threat: Threat, draws: Draws, rows: Tensor, query: int
) -> Images:
    """Set one window of each row to a corner of the ball."""
    uniform, _ = draws.query(query, 3, 0, rows)
    place = _windows(uniform[:, 1], query, best.shape[3]).to(best.device)
    upper = (uniform[:, 2] > 0.5).long()
    moved, one = best.clone(), torch.arange(len(best), device=best.device)
    moved[one[:, None], 0, 0, place] = corners[one, upper.to(one)][:, 0, 0].gather(1, place)
    return moved


def _l2_of_row(
    best: Images, origins: Images, threat: Threat, draws: Draws, rows: Tensor, query: int
) -> Images:
    """Draw one window of each row anew, and bring the whole back to the sphere."""
    uniform, _ = draws.query(query, 4, 0, rows)
    place = _windows(uniform[:, 1], query, best.shape[3]).to(best.device)
    length = threat.reach * uniform[:, 3:4] / place.shape[1] ** 0.5
    drawn = (_signs(uniform[:, 2:3]) * length).to(best).expand_as(place)
    offset = (best - origins).flatten(1).scatter(1, place, drawn)
    offset = offset * (threat.reach / offset.norm(dim=1, keepdim=True).clamp(min=1e-30))
    moved = (origins.flatten(1) + offset).view_as(best)
    return threat.project(moved.clamp(threat.low, threat.high), origins)


@cache
def _square(size: int, width: int) -> Tensor:
    """List where the pixels of a square are, counted from its corner, `[size * size]`."""
    return (torch.arange(size)[:, None] * width + torch.arange(size)).flatten()


@cache
def bump(size: int) -> Tensor:
    """Return the l2 proposal: a pyramid up and a pyramid down, of unit length, `[size, size]`."""
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
    """Return the bump, transposed where the draw says so, `[len(uniform), size, size, 1]`."""
    shape = bump(size).to(uniform.device)
    return torch.stack([shape, shape.T])[(uniform > 0.5).long()].unsqueeze(3)


def _to_sphere(offset: Images, threat: Threat, origins: Images) -> Images:
    length = torch.linalg.vector_norm(offset.flatten(1), dim=1)
    moved = threat.reach * offset / spread(length + 1e-12, offset) + origins
    return moved.clamp_(threat.low, threat.high)


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
            tile = (
                _turned(size, turn)[:, None, : part.shape[2], : part.shape[3], 0]
                if size > 1
                else 1.0
            )
            part += tile * signs
    return _to_sphere(offset, threat, origins)


def _l2(
    best: Images, origins: Images, threat: Threat, draws: Draws, rows: Tensor, query: int
) -> Images:
    """Move the energy of one window, and the unused budget, into a new bump in another."""
    count, planes, height, width = origins.shape
    size = side(query, height, width, least=3)
    offset = best - origins
    unused = threat.reach**2 - offset.square().sum((1, 2, 3)).view(-1, 1, 1, 1)
    uniform, own_draws = draws.query(query, 5, planes, rows)
    uniform = uniform.expand(count, -1)
    signs = _signs(own_draws).to(origins)[:, None, None, :]
    first = _index(uniform[:, :2], size, height, width)
    second = _index(uniform[:, 2:4], size, height, width)
    # Emptied one after the other, so that what they share counts once.
    window = offset[first]
    own = _energy(window)
    offset[first] = 0.0
    energy = own + _energy(offset[second])
    offset[second] = 0.0
    fresh = _turned(size, uniform[:, 4]) * signs + window / (1e-12 + own.sqrt())
    length = (unused.clamp(min=0) / planes + energy).sqrt()
    offset[first] = fresh * (length / (1e-12 + _energy(fresh).sqrt()))
    return _to_sphere(offset, threat, origins)


def _energy(window: Tensor) -> Tensor:
    """Sum the squares of each plane, `[b, size, size, planes]` to `[b, 1, 1, planes]`."""
    return window.square().sum((1, 2), keepdim=True)


def _index(
    uniform: Tensor, size: int, height: int, width: int
) -> tuple[Tensor, slice, Tensor, Tensor]:
    """Index a random window of each image; the planes come last."""
    span, image = torch.arange(size), torch.arange(len(uniform))
    top, left = _place(uniform[:, 0], height - size), _place(uniform[:, 1], width - size)
    span, image = span.to(uniform.device), image.to(uniform.device)
    down, across = top[:, None] + span, left[:, None] + span
    return image[:, None, None], slice(None), down[:, :, None], across[:, None]


def square(
    model: Model,
    images: Images,
    labels: AnyLabels,
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
    images = threat.origins(images)
    with frozen(model):
        counted = Counted(model)
        outcomes = counted(images)
        labels = checked_labels(labels, images, outcomes.shape[1])
        rows = (~wrong(outcomes, labels)).nonzero().flatten()
        result = images.clone()
        if len(rows):
            origins, own = images[rows], labels[rows]
            draws = ByExample.of(origins, seed)
            lead = of_labels(counted, own)
            found = square_search(lead, origins, draws, threat=threat, queries=queries)
            settled = threat.project(found.images, origins)
            won = wrong(counted(settled), own)
            result[rows[won]] = settled[won]
    return result
