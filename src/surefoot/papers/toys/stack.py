"""Train many small nets side by side: one pass of matrix products for all of them.

A row says which net it belongs to by one coordinate more, its address. So perturbations and losses
of every recipe work on all nets at once, also where finished examples leave the batch, and none of
them knows. The address gets no gradient, so steps along gradients leave it alone. Not here: how
recipes perturb (`attacks.perturbation`); resuming, judging (`training.loop`).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from surefoot.attacks.latent import evaluate
from surefoot.data.toys import UNIT
from surefoot.streams import generator
from surefoot.training import Recipe, Training
from surefoot.training.outputs import Outputs, criterion_of
from surefoot.training.surroundings import BallRegion
from surefoot.types import Labels, Model


class Stack(nn.Module):
    r"""Nets of one shape, linear and ReLU in turn, behind one map of the box to [-1/(2u), 1/(2u)].

    Args:
        widths: of all layers, from the inputs to the classes.
        seeds: of the weights, drawn as `nn.Linear` does; one net a seed.
        unit: u, length in the box of one unit of the nets' inputs.
    """

    def __init__(self, widths: Sequence[int], seeds: Sequence[int], unit: float = UNIT) -> None:
        super().__init__()
        self.nets, self.unit = len(seeds), unit
        streams = [generator(seed) for seed in seeds]
        weights, biases = [], []
        for inputs, outputs in pairwise(widths):
            drawn = [torch.rand(inputs + 1, outputs, generator=stream) for stream in streams]
            both = (2 * torch.stack(drawn) - 1) / math.sqrt(inputs)
            weights.append(nn.Parameter(both[:, :-1].contiguous()))
            biases.append(nn.Parameter(both[:, -1:].contiguous()))
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)

    def address(self, images: Float[Tensor, "S B D"]) -> Float[Tensor, "R E"]:
        """Return the rows for `forward`: each net's images, with the address of the net behind."""
        nets = torch.arange(self.nets, device=images.device, dtype=images.dtype)
        addresses = ((nets + 0.5) / self.nets).view(-1, 1, 1).expand(-1, images.shape[1], 1)
        return torch.cat([images, addresses], 2).flatten(0, 1)

    def forward(self, rows: Float[Tensor, "R E"]) -> Float[Tensor, "R C"]:
        """Return the outcomes of each row from the net it is addressed to."""
        own, images = self._addressed(rows[:, -1].detach()), rows[:, :-1]
        every = torch.arange(self.nets, device=rows.device).repeat_interleave(
            len(rows) // self.nets
        )
        if torch.equal(own, every):  # nobody has left the batch: no row needs to be moved
            return self.evaluate(images.unflatten(0, (self.nets, -1))).flatten(0, 1)
        owners = one_hot(own, self.nets)
        place = (owners.cumsum(0) - 1).gather(1, own.unsqueeze(1)).squeeze(1)
        longest = int(owners.sum(0).amax())
        padded = rows.new_zeros(self.nets, longest, images.shape[1])
        padded = padded.index_put((own, place), images)
        return self.evaluate(padded)[own, place]

    def evaluate(
        self, images: Float[Tensor, "S B D"], nets: slice = slice(None)
    ) -> Float[Tensor, "S B C"]:
        """Return the outcomes of each net (of a choice) on its images."""
        here = (images - 0.5) / self.unit
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            here = torch.baddbmm(bias[nets], here.relu() if index else here, weight[nets])
        return here

    def net(self, index: int) -> Model:
        """Return one net alone, a model of images `[B, D]` on the weights of the stack."""
        own = slice(index, index + 1)
        return lambda images: self.evaluate(images.unsqueeze(0), own)[0]

    def _addressed(self, addresses: Tensor) -> Labels:
        own = (addresses * self.nets).floor()
        if bool(((addresses * self.nets - own - 0.5).abs() > 0.25).any()):
            raise ValueError(
                "a perturbation moved the address of its net: starts that are uniform in the ball"
                " cannot be used in a stack. Give start='origin'."
            )
        return own.long()


def fit_together(
    stack: Stack,
    images: Float[Tensor, "S N D"],
    labels: Int[Tensor, "S N"],
    recipe: Recipe,
    *,
    updates: int,
    training: Training,
    watch: Callable[[], None] | None = None,
) -> Stack:
    """Train all nets of a stack, each on images of its own, with Adam and a cosine to 0.

    The nets do not touch: the loss is the sum of their mean losses, and Adam acts on each weight
    alone. Recipes that start at random in the ball are an error (see `Stack`).

    Args:
        stack: trained in place.
        images: of each net.
        labels: of each net.
        recipe: where to train, and which loss to take.
        updates: steps of the optimiser.
        training: its `batch_size` (images a net and step, drawn afresh each time), `learning_rate`
            (the peak) and `seed` (of order and perturbations).
        watch: called after every update.

    Returns:
        the stack.
    """
    optimizer = torch.optim.Adam(stack.parameters(), lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    stream = generator(training.seed)
    for _ in range(updates):
        chosen = torch.randperm(images.shape[1], generator=stream)[: training.batch_size]
        rows, truth = stack.address(images[:, chosen]), labels[:, chosen].flatten()
        point = recipe.perturb(stack, rows, truth, stream)
        if isinstance(point, BallRegion):
            raise ValueError(f"a stack of nets is trained at points; {recipe.name} bounds regions")
        at_point = partial(evaluate, stack, stack)
        outputs = Outputs(at_point, rows, point, truth, criterion_of(stack, 0.0))
        optimizer.zero_grad()
        recipe.loss(outputs).mean().mul(stack.nets).backward()
        optimizer.step()
        schedule.step()
        if watch is not None:
            watch()
    return stack
