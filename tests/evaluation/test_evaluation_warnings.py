"""Warnings of evaluations: each with a model that must set it off and one that must not."""

import copy
import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import Linear
from torch import nn

from surefoot.attacks import VoteSearch
from surefoot.attacks.counted import Cost
from surefoot.data import Data
from surefoot.evaluation import Plain, Smoothed, bracket, data_limits, metrics
from surefoot.evaluation import warnings as evaluation_warnings
from surefoot.evaluation.header import AttackPart, Work
from surefoot.evaluation.record import Record
from surefoot.guarantees import LabelOrUncertain, Local, TopK
from surefoot.models import Double, build
from surefoot.stats import interval
from surefoot.threat import Threat
from surefoot.types import checked_images
from surefoot.uncertainty import Selective
from surefoot.uncertainty.vote import Vote

PIXELS = 16
BORDER = 0.45  # plain grey lies on the bright side
WEIGHT = torch.stack([torch.full((PIXELS,), -0.5), torch.full((PIXELS,), 0.5)])
RADII = (0.02, 0.05)
EPS = 0.1
QUICK = VoteSearch(steps=5, draws=4, n_choose=50, n_confirm=200)


def flat_data(count, seed=0):
    """Images of two classes, bright or dark, at linf distances up to .2 from the border."""
    draw = torch.Generator().manual_seed(seed)
    level = BORDER - 0.2 + 0.4 * torch.rand(count, 1, generator=draw)
    jitter = 0.02 * torch.rand(count, PIXELS, generator=draw)
    jitter = jitter - jitter.mean(1, keepdim=True)
    return Data(
        level + jitter, (level[:, 0] > BORDER).long(), classes=("dark", "bright"), name="flat"
    )


def brightness():
    """The linear net that is right about them; |level - BORDER| is the linf distance it has."""
    half = BORDER * PIXELS / 2
    return Linear(WEIGHT, torch.tensor([half, -half]))


def evaluate(classifier, data, *, guarantee=None, norm="linf", eps=EPS, radii=RADII, **more):
    threat = Threat(norm, eps)
    classifier.net.eval()
    return bracket(
        classifier, data, guarantee=guarantee or Local(), threat=threat, radii=radii, **more
    )


def warnings_of(*arguments, **more):
    return evaluate(*arguments, **more).header.warnings


def any_says(words, found):
    return any(words in text for text in found)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_honest_net_gives_no_warning(norm):
    scale = 1 if norm == "linf" else 4
    record = evaluate(
        Plain(brightness(), steps=10),
        flat_data(120),
        norm=norm,
        eps=scale * EPS,
        radii=[scale * radius for radius in RADII],
    )
    work = record.header.attack.work
    assert record.header.warnings == ()
    assert work.retried > 20  # the checks had something to look at
    assert work.missed == 0
    assert work.grey > 10
    assert work.grey_missed == 0


def test_an_honest_vote_gives_no_warning():
    classifier = Smoothed(Vote(brightness(), 0.02), n_certify=2000, search=QUICK)
    record = evaluate(classifier, flat_data(100), radii=[0.01], eps=0.05)
    work = record.header.attack.work
    assert work.retried > 2
    assert work.missed == 0
    assert work.grey > 2
    assert work.grey_missed == 0
    assert not any_says("attack", record.header.warnings)


class Softmax(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images).softmax(1)


def test_probabilities_give_a_warning_and_the_figures_those_of_the_model():
    data = flat_data(40)
    logits = evaluate(Plain(brightness(), steps=10), data)
    fractions = evaluate(Plain(Softmax(brightness()), steps=10), data)
    assert any_says("rows that sum to one", fractions.header.warnings)
    assert not any_says("rows that sum to one", logits.header.warnings)
    assert (fractions.rows["attacked"] == logits.rows["attacked"]).all()


def test_certificates_of_a_vote_of_probabilities_hold():
    data = flat_data(30)
    votes = [
        evaluate(Smoothed(Vote(net, 0.1), n_certify=500), data, norm="l2", attack=False)
        for net in (Softmax(brightness()), brightness())
    ]
    assert any_says("rows that sum to one", votes[0].header.warnings)
    assert (votes[0].rows["certified"] == votes[1].rows["certified"]).all()
    assert votes[0].rows["certified"].max() > 0


def test_probabilities_under_a_rejection_are_found_too():
    images, _ = flat_data(30).batch(slice(None))
    for net, said in ((Softmax(brightness()), 1), (brightness(), 0)):
        assert (
            len(evaluation_warnings.probabilities(Selective(net, "entropy", 0.5), images)) == said
        )


