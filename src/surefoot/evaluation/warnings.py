"""Reasons to doubt an evaluation: each function gives sentences, or an empty list.

Some look at the model before any attack, some at what the attacks cost and left in the rows.
What they find is in `header.warnings` and on top of the report. In the manner of the checks
of AutoAttack (Croce, Hein 2020), which only print. Not here: what an attack notices about itself
(`attacks.attack_warnings`), and certificates that attacks refute (`Contradiction`, an error).
"""

import math
from contextlib import suppress
from dataclasses import replace

import torch
from torch import nn

from surefoot.attacks.attack_warnings import black_box_wins, blind_gradients, square_alone
from surefoot.certify.smoothing import largest_radius
from surefoot.data import Data
from surefoot.evaluation import data_limits, metrics
from surefoot.evaluation.classifiers import Classifier, Plain
from surefoot.evaluation.data_limits import confirmable
from surefoot.evaluation.header import LimitPart, LipschitzPart, SmoothingPart, Work
from surefoot.evaluation.record import Record
from surefoot.guarantees import Local, containing
from surefoot.models.border import behaviour, has_gradient, outcomes_of
from surefoot.models.frozen import device_of, frozen
from surefoot.stats import Interval, interval
from surefoot.streams import own_randomness
from surefoot.threat import Threat
from surefoot.types import Images, Labels, Model, Outcomes, rejects

FEWEST_EXAMPLES = 100
"""Below this many rows a 95 % interval may span 20 points."""
ROUNDED = 0.1
"""Of the headline radius: more than this should not be lost to rounding unsaid."""
MOST_MISSED = 0.1
"""Fraction of counterexamples that an attack may miss in a larger ball; two misses are allowed."""
DETECTOR_ROWS = 200
MOST_ROWS = 1_000_000
"""More rows than this confirm nothing that is worth asking for."""
"""Rows on which the accuracy with rejection is compared with the net without it."""


def of_model(model: Model, images: Images, *, attack: bool, voted: bool = False) -> list[str]:
    """Look at a model and a few of its images, before any attack; a vote may be random."""
    found = train_mode(model) + probabilities(model, images) + writes(model, images)
    found += depends(model, images, voted=voted)
    return found + no_gradient(model, images) if attack else found


def of_record(record: Record) -> list[str]:
    """Look at a whole record: its attack, and its figures beside the proven ceiling."""
    attack = record.header.attack
    found = of_attack(attack.work, len(record)) if attack and attack.work else []
    return found + above_ceiling(record)


def notes_of(record: Record) -> list[str]:
    """Return what a reader should know of a record, and no figure is wrong for."""
    checks = (few_examples, out_of_reach, rounded_away, above_limit, not_valid)
    return [text for check in checks for text in check(record)]


def of_attack(work: Work, images: int) -> list[str]:
    """Look at what all attacks of an evaluation took and found, over radii and chunks."""
    return [
        *blind_gradients(work.costs),
        *black_box_wins(work.costs, images),
        *square_alone(work.costs),
        *grey_not_broken(work.grey, work.grey_missed),
        *missed_again(work.retried, work.missed),
    ]


def train_mode(model: Model) -> list[str]:
    """Warn if the model came in train mode; surefoot attacks and certifies its eval mode."""
    if not (isinstance(model, nn.Module) and model.training):
        return []
    return ["the model came in train mode; all figures are those of its eval mode"]


def depends(model: Model, images: Images, *, voted: bool) -> list[str]:
    """Warn if outcomes depend on the other images of a batch, or on chance (but for a vote)."""
    found = behaviour(model, images)
    warnings = [found.problem] if found.problem else []
    if found.random and not voted:
        warnings.append(
            "the model answers at random: each figure is of one draw, and a counterexample may be"
            " one lucky draw; judge the vote (--certificate smoothing or vote)"
        )
    return warnings


def writes(model: Model, images: Images) -> list[str]:
    """Warn if the model writes into its input; surefoot hands out copies, other callers may not."""
    given = images.to(device_of(model), copy=True)
    with torch.no_grad(), frozen(model), suppress(Exception), own_randomness(0):
        model(given)  # what it raises is told by `try_model`
    if torch.equal(given.cpu(), images.cpu()):
        return []
    return ["the model writes into its input: it was given copies, your images are untouched"]


