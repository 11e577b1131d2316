"""Toys beside their targets, simplicity bias, and exact nearest neighbours of other classes.

    python benchmarks/toys.py --case suite
    python benchmarks/toys.py --case bias
    python benchmarks/toys.py --case nearest --norm linf

`suite`: the cells of `papers.toys.SUITE`, five seeds each (points and weights), one process a
core; prints means over seeds, then the targets T4, T5, T6 of issue 4. Bounds on methods other than
UDP are reported, not required. `bias`: AUC after randomising the simple or the other coordinates.
`nearest`: distances to the nearest point of another class of a whole training set; the first rows
are checked against brute force. Rows go to results/toys.jsonl.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal

import pandas as pd
import torch
import tyro
from rows import append

from surefoot import Threat, load
from surefoot.data.toys import UNIT
from surefoot.limits import nearest_other_class
from surefoot.papers.toys.simplicity import randomised_aucs
from surefoot.papers.toys.stack import Stack, fit_together
from surefoot.papers.toys.suite import BESIDE, SUITE, Cell, run
from surefoot.threat import Norm
from surefoot.training import Recipe, Training, make_recipe

CHECKED = 128


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        case: suite, bias or nearest.
        seeds: of points and weights, for `suite` and `bias`.
        processes: of `suite`, one thread each.
        beside: run the cells of `BESIDE` too, after the clock has stopped.
        data: training set, for `nearest`.
        norm: for `nearest`.
        threads: for `nearest`.
    """

    case: Literal["suite", "bias", "nearest"] = "suite"
    seeds: int = 5
    processes: int = os.cpu_count() or 1
    beside: bool = False
    data: str = "fashion-mnist"
    norm: Norm = "l2"
    threads: int = os.cpu_count() or 1


def one_cell(cell: Cell, seeds: int) -> pd.DataFrame:
    torch.set_num_threads(1)
    return run([cell], seeds=range(seeds))


def suite(options: Options) -> None:
    """Train and measure all cells."""
    began = time.perf_counter()
    frame = together(SUITE, options)
    wall = time.perf_counter() - began
    print(f"{wall:.0f} s wall, {options.processes} processes")
    if options.beside:
        frame = pd.concat([frame, together(BESIDE, options)])
    report(frame, options)
    print()
    for target in targets(frame, wall):
        print(spelt(target))
        append("toys", {"case": "target", **target, "seeds": options.seeds})


def together(cells: tuple[Cell, ...], options: Options) -> pd.DataFrame:
    """Run cells on several processes, those with a search first."""
    ordered = sorted(cells, key=lambda cell: cell.method == "standard")
    spawn = get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=spawn) as pool:
        frames = list(pool.map(one_cell, ordered, [options.seeds] * len(ordered)))
    cpu = sum(float(found["seconds"].iloc[0]) for found in frames)
    print(f"{len(cells)} cells, {cpu:.0f} s of CPU for training")
    return pd.concat(frames)


def report(frame: pd.DataFrame, options: Options) -> None:
    """Print and keep means and least values over seeds."""
    for (toy, method, eps), found in frame.groupby(["toy", "method", "eps"], sort=False):
        figures = ("accuracy", "ratio", "efficiency", "margin")
        means = {name: round(float(found[name].mean()), 4) for name in figures}
        least = {f"least_{name}": round(float(found[name].min()), 4) for name in figures}
        row = {"toy": toy, "method": method, "eps": eps, "seeds": options.seeds, **means, **least}
        print(f"{toy:16} {method:9} eps {eps:<5} " + spelt(means) + "  least " + spelt(least))
        append("toys", {"case": "suite", **row, "cpu_seconds": round(found["seconds"].mean(), 2)})


def spelt(figures: dict) -> str:
    return " ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )


