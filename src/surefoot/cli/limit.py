"""`surefoot limit`: how robust could any classifier be on these data, estimated and proven."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from surefoot.cli.declared import declared, real
from surefoot.cli.options import Rows, check_seeds, command_line

if TYPE_CHECKING:
    from torch import Tensor

    from surefoot.limits import Estimate
    from surefoot.threat import Threat
else:
    Threat = declared("surefoot.threat", "Threat")

SPREADS = ("risk", "adversarial_risk", "label_uncertainty")


@dataclass(frozen=True)
class Command:
    """Estimate the limit: one minus the smallest expansion of an error region that was found.

    Half of the rows search a region, a quarter calibrates it, a quarter reports. Beside it stands a
    ceiling that is proven for exactly these rows: points of different labels whose balls meet
    cannot both be right and robust.

    Args:
        rows: The images; label uncertainty needs human labels (cifar10h, cifar10n, or an .npz with
            probabilities), else it is 0.
        threat: The ball around each image.
        radii: Grid of radii; the headline radius is always in it.
        risk: Least measure of the error region: the error rate of the classifiers in question.
        gamma: Least label uncertainty of the error region.
        family: Shape of the components of the region: balls (l2), cubes or rectangles (linf),
            half-spaces (both); default is balls or cubes; best takes all that fit the norm and
            chooses on the calibration part.
        components: Number of components of the region, at most.
        delta: Cover so much more on the search part, that held-out points follow; calibration
            starts there.
        constraint: Hold the label uncertainty of the union above gamma, or that of each component
            as in the authors' program.
        calibrate_to: Bring the value on the calibration part up to risk and gamma, or its lower
            limit.
        ceiling: Prove the ceiling of these rows, too; it takes minutes for tens of thousands.
        splits: Number of random splits; more than one also shows mean and standard deviation. The
            numbers of a radius are those of the first.
        seed: Seed of the first split.
        folder: Folder that receives limit.json.
    """

    daily = (
        *("data", "count", "norm", "eps", "radii", "risk", "gamma", "family", "components"),
        *("splits", "ceiling", "seed", "folder"),
    )
    rows: Rows = field(default_factory=lambda: Rows(count=0))
    threat: Threat = field(default_factory=lambda: Threat("l2", 0.5))
    radii: tuple[float, ...] = ()
    risk: float = 0.05
    gamma: float = 0.0
    family: Literal["default", "best", "balls", "cubes", "rectangles", "half-spaces"] = "default"
    components: int = 5
    delta: float = 0.05
    constraint: Literal["union", "component"] = "union"
    calibrate_to: Literal["value", "limit"] = "value"
    ceiling: bool = True
    splits: int = 1
    seed: int = 0
    folder: Path = Path("runs/limit")

    def run(self) -> None:
        """Estimate, write, show."""
        import torch

        from surefoot.cli.say import say
        from surefoot.cli.show import percent, table
        from surefoot.evaluation.bracket import grid_of
        from surefoot.evaluation.limit import ceilings
        from surefoot.files import write_json
        from surefoot.guarantees import LabelOrUncertain, Local
        from surefoot.limits import label_uncertainty

        threat = real(self.threat)
        check_seeds(self.seed)
        if not 0 <= self.delta < 1:
            raise ValueError(f"--delta must lie in [0, 1), a measure; found {self.delta:g}")
        data, _ = self.rows.load()
        images, labels = data.batch(slice(None))
        for doubt in threat.doubts(images):
            say(f"warning: {doubt}")
        unsure = torch.zeros(len(data))
        if data.probabilities is not None:
            unsure = label_uncertainty(data.probabilities, labels)
        entries, shown = [], []
        grid = grid_of(self.radii, threat)
        claims = {"local": Local(), "label_or_uncertain": LabelOrUncertain()}
        proven = {
            name: ceilings(data, claim, threat, grid) if self.ceiling else []
            for name, claim in claims.items()
        }
        for radius in grid:
            family, found, spread = self._estimate(images.flatten(1), unsure, radius)
            entries.append({"radius": radius, "family": family, **_as_entry(found), **spread})
            shown.append(
                (
                    f"{radius:g}",
                    family,
                    percent(found.robustness),
                    percent(found.risk),
                    found.calibrated,
                    "valid" if found.valid else "not valid" if found.feasible else "infeasible",
                )
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        header = {"command": command_line(), "data": data.name, "hash": data.fingerprint()}
        found = {"estimates": entries, "ceilings": proven}
        write_json({**header, **found}, self.folder / "limit.json")
        title = f"Estimated limit of {data.name}, risk >= {self.risk:g}, gamma >= {self.gamma:g}"
        names = ("robustness (estimate)", "held-out risk", "calibrated", "status")
        table(title, (f"{self.threat.norm} radius", "family", *names), shown)
        for entry in entries:
            if "splits" in entry:
                mean, sd = entry["adversarial_risk_over_splits"].values()
                print(
                    f"radius {entry['radius']:g}: robustness {_share(1 - mean)} +- {_share(sd)}"
                    f" over {entry['splits']} splits, valid in {entry['valid_splits']:.0%}"
                )
        print("An estimate from one found region, not a proof; see docs/limits.md.")
        if self.ceiling:
            table(
                f"Proven for these {len(data)} rows: no classifier is right and robust on more",
                (f"{self.threat.norm} radius", "local", "accepted and right, or uncertain"),
                [_proven(*pair) for pair in zip(*proven.values(), strict=True)],
            )
        say(f"figures: {self.folder / 'limit.json'}")

    def _estimate(
        self, points: "Tensor", unsure: "Tensor", radius: float
    ) -> tuple[str, "Estimate", dict[str, Any]]:
        """Give the family, the estimate of the first split, and what all splits say."""
        from surefoot.limits import (
            Estimate,
            best_concentration,
            concentration,
            largest_gamma,
            repeated,
        )
        from surefoot.limits.families import choose

        settings: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "risk",
                "gamma",
                "components",
                "delta",
                "constraint",
                "calibrate_to",
                "seed",
            )
        }
        settings |= {"eps": radius, "norm": self.threat.norm}
        if self.family == "best":
            best = best_concentration(points, unsure, **settings)
            if best is None:
                return "none", Estimate(False, False, largest_gamma(unsure, self.risk)), {}
            family, found = best
        else:
            given = None if self.family == "default" else self.family
            family = choose(given, self.threat.norm)
            found = concentration(points, unsure, family=family, **settings)
        if self.splits == 1:
            return family, found, {}
        many = repeated(points, unsure, splits=self.splits, family=family, **settings)
        spreads = {f"{name}_over_splits": getattr(many, name)._asdict() for name in SPREADS}
        return family, found, {"splits": self.splits, "valid_splits": many.valid, **spreads}


def _proven(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, str, str]:
    """Write the ceilings of a radius, and what people leave of the first."""
    text = f"{_share(one['value'])} ({one['conflicts']:,} conflicts)"
    if "agreement" in one:
        text += f", agreement with an annotator {_share(one['agreement'])}"
    return (
        f"{one['radius']:g}",
        text,
        f"{_share(other['value'])} ({other['conflicts']:,} conflicts)",
    )


def _as_entry(found: "Estimate") -> dict[str, Any]:
    """Write an estimate as JSON can hold it, without the region."""
    from surefoot.evaluation.limit import as_json
    from surefoot.limits.measures import Measures
    from surefoot.stats import Interval

    def plain(value: object) -> object:
        if isinstance(value, Measures):
            return {name: as_json(part) for name, part in vars(value).items()}
        return as_json(value) if isinstance(value, Interval) else value

    entry = {name: plain(value) for name, value in vars(found).items() if name != "region"}
    return entry | {"robustness": as_json(found.robustness)}


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"
