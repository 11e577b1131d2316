"""The page of a reproduced experiment: published beside ours, verdicts, and the paper's figure."""

from collections.abc import Sequence
from pathlib import Path

from surefoot.files import write_whole
from surefoot.papers.asked import BANNER, SMOKE, read_asked
from surefoot.papers.experiment import Experiment, Outcome, Published
from surefoot.papers.run import verdicts
from surefoot.report.page import render
from surefoot.report.style import as_data_uri, caption, to_svg


def write_experiment(experiment: Experiment, outcome: Outcome, folder: Path | str) -> Path:
    """Write `experiment.html` and each figure as an SVG file, all or nothing each.

    Args:
        experiment: what was run.
        outcome: what it gave.
        folder: where it ran, with `run.json`; receives the files.
    """
    folder = Path(folder)
    asked = read_asked(folder)
    pictures = {}
    for name, draw in outcome.figures.items():
        figure = draw()
        caption(figure, "\n".join(filter(None, (figure.get_supxlabel(), asked.text()))))
        svg = to_svg(figure)
        write_whole(folder / f"{name}.svg", svg)
        pictures[name] = as_data_uri(svg)
    text = render(
        "experiment.html",
        package="surefoot.papers.drawing",
        title=title_of(experiment, asked.scale),
        banner=BANNER if asked.scale == SMOKE else "",
        asked=asked.text(),
        remark=experiment.remark,
        columns=list(dict.fromkeys(entry.figure for entry in outcome.compared)),
        rows=_rows(outcome.compared),
        verdicts=verdicts(outcome.compared) + outcome.findings,
        pictures=pictures,
        has_records=bool(outcome.records),
    )
    write_whole(folder / "experiment.html", text.encode())
    return folder / "experiment.html"


def title_of(experiment: Experiment, scale: str) -> str:
    """Return the title of a page: a smoke run has the name of no paper's data."""
    return f"{experiment.name}: smoke run" if scale == SMOKE else experiment.source


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
        published = "" if entry.published is None else f"{entry.published:.2f}"
        return {"ours": f"{entry.ours:.2f}", "interval": "", "published": published}
    published = "" if entry.published is None else f"{100 * entry.published:.1f}"
    return {
        "ours": f"{100 * entry.ours:.1f}",
        "interval": f"[{100 * entry.low:.1f}, {100 * entry.high:.1f}]",
        "published": published,
    }
