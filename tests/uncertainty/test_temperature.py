"""Temperature scaling: closed form, a known factor, never worse, saved and reopened."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from surefoot.models import build, load, save
from surefoot.uncertainty import Ensemble, Selective, Tempered, fit_temperature
from surefoot.uncertainty.temperature import loss_at


def test_two_classes_in_closed_form():
    """Logits (a, 0) and label 0 in 9 of 10: the best temperature is a / log 9."""
    for lead in (0.1, 3.0, 50.0):
        logits = torch.tensor([[lead, 0.0]]).repeat(10, 1)
        labels = torch.tensor([0] * 9 + [1])
        assert fit_temperature(logits, labels) == pytest.approx(lead / math.log(9), rel=1e-5)


def calibrated(generator, count=4000):
    logits = 2 * torch.randn(count, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return logits, labels


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_a_factor_on_calibrated_logits_is_found(factor, generator):
    logits, labels = calibrated(generator)
    found = fit_temperature(factor * logits, labels)
    assert found == pytest.approx(factor, rel=0.06)
    free = minimize_scalar(
        lambda log: loss_at(factor * logits, labels, math.exp(log)),
        bounds=(-4, 4),
        method="bounded",
    )
    assert found == pytest.approx(math.exp(free.x), rel=1e-3)


def test_the_loss_is_never_higher_than_before(generator):
    for _ in range(30):
        logits = 10 * torch.rand(1, generator=generator) * torch.randn(20, 3, generator=generator)
        labels = torch.randint(0, 3, (20,), generator=generator)
        found = fit_temperature(logits, labels)
        assert loss_at(logits, labels, found) <= loss_at(logits, labels, 1.0)


def test_the_ends_of_the_range():
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == pytest.approx(0.01)
    assert fit_temperature(logits, torch.tensor([1, 0])) == pytest.approx(100)
    flat = torch.zeros(2, 2)
    assert fit_temperature(flat, torch.tensor([0, 1])) == 1.0
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(flat / 0, torch.tensor([0, 1]))


def test_labels_stay_and_confidence_moves(generator):
    torch.manual_seed(0)
    net, images = build("mlp", inputs=4), torch.rand(10, 4, generator=generator)
    cool = Tempered(net, 0.5).eval()
    assert torch.equal(cool(images).argmax(1), net.eval()(images).argmax(1))
    assert bool((cool(images).softmax(1).amax(1) > net(images).softmax(1).amax(1)).all())
    outcomes = Selective(cool, "entropy", 0.5)(images)
    assert torch.equal(outcomes[:, :-1], cool(images))


def test_it_is_saved_and_reopened_with_its_net(tmp_path, generator):
    images = torch.rand(3, 4, generator=generator)
    nets = [build("mlp", inputs=4, hidden=(8,)), Ensemble([build("mlp", inputs=4)])]
    for number, net in enumerate(nets):
        model = Tempered(net, 1.7).eval()
        save(model, tmp_path / str(number))
        again = load(tmp_path / str(number))
        assert isinstance(again, Tempered)
        assert torch.equal(again(images), model(images))


def test_what_cannot_be_tempered_raises():
    net = torch.nn.Identity()
    with pytest.raises(ValueError, match="net inside"):
        Tempered(Selective(net, "entropy", 0.5), 2.0)
    for temperature in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="above 0"):
            Tempered(net, temperature)
