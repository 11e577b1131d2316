"""`surefoot attack`: the upper end of the bracket alone."""

from dataclasses import dataclass, field
from pathlib import Path

from surefoot.cli import evaluate
from surefoot.cli.options import Claim, Rows, Subject
from surefoot.threat import Threat


@dataclass(frozen=True)
class Command:
    """Search for counterexamples to a guarantee; every one found is re-checked and kept.

    Args:
        subject: which model.
        rows: which data.
        claim: what must not change.
        threat: norm and headline radius.
        radii: grid of radii; the headline radius is always in it.
        steps: iterations of each search.
        seed: of the random starts.
        folder: receives the record, the witnesses and the page; a second call resumes.
    """

    subject: Subject
    rows: Rows = field(default_factory=Rows)
    claim: Claim = field(default_factory=Claim)
    threat: Threat = field(default_factory=Threat)
    radii: tuple[float, ...] = ()
    steps: int = 100
    seed: int = 0
    folder: Path = Path("runs/attack")

    def run(self) -> None:
        """Attack, write, show."""
        own = ("steps", "seed")
        shared = {name: value for name, value in vars(self).items() if name not in own}
        effort = evaluate.Effort(certificate="none", steps=self.steps, seed=self.seed)
        evaluate.evaluate(evaluate.Command(**shared, effort=effort), limits=False)
