"""The structure: layers, names, light imports, no pickles, every public name documented."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import surefoot

ROOT = Path(surefoot.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LAYERS = {
    "__main__": 10,
    "cli": 9,
    "papers": 8,
    "report": 7,
    "evaluation": 6,
    "verification": 5,
    "training": 5,
    "attacks": 4,
    "certify": 4,
    "limits": 4,
    "uncertainty": 3,
    "models": 2,
    "data": 2,
}
"""A package imports only packages of lower layers, and itself; single modules are layer 1."""


def package(module):
    return module.split(".")[1] if "." in module else ""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "surefoot":
            yield from (f"surefoot.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_only_downwards(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts == ("__init__",):
        return  # the top level names what is public, lazily
    own = parts[0]
    layer = LAYERS.get(own, 1)
    for module in imports(path):
        if not module.startswith("surefoot."):
            continue
        other = package(module)
        assert LAYERS.get(other, 1) < layer or other == own or LAYERS.get(other, 1) == layer == 1
        if other == "papers" and own != "papers":
            assert parts == ("cli", "reproduce")


def test_there_is_no_drawer():
    assert not [path for path in FILES if path.stem in ("utils", "helpers", "common", "misc")]


def test_nothing_is_unpickled():
    """By syntax: a message may tell how to convert a pickle where it is trusted."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert not re.search(r"\bpickle\b|^torch\.load$", ast.unparse(node.func)), path
                assert "allow_pickle=True" not in ast.unparse(node), path


def test_the_front_door_is_small_and_complete():
    assert len(surefoot.__all__) <= 30
    assert set(surefoot.__all__) == set(surefoot._HOMES)
    for name in surefoot.__all__:
        assert inspect.getdoc(getattr(surefoot, name))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = surefoot.nonsense


BANNED = {"epsilon", "step", "num_steps", "n_iter", "iterations", "lambda_", "x", "y", "batchsize"}


def public_functions():
    for path in FILES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(("surefoot", *parts)).removesuffix(".__init__")
        if parts[0] in ("__main__",):
            continue
        module = importlib.import_module(name)
        for label, found in vars(module).items():
            if label.startswith("_") or getattr(found, "__module__", None) != name:
                continue
            if inspect.isfunction(found) or inspect.isclass(found):
                yield name, label, found


def test_every_public_function_and_class_is_documented():
    missing = [f"{m}.{n}" for m, n, found in public_functions() if not inspect.getdoc(found)]
    assert missing == []


def test_arguments_are_spelt_as_the_design_says():
    for module, name, found in public_functions():
        try:
            parameters = inspect.signature(found).parameters
        except ValueError:
            continue
        spelt = BANNED - ({"x", "y"} if module == "surefoot.data.layout" else set())  # array names
        assert not spelt & set(parameters), f"{module}.{name}"
        assert all(parameter.isascii() for parameter in parameters)


CONTRACT = {"pgd", "autoattack", "bracket", "certify", "concentration"}
"""Signatures that the design fixes."""


def functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def test_no_function_takes_more_than_eight_arguments():
    found = []
    for path, node in functions():
        given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        names = [one.arg for one in given if one.arg not in ("self", "cls")]
        if len(names) > 8 and node.name not in CONTRACT:
            found.append(f"{path.relative_to(ROOT)}: {node.name} takes {len(names)}")
    assert found == []


def test_every_class_and_every_file_has_a_name_of_its_own():
    """A command's file is called as the command, and its class `Command`."""
    own = [path for path in FILES if path.parent.name != "cli" and path.stem != "__init__"]
    names = [path.stem for path in own]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    classes = [
        node.name
        for path in own
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted({name for name in classes if classes.count(name) > 1}) == []


def test_nothing_asks_which_guarantee_it_has():
    names = "Local|TopK|RelaxedTopK|Affinity|LabelOrUncertain|Guarantee"
    asked = re.compile(rf"isinstance\([^)]*\b({names})\b")
    found = [path for path in FILES if path.stem != "guarantees" and asked.search(path.read_text())]
    assert found == []


def modules_after(code):
    script = f"import sys; {code}; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_help_needs_nothing_heavy():
    loaded = modules_after("from surefoot.cli import main; main(['--help'])")
    assert not loaded & {"torch", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "tyro"}


def test_no_command_starts_with_the_distributions_of_scipy():
    """They take a tenth of the time to start; what needs them imports them."""
    names = ("attack", "certify", "evaluate", "limit", "train", "verify")
    loaded = modules_after(
        "import "
        + ", ".join(f"surefoot.cli.{name}" for name in names)
        + ", surefoot.evaluation, surefoot.limits, surefoot.training"
    )
    assert not loaded & {"scipy.stats"}


def test_attacking_needs_no_plots_or_data_frames():
    loaded = modules_after("import surefoot.attacks, surefoot.guarantees")
    assert not loaded & {"sklearn", "pandas", "matplotlib", "accelerate", "torchvision"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_files_are_utf_8_on_every_system(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = {keyword.arg for keyword in node.keywords}
        if name in ("read_text", "write_text"):
            assert "encoding" in given, f"{path.name}, line {node.lineno}"
        if name == "to_csv":
            assert "lineterminator" in given, f"{path.name}, line {node.lineno}"
        if name == "open" and isinstance(node.func, ast.Name):
            assert "encoding" in given, f"{path.name}, line {node.lineno}"


OLD_WORDS = (
    r"noisy cop(y|ies)|strangers?|rivals?|outsiders?|ledgers?|halvings?|headroom|READINGS|Leading"
    r"|LEADS|witness(es)?|stands for ever|if fortune smiles|nobody's vote|law_error|max-probability"
)
"""Words of our own for what the field has a name for."""


@pytest.mark.parametrize("folder", ["src", "docs", "tests", "examples"])
def test_the_words_are_those_of_the_field(folder):
    root = ROOT.parent.parent
    found = [
        f"{path.relative_to(root)}: {match.group(0)}"
        for path in sorted((root / folder).rglob("*"))
        if path.suffix in (".py", ".md", ".html") and path != Path(__file__)
        for match in re.finditer(rf"(?<![\w-])({OLD_WORDS})(?![\w-])", path.read_text())
    ]
    assert found == []


FOLDERS = (".", "src/**", "tests/**", "benchmarks")


def resolves(name):
    found = surefoot
    for depth, part in enumerate(name.split("."), 1):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(["surefoot", *name.split(".")[:depth]]))
            except ImportError:
                return False
        found = getattr(found, part)
    return True


def test_names_in_docs_and_docstrings_exist():
    root = ROOT.parent.parent
    packages = "|".join(path.name for path in ROOT.iterdir() if (path / "__init__.py").exists())
    texts = [root / "README.md", *(root / "docs").rglob("*.md"), *FILES]
    missing = []
    for path in texts:
        text = path.read_text()
        dotted = re.findall(rf"`(?:surefoot\.)?((?:{packages})(?:\.\w+)+)", text)
        dotted = {name for name in dotted if not name.endswith((".html", ".md"))}
        missing += [f"{path.name}: {name}" for name in dotted if not resolves(name)]
        for name in re.findall(r"`([\w/]+\.py)`", text):
            if not any(next(root.glob(f"{folder}/{name}"), None) for folder in FOLDERS):
                missing.append(f"{path.name}: {name}")
    assert missing == []
