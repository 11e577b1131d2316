"""The perturbation grid: what the attack did to the first examples that it broke."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from surefoot.evaluation.record import Record
from surefoot.report import style
from surefoot.report.words import class_name
from surefoot.wording import NORM_SIGNS

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

MOST_EXAMPLES = 6


def chosen(counterexamples: dict[str, Tensor]) -> list[int]:
    """Choose the broken examples of lowest index, each at the smallest radius that broke it."""
    index, radius = counterexamples["index"].tolist(), counterexamples["radius"].tolist()
    order = sorted(range(len(index)), key=lambda row: (index[row], radius[row]))
    first = {index[row]: row for row in reversed(order)}
    return [first[key] for key in sorted(first)][:MOST_EXAMPLES]


def perturbation_grid(record: Record) -> "matplotlib.figure.Figure | None":
    """Draw image, perturbation and result of up to six examples; None without any."""
    counterexamples = record.counterexamples
    if (
        not counterexamples
        or counterexamples["images"].ndim != 4
        or len(counterexamples["images"]) == 0
    ):
        return None
    rows = chosen(counterexamples)
    images = counterexamples["images"][rows].detach().float().cpu()
    changes = counterexamples["adversarial"][rows].detach().float().cpu() - images
    scale = max(float(changes.abs().max()), 1e-12)
    figure = style.new_figure(6.4, 1.25 * len(rows) + 0.75)
    grid = figure.subplots(len(rows), 4, squeeze=False, width_ratios=[1, 1, 1, 1.7])
    for axes, row, image, change in zip(grid, rows, images, changes, strict=True):
        show_image(axes[0], image, record)
        show_change(axes[1], change, scale)
        show_image(axes[2], image + change, record)
        _tell(axes[3], record, row, change)
    for ax, text in zip(grid[0], ["image", f"change (±{scale:.2g})", "result", ""], strict=True):
        ax.set_title(text, fontsize=9)
    style.sign(figure, [record])
    return figure


def show_image(ax: "matplotlib.axes.Axes", image: Tensor, record: Record) -> None:
    """Show an image, its range of values from black to white."""
    shown = record.header.threat.walled(image)
    low, high = shown.low, shown.high
    pixels = ((image - low) / (high - low)).clamp(0, 1)
    ax.imshow(planes_last(pixels), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.axis("off")


def show_change(ax: "matplotlib.axes.Axes", change: Tensor, scale: float) -> None:
    """Show grey images from blue (darker) to red (lighter); colours around middle grey."""
    if len(change) == 3:
        ax.imshow(planes_last(0.5 + change / (2 * scale)), interpolation="nearest")
    else:
        ax.imshow(
            planes_last(change), cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest"
        )
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color("#CCCCCC")


def planes_last(image: Tensor) -> np.ndarray:
    """Return `[H, W, 3]`, or `[H, W]` for grey images, as matplotlib wants them."""
    return image.permute(1, 2, 0).numpy() if len(image) == 3 else image.mean(0).numpy()


def _tell(ax: "matplotlib.axes.Axes", record: Record, row: int, change: Tensor) -> None:
    ax.axis("off")
    before, after = answers(record, row)
    norm = record.header.norm
    size = torch.linalg.vector_norm(change.double(), float("inf") if norm == "linf" else 2).item()
    radius = record.header.radius_text(record.counterexamples["radius"][row].item())
    lines = [
        (0.78, before, 9.5, style.CLEAN),
        (0.56, f"→ {after}", 9.5, style.ATTACKED),
        (0.30, f"{NORM_SIGNS[record.header.norm]} {size:.3g}, tested {radius}", 8, style.QUIET),
        (0.12, f"example {int(record.counterexamples['index'][row])}", 8, style.QUIET),
    ]
    for height, text, fontsize, color in lines:
        ax.text(
            0, height, text, fontsize=fontsize, color=color, va="center", transform=ax.transAxes
        ).set_parse_math(False)


def answers(record: Record, row: int) -> tuple[str, str]:
    """Return the answers to the image and to the counterexample, with their fractions."""
    found = (record.counterexamples[name][row] for name in ("before", "after"))
    before, after = (_answer(record, fractions) for fractions in found)
    return before, after


def _answer(record: Record, fractions: Tensor) -> str:
    outcome = int(fractions.argmax())
    name = style.short(class_name(record.header, outcome), 18)
    return f"{name}, {100 * fractions[outcome].item():.0f} %"
