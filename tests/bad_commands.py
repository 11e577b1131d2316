"""Make command lines that cannot be obeyed: at least 400, of each command, one fault each.

Every one must end in exit status 2 and one clear message, without a traceback and without a folder.
`{net}` is a small dense Lipschitz net of digits, `{mlp}` a plain one, `{bad}` the folder that
`damaged` fills.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from surefoot.models import build, save

MODELS = (
    *("absent", "{bad}", "{bad}/empty", "{bad}/list", "{bad}/deep", "{bad}/named-list"),
    *("{bad}/normalize", "{bad}/no-weights", "{bad}/foreign", "{bad}/nan", "nomodule:net"),
    *("json:absent", "json:loads", ".x:f", ":f", "x:", "..:f", "a.b.c:d", "{bad}/bad.pt2"),
    *("{bad}/bad.ts", "{bad}/checkpoint.pt", "{bad}/weights.safetensors", "{bad}/text.npz"),
    *("{bad}/pipe", "raising:net", "looping:net", "quitting:net", "nothing:net"),
)
DATA = (
    *("nowhere", "{bad}/missing.npz", "{bad}/text.npz", "{bad}/labels.npz", "{bad}/nan.npz"),
    *("{bad}/short.npz", "{bad}/range.npz", "{bad}/one.npz", "{bad}/huge.npz", "{bad}/wide.npz"),
    *("{bad}/floats.npz", "{bad}/onehot.npz", "{bad}/names.npz", "{bad}/bytes.npz"),
    *("{bad}/empty", "{bad}/mixed", "{bad}/piped", "{bad}/linked", "{bad}/eps", "cifar10"),
    *("hf:nobody/nothing", "shuffled:nowhere", "moons", "{bad}/pipe.npz"),
)
NUMBERS = ("-1", "nan", "inf", "-inf", "x", "1e999", "")
WHOLE = ("-1", "1.5", "x", "", "nan", "1e3")
SEEDS = ("-1", "99999999999999999999", "x", "1.5")
GROUPS = (
    *(
        "1,ten",
        ";",
        ",",
        "learned:digits",
        "learned:digits:x",
        "learned:nowhere",
        "superclasses:no",
    ),
    *("{bad}/groups.json", "{bad}/broken.json", "{bad}/float.json", "{bad}/all.json"),
    *("{bad}/deep.json", "{bad}/deeper.json", "{bad}/number.json", "{bad}/absent.json"),
)
ON_NET = "--model {net} --count 5"


def lines() -> list[str]:
    """List them all; none twice."""
    found = [*_of_models(), *_of_data(), *_of_evaluate(), *_of_attack(), *_of_certify()]
    found += [*_of_train(), *_of_limit(), *_of_others()]
    return list(dict.fromkeys(found))


def _each(command: str, flags: dict[str, tuple[str, ...]]) -> list[str]:
    return [f"{command} --{flag} {value}" for flag, values in flags.items() for value in values]


def _of_models() -> list[str]:
    found = [f"attack --count 5 --model {model}" for model in MODELS]
    found += [f"certify --count 5 --model {model} --trust-code" for model in MODELS[-12:]]
    return [
        *found,
        "evaluate",
        "attack --model {net} --weights {bad}/weights.safetensors",
        "attack --model {net} --trust-code",
        "attack --model tiny:net --weights {bad}/weights.safetensors",
        "attack --model tiny:net --weights {bad}/absent.safetensors",
        "attack --model tiny:net --weights {bad}/foreign/model.safetensors",
        "attack --model tiny:net --data moons",
        "attack --model tiny:flat",
        "attack --model tiny:words",
        "attack --model tiny:fails",
        "attack --model tiny:narrow",
        "attack --model {net} --mc-dropout",
    ]


def _of_data() -> list[str]:
    found = [f"evaluate --model {{net}} --data {data}" for data in DATA]
    found += [f"label-uncertainty --data {data}" for data in DATA]
    return [
        *found,
        *_each("evaluate --model {net}", {"count": WHOLE, "data-seed": SEEDS, "split": ("val",)}),
        "evaluate --model {net} --count 0 --data-seed 3",
        "evaluate --model {net} --data cifar10h --split train",
        "evaluate --model {net} --data cifar100-ood --split train",
    ]


def _of_evaluate() -> list[str]:
    base = f"evaluate {ON_NET}"
    found = _each(
        base,
        {
            "norm": ("l1", "2", ""),
            "eps": (*NUMBERS, "8/0", "1/x"),
            "low": ("2", "nan", "1"),
            "high": ("-1", "nan"),
            "radii": ("-1", "nan", "inf", "x"),
            "guarantee": ("global", "topk --k 10", "topk --k 0", "topk --k -1", "topk --k x"),
            "certificate": ("sure", "smoothing --sigma 0", "smoothing --sigma -1"),
            "steps": ("0", "-1", "x"),
            "seed": SEEDS,
            "protocol": ("all",),
            "threshold": ("0.5",),
            "coverage": ("0.5",),
            "risk": ("0.1",),
            "max-rejection": ("0.1",),
            "risk-alpha": ("0.2",),
            "threshold-sigma": ("0.2",),
            "reject": ("entropy", "unknown"),
            "k": ("3",),
            "groups": ("0,1",),
            "sigma": ("0.5",),
            "alpha": ("0.01",),
            "n-select": ("50",),
            "n-certify": ("50",),
            "tolerance": ("0.1",),
            "rule": ("majority",),
            "levels": ("255",),
            "fly": ("high",),
        },
    )
    found += [f"{base} --guarantee affinity --groups {groups}" for groups in GROUPS]
    found += [f"{base} --guarantee {kind} --groups 0,1" for kind in ("local", "topk")]
    found += [f"{base} --guarantee {kind} --k 3" for kind in ("local", "affinity --groups 0,1")]
    found += [f"{base} --guarantee {kind} --k 10" for kind in ("topk", "relaxed-topk")]
    reject = f"{base} --reject entropy"
    found += _each(
        reject,
        {
            "threshold": ("nan", "x"),
            "coverage": ("0", "-1", "2", "nan", "0.5 --threshold 1"),
            "risk": ("0", "-1", "2", "nan", "1e-9"),
            "max-rejection": ("0.1", "0.1 --threshold-sigma -1", "2 --threshold-sigma 0.2"),
        },
    )
    return [
        *found,
        f"{base} --no-at-radii",
        f"{base} --guarantee affinity",
        f"{base} --guarantee label-or-uncertain",
        f"{base} --reject gloro",
        f"{base} --reject gloro --coverage 0.5",
        f"{base} --reject gloro --threshold -1",
        f"{base} --reject logit-gap --risk 0.1",
        f"{base} --reject mutual-information --threshold 1",
        f"{base} --reject gp-variance --threshold 1",
        f"{reject} --threshold 1 --threshold-sigma 0.1",
        f"{reject} --threshold 1 --risk-alpha 0.1",
        "evaluate --model {net} --count 0 --reject entropy --coverage 0.9",
        "evaluate --model {net} --count 0 --temperature-scaling",
        "evaluate --model {mlp} --count 5 --skip-certified --certificate none",
        "evaluate --model {mlp} --count 5 --certificate vote --sigma 0.3",
        "evaluate --model {mlp} --count 5 --certificate vote --steps 5",
        "evaluate --model {mlp} --count 5 --certificate vote --protocol rand",
        "evaluate --model {mlp} --count 5 --certificate vote --skip-certified",
    ]


def _of_attack() -> list[str]:
    base = f"attack {ON_NET}"
    found = _each(
        base,
        {
            "eps": (*NUMBERS, "1/0"),
            "radii": ("-1", "nan", "inf"),
            "steps": ("0", "-1", "1.5"),
            "step-size": ("0.1", "nan", "-1"),
            "seed": SEEDS,
            "n-certify": ("100",),
            "certificate": ("none",),
        },
    )
    for protocol in ("standard", "plus", "rand", "fast", "pgd"):
        found.append(f"{base} --protocol {protocol} --guarantee topk")
        found.append(f"{base} --vote --protocol {protocol}")
    for protocol in ("standard", "plus", "rand", "fast"):
        found.append(f"{base} --protocol {protocol} --steps 7")
    for size in ("0", "-1", "nan"):
        found.append(f"{base} --protocol pgd --step-size {size}")
    return [
        *found,
        f"{base} --vote --skip-certified",
        f"{base} --vote --steps 7",
        f"{base} --vote --step-size 0.1",
        f"{base} --protocol standard --reject entropy --threshold 1",
    ]


def _of_certify() -> list[str]:
    base = f"certify {ON_NET}"
    found = _each(
        base,
        {
            "eps": (*NUMBERS, "1/0"),
            "radii": ("-1", "nan"),
            "sigma": ("0", "-1", "nan", "inf", "x"),
            "alpha": ("0", "1", "2", "-1", "nan"),
            "n-select": ("0", "-1", "x"),
            "n-certify": ("0", "-1", "x"),
            "levels": ("-1", "x"),
            "tolerance": ("0", "-1", "nan", "0.1 --at-radii"),
            "rule": ("majority", "random"),
            "certificate": ("none", "vote", "all"),
            "seed": SEEDS,
            "steps": ("7",),
            "step-size": ("0.1",),
            "protocol": ("pgd",),
        },
    )
    return [
        *found,
        f"{base} --skip-certified",
        f"{base} --certificate lipschitz --sigma 0.5",
        f"{base} --certificate lipschitz --n-certify 50",
        f"{base} --certificate lipschitz --alpha 0.1",
        f"{base} --certificate lipschitz --no-at-radii",
        f"{base} --certificate lipschitz --reject entropy --threshold 1",
        f"{base} --rule majority --guarantee topk",
        "certify --model tiny:unknown --count 5 --certificate lipschitz",
    ]


def _of_train() -> list[str]:
    small = "train standard --data digits --count 64 --net mlp --epochs 1"
    found = [f"train standard --data {data}" for data in DATA if data not in ("moons", "wide")]
    found = [line for line in found if "wide.npz" not in line]
    found += _each(
        small,
        {
            "epochs": ("0", "-1", "x"),
            "batch-size": ("0", "-1"),
            "learning-rate": ("0", "-1", "nan", "inf"),
            "seed": SEEDS,
            "init-seed": SEEDS,
            "validation": ("-1", "64", "100"),
            "validation-seed": ("3",),
            "count": ("-1", "100000"),
            "schedule": ("square",),
            "optimizer": ("lion",),
            "ema": ("1", "-1", "nan"),
            "label-smoothing": ("1", "-1"),
            "milestones": ("0.1",),
            "perturb-every": ("0",),
            "patience": ("3",),
            "width": ("3",),
            "dropout": ("0.5",),
            "scale": ("3",),
            "features": ("3",),
            "bound": ("0.5",),
            "members": ("0", "-1"),
            "hidden": ("0", "-1", "x"),
            "groups": ("0,1",),
            "sigma": ("0.5",),
        },
    )
    for net in ("lenet --hidden 8", "lipschitz-mlp --hidden 7", "vgg", "lenet --scale 2"):
        found.append(f"train standard --net {net}")
    for recipe in ("pgd", "udp", "trades"):
        found += [f"train {recipe} --eps {eps}" for eps in ("-1", "nan", "inf", "x")]
        found += [f"train {recipe} --steps {steps}" for steps in ("-1", "x")]
    return [
        *found,
        "train",
        "train fly",
        "train pgd --steps 0",
        "train udp --step-size 0",
        "train noise --sigma -1",
        "train standard --data moons --net lenet",
        "train standard --members 2 --draws 3",
        "train gloro --net lipschitz-mlp --groups {bad}/deep.json",
        "train gloro --net lipschitz-mlp --groups 1,ten",
    ]


def _of_limit() -> list[str]:
    return [
        *_each(
            "limit --data digits --count 60",
            {
                "eps": (*NUMBERS, "1/0"),
                "radii": ("-1", "nan", "inf"),
                "risk": ("0", "-1", "1", "2", "nan"),
                "gamma": ("-1", "3", "nan"),
                "components": ("0", "-1", "x"),
                "delta": ("-1", "nan", "2"),
                "splits": ("0", "-1"),
                "seed": SEEDS,
                "family": ("rectangles", "cubes", "circles"),
                "constraint": ("none",),
                "calibrate-to": ("far",),
            },
        ),
        *(f"limit --data {data}" for data in DATA if data not in ("moons", "{bad}/wide.npz")),
        "limit --norm linf --family balls --count 60",
    ]


def _of_others() -> list[str]:
    return [
        *("fly", "", "data show", "data show atlantis", "data fetch", "data fetch atlantis"),
        *("data list digits", "data list --split train", "data fetch mnist --split train"),
        *("data fetch tiny-imagenet", "data show {bad}/nan.npz", "data eat", "data show digits x"),
        *("report", "report {bad}/empty", "report {bad}/absent", "report {bad}/text.npz"),
        *("report {net}", "report {bad}/deep", "report {bad}/pipe"),
        *("reproduce udp-moon", "reproduce --scale smoke", "reproduce --seed 3"),
        *("reproduce --folder x", "reproduce udp-fashion-mnist --scale huge"),
        *(f"reproduce udp-fashion-mnist --scale smoke --seed {seed}" for seed in SEEDS),
        *_each(
            "demo",
            {
                "count": ("0", "-1", "501", "x"),
                "epochs": ("0", "-1", "x"),
                "n-certify": ("0", "-1", "x"),
                "sigma": ("0", "-1", "nan", "inf", "x"),
                "seed": SEEDS,
            },
        ),
        *_each(
            "label-uncertainty --data digits",
            {
                "source": ("crowd", "votes", "votes --votes {bad}/absent.npz"),
                "votes": ("{bad}/votes.npz",),
                "annotators": ("counts a",),
                "prior": ("1",),
                "folds": ("3",),
                "calibration": ("isotonic",),
                "errors": ("noise-rate", "some"),
                "seed": SEEDS,
            },
        ),
        "label-uncertainty --data digits --source votes --votes {bad}/votes.npz",
        "label-uncertainty --data digits --source votes --votes {bad}/votes.npz --annotators half",
        "label-uncertainty --data digits --source votes --votes {bad}/votes.npz --annotators words",
        "label-uncertainty --data digits --source votes --votes {bad}/votes.npz --prior -1",
        "label-uncertainty --data digits --source cross-validated --folds 1",
        "label-uncertainty --data digits --source cross-validated --folds 0",
    ]


FACTORIES = {
    "raising": "1 / 0\n",
    "looping": "def net():\n    return net()\n",
    "quitting": "def net():\n    raise OverflowError('too much')\n",
    "nothing": "def net():\n    return None\n",
    "tiny": (
        "import torch\n"
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "def narrow():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
        "class Flat(nn.Module):\n    def forward(self, x):\n        return x.sum()\n"
        "def flat():\n    return Flat()\n"
        "class Words(nn.Module):\n    def forward(self, x):\n        return 'cat'\n"
        "def words():\n    return Words()\n"
        "class Fails(nn.Module):\n    def forward(self, x):\n        raise TypeError('no')\n"
        "def fails():\n    return Fails()\n"
        "class Unknown(nn.Module):\n"
        "    def forward(self, x):\n        return torch.cumprod(x.flatten(1), 1)[:, :10]\n"
        "def unknown():\n    return Unknown()\n"
    ),
}


def damaged(folder: Path) -> None:
    """Fill a folder with files that are not what they seem, and modules that misbehave."""
    folder.mkdir(parents=True, exist_ok=True)
    _models(folder)
    _archives(folder)
    _images(folder)
    texts = {
        "groups.json": '[["zero"]]',
        "broken.json": "[[1,",
        "float.json": "[[0.5]]",
        "number.json": "3",
        "all.json": json.dumps([list(range(10))]),
        "deep.json": "[" * 100_000,
        "deeper.json": "[" * 900 + "1" + "]" * 900,
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name, source in FACTORIES.items():
        (folder / f"{name}.py").write_text(source)
    for name in ("pipe", "pipe.npz"):
        os.mkfifo(folder / name)


def nets(folder: Path) -> None:
    """Write the two nets that the lines speak of."""
    torch.manual_seed(0)
    save(build("lipschitz-mlp", inputs=64, hidden=(8,)), folder / "net")
    save(build("mlp", inputs=64, hidden=(8,)), folder / "mlp")


def _models(folder: Path) -> None:
    configs = {
        "list": "[]",
        "deep": '{"model": ' * 100_000,
        "named-list": '{"model": {"name": ["mlp"]}}',
        "normalize": '{"model": {"name": "mlp", "inputs": 64, "normalize": 3}}',
        "no-weights": '{"model": {"name": "mlp", "inputs": 64}}',
        "foreign": '{"model": {"name": "mlp", "inputs": 64}}',
        "nan": '{"model": {"name": "mlp", "inputs": NaN}}',
    }
    (folder / "empty").mkdir()
    for name, text in configs.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(text)
    save(build("mlp", inputs=3), folder / "other")
    (folder / "other" / "model.safetensors").rename(folder / "foreign" / "model.safetensors")
    for name in ("bad.pt2", "bad.ts", "checkpoint.pt", "weights.safetensors", "text.npz"):
        (folder / name).write_text("nothing")


def _archives(folder: Path) -> None:
    x, y = np.linspace(0, 1, 640).reshape(10, 64), np.arange(10)
    arrays = {
        "labels": {"x": x, "y": y - 1},
        "nan": {"x": np.full((10, 64), np.nan), "y": y},
        "short": {"x": x, "y": y[:9]},
        "range": {"x": 255 * x, "y": y},
        "one": {"x": x, "labels": y},
        "huge": {"x": x, "y": np.append(y[:9], 999_999_999)},
        "wide": {"x": np.zeros((10, 5)) + 0.1, "y": y},
        "floats": {"x": x, "y": y + 0.5},
        "onehot": {"x": x, "y": np.eye(10)},
        "names": {"x": x, "y": np.array(list("abcdefghij"))},
        "bytes": {"x": x, "y": y, "classes": np.array([b"\xff"] * 10)},
        "votes": {
            "counts": np.ones((3, 10)),
            "half": np.full(500, 0.5),
            "words": np.array(["a"] * 500),
        },
    }
    for name, one in arrays.items():
        np.savez(folder / f"{name}.npz", **one)


def _images(folder: Path) -> None:
    for name in ("mixed", "piped", "linked", "eps"):
        for place, group in enumerate("ab"):
            (folder / name / group).mkdir(parents=True)
            Image.new("L", (8, 8), place).save(folder / name / group / "0.png")
    Image.new("RGB", (8, 8)).save(folder / "mixed" / "a" / "1.png")
    os.mkfifo(folder / "piped" / "a" / "1.png")
    (folder / "linked" / "a" / "1.png").symlink_to(folder / "mixed" / "a" / "0.png")
    (folder / "eps" / "a" / "1.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
