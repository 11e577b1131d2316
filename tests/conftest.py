"""The whole suite: types checked once a call, one seeded stream a test, one torch thread."""

import jaxtyping
import pytest
import torch
from types_checked import checked

jaxtyping.jaxtyped = checked
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def unrendered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out, in tests of commands, the rendering of figures: most of their time.

    `tests/report` is about rendered figures, and so is the page of the fixture `run` of
    `test_commands`.
    """
    if request.path.parent.name == "cli":
        monkeypatch.setattr("surefoot.report.page.to_data_uri", lambda _: "data:,")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
