import numpy as np
import pandas as pd
import pytest

from surefoot.data import load

TABLE = pd.DataFrame({"height": [1.5, -20.0, 300.0], "width": [1, 2, 3], "label": [0, 1, 1]})


def written(folder, table: pd.DataFrame = TABLE) -> str:
    table.to_csv(folder / "t.csv", index=False)
    return str(folder / "t.csv")


def test_features_and_class_indices(tmp_path):
    data = load(written(tmp_path))
    np.testing.assert_array_equal(data.images.numpy(), TABLE[["height", "width"]].to_numpy("f4"))
    assert (data.labels.tolist(), data.classes, data.name) == ([0, 1, 1], ("0", "1"), "t")
    assert data.box == (-np.inf, np.inf)


def test_names_as_labels_are_classes_in_sorted_order(tmp_path):
    path = written(tmp_path, TABLE.assign(kind=["dog", "cat", "dog"]).drop(columns="label"))
    data = load(f"{path}#kind")
    assert (data.labels.tolist(), data.classes) == ([1, 0, 1], ("cat", "dog"))


def test_labels_are_optional(tmp_path):
    data = load(written(tmp_path, TABLE.drop(columns="label")) + "#-")
    assert (data.labels, data.images.shape) == (None, (3, 2))


def test_a_value_range_can_be_given(tmp_path):
    assert load(written(tmp_path), value_range=(-500, 500)).box == (-500, 500)
    with pytest.raises(ValueError, match=r"t\.csv: float .* lie in \[0, 1\]; found min -20"):
        load(written(tmp_path), value_range=(0, 1))


FAULTS = {
    "text": (TABLE.assign(width=["1", "2", "x"]), r"`width` must be numeric; row 3 holds 'x'"),
    "empty cell": (TABLE.assign(height=[1.0, None, 2.0]), r"`height` has 1 empty .* in row 2"),
    "no label": (TABLE.rename(columns={"label": "l"}), r"one label column.*'l'\].*#COLUMN"),
    "two labels": (TABLE.assign(y=1), r"found \['label', 'y'\]"),
    "empty label": (TABLE.assign(label=["a", None, "b"]), "label of row 2 is empty"),
    "regression": (TABLE.assign(label=[0.5, 1.5, 2.0]), "fractional numbers"),
    "no features": (TABLE[["label"]], "rows of features"),
    "no rows": (TABLE[:0], "rows of features"),
    "infinite": (TABLE.assign(height=[np.inf, 0, 0]), "finite.*max inf"),
}


@pytest.mark.parametrize(("table", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_faulty_tables_raise(table, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load(written(tmp_path, table))


def test_the_advice_for_text_works(tmp_path):
    table = TABLE.assign(colour=["red", "blue", "red"])
    with pytest.raises(ValueError, match=r"get_dummies\(table, columns=\['colour'\]\)"):
        load(written(tmp_path, table))
    assert load(written(tmp_path, pd.get_dummies(table, columns=["colour"]))).images.shape == (3, 4)


def test_a_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a column `kind`; found none among \['height'"):
        load(written(tmp_path) + "#kind")


def test_no_table_raises(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a readable CSV file"):
        load(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError, match=r"no file .*lost\.csv"):
        load(tmp_path / "lost.csv")
