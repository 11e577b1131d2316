"""AutoAttack and its parts: test vectors of the protocol, linear models, few classes, batches."""

import importlib

import pytest
import torch
from oracles import Linear, random_linear

from surefoot.attacks import apgd, autoattack, ddn, fab, fmn, square, union
from surefoot.attacks.autoattack import VERSIONS
from surefoot.attacks.hyperplane import to_hyperplane
from surefoot.attacks.objectives import cw, dlr, targeted_dlr
from surefoot.attacks.square import area, bump, side
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.uncertainty import Selective

AUTOATTACK = importlib.import_module("surefoot.attacks.autoattack")


def test_difference_of_logits_ratio():
    logits = torch.tensor([[3.0, 1.0, 0.5, -1.0, 0.2]])
    zero, one, two = (torch.tensor([i]) for i in range(3))
    assert dlr(logits, zero).item() == pytest.approx(-0.8)
    assert dlr(logits, one).item() == pytest.approx(0.8)
    assert targeted_dlr(logits, zero, two).item() == pytest.approx(-0.943396, abs=1e-6)
    assert torch.equal(dlr(logits[:, :2], zero), cw(logits[:, :2], zero))
    assert targeted_dlr(logits[:, :3], zero, two).item() == pytest.approx(-2.5)


@pytest.mark.parametrize(
    ("norm", "offset", "move"),
    [
        ("linf", 2.5, (0.1, 0.25, -0.2)),
        ("l2", 2.5, (0.1, 0.28, -0.14)),
        ("linf", 5.0, (0.1, 0.5, -0.2)),
        ("l2", 5.0, (0.1, 0.5, -0.2)),
    ],
)
def test_hyperplane_and_box(norm, offset, move):
    point, normal = torch.tensor([[0.9, 0.5, 0.2]]), torch.tensor([[1.0, 2.0, -1.0]])
    found = to_hyperplane(point, normal, torch.tensor([offset]), norm, 0.0, 1.0)
    assert torch.allclose(found, torch.tensor([move]), atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_moves_to_hyperplanes_are_legal_exact_and_shortest(norm, generator):
    from scipy.optimize import minimize

    points = torch.rand(40, 6, generator=generator, dtype=torch.float64)
    normals = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    normals[:10, 0] = 0
    offsets = (normals * points).sum(1) + torch.randn(40, generator=generator).double()
    moves = to_hyperplane(points, normals, offsets, norm, 0.0, 1.0)
    moved = points + moves
    assert bool(((moved >= -1e-12) & (moved <= 1 + 1e-12)).all())
    hit = ((normals * moved).sum(1) - offsets).abs() < 1e-6
    assert 10 < hit.sum() < 40
    if norm == "l2":
        for row in hit.nonzero().flatten()[:8].tolist():
            t, w, b = points[row].numpy(), normals[row].numpy(), offsets[row].item()
            best = minimize(
                lambda d: (d * d).sum(),
                moves[row].numpy(),
                bounds=[(-x, 1 - x) for x in t],
                constraints={"type": "eq", "fun": lambda d, t=t, w=w, b=b: w @ (t + d) - b},
            )
            assert moves[row].norm().item() <= best.fun**0.5 + 1e-6


def test_square_schedule_and_sides():
    places = (0, 11, 51, 201, 501, 1001, 2001, 4001)
    assert [side(q, 28, 28) for q in places] == [25, 18, 13, 9, 6, 4, 3, 2]
    assert [side(q, 32, 32) for q in places] == [29, 20, 14, 10, 7, 5, 4, 3]
    assert side(4001, 28, 28, least=3) == 3
    assert area(10) == 0.8
    assert area(5000) == 0.8 / 128


@pytest.mark.parametrize("size", [2, 3, 5, 12])
def test_bumps_have_unit_length(size):
    shape = bump(size)
    assert shape.norm().item() == pytest.approx(1.0)
    assert bool((shape[: size // 2] > 0).all() & (shape[size // 2 :] < 0).all())


@pytest.fixture
def linear_case(generator):
    weight = torch.randn(3, 36, generator=generator)
    model = Linear(weight)
    images = 0.5 + 0.03 * torch.randn(40, 1, 6, 6, generator=generator)
    return model, images, model(images).argmax(1)


def boundary(model, images, labels, norm):
    """Distance to the nearest boundary of a linear model, box aside."""
    logits = model(images).detach()
    lead = logits.gather(1, labels[:, None]) - logits
    gap = model.weight[labels][:, None] - model.weight
    dual = gap.abs().sum(2) if norm == "linf" else gap.norm(dim=2)
    return torch.where(lead > 0, lead / dual.detach(), torch.inf).amin(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_white_box_attacks_break_a_linear_model_exactly_beyond_the_boundary(norm, linear_case):
    model, images, labels = linear_case
    distance = boundary(model, images, labels, norm)
    threat = Threat(norm, distance.median().item())
    clear = (distance - threat.eps).abs() > 0.02 * threat.eps
    for found in (
        fab(model, images, labels, threat=threat, steps=40),
        fab(model, images, labels, threat=threat, steps=40, targeted=False),
        autoattack(model, images, labels, threat=threat, version="fast").images,
    ):
        broken = model(found).argmax(1) != labels
        assert torch.equal(broken[clear], (distance < threat.eps)[clear])
        assert bool(threat.inside(found, images).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_minimal_norm_attacks_come_close_to_the_nearest_boundary(norm, linear_case):
    model, images, labels = linear_case
    distance = boundary(model, images, labels, norm)
    attacks = [lambda *a: fmn(*a, norm=norm, steps=200)]
    if norm == "l2":
        attacks.append(lambda *a: ddn(*a, steps=200))
    for attack in attacks:
        found = attack(model, images, labels)
        assert bool((model(found).argmax(1) != labels).all())
        length = Threat(norm, 0.0).distance(found, images)
        assert bool((length <= 1.25 * distance + 1e-4).all())
        assert (length / distance).median().item() < 1.05


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("planes", [1, 3])
def test_square_finds_easy_images_and_stays_legal(norm, planes, generator):
    torch.manual_seed(0)
    model = build("mlp", inputs=100 * planes, hidden=(16,)).eval()
    images = torch.rand(20, planes, 10, 10, generator=generator)
    labels = model(images).argmax(1)
    threat = Threat(norm, 0.3 if norm == "linf" else 6.0)
    found = square(model, images, labels, threat=threat, queries=200)
    assert bool(threat.inside(found, images).all())
    assert (model(found).argmax(1) != labels).float().mean().item() > 0.5


@pytest.fixture
def case(generator):
    torch.manual_seed(0)
    model = build("mlp", inputs=64, hidden=(32,)).eval()
    images = torch.rand(24, 1, 8, 8, generator=generator)
    return model, images, model(images).argmax(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_verdicts_do_not_depend_on_batch_size_or_order(case, norm, monkeypatch):
    monkeypatch.setattr(AUTOATTACK, "QUERIES", 60)
    monkeypatch.setattr(AUTOATTACK, "STEPS", 20)
    model, images, labels = case
    threat = Threat(norm, 0.012 if norm == "linf" else 0.06)
    whole = autoattack(model, images, labels, threat=threat)
    assert 0 < whole.success.sum() < 24
    again = autoattack(model, images, labels, threat=threat, batch_size=7)
    assert torch.equal(again.success, whole.success)
    # Of each verdict at least one.
    few = torch.cat([whole.success.nonzero()[:2], (~whole.success).nonzero()[:2]]).squeeze(1)
    alone = autoattack(model, images[few], labels[few], threat=threat, batch_size=1)
    assert torch.equal(alone.success, whole.success[few])
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    shuffled = autoattack(model, images[order], labels[order], threat=threat)
    assert torch.equal(shuffled.success[order.argsort()], whole.success)


@pytest.mark.parametrize("version", list(VERSIONS))
def test_every_version_is_at_least_as_strong_as_auto_pgd(case, version, monkeypatch):
    monkeypatch.setattr(AUTOATTACK, "QUERIES", 40)
    monkeypatch.setattr(AUTOATTACK, "STEPS", 20)
    model, images, labels = case
    threat = Threat("linf", 0.012)
    result = autoattack(model, images, labels, threat=threat, version=version)
    plain = apgd(model, images, labels, threat=threat, steps=20)
    assert result.success.sum() >= (model(plain).argmax(1) != labels).sum()
    assert bool((model(result.images).argmax(1) != labels)[result.success].all())
    assert bool(threat.inside(result.images, images).all())
    assert [name != "" for name in result.by] == result.success.tolist()


@pytest.mark.parametrize("classes", [2, 3, 8, 100])
def test_any_number_of_classes(classes, generator, monkeypatch):
    monkeypatch.setattr(AUTOATTACK, "QUERIES", 20)
    monkeypatch.setattr(AUTOATTACK, "STEPS", 10)
    model = random_linear(classes, 16).float()
    images = torch.rand(6, 1, 4, 4, generator=generator)
    labels = model(images).argmax(1)
    small = autoattack(model, images, labels, threat=Threat("linf", 1e-4))
    large = autoattack(model, images, labels, threat=Threat("linf", 1.0))
    assert bool(large.success.all())
    assert small.success.sum() <= large.success.sum()


def test_reference_streams_draw_as_torch_manual_seed_would(case, monkeypatch):
    monkeypatch.setattr(AUTOATTACK, "QUERIES", 20)
    monkeypatch.setattr(AUTOATTACK, "STEPS", 10)
    model, images, labels = case
    threat = Threat("linf", 0.012)
    runs = [
        autoattack(model, images, labels, threat=threat, seed=seed, streams="batch")
        for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0].images, runs[1].images)
    assert not torch.equal(runs[0].images, runs[2].images)


class Undefined(torch.nn.Module):
    """Right about class 0, but undefined where the first pixel exceeds .9."""

    def forward(self, images):
        logits = torch.stack([images.flatten(1)[:, 0] + 1, images.flatten(1)[:, 1]], 1)
        return torch.where(images.flatten(1)[:, :1] > 0.9, torch.nan, logits)


def test_undefined_answers_are_never_right():
    """The largest of NaN is entry 0 for torch: such an image must not pass for class 0."""
    images, labels = torch.tensor([[0.95, 0.5], [0.85, 0.5]]), torch.tensor([0, 0])
    threat = Threat("linf", 0.1)
    for found in (
        autoattack(Undefined(), images, labels, threat=threat).success,
        union(
            Undefined(), images, labels, threat=threat, attacks={"up": lambda m, x, y: x + 0.1}
        ).success,
    ):
        assert found.tolist() == [True, True]
    moved = apgd(Undefined(), images, labels, threat=threat)
    assert torch.equal(moved[0], images[0])
    assert bool(Undefined()(moved).isnan().all())


def test_a_model_without_a_graph_is_named(case):
    model, images, labels = case

    class Detached(torch.nn.Module):
        def forward(self, images):
            return model(images).detach()

    threat = Threat("linf", 0.01)
    with pytest.raises(ValueError, match="no gradient"):
        autoattack(Detached(), images, labels, threat=threat)
    found = square(Detached(), images, labels, threat=threat, queries=5)
    assert bool(threat.inside(found, images).all())


@pytest.mark.parametrize("attack", [fmn, ddn, fab, square, apgd])
def test_labels_out_of_range_are_named(attack, case):
    model, images, labels = case
    more = {} if attack in (fmn, ddn) else {"threat": Threat("linf", 0.01)}
    with pytest.raises(ValueError, match="labels"):
        attack(model, images, labels + 10, **more)


def test_a_model_that_may_abstain_is_sent_elsewhere(case):
    model, images, labels = case
    with pytest.raises(ValueError, match="break_guarantee"):
        autoattack(Selective(model), images, labels, threat=Threat())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_may_lie_in_memory_in_any_order(norm, generator, monkeypatch):
    monkeypatch.setattr(AUTOATTACK, "QUERIES", 20)
    monkeypatch.setattr(AUTOATTACK, "STEPS", 5)
    torch.manual_seed(0)
    model = build("mlp", inputs=192, hidden=(16,)).eval()
    images = torch.rand(6, 8, 8, 3, generator=generator).permute(0, 3, 1, 2)
    labels = model(images).argmax(1)
    threat = Threat(norm, 0.02 if norm == "linf" else 0.2)
    found = autoattack(model, images, labels, threat=threat)
    again = autoattack(model, images.contiguous(), labels, threat=threat)
    assert torch.equal(found.success, again.success)
    assert bool(
        threat.inside(square(model, images, labels, threat=threat, queries=9), images).all()
    )


def test_square_keeps_images_at_which_the_model_has_no_answer(monkeypatch):
    monkeypatch.setattr(AUTOATTACK, "VERSIONS", {"standard": (("square", 1),)})
    monkeypatch.setattr(AUTOATTACK, "QUERIES", 20)

    class Breaks(torch.nn.Module):
        def forward(self, images):
            mean = images.flatten(1).mean(1, keepdim=True)
            logits = torch.cat([mean + 1, mean], 1)
            return torch.where((mean - 0.2).abs() > 0.02, torch.nan, logits)

    images, labels = torch.full((3, 1, 4, 4), 0.2), torch.zeros(3, dtype=torch.long)
    result = autoattack(Breaks(), images, labels, threat=Threat("linf", 0.1))
    assert result.success.tolist() == [True] * 3
