"""A guarantee is one small class, and nothing else: a new one is attacked, certified and drawn."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from surefoot.attacks import VoteSearch
from surefoot.data import Data
from surefoot.evaluation import Plain, Smoothed, bracket, metrics
from surefoot.evaluation.record import read
from surefoot.guarantees import Guarantee
from surefoot.report import write_page
from surefoot.threat import Threat
from surefoot.uncertainty.vote import Vote


@dataclass(frozen=True)
class NeverWorst(Guarantee):
    """The least likely outcome stays the least likely one."""

    statement = "the least likely label does not change"

    def sets(self, outcomes):
        """Return all outcomes but the least likely."""
        sets = torch.ones_like(outcomes, dtype=torch.bool)
        return sets.scatter(1, outcomes.argmin(1, keepdim=True), False).unsqueeze(1)


MODEL = nn.Linear(3, 3, bias=False)
MODEL.weight.data = 4 * torch.eye(3)
SEARCH = VoteSearch(steps=3, draws=4, n_choose=50, n_confirm=200)


@pytest.mark.parametrize(
    "classifier",
    [Plain(MODEL, "lipschitz", steps=10), Smoothed(Vote(MODEL, 0.1), n_certify=300, search=SEARCH)],
    ids=["lipschitz", "smoothing"],
)
def test_ten_lines_are_attacked_certified_recorded_and_drawn(classifier, tmp_path):
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(30, 3, generator=stream) * 0.6 + 0.2
    data = Data(images, images.argmax(1), classes=("a", "b", "c"), name="points")
    record = bracket(
        classifier, data, guarantee=NeverWorst(), threat=Threat("l2", 0.1), folder=tmp_path
    )
    certified = torch.tensor(record.rows["certified"].to_list())
    broken = torch.tensor((record.rows["attacked"] <= 0.1).to_list())
    assert int((certified > 0).sum()) > 0
    assert 0 < int(broken.sum()) < 30
    assert metrics.contradictions(record) == []
    if isinstance(classifier, Plain):
        # Exactly: the margin to the least likely outcome, over its Lipschitz constant.
        ordered = images.double().sort(dim=1).values
        exact = (ordered[:, 1] - ordered[:, 0]) / 2**0.5
        assert record.rows["clean"].all()
        assert bool((certified <= exact + 1e-9).all())
        assert bool((certified >= exact - 1e-4).all())
        clear = (exact - 0.1).abs() > 1e-3
        assert torch.equal(broken[clear], exact[clear] < 0.1)
    assert read(tmp_path).header.guarantee.statement == NeverWorst.statement
    assert record.header.ceiling == ()
    write_page([record], tmp_path / "page.html")
    assert "the least likely label does not change" in (tmp_path / "page.html").read_text()
