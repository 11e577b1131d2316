"""Certified training: the estimate against the truth, losses against their formulas, the recipe."""

import json
from dataclasses import replace
from weakref import WeakKeyDictionary

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, pad

from surefoot.certify.lipschitz import certify, pairwise
from surefoot.cli import main
from surefoot.data import load
from surefoot.data.toys import CRESCENT_UNIT
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.models import build
from surefoot.models import load as load_model
from surefoot.training import GloRo, Outputs, Training, fit, gloro, lipschitz_estimate, make_recipe
from surefoot.training.outputs import criterion_of

with torch.random.fork_rng():
    torch.manual_seed(0)
    LAYERS = [
        (nn.Linear(7, 5), (7,)),
        (nn.Linear(40, 40), (40,)),
        (nn.Conv2d(3, 4, 3, padding=1), (3, 6, 6)),
        (nn.Conv2d(3, 4, 4, stride=2, padding=1), (3, 8, 8)),
        (nn.Conv2d(4, 6, 3, stride=2, groups=2), (4, 7, 7)),
        (nn.Conv2d(2, 4, 3, dilation=2, padding=2), (2, 7, 7)),
    ]
GUARANTEES = [Local(), TopK(2), RelaxedTopK(2), RelaxedTopK(3), Affinity(((0, 1), (2, 3), (4,)))]


def slope_of(layer, shape, steps, vectors=None):
    vectors = WeakKeyDictionary() if vectors is None else vectors
    return lipschitz_estimate.estimated_lipschitz(layer, shape, vectors, steps)


def operator(layer, shape):
    matrix = torch.func.jacrev(layer)(torch.zeros(1, *shape))
    return matrix.flatten(-len(shape)).flatten(0, -2)


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_the_estimate_comes_from_below_and_arrives(layer, shape):
    truth = torch.linalg.matrix_norm(operator(layer, shape), 2).item()
    assert slope_of(layer, shape, 1).item() <= truth * (1 + 1e-5)
    assert slope_of(layer, shape, 300).item() == pytest.approx(truth, rel=1e-3)


@pytest.mark.parametrize(("layer", "shape"), [LAYERS[0], LAYERS[3]])
def test_the_slope_of_the_estimate_is_that_of_the_singular_value(layer, shape):
    (found,) = torch.autograd.grad(slope_of(layer, shape, 500), layer.weight)
    true_norm = torch.linalg.matrix_norm(operator(layer, shape), 2)
    move = 2e-3 * found / found.norm()
    with torch.no_grad():
        layer.weight.add_(move)
        after = torch.linalg.matrix_norm(operator(layer, shape), 2)
        layer.weight.sub_(move)
    assert (after - true_norm).item() == pytest.approx(2e-3 * found.norm().item(), rel=0.1)


def test_vectors_are_kept_from_step_to_step():
    layer, vectors = nn.Conv2d(6, 6, 1, bias=False), WeakKeyDictionary()
    with torch.no_grad():
        layer.weight.copy_(
            torch.diag(torch.tensor([1.0, 0.9, 0.8, 0.6, 0.4, 0.2])).view(6, 6, 1, 1)
        )
    gaps = [1 - slope_of(layer, (6, 1, 1), 1, vectors).item() for _ in range(60)]
    assert 0 < gaps[0] < 1
    assert gaps[-1] < 0.01 * gaps[0]


def test_constants_of_a_net_come_near_the_proven_ones_from_below():
    torch.manual_seed(0)
    model = build("gloro-2c2f", size=8, width=0.5)
    found = lipschitz_estimate.estimated_pairwise(model, (1, 8, 8), epoch=0, steps=200)
    proven = pairwise(model, (1, 8, 8))
    assert bool((found <= proven * (1 + 1e-5)).all())
    assert torch.allclose(found.double(), proven, rtol=0.02)
    assert found.requires_grad


def test_a_new_epoch_forgets_what_the_last_one_knew():
    torch.manual_seed(0)
    model = build("gloro-mlp", inputs=6, hidden=(8,), classes=3)
    for weight in model.parameters():
        torch.nn.init.normal_(weight)  # orthogonal ones leave nothing to iterate for

    def asked(epoch):
        return lipschitz_estimate.estimated_pairwise(model, (6,), epoch=epoch, steps=1)

    first, second = asked(0), asked(0)
    assert not torch.equal(first, second)
    assert torch.equal(first, asked(1))


