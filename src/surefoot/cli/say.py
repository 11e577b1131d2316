"""One line on the terminal, by the first process of a launch."""

from surefoot.escape import one_line


def is_first() -> bool:
    """Return whether this is the first process of a launch, or the only one."""
    import torch
    from accelerate import PartialState

    # Whoever asks first decides how processes talk: without an accelerator, over the CPU.
    return PartialState(cpu=not torch.cuda.is_available()).is_main_process


def say(line: object) -> None:
    """Print a line that may hold names from outside; the first process speaks for all."""
    if is_first():
        print(one_line(line))
