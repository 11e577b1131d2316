"""Rejection by logit margins: a label counts only where each exceeds its required margin.

One form for two known rules: the bottom logit of GloRo nets (Leino, Wang, Fredrikson 2021), where
the required margin is eps times pairwise Lipschitz constants, and a least gap of logits. What
decides is linear in the logits, so a Lipschitz certificate of the logits is one of the rejection,
too.
"""

import torch
from torch import Tensor, nn

from surefoot.types import Images, Model, Outcomes


class LogitMarginSelective(nn.Module):
    r"""Append an outcome "uncertain" that wins unless the best label exceeds each required margin.

    $$ o_C = \max_{i \ne j} (f_i + T_{ji}), \qquad j = \arg\max f $$
    so label j is accepted iff $f_j - f_i > T_{ji}$ for all other i. At equality it is not.

    Args:
        model: maps images to logits `[B, C]`.
        slack: T `[C, C]`, C at least 2, finite and at least 0; the diagonal is not used.

    Raises:
        ValueError: not a square matrix of finite numbers at least 0, or a model that rejects.

    Reference: Leino, Wang, Fredrikson 2021 (T = eps times pairwise constants).
    """

    rejects = True
    slack: Tensor

    def __init__(self, model: Model, slack: Tensor) -> None:
        super().__init__()
        square = slack.ndim == 2 and slack.shape[0] == slack.shape[1] >= 2
        if not square or not bool((slack.isfinite() & (slack >= 0)).all()):
            raise ValueError(
                "`slack` must be a square matrix of finite numbers >= 0, a row and column a class,"
                " two classes or more;"
                f" found shape {tuple(slack.shape)}"
            )
        if getattr(model, "rejects", False):
            raise ValueError("the model rejects already: its last column is no logit")
        self.model = model
        self.register_buffer("slack", slack.detach().double())

    def forward(self, images: Images) -> Outcomes:
        """Map images to outcomes `[B, C + 1]`."""
        return self.outcomes(self.model(images))

    def outcomes(self, logits: Tensor) -> Outcomes:
        """Append the column to logits `[B, C]`: outcomes `[B, C + 1]`."""
        if logits.shape[1] != len(self.slack):
            raise ValueError(
                f"the slack is for {len(self.slack)} classes; the net has {logits.shape[1]} logits"
            )
        best = logits.argmax(1, keepdim=True)
        required = logits + self.slack[best.squeeze(1)].to(logits)
        column = required.scatter(1, best, -torch.inf).amax(1, keepdim=True)
        # A logit margin that equals the required one is too small: the next number up counts.
        above = torch.nextafter(column, torch.full_like(column, torch.inf))
        return torch.cat([logits, column + (above - column).detach()], 1)


def logit_gap(model: Model, gap: float, classes: int) -> LogitMarginSelective:
    """Accept a label only where its logit exceeds every other by more than `gap`."""
    return LogitMarginSelective(
        model, torch.full((classes, classes), float(gap), dtype=torch.float64)
    )
