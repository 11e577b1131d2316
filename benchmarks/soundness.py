"""Attacks against certified points: none may succeed, and a planted wrong certificate must fall.

    python benchmarks/soundness.py --trials 100000

Certified points of a Lipschitz net on digits, for every guarantee and both norms, each attacked
just inside its own certified radius from fresh random starts; then radii three times too large, as
a check that these attacks do find what is there.
"""

from dataclasses import dataclass
from pathlib import Path

import rows
import torch
import tyro
from torch import nn

from surefoot import Affinity, Local, RelaxedTopK, Threat, TopK, Training, build, fit, load
from surefoot.attacks import break_sets
from surefoot.certify import lipschitz
from surefoot.guarantees import Guarantee
from surefoot.progress import track
from surefoot.training import Standard

GUARANTEES = (Local(), TopK(2), RelaxedTopK(3), Affinity(((0, 6, 8), (1, 7), (3, 5, 9))))
GROUP = 50


@dataclass(frozen=True)
class Options:
    """How much.

    Args:
        trials: attacks inside certified radii, all guarantees and norms together.
        planted: attacks on the wrong radii.
        steps: of each search.
        folder: of the net.
    """

    trials: int = 100_000
    planted: int = 2_000
    steps: int = 20
    folder: Path = Path("runs/bench-soundness")


def net_of(folder: Path) -> nn.Module:
    """Train the net, or read it back."""
    torch.manual_seed(0)
    model = build("lipschitz-mlp", inputs=64, hidden=(64, 64))
    training = Training(epochs=30, batch_size=64, learning_rate=3e-3)
    fit(model, load("digits", "train"), Standard(), folder, training=training)
    return model.eval().requires_grad_(False)


def attacks(
    model: nn.Module,
    images: torch.Tensor,
    guarantee: Guarantee,
    norm: str,
    factor: float,
    seed: int,
    steps: int,
) -> tuple[int, int]:
    """Attack each certified example at its radius times the factor: (trials, successes).

    Examples are sorted by radius and attacked in groups at the smallest radius of the group.
    """
    found = lipschitz.certify(model, images, guarantee=guarantee)
    order = found.radius.argsort()
    order = order[found.radius[order] > 1e-4]
    trials = successes = 0
    for rows_ in order.split(GROUP):
        example = found.sets[rows_, found.alternative[rows_]].unsqueeze(1)
        radius = found.radius[rows_].amin().item() * factor
        eps = radius if norm == "l2" else radius / images[0].numel() ** 0.5
        result = break_sets(
            model, images[rows_], example, guarantee, Threat(norm, eps), seed=seed, steps=steps
        )
        trials, successes = trials + len(rows_), successes + int(result.broken.sum())
    return trials, successes


def run(model: nn.Module, images: torch.Tensor, budget: int, factor: float, steps: int) -> dict:
    """Attack for all guarantees and norms, seed after seed, until the budget is spent."""
    kinds = [(guarantee, norm) for guarantee in GUARANTEES for norm in ("l2", "linf")]
    trials = successes = seed = 0
    while trials < budget:
        for guarantee, norm in track(kinds, f"radius x {factor:g}, seed {seed}", len(kinds)):
            more = attacks(model, images, guarantee, norm, factor, seed, steps)
            trials, successes = trials + more[0], successes + more[1]
        seed += 1
    return {"factor": factor, "trials": trials, "successes": successes, "seeds": seed}


def main(options: Options) -> None:
    """Run both."""
    torch.set_num_threads(1)
    model = net_of(options.folder)
    images = torch.cat([load("digits", split).batch(slice(None))[0] for split in ("test", "train")])
    sound = run(model, images, options.trials, 1 - 1e-6, options.steps)
    planted = run(model, images[:250], options.planted, 3.0, options.steps)
    row = {"sound": sound, "planted": planted, "steps": options.steps, "seed": 0}
    rows.append("soundness", row)
    print(row)


if __name__ == "__main__":
    main(tyro.cli(Options))
