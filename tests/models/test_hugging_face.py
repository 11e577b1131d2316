"""Image classifiers of transformers: objects, folders, and names; random, saved here, offline."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers, about itself

from transformers import (  # noqa: E402
    ConvNextConfig,
    ConvNextForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)
from transformers.models.convnext.image_processing_pil_convnext import (  # noqa: E402
    ConvNextImageProcessorPil,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil  # noqa: E402

from surefoot.cli.subject import check_classes  # noqa: E402
from surefoot.data import Data, load  # noqa: E402
from surefoot.evaluation import Plain, bracket  # noqa: E402
from surefoot.guarantees import Local  # noqa: E402
from surefoot.models import Preprocessing, build, from_hugging_face, open_model, save  # noqa: E402
from surefoot.models.hugging_face import is_hugging_face  # noqa: E402
from surefoot.threat import Threat  # noqa: E402

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def vit(planes=3, classes=10, size=16):
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=size,
        patch_size=4,
        num_channels=planes,
        num_labels=classes,
    )
    return ViTForImageClassification(config).eval()


def processor(size=16, **more):
    more = {"image_mean": MEAN, "image_std": STD} | more
    return ViTImageProcessorPil(size={"height": size, "width": size}, **more)


@pytest.fixture
def folder(tmp_path):
    vit().save_pretrained(tmp_path / "vit")
    processor().save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def test_an_object_with_logits_is_a_model():
    record = bracket(
        Plain(vit(planes=1, size=8), steps=3),
        load("digits").first(5),
        guarantee=Local(),
        threat=Threat("linf", 0.1),
        limits=False,
    )
    assert record.header.attack.work.backwards > 0 or not record.rows["clean"].any()


def test_a_folder_brings_its_image_processor(folder):
    """Eight-bit images of the net's size: the same logits as transformers' own pipeline."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    own = processor()(images=[Image.fromarray(one) for one in pixels], return_tensors="pt")
    with torch.no_grad():
        wanted = vit()(own["pixel_values"]).logits
        found = open_model(folder)(images)
    assert torch.allclose(found, wanted, atol=1e-5)
    with torch.no_grad():
        same = from_hugging_face(vit(), processor())(images)
    assert torch.allclose(same, wanted, atol=1e-5)


@pytest.mark.parametrize("resample", [2, 3], ids=["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [8, 40], ids=["up", "down"])
def test_resizing_is_theirs_up_to_the_rounding_to_eight_bits(size, resample):
    """They round twice, and cut what bicubic pixels overshoot: not here, at medium contrast."""
    noise = np.random.default_rng(0).integers(80, 176, (3, 5, 5, 3), dtype=np.uint8)
    whole = [Image.fromarray(one).resize((size, size), 3) for one in noise]
    images = torch.from_numpy(np.stack([np.asarray(one) for one in whole]))
    images = images.permute(0, 3, 1, 2) / 255
    settings = processor(resample=resample)
    own = settings(images=whole, return_tensors="pt")["pixel_values"]
    found = from_hugging_face(vit(), settings)[:-1](images)
    assert (found - own).abs().max() < 1.51 / 255 / min(STD) + 1e-5


def test_the_shorter_side_and_crop_of_convnext():
    torch.manual_seed(0)
    net = ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[4, 8], depths=[1, 1], num_labels=3, num_stages=2)
    )
    settings = ConvNextImageProcessorPil(size={"shortest_edge": 28}, crop_pct=0.875)
    image = Image.fromarray(np.random.default_rng(0).integers(80, 176, (40, 60, 3), dtype=np.uint8))
    own = settings(images=image.resize((60, 40)), return_tensors="pt")["pixel_values"]
    images = torch.from_numpy(np.asarray(image)).permute(2, 0, 1)[None] / 255
    found = from_hugging_face(net, settings)[:-1](images)
    assert found.shape == own.shape == (1, 3, 28, 28)
    assert (found - own).abs().max() < 2.01 / 255 / min(settings.image_std) + 1e-5


def test_settings_that_are_given_replace_the_processors(folder):
    images = torch.rand(2, 3, 16, 16)
    asked = Preprocessing((0.1, 0.2, 0.3), (1.0, 1.0, 2.0))
    found = open_model(folder, preprocessing=asked)
    shifted = (images - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor(
        [1.0, 1.0, 2.0]
    ).view(3, 1, 1)
    with torch.no_grad():
        assert torch.allclose(found(images), vit()(shifted).logits, atol=1e-5)


def test_without_a_processor_images_go_in_as_they_are(folder):
    (folder / "preprocessor_config.json").unlink()
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(open_model(folder)(images), vit()(images).logits, atol=1e-6)


def test_folders_are_told_apart(folder, tmp_path):
    save(build("mlp", inputs=4), tmp_path / "run")
    assert is_hugging_face(folder)
    assert not is_hugging_face(tmp_path / "run")
    assert not is_hugging_face(tmp_path)


def test_classes_in_another_order_are_an_error(folder):
    config = json.loads((folder / "config.json").read_text())
    names = ["cat", "dog", *(f"n{index}" for index in range(8))]
    config["id2label"] = {str(index): name for index, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))
    images, labels = torch.rand(2, 3, 16, 16), torch.tensor([0, 1])
    check_classes(folder, Data(images, labels, classes=tuple(names), name="mine"))
    with pytest.raises(ValueError, match="class 'dog' is number 0 in mine, and number 1"):
        check_classes(folder, Data(images, labels, classes=("dog", "cat"), name="mine"))


def test_a_backbone_without_a_head_is_named(tmp_path):
    ViTModel(vit().config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"lacks weights.*classifier\.bias.*without a head"):
        open_model(tmp_path)


def test_pickled_weights_are_not_opened_and_the_remedy_is_named(folder):
    (folder / "model.safetensors").unlink()
    torch.save(vit().state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"cannot be opened.*pickled.*save_pretrained"):
        open_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_pad": True}, "does do_pad, which is not known"),
        ({"do_resize": True, "resample": 1}, "Pillow's filter 1"),
        ({"do_resize": True, "size": {"longest_edge": 9}}, "--resize"),
        ({"image_mean": None}, "cannot be read"),
    ],
)
def test_a_processor_that_does_something_else_is_named(change, message, folder):
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        open_model(folder)


def test_a_name_is_read_from_the_cache_offline(folder, tmp_path):
    """As the hub's client leaves it there; from the command line, to the record."""
    place = tmp_path / "hub" / "models--owner--tiny"
    shutil.copytree(folder, place / "snapshots" / ("0" * 40))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x=pixels, y=np.arange(6))
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    command = [sys.executable, "-m", "surefoot", "evaluate", "--model", "hf:owner/tiny"]
    command += ["--data", "mine.npz", "--steps", "2", "--folder", "out"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | offline, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Local on 6 images of mine" in done.stdout


def test_a_hub_out_of_reach_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"owner/absent cannot be opened.*give a folder"):
        open_model("hf:owner/absent")
