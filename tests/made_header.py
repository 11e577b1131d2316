"""A header for records that tests make by hand."""

from typing import Any

from surefoot.evaluation.header import DataPart, Header, ModelPart
from surefoot.guarantees import Guarantee, Local
from surefoot.threat import Threat


def made_header(
    count: int,
    *,
    classes: int = 4,
    guarantee: Guarantee | None = None,
    radii: tuple[float, ...] = (0.5,),
    **parts: Any,
) -> Header:
    """Make the header of an l2 record; its largest radius is the headline."""
    names = tuple(f"c{place}" for place in range(classes))
    return Header(
        "net",
        ModelPart("net"),
        DataPart("made", count, names),
        (guarantee or Local()).describe(),
        Threat("l2", radii[-1]),
        radii,
        **parts,
    )
