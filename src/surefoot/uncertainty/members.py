"""The outcomes of a model of several members: one for attacks and use, another for its training.

Such a model has `members(images) -> [M, B, C]`. In eval mode it returns `log_mean`, so that
everything sees the mean probability. In train mode it returns `mean_log`, from which the mean of
the members' own losses can be read: members are trained side by side, each as if alone.
"""

import math
from collections.abc import Callable

from torch import Tensor

from surefoot.types import Members, Model, Outcomes


def log_mean(members: Members) -> Outcomes:
    r"""Return the log of the mean probability, $\log \tfrac{1}{M} \sum_m p_m$.

    Its softmax is the mean, its entropy that of the mean: the total uncertainty.
    """
    return members.log_softmax(2).logsumexp(0) - math.log(len(members))


def mean_log(members: Members) -> Outcomes:
    r"""Return the mean of the log probabilities, $\tfrac{1}{M} \sum_m \log p_m$.

    Minus column y is the mean over members of the cross-entropy, $\tfrac{1}{M} \sum_m L_m$: that is
    what `nll_loss` takes. As logits they are the mean of the members' logits.
    """
    return members.log_softmax(2).mean(0)


def members_of(model: Model, what: str) -> Callable[[Tensor], Tensor]:
    """Return the model's `members`.

    Raises:
        ValueError: it has none; `what` names the score.
    """
    members = getattr(model, "members", None)
    if members is None:
        raise ValueError(
            f"{what!r} needs a model with `members(images) -> [M, B, C]` (Ensemble,"
            f" DropoutEnsemble, DUE); {type(model).__name__} has none. Take a score of the outcomes"
            " alone, such as entropy."
        )
    return members
