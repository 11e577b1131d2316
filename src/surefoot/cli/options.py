"""Options that several commands share, as frozen dataclasses, and what they stand for."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor, nn

from surefoot.cli.say import say
from surefoot.data import Data, data_folder, groups, load
from surefoot.guarantees import (
    Affinity,
    Guarantee,
    LabelOrUncertain,
    Local,
    RelaxedTopK,
    TopK,
)
from surefoot.models import build, open_model
from surefoot.models.io import read_config


def check_unused(options: object, names: Sequence[str], reason: str) -> None:
    """Raise if an option that would be ignored was given: it differs from its default."""
    for one in fields(options):  # pyright: ignore[reportArgumentType]
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if one.name in names and getattr(options, one.name) != default:
            raise ValueError(f"{flag(one.name)} has no effect {reason}; leave it out")


def flag(name: str) -> str:
    """Spell a field as the flag it is."""
    return "--" + name.replace("_", "-")


def _seed(words: list[str]) -> int:
    """Read a seed; "random" takes one from the system, and says which."""
    if words[0] != "random":
        return int(words[0])
    from surefoot.streams import system_seed

    seed = system_seed()
    print(f"seed {seed} from the system; give --seed {seed} to go on with a run that was stopped")
    return seed


Seed = Annotated[
    int,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT|random",
        instance_from_str=_seed,
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""Of noise and starts; "random" where images come from an adversary who could know the seed."""


def check_seeds(*seeds: int) -> None:
    """Raise unless torch can take the seeds."""
    if not all(0 <= seed < 2**63 for seed in seeds):
        raise ValueError(
            f"seeds must be at least 0 and below 2**63; found {', '.join(map(str, seeds))}"
        )


@dataclass(frozen=True)
class Rows:
    """Which data.

    Args:
        data: digits, moons, mnist, fashion-mnist, cifar10, cifar10h, ..., a .npz file, a folder of
            images by class, or hf:owner/name.
        split: train or test.
        count: how many images; they are drawn by `data_seed`. 0 takes all.
        data_seed: of the draw.
    """

    data: str = "digits"
    split: Literal["train", "test"] = "test"
    count: int = 500
    data_seed: int = 0

    def load(self) -> tuple[Data, Data | None]:
        """Load the images asked for, and the others of the split (None if none are left)."""
        check_seeds(self.data_seed)
        if self.count < 0:
            raise ValueError(f"--count must be at least 0; found {self.count}")
        whole = load(self.data, self.split)
        if self.count == 0 or self.count >= len(whole):
            check_unused(self, ["data_seed"], f"where all {len(whole)} images are taken")
            return whole, None
        return whole.split(self.count, self.data_seed)


Score = Literal[
    "none",
    "least-confidence",
    "entropy",
    "margin",
    "energy",
    "vacuity-relu",
    "vacuity-softplus",
    "vacuity-exp",
    "mutual-information",
    "member-variance",
    "vote-disagreement",
    "latent-variance",
    "gp-variance",
    "gloro",
    "logit-gap",
]
LOGIT_MARGIN_SCORES = ("gloro", "logit-gap")
"""Rejections that a Lipschitz certificate knows."""
MOST_OTHERS = 2000
"""So many images that are not evaluated choose thresholds and temperatures."""
COUNTED = 200
"""So many of them are counted under noise."""
Ask = Callable[[Tensor], tuple[Tensor, Tensor]]
"""images -> logits and scores."""


