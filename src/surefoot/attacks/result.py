"""What an attack brings back, and the check that every counterexample must pass again."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from surefoot.attacks.attack_warnings import black_box_wins, blind_gradients, square_alone
from surefoot.attacks.counted import Cost, Counted
from surefoot.threat import Threat, spread
from surefoot.types import Images, Sets


@dataclass(frozen=True)
class AttackResult:
    """Counterexamples and what they cost.

    Args:
        images: `[B, ...]`, a counterexample where `success`, the original elsewhere.
        success: `[B]`, every available alternative is broken; re-checked counterexamples are held.
        by: name of the attack that decided the example; "clean" where the relation fails without
            any change, "" where nothing was found.
        forwards: images sent through the model.
        backwards: images with a gradient.
        seconds: wall time.
        counterexamples: `[B, A, ...]`, one counterexample for each broken alternative.
        broken: `[B, A]`.
        costs: the same for each attack, by name; "checks" holds what no attack asked for.
        warnings: reasons to doubt that what is not broken is robust.
    """

    images: Tensor
    success: Tensor
    by: list[str]
    forwards: int
    backwards: int
    seconds: float
    counterexamples: Tensor
    broken: Tensor
    costs: dict[str, Cost] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        broken, count = int(self.success.sum()), len(self.success)
        return f"AttackResult({broken} of {count} broken, {self.forwards:,} forwards)"


def legal(threat: Threat, images: Images, origins: Images) -> Tensor:
    """Return which images are legal moves: finite, in the ball and the box by exact arithmetic."""
    return threat.inside(images, origins) & images.flatten(1).isfinite().all(1)


@dataclass
class Findings:
    """All pairs (example, available alternative) in one pool, and which of them are broken.

    Args:
        example: `[P]` row of the example.
        alternative: `[P]` index of the alternative.
        origins: `[P, ...]` clean images.
        sets: `[P, 1, O]` the alternative.
        counterexamples: `[P, ...]` counterexamples, where broken.
        broken: `[P]`.
        by: what broke the pair, "" if nothing did.
    """

    example: Tensor
    alternative: Tensor
    origins: Tensor
    sets: Tensor
    counterexamples: Tensor
    broken: Tensor
    by: list[str]

    @classmethod
    def of(cls, images: Images, sets: Sets) -> "Findings":
        """Lay out the pool: nothing is broken yet."""
        example, alternative = sets.any(2).nonzero(as_tuple=True)
        origins = images[example]
        members = sets[example, alternative].unsqueeze(1)
        broken = torch.zeros_like(example, dtype=torch.bool)
        return cls(
            example, alternative, origins, members, origins.clone(), broken, [""] * len(example)
        )

    def open_parts(self, batch_size: int, others: int = 0) -> list[Tensor]:
        """Return batches of the unbroken pairs whose set leaves out at least so many outcomes."""
        enough = (~self.sets).sum((1, 2)) >= others
        rows = (~self.broken & enough).nonzero().flatten()
        return list(rows.split(batch_size)) if len(rows) else []

    def note(self, proven: Tensor, images: Images, name: str, rows: Tensor) -> int:
        """Take down which of the pairs `rows` are broken, at which images, to which attack."""
        for row in rows[proven].tolist():
            self.by[row] = name
        self.broken[rows[proven]] = True
        self.counterexamples[rows[proven]] = images[proven]
        return int(proven.sum())

    def result(self, images: Images, sets: Sets, model: Counted, seconds: float) -> AttackResult:
        """Bring the pairs together: an example is broken with its last available alternative."""
        available = sets.any(2)
        broken = torch.zeros_like(available)
        broken[self.example, self.alternative] = self.broken
        shape = (*available.shape, *images.shape[1:])
        counterexamples = images.unsqueeze(1).expand(shape).clone()
        counterexamples[self.example, self.alternative] = self.counterexamples
        success = (broken | ~available).all(1)
        by = ["clean" if won else "" for won in success.tolist()]
        for row, example in enumerate(self.example.tolist()):
            if by[example] and self.by[row] != "clean":
                by[example] = self.by[row]
        first = available.float().argmax(1)
        shown = counterexamples[torch.arange(len(images), device=images.device), first]
        shown = torch.where(spread(success, images), shown, images)
        return AttackResult(
            shown,
            success,
            by,
            model.forwards,
            model.backwards,
            seconds,
            counterexamples,
            broken,
            model.costs,
            blind_gradients(model.costs)
            + black_box_wins(model.costs, len(images))
            + square_alone(model.costs),
        )
