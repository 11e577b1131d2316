r"""Does a cheap student of a smoothed classifier save samples? The gain over its disagreement.

    python benchmarks/student.py gain
    python benchmarks/student.py level
    SUREFOOT_DATA=... python benchmarks/student.py real --teacher RUN

E[f] = E[s] + E[f - s] for the indicators f, s of "teacher (student) votes for the label": s is
counted on many samples, f - s on few others. One sequential test refutes E[f] <= p0: for every m

    e_s(m) e_d(p0 - m) >= 1 / alpha

with e-processes e_s against "E[s] = m" and e_d against "E[f - s] <= p0 - m", mixtures of bets that
no draw changes. At the true m the product is a supermartingale of mean at most 1, whatever is
drawn when (Ville), so nothing is split. e_s falls in m and e_d rises: between grid points
each is bounded by its value at the worse end.

`gain`: cost in passes of the teacher of `stats.group_sequential` over that of this test, on
simulated votes, beside the formula pq / (sqrt(pq c) + sqrt(d (1 + c)))^2 (c: cost of the student,
d: P(f != s)). `level`: runs at the null. `real`: students distilled from a teacher (a run
folder of a noise-tuned ResNet-20) under the same noise, their disagreement where decisions are
close, and what both together would gain. Rows go to results/student.jsonl.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import rows
import torch
import tyro
from torch import Tensor

from surefoot.data import load
from surefoot.models import build
from surefoot.models.io import load as load_run
from surefoot.stats import group_sequential, looks_of, lower_bound

BETS = 2.0 ** torch.arange(-7, 6, dtype=torch.float64)
"""Of the mixtures: for values of variance 1/4 to such that nearly never differ."""
SAFE = 0.999
PLACES = 400
"""Of m."""
ALLOCATIONS = (2, 5, 10, 20, 40)
"""Samples of the student alone for each pair."""


@dataclass(frozen=True)
class Gain:
    """Simulate votes.

    Args:
        alpha: level.
        draws: most samples of the teacher.
        cost: of a pass of the student, in passes of the teacher.
        runs: a case.
        seed: of the draws.
    """

    alpha: float = 1e-3
    draws: int = 100_000
    cost: float = 1 / 15
    runs: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Level:
    """Simulate runs at the null.

    Args:
        alpha: level.
        runs: a case.
        looks: of each run.
        seed: of the draws.
    """

    alpha: float = 0.01
    runs: int = 200_000
    looks: int = 12
    seed: int = 0


@dataclass(frozen=True)
class Real:
    """Distil students and measure.

    Args:
        teacher: run folder of a classifier of CIFAR-10 trained with noise.
        sigma: of the noise.
        widths: of the students, ResNet-20 as the teacher (width 16).
        train: images that the students learn on.
        epochs: of that.
        images: test images that are measured.
        draws: noise samples of each.
        seed: of everything.
    """

    teacher: Path
    sigma: float = 0.25
    widths: tuple[int, ...] = (4, 8)
    train: int = 10_000
    epochs: int = 8
    images: int = 100
    draws: int = 500
    seed: int = 0


def log_evidence(values: Tensor, counts: Tensor, means: Tensor) -> Tensor:
    r"""Return log e-values of "the mean is at most m", `[B, M]`, from counts `[B, J]` of values.

    $$ \frac{1}{K} \sum_k \prod_j (1 + \lambda_k(m) (v_j - m))^{n_j}, \quad
       \lambda_k(m) = \min(\lambda_k, c / m) $$
    Values and means lie in [0, 1]; it falls in m.
    """
    bets = torch.minimum(BETS.unsqueeze(0), SAFE / means.clamp(min=1e-12).unsqueeze(1))  # [M, K]
    gains = torch.log1p(bets.unsqueeze(2) * (values - means.unsqueeze(1)).unsqueeze(1))  # [M, K, J]
    return (gains.flatten(0, 1) @ counts.double().T).unflatten(0, bets.shape).logsumexp(
        1
    ).T - np.log(len(BETS))


def refuted(alone: Tensor, pairs: Tensor, null: float, alpha: float) -> Tensor:
    """Return for which runs "E[f] <= null" is refuted.

    Args:
        alone: `[B, 2]`, how often the student did not vote for the label, and did.
        pairs: `[B, 3]`, how often f - s was -1, 0, 1.
        null: p0.
        alpha: level.
    """
    places = torch.linspace(0, 1, PLACES + 1, dtype=torch.float64)
    binary, ternary = torch.tensor([0.0, 1.0]).double(), torch.tensor([0.0, 0.5, 1.0]).double()
    of_student = log_evidence(binary, alone, places)
    # E[f - s] <= null - m, moved to [0, 1]; outside of [-1, 1] nothing is left to refute.
    shifted = (null - places + 1) / 2
    of_pairs = log_evidence(ternary, pairs, shifted.clamp(0, 1))
    worst = of_student[:, 1:] + of_pairs[:, :-1]
    return worst.amin(1) >= np.log(1 / alpha) + 1e-9


def drawn(
    random: np.random.Generator, probability: float, disagreement: float, draws: int, runs: int
) -> tuple[Tensor, Tensor]:
    """Draw counts of the student, and of pairs: the student is right as often as the teacher."""
    half = disagreement / 2
    ones = random.binomial(draws, probability, runs)
    pairs = random.multinomial(draws, [half, 1 - disagreement, half], runs)
    return torch.tensor(np.stack([draws - ones, ones], 1)), torch.tensor(pairs)


Case = tuple[float, float, float]
"""P(f), the null, P(f != s)."""


def student_cost(case: Case, options: Gain, random: np.random.Generator) -> tuple[float, float]:
    """Return the mean cost until the null is refuted, and the fraction of runs that never do.

    By the best of `ALLOCATIONS`, chosen on the same runs: that flatters the student.
    """
    return min(_student_cost(case, ratio, options, random) for ratio in ALLOCATIONS)


def _student_cost(
    case: Case, ratio: int, options: Gain, random: np.random.Generator
) -> tuple[float, float]:
    probability, null, disagreement = case
    alone = torch.zeros(options.runs, 2, dtype=torch.long)
    pairs = torch.zeros(options.runs, 3, dtype=torch.long)
    cost, open_, seen = np.zeros(options.runs), np.arange(options.runs), 0
    for look in looks_of(options.draws):
        fresh, seen = look - seen, look
        alone[open_] += drawn(random, probability, disagreement, fresh * ratio, len(open_))[0]
        pairs[open_] += drawn(random, probability, disagreement, fresh, len(open_))[1]
        cost[open_] += fresh * (ratio * options.cost + 1 + options.cost)
        done = refuted(alone[open_], pairs[open_], null, options.alpha).numpy()
        open_ = open_[~done & (cost[open_] < options.draws)]
        if not len(open_):
            break
    return float(cost.mean()), len(open_) / options.runs


def plain_cost(case: Case, options: Gain, random: np.random.Generator) -> tuple[float, float]:
    """Return the same of the group-sequential test of the teacher alone."""
    probability, null, _ = case
    boundary = group_sequential(null, options.alpha, options.draws)
    counts, cost = np.zeros(options.runs, int), np.zeros(options.runs)
    open_, seen = np.arange(options.runs), 0
    lost = 0
    for look, accept, give_up in zip(
        boundary.looks, boundary.accept, boundary.give_up, strict=True
    ):
        counts[open_] += random.binomial(look - seen, probability, len(open_))
        cost[open_], seen = look, look
        hopeless = counts[open_] <= give_up
        lost += int(hopeless.sum())
        open_ = open_[(counts[open_] < accept) & ~hopeless]
        if not len(open_):
            break
    return float(cost.mean()), lost / options.runs


def gain(options: Gain) -> None:
    """Print and store the gain of each case."""
    random = np.random.default_rng(options.seed)
    for probability, null in ((0.8, 0.7), (0.9, 0.84), (0.95, 0.92), (0.99, 0.98)):
        for disagreement in (0.0, 0.003, 0.01, 0.03, 0.1):
            case = probability, null, disagreement
            (plain, lost), (ours, missed) = (
                cost(case, options, random) for cost in (plain_cost, student_cost)
            )
            spread = probability * (1 - probability)
            own = np.sqrt(disagreement * (1 + options.cost))
            formula = spread / (np.sqrt(spread * options.cost) + own) ** 2
            row = {"probability": probability, "null": null, "disagreement": disagreement}
            row |= {"cost of the student": options.cost, "formula": formula, "gain": plain / ours}
            row |= {"plain": plain, "student": ours, "lost": lost, "missed": missed}
            rows.append("student", {"part": "gain", **row})
            print(
                f"p {probability} null {null} d {disagreement:<5}: plain {plain:7.0f}, student"
                f" {ours:7.0f}: {plain / ours:5.2f} times (formula {formula:5.2f}); missed"
                f" {missed:.3f}",
                flush=True,
            )


def level(options: Level) -> None:
    """Count false refutations at the null."""
    random = np.random.default_rng(options.seed)
    for null, disagreement, ratio in ((0.9, 0.03, 5), (0.7, 0.2, 3), (0.98, 0.01, 10)):
        false = 0
        for runs in [5_000] * (options.runs // 5_000):
            alone = torch.zeros(runs, 2, dtype=torch.long)
            pairs = torch.zeros(runs, 3, dtype=torch.long)
            refused, seen = torch.zeros(runs, dtype=torch.bool), 0
            for look in looks_of(10**6)[: 3 * options.looks : 3]:
                fresh, seen = look - seen, look
                alone += drawn(random, null, disagreement, fresh * ratio, runs)[0]
                pairs += drawn(random, null, disagreement, fresh, runs)[1]
                refused |= refuted(alone, pairs, null, options.alpha)
            false += int(refused.sum())
        runs = 5_000 * (options.runs // 5_000)
        low = lower_bound(torch.tensor([float(false)]), runs, 1e-3).item()
        row = {"null": null, "disagreement": disagreement, "alpha": options.alpha}
        rows.append("student", {"part": "level", **row, "runs": runs, "false": false, "low": low})
        print(f"null {null} d {disagreement}: {false} of {runs:,}, alpha {options.alpha}")
        assert low <= options.alpha
    return None


def real(options: Real) -> None:
    """Distil, and measure disagreement on the label that the teacher's vote gives."""
    teacher = load_run(options.teacher)
    torch.manual_seed(options.seed)
    images = load("cifar10", "train").batch(slice(0, options.train))[0]
    tested = load("cifar10").batch(slice(0, options.images))[0]
    samples = _votes(teacher, tested, options)
    seconds = _seconds(teacher, tested)
    for width in options.widths:
        config = {**teacher.config, "width": width}
        student = _distilled(build(**config), teacher, images, options)
        cost = _seconds(student, tested) / seconds
        votes = _votes(student, tested, options)
        label = samples.mode(1).values.unsqueeze(1)
        f, s = (samples == label).double(), (votes == label).double()
        p, d = f.mean(1), (f != s).double().mean(1)
        spread = p * (1 - p)
        formula = spread / ((spread * cost).sqrt() + (d * (1 + cost)).sqrt()) ** 2
        close = (p > 0.6) & (p < 0.995)
        row = {"width": width, "cost": cost, "images": options.images, "close": int(close.sum())}
        row |= {"agreement": (samples == votes).double().mean().item()}
        row |= {"disagreement": d[close].mean().item(), "pq": spread[close].mean().item()}
        row |= {f"gain {q}": formula[close].quantile(q).item() for q in (0.5, 0.9, 1.0)}
        rows.append("student", {"part": "real", **row})
        print(row)


