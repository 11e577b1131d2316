"""The bracket: order of its ends, planted contradictions, resuming, every guarantee."""

import importlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
from oracles import Linear
from torch import nn

from surefoot.attacks import VoteSearch
from surefoot.certify import lipschitz
from surefoot.certify.lipschitz import certificate
from surefoot.data import Data, load
from surefoot.evaluation import Contradiction, Plain, Smoothed, bracket, metrics, read
from surefoot.evaluation.attack_sweep import Target, attack_grid, refine, start
from surefoot.evaluation.certified_sets import groupings
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.models import build, open_model
from surefoot.threat import Threat
from surefoot.training import Training, fit, make_recipe
from surefoot.uncertainty import Selective
from surefoot.uncertainty.scores import entropy
from surefoot.uncertainty.vote import Vote


class Killed(BaseException):
    pass


RADII = (0.05, 0.15, 0.3)
QUICK = VoteSearch(steps=5, draws=4, n_choose=50, n_confirm=200)


@pytest.fixture(scope="module")
def digits():
    return load("digits").first(60)


@pytest.fixture(scope="module")
def smooth_net(tmp_path_factory):
    torch.manual_seed(0)
    model = build("lipschitz-mlp", inputs=64, hidden=(32,))
    folder = tmp_path_factory.mktemp("net")
    training = Training(epochs=15, batch_size=64, learning_rate=1e-2)
    fit(model, load("digits", "train"), make_recipe("standard"), folder, training=training)
    return model


def classifiers(model):
    return [
        Plain(model, "lipschitz", steps=15),
        Plain(model, steps=15),
        Smoothed(Vote(model, 0.2), n_certify=500, search=QUICK),
    ]


GUARANTEES = [Local(), TopK(2), RelaxedTopK(3), Affinity(((0, 6, 8), (1, 7), (3, 5, 9)))]


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=repr)
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_certified_attacked_clean_in_this_order_at_every_radius(
    guarantee, norm, digits, smooth_net
):
    radii = RADII if norm == "l2" else tuple(radius / 8 for radius in RADII)
    threat = Threat(norm, radii[-1])
    for classifier in classifiers(smooth_net):
        record = bracket(classifier, digits, guarantee=guarantee, threat=threat, radii=radii)
        clean = metrics.clean_accuracy(record).value
        assert clean > 0.2  # a vote leaves rank two open where nearly all copies agree
        last = clean
        for radius in radii:
            attacked = metrics.attacked_accuracy(record, radius).value
            certified = metrics.certified_accuracy(record, radius)
            assert (certified.value if certified else 0.0) <= attacked <= last
            last = attacked
        assert metrics.contradictions(record) == []
        assert (record.header.certificate is None) == (certified is None)


def test_plain_local_figures_are_the_textbook_ones(digits, smooth_net):
    record = bracket(
        Plain(smooth_net, "lipschitz"), digits, guarantee=Local(), threat=Threat("l2", 0.2)
    )
    images, labels = digits.batch(slice(None))
    logits = smooth_net(images)
    assert record.rows["clean"].tolist() == (logits.argmax(1) == labels).tolist()
    assert record.rows["prediction"].tolist() == logits.argmax(1).tolist()
    radius = lipschitz.certify(smooth_net, images, guarantee=Local()).radius
    right = torch.where(logits.argmax(1) == labels, radius, 0.0)
    assert np.allclose(record.rows["certified"], right.numpy())
    assert record.rows["set_size"].max() == 1
    assert record.rows["accepted"].all()


def test_witnesses_prove_what_the_rows_say(digits, smooth_net):
    threat = Threat("l2", 0.3)
    record = bracket(
        Plain(smooth_net, steps=20), digits, guarantee=Local(), threat=threat, radii=RADII
    )
    broken = record.rows[np.isfinite(record.rows["attacked"]) & record.rows["clean"]]
    w = record.counterexamples
    assert w["index"].tolist() == broken["index"].tolist()
    assert np.allclose(w["radius"].numpy(), broken["attacked"])
    labels = torch.tensor(broken["label"].to_numpy())
    assert bool((smooth_net(w["adversarial"]).argmax(1) != labels).all())
    for radius in RADII:
        at = w["radius"] == radius
        if bool(at.any()):
            ball = Threat("l2", radius)
            assert bool(ball.inside(w["adversarial"][at], w["images"][at]).all())
    assert torch.allclose(w["before"].sum(1), torch.ones(len(broken)))


