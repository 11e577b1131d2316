"""Lipschitz radii: exact where the truth is known, never broken; rounding and rejection count."""

import copy

import pytest
import torch
from oracles import make_net, members_of
from torch import nn

from surefoot.attacks import break_guarantee, break_sets
from surefoot.certify.lipschitz import certify, gloro, pairwise
from surefoot.certify.lipschitz.certificate import measured
from surefoot.certify.lipschitz.rounding import Execution, gamma, unit_of
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.models import Double, build
from surefoot.models.lipschitz import NormPool
from surefoot.threat import Threat
from surefoot.uncertainty import LogitMarginSelective, accepted, logit_gap

GUARANTEES = [Local(), TopK(2), RelaxedTopK(3), Affinity(((0, 1), (2, 3, 4)))]


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=repr)
def test_no_attack_succeeds_inside_a_certified_radius(guarantee, generator):
    model = make_net()
    images = torch.rand(20, 1, 4, 4, generator=generator)
    found = certify(model, images, guarantee=guarantee)
    assert found.radii.shape == found.sets.shape[:2]
    assert bool((found.radius == found.radii.max(1).values).all())
    assert bool((found.radius > 0).any())
    for image, sets, radii in zip(images, found.sets, found.radii, strict=True):
        for members, radius in zip(sets, radii.tolist(), strict=True):
            if radius > 0:
                assert members_of(members)
        if found_radius := radii.max().item():
            threat = Threat("l2", found_radius)
            result = break_guarantee(
                model, image[None], guarantee=guarantee, threat=threat, steps=5
            )
            assert not bool(result.success.any())


def test_label_or_uncertain_needs_a_selective_model():
    with pytest.raises(ValueError, match="rejects = True"):
        certify(make_net(), torch.rand(1, 1, 4, 4), guarantee=LabelOrUncertain())


def linear(classes=4, inputs=6):
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))


def distances(model, images):
    """Return the distance of each image to the border with each other label, `[B, C]`."""
    rows, shift = model[1].weight.double(), model[1].bias.double()
    logits = images.flatten(1).double() @ rows.T + shift
    best = logits.argmax(1)
    lead = logits.gather(1, best[:, None]) - logits
    gap = (rows[best].unsqueeze(1) - rows).norm(dim=2)
    return (
        torch.where(gap > 0, lead / gap.clamp(min=1e-300), torch.inf).detach(),
        lead.detach(),
        gap,
    )


def test_radii_of_linear_nets_are_distances_to_the_border(generator):
    model, images = linear(), torch.rand(50, 6, generator=generator)
    truth = distances(model, images)[0].amin(1)
    found = certify(model, images, guarantee=Local()).radius
    assert bool((found <= truth).all())
    assert torch.allclose(found, truth, rtol=1e-4, atol=1e-5)  # what is missing is rounding
    found = certify(Double(copy.deepcopy(model)), images, guarantee=Local()).radius
    assert bool((found <= truth * (1 + 1e-12)).all())
    assert torch.allclose(found, truth, rtol=1e-12, atol=1e-13)


def test_radii_of_sets_are_distances_to_the_nearest_swap(generator):
    """Of a linear net: the nearest point where a member and an outcome outside of the set tie."""
    model, images = Double(linear()), torch.rand(30, 6, generator=generator)
    rows, shift = model.model[1].weight, model.model[1].bias
    logits = (images.double() @ rows.T + shift).detach()
    order = logits.argsort(1, descending=True)
    found = certify(model, images, guarantee=RelaxedTopK(3)).radii
    for k in (1, 2, 3):
        for one, (row, ranked) in enumerate(zip(logits, order, strict=True)):
            pairs = [(a, i) for a in ranked[:k] for i in ranked[k:]]
            truth = min(((row[a] - row[i]) / (rows[a] - rows[i]).norm()).item() for a, i in pairs)
            assert found[one, k - 1].item() == pytest.approx(truth, rel=1e-9)


def test_local_affinity_of_singletons_and_relaxed_top_k_of_all_pairs_agree(generator):
    model, images = make_net(), torch.rand(40, 1, 4, 4, generator=generator)
    local = certify(model, images, guarantee=Local()).radius
    single = certify(model, images, guarantee=Affinity(tuple((c,) for c in range(5)))).radius
    assert torch.equal(local, single)
    pairs = tuple((a, b) for a in range(5) for b in range(a))
    relaxed = certify(model, images, guarantee=RelaxedTopK(2)).radius
    assert torch.equal(relaxed, certify(model, images, guarantee=Affinity(pairs)).radius)
    assert bool((relaxed >= local).all())
    wider = certify(model, images, guarantee=RelaxedTopK(3)).radius
    assert bool((wider >= relaxed).all())


