"""Toys in the plane, and pictures without a table: Figures 2, 3, 8 to 11, 15."""

from dataclasses import replace
from functools import partial

from surefoot.data.toys import UNIT
from surefoot.papers.experiment import Experiment, Row
from surefoot.papers.looks import distances, looks
from surefoot.papers.plane import gaussian_process, plane
from surefoot.papers.toys import SUITE, Cell
from surefoot.papers.udp.cifar import PAPER, SMALL, TINY
from surefoot.threat import Threat
from surefoot.training import Training, make_recipe

METHODS = ("pgd", "trades", "udp", "udp-bt")
FIRST = tuple(cell for cell in SUITE if cell.toy != "two-distance")
LMS_DRAWN = (Cell("lms-5", "standard"), *(Cell("lms-5", method, 0.3) for method in METHODS))
TWO = tuple(cell for cell in SUITE if cell.toy == "two-distance")
FEW = (Cell("two-distance", "standard"), Cell("two-distance", "udp", 0.6))
EVERY = tuple(
    Cell(toy, method, eps)
    for toy in ("narrow-corridor", "lms-5")
    for method in ("pgd", "trades", "udp", "udp-bt", "udpr")
    for eps in (0.05, 0.15, 0.25, 0.35, 0.45)
)
FAR = {"threat": Threat("linf", UNIT), "steps": 50, "step_size": 0.1 * UNIT}
PROCESS = {"pgd": make_recipe("pgd", **FAR, start="origin"), "udp": make_recipe("udp", **FAR)}
CLEAN = Row("standard", make_recipe("standard"))
NONE_PRINTED = "The paper shows pictures without numbers; data and nets are ours. "

EXPERIMENTS = {
    "udp-toys": Experiment(
        source="Pagliardini et al. 2022, Figures 3 and 9 (narrow corridor, slabs)",
        remark=NONE_PRINTED
        + "Intervals span the seeds. Where PGD loses points beyond the local gap,"
        " UDP should not.",
        scales={
            "smoke": partial(plane, cells=FEW, drawn=FEW[:1], seeds=2, updates=5),
            "small": partial(plane, cells=FIRST, drawn=LMS_DRAWN),
            "paper": partial(plane, cells=(*FIRST, *EVERY), drawn=LMS_DRAWN),
        },
    ),
    "udp-two-distance": Experiment(
        source="Pagliardini et al. 2022, Figure 8 (two gaps, one eps)",
        remark=NONE_PRINTED + "Intervals span the seeds; eps lies above the smaller gap.",
        scales={
            "smoke": partial(plane, cells=FEW, drawn=FEW, seeds=1, updates=5),
            "small": partial(plane, cells=TWO, drawn=TWO),
            "paper": partial(plane, cells=TWO, drawn=TWO, seeds=10),
        },
    ),
    "udp-gaussian-process": Experiment(
        source="Pagliardini et al. 2022, Figures 10 and 11 (Gaussian process on deep features)",
        remark=NONE_PRINTED
        + "Trained clean first, then on PGD-50 and UDP-50 with eps 1, step 0.1.",
        scales={
            "smoke": partial(
                gaussian_process,
                data="s-corridor",
                recipes={"udp": make_recipe("udp", threat=Threat("linf", UNIT), steps=2)},
                training=Training(epochs=1, batch_size=60, learning_rate=1e-2),
                width=8,
            ),
            "small": partial(
                gaussian_process,
                data="s-corridor",
                recipes=PROCESS,
                training=Training(epochs=60, batch_size=60, learning_rate=1e-2),
            ),
            "paper": partial(
                gaussian_process,
                data="s-corridor",
                recipes=PROCESS,
                training=Training(epochs=200, batch_size=60, learning_rate=1e-2),
            ),
        },
    ),
    "udp-distances": Experiment(
        source="Pagliardini et al. 2022, Figure 2 (distance to the nearest image of another class)",
        remark="Exact, l2; balls of radius eps of two labels meet below 2 eps. The paper prints a"
        " histogram of CIFAR-10 without numbers.",
        scales={
            "smoke": partial(distances, data=("digits",), count=0, norm="l2", marks=(0.5,)),
            "small": partial(
                distances,
                data=("fashion-mnist", "cifar10"),
                count=10_000,
                norm="l2",
                marks=(0.5, 1.5),
            ),
            "paper": partial(
                distances, data=("cifar10",), count=0, norm="l2", marks=(0.5, 1.0, 1.5)
            ),
        },
    ),
    "udp-looks": Experiment(
        source="Pagliardini et al. 2022, Figure 15 (1,000 steps without a limit)",
        remark="Steps of 0.001 inside the box only. The paper's claim is that UDP keeps the class"
        " recognisable; judge by eye.",
        scales={
            "smoke": partial(looks, row=CLEAN, setting=replace(TINY, test=3), steps=5),
            "small": partial(looks, row=CLEAN, setting=replace(SMALL, test=6), steps=1000),
            "paper": partial(looks, row=CLEAN, setting=replace(PAPER, test=6), steps=1000),
        },
    ),
}
