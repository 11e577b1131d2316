"""Attacks on classifiers that may abstain: four questions, each with its own success test.

Stutz et al. 2020 (confidence-thresholded error); Chen et al. 2023 (stratified rejection: refusing
is an error too, but only for small changes). Re-using the counterexamples of an attack that does
not know the refusal overstates robustness: here the search goes on past what is rejected.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from surefoot.attacks.guarantee_search import break_sets
from surefoot.attacks.result import AttackResult
from surefoot.guarantees import Guarantee, LabelOrUncertain, Local, check_model
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import frozen
from surefoot.threat import Threat
from surefoot.types import AnyLabels, Images, Labels, Model, Sets, checked_labels

Question = Literal["wrong-and-accepted", "rejected", "either", "accepted"]
INNER_SHARES = (0.0, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0)
"""Radii of the inner ball in Chen et al. 2023, as fractions of eps."""


def break_selective(
    model: Model,
    images: Images,
    labels: AnyLabels | None,
    *,
    threat: Threat,
    question: Question = "wrong-and-accepted",
    seed: int = 0,
    steps: int = 100,
    batch_size: int = 250,
) -> AttackResult:
    """Search for images that a selective classifier gets wrong, refuses, either, or accepts.

    wrong-and-accepted: a label other than the true one beats the true one and "uncertain";
    rejected: "uncertain" beats every label; either: the true label does not win; accepted: some
    label beats "uncertain", the failure on images from elsewhere, which have no true label.

    Args:
        model: a selective classifier.
        images: origins, inside the box.
        labels: true labels; None will do for "rejected" and "accepted".
        threat: ball and box.
        question: which failure to look for.
        seed: of the random starts, one stream an example.
        steps: iterations of each search.
        batch_size: images in one pass.

    Returns:
        the result; an image that fails without any change is broken by "clean".
    """
    images = threat.origins(images)
    check_model(LabelOrUncertain(), model)
    with frozen(model), torch.no_grad():
        outcomes = outcomes_of(model, images[:1])
    if labels is None:
        if question not in ("rejected", "accepted"):
            raise ValueError(f"the question {question!r} needs `labels`")
        labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    labels = checked_labels(labels, images, outcomes.shape[1] - 1)
    guarantee, sets = claim_of(question, labels, outcomes.shape[1])
    return break_sets(
        model, images, sets, guarantee, threat, seed=seed, steps=steps, batch_size=batch_size
    )


def claim_of(question: Question, labels: Labels, outcomes: int) -> tuple[Guarantee, Sets]:
    """Return which set must hold the winner, so that the answer to the question is no."""
    sets = torch.zeros(len(labels), 1, outcomes, dtype=torch.bool, device=labels.device)
    if question == "rejected":
        sets[:, :, :-1] = True
        return LabelOrUncertain(), sets
    if question == "accepted":
        sets[:, :, -1] = True
        return LabelOrUncertain(), sets
    sets.scatter_(2, labels.view(-1, 1, 1), True)
    if question == "either":
        return Local(), sets
    if question == "wrong-and-accepted":
        sets[:, :, -1] = True
        return LabelOrUncertain(), sets
    raise ValueError(
        f"`question` must be one of {', '.join(get_args(Question))}; found {question!r}"
    )


def stratified(
    model: Model,
    images: Images,
    labels: AnyLabels,
    *,
    threat: Threat,
    fractions: Sequence[float] = INNER_SHARES,
    seed: int = 0,
    steps: int = 100,
) -> Tensor:
    """Return the stratified robust accuracy over the size of the inner ball.

    In the outer ball (eps) an accepted wrong answer is an error; in the inner ball (a fraction of
    eps) a refusal is an error too. The curve falls with the fraction: at 0 only clean refusals
    count.

    Args:
        model: a selective classifier.
        images: origins, inside the box.
        labels: true labels.
        threat: outer ball and box.
        fractions: radii of the inner ball as fractions of eps, rising.
        seed: of the random starts.
        steps: iterations of each search.

    Returns:
        bool `[len(fractions), B]`: not broken at this fraction; rows only lose examples.
    """
    outer = break_selective(model, images, labels, threat=threat, seed=seed, steps=steps)
    unbroken, rows = ~outer.success, []
    for fraction in fractions:
        left = unbroken.nonzero().flatten()
        if len(left):
            ball = Threat(threat.norm, fraction * threat.eps, threat.low, threat.high)
            inner = break_selective(
                model,
                images[left],
                labels[left],
                threat=ball,
                question="either",
                seed=seed,
                steps=steps,
            )
            unbroken = unbroken.clone()
            unbroken[left[inner.success]] = False
        rows.append(unbroken)
    return torch.stack(rows)
