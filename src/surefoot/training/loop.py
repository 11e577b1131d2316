"""The training loop: one, readable, resumable, the same result however often it is killed.

Everything random in an epoch (order, augmentation, perturbations, dropout) comes from a stream
keyed by (seed, epoch), and the state is replaced atomically after each epoch. So a resumed run
repeats the broken epoch from its beginning and ends, on a CPU, with the same bits as a run without
a kill.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from surefoot.attacks.latent import evaluate
from surefoot.data import Data
from surefoot.files import locked
from surefoot.models import save
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import device_of, dtype_of, frozen
from surefoot.models.io import fingerprint
from surefoot.progress import reach, track
from surefoot.streams import generator
from surefoot.training import state
from surefoot.training.bound_loss import BoundLoss
from surefoot.training.judge import best_epoch, collapsed, warn_of
from surefoot.training.optimizers import optimizer_of, rate
from surefoot.training.outputs import Outputs, criterion_of
from surefoot.training.recipes import RECIPES, Recipe, described
from surefoot.training.settings import Training
from surefoot.training.state import Progress
from surefoot.training.surroundings import BallRegion
from surefoot.training.trackers import checked, numbers
from surefoot.training.weight_changes import average, copy_of, holding, pushed


@dataclass(frozen=True)
class _Run:
    """What stays while a model is trained; `wrapped` is the model as `accelerate` sees it."""

    accelerator: Accelerator
    wrapped: nn.Module
    data: Data
    recipe: Recipe
    training: Training


def fit(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    folder: Path | str,
    *,
    training: Training | None = None,
    validation: Data | None = None,
    trackers: Sequence[str] = (),
) -> Path:
    """Train the model and leave it in a run folder; continue there after a kill.

    Args:
        model: trained in place, on the device that `accelerate` finds; outputs logits.
        data: training images.
        recipe: where to train, and which loss to take.
        folder: receives `model.safetensors`, `config.json`, `log.jsonl` and `state.safetensors`;
            with validation images also `best`, the run folder of the best epoch.
        training: length, optimiser, options, seed.
        validation: judge each epoch by these images (`Training.judge`).
        trackers: what else receives the log of each epoch: tensorboard, into the folder.

    Returns:
        the folder.

    Raises:
        ValueError: the folder holds the state of another run; a model that does not return logits
            for these classes; a loss or weights that are not finite.
    """
    training, folder = training or Training(), Path(folder)
    if training.judge.needed and validation is None:
        raise ValueError("`judge_eps` and `patience` need validation images; found none")
    _check_start(model, data)
    # Statistics of normalisation layers stay local: losses with two passes a step would clash.
    kwargs = DistributedDataParallelKwargs(broadcast_buffers=False)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        kwargs_handlers=[kwargs],
        log_with=checked(trackers),
        project_dir=folder,
    )
    wrapped, optimizer = accelerator.prepare(model, optimizer_of(model, training))
    described = _described(model, data, recipe, training)
    if isinstance(recipe.loss, BoundLoss):
        recipe.loss.start(model, generator(training.seed))
    progress = Progress(model, optimizer, copy_of(model) if training.ema else None)
    with locked(folder, owner=accelerator.is_main_process):
        state.resume(folder, progress, described)
        run = _Run(accelerator, wrapped, data, recipe, training)
        epochs = range(len(progress.log), training.epochs)
        reach(len(progress.log), training.epochs, "epochs")
        if trackers:
            accelerator.init_trackers("tensorboard")
        for epoch in track(epochs, f"train {recipe.name}", len(epochs)):
            if training.judge.stops(progress.log):
                break
            _epoch(run, progress, validation, epoch)
            if accelerator.is_main_process:
                state.store(folder, progress, described)
            accelerator.log(numbers(progress.log[-1]), step=epoch + 1)
            reach(epoch + 1, training.epochs, "epochs")
        if progress.average is not None:
            model.load_state_dict(progress.average)
        if accelerator.is_main_process:
            _leave(folder, progress, described, data.classes)
        for tracker in accelerator.trackers:
            tracker.finish()  # `end_training` would end the process group, too
        accelerator.wait_for_everyone()
    model.eval()
    return folder


def _check_start(model: nn.Module, data: Data) -> None:
    """Raise before anything is written if the model cannot be trained on these data."""
    _check_weights(model, "the model comes with weights")
    images, _ = data.batch(slice(0, 2))  # raises without labels
    with torch.no_grad(), frozen(model):
        given = images.to(device_of(model), dtype_of(model))
        found = model(given)
        if not isinstance(found, Tensor):
            raise ValueError(
                f"training needs a module that returns a tensor of logits; it returned a"
                f" {type(found).__name__}. Wrap it in a module whose forward picks them:"
                " return self.net(images)['logits']"
            )
        columns = outcomes_of(model, given).shape[1]
    if columns < len(data.classes):
        raise ValueError(
            f"the data set has {len(data.classes)} classes, the model {columns} outcomes: give the"
            " model as many outputs as there are classes"
        )


def _check_weights(model: nn.Module, what: str) -> None:
    trained = dict(model.named_parameters())
    bad = [
        name
        for name, value in model.state_dict().items()
        # A buffer may hold an infinite limit; no weight may.
        if bool(value.isnan().any()) or (name in trained and bool(value.isinf().any()))
    ]
    if bad:
        raise ValueError(
            f"{what} that are NaN or infinite ({', '.join(bad[:3])}; {len(bad)} in all). Start from"
            " finite weights, lower the learning rate, or look at the data for extreme values"
        )


def _batches(model: nn.Module, order: Tensor, size: int, processes: int) -> list[Tensor]:
    """Cut an order into batches; batch normalisation needs two images in each, on each process."""
    batches = list(order.split(size))
    normalised = any(isinstance(module, _BatchNorm) for module in model.modules())
    if normalised and len(batches) > 1 and len(batches[-1]) < 2 * processes:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _described(model: nn.Module, data: Data, recipe: Recipe, training: Training) -> dict[str, Any]:
    """Describe in JSON what is trained; a state belongs to exactly one such description."""
    return {
        "recipe": described(recipe) | {"name": recipe.name},
        "training": asdict(training),
        "data": {"name": data.name, "hash": data.fingerprint(), "count": len(data)},
        "net": getattr(model, "config", None),
        "start": fingerprint(model),
    }


def _leave(
    folder: Path, progress: Progress, described: dict[str, Any], classes: tuple[str, ...]
) -> None:
    """Write what the run was for: log, model, and the best epoch's model."""
    state.write_log(folder, progress.log)
    more = {key: described[key] for key in ("recipe", "training", "data")}
    more["data"] = more["data"] | {"classes": list(classes)}
    if progress.best is not None:
        epoch = best_epoch(progress.log) + 1
        with holding(progress.model, progress.best):
            save(progress.model, folder / "best", **more, epoch=epoch)
    save(progress.model, folder, **more)


