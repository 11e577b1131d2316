"""Whether a layer computes what its class says: every name through which its call runs.

A call starts at `__call__`; whatever name the code on its way mentions may decide what comes out:
methods, attributes, functions of torch. None of them may be another's: not on a subclass, not on
the instance, and not on torch itself since surefoot was imported.
"""

import builtins
import inspect
import operator
import sys
from collections.abc import Iterable
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn, overrides
from torch.nn import functional
from torch.nn.utils import parametrize

START = ("__call__", "__getattribute__", "__getattr__", "forward")
PLACES = (torch, functional, operator, builtins, *Tensor.__mro__[:-1])
HARMLESS = {"__module__", "__dict__", "__doc__"}
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
TENSORS = (Tensor, nn.Parameter, nn.Buffer)


class _Original(NamedTuple):
    """What stood under a name when surefoot was imported; the code too, which can be exchanged."""

    owner: Any
    name: str
    value: Any
    code: CodeType | None


_ORIGINALS: dict[Any, list[_Original]] = {}
_ABSENT: dict[Any, list[tuple[type, frozenset[str]]]] = {}


def remember(key: Any, names: frozenset[str], owners: Iterable[Any]) -> None:
    """Store what stands under these names now, and what classes lack, for `replaced`."""
    for owner in owners:
        _ORIGINALS.setdefault(key, []).extend(
            _Original(owner, name, value, getattr(value, "__code__", None))
            for name, value in vars(owner).items()
            if name in names and (callable(value) or isinstance(value, ModuleType | property))
        )
        if isinstance(owner, type):
            _ABSENT.setdefault(key, []).append((owner, names - vars(owner).keys()))


def remember_kind(kind: type[nn.Module]) -> None:
    """Store what a call of this kind runs through."""
    _ORIGINALS.pop(kind, None)
    _ABSENT.pop(kind, None)
    classes = kind.__mro__[:-1]
    rooms = [sys.modules[one.__module__] for one in classes if one.__module__ in sys.modules]
    remember(kind, ways(kind), classes)
    remember(kind, computed_by(kind), (*rooms, *PLACES))


def replaced(key: Any) -> str:
    """Return what was replaced or added since it was remembered, and a remedy; "" if nothing."""
    found = [
        (owner, name)
        for owner, name, value, code in _ORIGINALS.get(key, [])
        if (now := vars(owner).get(name)) is not value or getattr(now, "__code__", None) is not code
    ]
    found += [
        (owner, name)
        for owner, names in _ABSENT.get(key, [])
        for name in names.intersection(vars(owner))
    ]
    if not found:
        return ""
    owner, name = found[0]
    return (
        f"`{owner.__name__}.{name}` was replaced after surefoot was imported. Undo that, and put"
        " what it changes into a module of its own"
    )


@cache
def ways(kind: type[nn.Module]) -> frozenset[str]:
    """Return all names that may decide what a call of this kind computes."""
    return computed_by(kind) | _reached((nn.Module,))


@cache
def computed_by(kind: type[nn.Module]) -> frozenset[str]:
    """Return those that its own code mentions, beside what every module runs through."""
    return _reached((*(one for one in kind.__mro__ if one not in nn.Module.__mro__), functional))


def _reached(owners: tuple[Any, ...]) -> frozenset[str]:
    found: set[str] = set()
    left = list(START)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            for owner in owners:
                left += list(_mentioned(vars(owner).get(name)))
    return frozenset(found - HARMLESS)


@cache
def _defined(kind: type[nn.Module]) -> frozenset[str]:
    """Return those of them that the class has: the instance must not hide them."""
    return ways(kind) & {name for one in kind.__mro__ for name in vars(one)}


def _mentioned(value: Any) -> set[str]:
    """Return the names that a function mentions, with the functions inside it."""
    if isinstance(value, property):
        value = value.fget
    value = inspect.unwrap(value) if isinstance(value, FunctionType) else value
    if getattr(value, "__module__", "") == overrides.__name__:
        return set()  # calls for subclasses of Tensor, which have no certificate
    left = [value.__code__] if isinstance(value, FunctionType) else []
    cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    left += [one.__code__ for one in cells if isinstance(one, FunctionType)]
    names: set[str] = set()
    while left:
        code = left.pop()
        names |= set(code.co_names)
        left += [one for one in code.co_consts if isinstance(one, CodeType)]
    return names


def strange(layer: nn.Module, kind: type[nn.Module]) -> str:
    """Return why a layer may compute something else than its kind, and what to do; "" if not."""
    names = ways(kind)
    for one in type(layer).__mro__:
        own = [] if one in kind.__mro__ else sorted(vars(one).keys() & names)
        for name in own:
            if not _parametrised(vars(one)[name]):
                return (
                    f"`{name}` is that of {one.__name__}. If it changes the weight, register it"
                    " with torch.nn.utils.parametrize, and the weight is measured as it is; else"
                    f" give its bound with certify.lipschitz.register({one.__name__}, rule)"
                )
    for name in vars(layer).keys() & _defined(kind):
        return (
            f"`{name}` was set on the instance. Remove it (`del layer.{name}`), or write a class"
            " with a `forward` of its own"
        )
    if any(getattr(layer, name) for name in HOOKS) or any(
        getattr(nn.modules.module, f"_global{name}") for name in HOOKS
    ):
        return (
            "a forward hook may change it. Remove hooks (those of pruning: "
            "torch.nn.utils.prune.remove; of the old weight_norm and spectral_norm:"
            " remove_weight_norm, remove_spectral_norm, or take torch.nn.utils.parametrizations)"
        )
    return ""


def check_tensors(layer: nn.Module) -> None:
    """Raise unless weights and buffers are plain tensors: a subclass decides what is done to it."""
    names = (*layer._parameters, *layer._buffers, *getattr(layer, "parametrizations", ()))
    for name in names:
        value = getattr(layer, name)
        if isinstance(value, Tensor) and type(value) not in TENSORS:
            raise ValueError(
                f"`{name}` of {type(layer).__name__} is a {type(value).__name__}, which may compute"
                f" anything: make it a plain tensor, nn.Parameter(layer.{name}.as_subclass(Tensor))"
            )


def _parametrised(value: Any) -> bool:
    """Return whether this is the property under which torch.nn.utils.parametrize puts a weight."""
    return isinstance(value, property) and getattr(value.fget, "__code__", None) is _PROPERTY


_EXAMPLE = parametrize.register_parametrization(nn.PReLU(), "weight", nn.Identity())
_PROPERTY: CodeType = vars(type(_EXAMPLE))["weight"].fget.__code__