def slack_of(classes, generator, size=0.3):
    gaps = size * torch.rand(classes, classes, generator=generator)
    return (gaps + gaps.T).fill_diagonal_(0)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_bottom_is_on_top_exactly_where_no_set_leads_by_its_slack(guarantee, generator):
    logits, slack = torch.randn(300, 5, generator=generator), slack_of(5, generator, 0.5)
    outcomes = gloro.with_bottom(logits, guarantee, slack)
    assert torch.equal(outcomes[:, :-1], logits)
    groups = getattr(guarantee, "groups", None)
    for row, said in zip(logits, outcomes.argmax(1) == 5, strict=True):
        sizes = {"Local": [1], "TopK": [2]}.get(type(guarantee).__name__)
        sizes = sizes or range(1, 1 + max(map(len, groups)) if groups else 1 + guarantee.k)
        leads = []
        for size in sizes:
            best = row.topk(size).indices.tolist()
            rest = [c for c in range(5) if c not in best]
            if groups is None or any(set(best) <= set(group) for group in groups):
                leads.append(all(row[a] > row[i] + slack[a, i] for a in best for i in rest))
        assert bool(said) != any(leads)


def test_ties_and_classes_in_no_group_get_a_finite_bottom_above_all():
    slack = torch.ones(3, 3).fill_diagonal_(0)
    tied = gloro.with_bottom(torch.zeros(1, 3), RelaxedTopK(2), slack)
    assert tied.tolist() == [[0.0, 0.0, 0.0, 1.0]]
    lost = gloro.with_bottom(torch.tensor([[0.0, 5.0, 0.0]]), Affinity(((0, 2),)), slack)
    assert lost.tolist() == [[0.0, 5.0, 0.0, 6.0]]


def test_doubt_is_the_divergence_of_the_two_answers(generator):
    outcomes = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    without = pad(outcomes[:, :-1].softmax(1), (0, 1))
    expected = kl_div(outcomes.log_softmax(1), without, reduction="none").sum(1)
    assert torch.allclose(gloro.rejection_divergence(outcomes), expected)


def test_local_handicap_is_that_of_emma(generator):
    logits, slack = torch.randn(40, 5, generator=generator), slack_of(5, generator)
    labels = torch.randint(5, (40,), generator=generator)
    for whole in (True, False):
        found = gloro.shifted_logits(logits, labels, Local(), slack, whole=whole)
        for row, label, said in zip(logits, labels.tolist(), found, strict=True):
            for i in range(5):
                fraction = 1.0
                if i != label and not whole:
                    fraction = max(0.01, min(1.0, ((row[label] - row[i]) / slack[label, i]).item()))
                start = 0.0 if i == label else fraction * slack[label, i].item()
                assert said[i].item() == pytest.approx(row[i].item() + start, abs=1e-5)


def test_a_handicap_over_sets_is_lost_exactly_where_the_set_is_not_certified(generator):
    logits, slack = torch.randn(300, 5, generator=generator), slack_of(5, generator, 0.4)
    labels = logits.topk(2).indices[torch.arange(300), torch.arange(300) % 2]
    found = gloro.shifted_logits(logits, labels, RelaxedTopK(2), slack, whole=True)
    seen = set()
    for row, label, said in zip(logits, labels.tolist(), found, strict=True):
        choices = [{row.argmax().item()}, set(row.topk(2).indices.tolist())]
        leads = [
            min(row[a] - row[i] - slack[a, i] for a in best for i in range(5) if i not in best)
            for best in choices
            if label in best
        ]
        kept = (said == row).nonzero().flatten().tolist()
        outside = [i for i in range(5) if i not in kept]
        assert label in kept
        lead = said[label] - said[outside].amax()
        assert lead.item() == pytest.approx(max(leads).item(), abs=1e-5)
        seen.add(lead.item() > 0)
    assert seen == {True, False}


def test_a_label_outside_all_best_sets_stands_alone():
    logits, slack = torch.tensor([[3.0, 2.0, 1.0]]), torch.ones(3, 3).fill_diagonal_(0)
    found = gloro.shifted_logits(logits, torch.tensor([2]), RelaxedTopK(2), slack, whole=True)
    assert found.tolist() == [[4.0, 3.0, 1.0]]


def test_leniency_lowers_only_the_other_members_of_the_set():
    logits, slack = torch.tensor([[3.0, 2.9, 1.0]]), torch.ones(3, 3).fill_diagonal_(0)
    strict, lenient = (
        gloro.shifted_logits(logits, torch.tensor([1]), RelaxedTopK(2), slack, leniency=fraction)
        for fraction in (0.0, 0.5)
    )
    assert torch.allclose(lenient - strict, torch.tensor([[-0.5, 0.0, 0.0]]))


def test_annealing_weighs_cross_entropy_by_what_is_left_to_win(generator):
    outcomes = torch.randn(10, 4, generator=generator)
    labels = torch.randint(4, (10,), generator=generator)
    rows = torch.arange(10)
    lowered = outcomes.clone()
    lowered[rows, labels] -= 2.0
    fraction = (lowered / 0.75).softmax(1)[rows, labels]
    plain = cross_entropy(lowered / 0.75, labels, reduction="none")
    found = gloro.annealed(outcomes, labels, 0.75, 2.0)
    assert torch.allclose(found, 0.75 * (1 - fraction) ** 5 * plain, rtol=1e-4)


