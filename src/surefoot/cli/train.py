"""`surefoot train`: train a net with a recipe."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from surefoot.cli.declared import declared, narrowed, real
from surefoot.cli.guarantee import read_groups
from surefoot.cli.net import Net
from surefoot.cli.options import Source, boxed, check_seeds, check_unused
from surefoot.cli.say import is_first, say

if TYPE_CHECKING:
    from surefoot.training import Recipe, Training

    AnyRecipe = Recipe
else:  # one subcommand a recipe; the flags are the fields of its perturbation and its loss
    Training = declared("surefoot.training.settings", "Training")
    recipes = declared("surefoot.training.recipes", "RECIPES")
    table = declared("surefoot.training.recipes", "TABLE")
    AnyRecipe = tyro.extras.subcommand_type_from_defaults(
        {name: narrowed(one, ("perturbation", "loss", "noisy")) for name, one in recipes.items()},
        {name: line for name, (line, _) in table.items()},
    )


@dataclass(frozen=True)
class Command:
    """Train a net; a second call in the same folder goes on where the first was killed.

    Args:
        recipe: Where the net is trained, and which loss it minimises there.
        data: Training data: a name, a .npz, .npy or .csv file, a folder of images by class, or
            hf:owner/name.
        split: Part of the data set that is trained on: train, or any sub-folder.
        source: How the data are read.
        folder: Folder that receives the model; it is made if missing.
        count: Number of images, the first of the data; 0 takes all.
        validation: Number of images held out to judge each epoch.
        validation_seed: Seed that draws them.
        net: The net that is trained.
        training: How long, how fast, and with which options it is trained.
        track: Send the log of each epoch also to tensorboard, into --folder (extra `track`).
        groups: Affinity groups for certified training (gloro, ibp, ...), in the forms of `certify
            --groups`.
    """

    daily = (
        *("recipe", "data", "folder", "validation", "net", "hidden", "epochs", "batch_size"),
        *("optimizer", "learning_rate", "schedule", "seed", "judge_eps"),
    )
    recipe: AnyRecipe
    data: str = "digits"
    split: str = "train"
    source: Source = field(default_factory=Source)
    folder: Path = Path("runs/model")
    count: int = 0
    validation: int = 0
    validation_seed: int = 0
    net: Net = field(default_factory=Net)
    training: Training = field(default_factory=Training)
    track: tuple[Literal["tensorboard"], ...] = ()
    groups: str = ""

    def run(self) -> None:
        """Train, and say where the model is."""
        from surefoot.training import fit

        recipe, training = real(self.recipe), real(self.training)
        check_seeds(self.validation_seed, self.training.seed)
        if min(self.count, self.validation) < 0:
            raise ValueError(
                f"--count and --validation must be at least 0; found {self.count} and"
                f" {self.validation}"
            )
        if not self.validation:
            check_unused(self, ["validation_seed"], "without --validation")
        if self.training.schedule != "multistep":
            check_unused(self.training, ["milestones"], "without --schedule multistep")
        data, validation = self.source.read(self.data, self.split), None
        data.batch(slice(0, 1))  # raises without labels
        recipe = boxed(recipe, data)
        if self.count:
            data = data.first(self.count)
        if self.validation:
            validation, data = data.split(self.validation, self.validation_seed)
        model = self.net.build(data)
        if self.groups:
            recipe = self._grouped(recipe, data.classes)
        folder = fit(
            model,
            data,
            recipe,
            self.folder,
            training=training,
            validation=validation,
            trackers=self.track,
        )
        if not is_first():
            return
        say((folder / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        say(f"model: {folder}")
        if validation is not None:
            say(f"best epoch: {folder / 'best'}")

    def _grouped(self, recipe: "Recipe", classes: tuple[str, ...]) -> "Recipe":
        """Return the recipe with affinity groups."""
        from surefoot.guarantees import Affinity
        from surefoot.training import BoundLoss, GloRo

        if not isinstance(recipe.loss, GloRo | BoundLoss):
            raise ValueError(
                "--groups is for the recipes gloro, ibp, crown-ibp, sabr and mtl-ibp: their"
                " guarantee becomes affinity"
            )
        guarantee = Affinity(read_groups(self.groups, classes))
        return replace(recipe, loss=replace(recipe.loss, guarantee=guarantee))
