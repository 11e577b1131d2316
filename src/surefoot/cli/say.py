"""One line on the terminal, by the first process of a launch."""

from collections.abc import Callable
from typing import TypeVar

from surefoot.escape import one_line

Made = TypeVar("Made")


def is_first() -> bool:
    """Return whether this is the first process of a launch, or the only one."""
    import torch
    from accelerate import PartialState

    # Whoever asks first decides how processes talk: without an accelerator, over the CPU.
    return PartialState(cpu=not torch.cuda.is_available()).is_main_process


def on_first(make: Callable[[], Made]) -> Made:
    """Run on the first process of a launch, then on the others, which find what it left."""
    from accelerate import PartialState

    is_first()
    with PartialState().main_process_first():
        return make()


def say(line: object) -> None:
    """Print a line that may hold names from outside; the first process speaks for all."""
    if is_first():
        print(one_line(line))
