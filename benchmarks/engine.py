"""What counting noise samples costs beside the net itself, in time and in memory; ART beside it.

    SUREFOOT_DATA=... python benchmarks/engine.py --case overhead
    SUREFOOT_DATA=... python benchmarks/engine.py --case lenet
    python benchmarks/engine.py --case memory

- overhead: one table of counts (labels, scores, best labels) of a 28 x 28 LeNet and of a small
  ResNet, beside a loop of the same noise, the same net and an argmax, in one run; and ART's
  `certify` (classical: one bound, fixed samples) where it is installed (extra bench).
- lenet: 1,000 test images of Fashion-MNIST, decisions at radii .5, 1 and 2 sigma, up to 10,000
  samples; --far: at 1, 2 and 3 sigma, up to 100,000.
- memory: growth of the process over one plain forward of the same batch, for 1,000, 10,000 and
  100,000 samples of a 32 x 32 image.

Rows go to results/engine.jsonl.
"""

import gc
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import rows
import torch
import tyro
from torch import nn

from surefoot.certify import smoothing
from surefoot.data import load
from surefoot.guarantees import Local
from surefoot.models import build
from surefoot.streams import normal
from surefoot.training import Training, fit, make_recipe
from surefoot.uncertainty.vote import Vote

SIGMA, BATCH = 0.25, 500
NETS = {
    "lenet, 28 x 28": ({"name": "lenet"}, (1, 28, 28)),
    "resnet20, width 8": ({"name": "resnet20", "width": 8}, (3, 32, 32)),
}


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        case: see the module's docstring.
        images: of the overhead.
        draws: samples of each.
        repeats: alternating repetitions; the medians are compared.
        far: of lenet: larger radii.
        folder: of the net that the case lenet trains.
    """

    case: Literal["overhead", "lenet", "memory"]
    images: int = 4
    draws: int = 2_000
    repeats: int = 5
    far: bool = False
    folder: Path = Path("runs/bench-engine")


def bare(net: nn.Module, images: torch.Tensor, draws: int) -> None:
    """Do what cannot be saved: noise, net, argmax."""
    with torch.inference_mode():
        for place, image in enumerate(images):
            for first in range(0, draws, BATCH):
                noise = normal((BATCH, *image.shape), 1, place, first)
                net(image + SIGMA * noise).argmax(1)


def timed(work: Callable[[], object]) -> float:
    """Measure seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def overhead(options: Options) -> None:
    """Compare the engine with the bare loop, and with ART."""
    for name, (arguments, shape) in NETS.items():
        net = build(**arguments).eval()
        images = torch.rand(options.images, *shape)
        vote = Vote(net, SIGMA)
        ways: dict[str, Callable[[], object]] = {
            "bare": lambda n=net, x=images: bare(n, x, options.draws),
            "votes": lambda v=vote, x=images: v.counts(x, options.draws, 1),
            "table": lambda v=vote, x=images: smoothing.count(v, x, options.draws, 1, k=3),
        }
        if find_spec("art"):
            ways["ART"] = art(net, images, options.draws)
        found = {way: [] for way in ways}
        for _ in range(options.repeats):
            for way, work in ways.items():
                found[way].append(timed(work))
        medians = {way: float(np.median(times)) for way, times in found.items()}
        row = {"case": f"overhead, {name}", "samples": options.images * options.draws}
        row |= {f"{way}_over_bare": times / medians["bare"] for way, times in medians.items()}
        rows.append("engine", row | {"seconds_bare": medians["bare"]})
        print(row)


def art(net: nn.Module, images: torch.Tensor, draws: int) -> Callable[[], object]:
    """Give ART's certification of the same images, samples and noise."""
    from art.estimators.certification.randomized_smoothing import (  # pyright: ignore
        PyTorchRandomizedSmoothing,
    )

    smooth = PyTorchRandomizedSmoothing(
        model=net,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=10,
        sample_size=draws,
        scale=SIGMA,
        device_type="cpu",
    )
    return lambda: smooth.certify(images.numpy(), n=draws, batch_size=BATCH)


def lenet(options: Options) -> None:
    """Decide three radii for 1,000 images."""
    net, train = build("lenet"), load("fashion-mnist", "train").first(10_000)
    fit(net, train, make_recipe("noise", sigma=SIGMA), options.folder, training=Training(epochs=5))
    images, labels = load("fashion-mnist").first(1_000).batch(slice(None))
    radii = (0.25, 0.5, 0.75) if options.far else (0.125, 0.25, 0.5)
    most = 100_000 if options.far else 10_000
    began = time.perf_counter()
    found = smoothing.certify(
        net.eval(), images, guarantee=Local(), sigma=SIGMA, radii=radii, n_certify=most
    )
    seconds = time.perf_counter() - began
    right = found.sets[torch.arange(len(labels)), 0, labels]
    held = {f"certified_{r:g}": float((right & (found.radius >= r)).float().mean()) for r in radii}
    row = {"case": f"1,000 images, radii {radii}, lenet", "seconds": seconds, **held}
    row |= {"mean_copies": float(found.samples.double().mean()), "threads": torch.get_num_threads()}
    rows.append("engine", row)
    print(row)


def memory(options: Options) -> None:
    """Watch the peak of the process while the number of samples grows a hundredfold."""
    del options
    net = build("resnet20", width=8).eval()
    image = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        net(image.expand(BATCH, -1, -1, -1).contiguous())
    start = peak()
    for draws in (1_000, 10_000, 100_000):
        smoothing.count(Vote(net, SIGMA), image, draws, 1, k=3, batch_size=BATCH)
        gc.collect()
        row = {"case": f"memory, {draws} samples", "growth_mb": peak() - start}
        rows.append("engine", row)
        print(row, flush=True)


def peak() -> float:
    """Give the largest memory that the process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CASES = {"overhead": overhead, "lenet": lenet, "memory": memory}


def main(options: Options) -> None:
    """Run a case on one thread."""
    torch.set_num_threads(1)
    CASES[options.case](options)


if __name__ == "__main__":
    main(tyro.cli(Options))
