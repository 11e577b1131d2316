"""The training loop: one, readable, resumable, the same result however often it is killed.

Everything random in an epoch (order, perturbations, dropout) comes from a stream keyed by
(seed, epoch), and the state is replaced atomically after each epoch. So a resumed run repeats the
broken epoch from its beginning and ends, on a CPU, with the same bits as a run without a kill.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.functional import cross_entropy

from surefoot.data import Data
from surefoot.files import write_whole
from surefoot.models import save
from surefoot.models.frozen import device_of, frozen
from surefoot.progress import track
from surefoot.streams import generator
from surefoot.training import state
from surefoot.training.recipes import Recipe


@dataclass(frozen=True)
class Training:
    """How long and how fast to train.

    Args:
        epochs: passes over the data.
        batch_size: images a step (over all processes).
        optimizer: "adam", or "sgd" with Nesterov momentum 0.9.
        learning_rate: the peak.
        schedule: "constant"; "triangular" from 0 up to the middle and down to 0; "cosine" to 0.
        weight_decay: L2 coefficient.
        seed: of order, perturbations and dropout (the initial weights are the caller's).
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "triangular", "cosine"] = "cosine"
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ValueError(
                "need epochs >= 1, batch_size >= 1 and learning_rate > 0; found"
                f" {self.epochs}, {self.batch_size}, {self.learning_rate}"
            )


def fit(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    folder: Path | str,
    *,
    training: Training | None = None,
    validation: Data | None = None,
) -> Path:
    """Train the model and leave it in a run folder; continue there after a kill.

    Args:
        model: trained in place, on the device that `accelerate` finds; outputs logits.
        data: training images.
        recipe: on which images to train.
        folder: receives `model.safetensors`, `config.json`, `log.jsonl` and `state.safetensors`.
        training: length, optimiser, seed.
        validation: if given, its clean accuracy is logged after each epoch.

    Returns:
        the folder.

    Raises:
        ValueError: the folder holds the state of another run, or the loss is not finite.
    """
    training, folder = training or Training(), Path(folder)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    optimizer = _optimizer(model, training)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    run = {
        "recipe": {"name": type(recipe).__name__.lower(), **asdict(recipe)},
        "training": asdict(training),
        "data": {"name": data.name, "hash": data.fingerprint(), "count": len(data)},
        "net": getattr(model, "config", None),
        "start": state.start_of(model),
    }
    folder.mkdir(parents=True, exist_ok=True)
    log = state.resume(folder, model, optimizer, run)
    epochs = range(len(log), training.epochs)
    for epoch in track(epochs, f"train {run['recipe']['name']}", len(epochs)):
        began = time.perf_counter()
        figures = _epoch(accelerator, wrapped, model, optimizer, data, recipe, training, epoch)
        if validation is not None:
            figures["validation_accuracy"] = accuracy(model, validation)
        seconds = round(time.perf_counter() - began, 3)
        log.append({"epoch": epoch + 1, **figures, "seconds": seconds})
        if accelerator.is_main_process:
            state.store(folder, model, optimizer, run, log)
    if accelerator.is_main_process:
        lines = "".join(json.dumps(line) + "\n" for line in log)
        write_whole(folder / "log.jsonl", lines.encode())
        save(model, folder, **{key: run[key] for key in ("recipe", "training", "data")})
    model.eval()
    return folder


def accuracy(model: nn.Module, data: Data, batch_size: int = 1000) -> float:
    """Give the share of images whose largest logit is the label's."""
    right = 0
    with torch.inference_mode(), frozen(model):
        for first in range(0, len(data), batch_size):
            images, labels = data.batch(slice(first, first + batch_size))
            right += int((model(images.to(device_of(model))).argmax(1).cpu() == labels).sum())
    return right / len(data)


def _epoch(
    accelerator: Accelerator,
    wrapped: nn.Module,
    model: nn.Module,
    optimizer: Any,
    data: Data,
    recipe: Recipe,
    training: Training,
    epoch: int,
) -> dict[str, float]:
    """Run over the data once; `wrapped` is the model as `accelerate` synchronises it."""
    rank, processes = accelerator.process_index, accelerator.num_processes
    order = torch.randperm(len(data), generator=generator(training.seed, epoch))
    stream = generator(training.seed, epoch, rank + 1)
    batches = order.split(training.batch_size)
    losses, right, seen = 0.0, 0, 0
    with torch.random.fork_rng():
        torch.manual_seed(stream.initial_seed())  # dropout has no generator of its own
        for step, rows in enumerate(batches):
            images, labels = data.batch(rows[rank::processes])
            images, labels = images.to(accelerator.device), labels.to(accelerator.device)
            done = (epoch + step / len(batches)) / training.epochs
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate * rate(training.schedule, done)
            perturbed = recipe.perturb(model, images, labels, stream)
            model.train()
            optimizer.zero_grad()
            logits = wrapped(perturbed)
            loss = cross_entropy(logits, labels)
            accelerator.backward(loss)
            optimizer.step()
            losses += loss.item() * len(labels)
            right += int((logits.argmax(1) == labels).sum())
            seen += len(labels)
            if losses != losses:
                raise ValueError(
                    f"the loss is not finite in epoch {epoch + 1}, step {step + 1}: lower the"
                    f" learning rate ({training.learning_rate:g}) or look at the data"
                )
    return {"loss": losses / seen, "accuracy_on_perturbed": right / seen}


def rate(schedule: str, done: float) -> float:
    """Give the share of the peak learning rate after a share `done` of all steps."""
    if schedule == "triangular":
        return max(2 * min(done, 1 - done), 1e-3)
    if schedule == "cosine":
        return 0.5 * (1 + torch.cos(torch.tensor(torch.pi * done)).item())
    return 1.0


def _optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            lr=training.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=training.weight_decay,
        )
    return torch.optim.Adam(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
