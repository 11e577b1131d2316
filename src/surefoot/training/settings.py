"""How long, how fast, and with what beside the recipe: one record for all of it."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from surefoot.training.augmentation import Augmentation
from surefoot.training.judge import Judge
from surefoot.training.weight_changes import WeightAttack


@dataclass(frozen=True)
class Training:
    """How long and how fast to train.

    Args:
        epochs: Number of passes over the data.
        batch_size: Images in a step (over all processes).
        optimizer: Adam, or SGD with Nesterov momentum 0.9.
        learning_rate: Peak of the learning rate.
        schedule: Course of the learning rate: constant; triangular, from 0 up to the middle and
            down to 0; cosine, down to 0; multistep, a tenth from each milestone on.
        weight_decay: L2 coefficient.
        seed: Seed of order, perturbations and dropout (the initial weights have their own).
        milestones: Milestones of the schedule multistep, as fractions of the epochs.
        label_smoothing: Fraction of the label that is spread over all classes.
        perturb_every: Perturb one batch in so many and take the others clean (mixed training).
        ema: Decay of the moving average of the weights, which then is the model; 0 takes none.
        augmentation: Augmentation of the training images.
        weight_attack: Adversarial weight perturbation.
        judge: What is measured on the validation images, and when to stop.
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "triangular", "cosine", "multistep"] = "cosine"
    weight_decay: float = 0.0
    seed: int = 0
    milestones: tuple[float, ...] = (0.5, 0.75)
    label_smoothing: float = 0.0
    perturb_every: int = 1
    ema: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    weight_attack: WeightAttack = field(default_factory=WeightAttack)
    judge: Judge = field(default_factory=Judge)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not 0 < self.learning_rate < math.inf:
            raise ValueError(
                "need epochs >= 1, batch_size >= 1 and a finite learning_rate > 0; found"
                f" {self.epochs}, {self.batch_size}, {self.learning_rate}"
            )
        if not (0 <= self.ema < 1 and 0 <= self.label_smoothing < 1 and self.perturb_every >= 1):
            raise ValueError(
                "need 0 <= ema < 1, 0 <= label_smoothing < 1 and perturb_every >= 1; found"
                f" {self.ema}, {self.label_smoothing}, {self.perturb_every}"
            )


_CROPS = Augmentation(crop=4, flip=True)
_LENET = Training(epochs=100, batch_size=256, schedule="constant")
_RESNET = Training(
    epochs=60,
    batch_size=256,
    optimizer="sgd",
    learning_rate=0.15,
    schedule="triangular",
    weight_decay=5e-4,
)
PRESETS = {
    "udp-lenet": _LENET,
    "udp-lenet-capacity": replace(
        _LENET, optimizer="sgd", learning_rate=0.05, schedule="triangular"
    ),
    "udp-preactresnet18": _RESNET,
    "udp-preactresnet18-augmented": replace(_RESNET, augmentation=_CROPS),
    "trades-awp-preactresnet18": replace(
        _RESNET,
        epochs=200,
        batch_size=128,
        learning_rate=0.1,
        schedule="multistep",
        augmentation=_CROPS,
        weight_attack=WeightAttack(weight_radius=5e-3, weight_radius_after=10),
    ),
    "gloro-digits": Training(
        epochs=120, batch_size=128, learning_rate=5e-3, augmentation=Augmentation(shift=0.25)
    ),
    "gloro-crescents": Training(epochs=60, batch_size=40, learning_rate=5e-3, ema=0.99),
}
"""Settings of the papers: Pagliardini et al. 2022 (Fashion-MNIST; capacity; CIFAR-10, SVHN), Wu et
al. 2020; and ours for the small sets of benchmarks/gloro.py. Change one with
`dataclasses.replace`."""
