"""One line on the terminal."""

from surefoot.escape import one_line


def say(line: object) -> None:
    """Print a line that may hold names from outside; the first process speaks for all."""
    from accelerate import PartialState

    if PartialState().is_main_process:
        print(one_line(line))
