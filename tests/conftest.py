"""Fixtures of the whole suite: one seeded stream a test, one torch thread."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
