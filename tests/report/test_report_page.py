"""The page: one file, warnings on top, nothing from outside, nothing unescaped."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from report_records import SMOOTHING, make_limit, make_record, make_selective

from surefoot.evaluation.header import LogPart
from surefoot.evaluation.record import Record
from surefoot.report import headline, write_page
from surefoot.report.bracket_chart import bracket_chart
from surefoot.report.rejection_chart import rejection_curve
from surefoot.report.tables import against_ood, by_class, by_coverage, costs, differences
from surefoot.report.words import GLOSSARY, in_plain_words

VOID = {"meta", "img", "br"}
ATTACK_CELL = '<td data-name="attack">apgd-ce</td>'


class Balance(HTMLParser):
    """Checks that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def page(records, folder, **options) -> str:
    return write_page(records, folder / "report.html", **options).read_text(encoding="utf-8")


def pictures(text: str) -> list[str]:
    found = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", text)
    return [base64.b64decode(code).decode() for code in found]


def test_page_is_one_file_without_outside(records, tmp_path):
    text = page(records, tmp_path)
    for sign in ("http://", "https://", "<script", "<link", "url(", "@import"):
        assert sign not in text
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', text))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    Balance().feed(text)


def test_page_has_every_part_in_order(records, tmp_path):
    text = page(records, tmp_path, title="Three <classifiers>")
    parts = ["Three &lt;classifiers&gt;", "Certified ≤ true", "<table", "Lines of the figures"]
    parts += ["By radius", "Rejecting the least", "By class", "What the figures rest on", "<pre>"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.count("<section") == 3
    assert 'role="alert"' not in text
    assert "not about the base model" in text


def test_headline_figures_are_on_the_page(records, tmp_path):
    text = page(records, tmp_path)
    for cell in headline(records)["clean"]:
        value, interval = cell.split(" [")
        assert f'<td data-name="clean">{value}<small>[{interval}</small>' in text


def test_warnings_stand_above_the_figures(tmp_path):
    record = make_record(count=40, warnings=("gradients vanish <here>",))
    wrong = Record(record.rows.assign(certified=1.0), record.header)
    text = page([wrong], tmp_path)
    assert "trust no figure" in text
    assert text.index('role="alert"') < text.index("gradients vanish &lt;here&gt;")
    assert text.index("gradients vanish") < text.index("<table")


def test_costs_of_the_attacks_stand_below_the_settings(tmp_path):
    text = page([make_record()], tmp_path)
    assert text.index("What the figures rest on") < text.index(ATTACK_CELL)
    assert text.count(ATTACK_CELL) == 1
    assert "What each attack found" not in page([make_record(attack=None)], tmp_path)


def test_names_are_escaped(tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    record = make_record(evil, classes=[evil, "$x_1$", '"'], shape=(1, 8, 8), command=f"run {evil}")
    text = page([record, make_selective(evil)], tmp_path)
    assert evil not in text
    assert "&lt;img src=x" in text


def test_pictures_are_there_only_where_there_is_something_to_show(tmp_path):
    assert len(pictures(page([make_record()], tmp_path))) == 2
    assert len(pictures(page([make_record(shape=(1, 28, 28), norm="linf")], tmp_path))) == 3
    assert len(pictures(page([make_record(shape=(2,))] * 2, tmp_path))) == 6
    assert all("<script" not in svg for svg in pictures(page([make_record()], tmp_path)))


@pytest.mark.parametrize(
    "record",
    [
        make_record(count=1),
        make_record(certificate=None),
        make_record(radii=[0.5]),
        make_record(attack=None, versions={}, seeds={}, command=""),
    ],
)
def test_unusual_records_give_a_page(record, tmp_path):
    assert "By radius" in page([record], tmp_path)


def test_classifier_that_fails_everywhere_gives_a_page(tmp_path):
    record = make_record(count=30)
    rows = record.rows.assign(clean=False, attacked=0.0, certified=0.0, accepted=False, set_size=0)
    assert "0.0 %" in page([Record(rows, record.header)], tmp_path)


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one record"):
        write_page([], tmp_path / "report.html")
    empty = Record(make_record().rows.iloc[:0], make_record().header)
    with pytest.raises(ValueError, match="no rows in: gloro"):
        write_page([empty], tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_a_sentence_in_plain_words_stands_above_the_figures(tmp_path):
    record = make_record(radii=[0.25, 0.5])
    text = in_plain_words(record)
    rows = record.rows
    least = int((rows["clean"] & (rows["certified"] >= 0.5)).sum())
    most = int((rows["clean"] & (rows["attacked"] > 0.5)).sum())
    assert text.startswith(f"Of these 360 images at least {least} and at most {most} stay right")
    assert "ℓ₂ 0.5" in text
    assert text in page([record], tmp_path)
    assert "none is proven to" in in_plain_words(make_record(certificate=None))


def test_the_sentence_counts_certificates_of_a_vote_that_may_be_false():
    record = make_record(certificate=SMOOTHING, radii=[0.25, 0.5])
    certified = int((record.rows["clean"] & (record.rows["certified"] >= 0.5)).sum())
    assert f"at least {certified - 2} and" in in_plain_words(record)  # 2: 95 % of Bin(360, .001)
    log = replace(record, header=replace(record.header, certificate=LogPart("a.tsv")))
    assert "is not known" in in_plain_words(log)


def test_notes_are_no_warnings(tmp_path):
    text = page([make_record(notes=("only 40 examples",))], tmp_path)
    assert "only 40 examples" in text
    assert "Read this before you trust a figure" not in text


def test_records_of_the_same_rows_are_compared_in_pairs(tmp_path):
    first, second = make_record("one"), make_record("two")
    better = second.rows.assign(clean=True, attacked=np.inf)
    table = differences([first, replace(second, rows=better)])
    assert table is not None
    assert list(table) == ["less one", "certified", "attacked", "clean"]
    assert table["less one"].tolist() == ["two"]
    gained = (~first.rows["clean"]).mean()
    assert table["clean"][0].startswith(f"{100 * gained:+.1f} [")
    assert "(p = " in table["clean"][0]
    assert "Differences on the same images" in page([first, replace(second, rows=better)], tmp_path)
    assert differences([first, make_record("other", count=30)]) is None


def test_terms_are_explained_on_hover_and_at_the_end(tmp_path):
    text = page([make_record()], tmp_path)
    assert f'title="{GLOSSARY["certified"]}"' in text
    assert all(term in text.split("<h2>Terms</h2>")[1] for term in GLOSSARY)


def test_a_limit_that_is_not_valid_is_not_drawn():
    valid = make_record(limit=(make_limit(0.25, 0.9),))
    unsure = make_record(limit=(make_limit(0.25, 0.9, valid=False),))
    names = [
        [text.get_text() for text in bracket_chart(one).get_legend().get_texts()]
        for one in (valid, unsure)
    ]
    assert any("limit" in name for name in names[0])
    assert not any("limit" in name for name in names[1])


def test_without_an_attack_nothing_attacked_is_shown():
    row = headline([make_selective(attack=None)]).iloc[0]
    assert row["attacked @ eps"] == "-"
    assert row["attacked, accepted and right"] == "-"
    assert row["certified, accepted and right"] != "-"


def test_rejection_stands_in_one_table_with_what_it_costs():
    record = make_record(count=200)
    table = by_coverage(record)
    assert table["kept"].tolist()[0] == "100.0 % (200 of 200)"
    half = record.rows.nsmallest(100, "score")
    wrong = f"{100 * (~half['clean']).mean():.1f} %"
    assert table["kept"].tolist()[-1] == "50.0 % (100 of 200)"
    assert table["wrong"].tolist()[-1].startswith(wrong)
    assert float(table["threshold"].tolist()[-1]) == pytest.approx(half["score"].max(), rel=1e-3)
    assert list(table) == ["kept", "threshold", "wrong", "broken", "not certified"]
    assert list(by_coverage(make_record(attack=None, certificate=None)))[2:] == ["wrong"]
    equal = replace(record, rows=record.rows.assign(score=0.3))
    assert by_coverage(equal)["kept"].tolist() == ["100.0 % (200 of 200)"]


def test_scores_on_other_data_are_compared_for_the_same_model(tmp_path):
    record, other = make_record(count=60), make_record(count=40, seed=1)
    other = replace(other, rows=other.rows.assign(score=2.0))
    row = against_ood([record], [other]).iloc[0]
    assert row["AUROC"].startswith("100.0 %")
    assert "Data of another kind" in page([record], tmp_path, ood=[other])
    equal = replace(other, rows=other.rows.assign(score=record.rows["score"].median()))
    assert 0.4 < float(against_ood([record], [equal]).iloc[0]["AUROC"].split(" %")[0]) / 100 < 0.6
    unlike = make_record(model=replace(record.header.model, hash="0123456789ab"))
    with pytest.raises(ValueError, match="no other record here is of it"):
        against_ood([record], [unlike])


def test_of_many_classes_the_worst_are_listed(tmp_path):
    record = make_record(count=2000, classes=[f"class {place}" for place in range(100)])
    table = by_class(record)
    assert len(table) == 40
    broken = ~(record.rows["clean"] & (record.rows["attacked"] > 0.5))
    rates = broken.groupby(record.rows["label"]).mean()
    listed = [int(name.split()[1]) for name in table["class"]]
    assert rates[listed].min() >= rates.drop(listed).max()
    assert "The 40 of 100 classes with the most errors" in page([record], tmp_path)


def test_every_figure_says_what_it_shows(tmp_path):
    text = page([make_record(shape=(1, 8, 8)), make_selective()], tmp_path)
    alts = re.findall(r'<img src="[^"]*" alt="([^"]*)"', text)
    assert len(alts) == text.count("<img") == 8
    assert all(re.search(r"[0-9]", alt) for alt in alts)
    rows = make_record().rows
    assert f"at 0.5 certified {100 * (rows['certified'] >= 0.5).mean():.1f} %" in alts[0]


def test_costs_stand_beside_each_other():
    table = costs([make_record(), make_record(attack=None, seconds=None)])
    assert table["seconds"].tolist() == ["12.3", "-"]
    assert table["forwards of the attack"].tolist() == ["40,320", "-"]


def test_without_an_attack_no_chart_shows_one():
    record = make_record(attack=None)
    legends = [chart(record).get_legend() for chart in (bracket_chart, rejection_curve)]
    names = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert not any("attacked" in name for name in names)
    assert any("not certified" in name for name in names)