def test_selective_classifiers_get_both_figures(digits, smooth_net):
    images, _ = digits.batch(slice(None))
    threshold = entropy(smooth_net(images)).quantile(0.7).item()
    model = Selective(smooth_net, "entropy", threshold)
    threat = Threat("l2", 0.15)
    records = {
        name: bracket(Plain(model, steps=15), digits, guarantee=guarantee, threat=threat)
        for name, guarantee in [("i", Local()), ("ii", LabelOrUncertain())]
    }
    rows = records["ii"].rows
    assert 0.6 < rows["accepted"].mean() < 0.8
    wrong = rows["accepted"] & (rows["prediction"] != rows["label"])
    assert (rows["clean"] == ~wrong).all()  # rejected is not wrong
    both, _ = metrics.accepted_and_right(records["ii"], 0.15)
    not_wrong = metrics.attacked_accuracy(records["ii"], 0.15)
    certain = metrics.attacked_accuracy(records["i"], 0.15)
    assert certain.value <= both.value <= not_wrong.value
    assert set(rows["set_size"]) <= {0, 2}


def test_a_smoothed_selective_vote(digits, smooth_net):
    model = Selective(smooth_net, "entropy", 0.6)
    classifier = Smoothed(Vote(model, 0.2), n_certify=500, search=QUICK)
    data = digits.first(20)
    record = bracket(classifier, data, guarantee=LabelOrUncertain(), threat=Threat("l2", 0.2))
    attacked, certified = metrics.accepted_and_right(record, 0.2)
    assert certified.value <= attacked.value
    assert metrics.certified_accuracy(record, 0.2).value > 0
    assert record.rows["samples"].tolist() == [600] * 20


def test_found_stays_found_and_only_standing_alternatives_are_attacked(digits, smooth_net):
    threat = Threat("l2", 0.3)
    classifier = Plain(smooth_net, steps=20)
    grid = bracket(classifier, digits, guarantee=RelaxedTopK(2), threat=threat, radii=RADII)
    single = bracket(classifier, digits, guarantee=RelaxedTopK(2), threat=threat)
    both = (grid.rows["attacked"] <= 0.3) | ~(single.rows["attacked"] <= 0.3)
    assert both.all()


def test_a_wrong_lipschitz_certificate_stops_the_run_and_keeps_the_witness(
    digits, smooth_net, tmp_path, monkeypatch
):
    honest = certificate.measured

    def a_hundredth(net, shape):
        found = honest(net, shape)
        return found._replace(pairwise=found.pairwise / 100)

    monkeypatch.setattr(certificate, "measured", a_hundredth)
    with pytest.raises(Contradiction, match="certified to l2 radius"):
        bracket(
            Plain(smooth_net, "lipschitz"),
            digits,
            guarantee=Local(),
            threat=Threat("l2", 0.5),
            folder=tmp_path,
        )
    assert (tmp_path / "contradiction.safetensors").exists()
    assert not (tmp_path / "record.csv").exists()


def test_the_right_lipschitz_certificate_does_not_stop_it(digits, smooth_net, tmp_path):
    classifier = Plain(smooth_net, "lipschitz", steps=15)
    threat = Threat("l2", 0.5)
    record = bracket(classifier, digits, guarantee=Local(), threat=threat, folder=tmp_path)
    assert metrics.attacked_accuracy(record, 0.5).value < 1
    assert not (tmp_path / "contradiction.safetensors").exists()
    assert (tmp_path / "record.csv").exists()


