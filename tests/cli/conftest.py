"""Pages of the commands are written and their figures drawn, but not rendered."""

import pytest


@pytest.fixture(autouse=True)
def unrendered(monkeypatch):
    """Leave out what matplotlib does with a drawn figure: longer than most runs of these tests.

    `tests/report` is about rendered figures, and so is the page of the fixture `run` of
    `test_commands`.
    """
    monkeypatch.setattr("surefoot.report.page.to_data_uri", lambda _: "data:,")
