"""`surefoot label-uncertainty`: how unsure are people of these labels."""

from dataclasses import dataclass, field
from pathlib import Path

from surefoot.cli.options import Rows


@dataclass(frozen=True)
class Command:
    """Measure 1 - p(label) + largest other p, from human soft labels, for every image.

    Args:
        rows: data with soft labels: cifar10h, cifar10n, or an .npz with `probabilities`.
        output: CSV file to write, one row an image; none by default.
    """

    rows: Rows = field(default_factory=lambda: Rows(data="cifar10h", count=0))
    output: Path | None = None

    def run(self) -> None:
        """Measure, show, write."""
        import pandas as pd

        from surefoot.cli.show import table
        from surefoot.files import write_whole
        from surefoot.limits import label_uncertainty, largest_gamma

        data, _ = self.rows.load()
        if data.probabilities is None:
            raise ValueError(
                f"{data.name} has no soft labels: give cifar10h, cifar10n, or an .npz with an array"
                " `probabilities` [N, C]"
            )
        unsure = label_uncertainty(data.probabilities, data.labels)
        rows = [("mean", f"{unsure.mean().item():.4f}")]
        for share in (0.5, 0.7, 0.8, 0.9, 0.95, 0.98):
            rows.append((f"quantile {share:g}", f"{unsure.quantile(share).item():.4f}"))
        for risk in (0.02, 0.05, 0.1, 0.2):
            rows.append((f"largest gamma at risk {risk:g}", f"{largest_gamma(unsure, risk):.4f}"))
        table(f"Label uncertainty of {data.name}, {len(data)} images", ("figure", "value"), rows)
        if self.output is not None:
            frame = pd.DataFrame(
                {"index": range(len(data)), "label": data.labels, "label_uncertainty": unsure}
            )
            write_whole(self.output, frame.to_csv(index=False).encode())
            print(f"rows: {self.output}")
