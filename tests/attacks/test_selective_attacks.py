"""Three questions to a classifier that may abstain, on a line where all answers are known."""

import pytest
import torch
from torch import nn

from surefoot.attacks import autoattack, break_guarantee, break_selective, stratified
from surefoot.guarantees import LabelOrUncertain, Local
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.uncertainty import Selective
from surefoot.uncertainty.scores import entropy


class Line(nn.Module):
    """Label 0 below .4, label 1 above; "uncertain" wins within .2 of .4."""

    rejects = True

    def forward(self, images):
        x = images.flatten(1)[:, :1]
        return torch.cat([0.4 - x, x - 0.4, 0.5 * (0.2 + (x - 0.4).abs())], 1)


@pytest.mark.parametrize(
    ("question", "distance"), [("wrong-and-accepted", 0.45), ("rejected", 0.05), ("either", 0.05)]
)
def test_each_question_has_its_own_distance(question, distance):
    images, labels = torch.tensor([[0.15]]), torch.tensor([0])
    for eps, broken in [(0.95 * distance, False), (1.05 * distance, True)]:
        threat = Threat("linf", eps)
        found = break_selective(Line(), images, labels, threat=threat, question=question)
        assert found.success.tolist() == [broken]


def test_clean_refusals_and_clean_errors_belong_to_their_question():
    images, labels = torch.tensor([[0.4], [0.9]]), torch.tensor([0, 0])
    threat = Threat("linf", 0.01)
    answers = {
        question: break_selective(Line(), images, labels, threat=threat, question=question)
        for question in ("wrong-and-accepted", "rejected", "either")
    }
    assert answers["wrong-and-accepted"].success.tolist() == [False, True]
    assert answers["rejected"].success.tolist() == [True, False]
    assert answers["either"].success.tolist() == [True, True]
    assert answers["either"].by == ["clean", "clean"]


def test_the_stratified_curve_falls_from_the_outer_answer_to_the_full_one():
    images = torch.linspace(0.02, 0.98, 25).unsqueeze(1)
    labels = (images[:, 0] > 0.4).long()
    fractions = (0.0, 0.2, 0.5, 1.0)
    curve = stratified(
        Line(), images, labels, threat=Threat("linf", 0.3), fractions=fractions, steps=30
    )
    sizes = curve.sum(1).tolist()
    assert sizes == sorted(sizes, reverse=True)
    # Stands at a fraction iff nothing within .3 is wrong and accepted, nothing within it rejected.
    x = images[:, 0]
    outer = torch.where(labels == 0, x + 0.3 < 0.6, x - 0.3 > 0.2)
    for row, fraction in zip(curve, fractions, strict=True):
        inner = (x - 0.4).abs() > 0.2 + 0.3 * fraction
        clear = ((x - 0.4).abs() - 0.2 - 0.3 * fraction).abs() > 1e-3
        assert torch.equal(row[clear], (outer & inner)[clear])


def test_the_attack_that_knows_the_refusal_finds_more_than_re_used_images(generator):
    torch.manual_seed(0)
    base = build("mlp", inputs=64, hidden=(64,)).eval()
    images = torch.rand(60, 1, 8, 8, generator=generator)
    labels = base(images).argmax(1)
    threat = Threat("linf", 0.03)
    threshold = entropy(base(images)).quantile(0.9).item()
    model = Selective(base, "entropy", threshold)
    plain = autoattack(base, images, labels, threat=threat, version="fast")
    outcomes = model(plain.images)
    reused = (outcomes.argmax(1) != labels) & (outcomes.argmax(1) != 10)
    found = break_selective(model, images, labels, threat=threat, steps=50)
    assert found.success.sum() >= reused.sum()
    assert bool((model(found.images)[found.success].argmax(1) != 10).all())


def test_questions_agree_with_the_guarantees_where_the_clean_answer_is_right(generator):
    torch.manual_seed(0)
    base = build("mlp", inputs=64, hidden=(32,)).eval()
    images = torch.rand(30, 1, 8, 8, generator=generator)
    labels = base(images).argmax(1)
    model = Selective(base, "margin-uncertainty", 0.97)
    threat = Threat("linf", 0.01)
    for question, guarantee in [("wrong-and-accepted", LabelOrUncertain()), ("either", Local())]:
        found = break_selective(model, images, labels, threat=threat, question=question, steps=20)
        same = break_guarantee(
            model, images, guarantee=guarantee, labels=labels, threat=threat, steps=20
        )
        assert torch.equal(found.success, same.success)


def test_questions_need_a_selective_classifier():
    with pytest.raises(ValueError, match="rejects = True"):
        break_selective(
            build("mlp", inputs=4), torch.rand(1, 4), torch.tensor([0]), threat=Threat()
        )


def test_a_model_in_train_mode_is_left_as_it_was(generator):
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))
    model = Selective(net, "entropy", 0.5).train()
    before = net[1].running_mean.clone()
    images = torch.rand(5, 1, 2, 2, generator=generator)
    break_selective(model, images, torch.zeros(5, dtype=torch.long), threat=Threat(), steps=2)
    assert torch.equal(net[1].running_mean, before)
    assert model.training
