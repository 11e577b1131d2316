"""Labels and probabilities with rejection; short texts of records in a notebook."""

import numpy as np
import torch
from torch import nn

import surefoot
from surefoot import Local, Plain, Selective, Threat, bracket, build, load
from surefoot.attacks import break_guarantee
from surefoot.certify import lipschitz
from surefoot.uncertainty.prediction import predict, predict_proba


def test_rejected_images_have_the_label_minus_one() -> None:
    torch.manual_seed(0)
    net, (images, _) = build("mlp", inputs=64), load("digits").first(50).batch(slice(None))
    probabilities = predict_proba(net, images)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(predict(net, images), probabilities.argmax(1))
    least = 1 - torch.from_numpy(probabilities).amax(1)
    threshold = float(least.sort().values[24:26].mean())  # between two of them
    rejecting = Selective(net, "least-confidence", threshold)
    found = predict(rejecting, images)
    np.testing.assert_array_equal(found == -1, (least > threshold).numpy())
    kept = found >= 0
    np.testing.assert_array_equal(found[kept], probabilities.argmax(1)[kept])
    np.testing.assert_allclose(predict_proba(rejecting, images), probabilities, atol=1e-6)


def test_no_finite_answer_is_no_label() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 3), torch.nan)

    assert predict(Broken(), torch.rand(4, 2)).tolist() == [-1] * 4


def test_texts_are_short_and_the_front_door_is_listed() -> None:
    torch.manual_seed(0)
    data = load("digits").first(20)
    net = build("lipschitz-mlp", inputs=64, hidden=(8,)).eval()
    images, _ = data.batch(slice(None))
    record = bracket(Plain(net, steps=2), data, guarantee=Local(), threat=Threat("linf", 8 / 255))
    attack = break_guarantee(net, images, guarantee=Local(), threat=Threat("l2", 0.5), steps=3)
    found = [data, record, attack, lipschitz.certify(net, images, guarantee=Local())]
    for one in found:
        assert len(repr(one)) < 120
    assert repr(data) == "Data(digits: 20 images 1x8x8, 10 classes)"
    assert "Local on 20 rows of digits, linf 8/255" in repr(record)
    assert set(surefoot.__all__) <= set(dir(surefoot))
    assert "import_module" not in dir(surefoot)


def test_a_tie_with_uncertain_is_a_rejection_and_any_finite_input_will_do() -> None:
    class Tie(nn.Module):
        rejects = True

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

    outcomes = torch.tensor([[3.0, 1.0, 3.0], [3.0, 1.0, 2.0], [-5.0, 400.0, 1.0]])
    assert predict(Tie(), outcomes).tolist() == [-1, 0, 1]
