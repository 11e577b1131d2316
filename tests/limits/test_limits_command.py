"""`surefoot limit` with families, calibration and splits."""

import json

import pytest

from surefoot.cli import main


def limit(folder, *flags):
    main(["limit", "--data", "digits", "--count", "200", *flags, "--folder", str(folder)])
    return json.loads((folder / "limit.json").read_text())["estimates"]


def test_best_family_over_splits(tmp_path, capsys):
    flags = ("--norm", "l2", "--eps", "0.5", "--family", "best", "--splits", "2")
    (entry,) = limit(tmp_path, *flags, "--risk", "0.1", "--components", "2")
    assert entry["family"] in ("balls", "half-spaces")
    assert entry["calibrated"] in ("value", "limit")
    assert entry["calibrate"]["risk"]["value"] >= 0.1
    assert entry["splits"] == 2
    mean = entry["adversarial_risk_over_splits"]["mean"]
    assert f"{100 * (1 - mean):.2f} %" in capsys.readouterr().out


def test_every_family_by_name(tmp_path):
    flags = ("--norm", "linf", "--eps", "0.1", "--risk", "0.1", "--components", "2")
    for family in ("cubes", "rectangles", "half-spaces"):
        (entry,) = limit(tmp_path, *flags, "--family", family)
        assert entry["family"] == family
        assert entry["feasible"]
        assert 0 <= entry["robustness"]["value"] <= 1
    with pytest.raises(SystemExit):
        limit(tmp_path, *flags, "--family", "balls")


def test_a_gamma_out_of_reach_is_written_as_such(tmp_path, capsys):
    for family in ("best", "half-spaces"):
        (entry,) = limit(
            tmp_path, "--norm", "l2", "--eps", "0.1", "--gamma", "1", "--family", family
        )
        assert (entry["feasible"], entry["risk"], entry["largest_gamma"]) == (False, None, 0.0)
    assert "infeasible" in capsys.readouterr().out
