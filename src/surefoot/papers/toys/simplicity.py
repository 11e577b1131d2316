"""Simplicity bias: how much of a classifier's skill hangs on one block of coordinates.

Shah et al. 2020. A block whose randomisation brings the AUC down to 1/2 is all the classifier looks
at; one that leaves it at 1 is not looked at.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from surefoot.models import frozen
from surefoot.streams import generator
from surefoot.types import Images, Labels, Model, checked_labels

BATCH = 1024


def randomised_aucs(
    model: Model,
    images: Images,
    labels: Labels,
    blocks: Mapping[str, Bool[Tensor, "..."]],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Measure the AUC of two classes as it is, and with each block taken from other images.

    The coordinates of a block come together from one image each, drawn as a permutation: they keep
    their distribution and lose their label.

    Args:
        model: two outcomes; f_1 - f_0 is the score.
        images: evaluated.
        labels: 0 or 1, both present.
        blocks: name -> which pixels of an image belong to the block.
        seed: of the permutations.

    Returns:
        "none" -> the AUC of the images as they are, and one entry a block.
    """
    labels = checked_labels(labels, images, 2)
    found = {"none": _auc(model, images, labels)}
    for number, (name, block) in enumerate(blocks.items()):
        if block.shape != images.shape[1:]:
            raise ValueError(
                f"the block {name!r} must be of the shape of an image, {tuple(images.shape[1:])};"
                f" found {tuple(block.shape)}"
            )
        order = torch.randperm(len(images), generator=generator(seed, number)).to(images.device)
        found[name] = _auc(model, torch.where(block, images[order], images), labels)
    return found


def _auc(model: Model, images: Images, labels: Labels) -> float:
    from sklearn.metrics import roc_auc_score

    with frozen(model), torch.no_grad():
        outcomes = torch.cat([model(part) for part in images.split(BATCH)])
    margin = outcomes[:, 1] - outcomes[:, 0]
    return float(roc_auc_score(labels.cpu().numpy(), margin.cpu().numpy()))
