"""What re-using AutoAttack's images hides on a classifier that may abstain.

    python benchmarks/abstention.py

A max-softmax rejector at 95 % true-positive rate on each digits net of `attacks.py`: robust
accuracy with rejection when the images of Auto-PGD (two losses) are re-used, and when the attack
knows the refusal. The threshold comes from the test points: an illustration, as in the literature.
"""

import rows
import torch
import tyro

from attacks import CASES, Options, case
from surefoot import Selective, Threat
from surefoot.attacks import autoattack, break_selective, raise_score
from surefoot.uncertainty.scores import least_confidence

INNER = (0.1, 0.25, 0.5, 1.0)


def compare(name: str, norm: str, options: Options) -> dict:
    """Run one case."""
    net, images, labels = case(name, options)
    net.requires_grad_(False)
    with torch.inference_mode():
        logits = net(images)
        scores = least_confidence(logits)[logits.argmax(1) == labels]
    model = Selective(net, "least-confidence", scores.quantile(0.95).item()).eval()
    threat = Threat(norm, CASES[name][norm])
    plain = autoattack(net, images, labels, threat=threat, version="fast")
    reused = fails(model, plain.images, labels)
    found = break_selective(model, images, labels, threat=threat)
    refused = [
        refusals(model, raise_score(net, images, threat=ball, score="least-confidence"))
        for ball in (Threat(norm, fraction * threat.eps) for fraction in INNER)
    ]
    return {
        "case": name,
        "norm": norm,
        "eps": threat.eps,
        "points": len(images),
        "plain_robust": (~plain.success).float().mean().item(),
        "robust_with_rejection_reused": (~reused).float().mean().item(),
        "robust_with_rejection": (~found.success).float().mean().item(),
        "points_only_reuse_breaks": int((reused & ~found.success).sum()),
        "refused_at_shares": dict(zip(map(str, INNER), refused, strict=True)),
        "seed": 0,
    }


def fails(model: Selective, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return where an image is wrong and accepted."""
    with torch.inference_mode():
        answer = model(images).argmax(1)
    return (answer != labels) & (answer != 10)


def refusals(model: Selective, images: torch.Tensor) -> float:
    """Return the fraction of rejected images."""
    with torch.inference_mode():
        return (model(images).argmax(1) == 10).float().mean().item()


def main(options: Options) -> None:
    """Run all cases."""
    torch.set_num_threads(1)
    for name in options.models:
        for norm in options.norms:
            row = compare(name, norm, options)
            rows.append("abstention", row)
            print(
                f"{name:16} {norm:4} eps {row['eps']:<5g} plain {row['plain_robust']:.3f} |"
                f" with rejection: re-used {row['robust_with_rejection_reused']:.3f}, attacked"
                f" {row['robust_with_rejection']:.3f} (only re-use breaks"
                f" {row['points_only_reuse_breaks']}) | refused {row['refused_at_shares']}",
                flush=True,
            )


if __name__ == "__main__":
    main(tyro.cli(Options))
