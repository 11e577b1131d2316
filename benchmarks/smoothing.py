"""Samples per decision: sequential tests beside fixed numbers of samples, on published nets.

    SUREFOOT_DATA=... python benchmarks/smoothing.py

For each of the 14 (net, radius) pairs of `smoothing_pa_cifar10.npz` (the probabilities of the top
class of 10,000 CIFAR-10 images, from the logs of their authors), decides "radius >= r" for every
image at alpha .001 by drawing counts from its probability: our group-sequential test; the fixed
100,000 samples of the classical procedure (Cohen et al. 2019; what ART does); and four stages of
100, 1,000, 10,000 and 120,000 samples at alpha / 4 each. (E-processes that hold at any time, and
such about pairs of unknown probabilities, took more and lost more: rows of earlier runs are kept.)
Decisions lost and gained are against the fixed run. The 100 samples that select the class are not
counted. Rows go to results/smoothing.jsonl.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rows
import tyro
from scipy.special import ndtr
from scipy.stats import beta

from surefoot.stats import Boundary, group_sequential


@dataclass(frozen=True)
class Options:
    """How sure.

    Args:
        alpha: level of a decision.
        draws: most samples of an image.
        seed: of the counts.
    """

    alpha: float = 1e-3
    draws: int = 100_000
    seed: int = 0


Method = Callable[[np.ndarray, float, Options, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def sequential(
    probabilities: np.ndarray, null: float, options: Options, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Decide by our test: verdicts and samples."""
    return _tested(group_sequential(null, options.alpha, options.draws), probabilities, random)


def _tested(
    boundary: Boundary, probabilities: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    counts = np.zeros(len(probabilities), int)
    used, verdict = np.zeros(len(probabilities), int), np.zeros(len(probabilities), bool)
    alive, seen = np.arange(len(probabilities)), 0
    for look, accept, give_up in zip(
        boundary.looks, boundary.accept, boundary.give_up, strict=True
    ):
        counts[alive] += random.binomial(look - seen, probabilities[alive])
        seen, used[alive] = look, look
        verdict[alive] = counts[alive] >= accept
        alive = alive[(counts[alive] < accept) & (counts[alive] > give_up)]
    return verdict, used


def fixed(
    probabilities: np.ndarray, null: float, options: Options, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Decide by one Clopper-Pearson bound on all samples."""
    counts = random.binomial(options.draws, probabilities)
    verdict = beta.ppf(options.alpha, counts, options.draws - counts + 1) > null
    return verdict, np.full(len(probabilities), options.draws)


def stages(
    probabilities: np.ndarray, null: float, options: Options, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Decide in four stages with reused samples, alpha / 4 a stage on each side."""
    counts, used = np.zeros(len(probabilities), int), np.zeros(len(probabilities), int)
    verdict, alive, seen = np.zeros(len(probabilities), bool), np.arange(len(probabilities)), 0
    for draws in (100, 1_000, 10_000, 120_000):
        counts[alive] += random.binomial(draws - seen, probabilities[alive])
        seen, used[alive] = draws, draws
        level = options.alpha / 4
        low = beta.ppf(level, counts[alive], draws - counts[alive] + 1)
        misses = np.maximum(draws - counts[alive], 1e-9)  # 0 has no distribution, but the limit 1
        high = beta.ppf(1 - level, counts[alive] + 1, misses)
        verdict[alive] = low > null
        alive = alive[(low <= null) & (high > null)]
    return verdict, used


METHODS: dict[str, Method] = {
    "sequential": sequential,
    "fixed": fixed,
    "four stages": stages,
}


def main(options: Options) -> None:
    """Run all pairs."""
    logs = np.load(Path(os.environ["SUREFOOT_DATA"]) / "smoothing_pa_cifar10.npz")
    random = np.random.default_rng(options.seed)
    means: dict[str, list[list[float]]] = {name: [] for name in METHODS}
    for pair in logs["configurations"]:
        net, _, radius = str(pair).partition(" radius ")
        probabilities = logs[f"pa_{net}"].astype(float)
        null = float(ndtr(float(radius) / float(net.rpartition("_")[2])))
        classical, _ = fixed(probabilities, null, options, random)
        for name, method in METHODS.items():
            verdict, used = method(probabilities, null, options, random)
            lost = 100 * float((classical & ~verdict).mean())
            gained = 100 * float((~classical & verdict).mean())
            means[name].append([float(used.mean()), lost, gained])
            row = {"case": str(pair), "method": name, "alpha": options.alpha, "seed": options.seed}
            row |= {"mean_copies": float(used.mean()), "median_copies": float(np.median(used))}
            rows.append("smoothing", row | {"lost_points": lost, "gained_points": gained})
    for name, found in means.items():
        samples, lost, gained = np.mean(found, 0)
        saving = options.draws / samples
        print(
            f"{name:24} samples {samples:9.0f}  x{saving:5.1f}  lost {lost:.3f} "
            f" gained {gained:.3f}"
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