def test_settling_looks_at_the_disputed_alternative_alone():
    """{0} is weak, {0, 1} strong: a counterexample to {0} beyond its radius is no contradiction."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 0.0], [0.9, 0.0], [-5.0, 0.0]]))
        model[1].bias.zero_()
    image, counterexample = torch.tensor([[0.5, 0.5]]), torch.tensor([[-0.1, 0.5]])
    first = torch.tensor([[[True, False, False]]])
    for classifier in (
        Plain(model, "lipschitz"),
        Smoothed(Vote(model, 0.05), n_certify=2000, search=QUICK),
    ):
        radius, real = classifier.settle(image, counterexample, first, RelaxedTopK(2))
        assert 0 < radius <= 0.5
        assert real


def test_the_nearest_counterexample_lies_between_certificate_and_grid(digits, smooth_net):
    data = digits.first(30)
    for classifier in (
        Plain(smooth_net, steps=10),
        Smoothed(Vote(smooth_net, 0.2), n_certify=500, search=QUICK),
    ):
        record = bracket(classifier, data, guarantee=Local(), threat=Threat("l2", 3.0))
        fell = record.rows[np.isfinite(record.rows["attacked"]) & record.rows["clean"]]
        assert len(fell) > 10
        assert (fell["nearest"] <= 3.0).all()
        assert fell["nearest"].median() < 1.5
        assert not (fell["certified"] >= fell["nearest"]).any()
        stood = record.rows[~np.isfinite(record.rows["attacked"])]
        assert np.isinf(stood["nearest"]).all()


@pytest.mark.parametrize("guarantee", [Local(), LabelOrUncertain()], ids=repr)
def test_the_vote_of_a_majority_is_attacked_and_certified(digits, smooth_net, guarantee):
    net = Selective(smooth_net, "entropy", 0.6)
    vote = Vote(net, 0.2, rule="majority")
    classifier = Smoothed(vote, n_certify=500, search=QUICK)
    data = digits.first(20)
    record = bracket(classifier, data, guarantee=guarantee, threat=Threat("l2", 3.0))
    fell = np.isfinite(record.rows["attacked"]) & (record.rows["attacked"] > 0)
    assert bool(fell.any())
    assert not (record.rows["certified"] >= record.rows["nearest"])[fell].any()
    assert record.rows["certified"].max() > 0
    assert record.header.certificate.rule == "majority"
    with pytest.raises(ValueError, match="may reject"):
        Smoothed(Vote(smooth_net, 0.2, rule="majority"))


def test_another_threshold_is_another_evaluation(digits, smooth_net, tmp_path):
    data = digits.first(20)
    arguments = {"guarantee": Local(), "threat": Threat("l2", 0.1), "folder": tmp_path}
    fractions = [
        bracket(Plain(Selective(smooth_net, "entropy", threshold), steps=2), data, **arguments)
        .rows["accepted"]
        .mean()
        for threshold in (1.0, 0.0)
    ]
    assert fractions == [1.0, 0.0]


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_can_be_evaluated(digits, smooth_net, tmp_path):
    net = build("mlp", inputs=64, hidden=(8,)).eval()
    batch = torch.export.Dim("batch", min=1, max=512)
    program = torch.export.export(net, (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: batch},))
    program.example_inputs = None
    torch.export.save(program, tmp_path / "net.pt2")
    model = open_model(str(tmp_path / "net.pt2"), trust_code=True)
    arguments = {"guarantee": Local(), "threat": Threat("linf", 0.01)}
    found = bracket(Plain(model, steps=5), digits, **arguments).rows
    plain = bracket(Plain(net, steps=5), digits, **arguments).rows
    assert found["attacked"].tolist() == plain["attacked"].tolist()


def test_a_record_without_witnesses_does_not_keep_old_ones(digits, smooth_net, tmp_path):
    arguments = {"guarantee": Local(), "folder": tmp_path}
    bracket(Plain(smooth_net, steps=5), digits, threat=Threat("l2", 0.5), **arguments)
    assert read(tmp_path).counterexamples
    bracket(Plain(smooth_net, steps=5), digits, threat=Threat("l2", 1e-6), **arguments)
    assert read(tmp_path).counterexamples == {}


def test_radii_that_no_sample_can_certify_are_named(digits, smooth_net):
    classifier = Smoothed(Vote(smooth_net, 0.2), n_certify=100, search=QUICK)
    record = bracket(
        classifier, digits.first(5), guarantee=Local(), threat=Threat("l2", 0.9), attack=False
    )
    assert any("largest certifiable l2 radius is 0.29" in text for text in record.header.notes)


@pytest.mark.parametrize("radii", [(-1.0,), (float("nan"),), (float("inf"),)])
def test_impossible_radii_are_refused(radii, digits, smooth_net):
    with pytest.raises(ValueError, match="finite and at least 0"):
        bracket(smooth_net, digits, guarantee=Local(), threat=Threat("l2", 0.1), radii=radii)


@pytest.mark.parametrize("guarantee", [Local(), RelaxedTopK(2)], ids=repr)
def test_skipping_what_is_certified_changes_no_figure_and_saves_passes(
    guarantee, digits, smooth_net
):
    arguments = {"guarantee": guarantee, "threat": Threat("l2", 0.3), "radii": RADII}
    classifier = Plain(smooth_net, "lipschitz", steps=10)
    whole = bracket(classifier, digits, **arguments)
    quick = bracket(classifier, digits, skip_certified=True, **arguments)
    assert (quick.rows["attacked"] == whole.rows["attacked"]).all()
    assert quick.header.attack.work.forwards < whole.header.attack.work.forwards / 2
    assert quick.header.attack.work.skipped_certified > 0
    assert whole.header.attack.work.skipped_certified == 0


class EvenVote(nn.Module):
    """One noisy pixel decides: label 0 with mass .499, uncertain with .501."""

    rejects = True

    def forward(self, images):
        edge = torch.special.ndtri(torch.tensor(0.499))
        certain = (images.flatten(1)[:, :1] - 0.5) / 0.25 < edge
        scores = torch.cat([certain, torch.zeros_like(certain), ~certain], 1).float()
        return 5 * scores + 0 * images.flatten(1).sum(1, keepdim=True)


def test_a_vote_that_rejects_is_not_certified_as_accepted():
    images = 0.5 + torch.zeros(30, 1, 2, 2)
    images[:, 0, 1, 1] = torch.linspace(0.1, 0.9, 30)  # thirty streams
    data = Data(images, torch.zeros(30, dtype=torch.long), classes=("a", "b"), name="even")
    record = bracket(
        Smoothed(Vote(EvenVote(), 0.25), n_certify=2000, search=QUICK),
        data,
        guarantee=LabelOrUncertain(),
        threat=Threat("l2", 0.01),
        attack=False,
    )
    assert metrics.certified_accuracy(record, 0.01).value == 1.0  # never the other label
    assert metrics.accepted_and_right(record, 0.01)[1].value == 0.0


class Rounded(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return (self.net(images) * 8).round() / 8


def test_masked_gradients_are_reported(digits, smooth_net):
    arguments = {"guarantee": Local(), "threat": Threat("linf", 0.1)}
    masked = bracket(Plain(Rounded(smooth_net), steps=2), digits, **arguments)
    plain = bracket(Plain(smooth_net, steps=2), digits, **arguments)
    assert any("no usable gradient" in text for text in masked.header.warnings)
    assert not any("no usable gradient" in text for text in plain.header.warnings)


class Random(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        logits = self.net(images)
        return logits + 0.1 * torch.randn(logits.shape)


def test_random_answers_and_train_mode_are_reported(digits, smooth_net):
    arguments = {"guarantee": Local(), "threat": Threat("linf", 0.1)}
    torch.manual_seed(0)
    doubtful = Random(smooth_net).train()
    said = bracket(Plain(doubtful, steps=2), digits.first(20), **arguments).header.warnings
    assert any("answers at random" in text for text in said)
    assert any("train mode" in text for text in said)
    smooth_net.eval()
    said = bracket(Plain(smooth_net, steps=2), digits.first(20), **arguments).header.warnings
    assert not any("random" in text or "train mode" in text for text in said)


@pytest.mark.parametrize("moment", ["record.csv", "counterexamples.safetensors", "record.json"])
def test_a_kill_while_saving_leaves_no_record_of_two_runs(
    moment, digits, smooth_net, tmp_path, monkeypatch
):
    arguments = {"guarantee": Local(), "folder": tmp_path}
    first = bracket(Plain(smooth_net, steps=5), digits, threat=Threat("l2", 0.5), **arguments)
    files = importlib.import_module("surefoot.files")
    original = files.os.replace

    def dies(source, target):
        if target.name == moment and target.parent == tmp_path:
            raise Killed
        original(source, target)

    monkeypatch.setattr(files.os, "replace", dies)
    second = {"threat": Threat("l2", 0.05), **arguments}
    with pytest.raises(Killed):
        bracket(Plain(smooth_net, steps=5), digits, **second)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="holds no record"):
        read(tmp_path)
    record = bracket(Plain(smooth_net, steps=5), digits, **second)
    again = read(tmp_path)
    pd.testing.assert_frame_equal(again.rows, record.rows)
    assert set(again.counterexamples.get("index", torch.empty(0)).tolist()) == set(
        record.counterexamples.get("index", torch.empty(0)).tolist()
    )
    assert first.header.identity != record.header.identity


def plant(monkeypatch, wrong_at_alpha):
    """Certify far too much, but only at the ordinary level or at every level."""
    from surefoot.certify import smoothing

    original = smoothing.radii_from_counts

    def planted(counts, sets, guarantee, sigma, alpha, **options):
        radii, details = original(counts, sets, guarantee, sigma, alpha, **options)
        return (radii * 50 if wrong_at_alpha(alpha) else radii), details

    monkeypatch.setattr(smoothing, "radii_from_counts", planted)
    module = importlib.import_module("surefoot.certify.smoothing.smoothed_certificate")
    monkeypatch.setattr(module, "radii_from_counts", planted)


def test_a_wrong_smoothing_certificate_is_confirmed_on_fresh_noise_before_it_stops(
    digits, smooth_net, monkeypatch
):
    classifier = Smoothed(Vote(smooth_net, 0.2), n_certify=500, search=QUICK)
    arguments = {"guarantee": Local(), "threat": Threat("l2", 1.5)}
    plant(monkeypatch, lambda alpha: True)
    with pytest.raises(Contradiction):
        bracket(classifier, digits, **arguments)
    # An accident that fresh noise does not confirm is corrected, and the run goes on.
    monkeypatch.undo()
    plant(monkeypatch, lambda alpha: alpha > 1e-5)
    record = bracket(classifier, digits.first(20), **arguments)
    assert metrics.contradictions(record) == []
    assert np.isfinite(record.rows["attacked"]).any()


def test_a_killed_evaluation_goes_on_where_it_stood(digits, smooth_net, tmp_path, monkeypatch):
    classifier = Smoothed(Vote(smooth_net, 0.2), n_certify=500, search=QUICK)
    arguments = {"guarantee": Local(), "threat": Threat("l2", 0.6), "radii": RADII}
    whole = bracket(classifier, digits, **arguments)
    module = importlib.import_module("surefoot.evaluation.bracket")
    original, worked = module._chunk, []
    later = list(range(51, len(digits), 50))  # one row first, to tell what all will take

    def counting(job, rows):
        worked.append(rows.start)
        if worked == [0, 1]:
            raise Killed
        return original(job, rows)

    monkeypatch.setattr(module, "_chunk", counting)
    with pytest.raises(Killed):
        bracket(classifier, digits, folder=tmp_path, **arguments)
    assert not (tmp_path / "record.csv").exists()
    record = bracket(classifier, digits, folder=tmp_path, **arguments)
    assert worked == [0, 1, 1, *later]
    pd.testing.assert_frame_equal(record.rows, whole.rows)
    again = read(tmp_path)
    pd.testing.assert_frame_equal(again.rows, whole.rows)
    assert torch.equal(again.counterexamples["adversarial"], whole.counterexamples["adversarial"])
    assert bracket(classifier, digits, folder=tmp_path, **arguments).header == record.header
    assert worked == [0, 1, 1, *later]  # a finished evaluation is read, not repeated
    bracket(classifier, digits, folder=tmp_path, **(arguments | {"radii": RADII[:1]}))
    assert worked == [0, 1, 1, *later, 0, 1, *later]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "counterexamples.safetensors",
        "outcomes.safetensors",
        "record.csv",
        "record.json",
    ]


def test_rows_do_not_depend_on_the_shards(digits, smooth_net):
    arguments = {"guarantee": Local(), "threat": Threat("l2", 0.2)}
    whole = bracket(Plain(smooth_net, steps=15), digits, **arguments).rows
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    shuffled = bracket(Plain(smooth_net, steps=15), digits.take(order), **arguments).rows
    back = shuffled.iloc[order.argsort().tolist()].reset_index(drop=True)
    assert (back["attacked"] == whole["attacked"]).all()
    assert (back["clean"] == whole["clean"]).all()


def test_the_header_is_plain_json_and_says_what_the_figures_rest_on(digits, smooth_net):
    record = bracket(
        Smoothed(Vote(smooth_net, 0.2), n_certify=200, search=QUICK),
        digits.first(25),
        guarantee=Affinity(((0, 1),)),
        threat=Threat("linf", 0.01),
    )
    header = json.loads(json.dumps(record.header.as_json()))
    assert header["guarantee"]["name"] == "Affinity"
    assert header["guarantee"]["settings"]["groups"] == [[0, 1]]
    assert header["certificate"]["alpha"] == 1e-3
    assert header["model"]["classifier"] == "vote"
    assert header["limit"] == []  # no limit is known for sets
    assert header["dimension"] == 64
    assert any("only 25 examples" in warning for warning in header["notes"])


def test_the_limit_rests_on_the_errors_of_the_model_and_never_rises_with_the_radius(smooth_net):
    data = load("digits")
    record = bracket(
        Plain(smooth_net),
        data,
        guarantee=Local(),
        threat=Threat("l2", 0.5),
        radii=RADII,
        attack=False,
    )
    values = [part.robustness.value for part in record.header.limit]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)
    errors = 1 - metrics.clean_accuracy(record).value
    assert record.header.limit[0].demanded_risk == pytest.approx(errors, abs=0.03)
    assert record.header.attack is None
    assert metrics.attacked_accuracy(record, 0.5) == metrics.clean_accuracy(record)


class FewClasses(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :5]


class WrongShape(nn.Module):
    def forward(self, images):
        return images


@pytest.mark.parametrize(
    ("model", "guarantee", "message"),
    [
        (FewClasses(), Local(), r"must lie in \[0, 4\]|10 classes, the model 5"),
        (WrongShape(), Local(), r"outcomes \[B, O\]"),
        (build("mlp", inputs=64), LabelOrUncertain(), "rejects = True"),
        (build("mlp", inputs=64), TopK(10), "10 of 10 outcomes"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_models_that_do_not_fit_are_refused(model, guarantee, message, digits):
    with pytest.raises(ValueError, match=message):
        bracket(model, digits, guarantee=guarantee, threat=Threat("l2", 0.1))


def test_a_model_that_answers_nan_is_never_right(digits):
    class Nan(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 10), torch.nan)

    for classifier in (Plain(Nan()), Smoothed(Vote(Nan(), 0.1), n_certify=50, search=QUICK)):
        record = bracket(classifier, digits.first(5), guarantee=Local(), threat=Threat("l2", 0.1))
        assert metrics.clean_accuracy(record).value == 0
        assert not record.rows["accepted"].any()


def test_training_mode_is_put_back(digits, smooth_net):
    smooth_net.train()
    bracket(Plain(smooth_net, steps=2), digits, guarantee=Local(), threat=Threat("l2", 0.1))
    assert smooth_net.training
    smooth_net.eval()


def test_one_example_and_toy_points(smooth_net):
    toy = load("moons").first(1)
    model = build("mlp", inputs=2, hidden=(8,), classes=2)
    record = bracket(model, toy, guarantee=Local(), threat=Threat("linf", 0.01))
    assert len(record) == 1


def test_two_classes_one_alternative():
    data = Data(torch.tensor([[0.2], [0.8]]), torch.tensor([0, 1]), classes=("a", "b"), name="two")
    model = Linear(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.5, -0.5]))
    record = bracket(
        Plain(model), data, guarantee=Local(), threat=Threat("linf", 0.4), radii=(0.2,)
    )
    assert record.rows["attacked"].tolist() == [0.4, 0.4]


class Undecided(nn.Module):
    """Under noise, "uncertain" gets 45 % of the copies, label 0 44 %, label 1 the rest."""

    rejects = True

    def forward(self, images):
        fraction = torch.special.ndtr(images[:, 0, 0, 0].double())
        first, second = fraction < 0.44, (fraction >= 0.44) & (fraction < 0.55)
        return torch.stack([first, second, ~(first | second)], 1).double()


@pytest.mark.parametrize(
    ("guarantee", "radii"),
    [
        (LabelOrUncertain(), (0.1,)),
        (LabelOrUncertain(), None),
        (RelaxedTopK(2), None),
        (TopK(2), (0.1,)),
    ],
)
def test_a_set_with_uncertain_does_not_say_that_a_label_surely_wins(guarantee, radii):
    images = torch.zeros(40, 1, 1, 2)
    images[:, 0, 0, 1] = torch.linspace(0, 1, 40)
    found = Smoothed(Vote(Undecided(), 1.0), n_certify=2000, radii=radii).clean_outputs(
        images, guarantee
    )
    assert found.radii is not None
    assert (found.radii > 0).any(1).double().mean() > 0.8
    assert not bool(found.accepted.any())


@pytest.mark.parametrize("rule", ["argmax", "majority"])
def test_a_vote_under_whole_number_noise_is_attacked_up_to_grey(rule, smooth_net):
    """Grey, 127.5 steps, lies off the grid, where nothing is certified but much is attacked."""
    data = load("digits").first(6)
    data = Data(data.images * 15, data.labels, classes=data.classes, name="8 bits")
    vote = Vote(Selective(smooth_net, "entropy", 0.8), 0.2, data.levels, rule)
    classifier = Smoothed(vote, n_certify=500, search=QUICK)
    record = bracket(classifier, data, guarantee=Local(), threat=Threat("l2", 0.5))
    assert record.header.certificate.tv_error > 0
    assert record.rows["certified"].max() > 0
    assert record.header.attack.work.grey > 0


def test_a_counterexample_inside_a_certificate_is_settled_wherever_the_ball_ends(monkeypatch):
    """The box ends at .45: a counterexample there refutes .46, though the ball reaches .5."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0], [0.0]]))
        model[1].bias.copy_(torch.tensor([0.9, 0.0]))
    monkeypatch.setattr(
        Plain, "settle", lambda *_: (0.46, False)
    )  # no counterexample turns out real
    images, sets = torch.tensor([[0.55]]), torch.tensor([[[True, False]]])
    certified = torch.tensor([[0.46]], dtype=torch.float64)
    target = Target(Plain(model, steps=10), images, sets, Local(), Threat("l2", 0.5))
    sweep = refine(target, attack_grid(target, start(target, certified), [0.5]))
    assert sweep.certified.item() < sweep.nearest.item()
    assert certified.item() == 0.46  # what came in is untouched


def test_a_decided_radius_counts_as_certified_at_that_radius(digits, smooth_net):
    classifier = Smoothed(Vote(smooth_net, 0.2), radii=(0.1,), n_certify=1000, search=QUICK)
    arguments = {"guarantee": Local(), "threat": Threat("l2", 0.1), "attack": False}
    record = bracket(classifier, digits.first(20), **arguments)
    assert metrics.certified_accuracy(record, 0.1).value > 0.2


EPS_OF_SETS = 0.05


def test_images_of_the_certified_sets_are_kept():
    torch.manual_seed(0)
    net = build("lipschitz-mlp", inputs=64, hidden=(32,)).eval()  # untrained: few logits apart
    data = load("digits").first(120)
    guarantee, threat = RelaxedTopK(3), Threat("l2", EPS_OF_SETS)
    record = bracket(
        Plain(net, "lipschitz"), data, guarantee=guarantee, threat=threat, attack=False
    )
    found = groupings(record, EPS_OF_SETS)
    assert found
    expected = [place for one in found[:6] for place in one.places[:6]]
    assert record.examples["index"].tolist() == expected
    first = expected[0]
    torch.testing.assert_close(
        record.examples["images"][0], data.inputs(slice(first, first + 1))[0]
    )
