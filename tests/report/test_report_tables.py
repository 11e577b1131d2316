"""Tables: every cell is one figure, written by one formatter."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from report_records import (
    SMOOTHING,
    make_header,
    make_limit,
    make_record,
    make_rows,
    make_selective,
)

from surefoot.evaluation import metrics
from surefoot.evaluation.header import AttackPart
from surefoot.evaluation.record import Record
from surefoot.guarantees import Affinity, LabelOrUncertain, RelaxedTopK, TopK
from surefoot.report import headline, model_card, write_markdown
from surefoot.report.tables import (
    accepted_right_only,
    by_attack,
    by_class,
    by_radius,
    soundness_errors,
    to_markdown,
    warnings_of,
)
from surefoot.report.words import grounds
from surefoot.stats import Interval
from surefoot.wording import radius_text, with_interval


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_headline_cells_equal_the_figures(records):
    frame = headline(records)
    for record, (_, row) in zip(records, frame.iterrows(), strict=True):
        eps = record.header.eps
        assert row["clean"] == with_interval(metrics.clean_accuracy(record))
        assert row["attacked @ eps"] == with_interval(metrics.attacked_accuracy(record, eps))
        assert row["certified @ eps"] == with_interval(metrics.certified_accuracy(record, eps))
        assert row["coverage"] == with_interval(metrics.coverage(record))
        assert row["n"] == len(record)


def test_limit_is_always_marked_as_an_estimate(records):
    cell = headline(records)["limit @ eps"].tolist()
    assert cell[0].endswith("(estimate, not valid)")
    assert cell[1] == "-"
    assert make_limit(0.1, 0.9).text().endswith("(estimate)")
    assert replace(make_limit(0.1, 0.9), feasible=False).text() == "infeasible"
    assert "ESTIMATE" in grounds(records[0])["Limit"]


def test_refusals_bring_two_figures_side_by_side():
    record = make_selective()
    attacked, certified = metrics.accepted_and_right(record, 0.25)
    row = by_radius(record).iloc[1]
    assert row["attacked, accepted and right"] == with_interval(attacked)
    assert row["certified, accepted and right"] == with_interval(certified)
    assert row["attacked, not wrong"] == with_interval(metrics.attacked_accuracy(record, 0.25))
    assert metrics.attacked_accuracy(accepted_right_only(record), 0.25) == attacked
    assert "attacked, accepted and right" not in headline([make_record()])


def test_without_certificate_everything_below_attacked_is_unknown():
    record = make_record(certificate=None)
    row = by_radius(record).iloc[-1]
    assert row["certified"] == "-"
    assert row["unknown"] == f"{100 * metrics.attacked_accuracy(record, 0.5).value:.1f} %"


def test_by_class_counts_every_example_once():
    frame = by_class(make_record(classes=["cat", "dog"]))
    assert frame["class"].tolist() == ["cat", "dog"]
    assert sum(frame["n"].tolist()) == 360


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (Interval(0.932, 0.9019, 0.9551), "93.2 % [90.1, 95.6]"),
        (Interval(0.0, 0.0, 0.3085), "0.0 % [0.0, 30.9]"),
        (Interval(1.0, 0.9, 1.0), "100.0 % [90.0, 100.0]"),
        (None, "-"),
    ],
)
def test_intervals_are_rounded_outwards(fraction, text):
    assert with_interval(fraction) == text


@pytest.mark.parametrize(
    ("radius", "norm", "text"),
    [
        (8 / 255, "linf", "8/255"),
        (0.3, "linf", "0.3"),
        (8 / 255, "l2", "0.03137"),
        (1.0, "l2", "1"),
    ],
)
def test_radii_read_as_multiples_of_one_level_where_they_are(radius, norm, text):
    assert radius_text(radius, norm) == text


def test_contradiction_is_an_error_with_data_set_indices():
    record = make_record(count=40)
    assert soundness_errors(record) == []
    wrong = Record(record.rows.assign(certified=1.0), record.header)
    broken = metrics.contradictions(wrong)
    found = soundness_errors(wrong)
    assert f"{len(broken)} examples are certified" in found[0]
    assert str(wrong.rows["index"][broken[0]]) in found[0]
    assert any("at radius 0.5 certified accuracy" in text for text in found)


def test_soundness_errors_come_before_stored_warnings():
    record = make_record(count=40, warnings=("the attack may be weak",))
    wrong = Record(record.rows.assign(certified=1.0), record.header)
    assert warnings_of([wrong])[-1] == "gloro: the attack may be weak"


def test_attacks_that_ran_are_listed_with_what_they_took():
    table = by_attack(make_record())
    assert table is not None
    assert table["attack"].tolist() == ["checks", "apgd-ce", "apgd-t"]  # square had nothing to do
    assert table["found"].tolist() == ["0", "211", "12"]
    assert table["forwards"].tolist() == ["720", "19,800", "19,800"]
    assert table["seconds"].tolist() == ["0.0", "4.1", "4.1"]
    assert by_attack(make_record(attack=None)) is None
    assert by_attack(make_record(attack=AttackPart("apgd"))) is None


def test_checks_of_the_attack_are_said_with_its_settings():
    said = grounds(make_record())["Attack"]
    assert "1 of 32 examples broken at the smaller radius" in said
    assert "0 of 30 sets missed that fail at plain grey" in said


def test_grounds_name_the_vote_and_the_division_by_root_d(records):
    assert "vote under Gaussian noise of sigma 0.25" in grounds(records[1])["Classifier"]
    smoothed = grounds(records[1])["Certificate"]
    assert "alpha = 0.001" in smoothed
    assert "Error budget" in smoothed
    linf = make_record(norm="linf", dimension=784)
    assert "divided by √d, d = 784" in grounds(linf)["Certificate"]
    assert "divided" not in grounds(records[0])["Certificate"]


@pytest.mark.parametrize(
    ("guarantee", "words"),
    [
        (TopK(2), "the 2 most likely"),
        (RelaxedTopK(3), "some k up to 3"),
        (Affinity(((0, 1),)), "Groups: {0, 1}"),
        (LabelOrUncertain(), "becomes “uncertain”"),
    ],
)
def test_guarantees_are_said_in_words(guarantee, words):
    assert words in grounds(make_record(guarantee=guarantee.describe()))["Guarantee"]


def test_no_attack_and_no_certificate_are_said():
    said = grounds(make_record(certificate=None, attack=None))
    assert said["Attack"].startswith("None")
    assert said["Certificate"].startswith("None")


def test_markdown_cells_cannot_break_the_table():
    frame = by_class(make_record(classes=["a|b", "<b>\nx"]))
    lines = to_markdown(frame).splitlines()
    assert len(lines) == 4
    assert "a\\|b" in lines[2]
    assert "&lt;b> x" in lines[3]


def test_model_card_front_matter_holds_the_figures():
    record = make_record('name: "odd" — ✓')
    result = front_matter(model_card(record))["model-index"][0]
    assert result["name"] == record.header.name
    values = {metric["name"]: metric["value"] for metric in result["results"][0]["metrics"]}
    assert values["clean accuracy"] == metrics.clean_accuracy(record).value
    certified = metrics.certified_accuracy(record, 0.5)
    assert certified is not None
    assert values["certified accuracy at ℓ₂ radius 0.5"] == certified.value


def test_model_card_leaves_out_what_is_not_known():
    record = make_record(certificate=None)
    record = Record(record.rows.assign(set_size=0), record.header)
    metrics = front_matter(model_card(record))["model-index"][0]["results"][0]["metrics"]
    assert all(math.isfinite(metric["value"]) for metric in metrics)
    assert not any("certified" in metric["name"] for metric in metrics)
    assert json.dumps(metrics)


def test_markdown_summary_has_warnings_on_top(tmp_path):
    records = [make_record(warnings=("look here",)), make_record("other", norm="linf")]
    text = write_markdown(records, tmp_path / "report.md").read_text()
    assert text.index("look here") < text.index("| name |") < text.index("## other")
    assert "surefoot evaluate" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_nan_scores_and_infinite_radii_are_no_obstacle():
    record = make_record(count=20)
    rows = record.rows.assign(certified=np.inf, attacked=np.inf, clean=True, score=np.nan)
    assert by_radius(Record(rows, record.header))["certified"].str.startswith("100.0 %").all()


def test_smoothing_says_what_is_unlike_the_usual_and_what_holds_for_many_images():
    rows = make_rows(360, [0.1, 0.25], 3)
    certificate = replace(SMOOTHING, rule="majority", tv_error=2e-9)
    header = make_header("vote", [0.1, 0.25], ["a", "b", "c"], certificate=certificate)
    text = grounds(Record(rows, header))["Certificate"]
    certified = int(((rows["certified"] >= 0.25) & rows["clean"]).sum())
    assert f"at least {certified - 2} of these 360 images hold" in text  # 2: 95 % of Bin(360, .001)
    assert "a probability above one half" in text
    assert "2e-09" in text
    plain = grounds(Record(rows, replace(header, certificate=SMOOTHING)))["Certificate"]
    assert "above one half" not in plain
