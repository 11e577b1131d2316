"""Norms of matrices, proven: a guess from eigenvalues, a proof by Cholesky decomposition.

A power iteration bounds a norm from below, and so does an eigenvalue solver that went wrong. The
Cholesky decomposition of `t I - A^H A` exists only where the squared norm is below t, up to a
rounding error with a known bound (Rump 2006, "Verification of positive definiteness"): whoever
guessed t, if the decomposition runs to its end, t plus that error is proven.
"""

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any

import scipy.sparse.linalg
import torch
from torch import Tensor

UNIT = torch.finfo(torch.float64).eps
TOP = 8
"""So many of a batch of matrices are solved for eigenvalues in one round of guessing."""
DENSE = 1024
"""Above this size one extreme eigenvalue by Lanczos is cheaper than all of them."""
_REMEMBERED: dict[tuple[object, ...], Tensor] = {}


def remembered(bound: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keep bounds by the bytes of the weight and all arguments: changed weights are measured anew.

    Nothing else is trusted, neither identity nor version counters, which `weight.data` escapes.
    """

    @wraps(bound)
    def ask(weight: Tensor, *arguments: Any, **more: Any) -> Tensor:
        raw = weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        digest = hashlib.blake2b(raw.tobytes(), digest_size=16).digest()
        kind = (bound.__name__, str(weight.dtype), tuple(weight.shape))
        key = (*kind, digest, arguments, tuple(sorted(more.items())))
        if key not in _REMEMBERED:
            if len(_REMEMBERED) > 4096:
                _REMEMBERED.clear()
            _REMEMBERED[key] = bound(weight.detach(), *arguments, **more).cpu()
        return _REMEMBERED[key].clone()  # whoever changes it in place changes a copy

    return ask


@remembered
def spectral_norm_bound(matrices: Tensor) -> Tensor:
    r"""Bound the largest singular value over a batch of matrices from above.

    $$ \max_f \|A_f\| \le \sqrt{t + c}, \qquad
       c = 8 u n (n + 2) t + 8 u (k + 4) \max_f \|A_f\|_F^2 $$
    if the Cholesky decompositions of all `t I - A_f^H A_f` run to their end; n is the shorter side,
    k the longer, u the unit of float64. c bounds the rounding of the decomposition and of the
    products. t is the largest eigenvalue that a solver finds, raised by 1e-10; matrices whose proof
    fails are solved in turn.

    Args:
        matrices: `[..., m, n]`, real or complex.

    Returns:
        float64 scalar; 0 for matrices of zeros.

    Raises:
        ValueError: a value is not finite.

    Reference: Rump 2006.
    """
    wide = torch.complex128 if matrices.is_complex() else torch.float64
    matrices = matrices.to(wide).reshape(-1, *matrices.shape[-2:])
    if not bool(matrices.isfinite().all()):
        raise ValueError("weights must be finite; found NaN or infinity: the training diverged")
    if matrices.shape[-2] < matrices.shape[-1]:
        matrices = matrices.mH.resolve_conj()
    largest = matrices.abs().amax()
    if largest == 0:
        return torch.zeros((), dtype=torch.float64)
    # Exact powers of two: entries near 1 neither overflow nor vanish when squared.
    scale = 2.0 ** torch.floor(torch.log2(largest)).item()
    matrices = matrices / scale
    frobenius = torch.linalg.matrix_norm(matrices).amax().square() * (1 + 1e-9)
    grams = matrices.mH @ matrices
    longer, shorter = matrices.shape[-2:]
    guess = _proven(grams)
    error = 8 * UNIT * shorter * (shorter + 2) * guess
    error = error + 8 * UNIT * (longer + 4) * frobenius.cpu()
    return (guess + error).sqrt() * (1 + 4 * UNIT) * scale


def _proven(grams: Tensor) -> Tensor:
    """Find a value above all eigenvalues of all matrices, as far as Cholesky can see."""
    left = grams
    guess = torch.zeros((), dtype=torch.float64)
    while len(left):
        # The fourth moment of the eigenvalues is cheap, and tells which matrices are heavy.
        heavy = torch.linalg.matrix_norm(left @ left if len(left) > TOP else left)
        guess = torch.maximum(guess, _largest(left[heavy.topk(min(TOP, len(left))).indices]))
        guess = guess * (1 + 1e-10) + 1e-290
        identity = torch.eye(left.shape[-1], dtype=left.dtype, device=left.device)
        failed = torch.linalg.cholesky_ex(guess.to(left.device) * identity - left).info
        left = left[failed != 0]
    return guess


def _largest(grams: Tensor) -> Tensor:
    """Guess the largest eigenvalue of a few Hermitian matrices."""
    if grams.shape[-1] <= DENSE:
        return torch.linalg.eigvalsh(grams)[:, -1].amax().cpu()
    found = [
        scipy.sparse.linalg.eigsh(gram.cpu().numpy(), k=1, return_eigenvectors=False)[0]
        for gram in grams
    ]
    return torch.tensor(max(found), dtype=torch.float64)


def schur_bound(weight: Tensor) -> float:
    r"""Bound the norm of the absolute values of a dense or convolution weight, `[out, in, ...]`.

    $$ \| |W| \| \le \sqrt{\max_o \sum_{i,t} |w_{oit}| \; \max_i \sum_{o,t} |w_{oit}|} $$
    Holds for any stride and image size: the sums bound rows and columns of the operator.

    Reference: Schur's test.
    """
    size = weight.detach().double().abs()
    rows, columns = size.flatten(1).sum(1).amax(), size.transpose(0, 1).flatten(1).sum(1).amax()
    return (rows.sqrt() * columns.sqrt()).item() * (1 + 1e-9)