def targets(frame: pd.DataFrame, wall: float) -> list[dict]:
    """Set means over seeds beside the targets."""
    means = frame.groupby(["toy", "method", "eps"])[["accuracy", "ratio", "efficiency"]].mean()

    def figure(toy: str, method: str, eps: float, name: str) -> float:
        return float(means.loc[(toy, method, eps), name])  # pyright: ignore

    def best(methods: tuple[str, ...], radii: tuple[float, ...]) -> float:
        # A wrong point makes the smallest margin negative: a good ratio implies accuracy 1.
        return max(figure("lms-5", m, eps, "ratio") for m in methods for eps in radii)

    ours = ("udp", "udpr")
    corridor, curved = ("narrow-corridor", 0.45), ("s-corridor", 0.25)
    gain = figure(curved[0], "udp-bt", curved[1], "efficiency")
    gain -= figure(curved[0], "standard", 0.0, "efficiency")
    found = [
        ("T4", "LMS-5 eps .3, best of UDP and UDPR: ratio", best(ours, (0.3,)), ">=", 0.85),
        ("T4", "LMS-5 eps .5, best of UDP and UDPR: ratio", best(ours, (0.5,)), ">=", 0.80),
        ("T4", "LMS-5, best of PGD over eps: ratio", best(("pgd",), (0.14, 0.5)), "<=", 0.82),
        ("T4", "LMS-5, TRADES over eps: ratio", best(("trades",), (0.14, 0.5)), "<=", 0.82),
        ("T4", "LMS-5 standard: ratio", best(("standard",), (0.0,)), "<=", 0.65),
        (
            "T5",
            "NC, UDP: accuracy",
            figure(corridor[0], "udp", corridor[1], "accuracy"),
            ">=",
            0.995,
        ),
        (
            "T5",
            "NC, PGD: accuracy",
            figure(corridor[0], "pgd", corridor[1], "accuracy"),
            "<=",
            0.60,
        ),
        (
            "T5",
            "S, udp-bt: accuracy",
            figure(curved[0], "udp-bt", curved[1], "accuracy"),
            ">=",
            0.98,
        ),
        ("T5", "S, udp-bt: efficiency over standard", gain, ">=", 0.04),
        ("T6", "seconds of the suite", wall, "<=", 120.0),
    ]
    rows = []
    for name, what, value, sign, bound in found:
        holds = value >= bound if sign == ">=" else value <= bound
        required = not any(other in what for other in ("PGD", "TRADES", "standard:"))
        row = {"target": name, "what": what, "value": round(value, 4), "sign": sign, "bound": bound}
        rows.append({**row, "holds": holds, "required": required})
    return rows


def bias(options: Options) -> None:
    """Train on LMS-5 in 50 dimensions and on MS-(5, 7); randomise blocks of the test points."""
    sets = {"lms-5-50d": (1, *[5] * 49), "ms-5-7": (5, 7)}
    threat = Threat("linf", 0.3 * UNIT)
    recipes: dict[str, Recipe] = {
        "standard": make_recipe("standard"),
        "pgd": make_recipe("pgd", threat=threat, steps=10, start="origin"),
        "udp": make_recipe("udp", threat=threat, steps=10),
    }
    for name, kinds in sets.items():
        first = torch.arange(len(kinds)) == 0
        train, test = load(name, "train"), load(name)
        for method, recipe in recipes.items():
            began = time.perf_counter()
            stack = Stack((len(kinds), 100, 100, 2), range(options.seeds))
            images, labels = (
                part.expand(options.seeds, *part.shape) for part in train.batch(slice(None))
            )
            training = Training(batch_size=256, learning_rate=0.01)
            fit_together(stack, images, labels, recipe, updates=800, training=training)
            blocks = {"simple": first, "others": ~first}
            found = pd.DataFrame(
                [
                    randomised_aucs(stack.net(net), *test.batch(slice(None)), blocks, seed=net)
                    for net in range(options.seeds)
                ]
            ).mean()
            row = {"data": name, "method": method, "eps": 0.3, **found.round(4).to_dict()}
            print(spelt(row))
            seconds = round(time.perf_counter() - began, 1)
            append("toys", {"case": "bias", **row, "seeds": options.seeds, "seconds": seconds})


def nearest(options: Options) -> None:
    """Measure a training set, and check its first rows."""
    torch.set_num_threads(options.threads)
    points, labels = load(options.data, "train").batch(slice(None))
    points = points.flatten(1)
    began, cpu = time.perf_counter(), time.process_time()
    found = nearest_other_class(points, labels, norm=options.norm)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    order = 2 if options.norm == "l2" else torch.inf
    for row in range(CHECKED):
        apart = torch.linalg.vector_norm(points.double() - points[row].double(), order, dim=1)
        least = apart[labels != labels[row]].min()
        assert abs(float(least) - float(found.distance[row])) <= 1e-6 * float(least)
    row = {
        "data": options.data,
        "count": len(points),
        "norm": options.norm,
        "threads": options.threads,
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "least": round(float(found.distance.min()), 4),
        "median": round(float(found.distance.median()), 4),
    }
    print(spelt(row))
    append("toys", {"case": "nearest", **row})


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    {"suite": suite, "bias": bias, "nearest": nearest}[chosen.case](chosen)
