"""Lipschitz nets on the command line: groups in training, rejection by leads, double precision."""

import json

import pytest

from surefoot.cli import main
from surefoot.evaluation.record import read


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    main(
        f"train gloro --groups 0,6,8;3,5,9 --net lipschitz-mlp --hidden 32 --count 300"
        f" --epochs 4 --learning-rate 1e-2 --eps 0.2 --folder {folder}".split()
    )
    return folder


def test_groups_reach_the_recipe(net):
    recipe = json.loads((net / "config.json").read_text())["recipe"]
    assert [0, 6, 8] in recipe["loss"]["guarantee"]["groups"]


def test_groups_belong_to_gloro(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(f"train standard --groups 0,1 --count 20 --epochs 1 --folder {tmp_path}".split())
    assert "recipes gloro, ibp" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["gloro", "logit-gap"])
def test_rejection_by_leads_is_certified_and_attacked(net, how, tmp_path):
    main(
        f"evaluate --model {net} --reject {how} --threshold 0.05 --guarantee label-or-uncertain"
        f" --norm l2 --eps 0.1 --count 20 --steps 5 --float64 --folder {tmp_path}".split()
    )
    record = read(tmp_path)
    assert record.header.certificate.arithmetic == "float64"
    assert (record.rows["certified"] > 0).any()
    assert (record.rows["certified"] <= record.rows["attacked"] + 1e-9).all()


def test_rejection_by_leads_needs_a_threshold(net, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(f"evaluate --model {net} --reject gloro --coverage 0.9 --folder {tmp_path}".split())
    assert "needs --threshold" in capsys.readouterr().err
