"""`surefoot certify`: the lower end of the bracket alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from surefoot.cli import evaluate
from surefoot.cli.evaluate import NOISE, SAMPLES, NoiseFlags, SampleFlags, Threat
from surefoot.cli.guarantee import GuaranteeOptions
from surefoot.cli.options import Rows, Seed
from surefoot.cli.subject import Subject


@dataclass(frozen=True)
class Command:
    """Prove radii inside which a guarantee holds, without attacking.

    Args:
        subject: The model, and whether it may reject.
        rows: The images that are certified.
        guarantee: What must not change inside the ball.
        threat: The ball around each image (radii of smoothing and of Lipschitz bounds are
            l2: linf eps needs eps sqrt(d)).
        radii: Radii of the table; the headline radius is always in it.
        certificate: smoothing (then all numbers are about the smoothed classifier); lipschitz;
            relaxation (bounds on the logits in the whole ball, in its own norm: plain nets, also at
            linf); or auto: lipschitz for nets of Lipschitz layers, relaxation for other small ones,
            lipschitz where a bound is known.
        effort: Of --certificate relaxation: ibp propagates intervals, cheaply; crown substitutes
            lines back to the images; alpha-crown then optimises their slopes for what is undecided,
            at tens of times the cost; branch-and-bound then splits the balls, for --seconds.
        seconds: Of --effort branch-and-bound: so many for each image.
        noise: The smoothed classifier (--certificate smoothing).
        samples: Its certificate.
        at_radii: Decide only the radii of the grid (five around eps unless --radii are given): draw
            until it is certain which of them hold, mostly a few hundred samples; --n-certify is
            then the most. --no-at-radii takes all samples, for the largest radius of each image.
        seed: Seed of the noise; random takes one from the system, which is stored: for images of an
            adversary, who could search for some that suit a seed known beforehand.
        name: Name of the row in tables and figures; by default that of the model.
        shard: Work off this part of the rows alone, as 3/64 for the third of 64, in a folder of its
            own within --folder; surefoot report FOLDER merges them.
        fail_under: End with status 4 if a metric at eps is smaller, as certified=0.6.
        folder: Folder that receives the record and the page; a second call resumes.
    """

    daily = (
        *("model", "reject", "threshold", "coverage", "data", "count", "guarantee", "norm", "eps"),
        *("certificate", "sigma", "n_certify", "folder"),
    )
    subject: Subject
    rows: Rows = field(default_factory=Rows)
    guarantee: GuaranteeOptions = field(default_factory=GuaranteeOptions)
    threat: Threat = field(default_factory=lambda: Threat("l2", 0.25))
    radii: tuple[float, ...] = ()
    certificate: Literal["auto", "lipschitz", "relaxation", "smoothing"] = "smoothing"
    effort: Literal["ibp", "crown", "alpha-crown", "branch-and-bound"] = "crown"
    seconds: float | None = None
    noise: NoiseFlags = NOISE
    samples: SampleFlags = SAMPLES
    at_radii: bool = True
    seed: Seed = 0
    name: str = ""
    shard: str = ""
    fail_under: tuple[str, ...] = ()
    folder: Path = Path("runs/certificates")

    def run(self) -> None:
        """Certify, write, show."""
        evaluate.evaluate(evaluate.Command(**vars(self)), attack=False, limits=False)
