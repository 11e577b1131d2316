"""Break a guarantee of a noise vote: average gradients over draws, prove success on fresh noise.

Salman et al. 2019 (gradients of the mean softmax). Counts of a vote are random, so a single one
proves nothing: a success counts only when a test on noise that the search has never seen rejects,
at level `alpha`, that the guarantee holds there. A model without gradients is searched by Square on
the same score.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from surefoot.attacks.counted import Cost, Counted
from surefoot.attacks.draws import ByExample
from surefoot.attacks.mean_score import climb, search_noise
from surefoot.attacks.result import AttackResult, Findings, legal
from surefoot.attacks.square import square_search
from surefoot.guarantees import Guarantee
from surefoot.models.border import check_rows, has_gradient
from surefoot.models.frozen import frozen
from surefoot.stats import binomial_p_value, log_evidence_below
from surefoot.streams import own_randomness
from surefoot.threat import Threat
from surefoot.types import Images, Sets
from surefoot.uncertainty import majority
from surefoot.uncertainty.vote import Vote

SEARCH, CHOOSE, CONFIRM = 11, 12, 13
"""Purposes of the noise streams: three that never meet."""
LOOKS = (0.05, 0.15, 0.4, 1.0)
"""Parts of the samples that confirm, after which a clear count ends the test."""
EARLY = 0.1
"""Part of the level for the looks before the last."""
HOPELESS = math.log(50)
"""Log evidence for the alternative at which an image is given up."""
QUERIES = 10
"""Queries of Square for each step of PGD, for models without gradients."""
CLEAR = 0.5
"""Margin of the log mean softmax by which Square must win on its own few draws: it fits them."""


@dataclass(frozen=True)
class VoteSearch:
    """Effort and level of the search.

    Args:
        steps: of PGD, each of length 2.5 eps / steps.
        draws: noise samples a gradient is averaged over; the same in every step.
        n_choose: samples that choose which outcome to test against which.
        n_confirm: fresh samples that must confirm it.
        alpha: level of a call: the probability that a success at an image is none. Over a grid of R
            radii take alpha / R (`evaluation.bracket` does).
        batch_size: images in one pass, each with `draws` samples.
    """

    steps: int = 20
    draws: int = 8
    n_choose: int = 200
    n_confirm: int = 1000
    alpha: float = 1e-3
    batch_size: int = 100


def break_vote(
    vote: Vote,
    images: Images,
    sets: Sets,
    guarantee: Guarantee,
    threat: Threat,
    *,
    how: VoteSearch | None = None,
    seed: int = 0,
) -> AttackResult:
    """Search for images at which the vote breaks the alternatives, by PGD on the mean softmax.

    Without gradients, by Square on it.

    Args:
        vote: the classifier under attack.
        images: origins, inside the box.
        sets: alternatives at the clean images, of the vote.
        guarantee: gives the quantifier and the margin that is climbed.
        threat: ball and box.
        how: effort and level.
        seed: of all noise, one stream an example.

    Returns:
        the result with `counterexamples` and `broken`.
    """
    images = threat.origins(images)
    check_rows(vote.model, images)
    how = how or VoteSearch()
    began = time.perf_counter()
    findings = Findings.of(images, sets)
    counted = Counted(vote.model)
    counting = replace(vote, model=counted)
    name, search = "pgd-vote", _climb
    if not has_gradient(vote.model, images):
        name, search = "square-vote", _without_gradients
    with frozen(vote.model), own_randomness(seed):
        for part in findings.open_parts(how.batch_size):
            origins, members = findings.origins[part], findings.sets[part]
            with counted.charging(name) as cost:
                ends = search(vote, origins, members, guarantee, threat, how, seed, cost)
                each = replace(how, alpha=how.alpha / len(ends))
                for found in ends:
                    left = (~findings.broken[part]).nonzero().flatten()
                    if len(left) == 0:
                        break
                    there = found[left]
                    proven = vote_fails(counting, there, members[left], guarantee, each, seed)
                    proven &= legal(threat, there, origins[left])
                    cost.found += findings.note(proven, there, name, part[left])
    return findings.result(images, sets, counted, time.perf_counter() - began)


def vote_fails(
    vote: Vote, images: Images, sets: Sets, guarantee: Guarantee, how: VoteSearch, *key: int
) -> Tensor:
    r"""Return for which images the vote breaks its one alternative `[B, 1, O]`, at level alpha.

    every: the strongest outcome outside b and the weakest member a among `n_choose` samples are
        compared on fresh samples; among those that vote for either, b has more than half iff
        $P_b > P_a$.
    some: b must beat every member so; each test has level alpha (intersection-union).
    Under the rule majority one fraction is compared with all other samples: that of the label
    (every), or of the strongest competitor (some).

    Clear counts end both parts early: see `_confirmed`.
    """
    contest = partial(_half_contest, vote.rejects) if vote.rule == "majority" else _pair_contest
    inside = pad(sets[:, 0], (0, 1))  # broken samples are outside every set
    quarter = math.ceil(how.n_choose / 4)
    first = vote.increments(images, quarter, CHOOSE, *key, 0).table
    rows = (~_hopeless(*contest(first, inside, guarantee)(first))).nonzero().flatten()
    if len(rows) and how.n_choose > quarter:
        more = vote.increments(images[rows], how.n_choose - quarter, CHOOSE, *key, 1)
        first[rows] += more.table
    compared = contest(first, inside, guarantee)
    against, held, needed = compared(first)
    # Where the competitor trails, confirming would be a waste: such an image does not fail.
    ahead = ((against > held) | ~needed).all(1)
    return _confirmed(vote, images, rows[ahead[rows]], compared, how, *key)


Contest = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Counts `[b, O + 1]` -> votes against and votes for, `[b, M]`, and which pairs must all fail."""