def _distilled(
    student: torch.nn.Module, teacher: torch.nn.Module, images: Tensor, options: Real
) -> torch.nn.Module:
    """Train the student on the teacher's distribution for the same noisy images."""
    optimizer = torch.optim.Adam(student.parameters(), 3e-3)
    steps = options.epochs * (len(images) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    student.train()
    for _ in range(options.epochs):
        for index in torch.randperm(len(images))[: len(images) // 128 * 128].split(128):
            noisy = images[index] + options.sigma * torch.randn_like(images[index])
            with torch.no_grad():
                target = teacher(noisy).softmax(1)
            loss = torch.nn.functional.cross_entropy(student(noisy), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return student.eval()


def _votes(net: torch.nn.Module, images: Tensor, options: Real) -> Tensor:
    """Return the predictions for the same noise samples, `[B, draws]`."""
    stream = torch.Generator().manual_seed(options.seed)
    found = []
    with torch.inference_mode():
        for image in images:
            noise = torch.randn(options.draws, *image.shape, generator=stream)
            parts = (image + options.sigma * noise).split(64)
            found.append(torch.cat([net(part).argmax(1) for part in parts]))
    return torch.stack(found)


def _seconds(net: torch.nn.Module, images: Tensor) -> float:
    """Return CPU seconds of passes of 64 images, the least of five."""
    batch, found = images[:64], []
    with torch.inference_mode():
        for _ in range(5):
            began = time.process_time()
            net(batch)
            found.append(time.process_time() - began)
    return min(found)


Command = (
    Annotated[Gain, tyro.conf.subcommand("gain")]
    | Annotated[Level, tyro.conf.subcommand("level")]
    | Annotated[Real, tyro.conf.subcommand("real")]
)


def main(options: Command) -> None:
    """Run one part."""
    torch.set_num_threads(1)
    if isinstance(options, Gain):
        gain(options)
    elif isinstance(options, Level):
        level(options)
    else:
        real(options)


if __name__ == "__main__":
    main(tyro.cli(Command))  # type: ignore[arg-type]
