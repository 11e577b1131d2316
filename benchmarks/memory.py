"""Peak memory of certificates and of the limit over the number of images: flat, or the data alone.

    python benchmarks/memory.py

Each size runs in a process of its own. Rows go to results/memory.jsonl.
"""

import multiprocessing
import multiprocessing.connection
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import rows
import torch
import tyro

from surefoot.certify import lipschitz, smoothing
from surefoot.guarantees import Local
from surefoot.limits import concentration
from surefoot.models import build


@dataclass(frozen=True)
class Options:
    """How many.

    Args:
        sizes: images of each run.
    """

    sizes: tuple[int, ...] = (1_000, 5_000, 10_000)


def by_lipschitz(count: int) -> None:
    """Certify a dense net on 28 x 28 images."""
    net = build("lipschitz-mlp", inputs=784, hidden=(128,)).eval()
    lipschitz.certify(net, torch.rand(count, 1, 28, 28), guarantee=Local())


def by_smoothing(count: int) -> None:
    """Certify a smoothed dense net on 28 x 28 images, 300 noise samples each."""
    net = build("mlp", inputs=784, hidden=(32,)).eval()
    images = torch.rand(count, 1, 28, 28)
    smoothing.certify(net, images, guarantee=Local(), sigma=0.25, n_certify=300)


def limit(count: int) -> None:
    """Search balls among points of 3,072 coordinates."""
    points = torch.rand(count, 3072)
    uncertainty = torch.zeros(count, dtype=torch.float64)
    concentration(points, uncertainty, risk=0.05, gamma=0.0, eps=1.0, norm="l2", components=2)


CASES: dict[str, Callable[[int], None]] = {
    "lipschitz": by_lipschitz,
    "smoothing": by_smoothing,
    "limit": limit,
}


def measured(case: str, count: int, pipe: multiprocessing.connection.Connection) -> None:
    """Run a case, and send the peak memory in MB and the seconds."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    CASES[case](count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send((peak, time.perf_counter() - began))


def main(options: Options) -> None:
    """Measure every case at every size."""
    context = multiprocessing.get_context("spawn")
    for case in CASES:
        for count in options.sizes:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=measured, args=(case, count, sender))
            process.start()
            peak, seconds = receiver.recv()
            process.join()
            print(f"{case:10} {count:7,} images  peak {peak:7.0f} MB  {seconds:6.1f} s", flush=True)
            row = {"case": case, "count": count, "peak_mb": round(peak)}
            rows.append("memory", row | {"seconds": round(seconds, 2)})


if __name__ == "__main__":
    main(tyro.cli(Options))
