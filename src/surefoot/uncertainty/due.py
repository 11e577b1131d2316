"""DUE: a Gaussian process on the features of a net whose layers have bounded Lipschitz constant.

Van Amersfoort, Smith, Jesson, Key, Gal 2021, "On feature collapse and deep kernel learning for
single forward pass uncertainty". The process is that of `gpytorch` (extra `gp`), imported when a
model is made.
"""

import importlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from surefoot.models.frozen import frozen
from surefoot.models.spectral import bound_layers
from surefoot.types import Images, Labels, Members, Outcomes, PerExample
from surefoot.uncertainty.members import log_mean, mean_log

LEAST_VARIANCE = 1e-6
"""Of a latent value: below, its root would have no Lipschitz constant."""


class DUE(nn.Module):
    r"""Return the log of the mean probability over a process, $\log E \, \mathrm{softmax} f$.

    Each class has a process f_c on the features of a net, with inducing points that all share
    (Hensman et al. 2015) and a squared-exponential kernel. The mean is over S draws of f, whose
    standard normal numbers (in pairs of opposite sign) are part of the model: it is a plain
    function of the image, with gradients. The draws are its `members`.

    `fit` trains it by `criterion`, the negative evidence lower bound for each example,
    $$ -\tfrac{1}{S} \sum_s \log p_s(y) + \mathrm{KL} / N, $$
    on fresh draws. Call `place` before, once.

    Args:
        net: computes the features `[B, F]`: any net of dense layers and convolutions, whose
            "classes" are then features. Its layers are bounded here, in place.
        classes: logits.
        count: N, the number of training images.
        inducing: number of inducing points.
        bound: largest Lipschitz constant of each layer, l2; for convolutions an upper bound of it
            is held there. Below 1 for residual nets.
        draws: S, even.

    Raises:
        ImportError: the extra `gp` is not installed.
        ValueError: a layer without a bound, or a number out of range.
    """

    noise: Tensor
    scale: Tensor

    def __init__(
        self,
        net: nn.Module,
        classes: int,
        count: int,
        inducing: int = 20,
        bound: float = 0.95,
        draws: int = 32,
    ) -> None:
        super().__init__()
        if min(classes, count, inducing, draws) < 1 or draws % 2:
            raise ValueError(
                "need classes, count, inducing and draws above 0, and draws even; found"
                f" {classes}, {count}, {inducing}, {draws}"
            )
        own = {"classes": classes, "count": count, "inducing": inducing}
        own |= {"bound": bound, "draws": draws}
        inner = getattr(net, "config", None)
        self.config = {"name": "due", "net": inner, **own} if inner else None
        bound_layers(net, bound)
        self.net, self.classes, self.count = net, classes, count
        self.prior = Prior(classes)
        self.posterior = _posterior(self.prior, classes, inducing, _width(net))
        self.register_buffer("scale", torch.ones(()))
        half = torch.randn(draws // 2, classes)
        self.register_buffer("noise", torch.cat([half, -half]))

    def train(self, mode: bool = True) -> "DUE":
        """Switch the net; the posterior stays in train mode.

        gpytorch keeps factors of old weights in eval mode, and returns the same outputs in both.
        """
        super().train(mode)
        self.posterior.train()
        return self

    def forward(self, images: Images) -> Outcomes:
        """Combine the draws: log of the mean in eval mode, mean of the logs in train mode."""
        members = self.members(images)
        return mean_log(members) if self.training else log_mean(members)

    def members(self, images: Images) -> Members:
        """Return draws of f: by the model's own numbers in eval mode, else by fresh ones."""
        mean, variance = self.latent(images)
        noise = self.noise.unsqueeze(1)
        if self.training:
            half = torch.randn(len(noise) // 2, *mean.shape, device=mean.device)
            noise = torch.cat([half, -half])
        return mean + noise * variance.sqrt()

    def latent(self, images: Images) -> tuple[Outcomes, Outcomes]:
        """Return mean and variance of the latent value of each class, `[B, C]` both."""
        found = self.posterior(self.net(self.scale * images))
        variance = found.lazy_covariance_matrix.diagonal(dim1=-1, dim2=-2)
        return found.mean.T, variance.T.clamp(min=LEAST_VARIANCE)

    def latent_variance(self, images: Images) -> PerExample:
        """Return the fraction of the prior variance that is left: near 1 far from the data, less at
        it.

        The mean over classes; above 1 where the posterior is wider than the prior.
        """
        _, variance = self.latent(images)
        return (variance / self.prior.kernel.outputscale).mean(1)

    def criterion(self, outcomes: Outcomes, labels: Labels) -> PerExample:
        """Return the negative lower bound of each example, from outcomes in train mode."""
        divergence = self.posterior.kl_divergence().sum() / self.count
        return nll_loss(outcomes, labels, reduction="none") + divergence

    def place(self, images: Images) -> None:
        """Put the inducing points where the features of these images cluster, and set the scales.

        Images are scaled so that features lie about 1 apart: then no step of the optimiser carries
        them all out of sight of the points. The length scale starts as their mean distance.

        Args:
            images: at least as many as there are inducing points; a thousand are enough.
        """
        from sklearn.cluster import KMeans

        points: Tensor = self.posterior.inducing_points
        if len(images) < len(points):
            raise ValueError(f"{len(points)} inducing points need as many images: {len(images)}")
        with torch.no_grad(), frozen(self):
            images = images.to(points.device)
            self.scale.copy_(1 / torch.pdist(self.net(images)).mean())
            features = self.net(self.scale * images).cpu().double()
            clusters = KMeans(len(points), n_init="auto", random_state=0).fit(features)
            points.copy_(torch.from_numpy(clusters.cluster_centers_))
            self.prior.kernel.base_kernel.lengthscale = torch.pdist(features).mean().float()


class Prior(nn.Module):
    """The process before data: a constant mean and a squared-exponential kernel for each class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        gp, batch = _gpytorch(), torch.Size([classes])
        self.mean: Any = gp.means.ConstantMean(batch_shape=batch)
        rbf = gp.kernels.RBFKernel(batch_shape=batch)
        self.kernel: Any = gp.kernels.ScaleKernel(rbf, batch_shape=batch)

    def forward(self, features: Tensor) -> Any:
        """Return the joint distribution at some features `[..., B, F]`."""
        normal = _gpytorch().distributions.MultivariateNormal
        return normal(self.mean(features), self.kernel(features))


def _posterior(prior: Prior, classes: int, inducing: int, features: int) -> Any:
    variational = _gpytorch().variational
    given = variational.CholeskyVariationalDistribution(inducing, torch.Size([classes]))
    points = torch.randn(inducing, features)
    posterior = variational.VariationalStrategy(prior, points, given)
    # It starts as the prior; gpytorch would shake it in the first pass, wherever that happens.
    posterior.variational_params_initialized.fill_(1)
    return posterior


def _width(net: nn.Module) -> int:
    """Return the number of features: outputs of the last dense layer."""
    dense = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    if not dense:
        raise ValueError("the features must come from a dense layer; the net has none")
    return dense[-1].out_features


def _gpytorch() -> Any:
    try:
        with warnings.catch_warnings():  # it compiles with torch.jit, which warns on import
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module("gpytorch")
    except ImportError as error:
        raise ImportError(
            "DUE needs the package `gpytorch`. Install it with: pip install 'surefoot[gp]'"
        ) from error