def _pair_contest(first: Tensor, inside: Tensor, guarantee: Guarantee) -> Contest:
    """Compare the strongest outcome outside with the weakest member, or with every member."""
    competitor = first.masked_fill(inside, -1).argmax(1, keepdim=True)
    weakest = first.masked_fill(~inside, torch.iinfo(first.dtype).max).argmin(1, keepdim=True)
    if guarantee.quantifier == "every":
        inside = torch.zeros_like(inside).scatter(1, weakest, True)
    return lambda table: (table.gather(1, competitor).expand_as(table), table, inside)


def _half_contest(rejects: bool, first: Tensor, inside: Tensor, guarantee: Guarantee) -> Contest:
    """Compare an event that must keep more than half of the probability with all other samples.

    A set with "uncertain" fails only where a label outside it wins, whatever the quantifier.
    """
    uncertain = (inside[:, -2] & rejects) | (guarantee.quantifier == "some")
    events, needed = majority.kept_by_half(first, inside, uncertain)
    needed[:, -1] = False  # broken samples predict no label
    weakest = events.masked_fill(~needed, torch.iinfo(first.dtype).max).argmin(1, keepdim=True)

    def compared(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kept = majority.kept_by_half(table, inside, uncertain)[0].gather(1, weakest)
        return table.sum(1, keepdim=True) - kept, kept, torch.ones_like(kept, dtype=torch.bool)

    return compared


def _confirmed(
    vote: Vote, images: Images, rows: Tensor, compared: Contest, how: VoteSearch, *key: int
) -> Tensor:
    """Test on fresh samples of some rows whether all pairs fail, each at level alpha.

    At the looks before the last an e-process decides, at `EARLY` alpha (Ville: valid at all of
    them together); at the last one the exact binomial test, at what is left of alpha.
    """
    proven = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    seen, table = 0, torch.zeros(0)
    for step, part in enumerate(LOOKS):
        look = math.ceil(part * how.n_confirm)
        if not len(rows):
            break
        if look == seen:
            continue
        fresh = vote.increments(images[rows], look - seen, CONFIRM, *key, step).table
        if seen == 0:
            table = fresh.new_zeros(len(images), fresh.shape[1])
        table[rows] += fresh
        seen = look
        against, held, needed = (part[rows] for part in compared(table))
        if look == how.n_confirm:
            certain = binomial_p_value(against, against + held) <= (1 - EARLY) * how.alpha
        else:
            certain = _evidence(held, against) >= math.log(1 / (EARLY * how.alpha))
        certain = (certain | ~needed).all(1)
        proven[rows[certain]] = True
        rows = rows[~certain & ~_hopeless(against, held, needed)]
    return proven


def _hopeless(against: Tensor, held: Tensor, needed: Tensor) -> Tensor:
    """Return where some pair certainly does not fail: giving up costs power, never level."""
    return ((_evidence(against, held) >= HOPELESS) & needed).any(1)


def _evidence(few: Tensor, many: Tensor) -> Tensor:
    """Return log e-values of "the first have less than half of the votes for either"."""
    counts = few.cpu().double().numpy(), (few + many).cpu().double().numpy()
    return torch.from_numpy(log_evidence_below(*counts, 0.5)).to(few.device)


def _climb(
    vote: Vote,
    origins: Images,
    sets: Sets,
    guarantee: Guarantee,
    threat: Threat,
    how: VoteSearch,
    seed: int,
    cost: Cost,
) -> list[Images]:
    """Minimise the margin of the log mean softmax.

    The best point on the way is returned, and for a model that is random by itself the last one
    first: there the best of many values is biased by its randomness.
    """
    noise = search_noise(origins, how.draws, SEARCH, seed)
    smooth = Counted(lambda images: vote.soft(images, noise), whole=True, raw=True)
    last, best = climb(
        smooth,
        lambda outcomes: -guarantee.margins(outcomes, sets).squeeze(1),
        origins,
        threat,
        how.steps,
    )
    cost.forwards += how.draws * smooth.forwards
    cost.backwards += how.draws * smooth.backwards
    cost.blind += how.draws * smooth.costs["checks"].blind
    return [best] if vote.sigma > 0 else [last, best]


def _without_gradients(
    vote: Vote,
    origins: Images,
    sets: Sets,
    guarantee: Guarantee,
    threat: Threat,
    how: VoteSearch,
    seed: int,
    cost: Cost,
) -> list[Images]:
    """Minimise the same margin by Square."""
    noise = search_noise(origins, how.draws, SEARCH, seed)

    def lead(images: Images, rows: Tensor) -> Tensor:
        cost.forwards += how.draws * len(images)
        with torch.no_grad():
            means = vote.soft(images, noise[rows])
        return guarantee.margins(means, sets[rows]).squeeze(1) + CLEAR

    draws = ByExample.of(origins, SEARCH, seed)
    queries = QUERIES * how.steps
    found = square_search(lead, origins, draws, threat=threat, queries=queries)
    return [threat.project(found.images, origins)]
