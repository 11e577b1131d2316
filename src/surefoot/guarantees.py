r"""The guarantees: what must not change inside a ball, as sets of outcomes and a quantifier.

A guarantee names *alternatives*, sets S of outcomes chosen from the clean outcomes. It holds in a
ball when for SOME alternative, at EVERY point of the ball, the relation holds:

- `every`: each outcome in S beats each outcome outside S (the set of the best is constant);
- `some`: the winner lies in S.

From that alone follow the margin that attacks minimise, the Lipschitz radius and the smoothing
radius; attacks, certificates, records and figures never test which guarantee it is.
Ties, NaN and infinities count against the guarantee everywhere.

Leino, Fredrikson 2021 (top-k, relaxed top-K, affinity); Cohen, Rosenfeld, Kolter 2019 (smoothing);
Daeubener et al. 2024 (label or uncertain). Not here: finite samples (`certify.smoothing`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from surefoot.stats import bisection
from surefoot.types import Labels, Model, Outcomes, Pairwise, PerAlternative, Sets, rejects

Quantifier = Literal["every", "some"]


@dataclass(frozen=True)
class Description:
    """What records keep of a guarantee, and what those who read them need to know of it.

    Args:
        name: of its class.
        statement: what does not change.
        set_valued: see `Guarantee`, as the next two.
        counts_rejection_as_right: ditto.
        conflict_distance: ditto.
        settings: its fields: `k`, `groups`.
    """

    name: str
    statement: str
    set_valued: bool
    counts_rejection_as_right: bool
    conflict_distance: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.settings.get("k", 1)) is not int or not all(
            isinstance(group, list | tuple) and all(type(member) is int for member in group)
            for group in self.settings.get("groups", ())
        ):
            raise ValueError(
                f"k must be a whole number and groups lists of them; found {self.settings}"
            )

    @property
    def title(self) -> str:
        """Return the name, with k where it has one: `TopK(2)`."""
        return f"{self.name}({self.settings['k']})" if "k" in self.settings else self.name


class Guarantee(ABC):
    """What a guarantee is: alternatives and a quantifier. Everything else follows.

    Attributes:
        quantifier: see the module's docstring.
        set_valued: its sets may hold several labels.
        counts_rejection_as_right: "uncertain" is a prediction that is not wrong.
        conflict_distance: points of different labels at most so far apart, in eps, cannot both be
            right and robust; None: they can.
        statement: what does not change, in words; it may name the fields of the guarantee.
    """

    quantifier: Quantifier = "every"
    set_valued: bool = True
    counts_rejection_as_right: bool = False
    conflict_distance: int | None = None
    statement: str = "a set of outcomes, as its class defines it, does not change"

    def describe(self) -> Description:
        """Return what records keep."""
        return Description(
            type(self).__name__,
            self.statement.format(**vars(self)),
            self.set_valued,
            self.counts_rejection_as_right,
            self.conflict_distance,
            dict(vars(self)),
        )

    def right(self, sets: Sets, labels: Labels, outcomes: Outcomes) -> Sets:
        """Return the alternatives that make an example of this label count as right."""
        del outcomes
        return containing(sets, labels)

    @abstractmethod
    def sets(self, outcomes: Outcomes) -> Sets:
        """Return the alternatives at the clean outcomes; an all-False row is not available.

        Ties at the border of a set and rows with a non-finite outcome make it unavailable.
        """

    def margins(
        self, outcomes: Outcomes, sets: Sets, slack: Tensor | None = None
    ) -> PerAlternative:
        r"""Measure by how much the relation holds; it holds iff the margin is above 0.

        $$ every: \min_{a \in S, i \notin S} f_a - f_i - T_{ai}, \qquad
           some: \min_{i \notin S} \max_{a \in S} f_a - f_i - T_{ai} $$

        Args:
            outcomes: one column an outcome.
            sets: the alternatives, as `sets` gave them at the clean image.
            slack: T, `[O, O]` or `[B, O, O]`: the required logit margin of each member over each
                outcome outside (eps times pairwise Lipschitz constants: GloRo).

        Returns:
            minus infinity where an alternative is not available or an outcome is not finite.
        """
        _check_sets(outcomes, sets)
        if slack is None:
            margin = _plain_margins(outcomes, sets, self.quantifier)
        else:
            margin = _over_pairs(outcomes, sets, self.quantifier, torch.sub, slack)
        usable = sets.any(2) & outcomes.isfinite().all(1, keepdim=True)
        return torch.where(usable, margin, -torch.inf)

    def lipschitz_radii(
        self, outcomes: Outcomes, sets: Sets, pairwise: Pairwise, slack: Tensor | None = None
    ) -> PerAlternative:
        r"""Certify an l2 radius for each alternative from Lipschitz constants of differences.

        $$ every: \min_{a \in S, i \notin S} (f_a - f_i - T_{ai}) / K_{ai}, \qquad
           some: \min_{i \notin S} \max_{a \in S} (f_a - f_i - T_{ai}) / K_{ai} $$
        Holds if `K_ai` is at least the Lipschitz constant of `f_a - f_i` (l2, pixel units).
        With K = 0 an outcome that wins at the image wins everywhere: infinite. Float64, rounded
        down, 0 where a logit margin is not above the required one at the image itself.

        Args:
            outcomes: one column an outcome.
            sets: the alternatives.
            pairwise: K.
            slack: T, `[O, O]` or `[B, O, O]`: the required logit margin of each member over each
                outcome outside in the whole ball; none if not given. It may be negative.

        Reference: Leino, Wang, Fredrikson 2021 (local); closed form over sets derived here.
        """
        _check_sets(outcomes, sets)
        if not bool((pairwise >= 0).all()):
            raise ValueError("`pairwise` must hold Lipschitz constants >= 0; found negative or NaN")
        matrices = [pairwise.double()] if slack is None else [pairwise.double(), slack.double()]
        radius = _over_pairs(outcomes.double(), sets, self.quantifier, _tolerance, *matrices)
        usable = sets.any(2) & outcomes.isfinite().all(1, keepdim=True)
        return torch.where(usable & (radius > 0), radius * (1 - 4e-16), 0.0)

    def holds(self, margin_bounds: Tensor, sets: Sets, slack: Tensor | None = None) -> Tensor:
        r"""Decide each alternative from lower bounds on differences of logits in a region.

        $$ every: L_{ai} > T_{ai} \; \forall a \in S, i \notin S, \qquad
           some: \forall i \notin S \; \exists a \in S: L_{ai} > T_{ai} $$
        Holds if `L_ai` is at most `f_a - f_i` at every point of the region; NaN proves nothing.

        Args:
            margin_bounds: L, `[B, O, O]`.
            sets: the alternatives.
            slack: T, `[O, O]` or `[B, O, O]`; none if not given.

        Returns:
            Bool[B, A].
        """
        required = torch.zeros_like(margin_bounds) if slack is None else slack
        above = (margin_bounds > required).unsqueeze(1)
        members, outside = sets.unsqueeze(3), ~sets.unsqueeze(2)
        if self.quantifier == "every":
            held = (above | ~(members & outside)).flatten(2).all(2)
        else:
            held = ((above & members).any(2) | sets).all(2)
        return held & sets.any(2)

    def smoothed_radii(self, probabilities: Tensor, sets: Sets, sigma: float) -> PerAlternative:
        r"""Return the l2 radius of each alternative of the smoothed classifier, N(0, sigma^2 I).

        $$ every: \tfrac{\sigma}{2} [\Phi^{-1}(\min_S p_a) - \Phi^{-1}(\max_{i \notin S} p_i)],
           \qquad some: \sigma \max_{S' \subseteq S} \rho(p_{S'}, |S'|) $$
        where rho solves Phi(Phi^-1(p_S') - rho) / |S'| = Phi(Phi^-1(p_B) + rho) for the likeliest
        outcome B outside S; of the subsets of one size only the likeliest matters. Both forms are
        tight: outside the radius some classifier with these probabilities fails.
        Holds if the probabilities are exact; `certify.smoothing` serves finite samples, by the same
        `smoothed_radius`.

        Args:
            probabilities: of the outcomes under noise, `[B, O]`, summing to at most 1 (what is
                missing belongs to no outcome).
            sets: the alternatives.
            sigma: standard deviation of the noise in pixel units.

        Returns:
            float64 radii, rounded down; 0 where the relation fails at the image itself.

        Reference: Cohen et al. 2019, Theorem 1 (every, one member).
        """
        _check_sets(probabilities, sets)
        exact = probabilities.double()
        if not bool((exact >= 0).all() & (exact.sum(1) <= 1 + 1e-6).all()):
            raise ValueError(
                "`probabilities` must lie in [0, 1] and sum to at most 1 in each row; pass joint"
                " probabilities over ALL noise samples, not fractions of the accepted ones."
            )
        competitor = _outside(exact, sets).amax(2).clamp(min=0)
        if self.quantifier == "every":
            radii = smoothed_radius(_inside(exact, sets).amin(2, True), competitor, sigma)
        else:
            likeliest = _members(exact, sets, -torch.inf).sort(dim=2, descending=True).values
            groups = likeliest.clamp(min=0).cumsum(2).clamp(max=1)
            groups = groups.masked_fill(likeliest < 0, 0.0)
            sizes = torch.arange(1, groups.shape[2] + 1, device=exact.device)
            radii = smoothed_radius(groups, competitor, sigma, sizes)
        return torch.where(self.margins(exact, sets) > 0, radii, 0.0)


@dataclass(frozen=True)
class Local(Guarantee):
    """The best outcome does not change; on a selective classifier: same label, still certain."""

    set_valued = False
    conflict_distance = 2
    statement = "the label does not change"

    def sets(self, outcomes: Outcomes) -> Sets:
        """Return {best outcome}."""
        return _best(outcomes, 1)[:, -1:]


@dataclass(frozen=True)
class TopK(Guarantee):
    """The set of the k best outcomes does not change (their order may)."""

    k: int
    statement = "the set of the {k} most likely labels does not change"

    def __post_init__(self) -> None:
        _check_k(self.k)

    def sets(self, outcomes: Outcomes) -> Sets:
        """Return {the k best}."""
        return _best(outcomes, self.k)[:, -1:]


@dataclass(frozen=True)
class RelaxedTopK(Guarantee):
    """For some j <= k the set of the j best outcomes does not change (RTK)."""

    k: int
    statement = "for some k up to {k}, the set of the k most likely labels does not change"

    def __post_init__(self) -> None:
        _check_k(self.k)

    def sets(self, outcomes: Outcomes) -> Sets:
        """Return {best}, {two best}, ..., {k best}."""
        return _best(outcomes, self.k)


@dataclass(frozen=True)
class Affinity(Guarantee):
    """For some k the set of the k best outcomes does not change and fits in an allowed group.

    Args:
        groups: allowed groups of outcomes; they may overlap and leave outcomes out.
    """

    groups: tuple[tuple[int, ...], ...]
    statement = "a set of the most likely labels that fits in an allowed group does not change"

    def __post_init__(self) -> None:
        groups = tuple(tuple(sorted(set(group))) for group in self.groups)
        object.__setattr__(self, "groups", groups)
        if not groups or any(not group or min(group) < 0 for group in groups):
            raise ValueError(f"`groups` must be non-empty groups of indices >= 0; found {groups}")

    def sets(self, outcomes: Outcomes) -> Sets:
        """Return each top-k set that fits in a group, k up to the largest group."""
        count = outcomes.shape[1]
        largest = max(max(group) for group in self.groups)
        if largest >= count:
            raise ValueError(
                f"a group names outcome {largest}, but there are only {count} outcomes"
            )
        size = max(len(group) for group in self.groups)
        best = _best(outcomes, size, "an affinity group holds {k} of {count} outcomes")
        allowed = torch.zeros(len(self.groups), count, dtype=torch.bool, device=outcomes.device)
        for row, group in enumerate(self.groups):
            allowed[row, list(group)] = True
        # A set fits iff it has no member outside the group: a product of 0/1 matrices counts those.
        strays = best.float() @ (~allowed).float().T
        return best & (strays == 0).any(2, keepdim=True)


@dataclass(frozen=True)
class LabelOrUncertain(Guarantee):
    """The winner is the top label or "uncertain" (the last column): never another label."""

    quantifier = "some"
    set_valued = False
    counts_rejection_as_right = True
    conflict_distance = 1
    statement = "the answer stays the same label or becomes “uncertain”"

    def sets(self, outcomes: Outcomes) -> Sets:
        """Return {top label, uncertain}; among labels that tie, the first."""
        if outcomes.shape[1] < 3:
            raise ValueError(
                "LabelOrUncertain needs at least two labels and the uncertain column; found"
                f" {outcomes.shape[1]} outcomes, where it says nothing."
            )
        return self.around(outcomes[:, :-1].argmax(1), outcomes)

    def right(self, sets: Sets, labels: Labels, outcomes: Outcomes) -> Sets:
        """Return {true label, uncertain}: not wrong, whatever the best label is."""
        del sets
        return self.around(labels, outcomes)

    def around(self, labels: Labels, outcomes: Outcomes) -> Sets:
        """Return {label, uncertain} for given labels."""
        sets = torch.zeros_like(outcomes, dtype=torch.bool)
        sets.scatter_(1, labels.unsqueeze(1), True)
        sets[:, -1] = True
        return (sets & outcomes.isfinite().all(1, keepdim=True)).unsqueeze(1)


def check_guarantee(guarantee: object) -> None:
    """Raise unless this is a guarantee: a name of one is a common slip."""
    if not isinstance(guarantee, Guarantee):
        raise ValueError(
            f"`guarantee` must be Local(), TopK(k), RelaxedTopK(k), Affinity(groups) or"
            f" LabelOrUncertain() of surefoot, not a name; found {guarantee!r}"
        )


def check_model(guarantee: Guarantee, model: Model) -> None:
    """Raise if this is no guarantee, or one about "uncertain" on a model without that outcome."""
    check_guarantee(guarantee)
    if guarantee.counts_rejection_as_right and not rejects(model):
        raise ValueError(
            f"{type(guarantee).__name__} needs a selective classifier, whose last column means"
            " uncertain; this model has no attribute `rejects = True`. Wrap it:"
            " uncertainty.Selective(model, ...)."
        )


def containing(sets: Sets, labels: Tensor) -> Sets:
    """Keep the alternatives that contain the label of their row; the others become all-False."""
    index = labels.view(-1, 1, 1).expand(-1, sets.shape[1], 1)
    return sets & sets.gather(2, index)


def smoothed_radius(
    members: Tensor, competitor: Tensor, sigma: float, sizes: Tensor | int = 1
) -> PerAlternative:
    r"""Return the l2 radius of each alternative: the one formula of smoothing.

    $$ r = \sigma \max_m \rho(p_m, q, |m|) $$
    with rho of `tolerated_shift`. Exact probabilities and bounds from samples both come here: an
    outcome may need a lower bound in one alternative and an upper one in another.

    Args:
        members: `[B, A, M]`, lower bounds on the joint probabilities of groups of members.
        competitor: `[B, A]`, upper bound on the probability of any outcome outside; what the
            members leave bounds it, too.
        sigma: standard deviation of the noise.
        sizes: `[M]`, outcomes in each group.
    """
    left = torch.minimum(competitor.unsqueeze(2), 1 - members)
    return sigma * tolerated_shift(members, left, sizes).amax(2)


def tolerated_shift(probability: Tensor, competitor: Tensor, size: Tensor | int = 1) -> Tensor:
    r"""Find the shift, in units of sigma, at which a competitor can catch a group of outcomes.

    $$ \rho \ge 0: \quad \Phi(\Phi^{-1}(p) - \rho) / m = \Phi(\Phi^{-1}(q) + \rho) $$
    with p the `probability` of the group, m its `size`, q the probability of the `competitor`. The
    left side decreases, the right side increases: one root, closed form (Phi^-1(p) - Phi^-1(q)) / 2
    for m = 1. Increasing in p and decreasing in q: put a lower bound for p and an upper bound for
    q.

    Returns:
        float64, rounded down; 0 if the competitor has caught up already (p / m <= q), infinite if q
        = 0.
    """
    probability, competitor = probability.double(), competitor.double()
    many = torch.as_tensor(size, device=probability.device).double()
    probability, competitor, many = torch.broadcast_tensors(probability, competitor, many)
    own, other = torch.special.ndtri(probability), torch.special.ndtri(competitor)
    # The root for m = 1 is an upper end for every m; the second end keeps it finite at p = 1.
    log_cdf = torch.special.log_ndtr  # ndtr itself loses all digits in the far tail
    low = torch.zeros_like(own)
    high = torch.minimum((own - other) / 2, torch.special.ndtri(1 / many) - other)
    searchable = (many > 1) & high.isfinite() & (high > 0)
    if bool(searchable.any()):
        bracket = torch.where(searchable, high, 0.0)

        def ahead(shift: Tensor) -> Tensor:
            return log_cdf(own - shift) > many.log() + log_cdf(other + shift)

        low, _ = bisection(low, bracket, ahead, 60)
    shift = torch.where(many > 1, torch.where(competitor > 0, low, torch.inf), (own - other) / 2)
    # Phi^-1 is good to about 1e-15 of its size; the sum of the sizes bounds the error of both.
    error = 1e-14 * (1 + own.abs() + other.abs())
    safe = torch.where(shift.isfinite(), shift - error, shift)
    return torch.where((probability - many * competitor) > 0, safe.clamp(min=0), 0.0)


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"`k` must be at least 1; found {k}")


def _check_sets(outcomes: Outcomes, sets: Sets) -> None:
    if sets.shape[0] != outcomes.shape[0] or sets.shape[2] != outcomes.shape[1]:
        raise ValueError(
            f"`sets` must be [B, A, O] for outcomes {tuple(outcomes.shape)}; found"
            f" {tuple(sets.shape)}"
        )


def _best(outcomes: Outcomes, k: int, what: str = "k = {k} of {count} outcomes") -> Sets:
    """Return top-1 .. top-k sets [B, k, O]; without a strict gap below it a set is not there."""
    count = outcomes.shape[1]
    if k >= count:
        raise ValueError(
            f"{what.format(k=k, count=count)}: a set of all outcomes never changes, so the"
            " guarantee would say nothing. Take fewer."
        )
    values, order = outcomes.topk(k + 1, dim=1)
    rank = torch.full_like(outcomes, k + 1, dtype=torch.long)
    rank.scatter_(1, order, torch.arange(k + 1, device=outcomes.device).expand_as(order))
    sets = rank.unsqueeze(1) <= torch.arange(k, device=outcomes.device).view(1, k, 1)
    strict = values[:, :-1] > values[:, 1:]
    usable = strict & outcomes.isfinite().all(1, keepdim=True)
    return sets & usable.unsqueeze(2)


def _inside(outcomes: Tensor, sets: Sets) -> Tensor:
    return outcomes.unsqueeze(1).masked_fill(~sets, torch.inf)


def _outside(outcomes: Tensor, sets: Sets) -> Tensor:
    return outcomes.unsqueeze(1).masked_fill(sets, -torch.inf)


def _plain_margins(outcomes: Outcomes, sets: Sets, quantifier: Quantifier) -> PerAlternative:
    if quantifier == "every":
        member = _inside(outcomes, sets).amin(2)
    else:
        member = outcomes.unsqueeze(1).masked_fill(~sets, -torch.inf).amax(2)
    return member - _outside(outcomes, sets).amax(2)


def _members(values: Tensor, sets: Sets, fill: float) -> Tensor:
    """Gather the values of the members, [B, A, M] with M the largest set; the rest is `fill`."""
    index, present = _member_index(sets)
    gathered = values.unsqueeze(1).expand(-1, sets.shape[1], -1).gather(2, index)
    return gathered.masked_fill(~present, fill)


def _member_index(sets: Sets) -> tuple[Tensor, Tensor]:
    size = max(int(sets.sum(2).max()), 1)
    present, index = sets.float().topk(size, dim=2)
    return index, present > 0


def _tolerance(margin: Tensor, constant: Tensor, slack: Tensor | float = 0.0) -> Tensor:
    """Return the radius up to which a logit margin holds; infinite for a constant of 0."""
    # Subtracting rounds by less than this, twice; where little is left that is no small part of it.
    margin = margin - slack - 4e-16 * (abs(margin) + abs(slack))
    return torch.where(margin > 0, margin / constant, margin.clamp(max=0))


def _over_pairs(
    outcomes: Tensor,
    sets: Sets,
    quantifier: Quantifier,
    measure: Callable[..., Tensor],
    *matrices: Tensor,
) -> PerAlternative:
    """Reduce `measure(f_a - f_i, matrix_ai, ...)` over members a and outcomes outside i.

    One member at a time, O(B A M O) work and O(B A O) memory: the matrices are never expanded over
    the batch.
    """
    index, present = _member_index(sets)
    every = quantifier == "every"
    worst = torch.full(sets.shape, torch.inf if every else -torch.inf, device=outcomes.device)
    worst = worst.to(outcomes.dtype)
    values = _members(outcomes, sets, 0.0)
    for member in range(index.shape[2]):
        margin = values[:, :, member, None] - outcomes.unsqueeze(1)
        found = measure(margin, *(_rows(matrix, index[:, :, member]) for matrix in matrices))
        there = present[:, :, member, None]
        if every:
            worst = torch.minimum(worst, torch.where(there, found, torch.inf))
        else:
            worst = torch.maximum(worst, torch.where(there, found, -torch.inf))
    return worst.masked_fill(sets, torch.inf).amin(2)


def _rows(matrix: Tensor, index: Tensor) -> Tensor:
    if matrix.ndim == 2:
        return matrix[index]
    return matrix.gather(1, index.unsqueeze(2).expand(-1, -1, matrix.shape[2]))
