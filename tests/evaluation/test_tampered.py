"""Records that were tampered with: each is one clear error, in Python and from the command."""

import shutil
from dataclasses import replace

import pytest
import torch
from tampered import RECORDS

from surefoot.cli import main
from surefoot.data import load
from surefoot.evaluation import Plain, bracket, read
from surefoot.evaluation.header import LipschitzPart, SmoothingPart
from surefoot.guarantees import Local
from surefoot.models import build
from surefoot.threat import Threat


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A record with a certificate, an attack, a limit and counterexamples."""
    folder = tmp_path_factory.mktemp("whole")
    torch.manual_seed(0)
    net = build("lipschitz-mlp", inputs=64, hidden=(16,)).eval()
    data, threat = load("digits").first(30), Threat("l2", 0.2)
    classifier = Plain(net, "none", steps=2)
    record = bracket(classifier, data, guarantee=Local(), threat=threat, radii=[0.1], folder=folder)
    # As a vote under noise would leave it: finite radii, and a method that knows no infinite one.
    record.rows["certified"] = 0.0
    record.rows["radii"] = "0.0"
    by = SmoothingPart(0.25, 1e-3, 100, 1000)
    replace(record, header=replace(record.header, certificate=by)).save(folder)
    assert record.counterexamples
    return folder


def test_the_whole_record_comes_back(whole):
    record = read(str(whole))
    assert len(record) == 30
    assert record.header.rows_hash == read(whole).header.rows_hash != ""


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_that_was_tampered_with_is_one_clear_error(case, whole, tmp_path, capsys):
    change, message = RECORDS[case]
    folder = tmp_path / "record"
    shutil.copytree(whole, folder)
    change(folder)
    with pytest.raises(ValueError, match=message) as caught:
        read(folder)
    assert str(folder) in str(caught.value)
    with pytest.raises(SystemExit) as stop:
        main(["report", str(folder), "--output", str(tmp_path / "out" / "page.html")])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_infinite_radius_is_read_where_a_certificate_may_be_infinite(whole, tmp_path):
    """A net that is constant around an image: its Lipschitz constants are 0."""
    shutil.copytree(whole, tmp_path / "record")
    record = read(tmp_path / "record")
    record = replace(record, header=replace(record.header, certificate=LipschitzPart()))
    record.rows["certified"] = torch.inf
    record.rows["radii"] = "inf"
    record.rows.loc[:, ["clean", "attacked", "nearest"]] = [True, torch.inf, torch.inf]
    record.save(tmp_path / "record")
    assert (read(tmp_path / "record").rows["certified"] == torch.inf).all()


def test_there_are_enough_cases():
    assert len(RECORDS) >= 60