def test_a_model_that_always_answers_nan_is_not_called_random():
    class Nan(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 2), torch.nan)

    images, _ = flat_data(5).batch(slice(None))
    assert evaluation_warnings.depends(Nan(), images, voted=False) == []


class Island(nn.Module):
    """Always the first label, without a slope, save in a small box around plain grey."""

    def __init__(self, half):
        super().__init__()
        self.half = half

    def forward(self, images):
        there = ((images - 0.5).abs().flatten(1).amax(1, keepdim=True) < self.half).float()
        return torch.cat([1 - there, there], 1) * 2 + 0 * images.flatten(1).sum(1, keepdim=True)


def bright_data(count):
    images = 0.8 + 0.1 * torch.rand(count, PIXELS, generator=torch.Generator().manual_seed(1))
    return Data(images, torch.zeros(count, dtype=torch.long), classes=("a", "b"), name="bright")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_that_misses_grey_is_reported(norm):
    record = evaluate(Plain(Island(0.05), steps=5), bright_data(40), norm=norm)
    assert any_says("did not break 32 of 32 sets", record.header.warnings)


def test_an_attack_on_a_vote_that_misses_grey_is_reported():
    classifier = Smoothed(Vote(Island(0.3), 0.05), n_certify=500, search=QUICK)
    found = warnings_of(classifier, bright_data(12))
    assert any_says("did not break 8 of 8 sets", found)


def test_fixed_steps_grow_with_the_ball_that_reaches_grey():
    attack = Plain(brightness(), steps=10, protocol="pgd", step_size=0.01)
    record = evaluate(attack, flat_data(100), eps=0.03, radii=[0.02])
    assert record.header.attack.work.grey > 10
    assert record.header.warnings == ()


def test_fixed_steps_that_cannot_cross_the_ball_are_reported():
    attack = Plain(brightness(), steps=10, protocol="pgd", step_size=0.0059)
    found = warnings_of(attack, flat_data(100), eps=0.03, radii=None)
    assert any_says("less than the diameter 0.06 of the ball", found)


def test_a_model_that_is_right_everywhere_may_stand_at_any_radius():
    record = evaluate(Plain(Island(0.0), steps=5), bright_data(40))
    assert metrics.attacked_accuracy(record, EPS).value == 1
    assert record.header.attack.work.grey == 0
    assert not any_says("grey", record.header.warnings)


def test_grey_is_not_looked_at_without_an_attack():
    found = warnings_of(Plain(Island(0.05), steps=5), bright_data(40), attack=False)
    assert not any_says("grey", found)


class Moat(nn.Module):
    """Wrong at a distance of .07 from plain grey; flat, and right, from .14 on."""

    def forward(self, images):
        distance = (images - 0.5).abs().flatten(1).amax(1, keepdim=True)
        lead = ((distance - 0.07).abs() / 0.05 - 0.5).clamp(max=0.9)
        return torch.cat([lead, -lead], 1)


def test_an_attack_that_is_not_monotone_in_eps_is_reported():
    images = 0.5 + 0.002 * torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    data = Data(images, torch.zeros(40, dtype=torch.long), classes=("a", "b"), name="centre")
    record = evaluate(Plain(Moat(), steps=20), data, radii=[0.06], eps=0.45)
    assert metrics.attacked_accuracy(record, 0.06).value == 0
    assert any_says("of 32 examples attacked at two radii", record.header.warnings)


def test_a_single_radius_has_nothing_to_try_again():
    work = evaluate(Plain(brightness(), steps=5), flat_data(40), radii=None).header.attack.work
    assert (work.retried, work.missed) == (0, 0)


@pytest.mark.parametrize(
    ("retried", "missed", "said"), [(0, 0, 0), (5, 2, 0), (5, 3, 1), (32, 3, 0), (32, 4, 1)]
)
def test_two_misses_or_a_tenth_give_no_warning(retried, missed, said):
    assert len(evaluation_warnings.missed_again(retried, missed)) == said


class OnlyKnown(nn.Module):
    """Refuses every image but the ones it has seen: a claim that no attack can refute."""

    rejects = True

    def __init__(self, net, known):
        super().__init__()
        self.net, self.known = net, known

    def forward(self, images):
        near = torch.cdist(images.flatten(1), self.known).amin(1, keepdim=True) < 0.01
        return torch.cat([self.net(images), torch.where(near, -100.0, 100.0)], 1)