@pytest.mark.parametrize("logits", [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
def test_ties_are_not_certified(logits):
    """A constant net ties everywhere; its masks go by index, so equal logits are competitors."""
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(logits))
    model, images = nn.Sequential(nn.Flatten(), layer), torch.rand(1, 2)
    assert certify(model, images, guarantee=Local()).radius.item() == 0
    outcomes = gloro(model, 0.1)(images)
    assert not bool(accepted(outcomes))
    if logits[0] == logits[2]:
        assert certify(model, images, guarantee=RelaxedTopK(2)).radius.item() == 0


def test_certified_at_eps_means_not_rejected_at_eps(generator):
    """Radius and bottom logit are two forms of one statement."""
    model, images = Double(make_net()), torch.rand(300, 1, 4, 4, generator=generator)
    radius = certify(model, images, guarantee=Local()).radius
    eps = radius.median().item()
    clear = (radius - eps).abs() > 1e-9
    passes = accepted(gloro(model, eps, (1, 4, 4))(images).detach())
    assert torch.equal((radius > eps)[clear], passes[clear])
    assert 0 < int(passes.sum()) < 300


def test_radii_of_gloro_rejection_are_the_radius_less_and_more_eps(generator):
    model, images = Double(make_net()), torch.rand(100, 1, 4, 4, generator=generator)
    plain = certify(model, images, guarantee=Local()).radius
    eps = plain.median().item()
    selective = gloro(model, eps, (1, 4, 4))
    certain = certify(selective, images, guarantee=Local()).radius
    either = certify(selective, images, guarantee=LabelOrUncertain()).radius
    assert torch.allclose(certain, (plain - eps).clamp(min=0), atol=1e-9)
    assert torch.allclose(either, plain + eps, atol=1e-9)
    rejected = ~accepted(selective(images).detach())
    assert 0 < int(rejected.sum()) < 100
    assert bool((certain[rejected] == 0).all())
    assert bool((either[rejected] > 0).all())


def test_radii_of_a_logit_gap_on_a_linear_net_are_distances(generator):
    """(i): to where the lead falls to the gap, exact; (ii): another label needs a lead of its own.

    For two classes (ii) is the distance itself; for more it bounds it from below.
    """
    images = torch.rand(60, 6, generator=generator)
    for classes in (2, 4):
        model = linear(classes)
        _, lead, gap = distances(model, images)
        other = gap > 0
        selective = logit_gap(Double(model), 0.1, classes)
        truth = torch.where(other, (lead - 0.1) / gap, torch.inf).amin(1).clamp(min=0)
        found = certify(selective, images, guarantee=Local()).radius
        assert torch.allclose(found, truth, atol=1e-9)
        truth = torch.where(other, (lead + 0.1) / gap, torch.inf).amin(1)
        found = certify(selective, images, guarantee=LabelOrUncertain()).radius
        assert torch.allclose(found, truth, atol=1e-9)


@pytest.mark.parametrize("guarantee", [Local(), LabelOrUncertain()], ids=repr)
@pytest.mark.parametrize("make", [lambda net: gloro(net, 0.02), lambda net: logit_gap(net, 0.2, 5)])
def test_no_attack_breaks_a_selective_net_inside_its_radius(guarantee, make, generator):
    model = make(make_net())
    images = torch.rand(40, 1, 4, 4, generator=generator)
    found = certify(model, images, guarantee=guarantee)
    rows = (found.radius > 1e-3).nonzero().flatten()[:8]
    assert len(rows) == 8
    inside = beyond = 0
    for row in rows.tolist():
        for factor in (1 - 1e-6, 30):
            result = break_sets(
                model,
                images[row : row + 1],
                found.sets[row : row + 1],
                guarantee,
                Threat("l2", found.radius[row].item() * factor),
                steps=15,
            )
            inside += int(result.broken.sum()) if factor < 1 else 0
            beyond += int(result.broken.sum()) if factor > 1 else 0
    assert inside == 0
    assert beyond > len(rows) // 2  # the attack does find what is there


@pytest.mark.parametrize("guarantee", [TopK(2), RelaxedTopK(2)], ids=repr)
def test_set_guarantees_of_rejecting_nets_are_refused(guarantee):
    with pytest.raises(ValueError, match="certify the net without its rejection"):
        certify(gloro(make_net(), 0.1), torch.rand(1, 1, 4, 4), guarantee=guarantee)


@pytest.mark.parametrize(
    ("slack", "message"),
    [
        (torch.ones(3, 2), "square"),
        (-torch.ones(3, 3), ">= 0"),
        (torch.full((2, 2), torch.nan), "finite"),
    ],
)
def test_slack_that_makes_no_rejection_is_refused(slack, message):
    with pytest.raises(ValueError, match=message):
        LogitMarginSelective(nn.Flatten(), slack)


NETS = {
    "dense": ((1, 4, 4), make_net),
    "gloro-2c2f": ((1, 12, 12), lambda: build("gloro-2c2f", planes=1, size=12)),
    "liresnet": ((3, 8, 8), lambda: build("liresnet", size=8, width=8, depth=3, neck=16)),
    "lipnext": ((3, 8, 8), lambda: build("lipnext", size=8, width=16, depth=3)),
    "resnet20": ((3, 8, 8), lambda: build("resnet20", width=4)),
    "lenet": ((1, 28, 28), lambda: build("lenet")),
}


@pytest.mark.parametrize("name", NETS)
def test_execution_errs_by_no_more_than_its_bound(name, generator):
    """Float32 beside float64, at the images and at points within a radius of them."""
    torch.manual_seed(0)
    shape, make = NETS[name]
    model = make().eval()
    constants, wide = measured(model, shape), copy.deepcopy(model).double()
    images = torch.rand(40, *shape, generator=generator)
    with torch.no_grad():
        logits, error, growth = Execution(constants, unit_of(images)).logits(images)
        assert bool(((logits.double() - wide(images.double())).norm(dim=1) <= error).all())
        for radius in (0.1, 10.0, 1000.0):
            step = torch.randn(images.shape, generator=generator).flatten(1)
            step = radius * (1 - 1e-6) * step / step.norm(dim=1, keepdim=True)
            moved = images + step.view_as(images)
            off = (model(moved).double() - wide(moved.double())).norm(dim=1)
            assert bool((off <= error + growth * radius).all())


def test_a_lead_made_by_rounding_is_not_certified():
    """Exactly, label 1 wins by a hair; in float32 the large terms swallow it and label 0 wins."""
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1e8, 1.0, -1e8], [0.0, 0.0, 0.0]]))
    images = torch.tensor([[0.75, 0.25, 0.75]])
    model = nn.Sequential(nn.Flatten(), layer)
    assert certify(model, images, guarantee=Local()).radius.item() == 0
    wide = Double(copy.deepcopy(model))
    assert certify(wide, images, guarantee=Local()).radius.item() > 0


