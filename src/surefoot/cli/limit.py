"""`surefoot limit`: how robust could any classifier be on these data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from surefoot.cli.options import Rows, command_line
from surefoot.threat import Threat


@dataclass(frozen=True)
class Command:
    """Estimate the limit: one minus the smallest expansion of an error region that was found.

    Args:
        rows: which data; label uncertainty needs human labels (cifar10h, cifar10n, or an .npz with
            probabilities), else it is 0.
        threat: norm and headline radius.
        radii: grid of radii; the headline radius is always in it.
        risk: least share of errors of the classifiers in question.
        gamma: least label uncertainty of their error region.
        pieces: balls (l2) or cubes (linf) of the region.
        delta: cover so much more on the search half, that held-out points follow.
        constraint: label uncertainty of the union, or of each piece as in the authors' program.
        seed: of the split.
        folder: receives limit.json.
    """

    rows: Rows = field(default_factory=lambda: Rows(count=0))
    threat: Threat = field(default_factory=lambda: Threat("l2", 0.5))
    radii: tuple[float, ...] = ()
    risk: float = 0.05
    gamma: float = 0.0
    pieces: int = 5
    delta: float = 0.05
    constraint: Literal["union", "piece"] = "union"
    seed: int = 0
    folder: Path = Path("runs/limit")

    def run(self) -> None:
        """Estimate, write, show."""
        import torch

        from surefoot.cli.show import percent, table
        from surefoot.evaluation.bracket import grid_of
        from surefoot.evaluation.limit import as_json
        from surefoot.files import write_json
        from surefoot.limits import concentration, label_uncertainty

        data, _ = self.rows.load()
        images, labels = data.batch(slice(None))
        unsure = torch.zeros(len(data))
        if data.probabilities is not None:
            unsure = label_uncertainty(data.probabilities, labels)
        entries, shown = [], []
        for radius in grid_of(self.radii, self.threat):
            found = concentration(
                images.flatten(1),
                unsure,
                risk=self.risk,
                gamma=self.gamma,
                eps=radius,
                norm=self.threat.norm,
                pieces=self.pieces,
                delta=self.delta,
                constraint=self.constraint,
                seed=self.seed,
            )
            entry = {key: value for key, value in vars(found).items() if key != "region"}
            names = ("risk", "adversarial_risk", "label_uncertainty", "robustness")
            entry |= {name: as_json(getattr(found, name)) for name in names}
            if found.search is not None:
                entry["search"] = {key: as_json(value) for key, value in vars(found.search).items()}
            entries.append({"radius": radius, **entry})
            status = "valid" if found.valid else "not valid" if found.feasible else "infeasible"
            shown.append((f"{radius:g}", percent(found.robustness), percent(found.risk), status))
        self.folder.mkdir(parents=True, exist_ok=True)
        header = {"command": command_line(), "data": data.name, "hash": data.fingerprint()}
        write_json({**header, "estimates": entries}, self.folder / "limit.json")
        title = f"Estimated limit of {data.name}, risk >= {self.risk:g}, gamma >= {self.gamma:g}"
        names = (f"{self.threat.norm} radius", "robustness (estimate)", "held-out risk", "status")
        table(title, names, shown)
        print("An estimate from one found region, not a proof; see docs/limits.md.")
        print(f"figures: {self.folder / 'limit.json'}")
