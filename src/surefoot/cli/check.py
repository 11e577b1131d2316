"""`surefoot check`: recompute from records what can be recomputed, with numpy or with the net."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from surefoot.cli.options import check_unused
from surefoot.cli.say import say


@dataclass(frozen=True)
class Command:
    """Recompute hash, counts and order of records, and measure their counterexamples.

    The same check is one file that needs numpy alone: surefoot check --script > check.py, then
    python check.py RUN; for whoever shall not have to trust this package. Status 1 if something
    does not hold. With --model the certificate is recomputed, too, for some of the certified rows.

    Args:
        folders: Folders with record.csv and record.json.
        script: Print that file.
        model: The net that was evaluated: recompute its certificate (relaxation, with the effort of
            the record, or lipschitz); data, rejection and preprocessing are those of the command
            in the record.
        count: Certified rows that are recomputed, evenly spread; 0 takes all.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]] = ()
    script: bool = False
    model: str = ""
    count: int = 20

    def run(self) -> None:
        """Check all, and end with their status."""
        from surefoot import check

        if self.script:
            print(Path(check.__file__).read_text(encoding="utf-8"), end="")
            return
        if not self.folders:
            raise ValueError("give at least one folder with a record")
        if not self.model:
            check_unused(self, ["count"], "without --model")
        elif self.count < 0:
            raise ValueError(f"--count must be at least 0; found {self.count}")
        status = check.main([str(folder) for folder in self.folders])
        if self.model and not status:  # a record that does not hold is not recomputed
            status = max(self._recomputed(folder) for folder in self.folders)
        if status:
            raise SystemExit(status)

    def _recomputed(self, folder: Path) -> int:
        """Recompute the certificate of a record, print what was found, and return the status."""
        from surefoot.cli.recomputed import recompute

        wrong, told = recompute(folder, self.model, self.count)
        for text in (*wrong, *told):
            say(f"{folder}: {text}")
        return int(bool(wrong))
