"""`surefoot certify`: the lower end of the bracket alone."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from surefoot.cli import evaluate
from surefoot.cli.options import Claim, Rows, Subject
from surefoot.threat import Threat


@dataclass(frozen=True)
class Command:
    """Prove radii inside which a guarantee holds, without attacking.

    Args:
        subject: which model.
        rows: which data.
        claim: what must not change.
        threat: norm and headline radius (certified radii are l2; linf eps needs eps sqrt(d)).
        radii: radii of the table; the headline radius is always in it.
        effort: which certificate, and how sure.
        folder: receives the record and the page; a second call resumes.
    """

    subject: Subject
    rows: Rows = field(default_factory=Rows)
    claim: Claim = field(default_factory=Claim)
    threat: Threat = field(default_factory=lambda: Threat("l2", 0.25))
    radii: tuple[float, ...] = ()
    effort: evaluate.Effort = field(
        default_factory=lambda: evaluate.Effort(certificate="smoothing")
    )
    folder: Path = Path("runs/certificates")

    def run(self) -> None:
        """Certify, write, show."""
        if self.effort.certificate in ("none", "vote"):
            raise ValueError(
                f"--certificate {self.effort.certificate} leaves nothing to certify: take lipschitz"
                " or smoothing"
            )
        command = replace(evaluate.Command(self.subject), **vars(self))
        evaluate.evaluate(command, attack=False, limits=False)
