"""Guarantees from bounds on margins: beside brute force over distributions, and never broken."""

import math

import pytest
import torch
from torch import nn

from surefoot.attacks import break_sets
from surefoot.certify.relaxation import certify
from surefoot.certify.relaxation.acceptance import (
    RequiredMargins,
    ScoreThreshold,
    least_entropy,
)
from surefoot.certify.relaxation.rejections import holding
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.threat import Threat
from surefoot.uncertainty import LogitMarginSelective, Selective, logit_gap

GUARANTEES = [Local(), TopK(2), RelaxedTopK(3), Affinity(((0, 1), (2, 3, 4)))]
NONE = torch.zeros(1, dtype=torch.float64)


def wobbly(seed=0, classes=5, scale=3.0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU())
    net.append(nn.Linear(12, classes))
    with torch.no_grad():
        for layer in (net[0], net[2], net[4]):
            layer.weight.mul_(scale / 1.5)
    return net.eval()


def selective_nets(seed):
    net = wobbly(seed)
    net[4].weight.data.mul_(20)
    gap = torch.rand(5, 5, generator=torch.Generator().manual_seed(seed)).double()
    return {
        "least-confidence, strict": Selective(net, "least-confidence", 0.15),
        "least-confidence, lenient": Selective(net, "least-confidence", 0.6),
        "entropy, strict": Selective(net, "entropy", 0.2),
        "entropy, lenient": Selective(net, "entropy", 0.6),
        "gloro": LogitMarginSelective(net, gap),
        "gap": logit_gap(net, 0.5, 5),
    }


def grid_of(image, threat, many=61):
    """Return points of the whole ball around an image of two pixels, cut with the box."""
    line = torch.linspace(-threat.eps, threat.eps, many, dtype=torch.float64)
    moves = torch.cartesian_prod(line, line)
    if threat.norm == "l2":
        moves = moves[moves.norm(dim=1) <= threat.eps]
    points = (image.double() + moves).clamp(0, 1).float()
    return points[threat.inside(points, image.expand(len(points), -1))]


def check_by_brute_force(model, guarantee, norm, eps, images, effort="crown"):
    """Raise if a certified set fails anywhere on a grid; return (certified, unbroken) rows."""
    threat = Threat(norm, eps)
    found = certify(model, images, guarantee=guarantee, threat=threat, radii=[eps], effort=effort)
    proven = unbroken = 0
    with torch.no_grad():
        for image, sets, radii in zip(images, found.sets, found.radii, strict=True):
            points = grid_of(image, threat)
            margins = guarantee.margins(model(points), sets.expand(len(points), -1, -1))
            holds = (margins > 0).all(0)
            if getattr(model, "rejects", False) and not guarantee.counts_rejection_as_right:
                holds &= ~sets[:, -1]  # "uncertain" for ever is no guarantee that is certified
            assert not bool(((radii > 0) & ~holds).any())
            proven += int((radii > 0).any())
            unbroken += int(holds.any())
    return proven, unbroken


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("guarantee", GUARANTEES, ids=repr)
def test_certified_sets_hold_on_the_whole_grid(guarantee, norm, generator):
    images = torch.rand(40, 2, generator=generator)
    proven, unbroken = check_by_brute_force(wobbly(), guarantee, norm, 0.03, images)
    assert 0.7 * unbroken <= proven <= unbroken


@pytest.mark.parametrize("guarantee", [Local(), LabelOrUncertain()], ids=repr)
@pytest.mark.parametrize("name", selective_nets(0))
def test_certified_rejections_hold_on_the_whole_grid(name, guarantee, generator):
    images = torch.rand(40, 2, generator=generator)
    total = torch.zeros(2)
    for seed, norm in ((0, "linf"), (1, "l2")):
        model = selective_nets(seed)[name].eval()
        total += torch.tensor(check_by_brute_force(model, guarantee, norm, 0.03, images))
    assert 0.7 * total[1] <= total[0] <= total[1]
    assert total[0] > 0


def exact(logits):
    """Return L of a region of one point: the differences themselves."""
    return logits.unsqueeze(2) - logits.unsqueeze(1)


def regions(count, classes, generator, spread=3.0):
    """Return bounds L of random regions, and random distributions within them."""
    size = 10 ** (1.5 * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64) - 1)
    middle = spread * torch.randn(count, 1, classes, generator=generator, dtype=torch.float64)
    points = middle + size * torch.randn(
        count, 40, classes, generator=generator, dtype=torch.float64
    )
    gaps = points.unsqueeze(3) - points.unsqueeze(2)
    return gaps.amin(1), points


