"""Planted and analytic instances: nets whose least output is known, and no false answer.

    python benchmarks/planted.py --count 1000

Valleys hide their counterexample from gradients, folds have their kinks inside the box
(`tests/verification/planted_nets.py`). A row goes to results/planted.jsonl.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import rows
import torch
import tyro

from surefoot.verification import verify

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "verification"))
from planted_nets import instance


@dataclass(frozen=True)
class Options:
    """What is verified.

    Args:
        count: of instances; half of them hold.
        seconds: for each.
    """

    count: int = 1000
    seconds: float = 2.0


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    torch.set_num_threads(1)
    began, found = time.process_time(), Counter()
    for number in range(chosen.count):
        net, specification, truth = instance(number)
        verdict = verify(net, specification, (specification.inputs,), seconds=chosen.seconds)
        found[f"{truth}: {verdict.answer} {verdict.by}".strip()] += 1
    false = found["holds: violated attack"] + found["holds: violated branch and bound"]
    false += found["violated: holds bounds"] + found["violated: holds branch and bound"]
    row = {"instances": chosen.count, "seconds": chosen.seconds, "false": false}
    row |= {"answers": dict(sorted(found.items())), "cpu seconds": time.process_time() - began}
    rows.append("planted", row)
    print(row)