@dataclass(frozen=True)
class Subject:
    """Which model, and whether it may reject.

    Args:
        model: a run folder, package.module:factory, or a .pt2 or TorchScript file.
        weights: safetensors file for a factory.
        trust_code: open a .pt2 or TorchScript file: loading it executes code from the file.
        mc_dropout: keep dropout on, so that each pass is one draw (then judge the vote).
        float64: run the net in double precision, where the rounding of its execution takes next to
            nothing from a Lipschitz certificate; all figures are about that net.
        reject: let the model answer "uncertain" by this score; mutual-information, member-variance
            and vote-disagreement need a model of several members, latent-variance and gp-variance
            one with --inducing; vacuity-... means something for evidential nets.
            gloro: where it is not certified at an l2 radius; logit-gap: where the best logit leads
            by too little. These two have a Lipschitz certificate.
        threshold: largest accepted score; for gloro the radius, for logit-gap the least lead.
        coverage: instead of a threshold: accept this share of the images of the split that are not
            evaluated.
        risk: instead of a threshold: the largest one at which at most this share of what is
            accepted is wrong, surely enough, as the same other images show.
        risk_alpha: probability that the risk is larger.
        largest_radius: instead of a threshold: the one with the largest mean radius (ii), same
            label or uncertain, of the vote under --threshold-sigma that rejects at most this share
            of the same other images.
        threshold_sigma: choose by coverage or risk on copies with so much Gaussian noise, for a
            model whose vote is judged.
        temperature_scaling: divide the logits by the temperature that fits the other images best.
    """

    model: str
    weights: Path | None = None
    trust_code: bool = False
    mc_dropout: bool = False
    float64: bool = False
    reject: Score = "none"
    threshold: float | None = None
    coverage: float | None = None
    risk: float | None = None
    risk_alpha: float = 0.05
    largest_radius: float | None = None
    threshold_sigma: float = 0.0
    temperature_scaling: bool = False

    def open(self, data: Data, others: Data | None) -> nn.Module:
        """Open the model for this data; wrap it if it is to reject."""
        self._check()
        check_classes(Path(self.model), data)
        model = self._bare()
        others = others and others.first(min(MOST_OTHERS, len(others)))
        if self.temperature_scaling:
            model = self._tempered(model, others)
        ways = (self.threshold, self.coverage, self.risk, self.largest_radius)
        given = [one for one in ways if one is not None]
        if self.reject == "none":
            if given:
                raise ValueError(
                    "--threshold, --coverage, --risk and --largest-radius need --reject SCORE"
                )
            return model
        if self.reject in LOGIT_MARGIN_SCORES:
            return self._leading(model, data)
        from surefoot.uncertainty import Selective

        if len(given) != 1:
            raise ValueError(
                "--reject needs one of --threshold, --coverage, --risk and --largest-radius"
            )
        threshold = self.threshold
        if self.largest_radius is not None:
            threshold = self._of_radius(model, others, self.largest_radius)
        elif threshold is None:
            threshold = self._threshold(model, others)
        return Selective(model, self.reject, threshold).eval()

    def _check(self) -> None:
        """Raise on options that would be ignored."""
        if Path(self.model).is_dir():
            check_unused(self, ["trust_code"], f"on {self.model}: a run folder holds no code")
        if self.reject == "none":
            check_unused(self, ["threshold_sigma"], "without --reject")
        if self.risk is None:
            check_unused(self, ["risk_alpha"], "without --risk")
        if (self.coverage, self.risk, self.largest_radius) == (None, None, None):
            check_unused(self, ["threshold_sigma"], "where the threshold is given")

    def _bare(self) -> nn.Module:
        """Open the model as it was trained."""
        model = open_model(self.model, self.weights, trust_code=self.trust_code)
        if torch.cuda.is_available():
            model = model.to("cuda")
        if self.float64:
            from surefoot.models import Double

            model = Double(model)
        if self.mc_dropout:
            from surefoot.uncertainty import MCDropout

            model = MCDropout(model)
        return model

    def _leading(self, model: nn.Module, data: Data) -> nn.Module:
        from surefoot.certify.lipschitz import gloro
        from surefoot.uncertainty import logit_gap

        others = (self.coverage, self.risk, self.largest_radius)
        if self.threshold is None or any(way is not None for way in others):
            raise ValueError(
                f"--reject {self.reject} needs --threshold, and takes no --coverage, no --risk and"
                " no --largest-radius"
            )
        images, _ = data.batch(slice(0, 1))
        if self.reject == "gloro":
            return gloro(model, self.threshold, tuple(images.shape[1:])).eval()
        return logit_gap(model, self.threshold, len(data.classes)).eval()

    def _tempered(self, model: nn.Module, others: Data | None) -> nn.Module:
        from surefoot.uncertainty import Tempered, fit_temperature, scored

        if self.mc_dropout:
            raise ValueError("--temperature-scaling fits one answer; --mc-dropout gives many")
        first, _ = _halves(others, "--temperature-scaling")
        logits, _ = self._ask(model, first, lambda images: scored(model, images, "energy"))
        temperature = fit_temperature(logits, first.batch(slice(None))[1])
        say(f"temperature {temperature:.4g}, from {len(first)} images that are not evaluated")
        return Tempered(model, temperature).eval()

    def _threshold(self, model: nn.Module, others: Data | None) -> float:
        from surefoot.uncertainty import scored, threshold_at_coverage

        def ask(images: Tensor) -> tuple[Tensor, Tensor]:
            return scored(model, images, self.reject)

        if self.risk is not None:
            first, second = _halves(others, "--risk")
            return self._at_risk(self._ask(model, first, ask)[1], second, model, ask)
        if others is None:
            raise ValueError(_none_left("--coverage"))
        _, scores = self._ask(model, others, ask)
        threshold = threshold_at_coverage(scores, 1.0 if self.coverage is None else self.coverage)
        share = (scores <= threshold).double().mean().item()
        say(f"threshold {threshold:.4g} accepts {share:.1%} of {len(scores)} other images")
        return threshold

    def _of_radius(self, model: nn.Module, others: Data | None, rejected: float) -> float:
        """Count noisy copies of other images; see `smoothing.best_threshold`."""
        from surefoot.certify import smoothing
        from surefoot.uncertainty import score_of
        from surefoot.uncertainty.vote import Vote

        if not self.threshold_sigma > 0:
            raise ValueError("--largest-radius is about a vote under noise: give --threshold-sigma")
        if others is None:
            raise ValueError(_none_left("--largest-radius"))
        few = others.first(min(COUNTED, len(others)))
        images, labels = few.batch(slice(None))
        scores = score_of(model, images, self.reject).double()
        shares = torch.arange(1, 21, dtype=torch.float64) / 20
        edges = sorted({*scores[~scores.isnan()].quantile(shares).tolist()})
        how = {"score": self.reject, "edges": edges}
        vote = Vote(model, self.threshold_sigma)
        first = smoothing.count(vote, images, 100, smoothing.SELECT, 0, **how)
        table = smoothing.count(vote, images, 1000, smoothing.CERTIFY, 0, **how)
        settings = {"sigma": self.threshold_sigma, "alpha": 1e-3, "rejected": rejected}
        threshold = smoothing.best_threshold(first, table, labels, **settings)
        say(f"threshold {threshold:.4g}: largest mean radius (ii) on {len(few)} other images")
        return threshold

    def _at_risk(self, scores: Tensor, data: Data, model: nn.Module, ask: Ask) -> float:
        """Fix a grid by the scores of some images; test it on others."""
        from surefoot.uncertainty import grid_for, threshold_at_risk

        assert self.risk is not None
        grid = grid_for(scores, self.risk, count=len(data), alpha=self.risk_alpha)
        logits, scores = self._ask(model, data, ask)
        wrong = logits.argmax(1) != data.batch(slice(None))[1]
        found = threshold_at_risk(scores, wrong, self.risk, grid=grid, alpha=self.risk_alpha)
        if found.threshold is None:
            raise ValueError(
                f"no threshold shows a risk of at most {self.risk:g}: the first one tried on"
                f" {len(data)} images that are not evaluated leaves it at up to {found.bound:.3g}."
                " Take a --risk above that, or another score"
            )
        say(
            f"threshold {found.threshold:.4g} accepts {found.coverage:.1%} of {len(data)} other"
            f" images, of which {found.wrong:.2%} are wrong: risk at most {self.risk:g} with"
            f" probability {1 - self.risk_alpha:g}"
        )
        return found.threshold

    def _ask(self, model: nn.Module, data: Data, ask: Ask) -> tuple[Tensor, Tensor]:
        """Ask about images, or noisy copies, in eval mode and without gradients."""
        from surefoot.evaluation.bracket import try_model
        from surefoot.models import device_of, frozen
        from surefoot.uncertainty import noisy

        images, _ = data.batch(slice(None))
        try_model(model, images[:1])  # a model that does not fit is named here
        images = noisy(images, self.threshold_sigma)
        with torch.inference_mode(), frozen(model):
            logits, scores = ask(images.to(device_of(model)))
        return logits.cpu(), scores.cpu()


