"""The gallery: image, perturbation and probabilities, for perturbations without a limit."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from surefoot.papers.perturbed_images import Gallery
from surefoot.report import style
from surefoot.report.perturbations import planes_last, show_change
from surefoot.version import __version__
from surefoot.wording import NORM_SIGNS

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

MOST_BARS = 3


def perturbation_gallery(found: Gallery) -> "matplotlib.figure.Figure":
    """Draw each image with its perturbations, what they add, and the most likely classes after.

    Changes share one scale in each figure; blue is darker, red lighter, or colours around grey.

    Args:
        found: of `papers.perturbed_images.gallery`.
    """
    names, count = list(found.images), len(found.data)
    changes = {name: found.images[name] - found.images["image"] for name in names[1:]}
    scale = max(max(float(change.abs().max()) for change in changes.values()), 1e-12)
    figure = style.new_figure(1.35 * (2 * len(names) - 1) + 1.3 * len(names), 1.35 * count + 0.6)
    widths = [1.0, 1.1] + [1.0, 1.0, 1.1] * len(changes)
    grid = figure.subplots(count, len(widths), squeeze=False, width_ratios=widths)
    for row, axes in enumerate(grid):
        cells = iter(axes)
        for name in names:
            _show(next(cells), found.images[name][row])
            if name in changes:
                show_change(next(cells), changes[name][row], scale)
            _bars(next(cells), found, name, row)
    heads = ["image", ""] + [
        text for name in changes for text in (name, f"change (±{scale:.2g})", "")
    ]
    for ax, text in zip(grid[0], heads, strict=True):
        ax.set_title(text, fontsize=9)
    text = (
        f"{found.steps} {NORM_SIGNS[found.norm]} steps of {found.step_size:g}, no limit but the box"
    )
    style.caption(figure, f"{found.data.name}; {text}; surefoot {__version__}")
    return figure


def _show(ax: "matplotlib.axes.Axes", image: Tensor) -> None:
    ax.imshow(planes_last(image.clamp(0, 1)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.axis("off")


def _bars(ax: "matplotlib.axes.Axes", found: Gallery, name: str, row: int) -> None:
    """Draw the probabilities of the most likely classes; the true one is dark."""
    best, label = found.probabilities[name][row].topk(MOST_BARS), int(found.data.labels[row])
    places = np.arange(MOST_BARS)[::-1]
    own = [index == label for index in best.indices.tolist()]
    colors = [style.CLEAN if flag else "#F0B27A" for flag in own]
    ax.barh(places, best.values.numpy(), height=0.28, color=colors, align="edge")
    for place, index, value in zip(
        places, best.indices.tolist(), best.values.tolist(), strict=True
    ):
        text = f"{style.short(found.data.classes[index], 14)} {100 * value:.0f} %"
        ax.text(0, place - 0.06, text, fontsize=6.5, va="top").set_parse_math(False)
    ax.set(xlim=(0, 1), ylim=(-0.6, MOST_BARS - 0.5))
    ax.axis("off")
