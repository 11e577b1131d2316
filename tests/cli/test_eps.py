"""Radius 0 is the image itself; a radius beyond the box is doubted."""

import json
import warnings

import pytest
import torch

from surefoot.cli import main
from surefoot.evaluation import metrics, read
from surefoot.models import build, save


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    torch.manual_seed(0)
    save(build("lipschitz-mlp", inputs=64, hidden=(8,)), folder)
    return str(folder)


@pytest.mark.parametrize(
    "command",
    [
        ("attack", "--norm", "linf", "--steps", "3"),
        ("attack", "--norm", "l2", "--steps", "3"),
        ("certify", "--norm", "l2", "--certificate", "lipschitz"),
        ("certify", "--norm", "l2", "--certificate", "smoothing", "--n-certify", "100"),
        ("certify", "--norm", "l2", "--at-radii", "--n-certify", "100"),
        ("evaluate", "--norm", "l2", "--steps", "3"),
    ],
    ids=" ".join,
)
def test_at_eps_0_nothing_is_attacked_and_the_attacked_share_is_the_clean_one(
    command, net, tmp_path, capsys
):
    main([*command, "--eps", "0", "--model", net, "--count", "40", "--folder", str(tmp_path)])
    record = read(tmp_path)
    assert metrics.attacked_accuracy(record, 0.0).value == metrics.clean_accuracy(record).value
    certified = metrics.certified_accuracy(record, 0.0)
    assert certified is None or certified.value <= metrics.clean_accuracy(record).value
    assert "clean" in capsys.readouterr().out


def test_the_limit_at_radius_0_is_one_minus_the_risk_or_more(tmp_path):
    main(["limit", "--eps", "0", "--radii", "0.1", "--folder", str(tmp_path)])
    found = json.loads((tmp_path / "limit.json").read_text())
    assert [entry["radius"] for entry in found["estimates"]] == [0.0, 0.1]
    first = found["estimates"][0]
    assert first["adversarial_risk"]["value"] == first["risk"]["value"]
    assert found["ceilings"]["local"][0]["value"] == 1.0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_radius_beyond_the_box_is_doubted(norm, net, tmp_path, capsys):
    main(
        [
            *("attack", "--model", net, "--norm", norm, "--eps", "8.5", "--count", "5"),
            *("--steps", "2", "--folder", str(tmp_path)),
        ]
    )
    assert "units of 255? Then divide it by 255: 0.03333" in capsys.readouterr().out


def test_a_radius_beyond_the_box_is_doubted_by_limit_and_train(tmp_path, capsys):
    main(
        [
            *("limit", "--data", "digits", "--count", "100", "--norm", "l2", "--eps", "20"),
            *("--folder", str(tmp_path / "limit")),
        ]
    )
    assert "units of 255?" in capsys.readouterr().out
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        main(
            [
                *("train", "pgd", "--eps", "8", "--count", "64", "--net", "mlp", "--epochs", "1"),
                *("--folder", str(tmp_path / "net")),
            ]
        )
    error = capsys.readouterr().err
    assert error.startswith("surefoot: warning: linf eps 8 is wider than the box")
    assert error.count("\n") == 1


def test_eps_1e300_is_an_attack_on_the_whole_box(net, tmp_path):
    for norm in ("linf", "l2"):
        main(
            [
                *("evaluate", "--model", net, "--norm", norm, "--eps", "1e300", "--count", "30"),
                *("--steps", "2", "--folder", str(tmp_path / norm)),
            ]
        )
        assert len(read(tmp_path / norm)) == 30
