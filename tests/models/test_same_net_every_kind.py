"""The same ResNet-20, with weights from elsewhere, as every kind of model: the same rows."""

import os
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from surefoot.data import load
from surefoot.evaluation import Plain, bracket
from surefoot.guarantees import Local
from surefoot.models import Normalize, Preprocessing, build, from_hugging_face, open_model
from surefoot.threat import Threat

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLUMNS = ["index", "label", "prediction", "accepted", "set", "clean", "attacked", "attack"]


class WithLogits(nn.Module):
    """A net as transformers has them: the logits are held by an object."""

    def __init__(self, net):
        super().__init__()
        self.net, self.config = net, SimpleNamespace(num_channels=3)

    def forward(self, pixel_values):
        return SimpleNamespace(loss=None, logits=self.net(pixel_values))


@pytest.fixture(scope="module")
def weights():
    path = Path(os.environ["SUREFOOT_DATA"], "models", "resnet20_cifar10_akamaster.safetensors")
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return path


@pytest.fixture(scope="module")
def kinds(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet20")
    (folder / "nets.py").write_text(
        "from surefoot import build\ndef net():\n    return build('resnet20')\n"
    )
    bare = build("resnet20")
    bare.load_state_dict(load_file(weights))
    net = nn.Sequential(Normalize(MEAN, STD), bare).eval()
    images, size = torch.rand(2, 3, 32, 32), {0: torch.export.Dim("batch")}
    processor = {"do_normalize": True, "image_mean": MEAN, "image_std": STD}
    processor |= {"do_resize": True, "size": {"height": 32, "width": 32}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(
            torch.export.export(net, (images,), dynamic_shapes=(size,)), folder / "net.pt2"
        )
        torch.jit.save(torch.jit.trace(net, images), folder / "net.ts")
        found = {
            "factory": open_model(
                f"{folder / 'nets.py'}:net", weights, preprocessing=Preprocessing(MEAN, STD)
            ),
            "pt2": open_model(folder / "net.pt2", trust_code=True),
            "torchscript": open_model(folder / "net.ts", trust_code=True),
            "hugging-face": from_hugging_face(WithLogits(bare.eval()), processor),
        }
        if all(map(_installed, ("onnx", "onnxscript"))):
            for dynamo in (True, False):
                path = folder / f"net-{dynamo}.onnx"
                where = {"dynamic_shapes": (size,)} if dynamo else {"dynamic_axes": {"images": [0]}}
                torch.onnx.export(
                    *(net, (images,), path),
                    input_names=["images"],
                    dynamo=dynamo,
                    verbose=False,
                    **where,
                )
                found[f"onnx-{dynamo}"] = open_model(path)
    return found


def _installed(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True


@pytest.mark.data
@pytest.mark.filterwarnings("ignore")
def test_every_kind_gives_the_same_rows(kinds):
    data = load("cifar10").first(10)
    rows = {
        name: bracket(
            Plain(model, steps=5),
            data,
            guarantee=Local(),
            threat=Threat("linf", 1 / 255),
            radii=(0.5 / 255,),
            limits=False,
        ).rows
        for name, model in kinds.items()
    }
    first = rows.pop("factory")
    assert first["clean"].mean() > 0.8
    assert 0 < first["attacked"].isin([0.5 / 255, 1 / 255]).mean() < 1
    for name, other in rows.items():
        assert first[COLUMNS].equals(other[COLUMNS]), name
        assert first["score"].sub(other["score"]).abs().max() < 1e-4, name


@pytest.mark.data
def test_a_prefix_on_these_weights_is_named(weights, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "net.safetensors"
    save_file({f"module.{name}": value for name, value in load_file(weights).items()}, path)
    with pytest.raises(ValueError, match=re.escape("begin with 'module.'")):
        open_model("surefoot.models:ResNet20", path)
