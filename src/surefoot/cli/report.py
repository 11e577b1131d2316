"""`surefoot report`: draw the page of records again, beside logs of smoothing papers."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Command:
    """Draw one page, a Markdown summary and a model card from saved records.

    Args:
        folders: Run folders with record.csv and record.json; or files, logs of smoothing papers
            (idx, label, predict, radius, correct, time, by tabs), which get no model card.
        output: The page; the summary (.md) goes beside it.
        title: Title of the page.
        log: Write the one record as such a log too.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    output: Path = Path("report.html")
    title: str = "surefoot report"
    log: Path | None = None

    def run(self) -> None:
        """Read, draw, write."""
        from surefoot.cli.say import say
        from surefoot.evaluation.record import read
        from surefoot.evaluation.smoothing_log import read_log, write_log
        from surefoot.files import write_whole
        from surefoot.report import model_card, write_markdown, write_page

        if not self.folders:
            raise ValueError("give at least one run folder with a record")
        if self.log and len(self.folders) > 1:
            raise ValueError(f"--log writes one record; found {len(self.folders)} folders")
        records = [read_log(path) if path.is_file() else read(path) for path in self.folders]
        write_page(records, self.output, title=self.title)
        write_markdown(records, self.output.with_suffix(".md"))
        for folder, record in zip(self.folders, records, strict=True):
            if folder.is_dir():
                write_whole(folder / "model-card.md", model_card(record).encode())
        say(f"page: {self.output}")
        if self.log:
            write_log(records[0], self.log)
            say(f"log: {self.log}")
