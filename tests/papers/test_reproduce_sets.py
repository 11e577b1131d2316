"""Tables of certified sets: verdicts on planted records, regions of a linear net, judges."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_certified_sets import make
from torch import nn

from surefoot.certify import lipschitz
from surefoot.data import Data, data_folder, groups, load
from surefoot.evaluation import Record
from surefoot.evaluation.certified_sets import label_alone, label_inside
from surefoot.evaluation.header import AttackPart, Work
from surefoot.guarantees import Local, RelaxedTopK, TopK
from surefoot.papers import EXPERIMENTS, judged_sets
from surefoot.papers.certified_regions import CertifiedRegion, region
from surefoot.papers.drawing.region_figures import colours, region_grid
from surefoot.papers.experiment import Row
from surefoot.papers.gloro.ambiguous import CONFUSED, TOPS_AND_SHOES
from surefoot.papers.gloro.leino_2021 import SUPERCLASSES
from surefoot.papers.set_tables import (
    GAIN,
    checked,
    figures_of,
    gain,
    no_relaxation,
    published_gain,
    worth,
)
from surefoot.stats import Interval
from surefoot.training import make_recipe

EPS = 0.5


THREE = RelaxedTopK(3)


def planted(name, alone, pairs, wrong, rejected, guarantee=THREE):
    """Make a record with so many examples of each kind, label 0 throughout."""
    parts = [
        (alone, "0;0|1", "1.0;0.0"),
        (pairs, "0;0|1", "0.1;1.0"),
        (wrong, "1;1|2", "1.0;0.0"),
        (rejected, "0;0|1", "0.1;0.1"),
    ]
    sets = [text for count, text, _ in parts for _ in range(count)]
    radii = [text for count, _, text in parts for _ in range(count)]
    record = make(sets, radii, [0] * len(sets), guarantee=guarantee)
    rows = record.rows.assign(clean=True, attacked=np.inf, certified=0.0, prediction=0)
    attack = AttackPart("made", work=Work())
    threat = replace(record.header.threat, eps=EPS)
    header = replace(record.header, name=name, threat=threat, radii=(EPS,), attack=attack)
    return Record(rows, header)


def test_the_gain_is_paired_and_stands_beside_the_published_difference():
    base = planted("local", 50, 0, 0, 50, guarantee=Local())
    assert gain(base, base, EPS) == Interval(0.0, 0.0, 0.0)
    found = gain(planted("RT3", 50, 30, 0, 20), base, EPS)
    assert found.value == pytest.approx(0.3)
    # Images in which the nets agree add nothing: the spread is that of 30 of 100 alone.
    spread = 1.96 * math.sqrt(0.3 * 0.7 / 100)
    assert found.high - found.low == pytest.approx(2 * spread, rel=0.25)
    wide = Row("RT3", make_recipe("gloro"), {"VRA relaxed": 0.36})
    alone = Row("local", make_recipe("gloro"), {"VRA local": 0.281})
    assert published_gain(wide, alone) == {GAIN: 0.079}
    assert published_gain(alone, wide) == {}


def test_relaxation_helps_only_by_a_sure_gain_in_strict_accuracy():
    base = planted("local", 50, 0, 0, 50, guarantee=Local())
    assert worth(base, base, EPS) == ""
    text = worth(planted("RT2", 50, 30, 0, 20), base, EPS)
    assert text.startswith("RT2: relaxed robustness helps: strict VRA 80.0, +30.0 points")
    assert "(local, 50.0;" in text
    assert "mean smallest set 1.38" in text
    assert "does not certainly help" in worth(planted("RT2", 50, 4, 0, 46), base, EPS)
    assert "robustness costs" in worth(planted("RT2", 20, 0, 0, 80), base, EPS)
    large = planted("RT2", 5000, 30, 0, 4970)
    small_gain = worth(large, planted("local", 5000, 0, 0, 5000, Local()), EPS)
    assert "does not certainly help" in small_gain  # sure, but not worth a point


def test_table_has_the_same_columns_for_one_label_and_for_sets():
    row = Row("RT2", make_recipe("standard"), {"VRA relaxed": 0.9})
    lines = {line.figure: line for line in figures_of(row, planted("RT2", 50, 30, 10, 10), EPS)}
    names = ["top-1", "VRA local", "VRA strict", "VRA relaxed", "attacked", "rejected", "mean set"]
    assert list(lines) == names
    assert lines["VRA relaxed"].published == 0.9
    assert lines["VRA strict"].ours == 0.8
    assert lines["mean set"].ours == pytest.approx(120 / 90)
    assert not lines["mean set"].fraction
    assert checked([planted("RT2", 1, 0, 0, 0)]).startswith("0 attacks inside")


def test_votes_tell_ambiguous_images_from_a_weak_net():
    record = planted("RT2", 1, 2, 1, 1)
    votes = torch.tensor([[0.8, 0.2, 0, 0], [0.5, 0.5, 0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    votes = torch.cat([votes, torch.tensor([[0, 0, 0.5, 0.5]])])
    mass = judged_sets.votes_inside(record, votes, EPS)
    assert mass.value == pytest.approx((0.8 + 1.0 + 1.0 + 1.0 + 0) / 5)
    assert mass.low < mass.value < mass.high <= 1
    named = judged_sets.voted_sets(record, votes, EPS)
    assert named is not None
    assert named.value == 0.5  # of the pairs {0, 1} the second was named by nobody
    unsure, sure = judged_sets.sets_where_split(record, votes, EPS)
    assert unsure is not None
    assert sure is not None
    assert (unsure.value, sure.value) == (pytest.approx(1 / 3), 0.5)
    assert judged_sets.voted_sets(planted("RT2", 2, 0, 0, 0), votes[:2], EPS) is None
    with pytest.raises(ValueError, match="evaluated rows"):
        judged_sets.votes_inside(record, votes[:3], EPS)


def strip():
    """f = (x, 1 - x): the boundary is the line x = 1/2, every radius is |x - 1/2|."""
    net = nn.Sequential(nn.Linear(2, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]))
        net[0].bias.copy_(torch.tensor([0.0, 1.0, -5.0]))
    return net


def make_region(guarantee, eps=0.2):
    points = torch.tensor([[0.1, 0.5], [0.45, 0.5], [0.9, 0.5]])
    data = Data(points, torch.tensor([1, 1, 0]), classes=("a", "b", "c"), name="strip")
    return region("net", strip(), data, guarantee=guarantee, eps=eps, side=101)


def test_regions_of_a_linear_net_are_strips_of_known_width():
    local = make_region(Local())
    line = np.linspace(0, 1, 101)
    # Lead |2x - 1| over the constant 2.
    away = np.abs(line - 0.5)
    rejected = ~local.sets.any(2).numpy()
    clear = np.abs(away - 0.2) > 1e-3
    assert (rejected[:, clear] == (away < 0.2)[clear]).all()
    assert (local.best[50, :50] == 1).all()
    assert (local.best[50, 51:] == 0).all()
    relaxed = make_region(RelaxedTopK(2))
    assert relaxed.sets.any(2).all()
    pair = relaxed.sets.sum(2).numpy() == 2
    assert (pair[:, clear] == (away < 0.2)[clear]).all()
    assert not relaxed.sets[..., 2].any()


def test_region_picture_shows_rejection_in_grey_and_pairs_in_stripes():
    local, relaxed = make_region(Local()), make_region(RelaxedTopK(2))
    grey = colours(local)[50, 50]
    assert grey[0] == grey[1] == grey[2]
    striped = {tuple(color) for color in colours(relaxed)[:, 50].round(6)}
    solid = {tuple(colours(relaxed)[50, place].round(6)) for place in (2, 98)}
    assert striped == solid
    figure = region_grid([local, relaxed])
    texts = [ax.get_xlabel() for ax in figure.axes]
    assert texts[0] == "points rejected 33.3 %, in a set of several 0.0 %"
    assert texts[1] == "points rejected 0.0 %, in a set of several 33.3 %"
    with pytest.raises(ValueError, match="at least one region"):
        region_grid([])
    assert isinstance(local, CertifiedRegion)


def test_flags_agree_with_the_figures():
    record = planted("RT2", 3, 2, 1, 1)
    assert label_alone(record, EPS).sum() == 3
    assert label_inside(record, EPS).sum() == 5


def test_published_figures_and_radii_are_those_of_the_lists():
    def shown(name):
        kind = EXPERIMENTS[name].scales["paper"].keywords
        return kind["eps"], {net.row.name: dict(net.row.published) for net in kind["nets"]}

    assert shown("gloro-mnist-2c2f") == (0.3, {"cross-entropy": {}, "TRADES": {"VRA local": 0.957}})
    assert shown("gloro-mnist-4c3f")[1]["TRADES"] == {"VRA local": 0.628}
    assert shown("gloro-cifar10")[1]["TRADES"] == {"VRA local": 0.6}
    rows = {"local": {"VRA local": 0.281}, "RT5": {"VRA relaxed": 0.36}}
    assert shown("gloro-cifar100")[1] == rows | {"affinity": {"VRA relaxed": 0.323}}
    assert shown("gloro-eurosat")[1]["RT3"] == {"VRA relaxed": 0.908}
    assert shown("gloro-tiny-imagenet")[1]["RT5"] == {"VRA relaxed": 0.277}


def test_groups_by_name_are_those_of_the_class_names():
    names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    expected = groups.with_singles(groups.from_names("tops; shoes", names), 10)
    assert expected == TOPS_AND_SHOES.groups


@pytest.mark.data
def test_written_groups_are_what_the_files_give():
    if not (data_folder() / "cifar10n_train.npz").is_file():
        pytest.skip("no SUREFOOT_DATA")
    with np.load(data_folder() / "cifar10n_train.npz") as archive:
        said = [torch.from_numpy(archive[f"random{place}"].astype(np.int64)) for place in (1, 2, 3)]
    votes = sum(torch.eye(10)[one] for one in said)
    assert groups.learned(votes, threshold=0.03) == CONFUSED.groups
    path = data_folder() / "ood_cifar100_test_2000.npz"
    found = groups.from_superclass_file(path, load("cifar100-ood").classes)
    assert found == SUPERCLASSES.groups


def test_top_k_robustness_is_no_relaxation():
    # f0 leads by 2 in all directions, f1 and f2 differ by .01 times the length of their difference.
    net = nn.Linear(2, 3)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        net.bias.copy_(torch.tensor([2.5, 0.0, 0.0]))
    gap = 0.01 * 2**0.5
    image = torch.tensor([[0.5 + gap, 0.5]])
    radii = {
        guarantee: lipschitz.certify(net.eval(), image, guarantee=guarantee).radius.item()
        for guarantee in (Local(), TopK(2), RelaxedTopK(2))
    }
    assert radii[Local()] == pytest.approx(2.0 - gap, abs=1e-4)
    assert radii[TopK(2)] == pytest.approx(0.01, abs=1e-4)
    assert radii[RelaxedTopK(2)] == radii[Local()]


def test_places_where_the_label_is_certified_and_the_top_2_set_is_not():
    found = [make_region(guarantee) for guarantee in (Local(), TopK(2), RelaxedTopK(2))]
    text = no_relaxation(found)
    shares = [100 * one.sets.any(2).double().mean().item() for one in found]
    assert shares[2] >= max(shares[:2])
    for share in shares:
        assert f"{share:.1f} %" in text
