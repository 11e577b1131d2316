"""Figures of certified sets: hand-made rows with known answers, and brute force."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from oracles import exact_pairwise, random_linear

from made_header import made_header
from surefoot.data import Data
from surefoot.evaluation import Plain, Record, bracket, metrics
from surefoot.evaluation import certified_sets as figure
from surefoot.evaluation.header import AttackPart, LipschitzPart, Work
from surefoot.evaluation.record import join_radii, join_sets
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.models import build
from surefoot.threat import Threat

NAN = float("nan")


THREE = RelaxedTopK(3)


def make(sets, radii, labels, *, classes=4, guarantee=THREE):
    rows = pd.DataFrame({"label": labels, "sets": sets, "radii": radii})
    numbers = ("index", "prediction", "score", "set_size", "samples", "attacked", "nearest")
    for column in (*numbers, "certified"):
        rows[column] = 0.0
    for column in ("accepted", "certified_accepted", "clean", "set", "attack"):
        rows[column] = ""
    parts = {"classes": classes, "guarantee": guarantee, "certificate": LipschitzPart()}
    return Record(rows, made_header(len(rows), **parts))


#                 right alone | right in the pair | wrong alone, right pair | nothing | wrong
HAND = make(
    ["0;0|1", "0;0|1", "2;2|3", "1;1|2", "3;3|0"],
    ["0.5;0.2", "0.1;0.4", "0.3;0.3", "0.1;0.0", "0.9;0.9"],
    [0, 1, 3, 1, 2],
)


def values(record, radius):
    names = ("local", "strict", "relaxed")
    found = [getattr(figure, f"{name}_accuracy")(record, radius).value for name in names]
    others = (figure.singleton_rate, figure.rejection_rate, figure.gained)
    return found + [other(record, radius).value for other in others]


def test_hand_made_rows_give_the_figures_one_counts_by_hand():
    assert values(HAND, 0.25) == pytest.approx([0.2, 0.4, 0.6, 0.6, 0.2, 0.2])
    assert values(HAND, 0.0) == pytest.approx([0.4, 0.4, 0.8, 1.0, 0.0, 0.0])
    assert values(HAND, 1.0) == pytest.approx([0, 0, 0, 0, 1, 0])
    assert figure.mean_certified_size(HAND, 0.25) == 5 / 4
    assert figure.mean_certified_size(HAND, 0.25, "largest") == 7 / 4
    assert np.isnan(figure.mean_certified_size(HAND, 1.0))


def test_strata_count_every_example_once():
    found = figure.by_size(HAND, 0.25).set_index("size")
    assert found["count"].to_dict() == {0: 1, 1: 3, 2: 1}
    assert found["right"].to_dict() == {0: 0, 1: 1, 2: 1}
    assert found["value"].to_dict() == pytest.approx({0: 0.0, 1: 1 / 3, 2: 1.0})
    assert (found["low"] <= found["value"]).all()
    assert (found["value"] <= found["high"]).all()


def test_curves_of_a_size_forget_the_other_sizes():
    assert figure.sizes_of(HAND) == [1, 2]
    every, right = figure.radii_of_size(HAND, 2)
    assert every.tolist() == [0.2, 0.4, 0.3, 0.0, 0.9]
    assert right.tolist() == [0.2, 0.4, 0.3, 0.0, 0.0]
    curves = figure.radius_curves(HAND, np.array([0.25])).set_index("size")
    assert curves["certified"].to_dict() == {1: 0.6, 2: 0.6}
    assert curves["value"].to_dict() == {1: 0.2, 2: 0.4}


def test_composition_parts_every_example_once():
    parts = figure.composition(HAND, np.array([0.0, 0.25, 1.0])).set_index("radius")
    assert parts.loc[0.25].to_dict() == pytest.approx(
        {"1": 0.2, "2": 0.2, "wrong": 0.4, "rejected": 0.2}
    )
    assert parts.sum(axis=1).tolist() == pytest.approx([1, 1, 1])


def test_matrices_count_who_stands_with_whom():
    matrix = figure.class_matrix(HAND, 0.25)
    assert matrix.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    against = figure.label_matrix(HAND, 0.25)
    assert against[1].tolist() == [0.5, 0.5, 0.0, 0.0]
    assert against[2].tolist() == [0, 0, 0, 1]
    missing = figure.label_matrix(make(["0;0|1"], ["1;1"], [0]), 0.5)
    assert missing[0].tolist() == [1, 0, 0, 0]
    assert np.isnan(missing[1:]).all()


def test_uncertain_alone_is_a_rejection():
    record = make(["4;1|4", "1;1|4"], ["0.5;0.2", "0.5;0.2"], [1, 1])
    assert figure.rejection_rate(record, 0.3).value == 0.5
    assert figure.rejection_rate(record, 0.1).value == 0.0
    assert figure.class_matrix(record, 0.1).shape == (5, 5)


def test_unavailable_alternatives_are_nothing():
    record = make([";0|1", ";"], ["0.0;0.5", "0.0;0.0"], [0, 0])
    assert values(record, 0.5) == [0, 0.5, 0.5, 0, 0.5, 0.5]


@pytest.mark.parametrize("guarantee", [LabelOrUncertain()])
def test_figures_of_other_guarantees_are_refused(guarantee):
    with pytest.raises(ValueError, match="every member"):
        figure.alternatives(make(["0|4"], ["1.0"], [0], guarantee=guarantee))
    with pytest.raises(ValueError, match="need a certificate"):
        figure.alternatives(make(["0;0|1"], [""], [0]))
    assert not figure.is_set_valued(make(["0"], ["1.0"], [0], guarantee=Local()))


GUARANTEES = [TopK(2), RelaxedTopK(3), Affinity(((0, 1, 2), (3, 4), (2, 4)))]


def brute_force(outcomes, constants, labels, guarantee, radius):
    """Walk through all top-k sets of every example with plain loops."""
    total = {"local": 0, "strict": 0, "relaxed": 0, "rejected": 0, "size": 0, "one": 0}
    for row, label in zip(outcomes.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda place: -row[place])
        allowed = []
        for k in range(1, len(row)):
            best = set(order[:k])
            if isinstance(guarantee, TopK) and k != guarantee.k:
                continue
            if isinstance(guarantee, RelaxedTopK) and k > guarantee.k:
                continue
            if isinstance(guarantee, Affinity) and not any(
                best <= set(group) for group in guarantee.groups
            ):
                continue
            pairs = itertools.product(best, set(order[k:]))
            if min((row[a] - row[i]) / constants[a, i].item() for a, i in pairs) >= radius:
                allowed.append(best)
        total["rejected"] += not allowed
        if allowed:
            total["strict"] += label in allowed[0]
            total["relaxed"] += label in allowed[-1]
            total["local"] += allowed[0] == {label}
            total["one"] += len(allowed[0]) == 1
            total["size"] += len(allowed[0])
    return total


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=repr)
def test_figures_agree_with_brute_force_over_outcomes(guarantee, generator):
    model = random_linear(5, 6)
    points = torch.rand(300, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(5, (300,), generator=generator)
    outcomes, constants = model(points).detach(), exact_pairwise(model).detach()
    sets = guarantee.sets(outcomes)
    radii = guarantee.lipschitz_radii(outcomes, sets, constants)
    record = make(join_sets(sets), join_radii(radii, 300), labels.tolist(), classes=5)
    for radius in (0.02, 0.1, 0.2):
        found = brute_force(outcomes, constants, labels, guarantee, radius)
        names = ("local", "strict", "relaxed")
        got = {n: getattr(figure, f"{n}_accuracy")(record, radius).value * 300 for n in names}
        assert got == pytest.approx({name: found[name] for name in names})
        assert figure.rejection_rate(record, radius).value == found["rejected"] / 300
        assert figure.singleton_rate(record, radius).value == found["one"] / 300
        kept = 300 - found["rejected"]
        assert figure.mean_certified_size(record, radius) == pytest.approx(found["size"] / kept)
        assert np.trace(figure.class_matrix(record, radius)) == found["size"]


def small_data(count=60):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 6, generator=generator)
    labels = torch.randint(4, (count,), generator=generator)
    return Data(images, labels, classes=("a", "b", "c", "d"), name="noise")


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_bracket_keeps_the_radius_of_every_alternative(norm):
    torch.manual_seed(0)
    net = build("lipschitz-mlp", inputs=6, hidden=(16,), classes=4)
    data, threat = small_data(), Threat(norm, 0.01)
    plain = Plain(net, "lipschitz", steps=5)
    record = bracket(plain, data, guarantee=RelaxedTopK(3), threat=threat, radii=(0.005,))
    assert figure.is_set_valued(record)
    for radius in (0.0, 0.005, 0.01):
        relaxed = figure.relaxed_accuracy(record, radius)
        assert relaxed == metrics.certified_accuracy(record, radius)
        assert figure.strict_accuracy(record, radius).value <= relaxed.value
    _, labels = data.batch(slice(None))
    local = bracket(plain, data, guarantee=Local(), threat=threat)
    found = figure.local_accuracy(record, 0.01)
    assert found == metrics.certified_accuracy(local, 0.01)
    wrong = record.rows["prediction"].to_numpy() != labels.numpy()
    assert (figure.alternatives(record).radii[wrong] > 0).any()  # also where the label is outside


def test_selective_records_keep_radii_of_their_sets_but_have_no_set_figures():
    from surefoot.evaluation import Smoothed
    from surefoot.uncertainty import Selective
    from surefoot.uncertainty.vote import Vote

    torch.manual_seed(0)
    net = Selective(build("lipschitz-mlp", inputs=6, hidden=(16,), classes=4), "entropy", 1.2)
    vote = Smoothed(Vote(net, 0.1), n_certify=200)
    threat = Threat("l2", 0.1)
    record = bracket(
        vote, small_data(20), guarantee=LabelOrUncertain(), threat=threat, attack=False
    )
    assert record.rows["radii"].astype(float).max() > 0
    with pytest.raises(ValueError, match="one of them may win"):
        figure.alternatives(record)


def test_cross_check_counts_attacks_inside_certified_radii():
    rows = HAND.rows.assign(
        clean=True,
        certified=[0.5, 0.25, 0.1, 0.0, 0.6],
        attacked=[np.inf, 0.3, 0.2, 0.2, 0.6],
        nearest=[np.inf, 0.3, 0.2, 0.2, 0.6],
    )
    attack = AttackPart("made", work=Work())
    record = Record(rows, made_header(5, radii=(0.2, 0.3, 0.6), attack=attack))
    found = metrics.cross_check(record)
    assert found is not None
    # radius .2: rows 0, 1 and 4; .3: rows 0 and 4; .6: row 4
    assert (found.inside, found.refuted, found.both) == (6, 1, 3)
    assert found.ratio == pytest.approx(1.2)
    assert found.least == 1.0
    attack = AttackPart("made", work=Work(skipped_certified=3))
    skipped = metrics.cross_check(Record(rows, made_header(5, radii=(0.2,), attack=attack)))
    assert skipped is not None
    assert skipped.inside == 0
    assert metrics.cross_check(Record(rows, made_header(5, radii=(0.2,)))) is None
    uncertified = rows.assign(certified=NAN)
    assert metrics.cross_check(Record(uncertified, record.header)) is None
