r"""When a net that rejects accepts its best label, and what bounds on logit margins prove of that.

Each rule turns lower bounds L[a, i] on f_a - f_i into two statements about a label y in a whole
region: y is the answer there, and certain (i); no other label is ever the answer (ii).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.stats import bisection


@dataclass(frozen=True)
class RequiredMargins:
    """Label a is accepted iff f_a - f_i > T[a, i] for all i: GloRo's bottom, a gap of logits.

    Args:
        required: T, `[C, C]`.
    """

    required: Tensor

    def certain(self, margins: Tensor, labels: Tensor, error: Tensor) -> Tensor:
        """Return where L[y, i] > T[y, i] for all i.

        Args:
            margins: L, `[B, C, C]`.
            labels: y, `[B]`.
            error: `[B]`, what rounding may add to a comparison of logits or scores.
        """
        required = self._required(margins)
        least = error.view(-1, 1) + required[labels]
        return (_of_label(margins, labels) > least).masked_fill(_own(margins, labels), True).all(1)

    def never_another(self, margins: Tensor, labels: Tensor, error: Tensor) -> Tensor:
        """Return where for each i != y some j has L[j, i] > -T[i, j]: then i is not accepted."""
        required = self._required(margins)
        enough = margins > error.view(-1, 1, 1) - required.T
        apart = ~torch.eye(len(required), dtype=torch.bool, device=margins.device)
        return (enough & apart).any(1).masked_fill(_own(margins, labels), True).all(1)

    def scale(self, largest: Tensor, classes: int) -> Tensor:
        """Return the size of a logit and a required margin."""
        return largest + self.required.amax().to(largest)

    def _required(self, margins: Tensor) -> Tensor:
        return self.required.to(margins)


@dataclass(frozen=True)
class ScoreThreshold:
    r"""The best label is accepted iff a score is at most a threshold.

    `least-confidence`: iff $p_{max} \ge q$, with q one minus the threshold. `entropy`: iff
    $H(p) \le h$ in nats; then $p_{max} \ge q(h)$, the largest probability of the least entropy h.

    Args:
        score: of `SCORES`.
        threshold: of it.
    """

    score: str
    threshold: float

    def certain(self, margins: Tensor, labels: Tensor, error: Tensor) -> Tensor:
        r"""Return where y is the best, with a score below the threshold.

        $$ p_y \ge t = 1 / (1 + \textstyle\sum_i e^{-L_{yi}}) $$
        and for t at least one half $H(p) \le h_b(t) + (1 - t) \log(C - 1)$ (Fano).
        """
        classes = margins.shape[1]
        of_label = _of_label(margins, labels)
        own = _own(margins, labels)
        best = (of_label > 0).masked_fill(own, True).all(1)
        others = (-of_label).exp().masked_fill(own, 0.0).sum(1) * (1 + 1e-12)
        least = 1 / (1 + others) * (1 - 1e-12)
        if self.score == "least-confidence":
            return best & (1 - least < self.threshold - error - 1e-12)
        rest = others / (1 + others) * (1 + 1e-12)
        most = rest * math.log(max(classes - 1, 1)) - torch.xlogy(rest, rest)
        most = (most - (1 - rest).log() * (1 - rest)) * (1 + 1e-11) / math.log(classes)
        return best & (rest <= 0.5) & (most < self.threshold - error - 1e-12)

    def never_another(self, margins: Tensor, labels: Tensor, error: Tensor) -> Tensor:
        r"""Return where each i != y is never the best with a probability of q or more.

        Either $f_i - f_y$ stays below $\max(0, \log q / (1 - q))$, because p_i + p_y is at most 1;
        or $p_i = 1 / (1 + \sum_j e^{f_j - f_i})$ stays below q.
        """
        accepted = self._least_probability(margins.shape[1], error).view(-1, 1)
        odds = torch.logit(accepted).clamp(min=0)
        of_label = _of_label(margins, labels)
        ahead = of_label > -odds * (1 - 1e-12)
        classes = margins.shape[1]
        apart = ~torch.eye(classes, dtype=torch.bool, device=margins.device)
        sums = (margins.exp() * apart).sum(1) * (1 - 1e-12)
        small = sums > (1 / accepted - 1) * (1 + 1e-12)
        return (ahead | small).masked_fill(_own(margins, labels), True).all(1)

    def scale(self, largest: Tensor, classes: int) -> Tensor:
        """Return the size of a logit, which a score exponentiates, and how many are added up."""
        return largest + classes + 16

    def _least_probability(self, classes: int, error: Tensor) -> Tensor:
        """Return q `[B]`, rounded down: an accepted label has at least this probability."""
        threshold = self.threshold + error + 1e-12
        if self.score == "least-confidence":
            return (1 - threshold).clamp(1e-300, 1.0)
        nats = threshold * math.log(classes)
        low, high = torch.full_like(nats, 1 / classes), torch.ones_like(nats)

        def above(likeliest: Tensor) -> Tensor:
            return least_entropy(likeliest) > nats + 1e-12

        low, _ = bisection(low, high, above, 60)
        # Between q and 1 / C all is accepted: the label is the best, and that is all.
        return low.clamp(max=1 - 1e-15)


def least_entropy(likeliest: Tensor) -> Tensor:
    """Return the least entropy, in nats, of a distribution with this largest probability t.

    It has floor(1 / t) entries t and one with the rest; it falls with t.
    """
    many = torch.floor(1 / likeliest)
    rest = (1 - many * likeliest).clamp(min=0)
    return -many * torch.xlogy(likeliest, likeliest) - torch.xlogy(rest, rest)


def _of_label(margins: Tensor, labels: Tensor) -> Tensor:
    """Return the row L[y] of each image, `[B, C]`."""
    return margins.gather(1, labels.view(-1, 1, 1).expand(-1, 1, margins.shape[2])).squeeze(1)


def _own(margins: Tensor, labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, margins.shape[2]).bool()


Acceptance = RequiredMargins | ScoreThreshold
