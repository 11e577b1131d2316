"""Reasons to doubt an attack, found by the attack itself: each one a sentence, or nothing.

An attack that fails says little; one that fails for these reasons says nothing. The checks act on
what the search has seen anyway and cost no passes. Checks on a model before any attack, and on
whole records, are in `evaluation.warnings`.
"""

from collections.abc import Mapping

from surefoot.attacks.counted import Cost

MOST_BLIND = 0.05
"""Fraction of gradients that may be zero or not finite before an attack calls itself blind."""
MOST_BLACK_BOX = 0.002
"""Fraction of the images that Square may break after every attack with gradients has failed."""


def blind_gradients(costs: Mapping[str, Cost]) -> list[str]:
    """Name the attacks of which too many gradients were zero or not finite, in one sentence."""
    blind = [
        f"{name} ({cost.blind / cost.backwards:.0%})"
        for name, cost in costs.items()
        if cost.blind > MOST_BLIND * cost.backwards
    ]
    if not blind:
        return []
    return [
        f"zero or not finite were gradients of {', '.join(blind)}: masked, saturated or rounded,"
        " so these attacks could not climb there; an attack that sees more"
        " may break what they did not"
    ]


def black_box_wins(costs: Mapping[str, Cost], images: int) -> list[str]:
    """Warn if Square, without gradients, breaks what attacks with gradients did not."""
    found = costs["square"].found if "square" in costs else 0
    # Attacks with gradients that run after Square ("plus") have not had their turn on its finds.
    if found <= MOST_BLACK_BOX * images or list(costs)[-1] != "square":
        return []
    if _alone(costs):
        return []
    return [
        f"square, without gradients, broke {found} of {images} images that every attack with"
        " gradients had left standing: the gradients may be masked, and attacked accuracy far too"
        " high"
    ]


def square_alone(costs: Mapping[str, Cost]) -> list[str]:
    """Warn if Square was the only search, for want of gradients."""
    if not _alone(costs):
        return []
    return [
        "the model has no gradients, so it was attacked by Square alone, a random search: what it"
        " did not break may well be broken by an attack that knows how the model works, and"
        " attacked accuracy is only an upper bound"
    ]


def _alone(costs: Mapping[str, Cost]) -> bool:
    """Return whether Square was the only search: the model has no gradients."""
    return {*costs} - {"checks"} in ({"square"}, {"square-vote"})


def short_steps(steps: int, step_size: float, eps: float) -> list[str]:
    """Warn if fixed steps cannot cross the ball: steps x step_size < 2 eps."""
    if steps * step_size >= 2 * eps * (1 - 1e-9):
        return []
    return [
        f"{steps} steps of {step_size:g} reach {steps * step_size:g}, less than the diameter"
        f" {2 * eps:g} of the ball: from a random start its far side is out of reach; take steps of"
        f" at least {2 * eps / steps:.3g}"
    ]