SCORES = [("least-confidence", 0.1), ("least-confidence", 0.5), ("least-confidence", 0.7)]
SCORES += [("entropy", 0.1), ("entropy", 0.4), ("entropy", 0.8), ("entropy", 1.1)]


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize(("score", "threshold"), SCORES)
def test_scores_over_random_distributions(score, threshold, classes, generator):
    """What is proven from the bounds of a region holds at each of its points."""
    margins, points = regions(3000, classes, generator)
    rule = ScoreThreshold(score, threshold)
    labels = points[:, 0].argmax(1)
    error = NONE.expand(len(points))
    certain = rule.certain(margins, labels, error)
    never = rule.never_another(margins, labels, error)
    outcomes = Selective(nn.Identity(), score, threshold)(points.flatten(0, 1))
    outcomes = outcomes.view(*points.shape[:2], -1)
    answer = outcomes.argmax(2)
    tied = outcomes[..., -1] >= outcomes[..., :-1].amax(2)
    answer = torch.where(tied, classes, answer)
    stays = (answer == labels[:, None]).all(1)
    safe = ((answer == labels[:, None]) | (answer == classes)).all(1)
    assert not bool((certain & ~stays).any())
    assert not bool((never & ~safe).any())
    assert not bool((certain & ~never).any())
    assert never.sum() >= 0.5 * safe.sum()


@pytest.mark.parametrize(("score", "threshold"), SCORES[:-1])
def test_scores_of_a_single_point_are_decided_exactly(score, threshold, generator):
    logits = 3 * torch.randn(4000, 10, generator=generator, dtype=torch.float64)
    rule, labels, error = ScoreThreshold(score, threshold), logits.argmax(1), NONE.expand(4000)
    accepted = Selective(nn.Identity(), score, threshold)(logits).argmax(1) < 10
    other = (labels + 1) % 10
    certain = rule.certain(exact(logits), labels, error)
    never = rule.never_another(exact(logits), other, error)
    assert not bool((certain & ~accepted).any())
    assert not bool((never & accepted).any())
    if score == "least-confidence":  # exact; entropies are bounded
        assert bool((certain == accepted).all())
        assert (never == ~accepted).double().mean() > 0.9


def test_the_second_form_for_small_q_helps(generator):
    """By margins of the label alone, half of the regions would be left undecided."""
    logits = torch.randn(4000, 10, generator=generator, dtype=torch.float64)
    rule, error = ScoreThreshold("least-confidence", 0.5), NONE.expand(4000)
    labels = torch.zeros(4000, dtype=torch.long)
    whole = rule.never_another(exact(logits), labels, error)
    alone = exact(logits)
    alone[:, 1:] = -torch.inf
    first = rule.never_another(alone, labels, error)
    assert not bool((first & ~whole).any())
    assert whole.double().mean() > first.double().mean() + 0.3


def test_required_margins_over_random_regions(generator):
    margins, points = regions(3000, 6, generator)
    required = 2 * torch.rand(6, 6, generator=generator).double()
    rule, labels = RequiredMargins(required), points[:, 0].argmax(1)
    error = NONE.expand(len(points))
    certain = rule.certain(margins, labels, error)
    never = rule.never_another(margins, labels, error)
    net = LogitMarginSelective(nn.Identity(), required)
    answer = net(points.flatten(0, 1)).argmax(1).view(points.shape[:2])
    stays = (answer == labels[:, None]).all(1)
    safe = ((answer == labels[:, None]) | (answer == 6)).all(1)
    assert not bool((certain & ~stays).any())
    assert not bool((never & ~safe).any())
    assert certain.sum() > 0.9 * stays.sum() * 0.5
    assert never.sum() > 0.5 * safe.sum()


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=repr)
def test_sets_over_random_regions(guarantee, generator):
    margins, points = regions(2000, 6, generator)
    sets = guarantee.sets(points[:, 0])
    found = holding(margins, sets, guarantee, None, NONE.expand(2000))
    repeated = sets.repeat_interleave(40, 0)
    held = guarantee.margins(points.flatten(0, 1), repeated) > 0
    held = held.view(2000, 40, -1).all(1)
    assert bool((found == held).all())  # exact: L is the least difference over the points


def test_holds_by_hand():
    margins = torch.tensor([[[0.0, 0.5, 2.0], [-1.0, 0.0, 0.3], [-3.0, -0.2, 0.0]]])
    one, two = torch.tensor([[[True, False, False]]]), torch.tensor([[[True, True, False]]])
    none = torch.zeros(1, 1, 3, dtype=torch.bool)
    assert Local().holds(margins, one).item()
    assert not Local().holds(margins, one, torch.full((3, 3), 0.6)).item()
    assert TopK(2).holds(margins, two).item()
    assert not TopK(2).holds(margins, two, torch.full((3, 3), 0.4)).item()
    assert not Local().holds(margins, none).item()
    assert not Local().holds(margins * math.nan, one).item()
    assert LabelOrUncertain().holds(margins, two, torch.full((3, 3), 0.4)).item()
    assert not LabelOrUncertain().holds(margins, two, torch.full((3, 3), 2.0)).item()


def test_least_entropy_is_the_least(generator):
    draws = torch.rand(20_000, 5, generator=generator, dtype=torch.float64) ** 4
    draws = draws / draws.sum(1, keepdim=True)
    entropy = -torch.xlogy(draws, draws).sum(1)
    assert bool((entropy >= least_entropy(draws.amax(1)) - 1e-12).all())
    grid = torch.linspace(0.2, 1, 500, dtype=torch.float64)
    assert bool((least_entropy(grid).diff() <= 1e-12).all())


