"""Attacks side by side: surefoot, pyautoattack, torchattacks and foolbox, in one run, one thread.

    python benchmarks/attacks.py --points 200 --models digits-standard digits-pgd digits-udp

Seconds are CPU seconds of the process. Verdicts are compared point by point with pyautoattack (seed
0, batch 250) in the reference's own order of random numbers; points whose margin decides by less
than 1e-5 are listed. Prints a table and appends one JSON row a case to results/attacks.jsonl.
"""

import json
import platform
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from safetensors.torch import load_file
from torch import nn

from surefoot import Threat, Training, __version__, fit, load
from surefoot.attacks import autoattack
from surefoot.data import Data
from surefoot.training import make_recipe

RESULTS = Path(__file__).parent / "results" / "attacks.jsonl"
NORMS = {"linf": "Linf", "l2": "L2"}


@dataclass(frozen=True)
class Options:
    """Which cases to run.

    Args:
        models: digits-standard, digits-pgd, digits-udp, mnist-clean, mnist-adv.
        norms: linf, l2.
        points: test images.
        peers: run torchattacks and foolbox too.
        folder: where the digits nets are trained once.
        weights: folder of the third-party MNIST nets.
    """

    models: tuple[str, ...] = ("digits-standard", "digits-pgd", "digits-udp")
    norms: tuple[str, ...] = ("linf", "l2")
    points: int = 200
    peers: bool = True
    folder: Path = Path("runs/bench-attacks")
    weights: Path = Path("../shared/data/models")


CASES = {
    "digits-standard": {"linf": 0.1, "l2": 1.0},
    "digits-pgd": {"linf": 0.2, "l2": 2.0},
    "digits-udp": {"linf": 0.2, "l2": 2.0},
    "mnist-clean": {"linf": 0.15, "l2": 1.5},
    "mnist-adv": {"linf": 0.3, "l2": 2.0},
}
RECIPES = {
    "standard": (make_recipe("standard"), 15),
    "pgd": (make_recipe("pgd", threat=Threat("linf", 0.2), steps=10), 40),
    "udp": (make_recipe("udp", threat=Threat("linf", 0.4), steps=10), 40),
}


def large_digits() -> Data:
    """Scale the digits to 28 x 28."""
    parts = [load("digits", split) for split in ("test", "train")]
    images = torch.cat([part.batch(slice(None))[0] for part in parts])
    images = nn.functional.interpolate(images, size=(28, 28), mode="bilinear").clamp(0, 1)
    labels = torch.cat([part.labels for part in parts])
    return Data(images, labels, classes=parts[0].classes, name="digits28")


def strided_lenet() -> nn.Sequential:
    """Build the LeNet with strides in place of pooling: 171,158 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1568, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


class AdvertorchLeNet(nn.Module):
    """The net of the two third-party MNIST files."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.linear1, self.linear2 = nn.Linear(3136, 200), nn.Linear(200, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images to logits."""
        for layer in (self.conv1, self.conv2):
            images = nn.functional.max_pool2d(layer(images).relu(), 2)
        return self.linear2(self.linear1(images.flatten(1)).relu())


