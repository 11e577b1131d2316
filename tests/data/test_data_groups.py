"""Affinity groups: forms of files and names, superclasses, planted confusions."""

import json

import numpy as np
import pytest
import torch

from surefoot.data import data_folder, groups, load
from surefoot.guarantees import Affinity

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_a_file_may_name_classes_or_indices_in_a_list_or_an_object(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text(json.dumps([["dog", 3], [9, "automobile", "truck"]]))
    assert groups.from_file(path, CIFAR) == ((3, 5), (1, 9))
    path.write_text(json.dumps({"pets": ["Cat", "DOG"], "others": [0]}))
    assert groups.from_file(path, CIFAR) == ((3, 5), (0,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[1,", "cannot read"),
        ('[["catt"]]', "did you mean 'cat'"),
        ("[[10]]", "count from 0"),
        ("[[-1]]", "count from 0"),
        ("[[0.5]]", "0.5"),
        ("[[true]]", "True"),
        ("[1, 2]", "1: expected a group"),
        ("[[]]", "at least one class"),
        ("[]", "at least one group"),
        ("{}", "at least one group"),
        ("3", "at least one group"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 900 + "1" + "]" * 900, "must hold a list of lists"),
        ("[[1" + "0" * 5000 + "]]", "cannot read"),
        (b"\xff", "cannot read"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_faults_of_a_file_are_named(text, message, tmp_path):
    path = tmp_path / "groups.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        groups.from_file(path, CIFAR)
    with pytest.raises(ValueError, match="cannot read"):
        groups.from_file(tmp_path / "none.json", CIFAR)


def test_names_of_classes_and_of_known_groups():
    assert groups.from_names("cat, dog;truck,automobile", CIFAR) == ((3, 5), (1, 9))
    found = groups.from_names("animals; Vehicles", CIFAR)
    assert found == ((2, 3, 4, 5, 6, 7), (0, 1, 8, 9))
    with pytest.raises(ValueError, match="'animals': no such class"):
        groups.from_names("animals", ("a", "b"))
    assert groups.from_names("animals; x", ("animals", "x")) == ((0,), (1,))


def test_superclasses_from_two_label_arrays():
    fine = torch.tensor([4, 0, 1, 4, 2, 3])
    coarse = torch.tensor([7, 7, 0, 7, 0, 9])
    assert groups.from_superclasses(fine, coarse) == ((1, 2), (0, 4), (3,))
    with pytest.raises(ValueError, match="class 4 occurs under the superclasses 7 and 8"):
        groups.from_superclasses(fine, torch.tensor([7, 7, 0, 8, 0, 9]))
    with pytest.raises(ValueError, match="same images"):
        groups.from_superclasses(fine, coarse[:3])


def test_superclasses_of_a_file_are_resolved_by_name(tmp_path):
    path = tmp_path / "fine.npz"
    np.savez(
        path, fine=np.array([0, 1, 2]), coarse=np.array([1, 0, 1]), fine_names=np.array(list("abc"))
    )
    assert groups.from_superclass_file(path, ("c", "b", "a")) == ((1,), (0, 2))
    with pytest.raises(ValueError, match="no such class"):
        groups.from_superclass_file(path, ("c", "b", "z"))


@pytest.mark.data
def test_cifar100_has_twenty_superclasses_of_five():
    path = data_folder() / "ood_cifar100_test_2000.npz"
    if not path.is_file():
        pytest.skip("no SUREFOOT_DATA")
    classes = load("cifar100-ood").classes
    found = groups.from_superclass_file(path, classes)
    assert [len(group) for group in found] == [5] * 20
    assert sorted(sum(found, ())) == list(range(100))
    names = [{classes[member] for member in group} for group in found]
    assert {"beaver", "dolphin", "otter", "seal", "whale"} in names
    assert {"bicycle", "bus", "motorcycle", "pickup_truck", "train"} in names


def planted(pairs, classes=6, images=4000, votes=20, seed=0):
    """Draw votes: an image of class a gets b with the fraction planted for (a, b)."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, classes, images)
    fractions = np.eye(classes)
    for (a, b), much in pairs.items():
        fractions[[a, b], [b, a]] += much
    fractions /= fractions.sum(1, keepdims=True)
    return torch.from_numpy(
        np.stack([draw.multinomial(votes, fractions[label]) for label in truth])
    )


def test_confusion_is_the_probability_that_two_annotators_differ_in_that_way():
    votes = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    found = groups.confusion(votes)
    # a said .75, b 1.25, together 2 * .75 * .25
    assert found[0, 1].item() == pytest.approx(2 * 0.1875 / 2.0)
    assert found.equal(found.T)
    assert found.diagonal().abs().max() == 0
    assert found[:, 2].abs().max() == 0
    coin = torch.tensor([[0.5, 0.5]])
    assert groups.confusion(coin)[0, 1].item() == pytest.approx(0.5)


def test_planted_confusions_are_found_and_no_others():
    pairs = {(0, 1): 0.2, (1, 2): 0.2, (0, 2): 0.2, (2, 3): 0.3}
    votes = planted(pairs)
    assert groups.learned(votes, threshold=0.05) == ((0, 1, 2), (2, 3), (4,), (5,))
    assert groups.learned(votes / votes.sum(1, keepdim=True), threshold=0.05)[1] == (2, 3)
    assert groups.learned(votes, threshold=0.9) == tuple((place,) for place in range(6))
    three = groups.clustered(planted({(0, 1): 0.2, (2, 3): 0.3, (4, 5): 0.1}), count=3)
    assert three == ((0, 1), (2, 3), (4, 5))
    assert groups.clustered(votes, count=6) == tuple((place,) for place in range(6))


def test_cliques_agree_with_brute_force(generator):
    edges = torch.rand(7, 7, generator=generator) < 0.5
    edges = edges & edges.T & ~torch.eye(7, dtype=torch.bool)
    neighbours = [{b for b in range(7) if edges[a, b]} for a in range(7)]
    subsets = [{place for place in range(7) if mask >> place & 1} for mask in range(1, 2**7)]
    full = [s for s in subsets if all(b in neighbours[a] for a in s for b in s - {a})]
    maximal = [s for s in full if not any(s < other for other in full)]
    found = groups._cliques(set(), set(range(7)), set(), neighbours)
    assert sorted(map(sorted, found)) == sorted(map(sorted, maximal))


@pytest.mark.data
def test_groups_learned_from_cifar10n_are_the_ambiguous_pairs():
    path = data_folder() / "cifar10n_train.npz"
    if not path.is_file():
        pytest.skip("no SUREFOOT_DATA")
    with np.load(path) as archive:
        said = [archive[f"random{place}"] for place in (1, 2, 3)]
    votes = sum(torch.eye(10)[torch.from_numpy(one.astype(np.int64))] for one in said)
    found = groups.learned(votes, threshold=0.03)
    named = [{CIFAR[member] for member in group} for group in found]
    assert {"cat", "dog"} in named
    assert {"automobile", "truck"} in named
    assert {"deer", "horse"} in named
    Affinity(found)


def test_settings_of_learning_are_checked():
    votes = planted({(0, 1): 0.2}, images=50)
    for threshold in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            groups.learned(votes, threshold=threshold)
    for count in (1, 7):
        with pytest.raises(ValueError, match=r"\[2, 6\]"):
            groups.clustered(votes, count=count)
    with pytest.raises(ValueError, match="fractions or counts"):
        groups.confusion(-votes)


def test_singles_make_affinity_a_relaxation_of_local():
    assert groups.with_singles(((1, 3),), 4) == ((1, 3), (0,), (2,))
    outcomes = torch.tensor([[3.0, 0.0, 1.0, 0.0]])
    assert Affinity(groups.with_singles(((1, 3),), 4)).sets(outcomes)[0, 0].tolist()[0]
    assert not Affinity(((1, 3),)).sets(outcomes).any()
