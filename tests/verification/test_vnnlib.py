"""VNN-LIB 1.0 is read as it is written; what is not read is named, and nothing runs."""

import gzip

import numpy as np
import pytest

from surefoot.verification import read_vnnlib

DECLARED = """; a comment
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
"""
BOX = "(assert (>= X_0 -1)) (assert (<= X_0 0.25)) (assert (>= X_1 2e-1)) (assert (<= X_1 1))\n"


def read(tmp_path, text, name="one.vnnlib"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return read_vnnlib(path)


@pytest.mark.parametrize("name", ["one.vnnlib", "one.vnnlib.gz"])
def test_a_conjunction_is_one_case(tmp_path, name):
    found = read(tmp_path, DECLARED + BOX + "(assert (<= Y_0 Y_1))(assert (>= Y_1 3.5))", name)
    (case,) = found.cases
    assert (found.inputs, found.outputs) == (2, 2)
    assert case.lower.tolist() == [-1, 0.2]
    assert case.upper.tolist() == [0.25, 1]
    assert case.rows.tolist() == [[1, -1], [0, -1]]
    assert case.bounds.tolist() == [0, -3.5]


def test_a_disjunction_is_several_cases(tmp_path):
    text = "(assert (or (and (>= Y_0 Y_1)) (and (<= Y_1 2) (<= Y_0 1)) (>= 3 Y_1)))"
    found = read(tmp_path, DECLARED + BOX + text)
    assert [case.rows.tolist() for case in found.cases] == [
        [[-1, 1]],
        [[0, 1], [1, 0]],
        [[0, 1]],
    ]
    assert [case.bounds.tolist() for case in found.cases] == [[0], [2, 1], [3]]


def test_boxes_may_be_alternatives_and_meet_outputs(tmp_path):
    text = """(assert (or (and (>= X_0 0) (<= X_0 1)) (and (>= X_0 2) (<= X_0 3))))
    (assert (>= X_1 0)) (assert (<= X_1 1))
    (assert (or (and (<= Y_0 0)) (and (<= Y_1 0))))"""
    found = read(tmp_path, DECLARED + text)
    boxes = [(case.lower[0], case.upper[0], case.rows[0].tolist()) for case in found.cases]
    assert boxes == [(0, 1, [1, 0]), (0, 1, [0, 1]), (2, 3, [1, 0]), (2, 3, [0, 1])]


def test_linear_terms(tmp_path):
    text = "(assert (<= (+ (* 2 Y_0) (- Y_1) 1) (- (* Y_1 0.5) 4)))"
    (case,) = read(tmp_path, DECLARED + BOX + text).cases
    assert case.rows.tolist() == [[2, -1.5]]
    assert case.bounds.tolist() == [-5]


def test_an_empty_box_is_no_case_and_no_output_is_always_violated(tmp_path):
    halves = "(assert (or (and (>= X_0 0.5) (<= Y_0 0)) (<= Y_0 1)))"  # BOX ends before .5
    assert len(read(tmp_path, DECLARED + BOX + halves).cases) == 1
    with pytest.raises(ValueError, match="no input satisfies"):
        read(tmp_path, DECLARED + BOX + "(assert (>= X_0 0.5))(assert (<= Y_0 0))")
    (case,) = read(tmp_path, DECLARED + BOX).cases
    assert case.rows.tolist() == [[0, 0]]
    assert case.bounds.tolist() == [0]


def test_decimals_are_the_nearest_numbers(tmp_path):
    text = DECLARED + BOX + "(assert (<= Y_0 0.004000000189989805))"
    assert read(tmp_path, text).cases[0].bounds[0] == np.float64("0.004000000189989805")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(assert (< Y_0 0))", "line 1.*not read"),
        ("(assert (<= Y_9 0))", "'Y_9' is neither"),
        ("(assert (<= (* Y_0 Y_1) 0))", "no linear term"),
        ("(assert (<= Y_0 nan))", "'nan' is neither"),
        ("(assert (<= Y_0 1e999))", "'1e999' is neither"),
        ("(assert (<= X_0 Y_0))", "relation between inputs and outputs"),
        ("(assert (<= X_0 X_1))", "several inputs"),
        ("(assert (<= Y_0 0)", "never closed"),
        ("(assert (<= Y_0 0)))", "a [)] too many"),
        ("(check-sat)", "not read"),
        ("(vnnlib-version <2.0>)", "2.0"),
        ("(declare-const Z_0 Real)", "'Z_0' is not read"),
        ("(declare-const X_0 Real)", "declared twice"),
        ("(declare-const X_3 Real)", "without a gap"),
        ("words", "outside of brackets"),
        ("()", "not read"),
        ("(assert ())", "not read"),
        ("(" * 100, "nested"),
        ("(assert (or " + "(<= Y_0 1) " * 10_001 + "))", "more than 10,000 cases"),
        ("(assert (or (<= Y_0 1) (<= Y_1 1)))" * 14, "more than 10,000 cases"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, (text if "line 1" in message else DECLARED + BOX + text))


def test_every_input_needs_two_ends(tmp_path):
    with pytest.raises(ValueError, match="X_1 has no lower or no upper bound"):
        read(tmp_path, DECLARED + "(assert (<= X_0 1))(assert (>= X_0 1))(assert (<= X_1 1))")


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="no specification"):
        read_vnnlib(tmp_path / "absent.vnnlib")
    (tmp_path / "bad.vnnlib.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="no readable"):
        read_vnnlib(tmp_path / "bad.vnnlib.gz")


def test_a_packed_file_that_unfolds_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("surefoot.verification.vnnlib_text.LARGEST_FILE", 1000)
    with pytest.raises(ValueError, match="too large"):
        read(tmp_path, " " * 5000, "one.vnnlib.gz")
