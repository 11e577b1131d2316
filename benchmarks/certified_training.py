"""Brackets at linf of one plain net by recipe, and what a certificate saves AutoAttack.

    python benchmarks/certified_training.py
    python benchmarks/certified_training.py --net.epochs 10 --net.train 0 --autoattack 100

The nets are those of benchmarks/relaxation.py, trained there or read back from `--folder`. Without
`--autoattack` each is certified by relaxations (crown) and attacked at a grid of radii: the figure
docs/certified_training.png. With it, AutoAttack runs on the first images of the first recipe's net,
whole and only where the certificate does not reach: verdicts and CPU seconds, certificate included.
Rows go to results/certified_training.jsonl.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import relaxation
import rows
import torch
import tyro
from torch import nn

from surefoot.data import load
from surefoot.evaluation import bracket, metrics
from surefoot.evaluation.classifiers import Plain
from surefoot.evaluation.record import Record
from surefoot.files import write_whole
from surefoot.guarantees import Local
from surefoot.report.bracket_chart import comparison_chart
from surefoot.report.style import to_png
from surefoot.threat import Threat

FIGURE = Path(__file__).parents[1] / "docs" / "certified_training.png"


@dataclass(frozen=True)
class Options:
    """What is compared.

    Args:
        net: data, eps, training and folder of the nets; its recipe is that of `--autoattack`.
        recipes: of the figure.
        radii: of the brackets.
        count: images of the brackets.
        autoattack: images for AutoAttack; 0 draws the figure.
    """

    net: relaxation.Options = field(
        default_factory=lambda: relaxation.Options(
            data="fashion-mnist", epochs=6, train=15_000, guarantees="local"
        )
    )
    recipes: tuple[str, ...] = ("pgd", "ibp", "crown-ibp", "sabr", "mtl-ibp")
    radii: tuple[float, ...] = (0.025, 0.05, 0.1, 0.15)
    count: int = 60
    autoattack: int = 0


def bracket_of(net: nn.Module, recipe: str, options: Options) -> Record:
    """Certify and attack at every radius, and store a row each."""
    images, eps = load(options.net.data).first(options.count), options.net.eps
    classifier = Plain(net, "relaxation", steps=options.net.steps)
    how: dict[str, Any] = {"guarantee": Local(), "radii": options.radii, "limits": False}
    name = f"{options.net.data}-{recipe}-{options.net.train}-{options.net.epochs}"
    place = options.net.folder / "brackets" / name
    record = bracket(
        classifier, images, threat=Threat("linf", eps), name=recipe, folder=place, **how
    )
    for radius in options.radii:
        certified = metrics.certified_accuracy(record, radius)
        row = {"data": options.net.data, "recipe": recipe, "trained at": eps, "radius": radius}
        row |= {"epochs": options.net.epochs, "training images": options.net.train}
        row |= {"images": len(record), "clean": metrics.clean_accuracy(record).value}
        row |= {"attacked": metrics.attacked_accuracy(record, radius).value}
        rows.append("certified_training", row | {"certified": certified and certified.value})
    return record


def autoattack_twice(net: nn.Module, options: Options) -> None:
    """Attack by AutoAttack with and without the certificate, and store a row."""
    images, threat = (
        load(options.net.data).first(options.autoattack),
        Threat("linf", options.net.eps),
    )
    spent, verdicts, skipped = {}, {}, 0
    for skip in (False, True):
        classifier = Plain(net, "relaxation" if skip else "none", protocol="standard")
        began = time.process_time()
        record = bracket(
            classifier, images, guarantee=Local(), threat=threat, limits=False, skip_certified=skip
        )
        spent[skip] = time.process_time() - began
        verdicts[skip] = metrics.attacked_right(record.rows, threat.eps)
        if skip:
            skipped = int(metrics.certified_right(record.rows, threat.eps).sum())
    differ = int((verdicts[True] != verdicts[False]).sum())
    row = {"data": options.net.data, "recipe": options.net.recipe, "eps": threat.eps}
    row |= {"images": len(images), "certified": skipped, "differ": differ}
    row |= {"attacked": float(verdicts[False].mean()), "seconds": spent[False]}
    row |= {"seconds with the certificate": spent[True], "ratio": spent[False] / spent[True]}
    rows.append("certified_training", row | {"what": "AutoAttack", "threads": options.net.threads})
    print(
        f"AutoAttack on {len(images)} images: {spent[False]:.0f} CPU s, {spent[True]:.1f} CPU s"
        f" where {skipped} are certified: {row['ratio']:.1f} times less, {differ} verdicts differ"
    )


def main(options: Options) -> None:
    """Compare."""
    torch.set_num_threads(options.net.threads)
    if options.autoattack:
        net, _ = relaxation.trained(options.net)
        autoattack_twice(net, options)
        return
    records = []
    for recipe in options.recipes:
        net, _ = relaxation.trained(replace(options.net, recipe=recipe))
        records.append(bracket_of(net, recipe, options))
    write_whole(FIGURE, to_png(comparison_chart(records)))


if __name__ == "__main__":
    main(tyro.cli(Options))
