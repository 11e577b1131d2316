"""`surefoot report`: draw the page of records again."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Command:
    """Draw one page, a Markdown summary and a model card from saved records.

    Args:
        folders: run folders with record.csv and record.json.
        output: the page; the summary (.md) goes beside it.
        title: of the page.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    output: Path = Path("report.html")
    title: str = "surefoot report"

    def run(self) -> None:
        """Read, draw, write."""
        from surefoot.evaluation.record import read
        from surefoot.files import write_whole
        from surefoot.report import model_card, write_markdown, write_page

        if not self.folders:
            raise ValueError("give at least one run folder with a record")
        records = [read(folder) for folder in self.folders]
        write_page(records, self.output, title=self.title)
        write_markdown(records, self.output.with_suffix(".md"))
        for folder, record in zip(self.folders, records, strict=True):
            write_whole(folder / "model-card.md", model_card(record).encode())
        print(f"page: {self.output}")
