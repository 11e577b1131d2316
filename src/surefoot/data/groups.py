"""Affinity groups: which classes may be together in a certified set, and where that comes from.

From a file, from names, from superclasses (two label arrays), or learned from what annotators
confuse. All return tuples of class indices for `Affinity`. A class in no group can never be
certified, not even alone: `with_singles` makes every choice of groups a relaxation of `Local`.

Leino, Fredrikson 2021 (affinity sets); learning them from human votes is ours.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from surefoot.data import layout, npz
from surefoot.files import read_json

Groups = tuple[tuple[int, ...], ...]
KNOWN: dict[str, tuple[str, ...]] = {
    "animals": ("bird", "cat", "deer", "dog", "frog", "horse"),
    "vehicles": ("airplane", "automobile", "ship", "truck"),
    "tops": ("T-shirt/top", "Pullover", "Dress", "Coat", "Shirt"),
    "shoes": ("Sandal", "Sneaker", "Ankle boot"),
}
"""Groups with a name: animals and vehicles of CIFAR-10, tops and shoes of Fashion-MNIST."""


def from_file(path: Path | str, classes: Sequence[str]) -> Groups:
    """Read groups from JSON: a list of lists, or an object name -> list, of indices or names.

    Raises:
        ValueError: the file cannot be read, or names something that is no class.
    """
    path = Path(path)
    try:
        found: Any = read_json(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the groups in {path}: {error}") from error
    groups = list(found.values()) if isinstance(found, dict) else found
    try:
        return resolve(groups, classes)
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must hold a list of lists of class indices or names ({_listed(classes)});"
            f" trouble with {error}"
        ) from error


def from_names(text: str, classes: Sequence[str]) -> Groups:
    """Read groups from text: `cat,dog; automobile,truck`, or names of `KNOWN`: `animals; vehicles`.

    Classes may be named in any case; a lone known name stands for its classes, if all are there.

    Example:
        >>> from_names("left, right; up", ("up", "left", "right", "down"))
        ((1, 2), (0,))
    """
    groups = [[name.strip() for name in group.split(",")] for group in text.split(";")]
    return resolve([_spelt_out(group, classes) for group in groups], classes)


def resolve(groups: Any, classes: Sequence[str]) -> Groups:
    """Turn groups of class indices or names into groups of indices, each sorted.

    Raises:
        TypeError: an item is neither an index nor a name, or there is no group.
        ValueError: there is no such class, or a group is empty; names it, and what is near.
    """
    if not isinstance(groups, list | tuple) or not groups:
        raise TypeError(f"{groups!r}: expected at least one group")
    return tuple(_group(group, classes) for group in groups)


def from_superclasses(fine: Tensor, coarse: Tensor) -> Groups:
    """Return one group a superclass, from a fine and a coarse label of each image.

    Args:
        fine: class of each image, `[N]`.
        coarse: superclass of each image, `[N]`.

    Raises:
        ValueError: a class occurs under two superclasses.

    Example:
        >>> import torch
        >>> from_superclasses(torch.tensor([0, 1, 2, 0]), torch.tensor([5, 4, 5, 5]))
        ((1,), (0, 2))
    """
    whole = not fine.is_floating_point() and not coarse.is_floating_point()
    if fine.shape != coarse.shape or fine.ndim != 1 or not whole:
        raise ValueError(
            "`fine` and `coarse` must be one integer label each for the same images; found shapes"
            f" {tuple(fine.shape)} and {tuple(coarse.shape)}, {fine.dtype} and {coarse.dtype}"
        )
    pairs = sorted(set(zip(fine.tolist(), coarse.tolist(), strict=True)))
    members: dict[int, list[int]] = {}
    for place, (label, above) in enumerate(pairs):
        if place and pairs[place - 1][0] == label:
            raise ValueError(
                f"class {label} occurs under the superclasses {pairs[place - 1][1]} and {above}:"
                " the two label arrays do not belong together"
            )
        members.setdefault(above, []).append(label)
    return tuple(tuple(members[above]) for above in sorted(members))


def from_superclass_file(path: Path | str, classes: Sequence[str]) -> Groups:
    """Read superclasses from an .npz with `fine`, `coarse` and `fine_names`, for these classes."""
    path = Path(path)
    arrays = npz.read(path, ("fine", "coarse", "fine_names"))
    found = from_superclasses(
        layout.labels_tensor(arrays["fine"]), layout.labels_tensor(arrays["coarse"])
    )
    names = layout.names(arrays["fine_names"])
    if max(max(group) for group in found) >= len(names):
        raise ValueError(f"{path}: `fine` names a class above the {len(names)} of `fine_names`")
    return resolve([[names[label] for label in group] for group in found], classes)


def confusion(probabilities: Tensor) -> Tensor:
    r"""Measure how often annotators confuse two classes, from their votes.

    $$ R_{ab} = \frac{2 \sum_n p_{na} p_{nb}}{\sum_n p_{na} + \sum_n p_{nb}} $$
    Of two annotators of an image, one of whom votes for a (or b): the probability that the other
    votes for b (or a), averaged over both roles. 0 = never confused; 1/2 = two classes told apart
    by a coin. Fractions of few votes are smaller, by the factor (votes - 1) / votes for each image.

    Args:
        probabilities: fractions of human votes `[N, C]`, or counts.

    Returns:
        float64 `[C, C]`, symmetric, 0 on the diagonal.
    """
    if probabilities.ndim != 2 or not bool((probabilities >= 0).all()):
        raise ValueError(
            "`probabilities` must be fractions or counts of votes [N, C], all >= 0; found shape"
            f" {tuple(probabilities.shape)}"
        )
    totals = probabilities.double().sum(1, keepdim=True)
    fractions = probabilities.double() / totals.where(totals > 0, 1.0)
    votes = fractions.sum(0)
    together = 2 * fractions.T @ fractions / (votes[:, None] + votes).clamp(min=1e-300)
    return together.fill_diagonal_(0.0)


def learned(probabilities: Tensor, *, threshold: float) -> Groups:
    """Group classes of which every two are confused: the maximal cliques of `confusion`.

    Args:
        probabilities: fractions or counts of human votes `[N, C]`, not of the images to be judged.
        threshold: least confusion of two classes in a group.

    Returns:
        groups that may overlap; every class is in one, alone if it is confused with none.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"`threshold` must lie between 0 and 1; found {threshold}")
    near = (confusion(probabilities) >= threshold).tolist()
    neighbours = [{b for b, edge in enumerate(row) if edge} for row in near]
    cliques = _cliques(set(), set(range(len(near))), set(), neighbours)
    return tuple(sorted(tuple(sorted(clique)) for clique in cliques))


