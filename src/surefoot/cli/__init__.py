"""The command line: one file a command; a command is a frozen dataclass that can be run.

Nothing heavy is imported before a command is chosen, so `surefoot --help` answers at once.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from surefoot.escape import one_line

COMMANDS = {
    "demo": "train digit classifiers and show the four answers for each (2 minutes)",
    "train": "train a net with one of 24 recipes: standard, pgd, trades, udp, gloro, ibp, ...",
    "attack": "search for counterexamples: the upper end of the bracket",
    "certify": "prove radii, by Lipschitz constants or by smoothing: the lower end",
    "limit": "estimate how robust any classifier could be on a data set",
    "label-uncertainty": "measure annotator disagreement of the labels",
    "evaluate": "attack, certify and limit in one record, with a report",
    "report": "draw the page of one or several records again",
    "check": "recompute what a record states, and measure its counterexamples",
    "verify": "decide VNN-LIB specifications of ONNX networks: proof or counterexample",
    "reproduce": "run an experiment of a paper and compare with its figures",
    "data": "list, describe or fetch data sets",
    "completion": "print a script that completes commands and flags in bash, zsh or fish",
}

RESUMABLE = ("demo", "train", "attack", "certify", "limit", "evaluate", "verify", "reproduce")
"""Commands that go on where they were stopped."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `surefoot COMMAND ...`; a fault of the caller ends in one line and exit status 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_help())
        return
    if name == "--version":
        from surefoot.version import __version__

        print(f"surefoot {__version__}")
        return
    if name not in COMMANDS:
        _fail(f"there is no command {name!r}; the commands are {', '.join(COMMANDS)}")
    try:
        _run(name, arguments[1:])
    except KeyboardInterrupt:
        print(f"surefoot: {_stopped(name)}", file=sys.stderr)
        raise SystemExit(130) from None


def parsed(name: str, arguments: list[str]) -> Any:
    """Return the command of this name with its options, as the command line gives them."""
    import tyro

    from surefoot.cli.help import of_daily_use
    from surefoot.cli.numbers import registry

    module = import_module(f"surefoot.cli.{name.replace('-', '_')}")
    # Flags carry no prefix, and may stand before or behind the name of a recipe.
    style = (
        tyro.conf.OmitArgPrefixes,
        tyro.conf.OmitSubcommandPrefixes,
        tyro.conf.CascadeSubcommandArgs,
    )
    kind = module.Command
    if "--help-all" in arguments:
        arguments = [one for one in arguments if one != "--help-all"] + ["--help"]
    elif {"-h", "--help"} & {*arguments}:
        kind = of_daily_use(kind)
    return tyro.cli(
        kind, prog=f"surefoot {name}", args=arguments, config=style, registry=registry()
    )


def _run(name: str, arguments: list[str]) -> None:
    command = parsed(name, arguments)
    from surefoot.cli.gate import GateFailure
    from surefoot.evaluation.attack_sweep import Contradiction

    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            command.run()
        _part()
    except (ValueError, OSError, ImportError, OverflowError, RecursionError) as error:
        _fail(str(error))
    except GateFailure as error:
        print(f"surefoot: {error}", file=sys.stderr)
        raise SystemExit(4) from error
    except Contradiction as error:
        print(f"surefoot: SOUNDNESS ERROR: {error}", file=sys.stderr)
        raise SystemExit(3) from error


def _stopped(name: str) -> str:
    """Return what a run that was stopped has kept."""
    if name not in RESUMABLE:
        return "stopped; nothing was kept"
    from surefoot.progress import reached

    kept = f"{reached()} kept" if reached() else "what was finished is kept"
    return f"stopped; {kept}; the same command goes on"


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: surefoot COMMAND [options]",
            "",
            'Classifiers that must be robust and may say "I am not sure": certified <= true robust',
            "accuracy <= attacked <= clean, and what the data allow.",
            "",
            *lines,
            "",
            "surefoot COMMAND --help explains the options of daily use, --help-all every one.",
        ]
    )


def _part() -> None:
    """End the talk with the other processes of a launch: an open one aborts the process at exit."""
    import torch.distributed as group

    if group.is_available() and group.is_initialized():
        group.destroy_process_group()


def _warn(message: object, *_: object, **__: object) -> None:
    """Print a warning as one line, without the place in the code that it comes from."""
    print(f"surefoot: warning: {one_line(message)}", file=sys.stderr)


def _fail(message: str) -> None:
    print(f"surefoot: error: {one_line(message)}", file=sys.stderr)
    raise SystemExit(2)
