"""Radii over the threshold: consistent with the certificate, resumable, honest about its price."""

import numpy as np
import pandas as pd
import pytest
import torch

from surefoot.certify.smoothing import certify
from surefoot.data import load
from surefoot.evaluation.studies import rejection_study
from surefoot.evaluation.studies.rejection_study import ESTIMATORS, Rejection, rejection_curve
from surefoot.guarantees import LabelOrUncertain, Local
from surefoot.models import build
from surefoot.training import Training, fit, make_recipe
from surefoot.uncertainty import Selective
from surefoot.uncertainty.vote import Vote

SMALL = {"n_select": 100, "n_certify": 1000, "thresholds": (0.2, 0.4, 0.6, 1.0)}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    model = build("mlp", inputs=64, hidden=(64,), classes=10)
    training = Training(epochs=12, batch_size=64, learning_rate=3e-3)
    fit(
        model,
        load("digits", "train"),
        make_recipe("noise", sigma=0.5),
        tmp_path_factory.mktemp("net"),
        training=training,
    )
    return model.eval()


@pytest.fixture(scope="module")
def found(net):
    return rejection_curve(Vote(net, 0.5), load("digits", "test").first(120), **SMALL)


def test_every_threshold_is_a_selective_classifier(net, found):
    data = load("digits", "test").first(10)
    images, _ = data.batch(slice(None))
    selective = Selective(net, "entropy", 0.4)
    shared = {"sigma": 0.5, "n_certify": 1000, "n_select": 100}
    rows = found.at(0.4).iloc[:10]
    either = certify(selective, images, guarantee=LabelOrUncertain(), **shared)
    assert np.allclose(rows["tight"].to_numpy(), either.radius.numpy())
    plain = certify(net, images, guarantee=Local(), **shared)
    assert np.allclose(rows["plain"].to_numpy(), plain.radius.numpy())
    certain = certify(selective, images, guarantee=Local(), **shared)
    label = certain.sets[:, 0, :-1].any(1)  # not the outcome "uncertain"
    assert np.allclose(rows["certain"], torch.where(label, certain.radius, 0.0).numpy())


def test_rejection_buys_radius_and_the_price_is_shown(found):
    table = rejection_study.summary(found)
    assert (table["rejected"].diff().dropna() <= 0).all()
    assert table["one_bound"].nunique() == 1
    assert table["rejected"].iloc[-1] == 0
    # With nothing rejected, the tight form has two fractions of alpha more to pay for.
    assert -0.1 < table["gain_tight"].iloc[-1] <= 0
    assert table["gain_tight"].max() > 0.1
    best = rejection_study.best_gain(table, "tight", 0.5)
    assert best["rejected"] <= 0.5
    assert best["gain_tight"] == table[table["rejected"] <= 0.5]["gain_tight"].max()
    with pytest.raises(ValueError, match="rejects more"):
        rejection_study.best_gain(table.assign(rejected=1.0), "tight", 0.5)


def test_shares_add_up_and_certified_curves_fall(found):
    parts = rejection_study.fractions(found, 0.25)
    assert np.allclose(parts[["certified", "accepted", "rejected", "wrong"]].sum(axis=1), 1)
    curve = rejection_study.certified_curve(found, 0.6, ESTIMATORS, (0.0, 0.25, 0.5, 1.0))
    for _, line in curve.groupby("row"):
        assert (line["y"].diff().dropna() <= 0).all()
        assert (line["low"] <= line["y"]).all()


def test_a_killed_count_goes_on_and_gives_the_same(net, found, tmp_path, monkeypatch):
    data = load("digits", "test").first(120)
    original, calls = rejection_study.smoothing.two_radii, []

    def dies(*arguments, **more):
        calls.append(1)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return original(*arguments, **more)

    monkeypatch.setattr(rejection_study.smoothing, "two_radii", dies)
    with pytest.raises(KeyboardInterrupt):
        rejection_curve(Vote(net, 0.5), data, **SMALL, folder=tmp_path)
    calls.clear()
    monkeypatch.setattr(rejection_study.smoothing, "two_radii", original)
    again = rejection_curve(Vote(net, 0.5), data, **SMALL, folder=tmp_path)
    pd.testing.assert_frame_equal(again.rows, found.rows)
    assert (tmp_path / "rejection.csv").exists()
    assert not (tmp_path / "chunks").exists()


def test_errors_count_as_no_radius():
    columns = {estimator: [0.5, 0.5] for estimator in ESTIMATORS}
    rows = pd.DataFrame(
        {
            "index": [0, 1],
            "label": [1, 1],
            "threshold": 0.5,
            "prediction": [1, 0],
            "plain_prediction": [1, 1],
            "uncertain": [False, True],
            "undecided": [False, True],
            **columns,
        }
    )
    table = rejection_study.summary(Rejection(rows, {}))
    assert table["tight"].item() == 0.25
    assert table["plain"].item() == 0.5
    assert table["gain_tight"].item() == -0.5
    assert rejection_study.fractions(Rejection(rows, {}), 0.6).iloc[0].tolist() == [
        0.5,
        0.0,
        0.5,
        0.5,
        0.0,
    ]


def test_one_half_chooses_and_the_other_is_quoted(found):
    chooses, quoted = found.halves()
    assert sorted({*chooses.rows["index"]}) == list(range(60))
    assert sorted({*quoted.rows["index"]}) == list(range(60, 120))
    assert chooses.thresholds == quoted.thresholds == found.thresholds
    best = rejection_study.best_gain(rejection_study.summary(chooses), "tight", 0.4)
    ours = rejection_study.gain_interval(quoted, best["threshold"], "tight", base="one_bound")
    table = rejection_study.summary(quoted).set_index("threshold")
    assert ours.value == pytest.approx(table.loc[best["threshold"], "gain_one_tight"])
    assert ours.low <= ours.value <= ours.high