def test_a_detector_that_claims_more_than_its_net_can_at_half_the_radius_is_reported():
    data = flat_data(60)
    detector = OnlyKnown(brightness(), data.images)
    arguments = {"guarantee": LabelOrUncertain(), "eps": 0.2, "radii": None}
    record = evaluate(Plain(detector, steps=5), data, **arguments)
    assert metrics.accepted_and_right(record, 0.2)[0].value == 1
    assert any_says("with rejection at radius 0.2 the claim is 100.0%", record.header.warnings)
    record = evaluate(Plain(detector, steps=5), data, eps=0.2, radii=None)
    assert not any_says("with rejection", record.header.warnings)  # refusals count as errors


def test_an_honest_detector_claims_exactly_what_its_net_can_at_half_the_radius():
    """It refuses what is closer to the border than half of eps: the bound of Tramer is reached."""
    data = flat_data(100)
    least = torch.tensor(EPS * PIXELS).sigmoid().item()
    detector = Plain(Selective(brightness(), "least-confidence", 1 - least), steps=10)
    record = evaluate(detector, data, guarantee=LabelOrUncertain(), eps=2 * EPS)
    claim = metrics.accepted_and_right(record, 2 * EPS)[0]
    images, labels = data.batch(slice(None))
    known = evaluation_warnings.without_rejection(detector, images, labels, Threat("linf", 2 * EPS))
    assert 0.3 < claim.value < 0.7
    assert claim.value == pytest.approx(known.value, abs=0.02)
    assert record.header.warnings == ()


def test_what_is_published_may_stand_for_what_is_known():
    claim = interval(80, 100)
    (said,) = evaluation_warnings.half_radius(claim, 0.6, 8 / 255, source="RobustBench, 2024")
    assert "at most 60.0% is known (RobustBench, 2024)" in said
    assert evaluation_warnings.half_radius(claim, claim.low, 8 / 255) == []


