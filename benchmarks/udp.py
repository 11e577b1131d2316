"""The cost of training on perturbations: the inner loop, and epochs beside ART's trainers.

    python benchmarks/udp.py --case loop
    python benchmarks/udp.py --case trainers

`loop`: our UDP and PGD against the style of the authors' repository, restated here from its
description: every step differentiates with respect to the weights too, every example goes to the
last step. Same net, batch, step counts; the two run in turn, and the least CPU time of each
counts. `trainers`: one epoch of the same net, batch size and attack in surefoot and in ART (extra
`bench`). One thread. Prints a line and appends one JSON row a case to results/udp.jsonl.
"""

import json
import platform
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import nn

from surefoot import Threat, Training, __version__, build, fit, load, pgd, udp
from surefoot.data import Data
from surefoot.training import make_recipe

RESULTS = Path(__file__).parent / "results" / "udp.jsonl"


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        case: loop or trainers.
        data: training images; the net is warmed up on the first of them.
        count: of training images, for `trainers`.
        batch_size: images a step.
        steps: largest number of steps.
        eps: linf radius of UDP; PGD and TRADES take 0.4 times as much, as in the paper.
        repeats: of each loop.
        seed: of weights, order and step counts.
    """

    case: Literal["loop", "trainers"] = "loop"
    data: str = "fashion-mnist"
    count: int = 5000
    batch_size: int = 256
    steps: int = 20
    eps: float = 0.5
    repeats: int = 15
    seed: int = 0


def reference_style(model, images, labels, counts, eps, step_size, steps):
    """Restate the repository's loop: all gradients, all samples, box clamp before ball clamp."""
    offset = torch.zeros_like(images)
    for index in range(steps):
        offset.requires_grad_(True)
        outcomes = model((images + offset).clamp(0, 1))
        if labels is None:
            fractions = outcomes.softmax(1)
            goal = -(fractions * fractions.log()).sum(1).mean()
        else:
            goal = nn.functional.cross_entropy(outcomes, labels)
        goal.backward()
        with torch.no_grad():
            going = (counts > index).view(-1, 1, 1, 1)
            offset = offset + step_size * offset.grad.sign() * going
            offset = (images + offset).clamp(0, 1) - images
            offset = offset.clamp(-eps, eps)
    model.zero_grad()
    return images + offset


def timed(run):
    """Give the result and its CPU seconds."""
    began = time.process_time()
    result = run()
    return result, time.process_time() - began


def net_of(options: Options) -> nn.Module:
    torch.manual_seed(options.seed)
    return build("lenet")


def loop(options: Options) -> list[dict]:
    """Time both loops in turn."""
    data = load(options.data, "train").first(options.count)
    model = net_of(options)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            data,
            make_recipe("standard"),
            folder,
            training=Training(epochs=2, batch_size=128),
        )
    images, labels = data.batch(slice(0, options.batch_size))
    rows = []
    for method, eps in (("udp", options.eps), ("pgd", 0.4 * options.eps)):
        threat, step_size = Threat("linf", eps), eps / options.steps
        known = None if method == "udp" else labels

        def draw():
            return torch.Generator().manual_seed(options.seed)

        counts = torch.randint(1, options.steps + 1, (len(images),), generator=draw())
        if method == "pgd":
            counts = torch.full_like(counts, options.steps)
        how = {"threat": threat, "steps": options.steps, "step_size": step_size}

        def ours(known=known, how=how, draw=draw):
            if known is None:
                return udp(model, images, **how, generator=draw())
            return pgd(model, images, known, **how)

        def theirs(known=known, counts=counts, eps=eps, step_size=step_size):
            return reference_style(model, images, known, counts, eps, step_size, options.steps)

        seconds = {"ours": [], "reference": []}
        for _ in range(options.repeats):
            found, spent = timed(ours)
            seconds["ours"].append(spent)
            expected, spent = timed(theirs)
            seconds["reference"].append(spent)
        best = {name: min(values) for name, values in seconds.items()}
        rows.append(
            {
                "benchmark": "udp-loop",
                "method": method,
                "eps": eps,
                "steps": options.steps,
                "mean_steps": counts.float().mean().item(),
                "batch_size": len(images),
                "repeats": options.repeats,
                "reference_cpu_ms": 1000 * best["reference"],
                "cpu_ms": 1000 * best["ours"],
                "ratio": best["reference"] / best["ours"],
                "pixels_that_differ": ((found - expected).abs() > 1e-6).float().mean().item(),
            }
        )
    return rows


