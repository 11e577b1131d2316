"""Certificates from Lipschitz constants that are measured, in float64, and rounded up.

Leino, Wang, Fredrikson 2021 (pairwise constants: the last layer exactly per pair). Norms come from
a singular value decomposition with an a-posteriori bound on its own error, never from a power
iteration, which bounds them from below. The claim is about the net in exact arithmetic; the
rounding of its float32 execution is not covered.
"""

import torch
from torch import Tensor, nn

from surefoot.certify.certificates import Certificates
from surefoot.guarantees import Guarantee, check_model
from surefoot.models.frozen import frozen
from surefoot.models.lipschitz import MinMax, Scale
from surefoot.models.normalize import Normalize
from surefoot.types import Images, Model, check_images, rejects

NON_EXPANSIVE = (nn.Flatten, nn.Identity, nn.Dropout, nn.ReLU, MinMax)
UNIT = torch.finfo(torch.float64).eps


def pairwise(model: Model) -> Tensor:
    r"""Bound the Lipschitz constants of all differences of logits, l2, in pixel units.

    $$ K_{ij} = \|w_i - w_j\|_2 \prod_l \|W_l\|_2 $$
    with W_l the layers before the last and w_i the rows of the last.

    Args:
        model: nested `nn.Sequential` of dense layers, MinMax, ReLU, `Normalize`, `Scale`.

    Returns:
        float64 upper bounds `[C, C]`, recomputed from the weights in each call.

    Raises:
        ValueError: for a layer without a known bound; it is named.
    """
    if rejects(model):
        raise ValueError(
            "a Lipschitz certificate of a selective classifier must know how it rejects; this"
            " rejection has no Lipschitz bound. Certify the vote instead (certify.smoothing)."
        )
    layers = _flatten(model)
    dense = [place for place, layer in enumerate(layers) if _is(layer, nn.Linear)]
    if not dense:
        raise ValueError("no dense layer found: a Lipschitz certificate needs a last layer")
    constant = torch.ones((), dtype=torch.float64)
    with torch.no_grad(), frozen(model):
        for place, layer in enumerate(layers):
            if place != dense[-1]:
                constant = constant * _slope(layer) * (1 + UNIT)
            if place > dense[-1] and not _is(layer, Scale, nn.Identity):
                raise ValueError(
                    f"{type(layer).__name__} after the last dense layer: logits must come from it"
                )
        last = layers[dense[-1]]
        assert isinstance(last, nn.Linear)
        rows = last.weight.double()
        gaps = torch.stack([(rows - row).square().sum(1).sqrt() for row in rows])
    # Rounding of a sum of n squares and a root: at most (n + 3) units of relative error.
    return (constant * gaps * (1 + (rows.shape[1] + 3) * UNIT)).cpu()


def spectral_norm_bound(matrix: Tensor) -> Tensor:
    r"""Bound the largest singular value from above, whatever the decomposition got wrong.

    $$ \|A\| \le \sigma_1 \sqrt{(1 + \|U^T U - I\|_F) (1 + \|V^T V - I\|_F)} + \|A - U S V^T\|_F $$
    plus a bound on the rounding of these products. Holds for any U, S, V: it only gets looser if
    they are bad.

    Reference: Rump 2011, "Verified bounds for singular values".
    """
    matrix = matrix.double()
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    identity = torch.eye(len(s), dtype=torch.float64, device=matrix.device)
    rounding = UNIT * (max(matrix.shape) + 2)
    skew_u = torch.linalg.matrix_norm(u.T @ u - identity) + rounding * len(s)
    skew_v = torch.linalg.matrix_norm(vh @ vh.T - identity) + rounding * len(s)
    left = torch.linalg.matrix_norm(matrix - (u * s) @ vh)
    left = left + 2 * rounding * torch.linalg.matrix_norm(matrix)
    return (s[0] * ((1 + skew_u) * (1 + skew_v)).sqrt() + left) * (1 + 4 * UNIT)


def certify(model: Model, images: Images, *, guarantee: Guarantee) -> Certificates:
    """Certify the largest l2 radius of each alternative from pairwise Lipschitz constants.

    Args:
        model: a net that `pairwise` knows.
        images: inside the box.
        guarantee: what must not change.

    Returns:
        certificates; `details` holds the constants.
    """
    check_images(images)
    check_model(guarantee, model)
    constants = pairwise(model)
    with torch.inference_mode(), frozen(model):
        outcomes = torch.cat([model(part) for part in images.split(1000)])
    sets = guarantee.sets(outcomes)
    radii = guarantee.lipschitz_radii(outcomes, sets, constants.to(outcomes.device))
    samples = torch.zeros(len(images), dtype=torch.long)
    details = {"method": "lipschitz", "norms": "SVD, float64, rounded up", "pairwise": constants}
    return Certificates(radii, sets, samples, details)


def _flatten(model: Model) -> list[nn.Module]:
    if not isinstance(model, nn.Module):
        raise ValueError("a Lipschitz certificate needs an nn.Module whose layers can be read")
    if _is(model, nn.Sequential):
        return [layer for part in model.children() for layer in _flatten(part)]
    return [model]


def _is(layer: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Say whether a layer computes exactly what one of these kinds computes.

    A subclass with its own `forward` and a hook may compute anything; a parametrised layer (whose
    class is made by torch) still computes what its kind does.
    """
    hooks = (
        layer._forward_hooks,
        layer._forward_pre_hooks,
        nn.modules.module._global_forward_hooks,
        nn.modules.module._global_forward_pre_hooks,
    )
    same = any(isinstance(layer, k) and type(layer).forward is k.forward for k in kinds)
    return same and "forward" not in vars(layer) and not any(hooks)


def _slope(layer: nn.Module) -> Tensor:
    if _is(layer, nn.Linear):
        assert isinstance(layer, nn.Linear)
        return spectral_norm_bound(layer.weight)
    if _is(layer, Normalize):
        assert isinstance(layer, Normalize)
        return (1 / layer.deviation.double().min()) * (1 + UNIT)
    if _is(layer, Scale):
        assert isinstance(layer, Scale)
        return torch.tensor(abs(layer.factor), dtype=torch.float64)
    if _is(layer, *NON_EXPANSIVE):
        return torch.ones((), dtype=torch.float64)
    raise ValueError(
        f"no Lipschitz bound is known for the layer {type(layer).__name__}; known: Sequential,"
        " Linear, MinMax, ReLU, Scale, Normalize, Flatten, Identity, Dropout (eval), without"
        " hooks or a forward of their own."
    )
