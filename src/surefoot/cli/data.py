"""`surefoot data`: list, describe and fetch data sets."""

from dataclasses import dataclass, field
from typing import Literal

import tyro

from surefoot.cli.options import Source


@dataclass(frozen=True)
class Command:
    """List the data sets, describe one, or fetch one into SUREFOOT_DATA (the network is used).

    Args:
        action: What to do: list, show or fetch.
        name: Name of the data set, for show and fetch.
        split: Part of the data set, for show.
        source: How it is read, for show.
    """

    action: tyro.conf.Positional[Literal["list", "show", "fetch"]] = "list"
    name: tyro.conf.Positional[str] = ""
    split: str = "test"
    source: Source = field(default_factory=Source)

    def run(self) -> None:
        """Do it."""
        from surefoot import data
        from surefoot.cli.options import check_unused
        from surefoot.cli.say import say

        if self.action == "list":
            check_unused(self, ["name"], "on `data list`")
        if self.action != "show":
            check_unused(self, ["split"], f"on `data {self.action}`")
            check_unused(self.source, list(vars(self.source)), f"on `data {self.action}`")
        if self.action != "list" and not self.name:
            raise ValueError(f"`surefoot data {self.action}` needs the name of a data set")
        if self.action == "list":
            print("\n".join(data.NAMES))
            print(f"and {data.FORMS}")
        elif self.action == "fetch":
            for path in data.fetch(self.name):
                say(str(path))
        else:
            _show(self.source.read(self.name, self.split))


def _show(found) -> None:
    from surefoot.cli.show import table

    shape = "x".join(str(size) for size in found.images.shape[1:])
    title = f"{found.name}: {len(found)} images {shape}, hash {found.fingerprint()}"
    low, high = found.box
    if (low, high) != (0.0, 1.0):
        title += f", values in [{low:g}, {high:g}]"
    if found.labels is None:
        print(f"{title}, no labels")
        return
    counts = found.labels.bincount(minlength=len(found.classes)).tolist()
    named = zip(found.classes, counts, strict=True)
    table(title, ("class", "images"), [(name, str(count)) for name, count in named])
