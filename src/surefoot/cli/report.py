"""`surefoot report`: merge shards, and draw the page of records again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from surefoot.cli.gate import check_gate, read_gate
from surefoot.cli.options import check_unused

if TYPE_CHECKING:
    from surefoot.evaluation.record import Record

Format = Literal["html", "md", "csv", "latex", "json", "npz", "vnnlib", "hub"]
IN_RUN = ("npz", "vnnlib", "hub")
"""Formats of one record, written into its folder."""
SUFFIX = {"html": ".html", "md": ".md", "csv": ".csv", "latex": ".tex", "json": ".json"}


@dataclass(frozen=True)
class Command:
    """Draw one page, a Markdown summary and a model card from saved records.

    Shards of a run (--shard) are merged: give the folder they lie in, which receives the whole
    record, or all of them, and the record goes into a folder beside the page, called as it.

    Args:
        folders: Run folders with record.csv and record.json; folders of shards, also of `surefoot
            limit`; or files, logs of smoothing papers (idx, label, predict, radius, correct, time,
            by tabs), which get no model card.
        output: The page; the summary (.md) goes beside it.
        title: Title of the page.
        format: What is written beside each other: html, md, csv (headline table), latex, json
            (metrics at eps). Into each run folder: npz (counterexamples), vnnlib (the same as
            VNN-LIB properties with their values, linf alone), hub (model card and .eval_results for
            the Hugging Face Hub; nothing goes online).
        hub_dataset: Name of the data on the Hub, owner/name, for --format hub.
        ood: Run folders of the same models on data of another kind, to compare their scores (on the
            page).
        log: Write the one record as such a log too.
        partial: Merge the shards that are there although some are missing; the record and the page
            are called partial.
        fail_under: End with status 4 if a metric of a record at eps is smaller, as certified=0.6.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    output: Path = Path("report.html")
    title: str = "surefoot report"
    format: tuple[Format, ...] = ("html", "md")
    hub_dataset: str = ""
    ood: tuple[Path, ...] = ()
    log: Path | None = None
    partial: bool = False
    fail_under: tuple[str, ...] = ()

    def run(self) -> None:
        """Read, draw, write."""
        from surefoot.cli.merged import opened
        from surefoot.cli.say import say
        from surefoot.evaluation.record import read
        from surefoot.evaluation.smoothing_log import write_log
        from surefoot.files import write_whole
        from surefoot.report import model_card

        if not self.folders:
            raise ValueError("give at least one run folder with a record")
        gate = read_gate(self.fail_under)
        found = opened(self.folders, self.output.with_suffix(""), partial=self.partial)
        if not found:
            return
        folders, records = list(found), list(found.values())
        if self.log and len(records) > 1:
            raise ValueError(f"--log writes one record; found {len(records)}")
        records = told_apart(records, folders)
        others = [read(path) for path in self.ood]
        if "hub" not in self.format:
            check_unused(self, ["hub_dataset"], "without --format hub")
        for form in dict.fromkeys(one for one in self.format if one not in IN_RUN):
            path = write_as(form, records, others, self.output, self.title)
            say(f"{'page' if form == 'html' else form}: {path}")
        for folder, record in zip(folders, records, strict=True):
            if folder.is_dir():
                write_whole(folder / "model-card.md", model_card(record).encode())
                for form in dict.fromkeys(one for one in self.format if one in IN_RUN):
                    say(export(form, record, folder, self.hub_dataset))
        if self.log:
            write_log(records[0], self.log)
            say(f"log: {self.log}")
        for record in records:
            check_gate(record, gate)


def told_apart(records: "Sequence[Record]", folders: Sequence[Path]) -> "list[Record]":
    """Add the folder to the names of records that are called alike."""
    names = [record.header.name for record in records]
    return [
        record
        if names.count(record.header.name) == 1
        else replace(record, header=replace(record.header, name=f"{record.header.name} ({folder})"))
        for record, folder in zip(records, folders, strict=True)
    ]


def write_as(
    form: str, records: "Sequence[Record]", others: "Sequence[Record]", output: Path, title: str
) -> Path:
    """Write records in one format beside the page, others (OOD) on the page; return the file."""
    from surefoot.evaluation.metrics import headline as metrics
    from surefoot.files import write_csv, write_json, write_whole
    from surefoot.report import write_markdown, write_page
    from surefoot.report.tables import headline

    path = output if form == "html" else output.with_suffix(SUFFIX[form])
    if form == "html":
        write_page(records, path, title=title, ood=others)
    elif form == "md":
        write_markdown(records, path)
    elif form == "csv":
        write_csv(headline(records), path)
    elif form == "latex":
        write_whole(path, headline(records).to_latex(index=False, escape=True).encode())
    else:
        found = [
            {"name": one.header.name, "eps": one.header.eps, **metrics(one)} for one in records
        ]
        write_json(found, path)
    return path


def export(form: str, record: "Record", folder: Path, hub_dataset: str) -> str:
    """Write a record for other programs into its folder; return the line that says so."""
    from surefoot.report.counterexample_files import write_npz, write_vnnlib
    from surefoot.report.hub_files import write_hub_files

    if form == "npz":
        return f"npz: {write_npz(record, folder)}"
    if form == "vnnlib":
        path, left_out = write_vnnlib(record, folder)
        more = f"; {left_out} rows were broken by several points each, see npz" if left_out else ""
        return f"vnnlib: {path}{more}"
    path, why = write_hub_files(record, folder, hub_dataset)
    return f"hub: {path}" + (f", without .eval_results: {why}" if why else "")
