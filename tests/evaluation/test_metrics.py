"""Figures and files of a record: hand-made rows with known answers."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar

from made_header import made_header
from surefoot.evaluation import Record, metrics, read
from surefoot.evaluation.record import COLUMNS, read_rows

INF, NAN = float("inf"), float("nan")


def make(**columns):
    count = len(next(iter(columns.values())))
    rows = {
        "index": range(count),
        "label": [0] * count,
        "prediction": [0] * count,
        "accepted": [True] * count,
        "certified_accepted": [True] * count,
        "score": np.linspace(0, 1, count),
        "set": ["0"] * count,
        "set_size": [1] * count,
        "sets": ["0"] * count,
        "radii": [""] * count,
        "clean": [True] * count,
        "certified": [NAN] * count,
        "attacked": [INF] * count,
        "nearest": [INF] * count,
        "attack": [""] * count,
        "samples": [0] * count,
    }
    return Record(pd.DataFrame(rows | columns), made_header(count))


def test_shares_at_the_ends_of_the_radii():
    record = make(
        clean=[True, True, True, False],
        certified=[0.5, 0.1, 0.0, 0.0],
        attacked=[INF, 0.3, 0.2, 0.0],
    )
    assert metrics.clean_accuracy(record).value == 0.75
    fractions = [metrics.attacked_accuracy(record, r).value for r in (0.0, 0.1, 0.2, 0.3, 1.0)]
    assert fractions == [0.75, 0.75, 0.5, 0.25, 0.25]
    fractions = [metrics.certified_accuracy(record, r).value for r in (0.0, 0.1, 0.3, 0.5, 0.51)]
    assert fractions == [0.5, 0.5, 0.25, 0.25, 0.0]
    assert metrics.contradictions(record) == []
    assert metrics.certified_accuracy(make(clean=[True]), 0.1) is None


def test_contradictions_are_listed():
    record = make(certified=[0.3, 0.3, 0.3], attacked=[0.3, 0.31, INF])
    assert metrics.contradictions(record) == [0]


def test_accepted_and_right_leaves_out_rejections_and_wrong_labels():
    record = make(accepted=[True, False, True], label=[0, 0, 1], certified=[0.5, 0.5, 0.5])
    attacked, certified = metrics.accepted_and_right(record, 0.1)
    assert attacked.value == certified.value == pytest.approx(1 / 3)
    assert metrics.coverage(record).value == pytest.approx(2 / 3)
    unsure = make(certified_accepted=[False, True], certified=[0.5, 0.5])
    attacked, certified = metrics.accepted_and_right(unsure, 0.1)
    assert (attacked.value, certified.value) == (1.0, 0.5)


def test_set_sizes_count_only_where_there_is_a_claim():
    assert metrics.mean_set_size(make(set_size=[1, 3, 0])) == 2.0
    assert np.isnan(metrics.mean_set_size(make(set_size=[0, 0])))


def test_risk_coverage_with_ties_and_nan():
    right = pd.Series([True, False, True, False])
    curve = metrics.risk_coverage(right, pd.Series([0.1, 0.2, 0.2, NAN]))
    assert curve["coverage"].tolist() == [0.25, 0.75, 1.0]
    assert curve["risk"].tolist() == pytest.approx([0.0, 1 / 3, 0.5])
    expected = 0.25 * 0 + 0.5 / 3 + 0.25 * 0.5
    assert metrics.area_under_risk_coverage(curve) == pytest.approx(expected)


def test_risk_coverage_area_orders_scores_as_auroc_does():
    rng = np.random.default_rng(0)
    right = pd.Series(rng.random(400) < 0.8)
    good = pd.Series(rng.random(400) - 0.5 * right)
    poor = pd.Series(rng.random(400))
    areas = [
        metrics.area_under_risk_coverage(metrics.risk_coverage(right, s)) for s in (good, poor)
    ]
    assert areas[0] < areas[1]
    assert roc_auc_score(~right, good) > roc_auc_score(~right, poor)


def test_rows_come_back_bit_for_bit():
    rng = np.random.default_rng(1)
    record = make(
        score=rng.random(50) * np.logspace(-12, 12, 50),
        certified=[NAN, *rng.random(49)],
        attacked=[INF] * 25 + list(rng.random(25)),
        set=["0|3", ""] * 25,
        sets=["0;0|3", ";3|4"] * 25,
        radii=[f"{radius!r};inf" for radius in rng.random(50).tolist()],
        attack=["apgd-soft", ""] * 25,
    )
    again = read_rows(record.rows.to_csv(index=False))
    pd.testing.assert_frame_equal(again, record.rows, check_exact=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "record.csv").unlink(), "holds no record.*record.csv"),
        (lambda run: (run / "record.json").unlink(), "holds no record.*record.json"),
        (lambda run: (run / "record.json").write_text("{"), "damaged"),
        (lambda run: (run / "record.csv").write_text(""), "does not fit the hash"),
        (lambda run: (run / "record.csv").write_text("a,b\n1,2\n"), "does not fit the hash"),
        (lambda run: (run / "record.json").write_text(json.dumps({"schema": 99})), "schema 99"),
        (lambda run: (run / "record.json").write_text('{"schema": 1}'), "schema 1.*Evaluate again"),
    ],
)
def test_damaged_records_are_named(damage, message, tmp_path):
    make(clean=[True]).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_columns_are_documented():
    from surefoot.evaluation import record

    for column in COLUMNS:
        assert f"    {column}: " in record.__doc__


def test_paired_differences_are_those_of_mcnemar():
    ours = pd.Series([True] * 60 + [True] * 15 + [False] * 5 + [False] * 20)
    theirs = pd.Series([True] * 60 + [False] * 15 + [True] * 5 + [False] * 20)
    found = metrics.paired_difference(ours, theirs)
    assert found.value == pytest.approx(0.10)
    assert found.p_value == pytest.approx(mcnemar([[60, 15], [5, 20]], exact=True).pvalue)
    assert found.low < 0.10 < found.high
    assert (found.low > 0) == (found.p_value < 0.05)
    same = metrics.paired_difference(ours, ours)
    assert (same.value, same.p_value) == (0.0, 1.0)
    other = metrics.paired_difference(theirs, ours)
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))


def test_the_table_of_a_record_has_every_figure_with_its_interval():
    record = make(clean=[True, True, False, True], certified=[0.5, 0.0, 0.0, 0.2])
    table = record.table.set_index(["metric", "radius"])
    assert table.loc[("clean", 0.0), "value"] == 0.75
    radius = record.header.radii[0]
    assert (
        table.loc[("certified", radius), "value"]
        == metrics.certified_accuracy(record, radius).value
    )
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert len(table) == 1 + len(record.header.radii) * (2 if record.header.attack else 1)


def test_the_trade_off_is_the_mean_of_clean_and_attacked():
    record = make(clean=[True, True, True, False], attacked=[INF, 0.3, 0.2, 0.0])
    for radius, value in ((0.1, 0.75), (0.2, 0.625), (0.3, 0.5)):
        found = metrics.trade_off(record, radius)
        both = metrics.clean_accuracy(record), metrics.attacked_accuracy(record, radius)
        assert found.value == value == sum(one.value for one in both) / 2
        assert found.low < value < found.high


def test_the_interval_of_a_trade_off_covers():
    stream = np.random.default_rng(0)
    missed, narrower = 0, 0
    for _ in range(60):
        kinds = stream.choice(3, size=300, p=[0.2, 0.3, 0.5])  # wrong, broken, never broken
        record = make(clean=list(kinds > 0), attacked=list(np.array([0.0, 0.1, INF])[kinds]))
        found = metrics.trade_off(record, 0.1)
        missed += not found.low <= 0.65 <= found.high
        clean, attacked = metrics.clean_accuracy(record), metrics.attacked_accuracy(record, 0.1)
        narrower += found.high - found.low < (clean.high - clean.low + attacked.high - attacked.low)
    assert missed <= 8  # 3 expected at most; above 8 with probability .004
    assert narrower == 60
