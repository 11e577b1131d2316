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
    # A module that torch.jit has frozen has no mode any more.
    modules = [module for module in model.modules() if hasattr(module, "training")]
    training = {module: module.training for module in modules}
    wanted = {weight: weight.requires_grad for weight in model.parameters()}
    try:
        with suppress(NotImplementedError, AttributeError):  # exported, or frozen: built in
            model.eval()
        for weight in wanted:
            weight.requires_grad_(False)
        with parametrize.cached():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode
        for weight, flag in wanted.items():
            weight.requires_grad_(flag)


def device_of(model: Model) -> torch.device:
    """Return the device of the first weight, or the CPU."""
    weight = first_weight(model)
    return torch.device("cpu") if weight is None else weight.device


def dtype_of(model: Model) -> torch.dtype:
    """Return the precision of the first floating-point weight, or float32."""
    weight = first_weight(model)
    return torch.float32 if weight is None else weight.dtype


def first_weight(model: Model) -> torch.Tensor | None:
    """Return the first floating-point weight of a module; None for any other callable."""
    # A counted or wrapped model is where its net is.
    inner = model if isinstance(model, nn.Module) else getattr(model, "model", model)
    if isinstance(inner, nn.Module):
        for weight in inner.parameters():
            if weight.is_floating_point():
                return weight
    return None
