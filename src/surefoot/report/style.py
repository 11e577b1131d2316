"""The look of every figure: one palette, one way to make, sign and save a figure.

A kind of answer always looks the same: certified solid, attacked dashed, estimated dotted.
Colours of Okabe and Ito, told apart by colour-blind readers. No pyplot: no global state.
"""

import base64
import io
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from surefoot.escape import visible
from surefoot.evaluation.record import Record
from surefoot.report.words import provenance

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

CERTIFIED, ATTACKED, ESTIMATED = "#0072B2", "#D55E00", "#8C3B73"
CLEAN, UNKNOWN, QUIET = "#3A3A3A", "#ECECEC", "#6B6B6B"
WRONG = "#B3261E"
BAND = 0.22


def new_figure(width: float, height: float) -> "matplotlib.figure.Figure":
    """Make an empty figure, in inches, that keeps its labels apart."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    return Figure(figsize=(width, height), layout=layout)


def own_axes(
    records: Sequence[Record], width: float = 6.4, height: float = 4.6
) -> "matplotlib.axes.Axes":
    """Make the axes of a chart that is drawn on none: signed, and shown where a notebook runs."""
    figure = _notebook_figure(width, height) or new_figure(width, height)
    sign(figure, records)
    return figure.add_subplot()


def _notebook_figure(width: float, height: float) -> "matplotlib.figure.Figure | None":
    """Make a figure that a notebook shows by itself; None outside of one."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from matplotlib import pyplot

    return pyplot.figure(figsize=(width, height), layout="constrained")


def sign(figure: "matplotlib.figure.Figure", records: Sequence[Record]) -> None:
    """Write configuration hash and versions of each record below the figure."""
    caption(figure, "\n".join(short(provenance(record.header), 110) for record in records))


def caption(figure: "matplotlib.figure.Figure", text: str) -> None:
    """Write small print below the figure."""
    figure.supxlabel(text, x=0.012, ha="left", fontsize=6.5, color=QUIET)


def title(ax: "matplotlib.axes.Axes", text: str, color: str = "black") -> None:
    """Write a title, flush left."""
    ax.set_title(short(text, 60), loc="left", fontsize=10.5, pad=8, color=color)


def tidy(ax: "matplotlib.axes.Axes") -> None:
    """Remove the frame, keep a faint grid behind, write fractions in percent."""
    from matplotlib.ticker import PercentFormatter

    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#999999")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    ax.tick_params(labelsize=8.5, color="#999999")
    ax.grid(axis="y", color="#E3E3E3", linewidth=0.6)
    ax.set_axisbelow(True)


def legend_below(ax: "matplotlib.axes.Axes", heading: str, drop: float = -0.17) -> None:
    """Put the legend under the axes, where it can hide nothing."""
    options: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (-0.02, drop), "ncols": 2}
    legend = ax.legend(
        title=heading, alignment="left", frameon=False, fontsize=8.5, title_fontsize=8.5, **options
    )
    legend.get_title().set_color(QUIET)


def short(text: str, length: int) -> str:
    """Cut a text that would not fit, with an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def to_svg(figure: "matplotlib.figure.Figure") -> bytes:
    """Render a figure as SVG; the same figure gives the same bytes."""
    return _rendered(figure, format="svg", metadata={"Date": None})


def to_png(figure: "matplotlib.figure.Figure") -> bytes:
    """Render a figure as PNG."""
    return _rendered(figure, format="png", dpi=110)


def _rendered(figure: "matplotlib.figure.Figure", **options: Any) -> bytes:
    """Render a figure in which no sign of a name acts: not as mathematics, not as a control."""
    import matplotlib as mpl
    from matplotlib.text import Text

    for label in figure.findobj(Text):
        if isinstance(label, Text):  # ticks are texts too, of numbers or of names made visible
            lines = label.get_text().split("\n")
            label.set_text("\n".join(visible(line) for line in lines))
            label.set_parse_math(False)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "surefoot"}), warnings.catch_warnings():
        # A class name may be in a script that the bundled font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def to_data_uri(figure: "matplotlib.figure.Figure") -> str:
    """Render a figure as the `src` of an image that needs no other file."""
    return as_data_uri(to_svg(figure))


def as_data_uri(svg: bytes) -> str:
    """Return an SVG as the `src` of an image that needs no other file."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
