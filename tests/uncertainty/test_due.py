"""DUE: the process against its closed form, its distance to the data, and its missing package."""

import importlib.util
import sys

import pytest
import torch

from surefoot.data import load
from surefoot.models import build
from surefoot.models import load as load_model
from surefoot.training import Training, fit, make_recipe
from surefoot.uncertainty import DUE
from surefoot.uncertainty.scores import mutual_information

needs_gp = pytest.mark.skipif(
    importlib.util.find_spec("gpytorch") is None, reason="gpytorch (extra gp) is not installed"
)
NET = {"name": "residual-mlp", "inputs": 2, "hidden": [32, 32], "classes": 16}


def make(count=400, **more):
    torch.manual_seed(0)
    return build("due", net=NET, classes=2, count=count, **more)


@pytest.fixture(scope="module")
def moons():
    return load("moons", "train").first(400)


@pytest.fixture(scope="module")
def run(moons, tmp_path_factory):
    model = make()
    model.place(moons.batch(slice(None))[0])
    training = Training(epochs=15, batch_size=50, learning_rate=1e-2)
    return fit(
        model, moons, make_recipe("standard"), tmp_path_factory.mktemp("due"), training=training
    )


@needs_gp
def test_it_learns_and_comes_back_equal(run, moons):
    model, (images, labels) = load_model(run), moons.batch(slice(None))
    assert (model(images).argmax(1) == labels).float().mean().item() > 0.85
    assert torch.equal(load_model(run)(images), model(images))
    assert isinstance(model, DUE)


@needs_gp
def test_the_variance_is_larger_far_from_the_data(run, moons):
    model = load_model(run)
    images, _ = moons.batch(slice(None))
    angle = torch.linspace(0, 2 * torch.pi, 50)
    far = 0.5 + 6 * torch.stack([angle.cos(), angle.sin()], 1)
    with torch.no_grad():
        near, beyond = model.latent_variance(images), model.latent_variance(far)
        assert near.median().item() < 0.4
        assert beyond.median().item() > 0.8
        assert beyond.min().item() > near.median().item()
        there, here = (mutual_information(model.members(at)) for at in (far, images))
    assert there.median().item() > here.median().item()


@needs_gp
def test_mean_variance_and_divergence_are_those_of_the_closed_form(run, moons):
    r"""Whitened: with L L^T = K_zz, A = L^-1 K_zx and q(v) = N(m, S S^T),

    mean = c + A^T m and variance = k(x, x) - |A|^2 + |S^T A|^2, column by column.
    """
    model = load_model(run).double()
    images = moons.batch(slice(0, 30))[0].double()
    posterior, kernel = model.posterior, model.prior.kernel
    with torch.no_grad():
        mean, variance = model.latent(images)
        points, features = posterior.inducing_points, model.net(model.scale * images)
        m = posterior._variational_distribution.variational_mean
        s = posterior._variational_distribution.chol_variational_covar.tril()
        length, size = kernel.base_kernel.lengthscale, kernel.outputscale.view(-1, 1, 1)

        def k(a, b):
            return size * torch.exp(-(torch.cdist(a, b) ** 2) / (2 * length**2))

        jitter = posterior.jitter_val * torch.eye(len(points), dtype=torch.float64)
        half = torch.linalg.solve_triangular(
            torch.linalg.cholesky(k(points, points) + jitter), k(points, features), upper=False
        )
        expected = model.prior.mean.constant + (half.mT @ m.unsqueeze(2)).squeeze(2).T
        spread = size[:, 0] - half.square().sum(1) + (s.mT @ half).square().sum(1)
        divergence = 0.5 * (s.square().sum((1, 2)) + m.square().sum(1) - len(points)) - s.diagonal(
            dim1=1, dim2=2
        ).abs().log().sum(1)
    assert torch.allclose(mean, expected.view_as(mean), atol=1e-4)
    assert torch.allclose(variance, spread.T, atol=1e-3)
    assert torch.allclose(posterior.kl_divergence(), divergence, rtol=1e-4)


@needs_gp
def test_the_outcomes_are_the_mean_over_the_process(run, moons):
    """The model's 32 draws against 20,000 others."""
    model, images = load_model(run), moons.batch(slice(0, 100))[0]
    with torch.no_grad():
        mean, variance = model.latent(images)
        noise = torch.randn(20_000, 1, 2, generator=torch.Generator().manual_seed(0))
        expected = (mean + noise * variance.sqrt()).softmax(2).mean(0)
        assert (model(images).exp() - expected).abs().max().item() < 0.06
        assert torch.allclose(model.noise.sum(0), torch.zeros(2), atol=1e-5)
        members = model.members(images)
        assert torch.allclose(members.softmax(2).mean(0), model(images).exp(), atol=1e-5)


@needs_gp
def test_all_layers_of_the_features_are_within_the_bound(run):
    layers = [
        layer for layer in load_model(run).net.modules() if isinstance(layer, torch.nn.Linear)
    ]
    assert len(layers) == 4
    for layer in layers:
        assert torch.linalg.svdvals(layer.weight)[0].item() <= 0.95 * (1 + 1e-5)


@needs_gp
def test_old_weights_leave_no_trace(run, moons):
    """gpytorch keeps factors between passes; here no answer may come from earlier weights."""
    images, model, fresh = moons.batch(slice(0, 10))[0], load_model(run), make().eval()
    with torch.inference_mode():
        before = fresh(images)
        fresh.load_state_dict(model.state_dict())
        assert torch.equal(fresh(images), model(images))
    assert not torch.equal(before, fresh(images))
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(fresh(leaf)[:, 0].sum(), leaf)
    step = 1e-3 * torch.eye(2)[0]
    with torch.no_grad():
        slope = (fresh.double()(images.double() + step) - fresh(images.double() - step))[:, 0]
    assert torch.allclose(gradient[:, 0].double(), slope / 2e-3, rtol=0.02, atol=1e-3)


@needs_gp
def test_it_trains_on_two_points_at_once_the_same_each_time(moons, tmp_path):
    def once(folder):
        model = make(count=60)
        model.place(moons.batch(slice(0, 60))[0])
        training = Training(epochs=2, batch_size=30, ema=0.9, learning_rate=1e-2)
        return fit(
            model,
            moons.first(60),
            make_recipe("trades", steps=2),
            tmp_path / folder,
            training=training,
        )

    files = [once(folder) / "model.safetensors" for folder in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


@needs_gp
def test_what_cannot_work_raises():
    with pytest.raises(ValueError, match="draws even"):
        make(draws=3)
    with pytest.raises(ValueError, match="as many images"):
        make().place(torch.rand(5, 2))
    with pytest.raises(ValueError, match="BatchNorm"):
        build("due", net={"name": "resnet20"}, classes=2, count=9)


def test_without_gpytorch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpytorch", None)
    with pytest.raises(ImportError, match=r"surefoot\[gp\]"):
        make()