def of_outcomes(outcomes: Outcomes, classes: int, *, rejects: bool) -> list[str]:
    """Look at the outcomes of all rows: columns that are not finite, or more than the classes.

    A column that is minus infinity (a masked class) never wins, and is allowed.
    """
    found, columns = [], outcomes.shape[1] - rejects
    broken = ~outcomes.isfinite().all(1)
    if bool(broken.any()):
        where = (~outcomes.isfinite()).any(0).nonzero().flatten().tolist()
        listed = ", ".join(map(str, where[:5])) + (", ..." if len(where) > 5 else "")
        found.append(
            f"{broken.double().mean():.1%} of the rows ({int(broken.sum())}) have outcomes that are"
            f" NaN or infinite, in column {listed}: they count as wrong everywhere"
        )
    if columns > classes:
        other = outcomes[:, classes:columns].amax(1) > outcomes[:, :classes].amax(1)
        found.append(
            f"the model has {columns} outcomes, the data {classes} classes: labels are compared"
            f" with the first {classes} columns, and {other.double().mean():.1%} of the rows go to"
            " a class that the data do not have. Is this the model for these data?"
        )
    return found


def probabilities(model: Model, images: Images) -> list[str]:
    """Warn if the outcomes (of a selective classifier: its labels) are fractions that sum to one.

    Nothing is corrected, for it would be another model: the figures are of the model as it stands.
    """
    outcomes = try_model(model, images)
    labels = outcomes[:, :-1] if rejects(model) else outcomes
    sums = labels.sum(1)
    if not (bool((labels >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)):
        return []
    return [
        "the model returns rows that sum to one: probabilities, where logits are expected. The"
        " figures are of the model as it stands and certificates hold, but gradients vanish where"
        " a probability is near 0 or 1, so attacks may be blind, and scores take the probabilities"
        " for logits. Return logits: remove the final softmax"
    ]


def no_gradient(model: Model, images: Images) -> list[str]:
    """Warn if some clean images show no usable gradient: masked, saturated or rounded."""
    if not has_gradient(model, images):
        return []  # searched without gradients, which `square_alone` says
    blind = blind_fraction(model, images)
    if blind == 0:
        return []
    return [
        f"{blind:.0%} of the first images show no usable gradient (masked, saturated or rounded):"
        " attacks cannot climb there, so attacked accuracy may be far too high"
    ]


def blind_fraction(model: Model, images: Images) -> float:
    """Return the fraction of images at which the model shows no gradient, or none that is finite.

    There an attack cannot climb, and what it does not break says nothing.
    """
    images = images.to(device_of(model)).detach().requires_grad_()
    with frozen(model), torch.enable_grad(), own_randomness(0):
        outcomes = outcomes_of(model, images)
        if not outcomes.requires_grad:
            return 1.0
        best = outcomes.topk(2, dim=1).values
        (gradient,) = torch.autograd.grad((best[:, 0] - best[:, 1]).sum(), images)
    size = gradient.flatten(1).abs().sum(1)
    return float(((size == 0) | ~size.isfinite()).float().mean())


def grey_not_broken(tried: int, missed: int) -> list[str]:
    """Warn if sets were not broken in balls that certainly hold a counterexample, the grey image.

    An attack without bounds that does not reach 0 % is broken (Athalye, Carlini, Wagner 2018);
    from radius (high - low) / 2 on the ball of every image holds grey, so there it is proof.

    Args:
        tried: sets that fail at the grey image, attacked there (`attack_sweep.self_check`).
        missed: how many of them the attack did not break.
    """
    if missed == 0:
        return []
    return [
        f"the attack did not break {missed} of {tried} sets in a ball that reaches the uniformly"
        " grey image, where each of them fails: it misses counterexamples that are there, so"
        " attacked accuracy is too high"
    ]


def missed_again(retried: int, missed: int) -> list[str]:
    """Warn if examples broken at a smaller radius survive an attack at the largest.

    A larger ball holds the same counterexample. Found stays found in the rows, so the curve falls
    by construction: this asks whether the attack alone would have broken them.

    Args:
        retried: examples attacked at both radii (`attack_sweep.self_check`).
        missed: how many of them were broken at the smaller one alone.
    """
    if missed <= max(2, MOST_MISSED * retried):
        return []
    return [
        f"{missed} of {retried} examples attacked at two radii were broken at the smaller one and"
        " survived an attack at the largest: the attack is not monotone in the radius, so at large"
        " radii attacked accuracy is too high; take more steps or smaller ones"
    ]


def few_examples(record: Record) -> list[str]:
    """Warn if the intervals are wide for want of rows."""
    if len(record) >= FEWEST_EXAMPLES:
        return []
    return [f"only {len(record)} examples: the intervals are wide"]


def out_of_reach(record: Record) -> list[str]:
    """Name the radii that no vote can certify with this sigma, alpha and number of copies."""
    header, by = record.header, record.header.certificate
    if not isinstance(by, SmoothingPart):
        return []
    bounds = 1 if by.rule == "majority" or by.decided else 2
    largest = largest_radius(by.sigma, by.n_certify, by.alpha, bounds=bounds)
    largest /= replace(header.threat, eps=1.0).l2_radius(header.dimension)
    too_large = [f"{radius:g}" for radius in header.radii if radius > largest]
    if not too_large:
        return []
    return [
        f"no image can be certified at radius {', '.join(too_large)}: with n_certify ="
        f" {by.n_certify}, alpha = {by.alpha:g} and sigma = {by.sigma:g} the largest certifiable"
        f" {header.norm} radius is {largest:.3g}"
    ]


def rounded_away(record: Record) -> list[str]:
    """Warn where the worst case of rounding takes a tenth of the headline radius or more."""
    header, by = record.header, record.header.certificate
    if not isinstance(by, LipschitzPart):
        return []
    taken = by.rounding.get("radius", 0.0)
    taken /= replace(header.threat, eps=1.0).l2_radius(header.dimension)
    if taken == 0 or taken < ROUNDED * header.eps:
        return []
    return [
        f"the worst case of rounding in {by.arithmetic} takes about {taken:.2g} from"
        " certified radii: run, attack and certify the net in double precision (--float64,"
        " models.Double)"
    ]


def not_valid(record: Record) -> list[str]:
    """Name the radii whose estimated limit the held-out rows do not confirm: it is not drawn."""
    found = [
        part
        for part in record.header.limit
        if part.feasible and not part.valid and not data_limits.beaten(part, record.rows)
    ]
    if not found:
        return []
    radii = ", ".join(record.header.radius_text(part.radius) for part in found)
    searched = record.header.searched
    count = len(record) if searched else len(record) - len(record) // 2
    would = what_would_confirm(max(found, key=lambda part: rows_to_confirm(part, count)), count)
    how = "" if searched else ", as would a search on data that are not evaluated (`others`)"
    return [
        f"the limit at radius {radii} is not valid: {count} rows do not confirm a region of about"
        f" the classifier's risk {found[0].demanded_risk:.1%}, so it is not drawn; {would}{how}"
    ]


def what_would_confirm(part: LimitPart, count: int) -> str:
    """Say how many rows would confirm the region of a limit, more than those there are."""
    needed, risk = rows_to_confirm(part, count), part.risk
    if needed < MOST_ROWS:
        return f"about {needed:,} rows would"
    found = "no region" if risk is None else f"a region of risk {risk.value:.1%}"
    return f"the search found {found}, and no number of rows would confirm that"


def rows_to_confirm(part: LimitPart, count: int) -> int:
    """Return how many rows, more than `count`, would confirm the region, its risk as measured.

    Where they confirm it, but its risk is too large: how many allow a region of less.
    """
    risk, demanded = part.risk, part.demanded_risk
    if risk is None or risk.value <= demanded:
        return MOST_ROWS
    excess = risk.low >= demanded
    if excess and confirmable(demanded, count) < demanded + data_limits.MOST_EXCESS / 2:
        return MOST_ROWS  # the rows would do for a smaller region, which the search did not find
    rows = count
    while rows < MOST_ROWS:
        rows = math.ceil(1.2 * rows)
        if excess and confirmable(demanded, rows) < demanded + data_limits.MOST_EXCESS / 2:
            return rows
        if not excess and interval(round(risk.value * rows), rows).low >= demanded:
            return rows
    return MOST_ROWS


def above_limit(record: Record) -> list[str]:
    """Return where certified accuracy lies above the estimated limit of the data."""
    found = []
    for part in record.header.limit:
        certified = metrics.certified_accuracy(record, part.radius)
        if certified and part.robustness and data_limits.beaten(part, record.rows):
            found.append(
                f"certified accuracy {certified.value:.1%} at radius {part.radius:g} lies above"
                f" the estimated limit {part.robustness.value:.1%}, so that is not drawn: the"
                " errors of this classifier expand less than the region that was found"
            )
    return found


def above_ceiling(record: Record) -> list[str]:
    """Hold a record against the proven ceiling of its rows: no classifier lies above it.

    A certificate above it is unsound; an attack that breaks less has missed something.
    """
    found = []
    either = record.header.guarantee.counts_rejection_as_right
    for part in record.header.ceiling:
        radius, most = part.radius, part.value
        attacked, certified = metrics.attacked_accuracy(record, radius), None
        if either:
            attacked, certified = metrics.accepted_and_right(record, radius)
        else:
            certified = metrics.certified_accuracy(record, radius)
        if certified is not None and certified.value > most:
            found.append(
                f"certified accuracy {certified.value:.1%} at radius {radius:g} lies above the"
                f" proven ceiling {most:.1%} of these rows: the certificate is unsound, or too many"
                " of its certificates failed by chance; trust none of them"
            )
        if record.header.attack and attacked.value > most:
            found.append(
                f"attacked accuracy {attacked.value:.1%} at radius {radius:g} lies above the proven"
                f" ceiling {most:.1%} of these rows: the attack missed counterexamples that exist"
            )
    return found


def of_detector(classifier: Classifier, data: Data, record: Record, threat: Threat) -> list[str]:
    """Compare a net that may abstain with itself without abstention, at half the radius.

    Only for nets as they stand and `LabelOrUncertain`; both sides speak of the same rows, at most
    `DETECTOR_ROWS`.
    """
    detects = record.header.guarantee.counts_rejection_as_right
    if not (detects and isinstance(classifier, Plain)) or data.labels is None:
        return []
    part = replace(record, rows=record.rows.iloc[:DETECTOR_ROWS])
    claim, _ = metrics.accepted_and_right(part, threat.eps)
    images, labels = data.batch(torch.from_numpy(part.rows["index"].to_numpy().copy()))
    known = without_rejection(classifier, images, labels, threat)
    return half_radius(claim, known.high, threat.eps)


def without_rejection(
    classifier: Plain, images: Images, labels: Labels, threat: Threat
) -> Interval:
    """Attack the net without its last column at half the radius: an upper bound of its accuracy."""
    model, half = classifier.model, replace(threat, eps=threat.eps / 2)
    images, labels = images.to(device_of(model)), labels.to(device_of(model))
    sets = Local().sets(try_model(model, images)[:, :-1]).to(labels.device)
    forced = replace(classifier, model=lambda pixels: outcomes_of(model, pixels)[:, :-1])
    with frozen(model):  # what replaces it is a plain callable, which nothing else would freeze
        unbroken = ~forced.attack(images, containing(sets, labels), Local(), half).success
    return interval(int(unbroken.sum()), len(unbroken))


def half_radius(
    claim: Interval, known: float, eps: float, *, source: str = "this net without its rejection"
) -> list[str]:
    """Warn if accuracy with rejection at eps implies a better classifier than is known at eps / 2.

    Whoever accepts no wrong image within eps yields a classifier, too slow to be run, that is
    right without rejection within eps / 2, on the same fraction of examples. 12 of 14 published
    detectors claimed more than any classifier was known to reach.

    Args:
        claim: fraction accepted and right, with no accepted error found within eps.
        known: best robust accuracy known at eps / 2: measured (its upper end), or published.
        eps: radius of the claim.
        source: whose accuracy `known` is.

    Reference: Tramer, Detecting Adversarial Examples Is (Nearly) As Hard As Classifying Them,
    ICML 2022, arXiv 2107.11630.
    """
    if claim.low <= known:
        return []
    return [
        f"with rejection at radius {eps:g} the claim is {claim.value:.1%} (at least"
        f" {claim.low:.1%}): it implies a classifier without rejection that is as good at radius"
        f" {eps / 2:g}, where at most {known:.1%} is known ({source}). Either the net is that good"
        " at rejecting, or the attack is too weak against the rejection"
    ]


def try_model(model: Model, images: Images, *, seed: int = 0) -> Outcomes:
    """Return the outcomes of a few images, on the CPU; raise if model and images do not fit.

    A model that draws from torch's global stream answers alike for the same seed.
    """
    try:
        with torch.no_grad(), frozen(model), own_randomness(seed):
            return outcomes_of(model, images.to(device_of(model))).cpu()
    except Exception as error:  # whatever a foreign model may raise
        raise ValueError(
            f"the model fails on images of shape {tuple(images.shape[1:])}:"
            f" {type(error).__name__}: {error}"
        ) from error
