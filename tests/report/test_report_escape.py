"""Names that attack what shows them: terminal, Markdown, CSV, HTML, pictures."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt
from report_records import make_record, make_set_valued

from surefoot import escape
from surefoot.cli.say import say
from surefoot.cli.show import show_record, table
from surefoot.evaluation.studies.detection import Detection
from surefoot.files import write_csv
from surefoot.papers.drawing.histograms import distance_histogram
from surefoot.report import model_card, page, write_markdown, write_page
from surefoot.report.style import to_svg

HOSTILE = {
    "rich markup": "[bold]x[/bold]",
    "rich closing tag": "[/]",
    "rich link": "[link=file:///etc]x[/link]",
    "escape": "a\x1b[31m\x1b]8;;x\x07b",
    "C1 control": "a\x9b31mb",
    "NUL": "a\x00b",
    "backspace": "good\x08\x08\x08\x08evil",
    "lines": "a\nb\r\nc",
    "turned": "a\u202eb\u2066",
    "bytes": "a\udcffb",
    "image": "![x](http://evil/x.png)",
    "image by digit": "![1](http://evil/x.png)",
    "reference": "[x]: http://evil",
    "backticks": "```\n# out",
    "backtick": "`x`",
    "tag": "<img src=http://evil onerror=alert(1)>",
    "table": "a|b",
    "end of table": "|\n\n# out",
    "emphasis": "**a** __b__ ~~c~~",
    "mathematics": r"$\frac{$",
    "formula": '=HYPERLINK("http://evil")',
    "at": "@SUM(1)",
    "brace": "{{ 7 * 7 }}",
    "percent": "%s %(x)s",
    "quote": "\"'",
    "backslash": "\\",
    "matter": "---\nname: out\n---",
}
names = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
ACTING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066\ud800-\udfff]")


def shown(name):
    """What a reader sees of a name, whitespace aside."""
    return escape.one_line(name)


@names
def test_a_terminal_shows_every_sign_and_obeys_none(name, capsys):
    table(name, ("class", name), [(name, name)])
    say(f"warning: {name}")
    printed = capsys.readouterr().out
    assert not ACTING.search(printed)
    assert printed.count(escape.visible(name)) >= 4
    assert f"warning: {shown(name)}\n" in printed


def called(record, name, **data):
    """Give the data of a record this name."""
    data = replace(record.header.data, name=name, **data)
    return replace(record, header=replace(record.header, data=data))


@names
def test_a_record_is_shown_with_hostile_names(name, capsys):
    record = make_record(name, classes=[name, "b"], warnings=(f"look at {name}",))
    record = called(record, name)
    show_record(record)
    assert not ACTING.search(capsys.readouterr().out)


def elements(text):
    """Count the elements that a parser of Markdown sees."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    return Counter(child.type for token in tokens for child in (token, *(token.children or ())))


PLACES = ["name", "class", "warning", "command"]


def markdown(text, place, folder):
    """Return report and model card, without its front matter, of a record with a text somewhere."""
    record = make_record(
        text if place == "name" else "net",
        classes=[text, "b"] if place == "class" else ["a", "b"],
        warnings=(f"look at {text}" if place == "warning" else "look",),
        command=f"surefoot {text}" if place == "command" else "surefoot",
    )
    write_markdown(record, folder / "report.md")
    return (folder / "report.md").read_text(), model_card(record).split("\n---\n", 1)[1]


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    folder = tmp_path_factory.mktemp("harmless")
    return {place: [elements(text) for text in markdown("x", place, folder)] for place in PLACES}


@names
@pytest.mark.parametrize("place", PLACES)
def test_markdown_gets_no_image_no_link_no_tag_and_no_heading(name, place, harmless, tmp_path):
    """The parser sees the same elements as with a harmless name."""
    for text, expected in zip(markdown(name, place, tmp_path), harmless[place], strict=True):
        assert not ACTING.search(text)
        found = elements(text)
        assert not {"image", "link_open", "html_inline", "html_block"} & set(found)
        for kind in ("heading_open", "table_open", "tr_open", "td_open", "fence", "list_item_open"):
            assert found[kind] == expected[kind], kind


@names
def test_front_matter_of_the_model_card_stays_data(name):
    record = called(make_record(name), name)
    matter = yaml.safe_load(model_card(record).split("\n---\n")[0])
    assert set(matter) == {"library_name", "tags", "model-index"}
    entry = matter["model-index"][0]
    if "\udcff" not in name:  # YAML has no broken bytes: they are shown as their code
        assert (entry["name"], entry["results"][0]["dataset"]["name"]) == (name, name)


@names
def test_a_page_loads_nothing_and_pictures_stay_whole(name, tmp_path, monkeypatch):
    record = called(make_set_valued(name, command=name), name, classes=(name, "b", "c"))
    section = page._section(record, 1)  # the same record twice is drawn once
    monkeypatch.setattr(page, "_section", lambda *_: section)
    text = write_page([record, record], str(tmp_path / "page.html"), title=name).read_text()
    assert not ACTING.search(text)
    assert "<img src=http" not in text
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text).group(1)
    assert policy.startswith("default-src &#39;none&#39;; img-src data:;")
    assert "script" not in policy
    assert text.index("Content-Security-Policy") < text.index("<title>") < text.index("<style>")
    assert "{{ 7" not in name or "{{ 7 * 7 }}" in text


@names
def test_pictures_are_valid_whatever_the_names(name):
    values = {name: pd.Series([1.0, 2.0]).pipe(as_tensor)}
    (ax,) = distance_histogram(values, norm="l2", marks=(0.5,)).axes
    ElementTree.fromstring(to_svg(ax.figure))


def as_tensor(values):
    import torch

    return torch.tensor(values.tolist())


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_spreadsheet_sees_no_formula(text, tmp_path):
    frame = pd.DataFrame({"data": [text, "plain"], "value": [-1.5, 2.0]})
    write_csv(frame, tmp_path / "a.csv")
    Detection(frame.assign(radius=0.5), {}).save(tmp_path)
    for path in (tmp_path / "a.csv", tmp_path / "detection.csv"):
        rows = list(csv.reader(io.StringIO(path.read_text(), newline="")))
        assert not rows[1][0].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert rows[1][0].endswith(text[1:])
        assert rows[1][1] == "-1.5"  # numbers stay numbers
        assert rows[2][0] == "plain"


def test_broken_bytes_in_a_name_can_be_written(tmp_path):
    write_csv(pd.DataFrame({"data": ["a\udcff"]}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "data\na\\udcff\n"
    assert json.loads('"' + escape.visible("a\udcff\x9b") + '"') == "a\udcff\x9b"


def test_a_fence_is_longer_than_any_run_of_backticks():
    assert escape.fenced("a ``` b ````` c").splitlines() == ["``````", "a ``` b ````` c", "``````"]
