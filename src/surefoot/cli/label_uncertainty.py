"""`surefoot label-uncertainty`: annotator disagreement, or model uncertainty, of these labels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from surefoot.cli.options import Rows, check_seeds, check_unused

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from surefoot.data import Data
    from surefoot.stats import Interval

Columns = dict[str, "Tensor"]
Lines = list[tuple[str, str]]


@dataclass(frozen=True)
class Command:
    """Measure 1 - p(label) + largest other p for every image.

    p comes from the soft labels of the data, from the votes in a file, or from a model that did
    not see the image.

    Args:
        rows: The images; without another source they need soft labels: cifar10h, cifar10n, or an
            .npz with `probabilities`.
        source: Where p comes from: soft-labels; votes, the counts of a file, smoothed, corrected,
            with credible intervals; cross-validated, a logistic regression, out of fold.
        votes: The .npz file of the source votes, rows in the order of the data.
        annotators: Arrays of that file: `counts` [N, C], or votes [N] or [N, A] (-1: none).
        prior: Prior of the Dirichlet distribution, for each class; 0 takes the likeliest one.
        folds: Number of folds of the cross-validation.
        calibration: How its probabilities are calibrated.
        errors: Also flag labels that are likely wrong, by the confident joint or pruned by the
            noise rate (source cross-validated).
        seed: Seed of folds and draws.
        output: CSV file to write, one row an image; none by default.
        records: Run folders of classifiers that were evaluated on these images: label uncertainty
            of their errors, beside random balls, and its rank correlation with risk.
        figure: Draw it over risk, as .svg or .png.
    """

    rows: Rows = field(default_factory=lambda: Rows(data="cifar10h", count=0))
    source: Literal["soft-labels", "votes", "cross-validated"] = "soft-labels"
    votes: Path | None = None
    annotators: tuple[str, ...] = ("counts",)
    prior: float = 0.0
    folds: int = 10
    calibration: Literal["none", "temperature", "isotonic"] = "temperature"
    errors: Literal["none", "confident-joint", "noise-rate"] = "none"
    seed: int = 0
    output: Path | None = None
    records: tuple[Path, ...] = ()
    figure: Path | None = None

    def run(self) -> None:
        """Measure, show, write."""
        import pandas as pd

        from surefoot.cli.say import say
        from surefoot.cli.show import table
        from surefoot.files import write_csv
        from surefoot.limits import largest_gamma

        check_seeds(self.seed)
        if self.source != "cross-validated":
            of_models = ["folds", "calibration", "errors"]
            check_unused(self, of_models, "without a model: it is for --source cross-validated")
        if self.source != "votes":
            check_unused(self, ["votes", "annotators", "prior"], "without --source votes")
        if self.figure is not None and self.figure.suffix not in (".svg", ".png"):
            raise ValueError(f"--figure must end in .svg or .png; found {self.figure}")
        if self.source == "soft-labels" and not self.records:
            check_unused(self, ["seed"], "on soft labels: nothing is random")
        if not self.records:
            check_unused(self, ["figure"], "without --records")
        data, _ = self.rows.load()
        measure = {
            "soft-labels": self._soft,
            "votes": self._voted,
            "cross-validated": self._modelled,
        }[self.source]
        columns, lines = measure(data)
        uncertainty = columns["label_uncertainty"]
        rows = [("mean", f"{uncertainty.mean().item():.4f}"), *lines]
        for fraction in (0.5, 0.7, 0.8, 0.9, 0.95, 0.98):
            rows.append((f"quantile {fraction:g}", f"{uncertainty.quantile(fraction).item():.4f}"))
        for risk in (0.02, 0.05, 0.1, 0.2):
            rows.append(
                (f"largest gamma at risk {risk:g}", f"{largest_gamma(uncertainty, risk):.4f}")
            )
        table(f"Label uncertainty of {data.name}, {len(data)} images", ("metric", "value"), rows)
        if self.output is not None:
            place = {"index": range(len(data)), "label": data.labels}
            frame = pd.DataFrame(place | {name: value.numpy() for name, value in columns.items()})
            write_csv(frame, self.output)
            say(f"rows: {self.output}")
        if self.records:
            self._of_errors(data, uncertainty)

    def _of_errors(self, data: "Data", uncertainty: "Tensor") -> None:
        """Show the error region of every record, and draw them."""
        from surefoot.cli.say import say
        from surefoot.cli.show import table
        from surefoot.evaluation.record import read
        from surefoot.evaluation.studies.error_region import error_region
        from surefoot.files import write_whole
        from surefoot.report.error_region_chart import error_region_chart, said
        from surefoot.report.style import to_png, to_svg
        from surefoot.wording import with_interval

        found = []
        for folder in self.records:
            record = read(folder)
            labels = record.rows["label"].to_numpy()
            if len(data) != len(record) or not bool((labels == data.labels.numpy()).all()):
                raise ValueError(
                    f"{folder} is about other images: {len(record)} rows of"
                    f" {record.header.data.name}; here are {len(data)} of {data.name}. Give the"
                    " rows that it was evaluated on: --data, --split, --count and --data-seed."
                )
            region = error_region(record, data, uncertainty, seed=self.seed)
            if region is None:
                say(f"{record.header.name}: no error on these rows")
            else:
                found.append(region)
        columns = ("classifier", "risk", "of its errors", "elsewhere", "random balls", "p")
        lines = [
            (
                *(one.name, with_interval(one.risk), _plain(one.label_uncertainty)),
                *(f"{one.elsewhere:.3f}", _plain(one.balls), f"{one.p_value:.4f}"),
            )
            for one in found
        ]
        table("Label uncertainty of errors", columns, lines)
        if not found:
            return
        say(said(found))
        if self.figure is not None:
            drawn = to_png if self.figure.suffix == ".png" else to_svg
            write_whole(self.figure, drawn(error_region_chart(found)))
            say(f"figure: {self.figure}")

    def _soft(self, data: "Data") -> tuple[Columns, Lines]:
        from surefoot.limits import label_uncertainty

        if data.probabilities is None:
            raise ValueError(
                f"{data.name} has no soft labels: give cifar10h, cifar10n, or an .npz with an array"
                " `probabilities` [N, C]; or another --source"
            )
        return {"label_uncertainty": label_uncertainty(data.probabilities, data.labels)}, []

    def _voted(self, data: "Data") -> tuple[Columns, Lines]:
        from surefoot.limits.annotators import voted_uncertainty

        counts = self._counts(data)
        prior = self.prior or None
        found = voted_uncertainty(counts, data.labels, prior=prior, seed=self.seed)
        columns = {
            "label_uncertainty": found.plain,
            "smoothed": found.smoothed,
            "corrected": found.corrected,
            "low": found.low,
            "high": found.high,
        }
        middle = found.posterior_mean
        posterior = f"{middle.value:.4f} [{middle.low:.4f}, {middle.high:.4f}]"
        lines = [
            ("mean, corrected for few votes", f"{found.mean:.4f}"),
            ("mean, smoothed", f"{found.smoothed.mean().item():.4f}"),
            ("mean of the posterior", posterior),
            ("prior of each class", f"{found.prior:.4g}"),
        ]
        return columns, lines

    def _counts(self, data: "Data") -> "Tensor":
        """Read counts or votes; the rows must be those of the data."""
        import torch

        from surefoot.data import npz
        from surefoot.limits.annotators import count_votes

        if self.votes is None:
            raise ValueError("--source votes needs the file: --votes FILE.npz")
        arrays = npz.read(self.votes, self.annotators)
        parts = [_numbers(self.votes, name, arrays[name]) for name in self.annotators]
        if self.annotators == ("counts",):
            found = parts[0]
        else:
            columns = [part[:, None] if part.ndim == 1 else part for part in parts]
            if len({len(part) for part in columns}) > 1 or any(part.ndim != 2 for part in columns):
                raise ValueError(
                    f"the arrays {', '.join(self.annotators)} of {self.votes} must be votes [N] or"
                    f" [N, A] of the same images; found {[tuple(part.shape) for part in parts]}"
                )
            found = count_votes(torch.cat(columns, 1), len(data.classes))
        if found.shape != (len(data), len(data.classes)):
            raise ValueError(
                f"the votes must be for {len(data)} images and {len(data.classes)} classes; found"
                f" {tuple(found.shape)}. Take all rows (--count 0) of the split they belong to."
            )
        return found

    def _modelled(self, data: "Data") -> tuple[Columns, Lines]:
        from surefoot.limits import label_uncertainty
        from surefoot.limits.confident import label_errors
        from surefoot.limits.out_of_fold import out_of_fold

        images, labels = data.batch(slice(None))
        fractions = out_of_fold(
            images, labels, folds=self.folds, calibration=self.calibration, seed=self.seed
        )
        right = (fractions.argmax(1) == labels).double().mean().item()
        lines = [("accuracy out of fold", f"{right:.4f}")]
        columns = {"label_uncertainty": label_uncertainty(fractions, labels)}
        if self.errors != "none":
            columns["likely_wrong"] = label_errors(fractions, labels, method=self.errors)
            lines.append(("labels likely wrong", f"{int(columns['likely_wrong'].sum())}"))
        return columns, lines


def _plain(one: "Interval") -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _numbers(path: Path, name: str, values: "np.ndarray") -> "Tensor":
    """Turn an array of a file into float64, or raise where it holds names."""
    import numpy as np
    import torch

    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: `{name}` must hold numbers; found {values.dtype}. Turn names into indices:"
            " np.array([[classes.index(vote) for vote in row] for row in names])."
        )
    return torch.from_numpy(values.astype(np.float64))
