"""`surefoot check`: recompute from records what can be recomputed, with numpy alone."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Command:
    """Recompute hash, counts and order of records, and measure their counterexamples.

    The same check is one file that needs numpy alone: surefoot check --script > check.py, then
    python check.py RUN; for whoever shall not have to trust this package. Status 1 if something
    does not hold.

    Args:
        folders: Folders with record.csv and record.json.
        script: Print that file.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]] = ()
    script: bool = False

    def run(self) -> None:
        """Check all, and end with their status."""
        from surefoot import check

        if self.script:
            print(Path(check.__file__).read_text(encoding="utf-8"), end="")
            return
        if not self.folders:
            raise ValueError("give at least one folder with a record")
        if status := check.main([str(folder) for folder in self.folders]):
            raise SystemExit(status)
