"""`surefoot completion`: a script that lets the shell complete commands and flags."""

from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, Literal, get_type_hints

import tyro

from surefoot.cli.options import default_of, flag

BASH = """\
_surefoot() {{
  local flags words="{commands}"
  if [ "$COMP_CWORD" -gt 1 ]; then
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
  [ "${{#COMPREPLY[@]}}" -gt 0 ] || COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -F _surefoot surefoot
"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


@dataclass(frozen=True)
class Command:
    """Print a script that lets the shell complete commands and flags.

    For bash: surefoot completion bash > ~/.local/share/bash-completion/completions/surefoot.
    For zsh: surefoot completion zsh >> ~/.zshrc. For fish: surefoot completion fish >
    ~/.config/fish/completions/surefoot.fish.

    Args:
        shell: The shell.
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]

    def run(self) -> None:
        """Print it."""
        from surefoot.cli import COMMANDS

        flags = {name: flags_of(name) for name in COMMANDS}
        print(_fish(flags) if self.shell == "fish" else _bash(flags, self.shell))


def flags_of(command: str) -> list[str]:
    """Return the flags of a command, those of its parts included."""
    module = import_module(f"surefoot.cli.{command.replace('-', '_')}")
    return sorted({*_flags(module.Command), "--help", "--help-all"})


def _flags(record: type) -> list[str]:
    hints, found = get_type_hints(record), []
    for one in fields(record):
        kind, usual = hints[one.name], default_of(one)
        parts = [part for part in _records(kind, usual) if is_dataclass(part)]
        for part in parts:
            found += _flags(part if isinstance(part, type) else type(part))
        found += [] if parts else [flag(one.name)]
    return found


def _records(kind: Any, usual: Any) -> list[Any]:
    """Return the records whose fields are flags in place of this field's."""
    several = getattr(kind, "__args__", ()) or (kind,)
    return [one for one in several if is_dataclass(one)] or ([usual] if is_dataclass(usual) else [])


def _bash(flags: dict[str, list[str]], shell: str) -> str:
    cases = "\n".join(f'      {name}) words="{" ".join(all_)}" ;;' for name, all_ in flags.items())
    script = BASH.format(commands=" ".join(flags), cases=cases)
    return ZSH + script if shell == "zsh" else script


def _fish(flags: dict[str, list[str]]) -> str:
    names = " ".join(flags)
    lines = [f"complete -c surefoot -n __fish_use_subcommand -f -a '{names}'"]
    for name, all_ in flags.items():
        seen = f"__fish_seen_subcommand_from {name}"
        lines += [f"complete -c surefoot -n '{seen}' -l {one[2:]}" for one in all_]
    return "\n".join(lines)