def case(name: str, options: Options) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Give a model and its test points."""
    source, kind = name.split("-")
    if source == "mnist":
        model = AdvertorchLeNet()
        model.load_state_dict(
            load_file(options.weights / f"mnist_lenet5_{kind}_advertorch.safetensors")
        )
        images, labels = load("mnist").first(options.points).batch(slice(None))
        return model.eval(), images, labels
    data = large_digits()
    recipe, epochs = RECIPES[kind]
    torch.manual_seed(0)
    model = strided_lenet()
    training = Training(epochs=epochs, batch_size=64, learning_rate=2e-3)
    train = data.take(torch.arange(200, len(data)))
    fit(model, train, recipe, options.folder / kind, training=training)
    images, labels = data.first(options.points).batch(slice(None))
    return model.eval(), images, labels


def timed(run):
    """Give the result and its CPU seconds."""
    began = time.process_time()
    result = run()
    return result, time.process_time() - began


def reference(model, images, labels, norm, eps):
    from pyautoattack import AutoAttack

    attack = AutoAttack(model, norm=NORMS[norm], eps=eps, version="standard", seed=0)
    return attack.run_standard_evaluation(images, labels, batch_size=250)[0]


def torchattacks_auto(model, images, labels, norm, eps):
    import torchattacks

    return torchattacks.AutoAttack(model, norm=NORMS[norm], eps=eps, seed=0)(images, labels)


def foolbox_pgd(model, images, labels, norm, eps):
    import foolbox

    attack = foolbox.attacks.LinfPGD() if norm == "linf" else foolbox.attacks.L2PGD()
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(wrapped, images, labels, epsilons=[eps])[1][0]


def robust(model, images, labels):
    with torch.inference_mode():
        return model(images).argmax(1) == labels


def margins(model, images, labels):
    with torch.inference_mode():
        logits = model(images)
    own = logits.gather(1, labels[:, None])[:, 0]
    return (own - logits.scatter(1, labels[:, None], -torch.inf).amax(1)).abs()


def model_seconds(model, images, forwards, backwards):
    """Estimate the CPU seconds of the bare passes, from passes of 90 images."""
    batch = images[:90].clone()
    repeats = range(20)

    def forward():
        with torch.inference_mode():
            for _ in repeats:
                model(batch)

    def both():
        for _ in repeats:
            point = batch.clone().requires_grad_()
            torch.autograd.grad(model(point).sum(), point)

    one, two = timed(forward)[1], timed(both)[1]
    return ((forwards - backwards) * one + backwards * two) / (len(batch) * len(repeats))


def compare(name: str, norm: str, options: Options) -> dict:
    """Run one case."""
    model, images, labels = case(name, options)
    model.requires_grad_(False)
    eps = CASES[name][norm]
    threat = Threat(norm, eps)
    found, reference_seconds = timed(lambda: reference(model, images, labels, norm, eps))
    truth = robust(model, found, labels)
    parity, parity_seconds = timed(
        lambda: autoattack(model, images, labels, threat=threat, streams="batch")
    )
    ours, seconds = timed(lambda: autoattack(model, images, labels, threat=threat))
    different = (truth == parity.success).nonzero().flatten()
    close = margins(model, found, labels) < 1e-5
    row = {
        "benchmark": "attacks",
        "case": name,
        "norm": norm,
        "eps": eps,
        "points": len(images),
        "clean": robust(model, images, labels).float().mean().item(),
        "reference_robust": truth.float().mean().item(),
        "robust": (~ours.success).float().mean().item(),
        "parity_differs": different.tolist(),
        "margin_below_1e-5": close.nonzero().flatten().tolist(),
        "reference_seconds": reference_seconds,
        "parity_seconds": parity_seconds,
        "seconds": seconds,
        "ratio": reference_seconds / seconds,
        "forwards": ours.forwards,
        "backwards": ours.backwards,
        "share_of_model": model_seconds(model, images, ours.forwards, ours.backwards) / seconds,
    }
    if options.peers:
        for peer, run in (("torchattacks", torchattacks_auto), ("foolbox_pgd", foolbox_pgd)):
            moved, spent = timed(lambda run=run: run(model, images, labels, norm, eps))
            row[f"{peer}_robust"] = robust(model, moved, labels).float().mean().item()
            row[f"{peer}_seconds"] = spent
    versions = {"surefoot": __version__, "torch": torch.__version__}
    row |= {"seed": 0, "threads": 1, "machine": platform.machine(), "versions": versions}
    return row


def main(options: Options) -> None:
    """Run all cases."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    RESULTS.parent.mkdir(exist_ok=True)
    for name in options.models:
        for norm in options.norms:
            row = compare(name, norm, options)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(
                f"{name:16} {norm:4} eps {row['eps']:<5g} robust: reference"
                f" {row['reference_robust']:.3f} ours {row['robust']:.3f} | verdicts that differ"
                f" {len(row['parity_differs'])} | seconds: reference"
                f" {row['reference_seconds']:.1f} ours {row['seconds']:.1f} ratio"
                f" {row['ratio']:.2f}, model share {row['share_of_model']:.0%}",
                flush=True,
            )


if __name__ == "__main__":
    main(tyro.cli(Options))
