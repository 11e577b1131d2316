"""Attacks against certified points: none may succeed, and a planted wrong certificate must fall.

    python benchmarks/soundness.py --trials 100000

Certified points of Lipschitz nets on digits, dense and convolutional, for every guarantee and both
norms, and of the same nets when they reject (GloRo's bottom), each attacked just inside its own
certified radius from fresh random starts; then radii three times too large, as a check that these
attacks do find what is there. At last the models made to be certified falsely
(`tests/certify/test_adversarial_models.py`), in several draws of their weights: how many get a
certificate, and how many of these fall.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import rows
import torch
import tyro
from torch import nn

from surefoot import Affinity, Local, RelaxedTopK, Threat, TopK, Training, build, fit, load
from surefoot.attacks import break_sets
from surefoot.certify import lipschitz, smoothing
from surefoot.guarantees import Guarantee, LabelOrUncertain
from surefoot.progress import track
from surefoot.training import make_recipe

sys.path.append(str(Path(__file__).parents[1] / "tests" / "certify"))
import test_adversarial_models as adversarial

GUARANTEES = (Local(), TopK(2), RelaxedTopK(3), Affinity(((0, 6, 8), (1, 7), (3, 5, 9))))
SELECTIVE = (Local(), LabelOrUncertain())
REJECT_AT = 0.2
GROUP = 50


@dataclass(frozen=True)
class Options:
    """How much.

    Args:
        trials: attacks inside certified radii, all guarantees and norms together.
        planted: attacks on the wrong radii.
        steps: of each search.
        draws: of the weights of each adversarial model.
        folder: of the net.
    """

    trials: int = 100_000
    planted: int = 2_000
    steps: int = 20
    draws: int = 20
    folder: Path = Path("runs/bench-soundness")


NETS = {
    "dense": {"name": "lipschitz-mlp", "inputs": 64, "hidden": (64, 64)},
    "convolutional": {"name": "lipnext", "planes": 1, "size": 8, "width": 32, "depth": 4},
}


def nets_of(folder: Path) -> list[tuple[nn.Module, Guarantee]]:
    """Train the nets, or read them back: each with every guarantee that it can have."""
    found = []
    for name, net in NETS.items():
        torch.manual_seed(0)
        model = build(**net)
        training = Training(epochs=30, batch_size=64, learning_rate=3e-3)
        fit(
            model,
            load("digits", "train"),
            make_recipe("standard"),
            folder / name,
            training=training,
        )
        model = model.eval().requires_grad_(False)
        selective = lipschitz.gloro(model, REJECT_AT, (1, 8, 8)).requires_grad_(False)
        found += [(model, guarantee) for guarantee in GUARANTEES]
        found += [(selective, guarantee) for guarantee in SELECTIVE]
    return found


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


def run(
    nets: list[tuple[nn.Module, Guarantee]],
    images: torch.Tensor,
    budget: int,
    factor: float,
    steps: int,
) -> dict:
    """Attack for all nets, guarantees and norms, seed after seed, until the budget is spent."""
    kinds = [(*net, norm) for net in nets for norm in ("l2", "linf")]
    trials = successes = seed = 0
    while trials < budget:
        label = f"radius x {factor:g}, seed {seed}"
        for model, guarantee, norm in track(kinds, label, len(kinds)):
            more = attacks(model, images, guarantee, norm, factor, seed, steps)
            trials, successes = trials + more[0], successes + more[1]
        seed += 1
    return {"factor": factor, "trials": trials, "successes": successes, "seeds": seed}


def adversaries(draws: int) -> dict[str, dict[str, int]]:
    """Certify each model of the catalogue in several draws, and break what is certified."""
    kinds = {**adversarial.CATALOGUE, "flushed": adversarial.FLUSHED}
    found = {}
    for kind, cases in kinds.items():
        breaks = adversarial.broken_when_flushed if kind == "flushed" else adversarial.broken
        counts = {"models": len(cases), "draws": draws, "certified": 0, "broken": 0}
        for name in track(list(cases), f"adversarial models: {kind}", len(cases)):
            for draw in range(draws):
                torch.manual_seed(draw)
                case = cases[name]()
                case.model.eval()
                try:
                    radius = lipschitz.certify(case.model, case.images, guarantee=Local()).radius
                except ValueError:
                    continue
                counts["certified"] += int((radius > 0).any())
                counts["broken"] += int(breaks(case, radius))
        found[kind] = counts
    return found


def votes(draws: int) -> dict[str, dict[str, int]]:
    """Certify smoothed nets whose rows are not independent, or that read the last bits."""
    found = {}
    kinds = {"shared draws": adversarial.SHARED_DRAWS, "other rows": adversarial.OTHER_ROWS}
    for kind, cases in kinds.items():
        counts = {"models": len(cases), "draws": draws, "certified": 0, "broken": 0}
        for function in cases.values():
            for draw in range(draws):
                images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(draw))
                model, how = adversarial.Whole(function), {"sigma": 0.25, "n_certify": 200}
                try:
                    smoothing.certify(model, images, guarantee=Local(), seed=draw, **how)
                except ValueError:
                    continue
                counts["certified"] += 1  # none of these has a true radius
                counts["broken"] += 1
        found[kind] = counts
    flips = [adversarial.flip_breaks(name) for name in adversarial.FLIPS]
    certified, broken = (sum(part) for part in zip(*flips, strict=True))
    found["last bits, levels 255"] = {
        "models": len(flips),
        "draws": 1,
        "certified": certified,
        "broken": broken,
    }
    return found


def main(options: Options) -> None:
    """Run all of it, or with --trials 0 the adversarial models alone."""
    torch.set_num_threads(1)
    row: dict = {"steps": options.steps, "seed": 0}
    if options.trials:
        nets, splits = nets_of(options.folder), ("test", "train")
        images = torch.cat([load("digits", split).batch(slice(None))[0] for split in splits])
        row["sound"] = run(nets, images, options.trials, 1 - 1e-6, options.steps)
        row["planted"] = run(nets, images[:250], options.planted, 3.0, options.steps)
    row["adversarial"] = adversaries(options.draws) | votes(options.draws)
    rows.append("soundness", row)
    print(row)


if __name__ == "__main__":
    main(tyro.cli(Options))
