"""Decide whether a network can violate a specification: attack, bounds, branch and bound.

The statement is about the network as it runs, in the arithmetic of its weights, with rounding: it
"holds" if no point of the box, rounded to that arithmetic when it is read, gives outputs that
satisfy a case of the specification. A counterexample is a point of the box whose outputs, as they
were computed, do.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from surefoot.certify.lipschitz.rounding import unit_of
from surefoot.certify.relaxation.checked_net import check_runs_alike, relaxed_net_of
from surefoot.certify.relaxation.input_set import InputSet
from surefoot.certify.relaxation.splitting import Problem, Search
from surefoot.models.frozen import dtype_of, frozen
from surefoot.threat import Threat
from surefoot.verification.last_relu import Pieces, without_last_relu
from surefoot.verification.vnnlib_text import Specification, Violation

Answer = Literal["holds", "violated", "unknown"]
RESTARTS, STEPS = 8, 40
"""Of the attack: starts a case, and steps of each."""
UNIT = 2.0**-53


class Verdict(NamedTuple):
    """What was decided.

    Args:
        answer: holds (proven), violated (there is a counterexample), unknown (time was up).
        counterexample: a point of the box, flat, in float64; only where violated.
        outputs: of the network there.
        by: what decided: "attack", "bounds", "branch and bound"; "" where unknown.
        parts: of the boxes that were bounded.
        seconds: it took.
    """

    answer: Answer
    counterexample: np.ndarray | None
    outputs: np.ndarray | None
    by: str
    parts: int
    seconds: float


def verify(
    model: nn.Module,
    specification: Specification,
    shape: Sequence[int],
    *,
    seconds: float = 60.0,
    seed: int = 0,
    confirm: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Verdict:
    """Decide whether a network can violate a specification.

    Args:
        model: maps inputs `[B, *shape]` to outputs `[B, O]`; of layers that relaxations know.
        specification: what a counterexample is.
        shape: of one input; inputs are numbered in the order of the flattened input.
        seconds: after which nothing new is started.
        seed: of the starts of the attack.
        confirm: another implementation of the network, from flat inputs `[I]` to outputs `[O]`; a
            counterexample must satisfy the specification there, too.

    Raises:
        ValueError: the sizes of network and specification differ, or a layer has no relaxation.

    Reference: auto_LiRPA and alpha-CROWN, Xu et al. 2020, 2021; branch and bound, Bunel et al.
    2020, Wang et al. 2021. Gradients of bounds by intercepts as costs of cuts derived here.
    """
    if not seconds > 0:
        raise ValueError(f"`seconds` must be above 0; found {seconds}")
    began = time.monotonic()
    with torch.no_grad(), frozen(model):
        run = _Verifier(model, tuple(shape), seed, confirm)
        run.check(specification)
        return run.verify(specification, began, began + seconds)


@dataclass
class _Box:
    """All cases of one box, and the box as the network reads it: `[1, *shape]`."""

    cases: list[Violation]
    lower: Tensor
    upper: Tensor


class _Verifier:
    """A network, and how counterexamples are searched and checked.

    Args:
        model: in eval mode.
        shape: of one input.
        seed: of the starts.
        confirm: another implementation.
    """

    def __init__(
        self,
        model: nn.Module,
        shape: tuple[int, ...],
        seed: int,
        confirm: Callable[[np.ndarray], np.ndarray] | None,
    ) -> None:
        self.model, self.shape, self.confirm = model, shape, confirm
        self.dtype = dtype_of(model)
        self.draw = torch.Generator().manual_seed(seed)

    def check(self, specification: Specification) -> None:
        """Raise unless network and specification are of one size."""
        inputs = int(np.prod(self.shape))
        if inputs != specification.inputs:
            raise ValueError(
                f"the specification has {specification.inputs} inputs, the network {inputs}"
                f" (shape {self.shape}): they are not of one instance"
            )
        outputs = self.model(torch.zeros(1, *self.shape, dtype=self.dtype))
        if outputs.shape != (1, specification.outputs):
            raise ValueError(
                f"the specification has {specification.outputs} outputs, the network gives"
                f" {tuple(outputs.shape[1:])}: they are not of one instance"
            )

    def verify(self, specification: Specification, began: float, deadline: float) -> Verdict:
        """Attack all boxes, then prove them one by one."""
        boxes = self._boxes(specification.cases)
        for box in boxes:
            if (point := self._attacked(box, deadline)) is not None:
                return self._violated(box, point, "attack", 0, began)
        parts, by = 0, "bounds"
        for place, box in enumerate(boxes):
            now = time.monotonic()
            share = now + (deadline - now) / (len(boxes) - place)
            proof = self._search(box).run(share)
            parts += proof.parts
            if proof.counterexample is not None:
                return self._violated(box, proof.counterexample, "branch and bound", parts, began)
            if not proof.proven:
                return Verdict("unknown", None, None, "", parts, time.monotonic() - began)
            by = by if proof.parts == 1 else "branch and bound"
        return Verdict("holds", None, None, by, parts, time.monotonic() - began)

    def _boxes(self, cases: list[Violation]) -> list[_Box]:
        """Gather cases of the same box; the network reads its ends rounded."""
        found: dict[bytes, _Box] = {}
        for case in cases:
            key = case.lower.tobytes() + case.upper.tobytes()
            ends = [torch.from_numpy(end).view(1, *self.shape) for end in (case.lower, case.upper)]
            found.setdefault(key, _Box([], *ends)).cases.append(case)
        return list(found.values())

    def _read(self, end: Tensor) -> Tensor:
        return end.to(self.dtype)

    def _search(self, box: _Box) -> Search:
        """Return the branch and bound of a box."""
        lower = torch.minimum(box.lower, self._read(box.lower).double())
        upper = torch.maximum(box.upper, self._read(box.upper).double())
        middle = self._read((lower + upper) / 2)
        relaxed, unit = relaxed_net_of(self.model, middle), unit_of(middle)
        whole = Threat("linf", 1.0, low=float(lower.amin()) - 1, high=float(upper.amax()) + 1)
        check_runs_alike(relaxed, self.model, middle, unit, whole)
        one = torch.ones(1, dtype=torch.float64)
        region = InputSet(middle.double(), lower, upper, one, "linf")
        rows = torch.from_numpy(np.concatenate([case.rows for case in box.cases]))
        bounds = torch.from_numpy(np.concatenate([case.bounds for case in box.cases]))
        relaxed, pieces = without_last_relu(relaxed, rows, bounds)
        return Search(relaxed, unit, region, self._problem(box, pieces))

    def _problem(self, box: _Box, pieces: Pieces) -> Problem:
        """Each case must be excluded by one of its rows, all pieces of it: C y - d > 0."""
        counts = torch.tensor([len(case.bounds) for case in box.cases])
        owner = torch.arange(len(counts)).repeat_interleave(counts)

        def by_row(values: Tensor) -> Tensor:
            return values.unsqueeze(1).masked_fill(~pieces.members, torch.inf).amin(2)

        def by_case(values: Tensor) -> Tensor:
            lowest = values.new_full((len(values), len(counts)), -torch.inf)
            return lowest.scatter_reduce(1, owner.expand_as(values), values, "amax")

        def focus(values: Tensor) -> Tensor:
            rows = by_row(values)
            worst = by_case(rows).argmin(1, keepdim=True)
            best = rows.masked_fill(owner != worst, -torch.inf).argmax(1)
            return values.masked_fill(~pieces.members[best], torch.inf).argmin(1)

        def proven(values: Tensor) -> Tensor:
            return (by_case(by_row(values)) > 0).all(1)

        def broken(points: Tensor) -> Tensor:
            return self._broken(box, self._read(points))

        return Problem(pieces.rows, pieces.bounds, proven, focus, broken)

    def _broken(self, box: _Box, points: Tensor) -> Tensor:
        """Return which points violate, alone and, where it is given, in the other network."""
        margins, found = self._margins(box, points), torch.zeros(len(points), dtype=torch.bool)
        for place in (margins <= 0).any(1).nonzero().flatten().tolist():
            point = points[place : place + 1]
            if not bool((self._margins(box, point) <= 0).any()):
                continue
            if self.confirm is not None:
                outputs = self.confirm(self._inside(box, point))
                if not any((case.rows @ outputs <= case.bounds).all() for case in box.cases):
                    continue
            found[place] = True
            break  # one is enough
        return found

    def _margins(self, box: _Box, points: Tensor) -> Tensor:
        """Return for points and cases the largest C y - d: a case is satisfied where it is <= 0."""
        outputs = self.model(points).double()
        found = [
            (outputs @ torch.from_numpy(case.rows).T - torch.from_numpy(case.bounds)).amax(1)
            for case in box.cases
        ]
        return torch.stack(found, 1).nan_to_num(torch.inf)

    def _inside(self, box: _Box, point: Tensor) -> np.ndarray:
        """Return the point of the box that the network reads as this one, flat."""
        wide = torch.clamp(point.double(), box.lower, box.upper)
        return wide.flatten().numpy()

    def _violated(self, box: _Box, point: Tensor, by: str, parts: int, began: float) -> Verdict:
        point = self._read(point)
        outputs = self.model(point).double().flatten().numpy()
        spent = time.monotonic() - began
        return Verdict("violated", self._inside(box, point), outputs, by, parts, spent)

    def _attacked(self, box: _Box, deadline: float) -> Tensor | None:
        """Search a counterexample by signed gradient steps from random starts, a batch a case."""
        low, high = self._read(box.lower), self._read(box.upper)
        half = (high - low) / 2
        for case in box.cases:
            one = _Box([case], box.lower, box.upper)
            shares = torch.rand(RESTARTS, *self.shape, generator=self.draw, dtype=self.dtype)
            shares[0] = 0.5
            points = torch.clamp(low + shares * (high - low), low, high)
            for step in range(STEPS + 1):
                with torch.enable_grad():
                    points = points.detach().requires_grad_()
                    margins = self._margins(one, points)[:, 0]
                    (slope,) = torch.autograd.grad(margins.sum(), points)
                found = points.detach()
                if bool((margins <= 0).any()):
                    bad = self._broken(one, found).nonzero().flatten()
                    if len(bad):
                        return found[bad[:1]]
                if time.monotonic() > deadline:
                    return None
                size = 0.5 * (1 - step / (STEPS + 1))
                points = torch.clamp(found - size * half * slope.sign(), low, high)
        return None
