"""Linear votes, whose radii are known: certificates never exceed them, and come close.

On w x + b only the signed distance z to the border matters, and noise moves it by sigma times a
standard normal. The band |z| < BAND is uncertain.
"""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import nn

from surefoot.attacks import VoteSearch
from surefoot.certify.smoothing import certify, radii_from_counts
from surefoot.data import Data
from surefoot.evaluation import Smoothed, bracket
from surefoot.guarantees import LabelOrUncertain, Local
from surefoot.threat import Threat
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.vote import Vote

BAND, SIGMA, DIMENSION = 0.4, 0.5, 4


class Band(nn.Module):
    """Label 1 where z > BAND, label 0 where z < -BAND, "uncertain" between."""

    rejects = True

    def forward(self, images):
        z = (images.flatten(1) - 0.5).sum(1) / DIMENSION**0.5
        return torch.stack([-z, z, z * 0 + BAND], 1)


class Sides(nn.Module):
    """The same without the band."""

    def forward(self, images):
        z = (images.flatten(1) - 0.5).sum(1) / DIMENSION**0.5
        return torch.stack([-z, z], 1)


def probabilities(z):
    """Fractions of label 0, label 1 and "uncertain" at the distance z."""
    low, high = norm.cdf((-BAND - z) / SIGMA), norm.cdf((z - BAND) / SIGMA)
    return low, high, 1 - low - high


# The vote for label 1 yields to "uncertain" at one z, and "uncertain" to label 0 at another.
YIELDS = brentq(lambda z: probabilities(z)[1] - probabilities(z)[2], 0, 2)
FALLS = brentq(lambda z: probabilities(z)[0] - max(probabilities(z)[1:]), -2, 0)
DISTANCES = np.linspace(0.8, 2.5, 18) * SIGMA


def test_with_exact_probabilities_the_bracket_is_closed():
    """Plain; (i) where "uncertain" is all beyond the border; both radii of the rule majority."""
    inside = torch.tensor([[[True, False]]])
    for distance in DISTANCES:
        p = torch.tensor([[norm.cdf(distance / SIGMA), norm.cdf(-distance / SIGMA)]])
        found = Local().smoothed_radii(p.double(), inside, SIGMA).item()
        assert distance / found == pytest.approx(1, abs=1e-3)
        certain = norm.cdf((distance - BAND) / SIGMA)
        beyond = torch.tensor([[certain, 0.0, 1 - certain]]).double()
        sets = torch.tensor([[[True, False, False]]])
        if certain > 0.5:
            found = Local().smoothed_radii(beyond, sets, SIGMA).item()
            assert (distance - BAND) / found == pytest.approx(1, abs=1e-3)
            assert (distance - BAND) / (SIGMA * norm.ppf(certain)) == pytest.approx(1, abs=1e-3)
        wrong = norm.cdf((-distance - BAND) / SIGMA)
        assert (distance + BAND) / (-SIGMA * norm.ppf(wrong)) == pytest.approx(1, abs=1e-3)


def test_with_100_000_samples_the_bracket_is_closed_to_three_hundredths():
    random = np.random.default_rng(0)
    for distance in DISTANCES:
        right = random.binomial(100_000, norm.cdf(distance / SIGMA))
        counts = Counts.of(torch.tensor([[right, 100_000 - right, 0]]), rejects=False)
        sets = torch.tensor([[[True, False]]])
        found, _ = radii_from_counts(counts, sets, Local(), SIGMA, 1e-3, rule="majority")
        assert 1 <= distance / found.item() <= 1.03
        found, _ = radii_from_counts(counts, sets, Local(), SIGMA, 1e-3)
        assert 1 <= distance / found.item() <= 1.035  # half of alpha a bound
        low, _, unsure = (
            random.binomial(100_000, probability) for probability in probabilities(distance)
        )
        low, unsure = int(low), int(unsure)
        table = torch.tensor([[100_000 - low - unsure, low, unsure, 0]])
        counts = Counts.of(table, rejects=True)
        either = torch.tensor([[[True, False, True]]])
        found, _ = radii_from_counts(
            counts, either, LabelOrUncertain(), SIGMA, 1e-3, rule="majority"
        )
        if (distance + BAND) / SIGMA <= 2.5:
            assert 1 <= (distance + BAND) / found.item() <= 1.03


