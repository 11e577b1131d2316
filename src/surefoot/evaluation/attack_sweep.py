"""At which radius is each example broken: a grid of attacks, checked against the certificate.

`attack_grid` works up the radii, and `refine` looks for nearer counterexamples; where each attack
costs much, of votes, `attack_down` works down from the largest radius. `self_check` attacks where
the answer is known. Each takes the state of a chunk and returns a new one; found stays found.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from surefoot.attacks import AttackResult
from surefoot.evaluation.classifiers import Classifier, Plain, Smoothed
from surefoot.evaluation.header import Work
from surefoot.files import write_whole
from surefoot.guarantees import Guarantee
from surefoot.stats import bisection
from surefoot.threat import Threat, spread
from surefoot.types import Images, Sets

AGAIN = 32
"""Broken examples that are attacked once more at the largest radius."""
CLEAR_MARGIN = 6.0
"""Standard deviations of a count by which an outcome of a vote must win at the grey image."""


class Contradiction(RuntimeError):
    """An example is certified at a radius at which a confirmed counterexample exists."""


Found = dict[tuple[int, int], Tensor]
"""(row, alternative) -> counterexample."""


@dataclass(frozen=True)
class Target:
    """What is attacked.

    Args:
        classifier: under attack.
        images: one chunk.
        sets: alternatives that hold at the images and are to be broken, `[B, A, O]`.
        guarantee: gives the quantifier.
        threat: norm and box.
        folder: where the counterexample of a contradiction is left, or None.
    """

    classifier: Classifier
    images: Images
    sets: Sets
    guarantee: Guarantee
    threat: Threat
    folder: Path | None = None

    def covering_radius(self, eps: float) -> float:
        """Return the radius, in the norm of the certificate, that covers the ball."""
        if self.classifier.certified_norm == self.threat.norm:
            return eps
        return replace(self.threat, eps=eps).l2_radius(self.images[0].numel())

    def distance(self, image: Images, row: int) -> float:
        """Measure how far an image is from that of a row."""
        return float(self.threat.distance(image[None], self.images[row : row + 1]))


@dataclass(frozen=True)
class Sweep:
    """What is known after some attacks.

    Args:
        unbroken: alternatives that no attack broke, `[B, A, O]`.
        certified: radii of the alternatives `[B, A]`, lowered where a contradiction was settled;
            None without a certificate.
        radius: smallest tested radius at which all alternatives were broken, `[B]`; infinite where
            some were not, 0 where none holds at the image.
        nearest: distance of the nearest counterexample `[B]`; infinite where none was found.
        by: what broke the example.
        found: counterexamples, the last one broken of a row at the end.
        work: what it took.
    """

    unbroken: Sets
    certified: Tensor | None
    radius: Tensor
    nearest: Tensor
    by: tuple[str, ...]
    found: Found = field(default_factory=dict)
    work: Work = field(default_factory=Work)


def start(target: Target, certified: Tensor | None) -> Sweep:
    """Return the state before any attack."""
    holds = target.sets.any(2).any(1)
    return Sweep(
        target.sets,
        certified,
        radius=torch.where(holds, torch.inf, 0.0).double(),
        nearest=torch.full((len(target.images),), torch.inf, dtype=torch.float64),
        by=tuple("" if there else "clean" for there in holds.tolist()),
    )


def attack_grid(
    target: Target, sweep: Sweep, radii: Sequence[float], *, skip_certified: bool = False
) -> Sweep:
    """Attack at each radius what is not broken yet.

    Args:
        target: what is attacked.
        sweep: state to go on from.
        radii: increasing.
        skip_certified: do not attack an example at a radius to which it is certified.
    """

    def at(sweep: Sweep, radius: float) -> Sweep:
        return _attack(target, sweep, radius, skip_certified)

    return reduce(at, [radius for radius in radii if radius > 0], sweep)


def attack_down(
    target: Target, sweep: Sweep, radii: Sequence[float], *, skip_certified: bool = False
) -> Sweep:
    """Attack at the largest radius, and while examples fall at the next smaller one.

    Before an attack, the way to the counterexample at hand is tried. What stands at a radius is not
    attacked at a smaller one: an example that stands at the largest takes one attack, in
    `attack_grid` one a radius.

    Args:
        target: what is attacked.
        sweep: state before any attack.
        radii: increasing.
        skip_certified: do not attack an example at a radius to which it is certified.

    Returns:
        the state, with the distances of counterexamples that bisection has moved nearer.
    """
    grid = [radius for radius in radii if radius > 0]
    falls, names = target.sets.any(2), list(sweep.by)
    reached = torch.full(falls.shape, torch.inf, dtype=torch.float64, device=falls.device)
    for radius in reversed(grid):
        sweep, nearer = _moved_to(target, sweep, radius, falls)
        asked = falls.clone()
        for place in nearer:
            asked[place] = False
        sets = target.sets & asked.unsqueeze(2)
        sweep, broken, by = _broken(target, sweep, sets, radius, skip_certified)
        names = [by.get(row, name) for row, name in enumerate(names)]
        falls = torch.zeros_like(falls)
        for place in (*nearer, *broken):
            falls[place], reached[place] = True, radius
        sweep = replace(sweep, found={**sweep.found, **nearer, **broken})
    holds, smaller = target.sets.any(2), dict(zip(grid, [0.0, *grid], strict=False))
    unbroken = target.sets & reached.isinf().unsqueeze(2)
    fallen = holds.any(1) & ~unbroken.any(2).any(1)
    worst = reached.masked_fill(~holds, 0.0).amax(1)
    sweep = replace(
        sweep,
        unbroken=unbroken,
        radius=torch.where(fallen, worst, sweep.radius),
        by=tuple(name if done else "" for name, done in zip(names, fallen.tolist(), strict=True)),
    )
    return refine(target, sweep, {place: smaller[float(reached[place])] for place in sweep.found})


def _moved_to(target: Target, sweep: Sweep, radius: float, falls: Tensor) -> tuple[Sweep, Found]:
    """Move counterexamples along their ways into the ball, and return those that are still ones."""
    places = [place for place in sweep.found if bool(falls[place])]
    if not places:
        return sweep, {}
    rows = torch.tensor([row for row, _ in places], device=target.images.device)
    origins, threat = target.images[rows], replace(target.threat, eps=radius)
    found = torch.stack([sweep.found[place] for place in places])
    there = threat.project(origins + _scaled(threat, found, origins), origins)
    sets = torch.stack([target.sets[place] for place in places]).unsqueeze(1)
    certified, points = _copy(sweep.certified), Found()
    for index in target.classifier.breaks(there, sets, target.guarantee).nonzero().flatten():
        place, point = places[int(index)], there[index]
        if not _contradicts(target, certified, *place, point):
            points[place] = point
    return replace(sweep, certified=certified), points


def _scaled(threat: Threat, images: Images, origins: Images) -> Tensor:
    """Return the ways from the origins, shortened to the radius."""
    ways = images - origins
    return spread((threat.eps / threat.distance(images, origins)).clamp(max=1), ways) * ways


def _attack(target: Target, sweep: Sweep, radius: float, skip_certified: bool) -> Sweep:
    sweep, broken, names = _broken(target, sweep, sweep.unbroken, radius, skip_certified)
    unbroken, radii, by = sweep.unbroken.clone(), sweep.radius.clone(), list(sweep.by)
    for row, alternative in broken:
        unbroken[row, alternative] = False
        if not bool(unbroken[row].any()):
            radii[row], by[row] = radius, names[row]
    found = {**sweep.found, **broken}
    return replace(sweep, unbroken=unbroken, radius=radii, by=tuple(by), found=found)


def _broken(
    target: Target, sweep: Sweep, sets: Sets, radius: float, skip_certified: bool
) -> tuple[Sweep, Found, dict[int, str]]:
    """Attack these sets: the state with its work, counterexamples, and what broke each row."""
    candidates = sets.any(2).any(1)
    if skip_certified and sweep.certified is not None:
        proven = sweep.certified.amax(1) >= target.covering_radius(radius)
        skipped = Work(skipped_certified=int((candidates & proven).sum()))
        candidates, sweep = candidates & ~proven, replace(sweep, work=sweep.work + skipped)
    rows = candidates.nonzero().flatten()
    if len(rows) == 0:
        return sweep, {}, {}
    result = _search(target, rows, sets[rows], radius)
    certified, found, names = _copy(sweep.certified), Found(), dict[int, str]()
    for place, alternative in result.broken.nonzero().tolist():
        row, counterexample = int(rows[place]), result.counterexamples[place, alternative]
        # It may lie inside a certificate that ends before the ball does.
        if _contradicts(target, certified, row, alternative, counterexample):
            continue
        found[row, alternative] = counterexample
        names[row] = result.by[place] or "apgd"
    return replace(sweep, certified=certified, work=sweep.work + _work(result)), found, names


def refine(
    target: Target, sweep: Sweep, smaller: Mapping[tuple[int, int], float] | None = None
) -> Sweep:
    """Look for nearer counterexamples on the way to those found, by bisection.

    A row is as near as the farthest of its alternatives. What turns up inside a certified radius is
    settled as in `attack_grid`.

    Args:
        target: what was attacked.
        sweep: what was found.
        smaller: of each counterexample, the radius up to which the way to it was tried already.
    """
    if not sweep.found:
        return sweep
    places = list(sweep.found)
    rows = torch.tensor([row for row, _ in places], device=target.images.device)
    ways = torch.stack([sweep.found[place] for place in places]) - target.images[rows]
    sets = torch.stack([target.sets[place] for place in places]).unsqueeze(1)

    def holds(part: Tensor) -> Tensor:
        there = target.images[rows] + spread(part, ways) * ways
        return ~target.classifier.breaks(there, sets, target.guarantee)

    tried = torch.tensor([(smaller or {}).get(place, 0.0) for place in places]).to(ways)
    lengths = target.threat.distance(target.images[rows] + ways, target.images[rows])
    low = torch.where(tried < lengths, tried / lengths.clamp(min=1e-300), 0.0).to(ways)
    # As fine as if the longest way were halved so often from its beginning.
    longest = float(lengths.amax())
    part = float(((1 - low) * lengths).amax()) / longest if 0 < longest < math.inf else 1.0
    steps = target.classifier.bisection_steps + math.ceil(math.log2(max(part, 0.5**9)))
    _, high = bisection(low, torch.ones_like(low), holds, max(steps, 1))
    there = target.images[rows] + spread(high, ways) * ways
    certified, nearest = _copy(sweep.certified), sweep.nearest.clone()
    for place, (row, alternative) in enumerate(places):
        nearer = there[place]
        if _contradicts(target, certified, row, alternative, nearer):
            nearer = sweep.found[row, alternative]
        length = target.distance(nearer, row)
        if math.isfinite(sweep.radius[row]):
            known = float(nearest[row])
            nearest[row] = length if math.isinf(known) else max(known, length)
    return replace(sweep, certified=certified, nearest=nearest)


def self_check(target: Target, sweep: Sweep, radii: Sequence[float]) -> Sweep:
    """Attack where the answer is known already: what is not broken there, the attack has missed.

    First, whether the attack is monotone in the radius: after `attack_grid`, examples that were
    broken at a smaller radius are attacked at the largest, whose ball holds that counterexample
    too; after `attack_down`, examples that stood at the largest at the smallest radius, and one
    that falls there has fallen. Then, sets that fail at the uniformly grey image, in balls that
    reach it; these decide no row.

    Args:
        target: what was attacked.
        sweep: what was found.
        radii: increasing.
    """
    if target.classifier.from_largest:
        sweep = _below(target, sweep, radii)
    else:
        sweep = replace(sweep, work=sweep.work + _again(target, sweep, radii[-1]))
    return replace(sweep, work=sweep.work + _grey(target))


def _below(target: Target, sweep: Sweep, radii: Sequence[float]) -> Sweep:
    radius = next(radius for radius in radii if radius > 0)
    rows = sweep.radius.isinf().nonzero().flatten()[:AGAIN]
    if len(rows) == 0:
        return sweep
    asked = torch.zeros_like(sweep.unbroken)
    asked[rows] = sweep.unbroken[rows]
    after = _attack(target, replace(sweep, unbroken=asked), radius, False)
    fallen = sweep.radius.isinf() & after.radius.isfinite()
    return replace(
        after,
        unbroken=sweep.unbroken & ~(asked & ~after.unbroken),
        nearest=torch.where(fallen, after.radius, sweep.nearest),
        work=after.work + Work(retried=len(rows), missed=int(fallen.sum())),
    )


def _again(target: Target, sweep: Sweep, largest: float) -> Work:
    rows = ((sweep.radius > 0) & (sweep.radius < largest)).nonzero().flatten()[:AGAIN]
    if len(rows) == 0:
        return Work()
    result = _search(target, rows, target.sets[rows], largest)
    missed = int((~result.success).sum())
    return _work(result, check=True) + Work(retried=len(rows), missed=missed)


def _grey(target: Target) -> Work:
    count, margin, by = 32, 0.0, target.classifier
    low, high = target.threat.low, target.threat.high
    if not math.isfinite(high - low):  # no middle
        return Work()
    grey = torch.full_like(target.images[:1], (low + high) / 2)
    if isinstance(by, Smoothed):  # slower, and only a clear majority is a fact
        count, margin = 8, CLEAR_MARGIN / math.sqrt(by.search.n_confirm)
        # Counted and not certified: grey lies off the grid of whole-number noise.
        outcomes = by.seen(grey)[1]
    else:
        outcomes = by.clean_outputs(grey, target.guarantee).outcomes
    sets = target.sets[:count]
    fails = target.guarantee.margins(outcomes.expand(len(sets), -1), sets) < -margin
    sets = sets & fails.unsqueeze(2)
    rows = sets.any(2).any(1).nonzero().flatten()
    if len(rows) == 0:
        return Work()
    reach = (high - low) / 2 * (1 + 1e-6)  # the grey pixel is rounded
    if target.threat.norm == "l2":
        reach *= math.sqrt(grey.numel())
    if isinstance(by, Plain) and by.step_size is not None:  # meant for the headline ball
        by = replace(by, step_size=by.step_size * reach / target.threat.eps)
    result = _search(replace(target, classifier=by), rows, sets[rows], reach)
    tried = int(sets.any(2).sum())
    return _work(result, check=True) + Work(
        grey=tried, grey_missed=tried - int(result.broken.sum())
    )


def _search(target: Target, rows: Tensor, sets: Sets, radius: float) -> AttackResult:
    threat = replace(target.threat, eps=radius)
    return target.classifier.attack(target.images[rows], sets, target.guarantee, threat)


def _work(result: AttackResult, *, check: bool = False) -> Work:
    """Return what an attack took; what a check finds is no find."""
    costs = result.costs
    if check:
        costs = {name: replace(cost, found=0) for name, cost in costs.items()}
    return Work(result.forwards, result.backwards, result.seconds, costs=costs)


def _copy(radii: Tensor | None) -> Tensor | None:
    return None if radii is None else radii.clone()


def _contradicts(
    target: Target, certified: Tensor | None, row: int, alternative: int, counterexample: Tensor
) -> bool:
    """Settle a disagreement with the certificate; True if the counterexample is not real.

    Where it is real after all and the certificate gives way, `certified` is lowered in place.
    """
    length = target.distance(counterexample, row)
    radius = target.covering_radius(length)
    if certified is None or certified[row, alternative] < radius:
        return False
    image, sets = target.images[row : row + 1], target.sets[row, alternative].view(1, 1, -1)
    again, real = target.classifier.settle(image, counterexample[None], sets, target.guarantee)
    if real and again >= radius:
        raise _contradiction(target, image[0], counterexample, length, again)
    certified[row, alternative] = min(float(certified[row, alternative]), again)
    return not real


def _contradiction(
    target: Target, image: Tensor, counterexample: Tensor, length: float, certified: float
) -> Contradiction:
    where = ""
    if target.folder is not None:
        target.folder.mkdir(parents=True, exist_ok=True)
        pair = {
            "image": image.cpu().contiguous(),
            "counterexample": counterexample.cpu().contiguous(),
        }
        write_whole(target.folder / "contradiction.safetensors", save(pair))
        where = f"; both images are in {target.folder / 'contradiction.safetensors'}"
    return Contradiction(
        f"an example is certified to {target.classifier.certified_norm} radius {certified:.6g},"
        " but a confirmed counterexample"
        f" lies inside {target.threat.norm} {length:g}{where}. Certificate or attack is wrong:"
        " trust neither until this is explained."
    )


def counterexamples(target: Target, sweep: Sweep, before: Tensor, first: int) -> dict[str, Tensor]:
    """Return the broken examples as tensors.

    Args:
        target: what was attacked.
        sweep: what was found.
        before: fractions of the outcomes at the images, `[B, O]`.
        first: row of the data set that the chunk begins at.
    """
    rows = (sweep.radius.isfinite() & (sweep.radius > 0)).nonzero().flatten()
    if len(rows) == 0:
        return {}
    last = {row: image for (row, _), image in sweep.found.items()}
    adversarial = torch.stack([last[row] for row in rows.tolist()])
    fractions, outcomes = target.classifier.seen(adversarial)
    return {
        "index": rows.cpu() + first,
        "images": target.images[rows].cpu(),
        "adversarial": adversarial.cpu(),
        "radius": sweep.radius[rows].cpu(),
        "before": before[rows].cpu().float(),
        "after": fractions.cpu().float(),
        "outcomes": outcomes.cpu(),
    }
