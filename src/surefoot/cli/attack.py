"""`surefoot attack`: the upper end of the bracket alone."""

from dataclasses import dataclass, field
from pathlib import Path

from surefoot.cli import evaluate
from surefoot.cli.evaluate import ATTACK, AttackFlags, Threat
from surefoot.cli.guarantee import GuaranteeOptions
from surefoot.cli.options import Rows
from surefoot.cli.subject import Subject


@dataclass(frozen=True)
class Command:
    """Search for counterexamples to a guarantee; every one found is re-checked and kept.

    Args:
        subject: The model, and whether it may reject.
        rows: The images that are attacked.
        guarantee: What must not change inside the ball.
        threat: The ball around each image.
        radii: Grid of radii; the headline radius is always in it.
        attack: How the net is attacked.
        skip_certified: Do not attack where a certificate of the net reaches the radius.
        vote: Attack the vote of a model that is random by itself, and prove each success.
        seed: Seed of the random starts.
        name: Name of the row in tables and figures; by default that of the model.
        shard: Work off this part of the rows alone, as 3/64 for the third of 64, in a folder of its
            own within --folder; surefoot report FOLDER merges them.
        fail_under: End with status 4 if a metric at eps is smaller, as attacked=0.7.
        folder: Folder that receives the record, the counterexamples and the page; a second call
            resumes.
    """

    daily = (
        *("model", "reject", "threshold", "coverage", "data", "count", "guarantee", "norm", "eps"),
        *("radii", "protocol", "steps", "folder"),
    )
    subject: Subject
    rows: Rows = field(default_factory=Rows)
    guarantee: GuaranteeOptions = field(default_factory=GuaranteeOptions)
    threat: Threat = field(default_factory=Threat)
    radii: tuple[float, ...] = ()
    attack: AttackFlags = ATTACK
    skip_certified: bool = False
    vote: bool = False
    seed: int = 0
    name: str = ""
    shard: str = ""
    fail_under: tuple[str, ...] = ()
    folder: Path = Path("runs/attack")

    def run(self) -> None:
        """Attack, write, show."""
        shared = {name: value for name, value in vars(self).items() if name != "vote"}
        certificate = "vote" if self.vote else "auto" if self.skip_certified else "none"
        evaluate.evaluate(evaluate.Command(**shared, certificate=certificate), limits=False)