def check_classes(folder: Path, data: Data) -> None:
    """Compare the classes of the data with those that a run folder was trained on, where known.

    Classes without names (0, 1, 2, ...) fit any names.

    Raises:
        ValueError: a class of the data has another index than in training.
    """
    if not folder.is_dir():
        return
    trained_on = read_config(folder).get("data")
    names = trained_on.get("classes") if isinstance(trained_on, dict) else None
    known, found = [str(name) for name in names or ()], list(data.classes)
    unnamed = [str(index) for index in range(max(len(known), len(found)))]
    if not known or known == unnamed[: len(known)] or found == unnamed[: len(found)]:
        return
    moved = [name for name in found if name in known and known.index(name) != found.index(name)]
    if moved:
        raise ValueError(
            f"class {moved[0]!r} is number {found.index(moved[0])} in {data.name}, and number"
            f" {known.index(moved[0])} in the data the model was trained on ({', '.join(known)})."
            " Give the data the same classes in the same order; in a folder of images an empty"
            " sub-folder keeps the place of a class."
        )
    if other := [name for name in found if name not in known]:
        say(
            f"warning: {data.name} has classes that the model was not trained on:"
            f" {', '.join(other)}; by their numbers the model takes them for its own"
        )


def _halves(others: Data | None, flag: str) -> tuple[Data, Data]:
    """Part images that are not evaluated: a third to fit to, two to test on."""
    if others is None or len(others) < 3:
        raise ValueError(_none_left(flag))
    first = len(others) // 3
    return others.first(first), others.take(slice(first, None))


