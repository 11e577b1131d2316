"""`surefoot train`: train a net with a recipe."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from accelerate import PartialState

from surefoot.cli.options import Net
from surefoot.data import load
from surefoot.training import RECIPES, Recipe, Training, fit

if TYPE_CHECKING:
    AnyRecipe = Recipe
else:  # one subcommand a recipe; the flags are the fields of its record
    AnyRecipe = tyro.extras.subcommand_type_from_defaults(
        {name: make() for name, make in RECIPES.items()}
    )


@dataclass(frozen=True)
class Command:
    """Train a net; a second call in the same folder goes on where the first was killed.

    Args:
        recipe: where to train, and which loss to take.
        data: training data: a name, a .npz file, a folder of images by class, or hf:owner/name.
        folder: receives the model; made if missing.
        count: use the first so many images; 0 takes all.
        validation: hold out so many of them, drawn by their own seed, to judge each epoch.
        validation_seed: of that draw.
        net: which net.
        training: how long, how fast, with which options.
    """

    recipe: AnyRecipe
    data: str = "digits"
    folder: Path = Path("runs/model")
    count: int = 0
    validation: int = 0
    validation_seed: int = 0
    net: Net = field(default_factory=Net)
    training: Training = field(default_factory=Training)

    def run(self) -> None:
        """Train, and say where the model is."""
        data, validation = load(self.data, "train"), None
        if self.count:
            data = data.first(self.count)
        if self.validation:
            validation, data = data.split(self.validation, self.validation_seed)
        model = self.net.build(data)
        folder = fit(
            model, data, self.recipe, self.folder, training=self.training, validation=validation
        )
        if not PartialState().is_main_process:
            return
        print((folder / "log.jsonl").read_text().splitlines()[-1])
        print(f"model: {folder}")
        if validation is not None:
            print(f"best epoch: {folder / 'best'}")
