"""Certified sets in the report: all figures together, drawn as they were counted."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from report_records import make_record, make_selective, make_set_valued

from surefoot.evaluation import Record, read
from surefoot.evaluation.certified_sets import groupings
from surefoot.report import (
    certified_gallery,
    class_pairs,
    class_sets,
    model_card,
    set_composition,
    set_curves,
    write_markdown,
    write_page,
)
from surefoot.report.set_charts import certified_right_at, several_count, together
from surefoot.report.tables import by_certified_set, by_set_size
from surefoot.report.words import cross_check_text


def test_table_sets_the_price_beside_the_figure():
    row = by_certified_set(make_set_valued()).set_index("radius").loc["0.5"]
    fractions = {name: cell.split(" %")[0] for name, cell in row.items()}
    assert fractions["local VRA"] == "25.0"
    assert fractions["strict VRA"] == "50.0"
    assert fractions["relaxed VRA"] == "75.0"
    assert fractions["strict, not local"] == "25.0"
    assert fractions["singletons"] == "50.0"
    assert fractions["rejected"] == "25.0"
    assert row["mean size, smallest to largest"] == "1.33 to 1.67"


def test_strata_name_the_rejected():
    frame = by_set_size(make_set_valued()).set_index("smallest certified set")
    assert frame["examples"].to_dict() == {"rejected": "10", "1": "20", "2": "10"}
    assert frame.loc["1", "label in the set"].startswith("50.0 % [")
    assert frame.loc["rejected", "label in the set"] == "-"


def test_pages_of_set_valued_guarantees_show_everything_together(tmp_path):
    record = make_set_valued()
    text = write_page([record], tmp_path / "page.html").read_text()
    parts = ["Attack against certificate: ", "Certified sets", "bought with large sets"]
    parts += ["relaxed VRA", "label in the set", "stand together", "Rejecting the least"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert len(re.findall(r"data:image/svg", text)) == 6
    for part in (write_markdown([record], tmp_path / "page.md").read_text(), model_card(record)):
        assert "strict, not local" in part
        assert "0 contradictions" in part


@pytest.mark.parametrize(
    "record", [make_record(), make_selective(), make_set_valued(certificate=None)]
)
def test_other_pages_have_no_certified_sets(record, tmp_path):
    if record.header.certificate is None:
        record = Record(record.rows.assign(certified=np.nan, radii=""), record.header)
    assert "Certified sets" not in write_page([record], tmp_path / "page.html").read_text()


def test_cross_check_speaks_of_trials_and_contradictions():
    text = cross_check_text(make_set_valued())
    # Radii .1, .25, .5: 40 + 40 inside, then 30; the others fell at .5, certified to .3.
    assert text.startswith("110 attacks inside certified radii, 0 contradictions.")
    assert "(10)" in text
    assert "1.67 times the certified radius in the median, at least 1.67 times" in text
    assert cross_check_text(make_record(attack=None)).startswith("None")
    standing = make_set_valued()
    standing = Record(standing.rows.assign(attacked=np.inf), standing.header)
    assert "No certified example was broken" in cross_check_text(standing)
    refuted = Record(standing.rows.assign(attacked=0.1), standing.header)
    assert "40 contradictions" in cross_check_text(refuted)


def test_curves_and_parts_are_drawn_as_counted():
    record = make_set_valued()
    left, right = set_curves(record), set_composition(record)
    lines = {line.get_label(): line for line in left.lines}
    assert [name for name in lines if "k" in name] == ["k = 1", "k = 2", "some k"]
    radii = np.asarray(lines["some k"].get_xdata())
    some = np.asarray(lines["some k"].get_ydata())
    assert np.interp(0.5, radii, some) == pytest.approx(0.75)
    assert np.interp(0.5, radii, lines["k = 1"].get_ydata()) == pytest.approx(0.25)
    assert (some + 1e-9 >= np.asarray(lines["k = 2"].get_ydata())).all()
    np.testing.assert_allclose(certified_right_at(record, np.array([0.5, 9.0])), [0.75, 0.0])
    names = [text.get_text() for text in right.get_legend().get_texts()]
    assert names == ["right, set of 1", "right, set of 2", "wrong set", "rejected"]
    tops = [band.get_paths()[0].get_extents().y1 for band in right.collections]
    assert tops[-1] == pytest.approx(1.0)


def test_matrices_are_drawn_with_names_and_percents():
    record = make_set_valued()
    assert several_count(record, 0.5) == 10
    pairs = together(record, 0.5)
    assert pairs[0, 1] == pairs[1, 0] == 1.0
    assert np.isnan(pairs.diagonal()).all()
    left, right = class_pairs(record), class_sets(record)
    assert left.get_title(loc="left") == "together in 10 certified sets of 2 or more"
    assert [text.get_text() for text in left.get_xticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in left.texts] == ["100", "100"]
    (shown,) = right.images
    # Label b: half of it certified as {a, b}, half as {c} alone.
    np.testing.assert_allclose(np.asarray(shown.get_array())[1], [0.5, 0.5, 0.5])


def test_many_classes_are_drawn_without_names():
    record = make_set_valued()
    data = replace(record.header.data, classes=tuple(map(str, range(30))))
    header = replace(record.header, data=data)
    left = class_pairs(Record(record.rows, header))
    assert not left.texts


def test_pictures_need_no_pyplot_and_are_stable():
    from surefoot.report.style import to_data_uri

    once, again = (to_data_uri(set_curves(make_set_valued()).figure) for _ in range(2))
    assert once == again
    assert b"<svg" in base64.b64decode(once.split(",")[1])


def with_images(record: Record) -> Record:
    index = torch.tensor(record.rows["index"].tolist())
    return replace(record, examples={"index": index, "images": torch.rand(len(index), 1, 8, 8)})


def test_images_are_grouped_by_their_smallest_certified_set():
    record = make_set_valued()
    assert [(one.members, one.places) for one in groupings(record, 0.5)] == [
        ((0, 1), tuple(range(10, 20)))
    ]
    figure = certified_gallery(with_images(record))
    assert figure is not None
    assert len(figure.axes) == 7
    assert "a\nb\n10 of 40" in figure.axes[0].texts[0].get_text()
    titles = [ax.get_title() for ax in figure.axes[1:]]
    assert titles == ["b"] * 6
    assert certified_gallery(record) is None


def test_the_gallery_stands_on_the_page_and_survives_the_disk(tmp_path):
    record = with_images(make_set_valued())
    data = replace(record.header.data, count=len(record))
    record = replace(record, header=replace(record.header, data=data))
    record.save(tmp_path)
    again = read(tmp_path)
    torch.testing.assert_close(again.examples["images"], record.examples["images"])
    text = write_page([again], tmp_path / "page.html").read_text()
    assert "Images by their certified set, at 0.5: a, b: 10 of 40" in text
    damaged = replace(record, examples={**record.examples, "index": torch.arange(40) + 10_000})
    damaged.save(tmp_path)
    with pytest.raises(ValueError, match=r"examples in .* are damaged"):
        read(tmp_path)