def test_reduced_precision_is_counted(monkeypatch):
    image = torch.rand(1, 1, 4, 4)
    assert unit_of(image) == 2.0**-24
    assert unit_of(image.double()) == 2.0**-53
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.warns(UserWarning, match="float32 products"):
            assert unit_of(image) == 2.0**-8
    finally:
        torch.set_float32_matmul_precision("highest")


def test_sums_too_long_for_the_precision_are_refused():
    assert gamma(1000, 2.0**-24) > 1000 * 2.0**-24
    with pytest.raises(ValueError, match="float64"):
        gamma(1000, 2.0**-10)


def test_a_certificate_says_what_it_rests_on():
    model, images = make_net(), torch.rand(3, 1, 4, 4)
    details = certify(model, images, guarantee=Local()).details
    assert details["arithmetic"] == "float32"
    assert details["rounding"]["slack"] > 0
    assert {layer["kind"] for layer in details["layers"]} >= {"Normalize", "Linear", "Scale"}
    assert torch.equal(details["pairwise"], pairwise(model))
    assert details["rejection"] is None
    assert certify(gloro(model, 0.1), images, guarantee=Local()).details["rejection"].shape == (
        5,
        5,
    )


class Reading(nn.Module):
    """A net whose code, read once, is not what it does."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(16, 4)

    def forward(self, images):
        if self.kind == "random":
            return self.layer(images + torch.randn(16))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layer(images).double()


@pytest.mark.parametrize("kind", ["random", "autocast"])
def test_a_net_that_differs_from_its_code_is_refused(kind):
    with pytest.raises(ValueError, match="gives other logits"):
        certify(Reading(kind), torch.rand(3, 16), guarantee=Local())


def test_less_precision_than_is_counted_is_refused():
    images = torch.rand(3, 1, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(ValueError, match="autocast"):
        certify(make_net(), images, guarantee=Local())
    with pytest.raises(ValueError, match="float16"):
        certify(make_net().half(), images, guarantee=Local())


@pytest.mark.parametrize("room", ["conv", "matmul"])
def test_precision_of_one_kind_of_operation_is_counted(room):
    backend = getattr(torch.backends.mkldnn, room)
    before = backend.fp32_precision
    try:
        backend.fp32_precision = "bf16"
        with pytest.warns(UserWarning, match="float32 products on cpu"):
            assert unit_of(torch.rand(1, 4)) == 2.0**-8
    finally:
        backend.fp32_precision = before
    assert unit_of(torch.rand(1, 4)) == 2.0**-24


def test_squares_too_small_for_float32_are_counted():
    """A norm of 4e-23 is computed as 0: the error is as large as the feature."""
    net = nn.Sequential(NormPool())
    images = torch.full((1, 2, 4, 4), 1e-23)
    logits, error, _ = Execution(measured(net, (2, 4, 4)), unit_of(images)).logits(images)
    assert (logits.double() - 4e-23).norm() <= error.item()


def test_a_radius_ends_where_a_number_could_overflow():
    """Label 0 leads in the whole box, but its features reach 2^118 at a distance of 0.7."""
    first, head = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
    with torch.no_grad():
        first.weight.copy_(1.5e35 * torch.eye(2))
        head.weight.copy_(torch.tensor([[1e-35, 0.0], [0.0, 0.0]]))
        head.bias.copy_(torch.tensor([0.0, -10.0]))
    images = torch.tensor([[0.5, 0.0]])
    found = certify(nn.Sequential(first, head), images, guarantee=Local()).radius.item()
    assert found == pytest.approx(2.0**118 / 1.5e35 - 1.5, rel=1e-4)
    with torch.no_grad():
        first.weight *= 0.1
        head.weight *= 10
    found = certify(nn.Sequential(first, head), images, guarantee=Local()).radius.item()
    assert found == pytest.approx(10.75 / 1.5, rel=1e-2)  # the rest is rounding


def test_small_numbers_that_may_be_flushed_are_counted(generator):
    """Features at 1e-38: the error covers that each is taken for 0, as is each weight and pixel."""
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight *= 1e-19
    images = torch.rand(5, 4, generator=generator) * 1e-1
    logits, error, _ = Execution(measured(net, (4,)), unit_of(images)).logits(images)
    with torch.no_grad():
        assert bool(((net(images).double() - logits.double()).norm(dim=1) <= error).all())
        torch.set_flush_denormal(True)
        try:
            flushed = net(images)
        finally:
            torch.set_flush_denormal(False)
    exact = copy.deepcopy(net).double()(images.double())
    assert bool(((flushed.double() - exact).norm(dim=1) <= error).all())


def test_one_image_is_answered_as_it_is_in_any_batch():
    """The graph of a batch is right for it, and the net by itself answers otherwise when alone."""

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(16, 3)

        def forward(self, images):
            if isinstance(images, torch.Tensor) and len(images) == 1:
                return self.head(-images)
            return self.head(images)

    with pytest.raises(ValueError, match=r"other operations|depends on the whole batch"):
        certify(Alone().eval(), torch.rand(5, 16), guarantee=Local())


def test_sets_that_leads_cannot_certify_have_radius_zero():
    """On a rejecting net: {label} is no set of (ii), and two labels are none of (i)."""
    net, images = gloro(make_net(), 0.01), torch.rand(20, 1, 4, 4)
    with torch.no_grad():
        best = net(images)[:, :-1].topk(2, dim=1).indices
    alone = torch.zeros(20, 1, 6, dtype=torch.bool)
    alone[torch.arange(20), 0, best[:, 0]] = True
    two = alone.clone()
    two[torch.arange(20), 0, best[:, 1]] = True
    found = certify(net, images, guarantee=LabelOrUncertain(), sets=alone)
    assert found.radius.amax() == 0
    assert certify(net, images, guarantee=Local(), sets=two).radius.amax() == 0
    assert certify(net, images, guarantee=Local(), sets=alone).radius.amax() > 0


def test_a_slack_for_other_classes_is_refused():
    with pytest.raises(ValueError, match="3 classes"):
        logit_gap(make_net(), 0.1, 3)(torch.rand(1, 1, 4, 4))
    with pytest.raises(ValueError, match="two classes"):
        logit_gap(make_net(), 0.1, 1)
