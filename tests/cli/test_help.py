"""Help and typos are answered without heavy imports, from the library's own records."""

import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from inspect import getdoc
from typing import get_args

import pytest

from surefoot.cli import COMMANDS, main
from surefoot.cli.declared import declared, narrowed, real
from surefoot.cli.subject import Score
from surefoot.training import RECIPES
from surefoot.uncertainty.selective import NAMES

HEAVY = {"torch", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "accelerate", "jaxtyping"}
SCRIPT = """
import sys
from surefoot.cli import main
for name in sys.argv[1:]:
    for flags in (["--help"], ["--help-all"], ["--fly", "high"]):
        try:
            main([*name.split(), *flags])
        except SystemExit as stop:
            assert stop.code == (2 if flags[0] == "--fly" else 0), (name, flags, stop.code)
    print("LOADED", name, *sys.modules, sep="\\t")
"""
ASKED = [*COMMANDS, "train gloro", "train pgd"]
RECORDS = [
    ("surefoot.threat", "Threat", ()),
    ("surefoot.training.settings", "Training", ()),
    ("surefoot.evaluation.classifiers", "Plain", ("model", "certificate", "seed")),
    ("surefoot.certify.smoothing.sampling", "Sampling", ("radii",)),
    ("surefoot.limits.goal", "Goal", ("risk", "gamma", "eps", "norm")),
    ("surefoot.uncertainty.vote", "Vote", ("model", "sigma")),
]


@pytest.fixture(scope="module")
def loaded():
    """What a process has imported after it has helped with each command: modules only add up."""
    command = [sys.executable, "-c", SCRIPT, *ASKED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    lines = [one.split("\t")[1:] for one in done.stdout.splitlines() if one.startswith("LOADED\t")]
    return {name: set(modules) for name, *modules in lines}


@pytest.mark.parametrize("name", ASKED)
def test_help_and_typos_need_nothing_heavy(name, loaded):
    assert "surefoot.cli" in loaded[name]
    assert not HEAVY & loaded[name]


@pytest.mark.parametrize(("module", "name", "without"), RECORDS)
def test_a_declared_record_has_the_fields_of_the_librarys_own(module, name, without):
    found, own = declared(module, name, without), getattr(import_module(module), name)
    kept = {one.name: one.default for one in fields(own) if one.name not in without}
    if without:
        assert vars(found()) == kept
    else:
        assert real(found()) == own()
    assert getdoc(found) == getdoc(own)


def test_every_recipe_is_declared():
    found = declared("surefoot.training.recipes", "RECIPES")
    assert {name: real(one) for name, one in found.items()} == RECIPES


def test_a_narrowed_recipe_has_no_choice_of_perturbation_and_is_the_same():
    for name, one in declared("surefoot.training.recipes", "RECIPES").items():
        assert real(narrowed(one, ("perturbation", "loss", "noisy"))) == RECIPES[name]


def test_every_score_can_be_named():
    assert get_args(Score) == ("none", *NAMES, "gloro", "logit-gap")


def flags(line, capsys):
    with pytest.raises(SystemExit):
        main(line.split())
    return set(re.findall(r"^\W{1,2}(--[a-z][a-z-]*)", capsys.readouterr().out, re.MULTILINE))


@pytest.mark.parametrize("name", ["evaluate", "attack", "certify", "train", "limit"])
def test_help_shows_a_dozen_flags_and_help_all_the_rest(name, capsys):
    daily, every = flags(f"{name} --help", capsys), flags(f"{name} --help-all", capsys)
    assert 10 <= len(daily) <= 14
    assert daily < every
    assert len(every) > len(daily) + 4
    assert set(import_module(f"surefoot.cli.{name}").Command.daily) <= {
        flag.removeprefix("--").replace("-", "_") for flag in daily
    } | {"recipe"}


def test_the_recipes_are_listed_with_one_line_each(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = capsys.readouterr().out
    for name in RECIPES:
        assert re.search(rf"• {name} +[A-Z]", printed), name
