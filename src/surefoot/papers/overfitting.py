"""Catastrophic overfitting: accuracy under no, one and many steps by epoch, and by radius after."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from surefoot.attacks import pgd
from surefoot.data import Data
from surefoot.models import device_of, frozen
from surefoot.models.border import outcomes_of
from surefoot.papers.accuracy_table import trained
from surefoot.papers.drawing.lines import curve_panels, curves
from surefoot.papers.experiment import Outcome, Row, Setting, compare, point
from surefoot.stats import Interval, interval
from surefoot.streams import generator
from surefoot.threat import Threat

FIGURES = {
    "clean": "validation_accuracy",
    "one step": "validation_one_step_accuracy",
    "many steps": "validation_attacked_accuracy",
}
BATCH = 500


def overfitting(
    folder: Path,
    seed: int,
    *,
    rows: Sequence[Row],
    setting: Setting,
    radii: Sequence[float] = (),
    restarts: int = 1,
) -> Outcome:
    """Train the rows under a judge (`Training.judge`) and read its figures of every epoch.

    Args:
        folder: of the runs.
        seed: of everything.
        rows: classifiers.
        setting: sizes; `validation` images are judged, `test` images attacked at the radii.
        radii: of PGD on the trained nets, linf, with the judge's number of steps.
        restarts: of that attack.
    """
    compared, epochs, after = [], [], []
    judge = setting.training.judge
    count = min(judge.judge_count or setting.validation, setting.validation)
    panels = {"clean": "clean", "one step": "FGSM", "many steps": f"PGD-{judge.judge_steps}"}
    for row in rows:
        run, model = trained(row, setting, folder, seed)
        text = (run / "log.jsonl").read_text(encoding="utf-8")
        log = [json.loads(line) for line in text.splitlines()]
        for figure, column in FIGURES.items():
            panel = {"panel": panels[figure], "row": row.name}
            epochs += [panel | {"x": entry["epoch"], "y": entry[column]} for entry in log]
            total = setting.validation if figure == "clean" else count
            ours = interval(round(log[-1][column] * total), total)
            compared += compare(row.name, {figure: ours}, row.published)
        if radii:
            steps = judge.judge_steps
            how = {"radii": (0.0, *radii), "steps": steps, "restarts": restarts, "seed": seed}
            found = accuracy_over_radii(model, setting.images(), **how)
            after += [point(row.name, radius, ours) for radius, ours in found.items()]
            named = {f"test, linf {radius:g}": ours for radius, ours in found.items()}
            compared += compare(row.name, named)
    title, up = "Validation accuracy, epoch by epoch", "validation accuracy"
    figures = {"overfitting": partial(curve_panels, pd.DataFrame(epochs), title, "epoch", up)}
    if radii:
        title = f"Under PGD-{judge.judge_steps}, {restarts} restarts"
        drawn = pd.DataFrame(after), title, "linf radius of the attack", "test accuracy"
        figures["radii"] = partial(curves, *drawn)
    return Outcome(compared, figures=figures)


def accuracy_over_radii(
    model: nn.Module, data: Data, *, radii: Sequence[float], steps: int, restarts: int, seed: int
) -> dict[float, Interval]:
    """Measure the fraction of images that PGD breaks neither at a radius nor at a smaller one.

    The first search starts at the image, the others at a random point of the ball; any of them
    breaks an image. Of a model that is random by itself (MC dropout) each prediction is one draw.

    Args:
        model: maps images to logits.
        data: attacked images.
        radii: linf; 0 is clean accuracy.
        steps: of each search, of length 2.5 eps / steps.
        restarts: searches of each radius.
        seed: of the starts.

    Returns:
        radius -> accuracy with its exact 95 % interval, an upper bound of the robust accuracy.
    """
    right = torch.ones(len(data), dtype=torch.bool)
    found, stream = {}, generator(seed)
    for radius in sorted(radii):
        threat = Threat("linf", radius, *data.box)
        for restart in range(restarts if radius else 1):
            for index in right.nonzero().flatten().split(BATCH):
                images, labels = (part.to(device_of(model)) for part in data.batch(index))
                if radius:
                    step_size, random_start = 2.5 * radius / steps, restart > 0
                    how = {"steps": steps, "step_size": step_size, "random_start": random_start}
                    images = pgd(model, images, labels, threat=threat, generator=stream, **how)
                with frozen(model), torch.no_grad():
                    right[index] = (outcomes_of(model, images).argmax(1) == labels).cpu()
        found[radius] = interval(int(right.sum()), len(data))
    return found
