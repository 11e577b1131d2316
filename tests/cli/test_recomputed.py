"""`surefoot check --model`: certificates again, from the net; a planted radius is found."""

import json
import shutil
import sys

import pytest
import torch
from tampered import cell

from surefoot.cli import main
from surefoot.data import load
from surefoot.evaluation import Plain, bracket, read
from surefoot.evaluation.record import rows_hash
from surefoot.guarantees import Local
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.training import Training, fit, make_recipe

EPS = 0.02


def trained(kind, folder):
    torch.manual_seed(0)
    training = Training(epochs=3, learning_rate=1e-2)
    net = build(kind, inputs=64, hidden=(16,))
    fit(net, load("digits", "train"), make_recipe("standard"), folder, training=training)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Make a net of each kind, and records of its certificates."""
    home = tmp_path_factory.mktemp("work")
    for kind, names in (("mlp", ("crown", "ibp", "branch-and-bound")), ("lipschitz-mlp", ("",))):
        net = trained(kind, home / kind)
        for effort in names:
            line = f"certify --model {net} --norm linf --eps {EPS} --radii 0.01 --count 12"
            line += f" --certificate {'relaxation' if effort else 'lipschitz'}"
            line += f" --effort {effort}" if effort else ""
            line += " --seconds 1" if effort == "branch-and-bound" else ""
            words = [*line.split(), "--folder", str(home / (effort or "lipschitz"))]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["surefoot", *words])  # what the record keeps
                main(words)
    return home


def checked(folder, net, *flags):
    try:
        main(["check", str(folder), "--model", str(net), *flags])
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.mark.parametrize("name", ["crown", "ibp", "branch-and-bound", "lipschitz"])
def test_true_records_are_confirmed(work, name, capsys):
    net = work / ("lipschitz-mlp" if name == "lipschitz" else "mlp")
    certified = int((read(work / name).rows["certified"] > 0).sum())
    assert certified > 3
    assert checked(work / name, net, "--count", "3") == 0
    told = capsys.readouterr().out
    assert "recomputed: the certificate of 3 rows" in told
    assert "not recomputed: 9 other rows, attacks, limits" in told
    assert checked(work / name, net, "--count", "0") == 0
    assert f"the certificate of {certified} rows" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["crown", "lipschitz"])
def test_a_planted_radius_is_found(work, name, tmp_path, capsys):
    """Raise the radius of one certified row: the file still holds together by itself."""
    folder = tmp_path / "record"
    shutil.copytree(work / name, folder)
    header = json.loads((folder / "record.json").read_text())
    rows = read(folder).rows
    low = rows["certified"] == 0.01 if name == "crown" else rows["certified"] > 0
    place = int(low.to_numpy().argmax())
    told = EPS if name == "crown" else float(rows["certified"][place]) * 1.01
    assert bool(low[place])
    parts = [told, *map(float, rows["radii"][place].split(";")[1:])]
    cell("certified", repr(told), place)(folder)
    cell("radii", ";".join(map(repr, parts)), place)(folder)
    count = int((read_certified(folder) >= EPS).sum())
    header["headline"]["certified"] = count / len(rows)
    header["rows_hash"] = rows_hash((folder / "record.csv").read_bytes())
    (folder / "record.json").write_text(json.dumps(header))
    net = work / ("mlp" if name == "crown" else "lipschitz-mlp")
    assert checked(folder, net, "--count", "0") == 1
    assert f"row {place}: certified to {told:g}, recomputed only to" in capsys.readouterr().out


def read_certified(folder):
    import pandas as pd

    return pd.read_csv(folder / "record.csv")["certified"]


def test_another_net_is_named(work, tmp_path, capsys):
    other = trained("mlp", tmp_path / "other")
    shutil.copy(work / "mlp" / "config.json", other / "config.json")
    from safetensors.torch import load_file, save_file

    weights = load_file(other / "model.safetensors")
    save_file({key: 2 * one for key, one in weights.items()}, other / "model.safetensors")
    assert checked(work / "crown", other) == 2
    assert "is not the net of the record" in capsys.readouterr().err


def test_what_cannot_be_recomputed_is_named(work, tmp_path, capsys):
    net = work / "mlp"
    main(f"certify --model {net} --count 2 --n-certify 100 --folder {tmp_path / 'vote'}".split())
    capsys.readouterr()
    assert checked(tmp_path / "vote", net) == 2
    assert "a certificate by smoothing, which draws noise" in capsys.readouterr().err
    from surefoot.models import open_model

    data, how = load("digits").first(3), {"guarantee": Local(), "threat": Threat("linf", EPS)}
    bracket(Plain(open_model(str(net)), "relaxation"), data, folder=tmp_path / "api", **how)
    assert checked(tmp_path / "api", net) == 2
    assert "call bracket in Python again" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["check", str(work / "crown"), "--count", "3"])
    assert "--count has no effect without --model" in capsys.readouterr().err
