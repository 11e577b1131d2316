"""Uncertainty Driven Perturbations: Pagliardini et al. 2022."""

from surefoot.evaluation.reproduce.experiment import Experiment, Row, Setting
from surefoot.threat import Threat
from surefoot.training import UDP, Standard, Training

EXPERIMENTS = {
    "udp-fashion-mnist": Experiment(
        source="Pagliardini et al. 2022, Table 2 (Fashion-MNIST, LeNet)",
        norm="linf",
        radii=(0.05, 0.1),
        rows=(
            Row("standard", Standard()),
            Row(
                "udp",
                UDP(Threat("linf", 0.5), steps=20, step_size=0.025),
                {"clean": 0.823, "0.05": 0.749, "0.1": 0.668},
            ),
        ),
        scales={
            "smoke": Setting(
                data="digits",
                train=200,
                test=20,
                training=Training(epochs=2, batch_size=64, learning_rate=3e-3),
                net={"name": "lenet", "size": 8},
                steps=5,
            ),
            "small": Setting(
                data="fashion-mnist",
                train=10_000,
                test=500,
                training=Training(epochs=5, batch_size=128, schedule="constant"),
                net={"name": "lenet"},
            ),
        },
        remark=(
            "Published: 55,000 images, 100 epochs, AutoAttack on 10,000 test images, mean of 3"
            " seeds. Ours: fewer images and epochs, Auto-PGD with soft, hard and targeted margins."
        ),
    ),
}
