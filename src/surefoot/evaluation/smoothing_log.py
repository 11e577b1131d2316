r"""The five-column log of smoothing papers: read it as a record, write a record as one.

Cohen, Rosenfeld, Kolter 2019 and everything built on their code write a tab-separated file, one
line an image: `idx label predict radius correct time`; `predict` is -1 where the vote abstained,
`radius` an l2 radius. Sigma, alpha, the number of copies and the data are not in it.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from surefoot.evaluation.header import DataPart, Header, LogPart, ModelPart, SmoothingPart
from surefoot.evaluation.record import Record
from surefoot.files import write_whole
from surefoot.guarantees import Local
from surefoot.threat import Threat

NEEDED = ("idx", "label", "predict", "radius", "correct")
COLUMNS = (*NEEDED, "time")
STEP = 0.25
"""Of the grid of radii, where none is given."""
UNKNOWN = (
    "read from a smoothing log: sigma, alpha, copies and data are not in it, nothing was attacked,"
    " and abstentions count as errors, so that its clean accuracy is a lower bound"
)
TRUE, FALSE = ("1", "1.0", "true"), ("0", "0.0", "false")


def read_log(path: Path | str, *, radii: Sequence[float] | None = None) -> Record:
    """Read a log as a record of `Local` in l2, with what it does not say left open.

    Certified accuracy is that of the log. `score` is NaN and `attacked` infinite wherever the label
    is right; a column `seconds` holds the times, NaN where there are none.

    Args:
        path: of the log; further columns are left out.
        radii: of the tables; None: multiples of 0.25 up to the largest radius.
    """
    path = Path(path)
    lines = _lines(path)
    rows = pd.DataFrame([_row(line) for line in lines])
    largest = float(rows["certified"].max())
    grid = list(radii or _grid(largest))
    header = Header(
        path.stem,
        ModelPart("unknown", "vote"),
        DataPart("unknown", len(rows)),
        Local().describe(),
        Threat("l2", max(grid)),
        tuple(sorted(set(grid))),
        config={"log": path.name},
        certificate=LogPart(path.name),
        warnings=(UNKNOWN,),
    )
    return Record(rows, header)


def write_log(record: Record, path: Path | str) -> None:
    """Write a record of smoothed `Local` as a log; radii are those of the predicted label.

    An image without a radius becomes an abstention, as the papers do. The time is empty: a record
    has none for single images, save one that was read from a log.

    Raises:
        ValueError: another guarantee, norm or certificate, for which the format has no room.
    """
    _check(record)
    rows = record.rows
    seconds = rows["seconds"] if "seconds" in rows else [math.nan] * len(rows)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    columns = (rows["index"], rows["label"], rows["prediction"], rows["accepted"], rows["radii"])
    for index, label, prediction, accepted, radii, time in zip(*columns, seconds, strict=True):
        radius = float(radii or 0)
        predict = int(prediction) if accepted and radius > 0 else -1
        shown = radius if predict >= 0 else 0.0
        writer.writerow([index, label, predict, shown, int(predict == label), _time(time)])
    write_whole(Path(path), text.getvalue().encode())


def _check(record: Record) -> None:
    header, by = record.header, record.header.certificate
    one_label = header.guarantee.name == Local.__name__ and header.norm == "l2"
    if not (one_label and isinstance(by, SmoothingPart | LogPart)):
        raise ValueError(
            "a smoothing log holds l2 radii of one label, from smoothing; found guarantee"
            f" {header.guarantee.name}, norm {header.norm}, certificate"
            f" {by.method if by else 'none'}. Evaluate with --guarantee local"
            " --norm l2 --certificate smoothing"
        )


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter="\t")
        names = [name.strip() for name in reader.fieldnames or []]
        missing = [name for name in NEEDED if name not in names]
        if missing:
            raise ValueError(
                f"{path} is no smoothing log: expected the tab-separated columns"
                f" {', '.join(COLUMNS)}; missing {', '.join(missing)}"
            )
        reader.fieldnames = names
        lines = [{"place": f"{path}, line {reader.line_num}", **line} for line in reader]
    if not lines:
        raise ValueError(f"{path} holds no line below its header")
    return lines


def _row(line: Mapping[str, str | None]) -> dict[str, Any]:
    """Return one row of the record; raise if the line contradicts itself."""
    index, label, predict = (_whole(line, name) for name in NEEDED[:3])
    radius, correct = _number(line, "radius"), str(line["correct"]).strip().lower()
    if correct not in (*TRUE, *FALSE):
        raise ValueError(f"{line['place']}: `correct` must be 0 or 1; found {line['correct']!r}")
    right, answered = correct in TRUE, predict >= 0
    if right != (predict == label) or not 0 <= radius < math.inf or min(index, label) < 0:
        raise ValueError(
            f"{line['place']}: label {label}, predict {predict}, correct {correct} and radius"
            f" {radius:g} do not go together"
        )
    return {
        "index": index,
        "label": label,
        "prediction": predict,
        "accepted": answered,
        "certified_accepted": answered,
        "score": math.nan,
        "set": str(predict) if right else "",
        "set_size": int(right),
        "sets": str(predict) if answered else "",
        "radii": repr(radius) if answered else "0.0",
        "clean": right,
        "certified": radius if right else 0.0,
        "attacked": math.inf if right else 0.0,
        "nearest": math.inf,
        "attack": "",
        "samples": 0,
        "seconds": _seconds(line.get("time")),
    }


def _whole(line: Mapping[str, str | None], name: str) -> int:
    number = _number(line, name)
    if not number.is_integer():
        raise ValueError(f"{line['place']}: `{name}` must be a whole number; found {line[name]!r}")
    return int(number)


def _number(line: Mapping[str, str | None], name: str) -> float:
    try:
        return float(str(line[name]))
    except ValueError as error:
        raise ValueError(
            f"{line['place']}: `{name}` must be a number; found {line[name]!r}. Was the run killed?"
        ) from error


def _seconds(text: str | None) -> float:
    """Read "0:00:13.7", "13.7" or "1 day, 0:00:01"; NaN for anything else."""
    days, _, rest = (text or "").rpartition(", ")
    try:
        parts = [float(part) for part in rest.split(":")]
        whole = float(days.split()[0]) if days else 0.0
    except (ValueError, IndexError):
        return math.nan
    return 86_400 * whole + sum(part * 60**place for place, part in enumerate(reversed(parts)))


def _time(seconds: float) -> str:
    return "" if math.isnan(seconds) else str(timedelta(seconds=seconds))


def _grid(largest: float) -> list[float]:
    count = int(largest / STEP)
    return [STEP * place for place in range(1, count + 1)] or [largest or STEP]
