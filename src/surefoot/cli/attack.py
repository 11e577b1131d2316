"""`surefoot attack`: the upper end of the bracket alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

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
        protocol: margins serves every guarantee; for wrong labels of nets that never abstain also
            AutoAttack (standard, plus, rand, fast) and pgd.
        steps: iterations of each search (AutoAttack has its own).
        step_size: of pgd; by default 2.5 eps / steps.
        skip_certified: do not attack where a Lipschitz certificate reaches the radius.
        vote: attack the vote of a model that is random by itself, and prove each success.
        seed: of the random starts.
        folder: receives the record, the counterexamples and the page; a second call resumes.
    """

    subject: Subject
    rows: Rows = field(default_factory=Rows)
    claim: Claim = field(default_factory=Claim)
    threat: Threat = field(default_factory=Threat)
    radii: tuple[float, ...] = ()
    protocol: Literal["margins", "standard", "plus", "rand", "fast", "pgd"] = "margins"
    steps: int = 100
    step_size: float | None = None
    skip_certified: bool = False
    vote: bool = False
    seed: int = 0
    folder: Path = Path("runs/attack")

    def run(self) -> None:
        """Attack, write, show."""
        own = ("protocol", "steps", "step_size", "skip_certified", "seed")
        shared = {name: value for name, value in vars(self).items() if name not in (*own, "vote")}
        certificate = "vote" if self.vote else "auto" if self.skip_certified else "none"
        chosen = {name: getattr(self, name) for name in own}
        effort = evaluate.Effort(certificate=certificate, **chosen)
        evaluate.evaluate(evaluate.Command(**shared, effort=effort), limits=False)
