"""Relaxations on the net of Wong and Kolter 2018: certified accuracy, and CPU time an image.

    python benchmarks/relaxation.py --data mnist --eps 0.1

The net (conv4x4s2 16, conv4x4s2 32, fc 100) is trained here by a short IBP schedule (Gowal et al.
2018: eps and the weight of the bounds rise over the first half), so the figures are those of this
net and no published ones. Then each effort certifies the first test images, one thread, float32 net
with its rounding; the attack is `break_guarantee`. Rows go to results/relaxation.jsonl.
"""

import time
from dataclasses import dataclass

import rows
import torch
import tyro
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from surefoot.attacks import break_guarantee
from surefoot.certify.relaxation import certify
from surefoot.data import load
from surefoot.guarantees import Guarantee, Local, RelaxedTopK
from surefoot.threat import Threat


@dataclass(frozen=True)
class Options:
    """What is trained and certified.

    Args:
        data: mnist or fashion-mnist, of $SUREFOOT_DATA.
        eps: linf, of training and certificate.
        epochs: of training.
        count: test images that are certified.
        steps: of the attack; 0 leaves it out.
        corners: random corners that are tried inside each certified ball.
        threads: of torch.
    """

    data: str = "mnist"
    eps: float = 0.1
    epochs: int = 4
    count: int = 200
    steps: int = 20
    corners: int = 600
    threads: int = 1


def make_net() -> nn.Sequential:
    """Return the net of Wong and Kolter 2018 with 28 x 28 inputs."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def worst_logits(net: nn.Sequential, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Bound the logits on boxes by intervals: that of the label from below, the others above."""
    middle, half = images, torch.full_like(images, eps)
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            how = (layer.stride, layer.padding)
            middle = layer(middle)
            half = nn.functional.conv2d(half, layer.weight.abs(), None, *how)
        elif isinstance(layer, nn.Linear):
            middle, half = layer(middle), half @ layer.weight.abs().T
        elif isinstance(layer, nn.ReLU):
            low, high = (middle - half).relu(), (middle + half).relu()
            middle, half = (low + high) / 2, (high - low) / 2
        else:
            middle, half = layer(middle), layer(half)
    own = nn.functional.one_hot(labels, middle.shape[1]).bool()
    return torch.where(own, middle - half, middle + half)


def trained(options: Options) -> nn.Sequential:
    """Train by IBP: half cross-entropy of the logits, half of their worst case."""
    net, data = make_net(), load(options.data, "train")
    assert data.labels is not None
    images, labels = data.inputs(slice(None)), data.labels
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    draw = torch.Generator().manual_seed(0)
    total = options.epochs * (len(labels) // 128)
    for step in range(total):
        batch = torch.randint(len(labels), (128,), generator=draw)
        done = min(step / (0.5 * total), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 if step < 0.8 * total else 1e-4
        loss = cross_entropy(net(images[batch]), labels[batch]) * (1 - done / 2)
        worst = worst_logits(net, images[batch], labels[batch], done * options.eps)
        loss = loss + done / 2 * cross_entropy(worst, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def measure(net: nn.Module, options: Options, threat: Threat, guarantee: Guarantee) -> None:
    """Certify by each effort, attack, print and store a row each."""
    images, labels = load(options.data).batch(slice(0, options.count))
    with torch.no_grad():
        logits = net(images)
    clean_sets = guarantee.sets(logits)
    right = clean_sets & clean_sets.gather(
        2, labels.view(-1, 1, 1).expand(-1, clean_sets.shape[1], 1)
    )
    clean = right.any(2).any(1)
    attacked = None
    if options.steps:
        broken = break_guarantee(
            net, images, guarantee=guarantee, threat=threat, labels=labels, steps=options.steps
        )
        attacked = (clean & ~broken.success).double().mean().item()
    for effort in ("ibp", "crown"):
        began = time.process_time()
        found = certify(
            net, images, guarantee=guarantee, threat=threat, radii=[threat.eps], effort=effort
        )
        seconds = (time.process_time() - began) / len(images)
        proven = ((found.radii > 0) & right.any(2)).any(1).double().mean().item()
        row = {"data": options.data, "norm": threat.norm, "eps": threat.eps, "effort": effort}
        row |= {"guarantee": repr(guarantee), "images": len(images), "epochs": options.epochs}
        row |= {"clean": clean.double().mean().item(), "certified": proven, "attacked": attacked}
        row |= {"trained at": options.eps, "seconds an image": seconds, "threads": options.threads}
        rows.append("relaxation", row)
        shown = "" if attacked is None else f" attacked {attacked:6.1%}"
        print(
            f"{options.data:14} {threat.norm:4} {threat.eps:<6g} {guarantee!r:16} {effort:6}"
            f" clean {row['clean']:6.1%} certified {proven:6.1%}{shown} {seconds:7.4f} s an image"
        )


def attack_certified(net: nn.Module, options: Options, threat: Threat) -> None:
    """Try random corners and the attack inside certified balls: none may break anything."""
    images = load(options.data).batch(slice(0, options.count))[0]
    found = certify(net, images, guarantee=Local(), threat=threat, radii=[threat.eps])
    inside = images[found.radius > 0]
    draw, tried, false = torch.Generator().manual_seed(1), 0, 0
    for image in inside:
        tiled = image.unsqueeze(0).expand(options.corners, *image.shape)
        signs = torch.randint(0, 2, tiled.shape, generator=draw) * 2.0 - 1
        points = threat.project(tiled + 2 * threat.eps * signs, tiled)
        with torch.no_grad():
            label = net(image.unsqueeze(0)).argmax(1)
            logits = net(points)
        others = logits.clone()
        others[:, label] = -torch.inf
        false += int((logits[:, label].squeeze(1) <= others.amax(1)).sum())
        tried += len(points)
    broken = break_guarantee(net, inside, guarantee=Local(), threat=threat, steps=100)
    false += int(broken.success.sum())
    row = {"data": options.data, "norm": threat.norm, "eps": threat.eps, "corners": tried}
    row |= {"attacked": len(inside), "forwards of the attack": broken.forwards, "false": false}
    rows.append("relaxation", row)
    print(
        f"inside {len(inside)} certified balls: {tried:,} corners, {broken.forwards:,} forwards of"
        f" the attack, {false} false"
    )


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    torch.set_num_threads(chosen.threads)
    net = trained(chosen)
    for guarantee in (Local(), RelaxedTopK(2)):
        measure(net, chosen, Threat("linf", chosen.eps), guarantee)
    attack_certified(net, chosen, Threat("linf", chosen.eps))
    measure(net, chosen, Threat("l2", 0.5), Local())
