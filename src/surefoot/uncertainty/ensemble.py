"""Deep ensembles: nets of different initial weights that predict by their mean.

Lakshminarayanan, Pritzel, Blundell 2017; perturbed through the entropy of the mean, as in
Pagliardini et al. 2022, Appendix E.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import nll_loss

from surefoot.types import Images, Labels, Members, Outcomes, PerExample, rejects
from surefoot.uncertainty.members import log_mean, mean_log


class Ensemble(nn.Module):
    r"""Return the log of the mean probability, $\log \tfrac{1}{M} \sum_m p_m$.

    `fit` trains all members at once: in train mode the outcomes are $\tfrac{1}{M} \sum_m \log p_m$,
    and `criterion` makes of them the mean of the members' cross-entropies. Each member gets its own
    gradient over M; only the perturbation, which looks at the mean, couples them. Terms of a recipe
    beside the cross-entropy (the divergence of TRADES) see the mean logits.

    `build("ensemble", nets=[...])` makes one from configurations; its members draw their initial
    weights one after the other from torch's global stream.

    Args:
        nets: the members, each with outcomes `[B, C]`; distinct modules.

    Raises:
        ValueError: no member, a member twice, or one that rejects (wrap the ensemble instead).

    Example:
        >>> one, other = torch.nn.Linear(1, 2), torch.nn.Linear(1, 2)
        >>> model = Ensemble([one, other]).eval()
        >>> mean = (one(torch.ones(1, 1)).softmax(1) + other(torch.ones(1, 1)).softmax(1)) / 2
        >>> torch.allclose(model(torch.ones(1, 1)).softmax(1), mean)
        True
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        if len({id(net) for net in nets}) != len(nets) or not nets:
            raise ValueError(
                f"an ensemble needs nets with weights of their own; found {len(nets)} of which"
                f" {len({id(net) for net in nets})} are distinct. Build each one afresh"
            )
        if any(rejects(net) for net in nets):
            raise ValueError("a member rejects by itself: make `Selective(Ensemble(...))` of it")
        self.nets = nn.ModuleList(nets)
        configs = [getattr(net, "config", None) for net in nets]
        self.config = {"name": "ensemble", "nets": configs} if all(configs) else None

    def members(self, images: Images) -> Members:
        """Return the outcomes of each member."""
        # One after the other: stacked weights under `vmap` are no faster on a CPU (docs).
        return torch.stack([net(images) for net in self.nets])

    def forward(self, images: Images) -> Outcomes:
        """Combine the members: log of the mean in eval mode, mean of the logs in train mode."""
        members = self.members(images)
        return mean_log(members) if self.training else log_mean(members)

    def criterion(self, outcomes: Outcomes, labels: Labels) -> PerExample:
        """Return the mean of the members' cross-entropies, from outcomes in train mode."""
        return nll_loss(outcomes, labels, reduction="none")
