"""`surefoot evaluate`: attack, certify and limit one classifier; write record and page."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from surefoot.cli.options import (
    Claim,
    Rows,
    Seed,
    Subject,
    check_seeds,
    check_unused,
    command_line,
)
from surefoot.cli.say import say
from surefoot.cli.show import show_record
from surefoot.data import Data
from surefoot.threat import Threat


@dataclass(frozen=True)
class Effort:
    """How to certify and how hard to attack.

    Args:
        certificate: lipschitz (dense MinMax nets), smoothing (then all figures are about the vote
            under noise), vote (figures about the vote of a model that is random by itself; nothing
            is certified), none, or auto: lipschitz where a bound is known, else none.
        sigma: noise of the vote.
        alpha: error probability of a smoothing certificate, for each image.
        n_select: noisy copies that fix the sets.
        n_certify: noisy copies (vote: draws) that are counted.
        decide: of smoothing: draw only until it is sure which radii of the grid hold, mostly a few
            hundred copies; n_certify is then the most.
        tolerance: of smoothing without --decide: stop where more copies could hardly add more than
            this l2 radius.
        rule: of smoothing: argmax, or majority (a label only with more than half of the mass, else
            uncertain; needs --reject).
        levels: of smoothing: 255 draws the noise of 8-bit images as whole numbers, free of
            rounding; 0: floating point.
        skip_certified: do not attack where the certificate reaches the radius (then nothing checks
            the certificate).
        protocol: how a net is attacked: margins serves every guarantee; for wrong labels of nets
            that never abstain also AutoAttack (standard, plus, rand, fast) and pgd.
        steps: of each search on a net (AutoAttack has its own; a vote is attacked in 20 steps).
        step_size: of pgd; by default 2.5 eps / steps.
        seed: of noise and random starts; random takes one from the system, which is stored: for
            images of an adversary, who could search for some that suit a seed known beforehand.
    """

    certificate: Literal["auto", "none", "lipschitz", "smoothing", "vote"] = "auto"
    sigma: float = 0.25
    alpha: float = 1e-3
    n_select: int = 100
    n_certify: int = 10_000
    decide: bool = False
    tolerance: float | None = None
    rule: Literal["argmax", "majority"] = "argmax"
    levels: int = 0
    skip_certified: bool = False
    protocol: Literal["margins", "standard", "plus", "rand", "fast", "pgd"] = "margins"
    steps: int = 100
    step_size: float | None = None
    seed: Seed = 0

    def check(self, *, attack: bool) -> None:
        """Raise on options that would be ignored."""
        check_seeds(self.seed)
        how = f"on --certificate {self.certificate}"
        if not attack:
            searches = ["protocol", "steps", "step_size", "skip_certified"]
            check_unused(self, searches, "where nothing is attacked")
        if self.protocol not in ("margins", "pgd"):
            check_unused(self, ["steps"], f"on --protocol {self.protocol}")
        if self.certificate in ("smoothing", "vote"):
            own = ["protocol", "steps", "step_size"]
            check_unused(self, own, f"{how}: a vote has an attack of its own")
        noise = ["sigma", "n_select", "decide", "tolerance", "rule", "levels"]
        if self.certificate != "smoothing":
            check_unused(self, noise, f"{how}: it is for --certificate smoothing")
        if self.certificate not in ("smoothing", "vote"):
            counts = ["alpha", "n_certify"]
            check_unused(self, counts, f"{how}: it is for --certificate smoothing or vote")
        if self.certificate in ("vote", "none"):
            check_unused(self, ["skip_certified"], f"{how}: it needs a certificate")


@dataclass(frozen=True)
class Command:
    """Evaluate one classifier: certified <= true robust accuracy <= attacked <= clean.

    Args:
        subject: which model.
        rows: which data.
        claim: what must not change.
        threat: norm and headline radius.
        radii: grid of radii; the headline radius is always in it.
        effort: certificate and attack.
        folder: receives record.csv, record.json, counterexamples.safetensors, report.html and
            report.md; a second call goes on where the first was killed.
    """

    subject: Subject
    rows: Rows = field(default_factory=Rows)
    claim: Claim = field(default_factory=Claim)
    threat: Threat = field(default_factory=Threat)
    radii: tuple[float, ...] = ()
    effort: Effort = field(default_factory=Effort)
    folder: Path = Path("runs/evaluation")

    def run(self) -> None:
        """Evaluate, write, show."""
        evaluate(self)


def evaluate(command: Command, *, attack: bool = True, limits: bool = True) -> None:
    """Run the bracket that the options describe."""
    from accelerate import PartialState

    from surefoot.evaluation import bracket
    from surefoot.report import write_markdown, write_page

    command.effort.check(attack=attack)
    data, others = command.rows.load()
    guarantee = command.claim.build(data.classes)
    decided = _decided(command, data)
    model = command.subject.open(data, others)
    record = bracket(
        classifier_of(model, command.effort, decided),
        data,
        guarantee=guarantee,
        threat=command.threat,
        radii=command.radii,
        attack=attack,
        limits=limits,
        skip_certified=command.effort.skip_certified,
        folder=command.folder,
        name=Path(command.subject.model).name,
        command=command_line(),
    )
    if not PartialState().is_main_process:
        return
    write_page([record], command.folder / "report.html")
    write_markdown([record], command.folder / "report.md")
    show_record(record)
    say(f"record and page: {command.folder / 'report.html'}")


def _decided(command: Command, data: Data) -> tuple[float, ...]:
    """Give the l2 radii that a smoothing certificate is to decide: those of the grid, or none."""
    if not command.effort.decide:
        return ()
    from surefoot.evaluation.bracket import grid_of

    dimension = data.batch(slice(0, 1))[0].numel()
    scale = Threat(command.threat.norm, 1.0).l2_radius(dimension)
    # A hair more, so that a decided radius is still one after it was turned into another norm.
    grid = grid_of(command.radii, command.threat)
    return tuple(radius * scale * (1 + 1e-12) for radius in grid if radius > 0)


def classifier_of(model, effort: Effort, decided: tuple[float, ...] = ()):
    """Give the classifier the row is about."""
    from surefoot.attacks import VoteSearch
    from surefoot.evaluation import Plain, Smoothed
    from surefoot.uncertainty.vote import Vote

    if effort.certificate == "smoothing" and not effort.sigma > 0:
        raise ValueError(f"--certificate smoothing needs --sigma above 0; found {effort.sigma:g}")
    if effort.certificate in ("smoothing", "vote"):
        sigma = effort.sigma if effort.certificate == "smoothing" else 0.0
        return Smoothed(
            Vote(model, sigma, effort.levels, effort.rule),
            alpha=effort.alpha,
            n_select=effort.n_select,
            n_certify=effort.n_certify,
            search=VoteSearch(alpha=effort.alpha),
            seed=effort.seed,
            radii=decided,
            tolerance=effort.tolerance,
        )
    certificate = effort.certificate
    if certificate == "auto":
        certificate = "lipschitz" if _made_for_it(model) else "none"
    if effort.skip_certified and certificate == "none":
        raise ValueError(
            "--skip-certified has no effect: no Lipschitz bound is known for this net; leave it out"
        )
    own = ("steps", "seed", "protocol", "step_size")
    return Plain(model, certificate, **{name: getattr(effort, name) for name in own})


def _made_for_it(model) -> bool:
    """Say whether a Lipschitz certificate is cheap or likely to say something.

    Dense nets are cheap; those with convolutions may take minutes, and are worth it where they
    have the layers of Lipschitz nets.
    """
    from surefoot.certify.lipschitz import pairwise
    from surefoot.models.lipschitz import layers

    kinds = (layers.MinMax, layers.BetaAbs)
    if any(isinstance(layer, kinds) for layer in getattr(model, "modules", list)()):
        return True
    try:
        pairwise(model)
    except ValueError:
        return False
    return True