def _none_left(flag: str) -> str:
    return (
        f"{flag} chooses on images of the split that are not evaluated, and none are left: give a"
        " --count above 0 and below the number of images in the split"
        + (", or --threshold" if flag != "--temperature-scaling" else "")
    )


LEAST_CONFUSION = 0.03
"""Of two people, one of whom says a or b, three in a hundred times the other says the other one."""


@dataclass(frozen=True)
class Claim:
    """What must not change inside the ball.

    Args:
        guarantee: which guarantee.
        k: size for topk and relaxed-topk.
        groups: for affinity: a JSON file (lists of class indices or names); class names, as in
            "cat,dog; automobile,truck"; named groups, as in "animals; vehicles"; superclasses:FILE
            (an .npz with fine, coarse and fine_names; without a file that of cifar100-ood);
            learned:NAME from the votes of a data set, every two classes confused by 0.03 or more,
            learned:NAME:0.02 by that much, learned:NAME:4 parted into four. A class in no group
            stands alone.
    """

    guarantee: Literal["local", "topk", "relaxed-topk", "affinity", "label-or-uncertain"] = "local"
    k: int = 2
    groups: str = ""

    def build(self, classes: tuple[str, ...]) -> Guarantee:
        """Make the guarantee."""
        if self.guarantee not in ("topk", "relaxed-topk"):
            check_unused(self, ["k"], f"on --guarantee {self.guarantee}")
        if self.guarantee != "affinity":
            check_unused(self, ["groups"], f"on --guarantee {self.guarantee}")
        if self.guarantee == "topk":
            return TopK(self.k)
        if self.guarantee == "relaxed-topk":
            return RelaxedTopK(self.k)
        if self.guarantee == "label-or-uncertain":
            return LabelOrUncertain()
        if self.guarantee == "affinity":
            if not self.groups:
                raise ValueError("--guarantee affinity needs --groups: a JSON file or class names")
            return Affinity(read_groups(self.groups, classes))
        return Local()


def read_groups(text: str, classes: tuple[str, ...]) -> groups.Groups:
    """Read affinity groups in any of the forms of `Claim`; a class in none gets its own."""
    kind, _, rest = text.partition(":")
    if kind == "learned":
        found = _learned(rest, classes)
    elif kind == "superclasses":
        path = Path(rest) if rest else data_folder() / "ood_cifar100_test_2000.npz"
        found = groups.from_superclass_file(path, classes)
    elif text.endswith(".json") or Path(text).is_file():
        found = groups.from_file(Path(text), classes)
    else:
        found = _named(text, classes)
    return groups.with_singles(found, len(classes))


def _named(text: str, classes: tuple[str, ...]) -> groups.Groups:
    try:
        return groups.from_names(text, classes)
    except ValueError as error:
        raise ValueError(
            f"--groups {text!r} is no file and no list of classes (commas within a group,"
            f" semicolons between groups): {error}"
        ) from error


def _learned(rest: str, classes: tuple[str, ...]) -> groups.Groups:
    """Learn groups from a data set with votes: its train split if there is one."""
    name, _, number = rest.partition(":")
    try:
        much = float(number or LEAST_CONFUSION)
    except ValueError as error:
        raise ValueError(
            f"--groups learned:NAME:NUMBER takes a least confusion below 1 or a number of groups;"
            f" found {number!r}"
        ) from error
    votes = load(name, "test" if name == "cifar10h" else "train")
    if votes.probabilities is None:
        raise ValueError(f"--groups learned:{name}: {name} has no human votes (cifar10n has)")
    if votes.classes != classes:
        raise ValueError(
            f"--groups learned:{name}: its classes ({', '.join(votes.classes)}) are not those of"
            f" the data ({', '.join(classes)})"
        )
    if much >= 1 and much.is_integer():
        return groups.clustered(votes.probabilities, count=int(much))
    return groups.learned(votes.probabilities, threshold=much)


DEFAULT_WIDTH = {"resnet20": 16, "preactresnet18": 16, "liresnet": 64, "lipnext": 64}
"""Channels; the other nets take a multiplier, 1."""


