"""Every attack checks labels, images and eps the same way, whatever the caller hands in."""

import math

import pytest
import torch
from oracles import random_linear
from torch import nn

from surefoot.attacks import (
    apgd,
    autoattack,
    break_guarantee,
    ddn,
    fab,
    fgsm,
    fmn,
    lower_score,
    pgd,
    raise_score,
    square,
    udp,
    union,
)
from surefoot.guarantees import Local, check_guarantee
from surefoot.threat import WIDEST, Threat
from surefoot.uncertainty import fit_temperature
from surefoot.uncertainty.scores import SCORES

THREAT = Threat("linf", 0.1)
MODEL = random_linear(3, 6).float()


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 6, generator=torch.Generator().manual_seed(3)) * 0.8 + 0.1


WITH_LABELS = {
    "fgsm": lambda x, y, t: fgsm(MODEL, x, y, threat=t),
    "pgd": lambda x, y, t: pgd(MODEL, x, y, threat=t, steps=2, step_size=0.05),
    "apgd": lambda x, y, t: apgd(MODEL, x, y, threat=t, steps=2),
    "fab": lambda x, y, t: fab(MODEL, x, y, threat=t, steps=2),
    "square": lambda x, y, t: square(MODEL, x, y, threat=t, queries=3),
    "union": lambda x, y, t: union(MODEL, x, y, threat=t, attacks={}).images,
    "autoattack": lambda x, y, t: autoattack(MODEL, x, y, threat=t, version="fast").images,
    "break_guarantee": lambda x, y, t: (
        break_guarantee(MODEL, x, guarantee=Local(), labels=y, threat=t, steps=2).images
    ),
    "ddn": lambda x, y, t: ddn(MODEL, x, y, steps=2),
    "fmn": lambda x, y, t: fmn(MODEL, x, y, steps=2),
}
WITHOUT_LABELS = {
    "udp": lambda x, y, t: udp(MODEL, x, threat=t, steps=2, step_size=0.05),
    "raise_score": lambda x, y, t: raise_score(MODEL, x, threat=t, steps=2),
    "lower_score": lambda x, y, t: lower_score(MODEL, x, threat=t, steps=2),
}
ALL = WITH_LABELS | WITHOUT_LABELS
INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)


@pytest.mark.parametrize("name", WITH_LABELS)
def test_labels_of_any_integer_type_and_shape_n_1_are_the_same_labels(name):
    labels = MODEL(images()).argmax(1)
    wanted = WITH_LABELS[name](images(), labels, THREAT)
    for kind in INTEGERS:
        assert torch.equal(WITH_LABELS[name](images(), labels.to(kind), THREAT), wanted)
    assert torch.equal(WITH_LABELS[name](images(), labels.int().unsqueeze(1), THREAT), wanted)


@pytest.mark.parametrize("name", WITH_LABELS)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0.0, 1, 2, 0]), r"torch.float32. Whole numbers convert with labels.long"),
        (torch.tensor([True, False, True, False]), "torch.bool"),
        (nn.functional.one_hot(torch.tensor([0, 1, 2, 0]), 3), r"one-hot rows\? .*argmax\(1\)"),
        (nn.functional.one_hot(torch.tensor([0, 1, 2, 0]), 3).float(), "one-hot rows"),
        (torch.tensor([0, 1, -100, 0]), r"found -100.*drop these rows"),
        (torch.tensor([0, 1, 2]), "as many labels as images"),
        (torch.tensor([0, 1, 2, 3]), "found 3, but the outcomes have 3 classes"),
    ],
)
def test_what_is_no_label_is_named(name, labels, message):
    with pytest.raises(ValueError, match=message):
        WITH_LABELS[name](images(), labels, THREAT)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_results_do_not_hang_on_the_callers_graph(name, norm):
    labels = MODEL(images()).argmax(1)
    found = ALL[name](images().requires_grad_(), labels, Threat(norm, 0.1))
    assert not found.requires_grad
    assert found.grad_fn is None


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("ddn", "fmn")])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-3])
def test_what_is_returned_is_legal_however_small_eps(name, norm, eps):
    threat, labels = Threat(norm, eps), MODEL(images()).argmax(1)
    if 0 < eps < 1e-3:
        with pytest.warns(UserWarning, match="rounding in torch.float32 takes"):
            found = ALL[name](images(), labels, threat)
    else:
        found = ALL[name](images(), labels, threat)
    assert threat.inside(found, images()).all()


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("ddn", "fmn")])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [25.5, 1e30, 1e300])
@pytest.mark.filterwarnings("ignore:.*is wider than the box.*:UserWarning")
def test_a_ball_beyond_the_box_is_the_box(name, norm, eps):
    threat, labels = Threat(norm, eps), MODEL(images()).argmax(1)
    found = ALL[name](images(), labels, threat)
    assert threat.inside(found, images()).all()
    if name in ("fgsm", "pgd", "apgd", "autoattack", "break_guarantee", "udp"):
        assert not torch.equal(found, images())


