"""False certificates of smoothing, counted where they are easiest: at the border of the truth.

    python benchmarks/levels.py

Every stopping rule and every certificate is run on counts drawn from probabilities whose exact
radius is known; the radius asked for lies just beyond it (or, where the certificate chooses the
radius, one beyond it counts). So are attacks on a vote over a grid of radii, bounds for many images
of which some repeat, and means of few values. A case fails if the lower 99.9 % limit of its rate of
false claims exceeds alpha. Rows go to results/levels.jsonl.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import rows
import torch
import tyro
from torch import Tensor, nn

from surefoot.attacks import VoteSearch
from surefoot.attacks.vote_attack import vote_fails
from surefoot.certify.smoothing import (
    Sampling,
    decide,
    distribution_bounds,
    mean_bounds,
    quantile_bounds,
    radii_from_counts,
    robust_images,
)
from surefoot.certify.smoothing.hypotheses import chosen
from surefoot.certify.smoothing.score_bounds import histogram
from surefoot.certify.smoothing.tolerance import radii_within
from surefoot.evaluation import Smoothed
from surefoot.guarantees import Affinity, Guarantee, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.stats import lower_bound, mean_interval
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.vote import Vote

HAIR = 1e-6
PART = 20_000
"""Certifications at once."""
CASES: dict[str, tuple[list[float], Guarantee]] = {
    "local, two bounds": ([0.7, 0.05, 0.15, 0.1, 0.0], Local()),
    "local, one bound": ([0.7, 0.3, 0.0, 0.0, 0.0], Local()),
    "local, broken samples": ([0.7, 0.1, 0.0, 0.0, 0.2], Local()),
    "label or uncertain": ([0.5, 0.05, 0.45, 0.0], LabelOrUncertain()),
    "label or uncertain, mostly": ([0.3, 0.05, 0.65, 0.0], LabelOrUncertain()),
    "top 2": ([0.45, 0.35, 0.1, 0.1, 0.0], TopK(2)),
    "relaxed top 2": ([0.42, 0.4, 0.1, 0.08, 0.0], RelaxedTopK(2)),
    "affinity": ([0.42, 0.4, 0.1, 0.08, 0.0], Affinity(((0, 1), (2, 3)))),
}
Judge = Callable[["Drawn", int, float], Tensor]
"""(probabilities to draw from, runs, alpha) -> false claims `[runs]`."""


@dataclass(frozen=True)
class Options:
    """How many.

    Args:
        runs: certifications a case.
        alpha: level.
        draws: samples of a certification at most.
        seed: of the counts.
        only: run the cases whose name contains this.
    """

    runs: int = 200_000
    alpha: float = 0.01
    draws: int = 800
    seed: int = 0
    only: str = ""


class Drawn(Vote):
    """A vote whose samples fall on outcomes with given probabilities: counts without a net."""

    probabilities: list[float]
    random: np.random.Generator

    def __init__(self, probabilities: list[float], random: np.random.Generator) -> None:
        for name, value in (
            ("model", nn.Identity()),
            ("sigma", 1.0),
            ("rule", "argmax"),
            ("probabilities", probabilities),
        ):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "random", random)

    def increments(self, images: Tensor, draws: int, *key: int, batch_size: int = 2000) -> Counts:
        """Draw counts."""
        return self.drawn(len(images), draws)

    def counts(self, images: Tensor, draws: int, *key: int, batch_size: int = 2000) -> Counts:
        """Draw counts."""
        return self.drawn(len(images), draws)

    def drawn(self, runs: int, draws: int) -> Counts:
        """Draw counts of so many images."""
        table = torch.from_numpy(self.random.multinomial(draws, self.probabilities, size=runs))
        return Counts.of(table, rejects=False)


def truth(probabilities: list[float], guarantee: Guarantee) -> tuple[Tensor, Tensor]:
    """Return the alternatives `[1, A, O]` of exact probabilities, and their radii at sigma 1."""
    exact = torch.tensor([probabilities[:-1]], dtype=torch.float64)
    sets = guarantee.sets(exact)
    if probabilities[-1] > 0:  # a sample without an outcome is a competitor, too
        shown = torch.tensor([[*probabilities[:-2], probabilities[-1]]], dtype=torch.float64)
        return sets, guarantee.smoothed_radii(shown, guarantee.sets(shown), 1.0)
    return sets, guarantee.smoothed_radii(exact, sets, 1.0)


def fixed(guarantee: Guarantee, sets: Tensor, exact: Tensor, draws: int) -> Judge:
    """Full radii from a fixed number of samples: any alternative beyond its radius is false."""

    def judge(vote: Drawn, runs: int, alpha: float) -> Tensor:
        found, _ = radii_from_counts(
            vote.drawn(runs, draws), sets.expand(runs, -1, -1), guarantee, 1.0, alpha
        )
        return (found > exact + 1e-9).any(1)

    return judge


def stopping(guarantee: Guarantee, sets: Tensor, exact: Tensor, draws: int) -> Judge:
    """Decide at just beyond the exact radius of the alternative that the selection likes."""

    def judge(vote: Drawn, runs: int, alpha: float) -> Tensor:
        selection = vote.drawn(runs, 100)
        many = sets.expand(runs, -1, -1)
        best = chosen(selection, many).view(-1, 1, 1).expand(-1, 1, sets.shape[2])
        radius = float(exact.max()) + HAIR
        sampling = Sampling(radii=(radius,), alpha=alpha, n_certify=draws)
        images = torch.zeros(runs, 1)
        found = decide(vote, images, selection, many.gather(1, best), guarantee, sampling)
        return found.radius > 0

    return judge


def tolerant(guarantee: Guarantee, sets: Tensor, exact: Tensor, draws: int) -> Judge:
    """Full radii with a tolerance."""

    def judge(vote: Drawn, runs: int, alpha: float) -> Tensor:
        found, _, _ = radii_within(
            vote,
            torch.zeros(runs, 1),
            sets.expand(runs, -1, -1),
            guarantee,
            Sampling(tolerance=0.2, alpha=alpha, n_certify=draws),
        )
        return (found > exact + 1e-9).any(1)

    return judge


def by_majority(guarantee: Guarantee, probabilities: list[float], draws: int) -> Judge:
    """The rule majority, one fraction each."""
    probability = probabilities[0] if isinstance(guarantee, Local) else 1 - probabilities[1]
    exact = torch.special.ndtri(torch.tensor(probability, dtype=torch.float64)).item()
    sets = guarantee.sets(torch.tensor([[0.6, 0.1, 0.3]], dtype=torch.float64))

    def judge(vote: Drawn, runs: int, alpha: float) -> Tensor:
        many = sets.expand(runs, -1, -1)
        counts = vote.drawn(runs, draws)
        found, _ = radii_from_counts(counts, many, guarantee, 1.0, alpha, rule="majority")
        return found[:, 0] > exact + 1e-9

    return judge


def of_scores(bound: str, draws: int, random: np.random.Generator) -> Judge:
    """Scores Phi(z + c), z standard normal: a shift moves c, and all bounds are known."""
    shift, centre = 0.4, -0.5
    fine = torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    weight = torch.exp(-(fine**2) / 2) / math.sqrt(2 * math.pi) * (fine[1] - fine[0])
    ndtr = torch.special.ndtr
    ends = [(weight * ndtr(fine + centre + move)).sum().item() for move in (-shift, shift)]
    median = [
        ndtr(torch.tensor(centre + move, dtype=torch.float64)).item() for move in (-shift, shift)
    ]

    def judge(vote: Drawn, runs: int, alpha: float) -> Tensor:
        del vote
        false = []
        for part in torch.arange(runs).split(2_000):
            drawn = torch.from_numpy(random.standard_normal((len(part), draws))) + centre
            counts = histogram(ndtr(drawn), 200)
            if bound == "quantile":
                low, high = quantile_bounds(counts, 0.5, shift, alpha / 2)
                false.append((low > median[0]) | (high < median[1]))
                continue
            turn = mean_bounds if bound == "mean" else distribution_bounds
            low, high = turn(counts, shift, alpha / 2)
            false.append((low > ends[0]) | (high < ends[1]))
        return torch.cat(false)

    return judge


def over_a_grid(radii: int) -> Judge:
    """Attack a label that ties: a row errs where a test at any radius or bisection step fires."""
    own = torch.tensor([[[True, False]]])

    def judge(vote: Drawn, runs: int, alpha: float) -> Tensor:
        smoothed = Smoothed(vote, search=VoteSearch(n_choose=100, n_confirm=400, alpha=alpha))
        how, images = smoothed.for_radii(radii).search, torch.zeros(runs, 1)
        sets = own.expand(runs, 1, 2)
        tests = radii + smoothed.bisection_steps
        return torch.stack(
            [vote_fails(vote, images, sets, Local(), how, test) for test in range(tests)]
        ).any(0)

    return judge


def of_many_images(different: int, each: float, random: np.random.Generator) -> Judge:
    """Claim how many of these images hold where none does; each is there many times, and once."""

    def judge(vote: Drawn, runs: int, alpha: float) -> Tensor:
        del vote
        claimed, limit = random.binomial(different, each, size=runs), min(different, 30)
        bounds = [robust_images(int(count), different, each, alpha) for count in range(limit + 1)]
        return torch.from_numpy(np.array(bounds)[np.minimum(claimed, limit)] > 0)

    return judge


def of_few_values(size: int, fraction: float, random: np.random.Generator) -> Judge:
    """Bound the mean of a few values that are 0 or 2, as label uncertainty may be."""

    @cache
    def false(values: tuple[int, ...], alpha: float) -> bool:
        found = mean_interval(2.0 * np.array(values), alpha, low=0.0, high=2.0)
        return found.low > 2 * fraction or found.high < 2 * fraction

    def judge(vote: Drawn, runs: int, alpha: float) -> Tensor:
        del vote
        drawn = (random.random((runs, size)) < fraction).astype(int)
        return torch.tensor([false(tuple(values), alpha) for values in drawn.tolist()])

    return judge


def judges(options: Options, random: np.random.Generator) -> dict[str, tuple[list[float], Judge]]:
    """Lay out all cases: name -> probabilities and judge."""
    found: dict[str, tuple[list[float], Judge]] = {}
    for name, (probabilities, guarantee) in CASES.items():
        sets, exact = truth(probabilities, guarantee)
        found[f"fixed: {name}"] = probabilities, fixed(guarantee, sets, exact, 300)
        judge = stopping(guarantee, sets, exact, options.draws)
        found[f"group-sequential: {name}"] = probabilities, judge
        found[f"tolerance: {name}"] = probabilities, tolerant(guarantee, sets, exact, options.draws)
    three = [0.6, 0.1, 0.3, 0.0]
    found["majority: local"] = three, by_majority(Local(), three, 300)
    found["majority: label or uncertain"] = three, by_majority(LabelOrUncertain(), three, 300)
    for radii in (1, 10):
        found[f"attacked at {radii} radii"] = [0.5, 0.5, 0.0], over_a_grid(radii)
    for different in (20, 1000):
        found[f"{different} images, repeated"] = (
            [1.0, 0.0],
            of_many_images(different, 1e-3, random),
        )
    for size in (1, 2, 3, 5, 10):
        found[f"mean of {size} values"] = [1.0, 0.0], of_few_values(size, 0.3, random)
    for bound in ("mean", "distribution", "quantile"):
        found[f"score: {bound}, both sides"] = [1.0, 0.0], of_scores(bound, 200, random)
    return found


def main(options: Options) -> None:
    """Count false claims."""
    random = np.random.default_rng(options.seed)
    broken = 0
    for name, (probabilities, judge) in judges(options, random).items():
        if options.only not in name:
            continue
        began, false = time.perf_counter(), 0
        vote = Drawn(probabilities, random)
        for first in range(0, options.runs, PART):
            false += int(judge(vote, min(PART, options.runs - first), options.alpha).sum())
        rate = false / options.runs
        least = lower_bound(torch.tensor([float(false)]), options.runs, 1e-3).item()
        holds = least <= options.alpha
        broken += not holds
        print(f"{name:46} {rate:.5f}  {'holds' if holds else 'BROKEN'}", flush=True)
        row = {"case": name, "runs": options.runs, "alpha": options.alpha, "rate": rate}
        row |= {"least": least}
        row |= {"holds": holds, "seed": options.seed}
        rows.append("levels", row | {"seconds": round(time.perf_counter() - began, 2)})
    print(f"{broken} broken")


if __name__ == "__main__":
    main(tyro.cli(Options))
