"""UDP against PGD at equal time on one accelerator: PreActResNet-18, CIFAR-10, linf 8/255.

    python benchmarks/gpu.py --train cifar10_train_1of5.npz cifar10_train_2of5.npz --test test.npz

Every part is resumable: the length of each training is fixed once, from the measured seconds of a
warm epoch, in `plan.json`; a training continues in its run folder; an attack is not repeated for a
row that is stored. Trainings run under autocast (bfloat16, channels-last), with a moving average of
the weights; AutoAttack runs on the float32 net. Nothing is chosen by the test images. Prints a
table and appends one JSON row a training to results/gpu.jsonl.
"""

import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn

from surefoot import Threat, Training, __version__, build, fit
from surefoot.attacks import autoattack
from surefoot.data import Data, load
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import frozen
from surefoot.stats.binomial import interval
from surefoot.training import Augmentation, Recipe, make_recipe


@dataclass(frozen=True)
class Options:
    """What to run.

    Args:
        train: `.npz` files of training images.
        test: `.npz` file of test images.
        folder: run folders, plan and predictions.
        results: JSON lines that rows are appended to.
        seconds: of each training.
        rows: which trainings: pgd, udp, udpr.
        width: channels of the first stage.
        batch_size: images a step.
        images: attacked test images.
        count: training images; 0 takes all.
        seed: of weights, order and perturbations.
        plan_only: measure how long an epoch takes, and stop.
    """

    train: tuple[Path, ...]
    test: Path
    folder: Path = Path("runs/gpu")
    results: Path = Path(__file__).parent / "results" / "gpu.jsonl"
    seconds: float = 120.0
    rows: tuple[str, ...] = ("pgd", "udp", "udpr")
    width: int = 64
    batch_size: int = 256
    images: int = 500
    count: int = 0
    seed: int = 0
    plan_only: bool = False


EPS = 8 / 255
RECIPES: dict[str, Recipe] = {
    "pgd": make_recipe("pgd", threat=Threat("linf", EPS), steps=5, step_size=EPS / 2),
    "udp": make_recipe("udp", threat=Threat("linf", 0.08), steps=5, step_size=0.016),
    "udpr": make_recipe("udpr", threat=Threat("linf", 0.05), steps=5, step_size=0.01),
}
"""UDP at the radii of Table 3, with fewer and longer steps."""


class Autocast(nn.Module):
    """Run a net in bfloat16, channels-last, and return float32 logits."""

    def __init__(self, net: nn.Module, device: str) -> None:
        super().__init__()
        self.net, self.device = net.to(memory_format=torch.channels_last), device  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map `[B, 3, H, W]` to `[B, C]`."""
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device, torch.bfloat16):
            return self.net(images).float()


def device() -> str:
    """Return the device that training takes."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def joined(options: Options) -> Data:
    """Read the training images of all files."""
    parts = [load(path) for path in options.train]
    images, labels = (
        torch.cat(some) for some in zip(*((p.images, p.labels) for p in parts), strict=True)
    )
    data = Data(
        images, labels, classes=parts[0].classes, levels=parts[0].levels, name="cifar10-part"
    )
    return data.first(options.count) if options.count else data


def net_of(options: Options) -> Autocast:
    """Draw the weights: the same for every recipe."""
    torch.manual_seed(options.seed)
    return Autocast(build("preactresnet18", width=options.width), device()).to(device())


def training_of(options: Options, epochs: int) -> Training:
    """Return the paper's settings, with crops and flips and a moving average."""
    return Training(
        epochs=epochs,
        batch_size=options.batch_size,
        optimizer="sgd",
        learning_rate=0.15,
        schedule="triangular",
        weight_decay=5e-4,
        ema=0.995,
        seed=options.seed,
        augmentation=Augmentation(crop=4, flip=True),
    )


def seconds_of(run: Path) -> float:
    """Return the seconds that the epochs of a run took."""
    return sum(json.loads(line)["seconds"] for line in (run / "log.jsonl").open())


