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
from surefoot.training import PRESETS, Recipe, make_recipe
from surefoot.training.recipes import described

TEST = 540
"""Digits held out: 30 % of 1,797."""


@dataclass(frozen=True)
class Case:
    """Data of a seed, guarantee, radius, net, recipe, and what must be reached."""

    data: Callable[[int], tuple[Data, Data]]
    guarantee: Guarantee
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
CRESCENTS = DENSE | {"inputs": 2, "hidden": (24, 24), "classes": 4, "scale": 800.0}
WIDE = CRESCENTS | {"hidden": (100, 100), "scale": 100.0}
NEAR = 0.2 * CRESCENT_UNIT
PAIRS = RelaxedTopK(2)
SMALL, PLANE = PRESETS["gloro-digits"], PRESETS["gloro-crescents"]
BLENDED_TARGET = {"relaxed": 0.82, "strict": 0.80}
CRESCENTS_TARGET = {"relaxed": 0.99, "strict": 0.98}
ORTHOGONAL = DIGITS | {"scale": 4.0}
FREE = {"name": "gloro-mlp", "inputs": 64, "hidden": (128, 128)}
CASES = {
    "digits-0.141": Case(
        digits, Local(), 0.141, DIGITS, make_recipe("gloro", eps=0.141), SMALL, {"local": 0.94}
    ),
    "digits-0.5": Case(
        digits, Local(), 0.5, DIGITS, make_recipe("gloro", eps=0.5), SMALL, {"local": 0.70}
    ),
    "digits-0.5-free": Case(
        digits,
        Local(),
        0.5,
        FREE,
        make_recipe("gloro", eps=0.5, form="emma"),
        SMALL,
        {"local": 0.70},
    ),
    "digits-0.5-standard": Case(
        digits, Local(), 0.5, ORTHOGONAL, make_recipe("standard"), SMALL, {"local": 0.70}
    ),
    "blended-0.25": Case(
        blends,
        PAIRS,
        0.25,
        DIGITS,
        make_recipe("gloro", guarantee=PAIRS, eps=0.25, eps_to=1.3),
        SMALL,
        BLENDED_TARGET,
    ),
    "blended-0.25-local": Case(
        blends,
        PAIRS,
        0.25,
        DIGITS,
        make_recipe("gloro", eps=0.25, eps_to=1.3),
        SMALL,
        BLENDED_TARGET,
    ),
    "crescents-0.2": Case(
        arcs,
        PAIRS,
        NEAR,
        CRESCENTS,
        make_recipe("gloro", guarantee=PAIRS, eps=NEAR, leniency=1.0),
        PLANE,
        CRESCENTS_TARGET,
    ),
    "crescents-0.2-wide": Case(
        arcs,
        PAIRS,
        NEAR,
        WIDE,
        make_recipe("gloro", guarantee=PAIRS, eps=NEAR),
        PLANE,
        CRESCENTS_TARGET,
    ),
    "crescents-0.2-local": Case(
        arcs, PAIRS, NEAR, WIDE, make_recipe("gloro", eps=NEAR), PLANE, CRESCENTS_TARGET
    ),
}
"""Names without an addition are what we ship; the others show what its parts are worth: free
layers, no certified loss, no leniency, training for the label alone."""


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
        "accuracy": fraction(right),
        "local": fraction(right & alone),
        "strict": fraction(smallest[index, labels]),
        "relaxed": fraction(held.any(1)),
        "set_size": smallest.sum(1)[certified.any(1)].double().mean().item(),
        "rejected": fraction(~certified.any(1)),
    }


def fraction(flags: torch.Tensor) -> float:
    """Give the fraction of true flags."""
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
    return figures(model, test, case.eps, case.guarantee) | seconds


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
        settings = {"net": case.net, "recipe": described(case.recipe), "eps": case.eps}
        row = {"case": name, "mean": mean, "runs": runs, "target": case.target, **settings}
        rows.append("gloro", row | {"training": asdict(case.training), "threads": 1})


if __name__ == "__main__":
    main(tyro.cli(Options))
