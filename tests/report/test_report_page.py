"""The page: one file, warnings on top, nothing from outside, nothing unescaped."""

import base64
import re
from html.parser import HTMLParser

import pytest
from report_records import make_record, make_selective

from surefoot.evaluation.record import Record
from surefoot.report import headline, write_page

VOID = {"meta", "img", "br"}


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
    parts = ["Three &lt;classifiers&gt;", "Certified ≤ true", "<table", "Bracket charts of all"]
    parts += ["By radius", "Refusing the least", "By class", "What the figures rest on", "<pre>"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.count("<section") == 3
    assert 'role="alert"' not in text
    assert "not about the base model" in text


def test_headline_figures_are_on_the_page(records, tmp_path):
    text = page(records, tmp_path)
    for cell in headline(records)["clean"]:
        value, interval = cell.split(" [")
        assert f"<td>{value}<small>[{interval}</small>" in text


def test_warnings_stand_above_the_figures(tmp_path):
    record = make_record(count=40, warnings=("gradients vanish <here>",))
    wrong = Record(record.rows.assign(certified=1.0), record.header)
    text = page([wrong], tmp_path)
    assert "trust no figure" in text
    assert text.index('role="alert"') < text.index("gradients vanish &lt;here&gt;")
    assert text.index("gradients vanish") < text.index("<table")


def test_costs_of_the_attacks_stand_below_the_settings(tmp_path):
    text = page([make_record()], tmp_path)
    assert text.index("What the figures rest on") < text.index("<td>apgd-ce</td>")
    assert text.count("<td>apgd-ce</td>") == 1
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
    assert len(pictures(page([make_record(shape=(2,))] * 2, tmp_path))) == 5
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
