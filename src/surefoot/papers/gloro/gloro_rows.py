"""What the experiments on GloRo nets have in common: the smallest size, and ways to write nets."""

from collections.abc import Mapping
from typing import Any

from surefoot.guarantees import Affinity, Guarantee, Local, RelaxedTopK, TopK
from surefoot.papers.experiment import Row, Setting
from surefoot.papers.set_tables import CertifiedNet
from surefoot.training import Training, make_recipe

SMOKE = Setting(
    data="blended-digits",
    train=200,
    test=20,
    training=Training(epochs=2, batch_size=64, learning_rate=3e-3),
    net={"name": "gloro-mlp", "inputs": 64, "hidden": (16,)},
    protocol="margins",
    steps=3,
)
PAIRS = Affinity(((0, 1), (2, 3), (4, 5), (6, 7), (8, 9)))
"""The partners of blended digits; groups for every smoke run."""


def net(
    name: str,
    guarantee: Local | TopK | RelaxedTopK | Affinity,
    eps: float,
    *,
    published: Mapping[str, float] | None = None,
    also: Mapping[str, Guarantee] | None = None,
    **options: Any,
) -> CertifiedNet:
    """Return a net that is trained for what is certified; `options` are those of `GloRo`."""
    recipe = make_recipe("gloro", guarantee=guarantee, eps=eps, **options)
    return CertifiedNet(Row(name, recipe, published or {}), guarantee, also or {})


def relaxing(
    eps: float,
    groups: Affinity,
    *,
    ks: tuple[int, ...] = (2, 3),
    published: Mapping[str, Mapping[str, float]] | None = None,
    **options: Any,
) -> tuple[CertifiedNet, ...]:
    """Return the rows of a table: local, RT for each k, affinity; each trained, and local as each.

    Args:
        eps: l2 radius.
        groups: of the affinity row.
        ks: of the RT rows.
        published: row ("local", "RT3", "affinity") -> its figures in the paper.
        options: of `GloRo`, the same for every row.
    """
    known = published or {}
    wide: dict[str, RelaxedTopK | Affinity] = {f"RT{k}": RelaxedTopK(k) for k in ks}
    wide["affinity"] = groups
    first = net("local", Local(), eps, published=known.get("local"), also=wide, **options)
    others = [
        net(name, guarantee, eps, published=known.get(name), **options)
        for name, guarantee in wide.items()
    ]
    return (first, *others)