def _epoch(run: _Run, progress: Progress, validation: Data | None, epoch: int) -> None:
    """Run over the data once, judge the outcome, and append a line to the log."""
    began = time.perf_counter()
    figures: dict[str, Any] = {"epoch": epoch + 1, **_pass(run, progress, epoch)}
    log = progress.log
    with holding(progress.model, progress.average):
        if validation is not None:
            figures |= run.training.judge.figures(progress.model, validation)
        figures["seconds"] = round(time.perf_counter() - began, 3)
        # All processes go by the figures of the first, so that all stop together.
        (figures,) = broadcast_object_list([figures])
        log.append(figures)
        if validation is not None and best_epoch(log) == epoch:
            progress.best = copy_of(progress.model)
    if collapsed(log):
        if not any(line.get("collapsed") for line in log):
            warn_of(figures)
        figures["collapsed"] = True


def _pass(run: _Run, progress: Progress, epoch: int) -> dict[str, float]:
    """Run all steps of an epoch."""
    training, accelerator = run.training, run.accelerator
    rank, processes = accelerator.process_index, accelerator.num_processes
    order = torch.randperm(len(run.data), generator=generator(training.seed, epoch))
    stream = generator(training.seed, epoch, rank + 1)
    batches = _batches(progress.model, order, training.batch_size, processes)
    losses, right, seen = 0.0, 0.0, 0
    with torch.random.fork_rng():
        torch.manual_seed(stream.initial_seed())  # dropout has no generator of its own
        for index, rows in enumerate(batches):
            images, labels = run.data.batch(rows[rank::processes])
            images, labels = images.to(accelerator.device), labels.to(accelerator.device)
            done = (epoch + index / len(batches)) / training.epochs
            for group in progress.optimizer.param_groups:
                group["lr"] = training.learning_rate * rate(training, done)
            recipe = run.recipe if index % training.perturb_every == 0 else RECIPES["standard"]
            loss, hits = _step(run, progress, recipe, (images, labels), stream, epoch, done)
            if progress.average is not None:
                steps = epoch * len(batches) + index
                average(progress.average, progress.model, training.ema, steps)
            losses, right, seen = losses + loss * len(labels), right + hits, seen + len(labels)
            if losses != losses:
                raise ValueError(
                    f"the loss is not finite in epoch {epoch + 1}, step {index + 1}: lower the"
                    f" learning rate ({training.learning_rate:g}) or look at the data"
                )
    _check_weights(progress.model, f"epoch {epoch + 1} ended with weights")
    return {"loss": losses / seen, "accuracy_on_perturbed": right / seen}


def _step(
    run: _Run,
    progress: Progress,
    recipe: Recipe,
    batch: tuple[Tensor, Tensor],
    stream: torch.Generator,
    epoch: int,
    done: float,
) -> tuple[float, float]:
    """Perturb a batch, take one step of the optimiser, return the loss and the number right."""
    model, (images, labels) = progress.model, batch
    images = run.training.augmentation.apply(images, stream)
    found = recipe.perturb(model, images, labels, stream, done)
    region = found if isinstance(found, BallRegion) else None
    point = found.point if isinstance(found, BallRegion) else found
    criterion = criterion_of(model, run.training.label_smoothing)

    def outputs_of(called: nn.Module) -> Outputs:
        run_at = partial(evaluate, called, model)
        return Outputs(run_at, images, point, labels, criterion, model, epoch, done, region)

    model.train()
    progress.optimizer.zero_grad()
    radius = run.training.weight_attack.radius(epoch)
    with pushed(model, lambda: recipe.loss(outputs_of(model)).mean(), radius):
        outputs = outputs_of(run.wrapped)
        loss = recipe.loss(outputs).mean()
        run.accelerator.backward(loss)
    progress.optimizer.step()
    return loss.item(), outputs.right.double().mean(0).sum().item()
