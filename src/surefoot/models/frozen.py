"""Evaluation mode for the time of an attack or a certificate, restored exactly afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import nn
from torch.nn.utils import parametrize

from surefoot.types import Model


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Put every submodule into eval mode and cache parametrised weights; restore all on exit.

    Batch-norm statistics and dropout stand still, weights receive no gradient, and each module
    returns to the mode it had, also after an exception. A model that must stay random at test
    time (MC dropout) keeps its randomness by overriding `train`. Plain callables pass unchanged.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    training = {module: module.training for module in model.modules()}
    wanted = {weight: weight.requires_grad for weight in model.parameters()}
    try:
        with suppress(NotImplementedError):  # an exported program has its mode built in
            model.eval()
        model.requires_grad_(False)
        with parametrize.cached():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode
        for weight, flag in wanted.items():
            weight.requires_grad_(flag)


def device_of(model: Model) -> torch.device:
    """Give the device of the first weight, or the CPU."""
    inner = getattr(model, "model", model)  # a counted or wrapped model is where its net is
    if isinstance(inner, nn.Module):
        for weight in inner.parameters():
            return weight.device
    return torch.device("cpu")


def dtype_of(model: Model) -> torch.dtype:
    """Give the precision of the first weight, or float32."""
    inner = getattr(model, "model", model)
    if isinstance(inner, nn.Module):
        for weight in inner.parameters():
            return weight.dtype
    return torch.float32
