"""Certified training on the net of Wong and Kolter 2018, each guarantee: certified, attacked.

    python benchmarks/relaxation.py --data mnist --eps 0.1 --recipe ibp
    python benchmarks/relaxation.py --data cifar10 --net cnn7 --eps 0.00784 --recipe mtl-ibp

The net (conv4x4s2 16, conv4x4s2 32, fc 100; or CNN7, with batch normalisation, for an accelerator)
is trained by a recipe of surefoot in a folder, once, images of CIFAR-10 cropped and mirrored;
then each effort certifies the first test images for every guarantee, one thread, float32 net with
its rounding. What is not certified is attacked by `break_guarantee`, and what is certified is tried
at random corners. The two guarantees with rejection are those of the net that rejects by a gap of
logits, chosen to accept most training images. Rows go to results/relaxation.jsonl.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import rows
import torch
import tyro
from torch import Tensor, nn

from surefoot.attacks import break_guarantee, break_sets
from surefoot.certify.relaxation import Effort, certify
from surefoot.data import load
from surefoot.guarantees import Affinity, Guarantee, LabelOrUncertain, Local, RelaxedTopK
from surefoot.models import Normalize
from surefoot.threat import Norm, Threat
from surefoot.training import Augmentation, Ramp, Training, fit, make_recipe
from surefoot.uncertainty.logit_margin import logit_gap

AFFINITY = {
    "mnist": Affinity(((4, 9), (3, 5, 8), (1, 7), (0, 6), (2,))),
    "fashion-mnist": Affinity(((0, 2, 3, 4, 6), (5, 7, 9), (1,), (8,))),
    "cifar10": Affinity(((0, 1, 8, 9), (2, 3, 4, 5, 6, 7))),
}
"""Digits that look alike; tops and shoes; vehicles and animals."""
CROPPED: dict[str, Any] = {"crop": 4, "flip": True}
MEAN, DEVIATION = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RECIPES: dict[str, dict[str, Any]] = {
    "ibp": {},
    "crown-ibp": {"lines": 1.0},
    "sabr": {"fraction": 0.6, "steps": 3},
    "mtl-ibp": {"weight": 0.5, "steps": 3},
    "pgd": {"steps": 5},
}
"""Options of each recipe that differ from its own; pgd for comparison."""
ACCEPTED = 0.9
"""Fraction of training images that the gap of logits accepts, of the first `FITTED`."""
FITTED = 2_000


@dataclass(frozen=True)
class Options:
    """What is trained and certified.

    Args:
        data: of $SUREFOOT_DATA.
        net: small: of Wong and Kolter; cnn7.
        eps: linf, of training and certificate.
        recipe: one of `RECIPES`.
        epochs: of training.
        train: training images; 0: all.
        weight: of the bounds in mtl-ibp.
        learning_rate: peak, which falls to a tenth after 3/4 and 9/10 of the training.
        count: test images that are certified.
        guarantees: every one, or local alone.
        norm: of the threat.
        steps: of the attack.
        corners: random corners that are tried inside each certified ball; 0: none.
        efforts: of the certificates, the last is attacked.
        folder: of the trained nets.
        threads: of torch.
    """

    data: Literal["mnist", "fashion-mnist", "cifar10"] = "mnist"
    net: Literal["small", "cnn7"] = "small"
    eps: float = 0.1
    recipe: str = "ibp"
    epochs: int = 10
    train: int = 0
    weight: float = 0.5
    learning_rate: float = 1e-3
    count: int = 200
    guarantees: Literal["every", "local"] = "every"
    norm: Norm = "linf"
    steps: int = 20
    corners: int = 0
    efforts: tuple[str, ...] = get_args(Effort)[:2]
    folder: Path = Path("runs/relaxation")
    threads: int = 1

    @property
    def threat(self) -> Threat:
        """Return what the attacker may do."""
        return Threat(self.norm, self.eps)


def make_net(options: Options) -> nn.Sequential:
    """Return the net of Wong and Kolter 2018, or CNN7 of the papers on certified training."""
    torch.manual_seed(0)
    planes, size = (3, 32) if options.data == "cifar10" else (1, 28)
    if options.net == "cnn7":
        return _cnn7(planes, size)
    return nn.Sequential(
        nn.Conv2d(planes, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (size // 4) ** 2, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def _cnn7(planes: int, size: int) -> nn.Sequential:
    shapes = ((planes, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 128, 1))
    layers: list[nn.Module] = [Normalize(MEAN, DEVIATION)] if planes == len(MEAN) else []
    for before, after, stride in shapes:
        convolution = nn.Conv2d(before, after, 3, stride, 1)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    dense = nn.Linear(128 * (size // 2) ** 2, 512)
    layers += [nn.Flatten(), dense, nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 10)]
    return nn.Sequential(*layers)


def clock() -> float:
    """Return CPU seconds; seconds of the wall where an accelerator works."""
    return time.perf_counter() if DEVICE == "cuda" else time.process_time()


def trained(options: Options) -> tuple[nn.Sequential, dict[str, Any]]:
    """Train by the recipe, or read back; return the net and what its training was."""
    net, more = make_net(options).to(DEVICE), dict(RECIPES[options.recipe])
    if options.recipe != "pgd":  # without batch normalisation the usual initial weights serve
        more |= {"ramp": Ramp(), "initial": "ibp" if options.net == "cnn7" else "given"}
    if "weight" in more:
        more["weight"] = options.weight
    recipe = make_recipe(options.recipe, threat=options.threat, **more)
    training = Training(
        epochs=options.epochs,
        batch_size=128,
        learning_rate=options.learning_rate,
        schedule="multistep",
        milestones=(0.75, 0.9),
        augmentation=Augmentation(**CROPPED if options.data == "cifar10" else {}),
    )
    name = f"{options.data}-{options.norm}-{options.eps:g}-{options.recipe}"
    name += "" if options.net == "small" else f"-{options.net}-{options.weight:g}"
    data = load(options.data, "train")
    if options.train:
        name, data = f"{name}-{options.train}", data.first(options.train)
    began = clock()
    fit(net, data, recipe, options.folder / name, training=training)
    seconds = clock() - began
    torch.backends.cudnn.allow_tf32 = False  # the certificate would pay for what it rounds
    kept = {"recipe": options.recipe, "net": options.net, "device": DEVICE}
    kept |= {"weight": more["weight"]} if "weight" in more else {}
    kept |= {"epochs": options.epochs, "trained at": options.eps}
    kept |= {"training images": len(data), "learning rate": options.learning_rate}
    return net.eval(), kept | {"seconds of this call's training": seconds}


def cases(net: nn.Module, options: Options) -> list[tuple[str, nn.Module, Guarantee]]:
    """Return name, classifier and guarantee of each row."""
    if options.guarantees == "local":
        return [("label", net, Local())]
    images = load(options.data, "train").inputs(slice(0, FITTED))
    with torch.no_grad():
        best = net(images.to(DEVICE)).topk(2).values
    gap = torch.quantile(best[:, 0] - best[:, 1], 1 - ACCEPTED).item()
    rejecting = logit_gap(net, gap, 10).eval()
    return [
        ("label", net, Local()),
        ("relaxed top-2", net, RelaxedTopK(2)),
        ("relaxed top-3", net, RelaxedTopK(3)),
        ("affinity", net, AFFINITY[options.data]),
        ("label, accepted (i)", rejecting, Local()),
        ("label or uncertain (ii)", rejecting, LabelOrUncertain()),
    ]


def measure(
    name: str, model: nn.Module, guarantee: Guarantee, options: Options, kept: dict[str, Any]
) -> Tensor:
    """Certify by each effort, attack the rest, print and store a row each; return what holds."""
    images, labels = (part.to(DEVICE) for part in load(options.data).batch(slice(0, options.count)))
    with torch.no_grad():
        outcomes = model(images)
    sets = guarantee.right(guarantee.sets(outcomes), labels, outcomes)
    clean = (guarantee.margins(outcomes, sets) > 0).any(1)
    accepted = outcomes.argmax(1) < 10
    proven, seconds = torch.zeros(0), list[float]()
    found: dict[str, Tensor] = {}
    for effort in options.efforts:
        began = clock()
        certified = certify(
            model,
            images,
            guarantee=guarantee,
            threat=options.threat,
            radii=[options.eps],
            effort=effort,  # pyright: ignore[reportArgumentType]
            sets=sets,
        )
        seconds.append((clock() - began) / len(images))
        found[effort] = proven = (certified.radii > 0).any(1)
    rest = ~proven & clean
    stands = proven.clone()
    if bool(rest.any()):
        broken = break_sets(
            model, images[rest], sets[rest], guarantee, options.threat, steps=options.steps
        )
        stands[rest] = ~broken.success
    for (effort, holds), spent in zip(found.items(), seconds, strict=True):
        row = {"data": options.data, "norm": options.norm, "eps": options.eps, **kept}
        row |= {"guarantee": name, "effort": effort, "images": len(images)}
        row |= {key: value.double().mean().item() for key, value in (("clean", clean),)}
        row |= {"accepted": accepted.double().mean().item()}
        row |= {
            "certified": holds.double().mean().item(),
            "attacked": stands.double().mean().item(),
        }
        row["undecided"] = row["attacked"] - row["certified"]
        right = accepted & (outcomes.argmax(1) == labels)
        row["certified, accepted and right"] = (holds & right).double().mean().item()
        row |= {"seconds an image": spent, "threads": options.threads}
        rows.append("relaxation", row)
        print(
            f"{options.data:13} {options.norm} {options.eps:<4g} {options.recipe:9} {name:23}"
            f" {effort:5} clean {row['clean']:6.1%} certified {row['certified']:6.1%} attacked"
            f" {row['attacked']:6.1%} accepted {row['accepted']:6.1%} {spent:7.4f} s an image",
            flush=True,
        )
    return proven


def attack_certified(net: nn.Module, proven: Tensor, options: Options) -> None:
    """Try random corners and the attack inside certified balls: none may break anything."""
    images = load(options.data).batch(slice(0, options.count))[0].to(DEVICE)
    inside, threat = images[proven], options.threat
    draw, tried, false = torch.Generator().manual_seed(1), 0, 0
    for image in inside:
        tiled = image.unsqueeze(0).expand(options.corners, *image.shape)
        signs = torch.randint(0, 2, tiled.shape, generator=draw).to(images) * 2.0 - 1
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
    row |= {"recipe": options.recipe, "attacked": len(inside)}
    row |= {"forwards of the attack": broken.forwards, "false": false}
    rows.append("relaxation", row)
    print(
        f"inside {len(inside)} certified balls: {tried:,} corners, {broken.forwards:,} forwards of"
        f" the attack, {false} false"
    )


def main(options: Options) -> None:
    """Train, certify, attack."""
    torch.set_num_threads(options.threads)
    net, kept = trained(options)
    for name, model, guarantee in cases(net, options):
        proven = measure(name, model, guarantee, options, kept)
        if options.corners and name == "label":
            attack_certified(net, proven, options)


if __name__ == "__main__":
    main(tyro.cli(Options))