class Opaque(nn.Module):
    """ART's TRADES trainer misreads the layers of an `nn.Sequential`: hide them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images to logits."""
        return self.net(images)


def art_classifier(net: nn.Module):
    from art.estimators.classification import PyTorchClassifier

    model = Opaque(net)
    return PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
        input_shape=(1, 28, 28),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def art_epoch(name: str, options: Options, data: Data, eps: float) -> None:
    from art.attacks.evasion import ProjectedGradientDescent
    from art.defences.trainer import AdversarialTrainer, AdversarialTrainerTRADESPyTorch

    classifier = art_classifier(net_of(options))
    attack = ProjectedGradientDescent(
        classifier,
        norm="inf",
        eps=eps,
        eps_step=eps / options.steps,
        max_iter=options.steps,
        num_random_init=1,
        batch_size=options.batch_size,
        verbose=False,
    )
    images, labels = (part.numpy() for part in data.batch(slice(None)))
    how = {"nb_epochs": 1, "batch_size": options.batch_size}
    if name == "trades":
        AdversarialTrainerTRADESPyTorch(classifier, attack, beta=6.0).fit(images, labels, **how)
    else:
        AdversarialTrainer(classifier, attack, ratio=1.0).fit(images, labels, **how)


def our_epoch(recipe, options: Options, data: Data) -> None:
    training = Training(epochs=1, batch_size=options.batch_size, schedule="constant")
    with tempfile.TemporaryDirectory() as folder:
        fit(net_of(options), data, recipe, folder, training=training)


def trainers(options: Options) -> list[dict]:
    """Time one epoch of each; ART has no UDP, so ours stands beside its PGD."""
    data = load(options.data, "train").first(options.count)
    eps = 0.4 * options.eps
    how = {"steps": options.steps, "step_size": eps / options.steps}
    cases = {
        "pgd": (make_recipe("pgd", threat=Threat("linf", eps), **how), "pgd"),
        "trades": (make_recipe("trades", threat=Threat("linf", eps), **how), "trades"),
        "udp": (make_recipe("udp", threat=Threat("linf", options.eps), steps=options.steps), "pgd"),
    }
    rows, known = [], {}
    our_epoch(make_recipe("standard"), options, data)  # imports and caches
    for name, (recipe, peer) in cases.items():
        _, seconds = timed(lambda recipe=recipe: our_epoch(recipe, options, data))
        if peer not in known:
            known[peer] = timed(lambda peer=peer: art_epoch(peer, options, data, eps))[1]
        rows.append(
            {
                "benchmark": "udp-trainers",
                "method": name,
                "peer": f"ART {peer}",
                "steps": options.steps,
                "count": len(data),
                "batch_size": options.batch_size,
                "cpu_seconds": seconds,
                "epochs_per_cpu_second": 1 / seconds,
                "peer_cpu_seconds": known[peer],
                "ratio": known[peer] / seconds,
            }
        )
    return rows


def main(options: Options) -> None:
    """Run a case and keep its rows."""
    torch.set_num_threads(1)
    versions = {"surefoot": __version__, "torch": torch.__version__}
    if options.case == "trainers":
        versions["art"] = version("adversarial-robustness-toolbox")
    shared = {
        "data": options.data,
        "seed": options.seed,
        "threads": 1,
        "machine": platform.machine(),
        "versions": versions,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    for row in loop(options) if options.case == "loop" else trainers(options):
        with RESULTS.open("a") as file:
            file.write(json.dumps(row | shared) + "\n")
        print(
            " ".join(
                f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                for key, value in row.items()
            ),
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