def test_units_of_255_are_suspected():
    with pytest.warns(UserWarning, match=r"units of 255\? Then divide it by 255: 0.03137"):
        apgd(MODEL, images(), MODEL(images()).argmax(1), threat=Threat("linf", 8.0), steps=1)
    assert Threat("l2", 2.0).doubts(images()) == []  # inside the box of six pixels
    assert "units of 255" in Threat("l2", 2.5).doubts(images())[0]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_half_precision_does_not_eat_the_ball(norm):
    """224 x 224 in float16: the guard against rounding was larger than eps, and nothing moved."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)).half()
    threat = Threat(norm, 0.3)
    half = (torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1).half()
    found = pgd(net, half, torch.tensor([0, 1]), threat=threat, steps=5, step_size=0.1)
    assert found.dtype == torch.float32
    assert threat.inside(found, half).all()
    assert (threat.distance(found, half) > 0.29).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-7])
def test_an_image_by_round_off_outside_the_box_is_no_free_move(norm, eps):
    """1 + 9e-7 was accepted, clipped, and the clipped image called a success beyond eps."""
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0] = 1e6
        layer.bias.copy_(torch.tensor([-4e6 - 1.0, 0.0, -5.0]))
    net = nn.Sequential(nn.Flatten(), layer).double()
    edge = torch.full((1, 1, 2, 2), 1.0000009, dtype=torch.float64)
    for attack in (autoattack, apgd, fab, square):
        with pytest.raises(ValueError, match=r"images.clamp\(0, 1\) moves it into the box"):
            attack(net, edge, torch.tensor([0]), threat=Threat(norm, eps))


def test_no_l2_distance_within_the_box_is_longer_than_the_reach():
    assert Threat("l2", 1e300).reach == WIDEST
    assert Threat("l2", 0.5).reach == 0.5
    assert math.sqrt(224 * 224 * 3) < WIDEST


def test_a_guarantee_by_name_is_named():
    with pytest.raises(ValueError, match=r"must be Local\(\), .* found 'local'"):
        check_guarantee("local")


@pytest.mark.parametrize("kind", INTEGERS)
def test_a_temperature_is_fitted_to_labels_of_any_integer_type(kind):
    logits = MODEL(images(50)).detach()
    labels = torch.arange(50) % 3
    assert fit_temperature(logits, labels.to(kind)) == fit_temperature(logits, labels)


def test_a_temperature_needs_labels_that_are_classes():
    logits = MODEL(images(4)).detach()
    for labels in (torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, -1]), torch.zeros(4)):
        with pytest.raises(ValueError, match="`labels` must"):
            fit_temperature(logits, labels)


@pytest.mark.parametrize("name", ["least-confidence", "margin-uncertainty", "entropy"])
@pytest.mark.parametrize("gap", [5.0, 20.0, 60.0, 80.0])
def test_scores_stay_above_zero_once_logits_saturate(name, gap):
    logits = torch.tensor([[gap, 0.0, -1.0]])
    exact = logits.double().softmax(1)
    others = exact[0, 1:].sum()
    wanted = {
        "least-confidence": others,
        "margin-uncertainty": others + exact[0, 1],
        "entropy": -(exact * exact.log()).sum() / math.log(3),
    }[name]
    assert SCORES[name](logits).item() == pytest.approx(wanted.item(), rel=1e-4)
    assert SCORES[name](logits).item() > 0