@dataclass(frozen=True)
class Net:
    """Which net to build.

    Args:
        net: mlp, residual-mlp, lenet, preactresnet18, resnet20; with measured slopes lipschitz-mlp,
            gloro-mlp, gloro-2c2f to gloro-8c2f, liresnet, lipnext.
        width: multiplier of lenet and gloro-... (default 1), first channels of a residual net
            (default 16), channels of liresnet and lipnext (default 64).
        hidden: widths of the hidden layers of the dense nets.
        dropout: of preactresnet18.
        scale: factor on the logits of lipschitz-mlp and lipnext.
        init_seed: of the initial weights.
        members: above 1: a deep ensemble of so many such nets.
        draws: above 0: the mean over so many dropout masks (needs dropout).
        inducing: above 0: a Gaussian process on features of the net, with so many inducing points
            (DUE; extra gp; mlp, residual-mlp or lenet).
        features: their number.
        bound: largest slope of the layers below a Gaussian process; below 1 for residual-mlp.
    """

    net: Literal[
        "mlp",
        "residual-mlp",
        "lenet",
        "preactresnet18",
        "resnet20",
        "lipschitz-mlp",
        "gloro-mlp",
        "gloro-2c2f",
        "gloro-4c3f",
        "gloro-6c2f",
        "gloro-8c2f",
        "liresnet",
        "lipnext",
    ] = "lenet"
    width: int | None = None
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.0
    scale: float = 4.0
    init_seed: int = 0
    members: int = 1
    draws: int = 0
    inducing: int = 0
    features: int = 32
    bound: float = 0.95

    def __post_init__(self) -> None:
        if (self.members != 1) + (self.draws != 0) + (self.inducing != 0) > 1:
            raise ValueError(
                "give one of --members, --draws and --inducing: they exclude each other"
            )
        check_seeds(self.init_seed)
        dense = self.net in ("mlp", "residual-mlp", "gloro-mlp", "lipschitz-mlp")
        check_unused(self, ["width"] if dense else ["hidden"], f"on --net {self.net}")
        if self.net != "preactresnet18":
            check_unused(self, ["dropout"], f"on --net {self.net}")
        if self.net not in ("lipschitz-mlp", "lipnext"):
            check_unused(self, ["scale"], f"on --net {self.net}")
        if not self.inducing:
            check_unused(self, ["features", "bound"], "without --inducing")

    def build(self, data: Data) -> nn.Module:
        """Build the net, or what is made of it, for images of this data set."""
        with torch.random.fork_rng():
            torch.manual_seed(self.init_seed)
            if self.members != 1:
                nets = [self._config(data, len(data.classes)) for _ in range(self.members)]
                return build("ensemble", nets=nets)
            if self.draws:
                inner = self._config(data, len(data.classes))
                return build("dropout-ensemble", model=inner, draws=self.draws)
            if self.inducing:
                return self._process(data)
            return build(**self._config(data, len(data.classes)))

    def _process(self, data: Data) -> nn.Module:
        model: Any = build(
            "due",
            net=self._config(data, self.features),
            classes=len(data.classes),
            count=len(data),
            inducing=self.inducing,
            bound=self.bound,
        )
        model.place(data.batch(slice(0, 1000))[0])
        return model

    def _config(self, data: Data, classes: int) -> dict[str, Any]:
        """Give the arguments of `build` for one net."""
        images, _ = data.batch(slice(0, 1))
        shape = images.shape[1:]
        dense = {"inputs": images[0].numel(), "hidden": self.hidden, "classes": classes}
        if self.net in ("mlp", "residual-mlp", "gloro-mlp"):
            return {"name": self.net, **dense}
        if self.net == "lipschitz-mlp":
            return {"name": self.net, **dense, "scale": self.scale}
        if len(shape) != 3:
            raise ValueError(f"--net {self.net} needs images; {data.name} holds {tuple(shape)}")
        planes = {"name": self.net, "planes": shape[0], "classes": classes}
        width = {"width": DEFAULT_WIDTH.get(self.net, 1) if self.width is None else self.width}
        if self.net == "resnet20":
            return {**planes, **width}
        if self.net == "preactresnet18":
            return {**planes, **width, "dropout": self.dropout}
        scale = {"scale": self.scale} if self.net == "lipnext" else {}
        if self.net.startswith("gloro-"):
            width = {"width": float(width["width"])}
        return {**planes, **width, **scale, "size": shape[-1]}


def command_line() -> str:
    """Give the command as it was typed."""
    return "surefoot " + shlex.join(sys.argv[1:])
