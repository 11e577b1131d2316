"""Rows in a folder are reused only for the same model, data and question."""

import importlib
import threading

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from surefoot.data import Data
from surefoot.evaluation import Plain, Smoothed, bracket
from surefoot.evaluation.identity import identity_of, repeats
from surefoot.evaluation.store import same_outcomes
from surefoot.evaluation.studies.detection import Asked, detect
from surefoot.evaluation.studies.rejection_study import rejection_curve
from surefoot.guarantees import Local
from surefoot.models.estimator import from_estimator
from surefoot.report.words import grounds
from surefoot.threat import Threat
from surefoot.uncertainty import Selective, Tempered
from surefoot.uncertainty.vote import Vote

HOW = {"guarantee": Local(), "threat": Threat("l2", 0.05), "limits": False}


def some(count: int = 120) -> Data:
    """Sorted by class, as folders of images are: the first rows say nothing of the others."""
    labels = torch.arange(3).repeat_interleave(count // 3)
    images = torch.rand(count, 6, generator=torch.Generator().manual_seed(0)) * 0.4
    images[torch.arange(count), labels] += 0.6
    return Data(images, labels, classes=("a", "b", "c"), name="sorted")


class Capped(nn.Module):
    """A net with a plain number in it, as thresholds, temperatures and clamps are."""

    def __init__(self, cap: float = 10.0) -> None:
        super().__init__()
        self.layer, self.cap = nn.Linear(6, 3, bias=False), cap
        with torch.no_grad():
            self.layer.weight.zero_()
            self.layer.weight[:, :3] = 5 * torch.eye(3)

    def forward(self, images):
        logits = self.layer(images)
        return torch.cat([logits[:, :2], logits[:, 2:].clamp(max=self.cap)], 1)


class Rejecting(nn.Module):
    rejects = True

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.net, self.threshold = Capped(), threshold

    def forward(self, images):
        logits = self.net(images)
        top, sure = logits.amax(1), logits.softmax(1).amax(1) >= self.threshold
        return torch.cat([logits, torch.where(sure, top - 1, top + 1)[:, None]], 1)


def worked_chunks(monkeypatch) -> list[int]:
    module, seen = importlib.import_module("surefoot.evaluation.bracket"), []
    original = module._chunk
    monkeypatch.setattr(
        module, "_chunk", lambda job, rows: seen.append(rows.start) or original(job, rows)
    )
    return seen


CHANGES = {
    "an attribute": lambda net: setattr(net, "cap", 0.0),
    "a weight, in place": lambda net: net.layer.weight.data[2].mul_(-1),
    "a callable inside": lambda net: setattr(net, "forward", lambda images: -images[:, :3]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("form", ["module", "callable"])
def test_a_changed_model_is_evaluated_anew(change, form, tmp_path):
    net = Capped().eval()
    model = net if form == "module" else lambda images: net(images)
    first = bracket(Plain(model, steps=3), some(), folder=tmp_path / "a", **HOW)
    CHANGES[change](net)
    again = bracket(Plain(model, steps=3), some(), folder=tmp_path / "a", **HOW)
    fresh = bracket(Plain(model, steps=3), some(), folder=tmp_path / "b", **HOW)
    assert again.rows.equals(fresh.rows)
    assert not again.rows.equals(first.rows)


def test_a_changed_threshold_is_seen_though_the_first_rows_are_alike(tmp_path):
    def run(threshold, folder):
        model = Rejecting(threshold).eval()
        return bracket(Plain(model, steps=3), some(), folder=tmp_path / folder, **HOW).rows

    one, again, fresh = run(0.6, "a"), run(0.95, "a"), run(0.95, "b")
    assert again.equals(fresh)
    assert not again.equals(one)


def test_a_killed_run_of_another_model_lends_no_shard(tmp_path, monkeypatch):
    module = importlib.import_module("surefoot.evaluation.bracket")
    original = module._chunk

    def dies(job, rows):
        if rows.start > 0:
            raise KeyboardInterrupt
        return original(job, rows)

    net, data = Capped().eval(), some(600)
    monkeypatch.setattr(module, "_chunk", dies)
    with pytest.raises(KeyboardInterrupt):
        bracket(Plain(net, steps=2), data, folder=tmp_path / "a", **HOW)
    monkeypatch.setattr(module, "_chunk", original)
    net.cap = 0.0
    again = bracket(Plain(net, steps=2), data, folder=tmp_path / "a", **HOW)
    assert again.rows.equals(bracket(Plain(net, steps=2), data, **HOW).rows)


def test_spelling_names_and_other_machines_do_not_start_anew(tmp_path, monkeypatch):
    worked, net = worked_chunks(monkeypatch), Capped().eval()
    first = bracket(Plain(net, steps=3), some(), folder=tmp_path, command="one", **HOW)
    assert worked == [0]
    # Arithmetic of another machine: a part in a million.
    net.layer.weight.data.mul_(1 + 1e-6)
    module = importlib.import_module("surefoot.evaluation.identity")
    monkeypatch.setattr(module, "fingerprint", lambda model: first.header.model.hash)
    how = HOW | {"folder": str(tmp_path), "command": "two", "name": "another"}
    again = bracket(Plain(net, steps=3), some(), **how)
    assert worked == [0]
    assert (again.header.command, again.header.name) == ("two", "another")
    assert again.rows.equals(first.rows)


def test_outcomes_that_are_missing_or_damaged_start_anew(tmp_path, monkeypatch):
    worked, net = worked_chunks(monkeypatch), Capped().eval()
    bracket(Plain(net, steps=3), some(), folder=tmp_path, **HOW)
    assert same_outcomes(tmp_path, {"sorted": net(some().images)})
    assert not same_outcomes(tmp_path, {"sorted": net(some().images) + 0.01})
    assert not same_outcomes(tmp_path, {"other": net(some().images)})
    (tmp_path / "outcomes.safetensors").write_bytes(b"damaged")
    bracket(Plain(net, steps=3), some(), folder=tmp_path, **HOW)
    (tmp_path / "outcomes.safetensors").unlink()
    bracket(Plain(net, steps=3), some(), folder=tmp_path, **HOW)
    assert worked == [0, 0, 0]


def test_a_temperature_is_part_of_a_detector(tmp_path):
    stream = torch.Generator().manual_seed(0)
    none = torch.zeros(20, dtype=torch.long)
    ours = Data(torch.rand(20, 6, generator=stream), none, classes=("a", "b", "c"), name="in")
    other = Data(torch.rand(20, 6, generator=stream), none, classes=("a", "b", "c"), name="out")
    asked = Asked(radii=(0.1,), n_certify=100, steps=2, draws=4)

    def mean(temperature, folder):
        vote = Vote(Tempered(Capped(), temperature).eval(), 0.25)
        found = detect(vote, ours, other, asked=asked, folder=tmp_path / folder)
        return found.rows["mean"].tolist()

    def radii(temperature, folder):
        vote = Vote(Tempered(Capped(), temperature).eval(), 0.25)
        how = {"thresholds": (0.2, 0.6), "n_certify": 100, "folder": tmp_path / folder}
        return rejection_curve(vote, ours, **how).rows["tight"].tolist()

    for measure in (mean, radii):
        name = measure.__name__
        first, again = measure(1.0, name), measure(0.05, name)
        assert again == measure(0.05, name + " fresh")
        assert again != first


def test_rows_that_repeat_an_image_are_listed_and_not_counted_twice():
    data = some(30)
    twice = Data(
        data.images.repeat(3, 1), data.labels.repeat(3), classes=data.classes, name="twice"
    )
    assert repeats(data) == []
    assert repeats(twice) == list(range(30, 90))
    vote = Vote(Capped().eval(), 0.1)
    record = bracket(Smoothed(vote, n_certify=300), twice, attack=False, **HOW)
    assert record.header.data.repeats == tuple(range(30, 90))
    assert (record.rows["certified"] > 0.05).all()
    text = " ".join(grounds(record).values())
    # Of 30 images at alpha .001 one may be false with probability 3 %: 30 hold, not 90 less one.
    assert "at least 30 of these 30 different images hold" in text


class Quantised(nn.Module):
    """Rounds to a grid that all images lie on, so that clean outcomes do not show it."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels, self.calls = levels, 0

    def forward(self, x):
        self.calls += 1
        return 8 * ((x * self.levels).round() / self.levels if self.levels else x)[:, :3]


def test_attributes_that_no_clean_row_shows_are_part_of_the_model(tmp_path):
    data = some()
    data = Data((data.images * 4).round() / 4, data.labels, classes=data.classes, name="grid")
    how = HOW | {"threat": Threat("l2", 0.2)}

    def attacked(levels, folder):
        found = bracket(Plain(Quantised(levels).eval(), steps=3), data, folder=folder, **how)
        return found.rows["attacked"].tolist()

    first, other = attacked(4, tmp_path), attacked(0, tmp_path)
    assert other == attacked(0, None)
    assert other != first


def test_functions_are_told_apart_by_their_code(tmp_path):
    data = some()

    def scaled(by):
        return lambda x: by * x[:, :3]

    names = [
        bracket(Plain(scaled(by), steps=1), data, folder=tmp_path, **HOW).header.identity
        for by in (1.0, 1.0, 1 + 1e-6)
    ]
    assert names[0] == names[1] != names[2]


def test_a_counter_of_calls_does_not_forbid_to_read_back(tmp_path, monkeypatch):
    module, worked = importlib.import_module("surefoot.evaluation.bracket"), []
    original = module._chunk
    monkeypatch.setattr(
        module, "_chunk", lambda job, rows: worked.append(rows.start) or original(job, rows)
    )
    model = Quantised(0).eval()
    for _ in range(2):
        bracket(Plain(model, steps=1), some(), folder=tmp_path, **HOW)
    assert worked == [0]


def test_a_threshold_beside_large_logits_is_part_of_the_model(tmp_path):
    model = nn.Linear(6, 3).eval()
    with torch.no_grad():
        model.weight.copy_(80 * torch.eye(3, 6))

    def accepted(threshold, folder):
        model_ = Selective(model, "entropy", threshold)
        return bracket(Plain(model_, steps=1), some(), folder=folder, **HOW).rows["clean"].sum()

    first, other = accepted(1e-12, tmp_path), accepted(1e-4, tmp_path)
    assert other == accepted(1e-4, None)
    assert other > first


@pytest.mark.parametrize("config", [{"lr": 0.1}, ["a"], "resnet", object(), {("a", 1): 2}])
def test_a_config_of_others_is_no_obstacle(config):
    model = nn.Linear(6, 3).eval()
    model.config = config
    found = bracket(Plain(model, steps=1), some(), **HOW)
    assert found.header.model.name == "Linear"


def test_callables_without_attributes_have_an_identity():
    data = some(30)
    names = [identity_of(model, data)["attributes"] for model in (torch.sin, nn.Linear(6, 3))]
    assert names[0] != names[1]
    assert identity_of(torch.sin, data)["hash"] is None


class Cut(nn.Module):
    """A threshold that is kept as whatever is given: no weight, no buffer, no plain number."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def forward(self, images):
        cut = self.kept["cut"] if isinstance(self.kept, dict) else float(self.kept)
        z = images.flatten(1)[:, 0] - cut
        return torch.stack([-z, z], 1)


def by_array(cut):
    held = np.array([cut])
    return lambda images: torch.stack([held[0] - images[:, 0], images[:, 0] - held[0]], 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda cut: Cut(torch.tensor(cut)),
        lambda cut: Cut(np.float64(cut)),
        lambda cut: Cut({"cut": cut}),
        by_array,
        lambda cut: from_estimator(
            DecisionTreeClassifier().fit([[cut - 0.001, 0.5], [cut + 0.001, 0.5]], [0, 1])
        ),
    ],
    ids=["tensor", "number of numpy", "dict", "closure", "estimator"],
)
def test_what_a_model_holds_elsewhere_is_part_of_its_identity(make):
    data = Data(torch.rand(20, 2), torch.zeros(20, dtype=torch.long), classes=("a", "b"))
    first, second, again = (identity_of(make(cut), data) for cut in (0.5, 0.31, 0.5))
    assert first != second
    assert first == again


def test_what_cannot_be_hashed_is_like_no_other():
    data = Data(torch.rand(20, 2), torch.zeros(20, dtype=torch.long), classes=("a", "b"))
    net = Cut(0.5)
    assert identity_of(net, data) == identity_of(net, data)
    net.lock = threading.Lock()
    assert identity_of(net, data) != identity_of(net, data)