def clustered(probabilities: Tensor, *, count: int) -> Groups:
    """Part the classes into `count` groups: average linkage of `confusion`.

    Args:
        probabilities: fractions or counts of human votes `[N, C]`, not of the images to be judged.
        count: of groups, from 2 to the number of classes.
    """
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import squareform

    classes = probabilities.shape[1]
    if not 2 <= count <= classes:
        raise ValueError(
            f"`count` must lie in [2, {classes}], the classes there are; found {count}"
        )
    distances = (1 - confusion(probabilities)).fill_diagonal_(0.0)
    merges = linkage(squareform(distances.numpy(), checks=False), "average")
    owner = cut_tree(merges, n_clusters=count)[:, 0].tolist()
    groups = (tuple(label for label in range(classes) if owner[label] == one) for one in {*owner})
    return tuple(sorted(groups))


def with_singles(groups: Groups, count: int) -> Groups:
    """Add a group of its own for each of `count` classes that is in none.

    Example:
        >>> with_singles(((0, 2),), 4)
        ((0, 2), (1,), (3,))
    """
    grouped = {member for group in groups for member in group}
    return groups + tuple((member,) for member in range(count) if member not in grouped)


def _group(group: Any, classes: Sequence[str]) -> tuple[int, ...]:
    if not isinstance(group, list | tuple) or not group:
        raise TypeError(f"{group!r}: expected a group of at least one class")
    return tuple(sorted({_index(item, classes) for item in group}))


def _index(item: Any, classes: Sequence[str]) -> int:
    if type(item) is int:
        if not 0 <= item < len(classes):
            raise ValueError(f"{item}: the {len(classes)} classes count from 0")
        return item
    if not isinstance(item, str):
        raise TypeError(f"{item!r}: expected an index or a name")
    if item in classes:
        return list(classes).index(item)
    found = [place for place, name in enumerate(classes) if name.casefold() == item.casefold()]
    if len(found) == 1:
        return found[0]
    near = difflib.get_close_matches(item, list(classes), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{item!r}: no such class among {_listed(classes)}{hint}")


def _spelt_out(group: list[str], classes: Sequence[str]) -> list[str]:
    known = KNOWN.get(group[0].casefold())
    if len(group) > 1 or known is None or group[0] in classes or not set(known) <= set(classes):
        return group
    return list(known)


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes[:20]) + (f", ... ({len(classes)} in all)" if len(classes) > 20 else "")


def _cliques(
    clique: set[int], candidates: set[int], done: set[int], neighbours: list[set[int]]
) -> list[set[int]]:
    """List the maximal cliques (Bron, Kerbosch 1973, with a pivot)."""
    if not candidates:
        return [clique] if not done else []
    pivot = max(candidates | done, key=lambda node: len(neighbours[node] & candidates))
    found = []
    for node in sorted(candidates - neighbours[pivot]):
        near = neighbours[node]
        found += _cliques(clique | {node}, candidates & near, done & near, neighbours)
        candidates, done = candidates - {node}, done | {node}
    return found