def test_other_rejections_are_named(generator):
    images, threat = torch.rand(2, 2, generator=generator), Threat("linf", 0.01)
    energy = Selective(wobbly(), "energy", 0.0)
    with pytest.raises(ValueError, match=r"the score energy .* least-confidence and entropy"):
        certify(energy, images, guarantee=Local(), threat=threat)
    with pytest.raises(ValueError, match="TopK of a net that rejects"):
        certify(logit_gap(wobbly(), 0.1, 5), images, guarantee=TopK(2), threat=threat)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_break_nothing_inside_certified_balls(norm, generator):
    """Ten thousand random corners and the attack of the guarantee, at the searched radii."""
    images, model = torch.rand(25, 2, generator=generator), wobbly(4)
    for guarantee in (Local(), RelaxedTopK(3)):
        found = certify(model, images, guarantee=guarantee, threat=Threat(norm, 0.02))
        assert (found.radius > 0).sum() > 15
        for row in range(len(images)):
            radius, place = found.radius[row].item(), int(found.alternative[row])
            if radius == 0:
                continue
            threat, sets = Threat(norm, radius), found.sets[row : row + 1, place : place + 1]
            image = images[row : row + 1]
            tiled = image.expand(400, -1)
            points = threat.project(
                tiled
                + 2
                * radius
                * torch.randn(400, 2, generator=generator).sign()
                * torch.rand(400, 2, generator=generator).round(),
                tiled,
            )
            with torch.no_grad():
                assert guarantee.margins(model(points), sets.expand(400, -1, -1)).min() > 0
        best = found.sets.gather(
            1, found.alternative.view(-1, 1, 1).expand(-1, 1, found.sets.shape[2])
        )
        least = found.radius[found.radius > 0].min().item()
        rows = found.radius > 0
        result = break_sets(
            model, images[rows], best[rows], guarantee, Threat(norm, least), steps=5
        )
        assert not bool(result.broken.any())


def planted(seed):
    """Return a net with one counterexample that gradients do not lead to, and where it lies.

    A needle: relu(1 - sum |x - p| / w), built of ReLUs, is 0 but near p; there it flips the label.
    """
    draw = torch.Generator().manual_seed(seed)
    place, width = 0.3 + 0.4 * torch.rand(4, generator=draw), 0.02
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.cat([torch.eye(4), -torch.eye(4)]))
        net[0].bias.copy_(torch.cat([-place, place]))
        net[2].weight.fill_(-1 / width)
        net[2].bias.fill_(1.0)
        net[4].weight.copy_(torch.tensor([[-3.0], [0.0]]))
        net[4].bias.copy_(torch.tensor([1.0, 0.0]))
    return net.eval(), place


@pytest.mark.parametrize("count", [15, pytest.param(300, marks=pytest.mark.slow)])
def test_planted_counterexamples_are_never_certified_away(count, generator):
    """The needle lies just inside the ball, or (then it is certified) just outside."""
    far = 0
    for seed in range(count):
        net, place = planted(seed)
        move = (torch.rand(4, generator=generator) - 0.5) * 0.4
        image = (place + move).clamp(0, 1).unsqueeze(0)
        distance = (image[0] - place).abs().amax().item()
        if distance < 0.03:
            continue
        needle = place.unsqueeze(0)
        assert net(needle).argmax(1).item() != net(image).argmax(1).item()
        inside = Threat("linf", distance * 1.0001)
        found = certify(net, image, guarantee=Local(), threat=inside, radii=[inside.eps])
        assert found.radius.item() == 0
        full = certify(net, image, guarantee=Local(), threat=Threat("linf", distance / 2))
        assert full.radius.item() < distance
        far += full.radius.item() > 0
    assert far > count / 2


class TwoPieces(nn.Module):
    """f = (|x - 1/2| - 1/4, 0): the label flips exactly at distance 1/4 from the middle."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(1, 2), nn.Linear(2, 2)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0], [-1.0]]))
            self.first.bias.copy_(torch.tensor([-0.5, 0.5]))
            self.last.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
            self.last.bias.copy_(torch.tensor([-0.25, 0.0]))

    def forward(self, images):
        return self.last(torch.relu(self.first(images)))


@pytest.mark.parametrize("place", [0.5, 0.45, 0.7, 0.9, 0.8])
def test_the_radius_of_an_analytic_net(place):
    net, image = TwoPieces().eval(), torch.tensor([[place]])
    truth = abs(abs(place - 0.5) - 0.25)
    found = certify(net, image, guarantee=Local(), threat=Threat("linf", truth / 2)).radius.item()
    assert 0 < found < truth + 1e-6
    assert found > 0.98 * truth  # with one input, lines are tight


def test_nets_in_training_mode_are_certified_as_they_are_evaluated(generator):
    net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU())
    net.append(nn.Linear(8, 3))
    net(torch.rand(50, 2, generator=generator))
    images, threat = torch.rand(6, 2, generator=generator), Threat("linf", 0.01)
    found = certify(net.train(), images, guarantee=Local(), threat=threat).radii
    assert net.training
    assert net[2].training
    assert torch.equal(found, certify(net.eval(), images, guarantee=Local(), threat=threat).radii)
