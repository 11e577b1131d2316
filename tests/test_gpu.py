"""On an accelerator every method gives what it gives on the CPU.

Rounding differs between the devices, so what is compared is verdicts, and figures within 1e-4.
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from surefoot import (
    LabelOrUncertain,
    Local,
    Plain,
    Selective,
    Smoothed,
    Threat,
    TopK,
    Training,
    Vote,
    bracket,
    break_guarantee,
    build,
    fit,
    load,
    pgd,
)
from surefoot.attacks import autoattack
from surefoot.certify import lipschitz, smoothing
from surefoot.data import Data
from surefoot.models.border import outcomes_of
from surefoot.training import make_recipe

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator"),
]
LINF = Threat("linf", 0.1)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """Return a dense net trained on the accelerator, which learns the digits there."""
    torch.manual_seed(0)
    model = build("mlp", inputs=64, hidden=(64, 64)).to(DEVICE)
    folder = tmp_path_factory.mktemp("run")
    fit(
        model,
        load("digits", "train"),
        make_recipe("standard"),
        folder,
        training=Training(epochs=40, learning_rate=5e-3),
    )
    images, labels = load("digits").batch(slice(None))
    right = outcomes_of(model, images.to(DEVICE)).argmax(1).cpu() == labels
    assert right.double().mean() > 0.9
    return model


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Run convolutions in float32: what tf32 rounds, a certificate must pay for."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def data() -> Data:
    return load("digits").first(60)


def both(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    return copy.deepcopy(model).cpu(), copy.deepcopy(model).to(DEVICE)


def test_pgd_moves_to_the_same_points(net: nn.Module, data: Data) -> None:
    images, labels = data.batch(slice(None))
    cpu, gpu = both(net)
    there = pgd(gpu, images.to(DEVICE), labels.to(DEVICE), threat=LINF, steps=10, step_size=0.02)
    here = pgd(cpu, images, labels, threat=LINF, steps=10, step_size=0.02)
    assert there.device.type == DEVICE
    # A sign step may turn where a derivative is almost zero.
    assert ((there.cpu() - here).abs() > 1e-5).double().mean() < 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_autoattack_breaks_the_same_examples(net: nn.Module, data: Data, norm: str) -> None:
    images, labels = data.batch(slice(None))
    cpu, gpu = both(net)
    threat = Threat(norm, 0.1 if norm == "linf" else 0.6)
    there = autoattack(gpu, images.to(DEVICE), labels.to(DEVICE), threat=threat, version="fast")
    here = autoattack(cpu, images, labels, threat=threat, version="fast")
    assert 0.1 < here.success.double().mean() < 0.95
    assert int((there.success.cpu() != here.success).sum()) <= 1


@pytest.mark.parametrize("guarantee", [Local(), TopK(2), LabelOrUncertain()])
def test_guarantees_break_alike(net: nn.Module, data: Data, guarantee: object) -> None:
    images, _ = data.batch(slice(0, 30))
    cpu, gpu = both(net)
    if isinstance(guarantee, LabelOrUncertain):
        cpu, gpu = (Selective(model, "entropy", threshold=0.3) for model in (cpu, gpu))
    there = break_guarantee(gpu, images.to(DEVICE), guarantee=guarantee, threat=LINF)
    here = break_guarantee(cpu, images, guarantee=guarantee, threat=LINF)
    assert int((there.success.cpu() != here.success).sum()) <= 1


def test_lipschitz_certificates_are_the_same(data: Data) -> None:
    torch.manual_seed(0)
    cpu, gpu = both(build("gloro-mlp", inputs=64, hidden=(32,)))
    images, _ = data.batch(slice(None))
    here = lipschitz.certify(cpu, images, guarantee=Local())
    there = lipschitz.certify(gpu, images.to(DEVICE), guarantee=Local())
    assert (here.radius > 0).any()
    torch.testing.assert_close(
        there.radius.cpu().double(), here.radius.double(), rtol=1e-3, atol=1e-5
    )


def test_smoothing_counts_the_same_noise(net: nn.Module, data: Data) -> None:
    images, _ = data.batch(slice(0, 20))
    cpu, gpu = both(net)
    how = {"guarantee": Local(), "sigma": 0.25, "n_certify": 2000}
    here = smoothing.certify(cpu, images, **how)
    there = smoothing.certify(gpu, images.to(DEVICE), **how)
    assert (here.radius > 0).any()
    torch.testing.assert_close(
        there.radius.cpu().double(), here.radius.double(), rtol=0.02, atol=1e-3
    )


@pytest.mark.parametrize("name", ["udp", "gloro"])
def test_training_repeats_and_resumes(name: str, tmp_path: Path) -> None:
    data = load("digits", "train").first(400)
    recipe = (
        make_recipe("udp", threat=LINF, steps=3) if name == "udp" else make_recipe("gloro", eps=0.1)
    )
    weights = []
    for run in ("whole", "again", "again"):  # the last finds the end of the one before
        torch.manual_seed(0)
        model = build("gloro-mlp", inputs=64, hidden=(32,)).to(DEVICE)
        fit(model, data, recipe, tmp_path / run, training=Training(epochs=3))
        assert len((tmp_path / run / "log.jsonl").read_text().splitlines()) == 3
        weights.append(next(model.parameters()).detach().cpu())
    torch.testing.assert_close(weights[1], weights[2], rtol=0, atol=0)
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("smoothed", [False, True])
def test_records_agree(net: nn.Module, data: Data, smoothed: bool) -> None:
    cpu, gpu = both(net)
    threat = Threat("l2", 0.25) if smoothed else LINF
    here, there = (
        bracket(
            Smoothed(Vote(model, 0.25), n_certify=500)
            if smoothed
            else Plain(model, protocol="fast"),
            data.first(20),
            guarantee=Local(),
            threat=threat,
        )
        for model in (cpu, gpu)
    )
    assert (here.rows.clean != there.rows.clean).sum() <= 1
    for column in ("certified", "attacked"):
        assert ((here.rows[column] - there.rows[column]).abs() > 0.02).sum() <= 1