class HalfMasked(nn.Module):
    """Gives no gradient for bright images."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        logits = self.net(images)
        return torch.where(logits[:, :1] < 0, logits.detach(), logits)


def test_costs_are_summed_over_radii_and_chunks_and_judged_once():
    classifier = Plain(HalfMasked(brightness()), steps=3)
    record = evaluate(classifier, flat_data(520))
    work = record.header.attack.work
    assert work.retried == 32  # once, not once a chunk
    costs = work.costs
    assert sum(cost.forwards for cost in costs.values()) == work.forwards
    assert sum(cost.backwards for cost in costs.values()) == work.backwards
    fell = (record.rows["attacked"] > 0) & (record.rows["attacked"] <= EPS)
    assert sum(cost.found for cost in costs.values()) == fell.sum()
    said = [text for text in record.header.warnings if "zero or not finite" in text]
    assert len(said) == 1
    assert "apgd-soft" in said[0]


def test_a_resumed_run_says_what_an_undisturbed_one_says(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    classifier, data = Plain(HalfMasked(brightness()), steps=3), flat_data(520)
    whole = evaluate(classifier, data)
    module = importlib.import_module("surefoot.evaluation.bracket")
    original, worked = module._chunk, []

    def dying(job, rows):
        worked.append(rows.start)
        if worked == [0, 250]:
            raise Killed
        return original(job, rows)

    monkeypatch.setattr(module, "_chunk", dying)
    with pytest.raises(Killed):
        evaluate(classifier, data, folder=tmp_path)
    resumed = evaluate(classifier, data, folder=tmp_path)
    assert worked == [0, 250, 250, 500]
    assert resumed.header.warnings == whole.header.warnings
    assert without_seconds(resumed.header.attack.work) == without_seconds(whole.header.attack.work)


def without_seconds(work):
    costs = {name: replace(cost, seconds=0.0) for name, cost in work.costs.items()}
    return replace(work, seconds=0.0, costs=costs)


def test_a_black_box_that_wins_is_said_of_the_sum():
    costs = {"apgd-ce": Cost(forwards=1, backwards=1), "square": Cost(1, 0, 0.1, found=2)}
    work = Work(costs=costs)
    assert any_says(
        "square, without gradients, broke 2 of 900", evaluation_warnings.of_attack(work, 900)
    )
    assert evaluation_warnings.of_attack(work, 1000) == []


def test_round_off_beyond_the_box_is_named_and_data_clamp_it():
    with pytest.raises(ValueError, match=r"That is round-off: images.clamp\(0, 1\)"):
        checked_images(torch.tensor([[1 + 3e-8, -3e-8]], dtype=torch.float64))
    with pytest.raises(ValueError, match="put the normalisation inside the model"):
        checked_images(torch.tensor([[1.1, 0.5]]))
    data = flat_data(60)
    above = data.images.clone()
    above[0, 0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    evaluate(
        Plain(brightness(), steps=2), Data(above, data.labels, classes=data.classes, name="edge")
    )


@pytest.mark.parametrize("row", [0, 50])
def test_images_outside_the_box_of_the_threat_are_refused_wherever_they_stand(row):
    data = flat_data(60)
    images = data.images.clone()
    images[row, 0] = 0.95
    data = Data(images, data.labels, classes=data.classes, name="outside")
    with pytest.raises(ValueError, match=r"must lie in \[0, 0.9\]; found .* to 0.95"):
        bracket(
            Plain(brightness(), steps=2),
            data,
            guarantee=Local(),
            threat=Threat("linf", EPS, high=0.9),
        )


def test_radii_lost_to_rounding_are_named_and_double_precision_keeps_them():
    """Sums of 400 terms in four layers: float32 loses a good part of a small radius."""
    torch.manual_seed(0)
    net = build("lipschitz-mlp", inputs=400, hidden=(400, 400, 400), scale=4.0)
    images = torch.rand(20, 1, 20, 20, generator=torch.Generator().manual_seed(1))
    data = Data(images, torch.arange(20) % 10, classes=tuple("abcdefghij"), name="grey")
    found = {}
    for name, model in (("float32", net), ("float64", Double(copy.deepcopy(net)))):
        record = bracket(
            Plain(model, "lipschitz"),
            data,
            guarantee=Local(),
            threat=Threat("l2", 0.02),
            attack=False,
            limits=False,
        )
        found[name] = [text for text in record.header.notes if "rounding" in text]
    assert "--float64" in found["float32"][0]
    assert not found["float64"]


def test_nothing_lies_above_the_proven_ceiling():
    """Two labels on each of ten equal points: at most half can be right and robust."""
    images = torch.rand(10, 4).repeat(2, 1)
    data = Data(images, torch.arange(20) // 10, classes=("a", "b"), name="twins")
    record = evaluate(Plain(Linear(torch.ones(2, 4))), data, norm="l2", attack=False)
    part = record.header.ceiling[-1]
    assert part.value == pytest.approx(0.5)
    assert part.conflicts == 10
    assert metrics.ceiling(record, part.radius) == part.value
    assert metrics.upper_end(record, part.radius) <= 0.5
    assert not [text for text in record.header.warnings if "ceiling" in text]
    rows = record.rows.assign(clean=True, certified=9.0, attacked=np.inf)
    planted = Record(rows, replace(record.header, attack=AttackPart("none")))
    certified, attacked = evaluation_warnings.above_ceiling(planted)[-2:]
    assert "certificate is unsound" in certified
    assert "attack missed" in attacked


def test_sets_have_no_ceiling_and_rejection_has_a_higher_one():
    images = torch.tensor([[0.0], [0.3]])
    data = Data(images, torch.tensor([0, 1]), classes=("a", "b"), name="pair")
    threat = Threat("l2", 0.2)
    assert data_limits.ceilings(data, TopK(1), threat, [0.2]) == ()
    (close,) = data_limits.ceilings(data, Local(), threat, [0.2])
    (apart,) = data_limits.ceilings(data, LabelOrUncertain(), threat, [0.2])
    assert close.value == pytest.approx(0.5)
    assert apart.value == 1.0


def test_a_radius_that_one_bound_reaches_is_not_called_out_of_reach():
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.copy_(torch.tensor([1.0, 0.0]))  # every copy votes for 0
    data = Data(torch.tensor([[0.5]]), torch.tensor([0]), classes=("a", "b"), name="one")
    radius = 2.44  # sigma 1, 1000 copies, alpha .001: 2.429 with two bounds, 2.463 with one
    most = {"n_certify": 1000, "search": QUICK}
    selective = Selective(net, "entropy", 1.0)
    for rule, certified in (("majority", True), ("argmax", False)):
        vote = Smoothed(Vote(selective, 1.0, rule=rule), **most)
        record = evaluate(vote, data, norm="l2", eps=radius, attack=False)
        assert (metrics.certified_accuracy(record, radius).value == 1) == certified
        assert any_says("can be certified", record.header.notes) != certified
