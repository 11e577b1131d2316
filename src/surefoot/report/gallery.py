"""Images that are certified as sets: which labels the classifier cannot tell apart, and on what."""

from typing import TYPE_CHECKING

from torch import Tensor

from surefoot.evaluation.certified_sets import MOST_IMAGES, MOST_SETS, Grouping, groupings
from surefoot.evaluation.record import Record
from surefoot.report import style
from surefoot.report.perturbations import show_image
from surefoot.report.words import class_name

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


def certified_gallery(record: Record) -> "matplotlib.figure.Figure | None":
    """Draw images of the most frequent certified sets at eps, a row a set; None without any.

    Below each image stands its label: blue where the set holds it, else orange.

    Args:
        record: set-valued, with a certificate.
    """
    if not record.examples or record.examples["images"].ndim != 4:
        return None
    index = record.rows["index"].tolist()
    known = {
        one: image
        for one, image in zip(
            record.examples["index"].tolist(), record.examples["images"], strict=True
        )
    }
    shown = [
        (one, [place for place in one.places if index[place] in known][:MOST_IMAGES])
        for one in groupings(record, record.header.eps)[:MOST_SETS]
    ]
    shown = [(one, places) for one, places in shown if places]
    figure = style.new_figure(8.4, 1.25 * len(shown) + 0.5)
    grid = figure.subplots(
        len(shown), 1 + MOST_IMAGES, squeeze=False, width_ratios=[2.2, *[1] * MOST_IMAGES]
    )
    for axes, (one, places) in zip(grid, shown, strict=True):
        _name(axes[0], record, one)
        for ax in axes[1:]:
            ax.axis("off")
        for ax, place in zip(axes[1:], places, strict=False):
            _draw(ax, record, one, place, known[index[place]])
    style.sign(figure, [record])
    return figure


def named(record: Record, one: Grouping) -> str:
    """Name the members of a certified set, and how often it is one."""
    names = ", ".join(style.short(class_name(record.header, member), 16) for member in one.members)
    return f"{names}: {len(one.places)} of {len(record)}"


def _name(ax: "matplotlib.axes.Axes", record: Record, one: Grouping) -> None:
    names, count = named(record, one).rsplit(": ", 1)
    ax.axis("off")
    text = names.replace(", ", "\n") if len(one.members) < 5 else style.short(names, 40)
    ax.text(0, 0.5, f"{text}\n{count}", va="center", fontsize=9, transform=ax.transAxes)


def _draw(
    ax: "matplotlib.axes.Axes", record: Record, one: Grouping, place: int, image: Tensor
) -> None:
    show_image(ax, image, record)
    label = int(record.rows["label"].iloc[place])
    color = style.CERTIFIED if label in one.members else style.ATTACKED
    ax.set_title(style.short(class_name(record.header, label), 14), fontsize=8, color=color, y=-0.3)
