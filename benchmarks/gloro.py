"""Certified sets of small nets: digits, blended digits and crescents, each within seconds.

    python benchmarks/gloro.py
    python benchmarks/gloro.py --cases digits-0.5 --splits 1

Every net is trained by `surefoot.fit` on its own split and judged by the sound certificate
(`certify.lipschitz.certify`, in float64: the estimate of training plays no part). Digits are split
70/30 by the seed, blends are made within the parts; crescents are two draws. Prints a line and
appends a row a case to results/gloro.jsonl: means over the splits. One thread.

local: the label is the best and certified alone; strict: the label lies in the smallest certified
set; relaxed: in the largest. Sets count in `set_size` (smallest certified) and `rejected` (none).
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import rows
import torch
import tyro
from torch import nn

from surefoot import Local, RelaxedTopK, Training, build, fit, load
from surefoot.certify import lipschitz
from surefoot.data import Data
from surefoot.data.blended import blended
from surefoot.data.toys import CRESCENT_UNIT, crescents
from surefoot.guarantees import Guarantee
from surefoot.training import PRESETS, GloRo, Recipe

TEST = 540
"""Digits held out: 30 % of 1,797."""


@dataclass(frozen=True)
class Case:
    """Data of a seed, radius, net, recipe, and what must be reached."""

    data: Callable[[int], tuple[Data, Data]]
    eps: float
    net: dict
    recipe: Recipe
    training: Training
    target: dict[str, float]


def digits(seed: int) -> tuple[Data, Data]:
    """Split all digits 70/30."""
    parts = [load("digits", split) for split in ("train", "test")]
    images, labels = (
        torch.cat([getattr(part, key) for part in parts]) for key in ("images", "labels")
    )
    test, train = replace(parts[0], images=images, labels=labels).split(TEST, seed)
    return train, test


def blends(seed: int) -> tuple[Data, Data]:
    """Blend within each part."""
    train, test = digits(seed)
    return blended(train, seed=2 * seed), blended(test, seed=2 * seed + 1)


def arcs(seed: int) -> tuple[Data, Data]:
    """Draw crescents twice."""
    return crescents(seed=2 * seed), crescents(seed=2 * seed + 1)


DENSE = {"name": "lipschitz-mlp", "unit_rows": True}
DIGITS = DENSE | {"inputs": 64, "hidden": (256, 128), "scale": 8.0}
CRESCENTS = DENSE | {"inputs": 2, "hidden": (100, 100), "classes": 4, "scale": 50.0}
CASES = {
    "digits-0.141": Case(
        digits, 0.141, DIGITS, GloRo(eps=0.141), PRESETS["gloro-digits"], {"local": 0.94}
    ),
    "digits-0.5": Case(
        digits, 0.5, DIGITS, GloRo(eps=0.5), PRESETS["gloro-digits"], {"local": 0.70}
    ),
    "blended-digits-0.25": Case(
        blends,
        0.25,
        DIGITS,
        GloRo(RelaxedTopK(2), eps=0.25, eps_to=1.3),
        PRESETS["gloro-digits"],
        {"relaxed": 0.82, "strict": 0.80},
    ),
    "crescents-0.2": Case(
        arcs,
        0.2 * CRESCENT_UNIT,
        CRESCENTS,
        GloRo(RelaxedTopK(2), eps=0.2 * CRESCENT_UNIT),
        PRESETS["gloro-crescents"],
        {"relaxed": 0.99, "strict": 0.98},
    ),
}


@dataclass(frozen=True)
class Options:
    """What to run.

    Args:
        cases: names.
        splits: seeds 0, 1, ... of data and weights.
    """

    cases: tuple[str, ...] = tuple(CASES)
    splits: int = 5


def figures(model: nn.Module, data: Data, eps: float, guarantee: Guarantee) -> dict[str, float]:
    """Certify, and count."""
    images, labels = data.batch(slice(None))
    model, images = model.double(), images.double()
    index = torch.arange(len(data))
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    alone = lipschitz.certify(model, images, guarantee=Local()).radius > eps
    found = lipschitz.certify(model, images, guarantee=guarantee)
    sets = found.sets & (found.radii > eps).unsqueeze(2)
    certified = sets.any(2)
    smallest = sets[index, certified.float().argmax(1)]
    held = sets[index, :, labels]
    return {
        "accuracy": share(right),
        "local": share(right & alone),
        "strict": share(smallest[index, labels]),
        "relaxed": share(held.any(1)),
        "set_size": smallest.sum(1)[certified.any(1)].double().mean().item(),
        "rejected": share(~certified.any(1)),
    }


def share(flags: torch.Tensor) -> float:
    """Give the share of true flags."""
    return flags.double().mean().item()


def once(case: Case, seed: int) -> dict[str, float]:
    """Train and judge on one split."""
    train, test = case.data(seed)
    torch.manual_seed(seed)
    model = build(**case.net)
    began, wall = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fit(model, train, case.recipe, folder, training=replace(case.training, seed=seed))
    seconds = {
        "cpu_seconds": time.process_time() - began,
        "seconds": time.perf_counter() - wall,
    }
    guarantee = getattr(case.recipe, "guarantee", Local())
    return figures(model, test, case.eps, guarantee) | seconds


def main(options: Options) -> None:
    """Run the cases."""
    torch.set_num_threads(1)
    once(replace(CASES["digits-0.5"], training=Training(epochs=1)), 0)  # imports and caches
    for name in options.cases:
        case = CASES[name]
        runs = [once(case, seed) for seed in range(options.splits)]
        mean = {key: sum(run[key] for run in runs) / len(runs) for key in runs[0]}
        print(name, *(f"{key} {value:.3f}" for key, value in mean.items()), flush=True)
        missed = {key: least for key, least in case.target.items() if mean[key] < least}
        print("  target", case.target, "missed" if missed else "reached")
        settings = {"net": case.net, "recipe": asdict(case.recipe), "eps": case.eps}
        row = {"case": name, "mean": mean, "runs": runs, "target": case.target, **settings}
        rows.append("gloro", row | {"training": asdict(case.training), "threads": 1})


if __name__ == "__main__":
    main(tyro.cli(Options))
