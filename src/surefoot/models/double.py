"""A net that runs in double precision, on images of any precision."""

from torch import nn

from surefoot.types import Images, Outcomes


class Double(nn.Module):
    """Run a net in float64: rounding then takes next to nothing from a Lipschitz certificate.

    Images may stay in float32, which double precision holds exactly; so attacks and records need
    not know. The model is turned to float64 in place.

    Args:
        model: whose logits are wanted.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.double()
        self.rejects = getattr(model, "rejects", False)

    def forward(self, images: Images) -> Outcomes:
        """Map images to float64 logits."""
        return self.model(images.double())
