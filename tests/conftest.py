"""The whole suite: types checked once a call, one seeded stream a test, one torch thread."""

import jaxtyping
import pytest
import torch
from types_checked import checked

jaxtyping.jaxtyped = checked
torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
