"""Records of the library as flags, read from their source: to import them would import torch.

`declared("surefoot.threat", "Threat")` has the fields, types, defaults and docstring of the
library's own record and none of its methods. That is enough to show help and to reject a flag that
does not exist within a fraction of a second; `real` then builds the record itself, which checks the
values. So no field is written down twice.
"""

import ast
from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import tyro

ROOT = Path(__file__).parents[2]


def declared(module: str, name: str, without: tuple[str, ...] = ()) -> Any:
    """Return what a module binds to a name, without running the module.

    Args:
        module: of surefoot.
        name: of a frozen dataclass, or of a constant expression made of some.
        without: fields of the dataclass that are no flags.
    """
    names = _names(module)
    return names.record(name, without) if without else names[name]


def keys(module: str, name: str) -> tuple[str, ...]:
    """Return the keys of a dictionary that a module spells out, whatever its values are."""
    return tuple(key.value for key in _names(module).nodes[name].value.keys)


def real(value: Any) -> Any:
    """Return the library's own record for one of `declared`; any other value as it is."""
    home = getattr(value, "home", None)
    if home is None:
        return value
    kind: Any = getattr(import_module(home), type(value).__name__)
    return kind(**{part.name: real(getattr(value, part.name)) for part in fields(value)})


def narrowed(record: Any, parts: tuple[str, ...]) -> Any:
    """Return a record whose `parts` are of the classes that they have in it, without those of None.

    So a part that may be one of several records becomes a group of flags, not a choice; the name of
    the record is no flag.
    """
    kept = []
    for one in fields(record):
        value, kind = getattr(record, one.name), one.type
        if one.name in parts:
            value = narrowed(value, parts) if is_dataclass(value) else value
            kind = type(value)
        elif one.name == "name":
            kind = Annotated[str, tyro.conf.Fixed, tyro.conf.Suppress]
        if value is not None or one.name not in parts:
            kept.append((one.name, kind, field(default=value)))
    own = {"__doc__": type(record).__doc__, "home": record.home}
    return make_dataclass(type(record).__name__, kept, frozen=True, namespace=own)()


@cache
def _names(module: str) -> "_Names":
    return _Names(module)


class _Names(dict[str, Any]):
    """The names of a module, each evaluated when it is first needed."""

    def __init__(self, module: str) -> None:
        super().__init__()
        path = ROOT.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        self.module, self.nodes = module, {}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for name in _bound(node):
                self.nodes[name] = node

    def __missing__(self, name: str) -> Any:
        node = self.nodes.get(name)
        if isinstance(node, ast.ClassDef):
            self[name] = self.record(name)
        elif isinstance(node, ast.ImportFrom):
            (source,) = [one.name for one in node.names if (one.asname or one.name) == name]
            self[name] = _imported(str(node.module), source)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            self[name] = self._value(node.value)
        else:
            raise KeyError(name)
        return self[name]

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def record(self, name: str, without: tuple[str, ...] = ()) -> type:
        """Return a frozen dataclass with the fields of a class."""
        node = self.nodes[name]
        parts = []
        for line in node.body:
            if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
                continue
            if line.target.id in without or ast.unparse(line.annotation).startswith("ClassVar"):
                continue
            default = (self._value(line.value),) if line.value else ()
            parts.append((line.target.id, self._value(line.annotation), *default))
        own = {"__doc__": ast.get_docstring(node), "home": self.module}
        return make_dataclass(name, parts, frozen=True, namespace=own)

    def _value(self, node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), self.module, "eval"), self)


def _bound(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module binds."""
    if isinstance(node, ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.ImportFrom):
        return [one.asname or one.name for one in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [one.id for one in targets if isinstance(one, ast.Name)]


def _imported(module: str, name: str) -> Any:
    if not module.startswith("surefoot"):
        return getattr(import_module(module), name)
    names = _names(module)
    return names[name] if name in names.nodes else _names(f"{module}.{name}")
