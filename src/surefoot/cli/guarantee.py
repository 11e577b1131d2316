"""The guarantee that a command is about, and the groups of classes of `--guarantee affinity`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from surefoot.cli.options import check_unused

if TYPE_CHECKING:
    from surefoot.data.groups import Groups
    from surefoot.guarantees import Guarantee

LEAST_CONFUSION = 0.03
"""Of two people, one of whom says a or b, three in a hundred times the other says the other one."""


@dataclass(frozen=True)
class GuaranteeOptions:
    """What must not change inside the ball.

    Args:
        guarantee: The guarantee: the label (local), the set of the k best labels (topk), one of the
            sets of up to k best labels (relaxed-topk), the same within a group (affinity), the
            label or "uncertain" (label-or-uncertain).
        k: Size of the set, for topk and relaxed-topk.
        groups: Groups of classes, for affinity: a JSON file (lists of class indices or names);
            class names, as in "cat,dog; automobile,truck"; named groups, as in "animals; vehicles";
            superclasses:FILE (an .npz with fine, coarse and fine_names; without a file that of
            cifar100-ood); learned:NAME from the votes of a data set, every two classes confused by
            0.03 or more, learned:NAME:0.02 by that much, learned:NAME:4 parted into four. A class
            in no group stands alone.
    """

    guarantee: Literal["local", "topk", "relaxed-topk", "affinity", "label-or-uncertain"] = "local"
    k: int = 2
    groups: str = ""

    def build(self, classes: tuple[str, ...]) -> "Guarantee":
        """Return the guarantee."""
        from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK

        if self.guarantee not in ("topk", "relaxed-topk"):
            check_unused(self, ["k"], f"on --guarantee {self.guarantee}")
        if self.guarantee != "affinity":
            check_unused(self, ["groups"], f"on --guarantee {self.guarantee}")
        if self.guarantee == "topk":
            return TopK(self.k)
        if self.guarantee == "relaxed-topk":
            return RelaxedTopK(self.k)
        if self.guarantee == "label-or-uncertain":
            return LabelOrUncertain()
        if self.guarantee == "affinity":
            if not self.groups:
                raise ValueError("--guarantee affinity needs --groups: a JSON file or class names")
            return Affinity(read_groups(self.groups, classes))
        return Local()


def read_groups(text: str, classes: tuple[str, ...]) -> "Groups":
    """Return affinity groups, read from any form of `--groups`; a class in none gets its own."""
    from surefoot.data import data_folder, groups

    kind, _, rest = text.partition(":")
    if kind == "learned":
        found = _learned(rest, classes)
    elif kind == "superclasses":
        path = Path(rest) if rest else data_folder() / "ood_cifar100_test_2000.npz"
        found = groups.from_superclass_file(path, classes)
    elif text.endswith(".json") or Path(text).is_file():
        found = groups.from_file(Path(text), classes)
    else:
        found = _named(text, classes)
    return groups.with_singles(found, len(classes))


def _named(text: str, classes: tuple[str, ...]) -> "Groups":
    from surefoot.data import groups

    try:
        return groups.from_names(text, classes)
    except ValueError as error:
        raise ValueError(
            f"--groups {text!r} is no file and no list of classes (commas within a group,"
            f" semicolons between groups): {error}"
        ) from error


def _learned(rest: str, classes: tuple[str, ...]) -> "Groups":
    """Learn groups from a data set with votes: its train split if there is one."""
    from surefoot.data import groups, load

    name, _, number = rest.partition(":")
    try:
        much = float(number or LEAST_CONFUSION)
    except ValueError as error:
        raise ValueError(
            f"--groups learned:NAME:NUMBER takes a least confusion below 1 or a number of groups;"
            f" found {number!r}"
        ) from error
    votes = load(name, "test" if name == "cifar10h" else "train")
    if votes.probabilities is None:
        raise ValueError(f"--groups learned:{name}: {name} has no human votes (cifar10n has)")
    if votes.classes != classes:
        raise ValueError(
            f"--groups learned:{name}: its classes ({', '.join(votes.classes)}) are not those of"
            f" the data ({', '.join(classes)})"
        )
    if much >= 1 and much.is_integer():
        return groups.clustered(votes.probabilities, count=int(much))
    return groups.learned(votes.probabilities, threshold=much)
