r"""Constraints on weights, as torch parametrizations: the layer stays a plain one.

`layer.weight` is recomputed from its free parameters at each look, so whoever measures it (a
certificate, or an estimate in training) sees the weights that the layer applies now.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.utils.parametrize import register_parametrization


class UnitRows(nn.Module):
    r"""Divide each row by its norm: $w_c / \|w_c\|$, so no class gets ahead by its length alone.

    The last layer of a certified net: every logit has Lipschitz constant 1 in the features (Singla,
    Singla, Feizi 2022; Hu et al. 2023).
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight `[out, in]` with unit rows."""
        return weight / weight.norm(dim=1, keepdim=True)


class AddIdentity(nn.Module):
    r"""Merge a residual branch into its convolution: $I + s \, g_o W$, one kernel, one norm.

    A bound of the sum $\|I + sW\|$ is never above $1 + s \|W\|$, and far below it once training has
    turned W against the identity: this is why the merged kernel is measured and not its parts.

    Args:
        planes: channels, in and out.
        scale: s, fixed.

    Reference: Hu et al. 2023 (LiResNet).
    """

    def __init__(self, planes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.gain = nn.Parameter(torch.ones(planes, 1, 1, 1))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the merged kernel `[planes, planes, k, k]`, k odd."""
        identity = torch.zeros_like(weight)
        index = torch.arange(len(weight), device=weight.device)
        identity[index, index, weight.shape[2] // 2, weight.shape[3] // 2] = 1
        return identity + self.scale * self.gain * weight


class AOL(nn.Module):
    r"""Rescale the input channels of a kernel, so that the convolution has norm at most 1.

    $$ W_{\cdot i} \, d_i^{-1/2}, \qquad d_i = \sum_j \sum_{p} |(W^T W)_{ij}(p)| $$
    with $W^T W$ the kernel of the convolution with itself and p its offsets. Why: the rescaled
    Gram matrix is dominated by the identity (Gershgorin). Holds for padding by zeros of any width
    and for any stride (a part of the outputs has no larger norm), groups 1, dilation 1.

    Reference: Prach, Lampert 2022.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Return the rescaled kernel `[out, in, k, k]`."""
        reach = (weight.shape[2] - 1, weight.shape[3] - 1)
        across = weight.transpose(0, 1)
        gram = conv2d(across, across, padding=reach)
        total = gram.abs().sum((1, 2, 3))
        # A channel without weights stays without: 0 times a large number.
        return weight * total.clamp(min=1e-12).rsqrt().view(1, -1, 1, 1)


class Cayley(nn.Module):
    r"""Turn a free matrix, or a kernel of 1 x 1 pixel, into one with orthonormal rows or columns.

    $$ A = U - U^T + V^T V, \quad Q = \begin{pmatrix} (I + A)^{-1} (I - A) \\
       -2 V (I + A)^{-1} \end{pmatrix}, \quad Q^T Q = I $$
    with U the square part of the tall matrix and V the rest; a wide one is transposed. Q is an
    isometry (tall or square) or a projection (wide); I + A can always be inverted. Its size is the
    smaller side: for 64 x 256 eight times faster than torch's `orthogonal`, which inverts the
    larger.

    Reference: Trockman, Kolter 2021.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Return the matrix `[out, in]` or the kernel `[out, in, 1, 1]`."""
        free = weight.flatten(1)
        wide = free.shape[0] < free.shape[1]
        tall = free.T if wide else free
        square, rest = tall.tensor_split([tall.shape[1]])
        identity = torch.eye(tall.shape[1], dtype=weight.dtype, device=weight.device)
        skew = square - square.T + rest.T @ rest
        inverse = torch.linalg.inv(identity + skew)
        found = torch.cat([inverse @ (identity - skew), -2 * rest @ inverse])
        return (found.T if wide else found).reshape(weight.shape)


def orthogonal_dense(before: int, after: int) -> nn.Module:
    """Make a dense layer with orthonormal rows or columns: norm 1, up to rounding."""
    return register_parametrization(nn.Linear(before, after), "weight", Cayley())


def unit_dense(before: int, after: int) -> nn.Module:
    """Make a dense layer with rows of norm 1, for the end of a net."""
    return register_parametrization(nn.Linear(before, after), "weight", UnitRows())


def free_dense(before: int, after: int) -> nn.Module:
    """Make a dense layer that starts orthogonal and is free afterwards."""
    return start_orthogonal(nn.Linear(before, after))


def start_orthogonal(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """Make the weights orthogonal (as the matrix out x rest) and the biases 0, in place."""
    nn.init.orthogonal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
