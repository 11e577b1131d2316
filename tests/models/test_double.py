"""Double precision inside, images of any precision outside: attacks and certificates agree."""

import pytest
import torch

from surefoot import Local, RelaxedTopK, Threat, build
from surefoot.attacks import autoattack, break_guarantee, pgd
from surefoot.certify.lipschitz import certify, gloro
from surefoot.models import Double


def net():
    torch.manual_seed(0)
    return Double(build("lipschitz-mlp", inputs=16, hidden=(16,), classes=4))


def test_logits_are_those_of_the_net_in_double_precision():
    model, images = net(), torch.rand(3, 1, 4, 4)
    assert model(images).dtype == torch.float64
    assert torch.equal(model(images), model.model(images.double()))
    assert model(images).grad_fn is not None


@pytest.mark.parametrize("guarantee", [Local(), RelaxedTopK(2)], ids=repr)
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_float32_images_are_attacked_and_not_inside_the_certificate(guarantee, norm, generator):
    model, images = net(), torch.rand(20, 1, 4, 4, generator=generator)
    radius = certify(model, images, guarantee=guarantee).radius
    eps = radius.median().item() if norm == "l2" else radius.median().item() / 4
    attacked = break_guarantee(
        model, images, guarantee=guarantee, threat=Threat(norm, eps), steps=20
    )
    assert attacked.images.dtype == torch.float32
    assert not bool(attacked.success[radius > radius.median()].any())
    far = break_guarantee(model, images, guarantee=guarantee, threat=Threat(norm, 1.0), steps=20)
    assert bool(far.success.any())


def test_autoattack_and_pgd_run_on_it(generator):
    model, images = net(), torch.rand(6, 1, 4, 4, generator=generator)
    labels = model(images).argmax(1)
    threat = Threat("linf", 0.2)
    moved = pgd(model, images, labels, threat=threat, steps=5, step_size=0.1)
    assert moved.dtype == torch.float32
    assert bool(autoattack(model, images, labels, threat=threat, version="standard").success.any())


def test_rejection_goes_around_it():
    model, images = gloro(net(), 0.05), torch.rand(5, 1, 4, 4)
    assert model(images).shape == (5, 5)
    assert bool((certify(model, images, guarantee=Local()).radius >= 0).all())
