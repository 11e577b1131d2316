"""The tests check types and shapes of the package: a wrong call, result or field is an error."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jaxtyping
import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor
from types_checked import checked

from surefoot.threat import Threat

if TYPE_CHECKING:
    import nowhere  # pyright: ignore


@checked()
def product(one: Float[Tensor, "N D"], other: Float[Tensor, " D"]) -> Float[Tensor, " N"]:
    return one @ other if len(one) < 5 else one


def test_shapes_agree_within_a_call_and_not_between_calls():
    for size in (2, 3):
        assert product(torch.ones(4, size), torch.ones(size)).shape == (4,)
    for wrong in (torch.ones(2), torch.ones(3, 1), torch.ones(3, dtype=torch.int)):
        with pytest.raises(TypeCheckError):
            product(torch.ones(4, 3), wrong)
    with pytest.raises(TypeCheckError, match="return"):
        product(torch.ones(5, 3), torch.ones(3))


def test_the_check_can_be_switched_off(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert product(torch.ones(5, 3), torch.ones(3)).shape == (5, 3)


@checked()
@dataclass(frozen=True)
class Field:
    values: Float[Tensor, " N"]
    unknown: "nowhere.Kind"


def test_fields_are_checked_and_names_for_pyright_only_are_not():
    assert Field(torch.ones(3), 5).unknown == 5
    with pytest.raises(TypeCheckError):
        Field(torch.ones(3, 1), 5)


def test_the_package_is_checked():
    with pytest.raises(TypeCheckError):
        Threat("linf", "0.1")
    with pytest.raises(TypeCheckError):
        Threat("linf", 0.1).project(torch.ones(2, 3), "nothing")
