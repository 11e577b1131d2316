"""Limits beside a record: searched on other data, measured on the rows, valid if they confirm."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from scipy.stats import binom

from made_header import made_header
from surefoot.data import Data, load
from surefoot.evaluation import Record, bracket, data_limits
from surefoot.evaluation.data_limits import SURE, confirmable, estimates
from surefoot.evaluation.header import LimitPart
from surefoot.evaluation.warnings import (
    MOST_ROWS,
    above_limit,
    not_valid,
    rows_to_confirm,
    what_would_confirm,
)
from surefoot.guarantees import Local, TopK
from surefoot.models import build
from surefoot.stats import Interval, interval
from surefoot.threat import Threat


@pytest.mark.parametrize(("risk", "count"), [(0.03, 500), (0.3, 500), (0.1, 60), (0.01, 5000)])
def test_rows_confirm_a_region_of_confirmable_risk_as_often_as_promised(risk, count):
    measure = confirmable(risk, count)
    confirming = [hits for hits in range(count + 1) if interval(hits, count).low >= risk]
    assert binom.pmf(confirming, count, measure).sum() == pytest.approx(SURE, abs=1e-6)
    assert measure > risk


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.5), ("linf", 0.1)])
def test_a_search_on_other_data_is_confirmed_by_500_rows(norm, eps):
    right = torch.rand(500, generator=torch.Generator().manual_seed(1)) > 0.05
    shared = (load("digits"), right, Local(), Threat(norm, eps), (eps,))
    (part,) = estimates(*shared, others=load("digits", "train"))
    assert part.valid
    assert part.risk is not None
    assert part.risk.low >= part.demanded_risk == pytest.approx((~right).double().mean().item())
    (alone,) = estimates(*shared)
    assert not alone.valid  # half of the rows search, the other half confirms nothing


def test_the_rows_that_measure_neither_search_nor_calibrate(monkeypatch):
    seen = {}

    def concentration(points, unsure, **settings):
        seen.update(settings, count=len(points))
        return data_limits.Estimate("none", False, False, 0.0)

    monkeypatch.setattr(data_limits, "concentration", concentration)
    right = torch.arange(100) > 9
    estimates(
        load("digits").first(100),
        right,
        Local(),
        Threat("l2", 0.5),
        (0.5,),
        others=load("digits", "train"),
    )
    assert seen["report"].tolist() == list(range(seen["count"] - 100, seen["count"]))
    apart = {*seen["search"].tolist(), *seen["calibrate"].tolist()}
    assert not apart & {*seen["report"].tolist()}
    assert not estimates(load("digits"), torch.ones(500), TopK(2), Threat(), (0.1,))


def test_a_note_says_how_many_rows_would_confirm():
    part = LimitPart(0.5, feasible=True, valid=False, demanded_risk=0.05, gamma=0.0)
    enough = rows_to_confirm(replace(part, risk=Interval(0.08, 0.0, 1.0)), 100)
    assert enough > 100
    assert interval(round(0.08 * enough), enough).low >= 0.05
    assert interval(round(0.08 * enough / 1.5), int(enough / 1.5)).low < 0.05
    assert rows_to_confirm(replace(part, risk=Interval(0.04, 0.0, 1.0)), 100) == MOST_ROWS


def test_a_region_of_far_more_risk_is_not_valid_and_a_note_says_how_many_rows_are_needed():
    found = data_limits.Estimate("balls", True, True, 0.0)
    found = replace(found, risk=Interval(0.65, 0.5, 0.8), label_uncertainty=Interval(0.0, 0.0, 0.0))
    part = data_limits._part(found, 0.1, 0.4, 0.0)
    assert not part.valid
    assert data_limits._part(found, 0.1, 0.5, 0.0).valid
    enough = rows_to_confirm(part, 40)
    assert confirmable(0.4, enough) < 0.475 <= confirmable(0.4, int(enough / 1.3))
    # 5,000 rows confirm a smaller region; the search did not find one, and more rows are no help.
    assert rows_to_confirm(part, 5_000) == MOST_ROWS
    assert "65.0 %" in what_would_confirm(part, 5_000) or "65.0%" in what_would_confirm(part, 5_000)


def test_a_classifier_that_certifies_more_than_the_estimate_makes_it_invalid_and_says_so():
    columns = ("label", "prediction", "attacked", "nearest", "samples", "set_size", "score")
    rows = pd.DataFrame({"index": range(10)} | dict.fromkeys(columns, 0))
    rows = rows.assign(
        accepted=True, certified_accepted=True, set="0", sets="0", radii="", attack=""
    )
    rows["clean"] = [True] * 8 + [False] * 2
    rows["certified"] = [0.3] * 7 + [0.1] + [0.0] * 2
    part = LimitPart(0.2, True, True, 0.2, 0.0, robustness=Interval(0.6, 0.3, 0.9))
    kept = replace(part, robustness=Interval(0.7, 0.4, 0.9))  # as much as is certified
    found = data_limits.unbeaten((part, kept, replace(part, radius=0.4)), rows)
    assert [one.valid for one in found] == [False, True, True]
    told = Record(rows, made_header(10, limit=found))
    assert len(above_limit(told)) == 1
    assert "70.0% at radius 0.2 lies above the estimated limit 60.0%" in above_limit(told)[0]
    assert not_valid(told) == []


def test_other_data_that_are_evaluated_or_of_another_kind_do_not_search():
    data, train = load("digits").first(50), load("digits", "train")
    both = Data(
        torch.cat([data.images, train.images]), torch.cat([data.labels, train.labels]),
        classes=data.classes, levels=data.levels,
    )  # fmt: skip
    found = data_limits.apart(both, data)
    assert found is not None
    known = {row.numpy().tobytes() for row in data.inputs(slice(None))}
    assert not any(row.numpy().tobytes() in known for row in found.inputs(slice(None)))
    assert data_limits.apart(data, data) is None
    assert data_limits.apart(train.first(3), data) is None
    other = Data(torch.rand(200, 1, 9, 9), torch.arange(200) % 2)
    assert data_limits.apart(other, data) is None
    whole = data_limits.apart(train, data)
    assert whole is not None
    assert len(whole.labels.unique()) == 10


def test_other_data_that_cannot_search_are_said_and_cost_nothing(capsys):
    net, data = build("mlp", inputs=64, hidden=(8,)).eval(), load("digits").first(40)
    asked = {"guarantee": Local(), "threat": Threat("l2", 0.1), "attack": False}
    alone = bracket(net, data, **asked)
    strange = Data(torch.rand(200, 1, 9, 9), torch.arange(200) % 2)
    record = bracket(net, data, others=strange, **asked)
    assert "half of the rows" in capsys.readouterr().err
    assert record.header.searched == ""
    assert record.header.limit == alone.header.limit
    found = bracket(net, data, others=load("digits", "train"), **asked)
    assert found.header.searched
    assert found.header.identity != alone.header.identity
    assert capsys.readouterr().err == ""
