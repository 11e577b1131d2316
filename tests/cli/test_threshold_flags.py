"""Thresholds by coverage and by risk, and temperatures, from images that are not evaluated."""

import re

import pytest

from surefoot.cli import main
from surefoot.cli.options import Rows
from surefoot.cli.subject import Subject
from surefoot.uncertainty import Selective, Tempered


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    main(f"train standard --net mlp --epochs 15 --folder {folder}".split())
    return str(folder)


def opened(net, **options):
    data, others = Rows(count=60).load()
    return Subject(net, **options).open(data, others)


def test_a_risk_gives_a_threshold_and_says_what_it_accepts(net, capsys):
    model = opened(net, reject="entropy", risk=0.1, temperature_scaling=True)
    said = capsys.readouterr().out
    assert isinstance(model, Selective)
    assert isinstance(model.model, Tempered)
    fraction, wrong = map(float, re.findall(r"([\d.]+)%", said))
    assert fraction > 50
    assert wrong < 10
    assert "from 146 images" in said  # temperature and grid
    assert "of 294 other" in said  # the test
    assert "risk at most 0.1 with probability 0.95" in said


def test_a_threshold_for_noisy_copies_accepts_more(net, capsys):
    clean = opened(net, reject="margin-uncertainty", coverage=0.8)
    noisy = opened(net, reject="margin-uncertainty", coverage=0.8, threshold_sigma=0.3)
    assert noisy.threshold > clean.threshold
    assert re.findall(r"accepts (80\.\d%) of 440", capsys.readouterr().out) == ["80.0%"] * 2


def test_a_threshold_is_chosen_under_the_noise_of_the_classifier(net, tmp_path, capsys):
    clean = opened(net, reject="entropy", coverage=0.8).threshold
    noisy = opened(net, reject="entropy", coverage=0.8, threshold_sigma=0.3).threshold
    capsys.readouterr()
    shared = f"certify --model {net} --count 60 --reject entropy --coverage 0.8 --n-certify 100"
    for flags, threshold in (("", noisy), ("--threshold-sigma 0", clean)):
        out = tmp_path / f"{threshold}"
        main(f"{shared} --sigma 0.3 {flags} --folder {out}".split())
        assert f"threshold {threshold:.4g} accepts" in capsys.readouterr().out
    assert noisy > clean


def test_a_threshold_of_the_largest_radius_under_noise(net, capsys):
    strict = opened(net, reject="entropy", max_rejection=0.9, threshold_sigma=0.3)
    mild = opened(net, reject="entropy", max_rejection=0.1, threshold_sigma=0.3)
    assert strict.threshold < mild.threshold
    assert "largest mean radius (ii) on 200 other images" in capsys.readouterr().out


def test_a_temperature_alone(net):
    model = opened(net, temperature_scaling=True)
    assert isinstance(model, Tempered)
    assert 0.05 < model.temperature < 1  # so short a training leaves a net too modest


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--reject entropy --risk 0.002", "no threshold shows a risk"),
        ("--reject entropy --risk 0.1 --count 0", "give a --count above 0"),
        ("--reject entropy --risk 0.1 --coverage 0.9", "needs one of"),
        ("--reject entropy --max-rejection 0.4", "--threshold-sigma"),
        ("--reject entropy --risk 2", "risk"),
        ("--reject gloro --threshold 0.1 --risk 0.1", "takes no"),
        ("--reject entropy --coverage 0.9 --threshold-sigma -1", "sigma"),
        ("--reject vote-disagreement --coverage 0.9", "members"),
        ("--reject gp-variance --coverage 0.9", "Gaussian process"),
        ("--risk 0.1", "need --reject"),
        ("--temperature-scaling --count 0", "give a --count above 0"),
    ],
)
def test_what_cannot_be_chosen_is_said(net, flags, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(f"evaluate --model {net} --count 60 {flags} --folder {tmp_path / 'out'}".split())
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
