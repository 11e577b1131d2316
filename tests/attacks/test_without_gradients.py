"""Models without gradients: Square alone, for every guarantee, for a net and for its vote."""

import pytest
import torch
from oracles import Linear
from torch import nn

from surefoot.attacks import VoteSearch, break_guarantee, break_vote
from surefoot.data import load
from surefoot.evaluation import Plain, Smoothed, bracket
from surefoot.guarantees import LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.models.border import has_gradient
from surefoot.threat import Threat
from surefoot.uncertainty import Selective
from surefoot.uncertainty.vote import Vote


@pytest.fixture
def net():
    """The nearest class mean of digits: linear, and mostly right."""
    images, labels = load("digits", "train").batch(slice(None))
    points = images.flatten(1)
    means = torch.stack([points[labels == index].mean(0) for index in range(10)])
    head = torch.nn.Linear(64, 10)
    head.weight.data, head.bias.data = means, -means.square().sum(1) / 2
    return torch.nn.Sequential(torch.nn.Flatten(), head).eval()


def boxed(net):
    """A net as code outside torch would be called: it cannot take a tensor with a graph."""
    return lambda images: torch.from_numpy(net(torch.from_numpy(images.numpy())).detach().numpy())


BLIND = {
    "numpy": boxed,
    "numpy array returned": lambda net: lambda images: net(images.detach()).detach().numpy(),
    "detached": lambda net: lambda images: net(images.detach()),
    "no graph": lambda net: torch.no_grad()(lambda images: net(images)),
}


@pytest.mark.parametrize("case", BLIND)
def test_a_model_without_gradients_is_recognised(case, net):
    images = torch.rand(3, 1, 8, 8)
    assert has_gradient(net, images)
    assert not has_gradient(BLIND[case](net), images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_finds_most_of_what_is_to_be_found_on_a_linear_net(norm, net):
    """Distances to the boundary of a linear net are known: (f_a - f_i) / ||w_a - w_i||_dual."""
    images = torch.rand(40, 1, 8, 8) * 0.2 + 0.4  # far from the box
    weight = net[1].weight.detach()
    outcomes = net(images).detach()
    order = outcomes.argsort(1, descending=True)
    apart = outcomes.gather(1, order[:, :1]) - outcomes
    differences = weight[order[:, 0], None] - weight[None]
    dual = differences.abs().sum(2) if norm == "linf" else differences.norm(dim=2)
    distance = (apart / dual).masked_fill(apart <= 0, torch.inf).amin(1)
    threat = Threat(norm, 1.5 * float(distance.median()))
    found = break_guarantee(
        boxed(net), images, guarantee=Local(), threat=threat, steps=20 if norm == "linf" else 60
    )
    assert set(found.costs) == {"checks", "square"}
    assert found.backwards == 0
    assert not bool(found.success[distance > threat.eps].any())
    near = distance < 0.8 * threat.eps
    assert near.sum() > 10
    assert found.success[near].float().mean() > 0.8
    assert "Square alone" in " ".join(found.warnings)


@pytest.mark.parametrize("guarantee", [Local(), TopK(2), RelaxedTopK(2), LabelOrUncertain()])
def test_every_guarantee_can_be_attacked(guarantee, net):
    images = torch.rand(20, 1, 8, 8)
    model = boxed(net)
    if isinstance(guarantee, LabelOrUncertain):
        model = Selective(model, "entropy", 2.0)
    found = break_guarantee(
        model, images, guarantee=guarantee, threat=Threat("linf", 0.3), steps=10
    )
    by = set(found.by) - {"", "clean"}
    assert by == {"square"}
    assert found.success.float().mean() > 0.5
    # Re-checked by the definition: at each counterexample the relation fails.
    for row, alternative in found.broken.nonzero().tolist():
        sets = guarantee.sets(torch.as_tensor(model(images[row : row + 1])))
        there = torch.as_tensor(model(found.counterexamples[row, alternative][None]))
        assert float(guarantee.margins(there, sets)[0, alternative]) <= 0


def test_verdicts_do_not_depend_on_the_batch(net):
    images, threat = torch.rand(12, 1, 8, 8), Threat("linf", 0.05)
    found = [
        break_guarantee(
            boxed(net), images, guarantee=Local(), threat=threat, steps=4, batch_size=size
        )
        for size in (3, 12)
    ]
    assert torch.equal(found[0].success, found[1].success)


def test_a_vote_is_broken_without_gradients_and_never_inside_its_certificate():
    """For a linear net of two classes the vote's boundary is the net's own."""
    net = Linear(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([-1.0, 1.0]))
    images = torch.tensor([[0.55, 0.55], [0.75, 0.75]])  # 0.05 sqrt 2 and 0.25 sqrt 2 away
    vote = Vote(boxed(net), 0.1)
    sets = Local().sets(net(images))
    found = break_vote(vote, images, sets, Local(), Threat("l2", 0.2), how=VoteSearch(steps=10))
    assert found.success.tolist() == [True, False]
    assert found.by[0] == "square-vote"
    assert found.backwards == 0


@pytest.mark.parametrize("smoothed", [False, True])
def test_the_record_says_that_square_stood_alone(smoothed, net):
    data, model = load("digits").first(12), boxed(net)
    classifier = Plain(model, steps=4)
    if smoothed:
        classifier = Smoothed(Vote(model, 0.25), n_certify=200, search=VoteSearch(steps=3))
    record = bracket(classifier, data, guarantee=Local(), threat=Threat("l2", 0.3), limits=False)
    assert "Square alone" in " ".join(record.header.warnings)
    assert not any("no usable gradient" in one for one in record.header.warnings)
    assert "square" in record.header.attack.name


def test_a_chosen_attack_by_gradients_names_the_one_without(net):
    data = load("digits").first(4)
    with pytest.raises(ValueError, match="protocol margins"):
        bracket(
            Plain(boxed(net), protocol="fast"),
            data,
            guarantee=Local(),
            threat=Threat(),
            limits=False,
        )


class OneFeature(nn.Module):
    """The sign of one feature decides."""

    def __init__(self, feature):
        super().__init__()
        self.feature = feature

    def forward(self, images):
        with torch.no_grad():
            z = images[:, self.feature] - 0.5
            return torch.stack([-z, z], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("features", "feature"), [(1, 0), (2, 0), (2, 1), (4, 3), (10, 9)])
def test_every_feature_of_a_row_is_reached(norm, features, feature):
    """All rows can be broken: only their one feature need move by less than the radius."""
    torch.manual_seed(0)
    rows = torch.rand(100, features)
    rows = rows[(rows[:, feature] - 0.5).abs() < 0.19]
    labels = (rows[:, feature] > 0.5).long()
    found = break_guarantee(
        OneFeature(feature), rows, labels=labels, guarantee=Local(), threat=Threat(norm, 0.21)
    )
    assert found.success.double().mean() > 0.95
