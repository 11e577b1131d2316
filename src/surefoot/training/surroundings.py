"""Where certified training bounds a net: a ball around each image, whose eps grows from 0.

The whole ball (`Ball`), a small one around an attacked point (`SmallBall`: SABR), or the whole one
beside an attacked point (`AttackedBall`: MTL-IBP).
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from surefoot.attacks.perturbation import Perturbation
from surefoot.threat import MOST_GUARD, Threat
from surefoot.types import Images, Labels, Model


class BallRegion(NamedTuple):
    """A ball around one point an image, and the point at which the net is evaluated beside it.

    Args:
        point: where the net runs: the images, or attacked ones.
        centers: of the balls.
        threat: norm, radius and box of the balls.
        progress: fraction of the final eps that is reached.
    """

    point: Images
    centers: Images
    threat: Threat
    progress: float


@dataclass(frozen=True)
class Ramp:
    r"""The course of eps: 0, then a smooth rise, then the final value.

    With t the fraction of the rise that is done, eps is $a t^4$ up to t = 1/4 and then a straight
    line to 1 with the same slope, so that it starts gently.

    Args:
        warm_up: Fraction of the training with eps 0.
        ramp: Fraction of the training in which eps rises.

    Reference: Xu et al. 2020, Shi et al. 2021 (smoothed schedule).
    """

    warm_up: float = 0.0
    ramp: float = 0.5

    def __post_init__(self) -> None:
        if not (self.warm_up >= 0 and self.ramp >= 0 and self.warm_up + self.ramp <= 1):
            raise ValueError(
                "`warm_up` and `ramp` are fractions of the training, at least 0 and together at"
                f" most 1; found {self.warm_up} and {self.ramp}"
            )

    def progress(self, done: float) -> float:
        """Return which fraction of eps is in force after a fraction `done` of all steps."""
        if done < self.warm_up:
            return 0.0
        if done >= self.warm_up + self.ramp:
            return 1.0
        risen = (done - self.warm_up) / self.ramp
        factor = 1 / (TURN**4 + 4 * TURN**3 * (1 - TURN))
        if risen <= TURN:
            return factor * risen**4
        return factor * (TURN**4 + 4 * TURN**3 * (risen - TURN))


TURN = 0.25
"""Fraction of the rise that is curved."""


@dataclass(frozen=True)
class Ball:
    """The whole ball around each image; the net is evaluated at the image (IBP, CROWN-IBP).

    Args:
        threat: Ball and box; eps is the final radius.
        ramp: Course of eps.
    """

    threat: Threat = field(default_factory=Threat)
    ramp: Ramp = field(default_factory=Ramp)

    def surround(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator, done: float
    ) -> BallRegion:
        """Return the ball after a fraction `done` of all steps."""
        del model, labels, generator
        self.threat.origins(images)
        return _ball(images, images, self.threat, self.ramp.progress(done))


@dataclass(frozen=True)
class SmallBall:
    r"""A small ball around an attacked point, inside the ball of eps around the image (SABR).

    The attack climbs the cross-entropy within $(1 - \tau) \epsilon$, the ball has radius
    $\tau \epsilon$.

    Args:
        threat: Ball and box; eps is the final radius.
        fraction: Fraction tau; at 1 it is the whole ball around the image.
        steps: Steps of the attack.
        ramp: Course of eps.

    Reference: Mueller et al. 2023.
    """

    threat: Threat = field(default_factory=Threat)
    fraction: float = 0.4
    steps: int = 8
    ramp: Ramp = field(default_factory=Ramp)

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"`fraction` must lie in (0, 1]; found {self.fraction}")

    def surround(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator, done: float
    ) -> BallRegion:
        """Attack, and return the small ball after a fraction `done` of all steps."""
        self.threat.origins(images)
        progress = self.ramp.progress(done)
        threat = _scaled(self.threat, (1 - self.fraction) * progress)
        point = _attacked(model, images, labels, threat, self.steps, generator)
        small = _scaled(self.threat, self.fraction)
        return _ball(point, point, small, progress)


@dataclass(frozen=True)
class AttackedBall:
    """The whole ball around each image; the net is evaluated at an attacked point (MTL-IBP).

    Args:
        threat: Ball and box; eps is the final radius.
        steps: Steps of the attack, on the cross-entropy.
        ramp: Course of eps, of the attack too.

    Reference: De Palma et al. 2024.
    """

    threat: Threat = field(default_factory=Threat)
    steps: int = 8
    ramp: Ramp = field(default_factory=Ramp)

    def surround(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator, done: float
    ) -> BallRegion:
        """Attack, and return the ball after a fraction `done` of all steps."""
        self.threat.origins(images)
        progress = self.ramp.progress(done)
        threat = _scaled(self.threat, progress)
        point = _attacked(model, images, labels, threat, self.steps, generator)
        return _ball(point, images, self.threat, progress)


Surrounding = Ball | SmallBall | AttackedBall


def _scaled(threat: Threat, factor: float) -> Threat:
    return replace(threat, eps=threat.eps * factor)


def _ball(point: Images, centers: Images, threat: Threat, progress: float) -> BallRegion:
    return BallRegion(point, centers, _scaled(threat, progress), progress)


def _attacked(
    model: Model,
    images: Images,
    labels: Labels,
    threat: Threat,
    steps: int,
    generator: torch.Generator,
) -> Images:
    """Return images of high cross-entropy, or the images themselves where eps is lost to rounding.

    It is at the start of a ramp; the final eps was checked by the caller.
    """
    if threat.eps < float(torch.as_tensor(threat.guard(images)).max()) / MOST_GUARD:
        return images
    found = Perturbation(threat, steps=steps, start="uniform").move(
        model, images, labels, generator
    )
    assert isinstance(found, torch.Tensor)
    return found
