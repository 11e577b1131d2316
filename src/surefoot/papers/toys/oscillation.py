"""How often the prediction changes at each place while a net is trained (Figure 8 of UDP)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Changes:
    """Count the changes of the predicted class since the first call.

    Attributes:
        counts: changes so far, of the shape of the predictions; None before the first call.
    """

    def __init__(self) -> None:
        self.counts: Int[Tensor, ...] | None = None
        self._last: Tensor | None = None

    def see(self, outcomes: Float[Tensor, "... C"]) -> None:
        """Count the changes to the outcomes of one more moment."""
        found = outcomes.detach().argmax(-1)
        if self.counts is None or self._last is None:
            self.counts = torch.zeros_like(found)
        else:
            self.counts += found != self._last
        self._last = found
