"""The documentation is true: its code runs, its links resolve, the reference is whole."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from docs_blocks import DOCS, ROOT, blocks, run

import surefoot

PAGES = sorted(str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md"))
CODE = [
    page for page in PAGES if any(b.kind in ("python", "bash") for b in blocks(DOCS / f"{page}.md"))
]
QUICK = {"attacks", "guarantees", "limits"}
"""Pages whose code takes a few seconds; the others are slow."""
WITH_DATA = {"tutorial", "training"}
"""Pages of which a part needs SUREFOOT_DATA."""
PACKAGES = (
    *("surefoot", "surefoot.attacks", "surefoot.certify", "surefoot.certify.lipschitz"),
    *("surefoot.certify.smoothing", "surefoot.data", "surefoot.evaluation", "surefoot.limits"),
    *("surefoot.models", "surefoot.models.lipschitz", "surefoot.report", "surefoot.stats"),
    *("surefoot.training", "surefoot.uncertainty"),
)
NAV = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def marked(page, *more):
    marks = [*more] if page in QUICK else [*more, pytest.mark.slow]
    return pytest.param(page, marks=marks)


@pytest.mark.filterwarnings("default")  # those of libraries that a page calls are not ours
@pytest.mark.parametrize("page", [marked(page) for page in CODE])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        run(DOCS / f"{page}.md", data=False)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", sorted(WITH_DATA))
def test_the_code_of_a_page_runs_on_real_data(page, tmp_path, monkeypatch):
    if "SUREFOOT_DATA" not in os.environ:
        pytest.skip("SUREFOOT_DATA is not set")
    monkeypatch.chdir(tmp_path)
    run(DOCS / f"{page}.md", data=True)


def test_every_page_is_in_the_navigation():
    assert sorted(NAV) == sorted(f"{page}.md" for page in PAGES)


def anchors(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower() for title in titles)
    return {re.sub(r"[-\s]+", "-", title) for title in plain}


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_resolve(page):
    path = DOCS / f"{page}.md"
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text):
        found = path.parent / target if target else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


def test_what_the_tutorial_prints_was_printed():
    stored = (ROOT / "benchmarks" / "results" / "front_door.jsonl").read_text(encoding="utf-8")
    rows = [row for row in map(json.loads, stored.splitlines()) if row["page"] == "tutorial"]
    printed = {line for row in rows for line in row["lines"]}
    shown = [b for b in blocks(DOCS / "tutorial.md") if b.kind == "text"]
    assert len(shown) >= 5
    for block in shown:
        assert [line for line in block.text.splitlines() if line and line not in printed] == []


def test_the_costs_of_recipes_are_those_of_the_stored_rows():
    stored = ROOT / "benchmarks" / "results" / "recipe_costs.jsonl"
    lines = (DOCS / "how-to" / "recipes.md").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in stored.read_text(encoding="utf-8").splitlines()]
    found = {(row["recipe"], row["net"]): row["cpu_seconds_for_1000"] for row in rows}
    for recipe in {recipe for recipe, _ in found}:
        costs = f"{found[recipe, 'lenet']:g} | {found[recipe, 'resnet20']:g}"
        assert f"| `{recipe}` | {costs} |" in lines


@cache
def described_constants():
    """Return the names that are assigned in a module of the package with a docstring below."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for statement, below in pairwise(body):
            if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(below, ast.Expr):
                names = ast.walk(statement)
                found |= {
                    n.id
                    for n in names
                    if isinstance(getattr(n, "ctx", None), ast.Store) and isinstance(n, ast.Name)
                }
    return found


def documented(name, home):
    found = getattr(home, name)
    if inspect.isclass(found) or inspect.isroutine(found) or inspect.ismodule(found):
        return bool(inspect.getdoc(found))
    return name in described_constants() or (callable(found) and bool(inspect.getdoc(found)))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package):
    home = importlib.import_module(package)
    assert [name for name in home.__all__ if not documented(name, home)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_public_methods_have_docstrings(package):
    home = importlib.import_module(package)
    classes = [c for c in (getattr(home, name) for name in home.__all__) if inspect.isclass(c)]
    missing = [
        f"{kind.__name__}.{name}"
        for kind in classes
        for name, member in vars(kind).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property | classmethod))
        and not inspect.getdoc(getattr(kind, name))
    ]
    assert missing == []


@pytest.mark.slow
def test_the_site_builds_strictly_and_the_reference_is_whole(tmp_path):
    pytest.importorskip("mkdocstrings")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = "".join(p.read_text(encoding="utf-8") for p in (tmp_path / "reference").glob("*.html"))
    there = set(re.findall(r'id="(surefoot[\w.]*)"', pages))
    for package in PACKAGES:
        for name in importlib.import_module(package).__all__:
            home = surefoot._HOMES.get(name, "") if package == "surefoot" else ""
            places = {package, f"{package}.{home}"}
            found = {f"{place}.{name}" for place in places} | {
                f"{place}.{name}.{name}" for place in places
            }
            assert found & there, f"{package}.{name}"


def test_the_top_level_lists_its_names():
    assert sorted([*surefoot.__all__, "__version__"]) == dir(surefoot)
    assert Path(surefoot.__file__).parent.joinpath("py.typed").exists()
