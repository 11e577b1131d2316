"""`surefoot train`: train a net with a recipe."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from accelerate import PartialState

from surefoot.cli.options import Net
from surefoot.data import load
from surefoot.training import PGD, UDP, Noise, Standard, Training, fit

AnyRecipe = (
    Annotated[Standard, tyro.conf.subcommand("standard")]
    | Annotated[PGD, tyro.conf.subcommand("pgd")]
    | Annotated[UDP, tyro.conf.subcommand("udp")]
    | Annotated[Noise, tyro.conf.subcommand("noise")]
)


@dataclass(frozen=True)
class Command:
    """Train a net; a second call in the same folder goes on where the first was killed.

    Args:
        recipe: on which images to train.
        data: training data: a name, a .npz file, a folder of images by class, or hf:owner/name.
        folder: receives the model; made if missing.
        count: use the first so many images; 0 takes all.
        net: which net.
        training: how long and how fast.
    """

    recipe: AnyRecipe
    data: str = "digits"
    folder: Path = Path("runs/model")
    count: int = 0
    net: Net = field(default_factory=Net)
    training: Training = field(default_factory=Training)

    def run(self) -> None:
        """Train, and say where the model is."""
        data = load(self.data, "train")
        if self.count:
            data = data.first(self.count)
        model = self.net.build(data)
        folder = fit(model, data, self.recipe, self.folder, training=self.training)
        if not PartialState().is_main_process:
            return
        print((folder / "log.jsonl").read_text().splitlines()[-1])
        print(f"model: {folder}")