def test_courses_of_eps_and_weight():
    recipe = GloRo(eps=0.5, eps_from=0.1, eps_to=1.1, weight=2.0, weight_from=0.0)
    log, line = (replace(recipe, eps_course=name) for name in ("logarithmic", "linear"))
    assert [recipe.radius(at) for at in (0.0, 1.0)] == pytest.approx([0.55, 0.55])
    assert [line.radius(at) for at in (0.0, 0.5, 1.0)] == pytest.approx([0.05, 0.3, 0.55])
    middle = 0.5 * (0.1 * 1.1) ** 0.5
    found = [log.radius(at) for at in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([0.05, middle, 0.55, 0.55])
    assert [recipe.weighted(at) for at in (0.0, 0.5, 1.0)] == [0.0, 1.0, 2.0]
    assert replace(recipe, weight_from=None).weighted(0.1) == 2.0


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(Exception, match="LabelOrUncertain"):  # by the type, where types are checked
        make_recipe("gloro", guarantee=LabelOrUncertain())
    with pytest.raises(ValueError, match="above 0"):
        make_recipe("gloro", eps=0.0)
    images, labels = torch.rand(2, 3), torch.tensor([0, 1])
    answers = Outputs(lambda at: at, images, images, labels, criterion_of(lambda at: at, 0.0))
    with pytest.raises(ValueError, match="stack"):
        make_recipe("gloro").loss(answers)


def certified(model, data, guarantee, eps):
    images, labels = data.batch(slice(None))
    found = certify(model.double(), images.double(), guarantee=guarantee)
    holds = (found.radii > eps) & found.sets[torch.arange(len(data)), :, labels]
    return holds.any(1).double().mean().item()


@pytest.mark.parametrize("form", ["bottom", "trades", "emma", "margin", "annealing"])
def test_every_loss_certifies_more_than_the_start(form, tmp_path):
    torch.manual_seed(0)
    data = load("digits", "train").first(300)
    model = build("gloro-mlp", inputs=64, hidden=(32,))
    training = Training(epochs=8, batch_size=40, learning_rate=5e-3)
    fit(model, data, make_recipe("gloro", eps=0.25, form=form), tmp_path, training=training)
    assert certified(load_model(tmp_path), data, Local(), 0.25) > 0.6


def test_sets_are_certified_where_labels_are_ambiguous(tmp_path):
    torch.manual_seed(0)
    model = build(
        "lipschitz-mlp", inputs=2, hidden=(32, 32), classes=4, scale=100.0, unit_rows=True
    )
    recipe = make_recipe("gloro", guarantee=RelaxedTopK(2), eps=0.2 * CRESCENT_UNIT)
    training = Training(epochs=20, batch_size=40, learning_rate=5e-3)
    fit(model, load("crescents", "train"), recipe, tmp_path, training=training)
    test, eps = load("crescents"), 0.2 * CRESCENT_UNIT
    model = load_model(tmp_path)
    assert certified(model, test, RelaxedTopK(2), eps) > 0.95
    assert certified(model, test, Local(), eps) < 0.93


@pytest.mark.parametrize("name", ["gloro-mlp", "gloro-2c2f", "liresnet"])
def test_a_killed_run_ends_with_the_same_bits(name, tmp_path, monkeypatch):
    data = load("digits", "train").first(64)
    arguments = {"gloro-mlp": {"inputs": 64, "hidden": (8,)}, "gloro-2c2f": {"size": 8}}
    arguments["liresnet"] = {"planes": 1, "size": 8, "width": 4, "depth": 2, "neck": 8}
    recipe, training = (
        make_recipe("gloro", eps_course="logarithmic"),
        Training(epochs=3, batch_size=16),
    )

    def net():
        torch.manual_seed(0)
        return build(name, **arguments[name])

    fit(net(), data, recipe, tmp_path / "whole", training=training)
    radius = GloRo.radius

    def killed(self, done):
        return radius(self, done) if done < 0.5 else 1 / 0

    monkeypatch.setattr(GloRo, "radius", killed)
    with pytest.raises(ZeroDivisionError):
        fit(net(), data, recipe, tmp_path / "killed", training=training)
    monkeypatch.undo()
    fit(net(), data, recipe, tmp_path / "killed", training=training)
    files = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "killed")]
    assert files[0] == files[1]


def test_the_command_line_takes_a_guarantee(tmp_path, capsys):
    main(
        [
            *("train", "gloro", "relaxed-top-k", "--k", "2", "--eps", "0.2", "--form", "emma"),
            *("--count", "48", "--net", "lipschitz-mlp", "--hidden", "8", "--epochs", "1"),
            *("--shift", "0.25", "--folder", str(tmp_path)),
        ]
    )
    assert "model:" in capsys.readouterr().out
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["recipe"]["loss"]["guarantee"] == {"name": "RelaxedTopK", "k": 2}
    assert config["training"]["augmentation"]["shift"] == 0.25
