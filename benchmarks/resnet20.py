"""A third-party ResNet-20 on CIFAR-10: clean accuracy of all test images, AutoAttack on some.

    SUREFOOT_DATA=... python benchmarks/resnet20.py --weights FILE.safetensors

The weights are those of akamaster/pytorch_resnet_cifar10 (published clean accuracy 91.73 %). The
evaluation resumes where it was killed.
"""

from dataclasses import dataclass
from pathlib import Path

import rows
import torch
import tyro
from safetensors.torch import load_file
from torch import nn

from surefoot import Local, Plain, Threat, bracket, build, load
from surefoot.evaluation import metrics
from surefoot.models import Normalize

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Options:
    """What to run.

    Args:
        weights: safetensors file of the net.
        points: test images under attack.
        radii: linf, in 255ths.
        folder: of the record.
    """

    weights: Path
    points: int = 200
    radii: tuple[float, ...] = (1.0, 2.0)
    folder: Path = Path("runs/bench-resnet20")


def model(weights: Path) -> nn.Module:
    """Build the net with its normalisation inside."""
    net = build("resnet20")
    net.load_state_dict(load_file(weights))
    return nn.Sequential(Normalize(MEAN, DEVIATION), net).eval().requires_grad_(False)


def main(options: Options) -> None:
    """Measure clean accuracy, then attack."""
    torch.set_num_threads(1)
    net, data = model(options.weights), load("cifar10")
    right = 0
    with torch.inference_mode():
        for first in range(0, len(data), 500):
            images, labels = data.batch(slice(first, first + 500))
            right += int((net(images).argmax(1) == labels).sum())
    radii = [radius / 255 for radius in options.radii]
    record = bracket(
        Plain(net, protocol="standard"),
        data.first(options.points),
        guarantee=Local(),
        threat=Threat("linf", max(radii)),
        radii=radii,
        limits=False,
        folder=options.folder,
        name="resnet20",
    )
    attack = record.header.attack
    row = {
        "clean_all": right / len(data),
        "points": options.points,
        "clean": metrics.clean_accuracy(record).value,
        "robust": {f"{r * 255:g}/255": metrics.attacked_accuracy(record, r).value for r in radii},
        "by": record.rows["attack"].value_counts().to_dict(),
        "attack": {
            "name": attack.name,
            "forwards": attack.work.forwards,
            "backwards": attack.work.backwards,
            "seconds": attack.work.seconds,
        },
        "warnings": list(record.header.warnings),
        "seed": 0,
    }
    rows.append("resnet20", row)
    print(row)


if __name__ == "__main__":
    main(tyro.cli(Options))
