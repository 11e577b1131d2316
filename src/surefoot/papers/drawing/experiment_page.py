"""The page of a reproduced experiment: published beside ours, verdicts, and the paper's figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from surefoot.files import write_whole
from surefoot.papers import Curves, Experiment, Outcome, Published, verdicts
from surefoot.papers.drawing.bands import bands_and_points
from surefoot.papers.drawing.boundary_figures import boundary_grid, oscillation_grid
from surefoot.papers.drawing.distances import distance_histogram
from surefoot.papers.drawing.histograms import overlaid_histograms
from surefoot.papers.drawing.perturbation_figure import perturbation_gallery
from surefoot.papers.drawing.region_figures import region_grid
from surefoot.papers.experiment import (
    Bands,
    Boundaries,
    Certified,
    Distances,
    Histograms,
    Oscillations,
    Picture,
    Stack,
)
from surefoot.papers.perturbed_images import Gallery
from surefoot.report.page import render
from surefoot.report.style import (
    ATTACKED,
    CERTIFIED,
    UNKNOWN,
    legend_below,
    new_figure,
    tidy,
    title,
    to_data_uri,
    to_svg,
)

if TYPE_CHECKING:
    import matplotlib.figure

PARTS = {
    "certified": CERTIFIED,
    "accepted": "#9CC7E3",
    "rejected": UNKNOWN,
    "wrong": ATTACKED,
}
"""Of a stack: what certified, attacked and unknown mean elsewhere."""
COLORS = ("#3A3A3A", "#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#8C3B73")


def write_experiment(
    experiment: Experiment, outcome: Outcome, folder: Path | str, *, scale: str
) -> Path:
    """Write `experiment.html` and each picture as an SVG file, all or nothing each.

    Args:
        experiment: what was run.
        outcome: what it gave.
        folder: receives the files.
        scale: at which it was run.
    """
    folder = Path(folder)
    figures = {name: draw(picture) for name, picture in outcome.pictures.items()}
    for name, figure in figures.items():
        write_whole(folder / f"{name}.svg", to_svg(figure))
    text = render(
        "experiment.html",
        package="surefoot.papers.drawing",
        title=experiment.source,
        scale=scale,
        remark=experiment.remark,
        columns=list(dict.fromkeys(entry.figure for entry in outcome.compared)),
        rows=_rows(outcome.compared),
        verdicts=verdicts(outcome.compared) + outcome.findings,
        pictures={name: to_data_uri(figure) for name, figure in figures.items()},
        has_records=bool(outcome.records),
    )
    write_whole(folder / "experiment.html", text.encode())
    return folder / "experiment.html"


def draw(picture: Picture) -> "matplotlib.figure.Figure":
    """Draw one picture of an outcome."""
    if isinstance(picture, Boundaries):
        return boundary_grid(picture.panels)
    if isinstance(picture, Oscillations):
        return oscillation_grid(picture.panels)
    if isinstance(picture, Distances):
        ax = distance_histogram(picture.distances, norm=picture.norm, marks=picture.marks)
        return cast("matplotlib.figure.Figure", ax.figure)
    if isinstance(picture, Certified):
        return region_grid(picture.regions)
    if isinstance(picture, Stack):
        return stack(picture)
    if isinstance(picture, Histograms):
        return overlaid_histograms(picture)
    if isinstance(picture, Bands):
        return bands_and_points(picture)
    if isinstance(picture, Gallery):
        return perturbation_gallery(picture)
    return curves(picture)


def curves(picture: Curves) -> "matplotlib.figure.Figure":
    """Draw one line a row, attacked ones dashed, intervals as bars, published values as circles."""
    figure = new_figure(7.2, 4.4)
    ax = figure.add_subplot()
    for place, (name, frame) in enumerate(picture.frame.groupby("row", sort=False)):
        color = COLORS[place % len(COLORS)]
        line = "o--" if str(name).startswith("attacked") else "o-"
        ax.plot(frame["x"], frame["y"], line, color=color, label=str(name), markersize=4)
        if "low" in frame:
            low, y, high = (frame[name].to_numpy(dtype=float) for name in ("low", "y", "high"))
            ends = [y - low, high - y]
            ax.errorbar(frame["x"], frame["y"], yerr=ends, fmt="none", color=color, alpha=0.35)
        if "published" in frame and frame["published"].notna().any():
            ax.plot(frame["x"], frame["published"], "o", mfc="none", color=color, markersize=8)
    tidy(ax)
    if not picture.percent:
        from matplotlib.ticker import ScalarFormatter

        ax.yaxis.set_major_formatter(ScalarFormatter())
    title(ax, picture.title)
    ax.set_xlabel(picture.across, fontsize=9)
    ax.set_ylabel(picture.up, fontsize=9)
    published = "published" in picture.frame and picture.frame["published"].notna().any()
    legend_below(ax, "open circles: published" if published else "")
    return figure


def stack(picture: Stack) -> "matplotlib.figure.Figure":
    """Draw shares on top of each other; the parts are named beside their colours."""
    figure = new_figure(7.2, 4.4)
    ax = figure.add_subplot()
    parts = [name for name in picture.frame.columns if name != "x"]
    colors = [PARTS.get(name, COLORS[place]) for place, name in enumerate(parts)]
    fractions = [picture.frame[name] for name in parts]
    ax.stackplot(picture.frame["x"], fractions, labels=parts, colors=colors, linewidth=0)
    ax.set_ylim(0, 1)
    ax.margins(x=0)
    tidy(ax)
    title(ax, picture.title)
    ax.set_xlabel(picture.across, fontsize=9)
    ax.set_ylabel("fraction of the images", fontsize=9)
    legend_below(ax, "")
    return figure


def _rows(compared: Sequence[Published]) -> list[tuple[str, list[dict[str, str]]]]:
    """Lay out the table: a row a classifier, a cell a figure."""
    columns = list(dict.fromkeys(entry.figure for entry in compared))
    found = {(entry.row, entry.figure): entry for entry in compared}
    names = list(dict.fromkeys(entry.row for entry in compared))
    return [(name, [_cell(found.get((name, column))) for column in columns]) for name in names]


def _cell(entry: Published | None) -> dict[str, str]:
    if entry is None:
        return {"ours": "", "interval": "", "published": ""}
    if not entry.fraction:
        return {"ours": f"{entry.ours:.2f}", "interval": "", "published": ""}
    published = "" if entry.published is None else f"{100 * entry.published:.1f}"
    return {
        "ours": f"{100 * entry.ours:.1f}",
        "interval": f"[{100 * entry.low:.1f}, {100 * entry.high:.1f}]",
        "published": published,
    }
