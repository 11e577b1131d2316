"""`surefoot evaluate`: attack, certify and limit one classifier; write record and page."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from surefoot.cli.declared import declared, real
from surefoot.cli.gate import check_gate, read_gate
from surefoot.cli.guarantee import GuaranteeOptions
from surefoot.cli.options import (
    Rows,
    Seed,
    boxed,
    check_seeds,
    check_unused,
    command_line,
)
from surefoot.cli.say import is_first, on_first, say
from surefoot.cli.subject import Subject
from surefoot.files import locked

CLASSIFIERS = "surefoot.evaluation.classifiers"
ATTACK: Any = declared(
    CLASSIFIERS,
    "Plain",
    without=("model", "certificate", "seed", "value_range", "norm", "decided", "effort", "seconds"),
)()
SAMPLES: Any = declared(
    "surefoot.certify.smoothing.sampling",
    "Sampling",
    without=("seed", "radii", "batch_size", "value_range"),
)(n_certify=10_000)
NOISE: Any = declared("surefoot.uncertainty.vote", "Vote", without=("model",))(sigma=0.25)
"""The defaults of the flags that are fields of the two classifiers, and of the noise of one."""
AROUND = (0.25, 0.5, 1.0, 1.5, 2.0)
"""Of eps: the radii that are decided where none are given."""
if TYPE_CHECKING:
    from surefoot.certify.smoothing import Sampling as SampleFlags
    from surefoot.cli.automatic import Choice
    from surefoot.data import Data
    from surefoot.evaluation import Plain as AttackFlags
    from surefoot.evaluation import Record
    from surefoot.threat import Threat
    from surefoot.uncertainty.vote import Vote as NoiseFlags
else:
    Threat = declared("surefoot.threat", "Threat")
    AttackFlags, SampleFlags, NoiseFlags = type(ATTACK), type(SAMPLES), type(NOISE)


Certificate = Literal["auto", "none", "lipschitz", "relaxation", "smoothing", "vote"]


@dataclass(frozen=True)
class Command:
    """Evaluate one classifier: certified <= true robust accuracy <= attacked <= clean.

    Args:
        subject: The model, and whether it may reject.
        rows: The images that are evaluated.
        guarantee: What must not change inside the ball.
        threat: The ball around each image.
        radii: Grid of radii; the headline radius is always in it.
        certificate: lipschitz; relaxation (bounds on the logits in the whole ball, in its own norm:
            plain nets, also at linf); smoothing (then all numbers are about the smoothed
            classifier); vote (numbers about the vote of a model that is random by itself; nothing
            is certified); none; or auto: lipschitz for nets of Lipschitz layers, relaxation for
            others whose first image takes at most 2 s by it, lipschitz where a bound is known, else
            none. The choice is printed with its cost, and kept in the folder (auto.json).
        effort: Of --certificate relaxation: ibp propagates intervals, cheaply; crown substitutes
            lines back to the images; alpha-crown then optimises their slopes for what is undecided,
            at tens of times the cost; branch-and-bound then splits the balls, for --seconds.
        seconds: Of --effort branch-and-bound: so many for each image.
        noise: The smoothed classifier (--certificate smoothing).
        samples: Its certificate (--certificate smoothing or vote).
        at_radii: Decide only the radii of the grid (five around eps unless --radii are given): draw
            until it is certain which of them hold, mostly a few hundred samples; --n-certify is
            then the most. --no-at-radii takes all samples, for the largest radius of each image.
        attack: How a net is attacked; a smoothed classifier has an attack of its own.
        skip_certified: Do not attack where the certificate reaches the radius (then nothing checks
            the certificate).
        seed: Seed of noise and random starts; random takes one from the system, which is stored:
            for images of an adversary, who could search for some that suit a seed known beforehand.
        name: Name of the row in tables and figures; by default that of the model.
        shard: Work off this part of the rows alone, as 3/64 for the third of 64, in a folder of its
            own within --folder; surefoot report FOLDER merges them.
        fail_under: End with status 4 if a metric at eps is smaller, as certified=0.6 or
            attacked=0.7 (clean, attacked, certified, coverage): a gate for continuous integration.
        folder: Folder that receives record.csv, record.json, counterexamples.safetensors,
            report.html and report.md; a second call goes on where the first was killed.
    """

    daily = (
        *("model", "reject", "threshold", "coverage", "data", "count", "guarantee", "norm", "eps"),
        *("radii", "certificate", "sigma", "folder"),
    )
    subject: Subject
    rows: Rows = field(default_factory=Rows)
    guarantee: GuaranteeOptions = field(default_factory=GuaranteeOptions)
    threat: Threat = field(default_factory=Threat)
    radii: tuple[float, ...] = ()
    certificate: Certificate = "auto"
    effort: Literal["ibp", "crown", "alpha-crown", "branch-and-bound"] = "crown"
    seconds: float | None = None
    noise: NoiseFlags = NOISE
    samples: SampleFlags = SAMPLES
    at_radii: bool = True
    attack: AttackFlags = ATTACK
    skip_certified: bool = False
    seed: Seed = 0
    name: str = ""
    shard: str = ""
    fail_under: tuple[str, ...] = ()
    folder: Path = Path("runs/evaluation")

    def run(self) -> None:
        """Evaluate, write, show."""
        evaluate(self)

    def check(self, *, attack: bool) -> None:
        """Raise on options that would be ignored."""
        check_seeds(self.seed)
        how = f"on --certificate {self.certificate}"
        draws = self.certificate in ("smoothing", "vote")
        if not attack or draws:
            why = f"{how}: it has an attack of its own" if draws else "where nothing is attacked"
            check_unused(self.attack, list(vars(self.attack)), why, ATTACK)
        if self.attack.protocol not in ("margins", "pgd"):
            check_unused(self.attack, ["steps"], f"on --protocol {self.attack.protocol}", ATTACK)
        if self.certificate != "smoothing":
            why = f"{how}: it is for --certificate smoothing"
            check_unused(self.noise, list(vars(self.noise)), why, NOISE)
            check_unused(self.samples, ["n_select", "tolerance"], why, SAMPLES)
            check_unused(self, ["at_radii"], why)
        elif not self.noise.sigma > 0:
            raise ValueError(
                f"--certificate smoothing needs --sigma above 0; found {self.noise.sigma:g}"
            )
        if not draws:
            why = f"{how}: it is for --certificate smoothing or vote"
            check_unused(self.samples, list(vars(self.samples)), why, SAMPLES)
        if self.certificate not in ("relaxation", "auto"):
            why = f"{how}: it is for --certificate relaxation"
            check_unused(self, ["effort", "seconds"], why)
        if self.effort != "branch-and-bound":
            check_unused(self, ["seconds"], "without --effort branch-and-bound")
        elif self.seconds is None:
            raise ValueError("--effort branch-and-bound needs --seconds, a limit for each image")
        if self.certificate in ("vote", "none"):
            check_unused(self, ["skip_certified"], f"{how}: it needs a certificate")


def evaluate(command: Command, *, attack: bool = True, limits: bool = True) -> None:
    """Run the bracket that the options describe."""
    from surefoot.cli.automatic import FILE
    from surefoot.cli.show import show_record
    from surefoot.evaluation import Shard, bracket
    from surefoot.evaluation.store import OUTCOMES
    from surefoot.report import write_markdown, write_page

    command.check(attack=attack)
    gate = read_gate(command.fail_under)
    shard = Shard.read(command.shard) if command.shard else None
    folder = shard.folder(command.folder) if shard else command.folder
    if shard:
        why = "with --shard: surefoot report has it, for all shards together"
        check_unused(command, ["fail_under"], why)
    data, others = command.rows.load()
    guarantee = command.guarantee.build(data.classes)
    smoothed = command.certificate == "smoothing"
    grid = _grid(command)
    decided = _decided(command, data, grid)
    model = command.subject.open(data, others, command.noise.sigma if smoothed else 0.0)
    limits = limits and data.labels is not None
    aside = command.rows.searched(others) if limits else None
    threat = boxed(real(command.threat), data)
    # A choice alone is nothing to keep: a run that ends before it kept more leaves no folder.
    with locked(folder, owner=is_first(), scratch=(FILE, OUTCOMES)):
        choice = _choice(model, command, data, guarantee, threat)
        certificate = choice.certificate if choice else command.certificate
        classifier = classifier_of(model, command, certificate, decided)
        searches = _without_gradients(classifier, data) if attack else ()
        why = choice.why if choice else ""
        for line in plan(classifier, why, searches, attack=attack, limits=limits):
            say(line)
        new = not (folder / "record.csv").is_file()
        record = bracket(
            classifier,
            data,
            guarantee=guarantee,
            threat=threat,
            radii=grid,
            attack=attack,
            limits=limits,
            others=aside,
            skip_certified=command.skip_certified,
            folder=command.folder,
            shard=shard,
            name=command.name or Path(command.subject.model).name,
            command=command_line(),
        )
        # A record that was there already, that of shards too, keeps what it says.
        record = _noted(record, choice, folder) if new else record
    if not is_first():
        return
    write_page([record], folder / "report.html")
    write_markdown([record], folder / "report.md")
    show_record(record)
    say(f"record and page: {folder / 'report.html'}")
    check_gate(record, gate)


def _choice(model, command: Command, data: "Data", guarantee, threat) -> "Choice | None":
    """Return what --certificate auto takes; None for any other.

    The first process times an image, and the others of a launch read what it chose.
    """
    if command.certificate != "auto":
        return None
    from surefoot.cli.automatic import Choice, choose, kept
    from surefoot.evaluation.bracket import grid_of
    from surefoot.evaluation.identity import identity_of
    from surefoot.evaluation.warnings import try_model

    try_model(model, data.inputs(slice(0, 8)))
    grid = grid_of(_grid(command), threat)
    bounded: Any = classifier_of(model, command, "relaxation").within(threat, grid)
    asked = command.effort != "crown" or command.seconds is not None

    def made(*, timed: bool = True) -> Choice:
        return choose(bounded, data, guarantee, asked=asked, timed=timed)

    if command.shard:
        choice = made(timed=False)
    else:
        first = data.first(min(8, len(data))).fingerprint()
        parts = {"model": identity_of(model, data), "data": (first, len(data)), "threat": threat}
        parts |= {"radii": grid, "guarantee": guarantee.describe(), "effort": bounded.settings()}
        choice = on_first(lambda: kept(command.folder, parts, made))
    if choice.certificate != "relaxation":
        why = f"where --certificate auto takes {choice.certificate} ({choice.why})"
        check_unused(command, ["effort", "seconds"], why)
    return choice


def _noted(record: "Record", choice: "Choice | None", folder: Path) -> "Record":
    """Return the record with what was chosen, and why, among its notes; it is saved."""
    if choice is None:
        return record
    text = f"--certificate auto took {choice.certificate}: {choice.why}"
    if text not in record.header.notes:
        notes = (*record.header.notes, text)
        record = replace(record, header=replace(record.header, notes=notes))
        if is_first():
            record.save(folder)
    return record


def classifier_of(model, command: Command, certificate: Any, decided: tuple[float, ...] = ()):
    """Return the classifier the row is about, with this certificate: its fields are the flags."""
    from surefoot.attacks import VoteSearch
    from surefoot.evaluation import Plain, Smoothed
    from surefoot.uncertainty.vote import Vote

    seed = command.seed
    if certificate in ("smoothing", "vote"):
        noise: dict[str, Any] = {"sigma": 0.0}
        if certificate == "smoothing":
            noise = vars(command.noise)
        search = VoteSearch(alpha=command.samples.alpha)
        return Smoothed(
            Vote(model, **noise),
            **vars(command.samples),
            search=search,
            seed=seed,
            radii=decided or None,
        )
    if command.skip_certified and certificate == "none":
        raise ValueError(
            "--skip-certified has no effect: no certificate is known for this net; leave it out"
        )
    bounds: dict[str, Any] = {}
    if certificate == "relaxation":
        bounds = {"effort": command.effort, "seconds": command.seconds}
    return Plain(model, certificate, seed=seed, **bounds, **vars(command.attack))


def _without_gradients(classifier, data: "Data") -> tuple[str, ...]:
    """Return the searches that need no gradients, where the model has none."""
    from surefoot.models.border import has_gradient

    with suppress(Exception):  # what a model raises on the data is told by `bracket`
        if not has_gradient(classifier.net, data.inputs(slice(0, 2))):
            return ("square", "square-vote")
    return ()


def plan(
    classifier, why: str, searches: tuple[str, ...] = (), *, attack: bool, limits: bool
) -> list[str]:
    """Describe what is going to be done.

    Args:
        classifier: that is evaluated.
        why: reason of the certificate that auto took; "" for one that was given.
        searches: of the attack, those known to run.
        attack: whether there is one.
        limits: ditto.
    """
    from surefoot.evaluation import Smoothed

    if isinstance(classifier, Smoothed):
        how = "the radii of the grid" if classifier.radii else "the largest radius"
        proof = f"smoothing with sigma {classifier.vote.sigma:g}: decides {how} of each image"
        if classifier.vote.sigma == 0:
            proof = "none: the vote of a model that is random by itself is counted"
    elif classifier.certificate == "lipschitz":
        proof = "Lipschitz bounds"
    elif classifier.certificate == "relaxation":
        proof = f"linear relaxation, {classifier.effort}: decides the radii of the grid"
    else:
        proof = "none"
    if why:
        proof += f" (auto: {why})"
    return [
        f"certificate: {proof}",
        f"attack: {classifier.describe(searches).name if attack else 'none'}",
        "limit: " + ("estimated, and proven for these rows" if limits else "none"),
    ]


def _grid(command: Command) -> tuple[float, ...]:
    """Return the radii asked for; where a smoothed classifier decides them, five around eps."""
    if command.radii or command.certificate != "smoothing" or not command.at_radii:
        return command.radii
    return tuple(command.threat.eps * part for part in AROUND)


def _decided(command: Command, data: "Data", radii: tuple[float, ...]) -> tuple[float, ...]:
    """Return the l2 radii that a smoothing certificate is to decide: those of the grid, or none."""
    if command.certificate != "smoothing" or not command.at_radii:
        return ()
    from surefoot.evaluation.bracket import grid_of

    threat = real(command.threat)
    dimension = data.inputs(slice(0, 1)).numel()
    scale = replace(threat, eps=1.0).l2_radius(dimension)
    # Larger by rounding, so that a decided radius is still one after a change of the norm.
    grid = grid_of(radii, threat)
    return tuple(radius * scale * (1 + 1e-12) for radius in grid if radius > 0)
