"""Data without labels: the prediction of each row is its label."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from surefoot import (
    Data,
    LabelOrUncertain,
    Local,
    Plain,
    Selective,
    Smoothed,
    Threat,
    Vote,
    bracket,
)
from surefoot.evaluation.record import read

THREAT = Threat("l2", 0.1)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


def points(count: int = 30) -> torch.Tensor:
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(0))


CLASSIFIERS = {
    "net": lambda: Plain(net(), "lipschitz", steps=10),
    "net that rejects": lambda: Plain(Selective(net(), "entropy", 1.05), steps=10),
    "smoothed": lambda: Smoothed(Vote(net(), 0.25), n_certify=300),
}


@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
def test_rows_are_those_of_the_predictions_as_labels(make, tmp_path):
    data = Data(points(), name="bare")
    guarantee = LabelOrUncertain() if getattr(make(), "rejects", False) else Local()
    how = {"guarantee": guarantee, "threat": THREAT, "radii": (0.05, 0.3)}
    record = bracket(make(), data, folder=tmp_path, **how)
    rows = record.rows
    assert (rows["label"] == rows["prediction"]).all()
    assert rows["clean"].mean() > 0.9  # not all: a smoothed tie is chosen by other samples
    assert record.header.data.classes == ("0", "1", "2")
    assert (record.header.limit, record.header.ceiling) == ((), ())
    assert any("the data have no labels" in text for text in record.header.warnings)
    assert read(tmp_path).rows.equals(rows)
    labelled = replace(data, labels=torch.tensor(rows["label"].to_numpy()), classes=tuple("012"))
    known = bracket(make(), labelled, limits=False, **how)
    assert known.rows.equals(rows)
    assert not any("no labels" in text for text in known.header.warnings)


def test_classes_may_be_known_where_labels_are_not():
    data = Data(points(), classes=("ant", "bee", "cow"))
    record = bracket(net(), data, guarantee=Local(), threat=THREAT, attack=False)
    assert record.header.data.classes == ("ant", "bee", "cow")
