"""`surefoot data`: list, describe and fetch data sets."""

from dataclasses import dataclass
from typing import Literal

import tyro


@dataclass(frozen=True)
class Command:
    """List the data sets, describe one, or fetch one into SUREFOOT_DATA (the network is used).

    Args:
        action: What to do: list, show or fetch.
        name: Name of the data set, for show and fetch.
        split: Part of the data set, for show.
    """

    action: tyro.conf.Positional[Literal["list", "show", "fetch"]] = "list"
    name: tyro.conf.Positional[str] = ""
    split: Literal["train", "test"] = "test"

    def run(self) -> None:
        """Do it."""
        from surefoot import data
        from surefoot.cli.options import check_unused
        from surefoot.cli.say import say

        if self.action == "list":
            check_unused(self, ["name"], "on `data list`")
        if self.action != "show":
            check_unused(self, ["split"], f"on `data {self.action}`")
        if self.action != "list" and not self.name:
            raise ValueError(f"`surefoot data {self.action}` needs the name of a data set")
        if self.action == "list":
            print("\n".join(data.NAMES))
            print("and any .npz (x, y), folder of images by class, or hf:owner/name")
        elif self.action == "fetch":
            for path in data.fetch(self.name):
                say(str(path))
        else:
            _show(data.load(self.name, self.split))


def _show(found) -> None:
    from surefoot.cli.show import table

    counts = found.labels.bincount(minlength=len(found.classes)).tolist()
    shape = "x".join(str(size) for size in found.images.shape[1:])
    title = f"{found.name}: {len(found)} images {shape}, hash {found.fingerprint()}"
    named = zip(found.classes, counts, strict=True)
    table(title, ("class", "images"), [(name, str(count)) for name, count in named])
