"""Do verdicts depend on the batch size? AutoAttack standard at sizes 1, 7, 64 and 250.

    python benchmarks/batches.py --points 100

Points whose verdict changes are listed with the margin that decides them.
"""

import rows
import torch
import tyro

from attacks import CASES, Options, case, margins
from surefoot import Threat
from surefoot.attacks import autoattack

SIZES = (250, 64, 7, 1)


def compare(name: str, norm: str, options: Options) -> dict:
    """Run one case at every size."""
    net, images, labels = case(name, options)
    net.requires_grad_(False)
    threat = Threat(norm, CASES[name][norm])
    runs = [autoattack(net, images, labels, threat=threat, batch_size=size) for size in SIZES]
    changed = torch.stack([run.success != runs[0].success for run in runs]).any(0)
    closest = torch.stack([margins(net, run.images, labels) for run in runs]).amin(0)
    return {
        "case": name,
        "norm": norm,
        "eps": threat.eps,
        "points": len(images),
        "sizes": SIZES,
        "robust": [(~run.success).float().mean().item() for run in runs],
        "changed": {int(row): closest[row].item() for row in changed.nonzero()},
        "seed": 0,
    }


def main(options: Options) -> None:
    """Run all cases."""
    torch.set_num_threads(1)
    for name in options.models:
        for norm in options.norms:
            row = compare(name, norm, options)
            rows.append("batches", row)
            print(f"{name:16} {norm:4} robust {row['robust']} changed {row['changed']}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