def planned(options: Options, data: Data) -> dict[str, int]:
    """Return the epochs of each training; from the fastest epoch of a short run."""
    path = options.folder / "plan.json"
    plan: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    for name in options.rows:
        if name not in plan:
            run = options.folder / f"speed-{name}"
            fit(net_of(options), data, RECIPES[name], run, training=training_of(options, 3))
            log = [json.loads(line) for line in (run / "log.jsonl").open()]
            least = min(line["seconds"] for line in log)
            plan[name] = max(int(options.seconds / least), 1)
            path.write_text(json.dumps(plan))
            print(f"{name}: {least:.1f} s an epoch, {plan[name]} epochs", flush=True)
    return plan


def predictions(model: nn.Module, data: Data) -> Tensor:
    """Return the predicted class of every image, `[N]`."""
    found = []
    with torch.no_grad(), frozen(model):
        for rows in torch.arange(len(data)).split(500):
            images, _ = data.batch(rows)
            found.append(outcomes_of(model, images.to(device())).argmax(1).cpu())
    return torch.cat(found)


def measured(options: Options, name: str, net: nn.Module, run: Path, test: Data) -> dict:
    """Attack the float32 net; keep which class each test image gets, and which are broken."""
    predicted = predictions(net, test)
    images, labels = (part.to(device()) for part in test.batch(slice(0, options.images)))
    began = time.perf_counter()
    found = autoattack(net, images, labels, threat=Threat("linf", EPS), batch_size=len(images))
    spent = time.perf_counter() - began
    kept = {"predicted": predicted, "labels": test.labels, "broken": found.success.cpu()}
    torch.save(kept, run / "predictions.pt")
    right, safe = int((predicted == test.labels).sum()), int((~found.success).sum())
    clean, attacked = interval(right, len(test)), interval(safe, len(labels))
    return {
        "clean": asdict(clean),
        "clean_images": len(test),
        "autoattack": asdict(attacked),
        "attacked_images": len(labels),
        "attack_seconds": spent,
        "attack_passes": found.forwards + found.backwards,
        "attack_warnings": found.warnings,
    }


def stored(options: Options) -> list[dict]:
    """Return the rows there are."""
    if not options.results.exists():
        return []
    return [json.loads(line) for line in options.results.open()]


def trained(options: Options, name: str, epochs: int, data: Data, test: Data) -> dict:
    """Train and attack one net, or return the row that is stored for these settings."""
    settings = {
        "benchmark": "gpu",
        "row": name,
        "data": data.name,
        "data_hash": data.fingerprint(),
        "test_hash": test.fingerprint(),
        "recipe": repr(RECIPES[name]),
        "training": json.loads(json.dumps(asdict(training_of(options, epochs)))),
        "net": f"preactresnet18, width {options.width}, bfloat16 in training",
        "device": torch.cuda.get_device_name() if device() == "cuda" else platform.machine(),
    }
    for row in stored(options):
        if {key: row.get(key) for key in settings} == settings:
            return row
    model, run = net_of(options), options.folder / name
    fit(model, data, RECIPES[name], run, training=training_of(options, epochs))
    row = settings | {"train_seconds": seconds_of(run)}
    row |= measured(options, name, model.net, run, test)
    row["versions"] = {"surefoot": __version__, "torch": torch.__version__}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with options.results.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def main(options: Options) -> None:
    """Plan, then train and attack each row."""
    options.folder.mkdir(parents=True, exist_ok=True)
    data, test = joined(options), load(options.test)
    plan = planned(options, data)
    if options.plan_only:
        return
    print(f"{'row':6} {'epochs':>6} {'train s':>8} {'clean':>6} {'AA':>6} {'attack s':>8}")
    for name in options.rows:
        row = trained(options, name, plan[name], data, test)
        print(
            f"{name:6} {plan[name]:6} {row['train_seconds']:8.1f} {row['clean']['value']:6.3f}"
            f" {row['autoattack']['value']:6.3f} {row['attack_seconds']:8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
