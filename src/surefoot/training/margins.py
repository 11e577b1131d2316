"""Losses of certified training: logits, and by how much each must lead each other one.

The slack T [C, C] is eps times the pairwise Lipschitz constants: where label a leads every other
class i by more than T_ai, the label is certified at eps. All of it for any guarantee of the kind
"every": with several alternatives the best one counts. Gradients flow into logits and slack.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from surefoot.guarantees import Guarantee, containing
from surefoot.types import Labels, Outcomes, PerExample

SMALLEST_SHARE = 0.01


def with_bottom(logits: Outcomes, guarantee: Guarantee, slack: Tensor) -> Tensor:
    r"""Append the column "uncertain" `[B, C + 1]`: the best logit less the margin of the guarantee.

    $$ y_\bot = \max_c f_c - \max_S \min_{a \in S, i \notin S} (f_a - f_i - T_{ai}) $$
    It is the largest column unless some alternative S is certified. Where there is none (a tie, a
    class in no group) the margin is taken to be that of a tie, $-\max T$.

    Reference: Leino, Wang, Fredrikson 2021; Leino, Fredrikson 2021 (sets).
    """
    margin = guarantee.margins(logits, guarantee.sets(logits), slack).amax(1)
    margin = torch.where(margin.isfinite(), margin, -slack.amax())
    return torch.cat([logits, (logits.amax(1) - margin).unsqueeze(1)], 1)


def doubt(outcomes: Outcomes) -> PerExample:
    r"""Return the divergence from the answer without the last column to the answer with it.

    $$ \mathrm{KL}(\mathrm{softmax}(f), 0 \,\|\, \mathrm{softmax}(f, y_\bot))
       = \log (1 + e^{y_\bot} / \textstyle\sum_c e^{f_c}) $$
    since every class loses the same factor to the last column: the second term of TRADES.

    Reference: Leino, Wang, Fredrikson 2021.
    """
    return softplus(outcomes[:, -1] - outcomes[:, :-1].logsumexp(1))


def handicapped(
    logits: Outcomes,
    labels: Labels,
    guarantee: Guarantee,
    slack: Tensor,
    *,
    whole: bool = False,
    leniency: float = 0.0,
) -> Outcomes:
    r"""Return every class the start over the label that the slack allows it (EMMA).

    $$ f_i + s_i T_{yi}, \qquad s_i = \mathrm{clip}((f_y - f_i) / T_{yi}, 0.01, 1) $$
    With `whole` the fraction s is 1. For a guarantee of several alternatives, S is the one of
    largest margin among those that hold the label ({label} if there is none). Those outside measure
    themselves against the member that they threaten most, $f_y - \min_{a \in S} (f_a - f_i - s_{ai}
    T_{ai})$, which for S = {y} is the line above. The other members b get $f_b - l T_{by}$, l the
    `leniency`: at 1 they may lead the label by as much as leaves them uncertified alone, and the
    smallest certified set still holds the label.

    Reference: Hu et al. 2023 (EMMA, local); over sets derived here.
    """
    own = logits.gather(1, labels.unsqueeze(1))
    chosen = _chosen(logits, labels, guarantee, slack)
    size = int(chosen.sum(1).max())
    present, members = chosen.float().topk(size, dim=1)
    lead = torch.full_like(logits, torch.inf)
    for place in range(size):
        ahead = logits.gather(1, members[:, place : place + 1]) - logits
        needed = slack[members[:, place]].to(logits)
        fraction = (ahead / needed.clamp(min=1e-12)).clamp(SMALLEST_SHARE, 1).detach()
        rest = ahead - (needed if whole else fraction * needed)
        lead = torch.where(present[:, place : place + 1] > 0, torch.minimum(lead, rest), lead)
    inside = logits - leniency * slack[labels].to(logits)  # the slack is symmetric, 0 for the label
    return torch.where(chosen, inside, own - lead)


def annealed(outcomes: Outcomes, labels: Labels, temperature: float, offset: float) -> PerExample:
    r"""Return the cross-entropy with a further offset, less of it where the label is likely
    already.

    $$ T (1 - p_y)^5 \, L((f - o \, e_y) / T) $$
    with p the softmax of the same logits. It spends the gradient on the
    examples that can still be won.

    Reference: Lai et al. 2025 (logit annealing).
    """
    lowered = outcomes.scatter_add(
        1, labels.unsqueeze(1), torch.full_like(outcomes[:, :1], -offset)
    )
    log_share = (lowered / temperature).log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return -temperature * (1 - log_share.exp()).pow(5) * log_share


def _chosen(logits: Outcomes, labels: Labels, guarantee: Guarantee, slack: Tensor) -> Tensor:
    """Choose the set that the label should be certified in, `[B, C]`."""
    alone = torch.zeros_like(logits, dtype=torch.bool).scatter(1, labels.unsqueeze(1), True)
    if not guarantee.set_valued:
        return alone
    with torch.no_grad():
        sets = containing(guarantee.sets(logits), labels)
        margins = guarantee.margins(logits, sets, slack)
        best = margins.argmax(1)
        found = sets[torch.arange(len(sets), device=sets.device), best]
        return torch.where(margins.amax(1, keepdim=True).isfinite(), found, alone)