@pytest.fixture(scope="module")
def points():
    images = torch.rand(10_000, DIMENSION, generator=torch.Generator().manual_seed(0))
    z = (images.double() - 0.5).sum(1) / DIMENSION**0.5
    return images, z


def test_no_violation_on_10_000_points_without_rejection(points):
    images, z = points
    found = certify(
        Sides(), images, guarantee=Local(), sigma=SIGMA, alpha=1e-6, n_select=20, n_certify=300
    )
    right = found.sets[:, 0, 1] == (z > 0)
    assert bool(((found.radius <= z.abs()) | (found.radius == 0)).all())
    assert bool((found.radius[~right] == 0).all())
    assert (found.radius > 0).double().mean() > 0.1


@pytest.mark.parametrize(
    ("guarantee", "rule", "many"),
    [
        (Local(), "argmax", 1_000),
        (Local(), "majority", 1_000),
        (LabelOrUncertain(), "argmax", 10_000),
        (LabelOrUncertain(), "majority", 1_000),
    ],
    ids=repr,
)
def test_no_violation_with_rejection(points, guarantee, rule, many):
    images, z = (part[:many] for part in points)
    settings = {"sigma": SIGMA, "alpha": 1e-6, "n_select": 20, "n_certify": 300}
    found = certify(Band(), images, guarantee=guarantee, rule=rule, **settings)
    yields, falls = (YIELDS, FALLS) if rule == "argmax" else (BAND, -BAND)
    side = torch.where(found.sets[:, 0, 1], z, -z)  # positive where the label is right
    truth = side - (yields if isinstance(guarantee, Local) else falls)
    if isinstance(guarantee, Local) and rule == "argmax":  # or it stays uncertain
        truth = torch.where(found.sets[:, 0, 2], yields - z.abs(), truth)
    certified = found.radius > 0
    if isinstance(guarantee, Local) and rule == "majority":
        certified &= ~found.sets[
            :, 0, 2
        ]  # more than half of the probability for "uncertain" itself
    assert bool((found.radius <= truth)[certified].all())
    assert certified.double().mean() > (0.02 if isinstance(guarantee, Local) else 0.1)


@pytest.mark.parametrize("rule", ["argmax", "majority"])
def test_attack_and_certificate_close_in_on_linear_votes(points, rule):
    """The whole bracket, both ends from samples: it contains the truth and is narrow."""
    images, z = points
    few = ((z > 0.8 * SIGMA) & (z < 2 * SIGMA)).nonzero().flatten()[:8]
    data = Data(
        images[few], torch.ones(8, dtype=torch.long), classes=("low", "high"), name="linear"
    )
    search = VoteSearch(steps=4, n_choose=200, n_confirm=20_000)
    model = Sides() if rule == "argmax" else Band()
    classifier = Smoothed(
        Vote(model, SIGMA, rule=rule), n_certify=100_000, search=search, alpha=1e-3
    )
    free = Threat("l2", 1.2, low=-9.0, high=9.0)
    record = bracket(classifier, data, guarantee=Local(), threat=free, limits=False)
    truth = z[few].numpy() - (0.0 if rule == "argmax" else BAND)
    certified, nearest = record.rows["certified"], record.rows["nearest"]
    assert (certified.to_numpy() <= truth).all()
    # An attack errs towards the image by its level only.
    assert (nearest.to_numpy() >= truth * 0.98).all()
    ratio = (nearest / certified).median()
    assert 1 <= ratio <= (1.15 if rule == "argmax" else 1.3)  # the truth is smaller there
