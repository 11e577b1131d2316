"""Types and shapes of every call of the package are checked while the tests run: once a call.

The import hook of jaxtyping (`--jaxtyping-packages`) decorates every function and class with
`jaxtyping.jaxtyped`, which binds the arguments of a call to their names and checks them before and
again after it; that took more than half of the time of the tests of attacks. `checked` stands in
for it and leaves one check of the arguments and one of the result.
"""

import dataclasses
from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import Any, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

ONE_CALL = jaxtyping.jaxtyped("context")
"""Within it each letter of a shape stands for one number."""
STRICT = BeartypeConf(violation_type=jaxtyping.TypeCheckError)
"""A TypeError, as what a wrong argument leads to without the check is one as a rule."""


def checked(**_: object) -> Callable[[Any], Any]:
    """Return the decorator that checks a function, or the constructor of a dataclass."""
    return _decorated


def _decorated(target: Any) -> Any:
    if not isinstance(target, type):
        return _checking(target)
    made = vars(target).get("__init__")
    # One that is written in the class is decorated already.
    if dataclasses.is_dataclass(target) and made and not hasattr(made, "__wrapped__"):
        target.__init__ = _checking(made)
    return target


def _checking(function: Any) -> Any:
    spelled = function.__annotations__
    function.__annotations__ = {
        name: _resolved(hint, function.__globals__) for name, hint in spelled.items()
    }
    strict = beartype(conf=STRICT)(function)
    function.__annotations__ = spelled

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        with ONE_CALL:
            return strict(*args, **kwargs)

    return call


def _resolved(hint: Any, names: dict[str, Any]) -> Any:
    """Return the type that is meant; Any where only pyright imports it."""
    holder = SimpleNamespace(__annotations__={"it": hint})
    try:
        return get_type_hints(holder, names, include_extras=True)["it"]
    except NameError:
        return Any
