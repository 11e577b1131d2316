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
    eps: float = 0.5,
    **parts: Any,
) -> Header:
    names = tuple(f"c{place}" for place in range(classes))
    return Header(
        "net",
        ModelPart("net"),
        DataPart("made", count, names),
        (guarantee or Local()).describe(),
        Threat("l2", eps),
        (eps,),
        **parts,
    )
