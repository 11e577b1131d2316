"""Tables of accuracy: train every row, attack it in several norms and radii."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from torch import nn

from surefoot.data import load
from surefoot.evaluation import metrics
from surefoot.evaluation.classifiers import Plain
from surefoot.evaluation.record import Record
from surefoot.papers.drawing.lines import curves
from surefoot.papers.experiment import (
    Draw,
    Outcome,
    Published,
    Row,
    Setting,
    compare,
    evaluated,
    net_of,
    part,
)
from surefoot.papers.probe import transfer_probe
from surefoot.stats import Interval
from surefoot.threat import Norm, Threat
from surefoot.training import fit

TRADE_OFF = "trade-off "
"""Before norm and radius: the mean of clean and attacked accuracy."""


def table(
    folder: Path,
    seed: int,
    *,
    rows: Sequence[Row],
    setting: Setting,
    threats: Mapping[Norm, Sequence[float]],
) -> Outcome:
    """Train the rows and attack them: clean and attacked accuracy, and their trade-off.

    Args:
        folder: of the runs.
        seed: of everything.
        rows: classifiers.
        setting: sizes.
        threats: norm -> radii; without any only clean accuracy is measured.
    """
    compared, records = [], []
    test = setting.images()
    for row in rows:
        run, model = trained(row, setting, folder, seed)
        found = [
            evaluated(
                setting.plain(model, seed),
                test,
                Threat(norm, max(radii)),
                run / norm,
                f"{row.name}, {norm}",
                radii=radii,
            )
            for norm, radii in threats.items()
        ] or [evaluated(Plain(model), test, Threat(), run / "clean", row.name, attack=False)]
        records += found
        compared += _compare(row, found)
    drawn = [entry for entry in compared if not entry.figure.startswith(TRADE_OFF)]
    figures = {"accuracy": against_radius(drawn)} if threats else {}
    return Outcome(compared, records, figures, best_trade_offs(compared))


def capacity(
    folder: Path, seed: int, *, rows: Sequence[Row], setting: Setting, widths: Sequence[int]
) -> Outcome:
    """Train the rows at every width and measure clean accuracy: one figure a width.

    Args:
        folder: of the runs, a folder a width.
        seed: of everything.
        rows: classifiers.
        setting: sizes; its net takes `width`.
        widths: multipliers.
    """
    compared, records = [], []
    for width in widths:
        wide = replace(setting, net={**setting.net, "width": width})
        found = table(folder / f"width-{width}", seed, rows=rows, setting=wide, threats={})
        records += found.records
        compared += [replace(entry, figure=f"width {width}") for entry in found.compared]
    drawn = against_radius(compared, "Clean accuracy against width")
    return Outcome(compared, records, {"capacity": drawn})


def transfer(
    folder: Path,
    seed: int,
    *,
    rows: Sequence[Row],
    setting: Setting,
    layer: str,
    other: str,
) -> Outcome:
    """Train the rows, then tell another label set by a linear probe on their frozen features.

    Args:
        folder: of the runs; those of a table with the same rows and setting are read back.
        seed: of everything.
        rows: classifiers, with the published accuracy of the probe as "transfer".
        setting: sizes.
        layer: whose output the probe sees.
        other: data set of the other labels; its training split trains the probe.
    """
    train, test, compared = load(other, "train"), load(other), []
    for row in rows:
        _, model = trained(row, setting, folder, seed)
        ours = transfer_probe(model, train, test, layer=layer)
        compared += compare(row.name, {"transfer": ours}, row.published)
    return Outcome(compared)


def trained(row: Row, setting: Setting, folder: Path, seed: int) -> tuple[Path, nn.Module]:
    """Train the net of a row, or read it back from its run folder."""
    model, whole = net_of(setting, row, seed), load(setting.data, "train")
    validation = None
    if setting.validation:
        validation, whole = whole.split(setting.validation, seed)
    training = replace(setting.training, seed=seed, **row.training)
    data = part(whole, setting.train)
    run = fit(model, data, row.recipe, folder / row.name, training=training, validation=validation)
    return run, model


def _compare(row: Row, records: Sequence[Record]) -> list[Published]:
    found: dict[str, Interval] = {"clean": metrics.clean_accuracy(records[0])}
    for record in records:
        if record.header.attack is not None:
            norm = record.header.norm
            for radius in record.header.radii:
                found[f"{norm} {radius:g}"] = metrics.attacked_accuracy(record, radius)
                found[f"{TRADE_OFF}{norm} {radius:g}"] = metrics.trade_off(record, radius)
    return compare(row.name, found, row.published)


def best_trade_offs(compared: Sequence[Published]) -> list[str]:
    """Name for each radius the row with the best trade-off, and the best published one."""
    found = []
    for figure in dict.fromkeys(entry.figure for entry in compared):
        if figure.startswith(TRADE_OFF):
            entries = [entry for entry in compared if entry.figure == figure]
            best = max(entries, key=lambda entry: entry.ours)
            text = f"Best {figure}: {best.row}, {100 * best.ours:.1f}"
            printed = [entry for entry in entries if entry.published is not None]
            if printed:
                first = max(printed, key=lambda entry: entry.published or 0.0)
                text += f" (published {first.row}, {100 * (first.published or 0.0):.1f})"
            found.append(f"{text}.")
    return found


def against_radius(
    compared: Sequence[Published], title: str = "Accuracy, clean and attacked"
) -> Draw:
    """Lay out accuracy against the figures of the table, clean first, one line a row."""
    frame = pd.DataFrame([vars(entry) for entry in compared])
    frame = frame.rename(columns={"figure": "x", "ours": "y"})
    return partial(curves, frame, title, "", "accuracy")
