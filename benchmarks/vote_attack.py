"""Passes that attacked accuracy of a smoothed classifier takes: order of radii, tests cut short.

    python benchmarks/vote_attack.py
    SUREFOOT_DATA=... python benchmarks/vote_attack.py --run RUN --data cifar10 --images 40

Evaluates one net twice in one run: as before, an attack at every radius from the smallest and full
counts in every confirmation; and as now, from the largest radius downwards (`attack_down`), with
confirmations that end where counts are clear. Counts every image that goes through the net in the
evaluation's attack and refinement, with gradients separately; certificates are left out. Without
`--run` the net is a dense one on digits, trained here. Rows go to results/vote_attack.jsonl.
"""

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import rows
import torch
import tyro
from torch import nn

from surefoot.attacks import vote_attack
from surefoot.data import load
from surefoot.evaluation import bracket, metrics
from surefoot.evaluation.classifiers import Smoothed
from surefoot.guarantees import Local
from surefoot.models import build
from surefoot.models.io import load as load_run
from surefoot.threat import Threat
from surefoot.training import Training, fit, make_recipe
from surefoot.uncertainty.vote import Vote


@dataclass(frozen=True)
class Options:
    """What is attacked.

    Args:
        run: run folder of a net trained with noise; none trains a dense net on digits.
        data: its data set.
        images: test images.
        sigma: of the noise.
        radii: l2.
        seed: of everything.
    """

    run: Path | None = None
    data: str = "digits"
    images: int = 200
    sigma: float = 0.25
    radii: tuple[float, ...] = (0.125, 0.25, 0.375, 0.5, 0.75)
    seed: int = 0


class Counting(nn.Module):
    """Count the images that go through a net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.forwards, self.backwards = net, 0, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images to logits."""
        self.forwards += len(images)
        self.backwards += len(images) * (images.requires_grad and torch.is_grad_enabled())
        return self.net(images)


@contextmanager
def as_before() -> Iterator[None]:
    """Work upwards, and count every confirmation to its end."""
    with (
        mock.patch.object(Smoothed, "from_largest", False),
        mock.patch.object(Smoothed, "bisection_steps", 6),
        mock.patch.object(vote_attack, "LOOKS", (1.0,)),
        mock.patch.object(vote_attack, "EARLY", 0.0),
        mock.patch.object(vote_attack, "HOPELESS", math.inf),
    ):
        yield


def net_of(options: Options) -> nn.Module:
    """Read the net, or train one."""
    if options.run is not None:
        return load_run(options.run)
    torch.manual_seed(options.seed)
    net = build("mlp", inputs=64, hidden=(128, 128))
    recipe = make_recipe("noise", sigma=options.sigma)
    with tempfile.TemporaryDirectory() as folder:
        training = Training(epochs=30, batch_size=64, learning_rate=3e-3, seed=options.seed)
        fit(net, load("digits", "train"), recipe, Path(folder) / "run", training=training)
    return net.eval()


def measure(name: str, net: nn.Module, options: Options) -> None:
    """Evaluate once, print and store a row."""
    counted = Counting(net).eval()
    vote, data = Vote(counted, options.sigma), load(options.data).first(options.images)
    classifier = Smoothed(vote, n_certify=100, seed=options.seed)
    images = data.batch(slice(None))[0]
    classifier.clean_outputs(images, Local())
    certificates = counted.forwards
    counted.forwards = counted.backwards = 0
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        record = bracket(
            classifier,
            data,
            guarantee=Local(),
            threat=Threat("l2", options.radii[-1]),
            radii=options.radii,
            limits=False,
            folder=Path(folder),
        )
    seconds = time.process_time() - began
    attacked = [metrics.attacked_accuracy(record, radius).value for radius in options.radii]
    row = {"data": options.data, "net": type(net).__name__, "images": options.images}
    row |= {"variant": name, "forwards": counted.forwards - certificates}
    row |= {"backwards": counted.backwards, "cpu seconds, certificate included": seconds}
    row |= {
        "radii": options.radii,
        "attacked": attacked,
        "mean attacked": sum(attacked) / len(attacked),
    }
    rows.append("vote_attack", row)
    print(
        f"{name:9}: {row['forwards']:>9,} forwards, {row['backwards']:>8,} backwards,"
        f" {seconds:6.1f} CPU s; attacked {' '.join(f'{value:.3f}' for value in attacked)}",
        flush=True,
    )


def main(options: Options) -> None:
    """Compare."""
    torch.set_num_threads(1)
    net = net_of(options)
    with as_before():
        measure("as before", net, options)
    measure("now", net, options)


if __name__ == "__main__":
    main(tyro.cli(Options))
