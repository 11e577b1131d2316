"""Fixtures of the report: three records of different kinds."""

import pytest
from report_records import SMOOTHING, make_limit, make_record, make_selective

from surefoot.evaluation.header import ModelPart
from surefoot.evaluation.record import Record


@pytest.fixture
def records() -> list[Record]:
    vote = ModelPart("smooth-net", "vote", "1")
    return [
        make_record(limit=(make_limit(0.25, 0.9), make_limit(0.5, 0.82, valid=False))),
        make_record("smooth", certificate=SMOOTHING, model=vote, seed=1),
        make_selective(seed=2),
    ]
