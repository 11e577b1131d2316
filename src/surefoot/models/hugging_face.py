"""Image classifiers of Hugging Face transformers, with what their image processor does.

Only safetensors weights and the code of transformers itself are used: nothing of a repository is
executed. Mean, deviation and size of the image processor become layers, so radii stay in units of
the images, in [0, 1].
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from surefoot.files import read_json
from surefoot.models.border import logits_in
from surefoot.models.io import names_in_short
from surefoot.models.normalize import Normalize
from surefoot.models.preprocessing import Preprocessing
from surefoot.models.resize import CenterCrop, Mode, Resize
from surefoot.types import Images, Outcomes

PREFIX = "hf:"
MODES: dict[int, Mode] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of interpolations."""
KNOWN = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")
"""What an image processor may do here; images have the planes of the net already."""
CROP_BELOW = 384
"""Shorter sides below this are cropped out of a larger image where `crop_pct` says so."""


class LogitsOf(nn.Module):
    """A net whose output holds logits, as one that returns them.

    Args:
        net: returns an object, dict or tuple with logits.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Images) -> Outcomes:
        """Return the logits."""
        return logits_in(self.net(images))


def from_hugging_face(
    source: str | Path | nn.Module,
    processor: Any = None,
    preprocessing: Preprocessing | None = None,
) -> nn.Module:
    """Return an image classifier of transformers as a model, in eval mode.

    Args:
        source: a folder of `save_pretrained`; owner/name on the hub, with or without "hf:"
            (fetched, or read from the cache); or a net that is open already.
        processor: image processor, or its settings as a dict; None reads those beside the net.
        preprocessing: each part that is given replaces the processor's.

    Raises:
        ValueError: transformers is not installed, the net cannot be read, it lacks weights, or its
            image processor does what is not known here.
    """
    asked = preprocessing or Preprocessing()
    if isinstance(source, nn.Module):
        net: Any = source
    else:
        source = str(source).removeprefix(PREFIX)
        net, found = _read(source)
        processor = found if processor is None else processor
    settings = processor.to_dict() if hasattr(processor, "to_dict") else dict(processor or {})
    planes = int(getattr(getattr(net, "config", None), "num_channels", 3))
    name = str(source) if not isinstance(source, nn.Module) else type(source).__name__
    try:
        layers = [*_sized(settings, asked), *_normalized(settings, asked, planes)]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{name}: its image processor cannot be read ({type(error).__name__}: {error}). Give"
            " --mean, --std and --resize, or correct preprocessor_config.json"
        ) from error
    return nn.Sequential(*layers, LogitsOf(net)).eval()


def is_hugging_face(folder: Path) -> bool:
    """Return whether a folder is one of transformers' `save_pretrained`, not a run folder."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return False
    if not isinstance(config, dict) or "model" in config:
        return False
    return "model_type" in config or "transformers_version" in config


def _read(source: str) -> tuple[nn.Module, dict[str, Any]]:
    """Read a net and the settings of its image processor."""
    try:
        from transformers import AutoModelForImageClassification
        from transformers.image_processing_base import ImageProcessingMixin
        from transformers.utils import logging
    except ImportError as error:
        raise ValueError(
            f"{source} is a Hugging Face model, which needs transformers: pip install"
            f" 'surefoot[hf]' ({error})"
        ) from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    net, info = _told(
        source,
        lambda: AutoModelForImageClassification.from_pretrained(
            source,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
        ),
    )
    _check_weights(source, info)
    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except OSError:
        settings = {}  # none was saved: the images go in as they are
    return net, settings


def _told(source: str, read: Callable[[], Any]) -> Any:
    """Read, and turn what transformers raises into what to do."""
    try:
        return read()
    except Exception as error:  # transformers raises whatever its parts raise
        text = " ".join(str(error).split())
        remedy = "Expected a folder of save_pretrained, or hf:owner/name of an image classifier"
        if "safetensors" in text:
            remedy = (
                "Its weights are pickled, and unpickling executes code from the file. Where you"
                " trust it, write them once as safetensors: transformers."
                f"AutoModelForImageClassification.from_pretrained({source!r})"
                ".save_pretrained('FOLDER')"
            )
        elif "trust_remote_code" in text:
            remedy = (
                "It brings its own code, which is not executed. Where you trust it, open it in a"
                " factory of yours: --model file.py:factory"
            )
        elif os.environ.get("HF_HUB_OFFLINE") or "connect" in text:
            remedy = "The hub cannot be reached: give a folder of save_pretrained in its place"
        raise ValueError(
            f"{source} cannot be opened as an image classifier of transformers"
            f" ({type(error).__name__}: {text[:300]}). {remedy}"
        ) from error


def _check_weights(source: str, info: dict[str, Any]) -> None:
    """Raise where transformers drew weights at random because the file lacks them."""
    missing = sorted(info.get("missing_keys") or ())
    other = sorted(str(one) for one in info.get("mismatched_keys") or ())
    if missing or other:
        raise ValueError(
            f"{source} lacks weights of an image classifier: {names_in_short(missing + other)}."
            " transformers would draw them at random. It may be a backbone without a head:"
            " fine-tune and save it as AutoModelForImageClassification, or take another checkpoint"
        )


def _sized(settings: dict[str, Any], asked: Preprocessing) -> list[nn.Module]:
    """Return the layers that bring images to the size of the net."""
    if asked.size is not None:
        return [Resize(asked.size)]
    if unknown := [
        key for key, value in settings.items() if key[:3] == "do_" and value and key not in KNOWN
    ]:
        raise ValueError(
            f"the image processor does {', '.join(unknown)}, which is not known here. Wrap the net"
            " in a factory that does it: --model file.py:factory"
        )
    found: list[nn.Module] = []
    if settings.get("do_resize") and settings.get("size"):
        mode = MODES.get(int(settings.get("resample", 2)))
        if mode is None:
            raise ValueError(
                f"the image processor resizes by Pillow's filter {settings['resample']}; known are"
                " nearest, bilinear and bicubic. Give --resize, which is bilinear"
            )
        found += _resized(settings, mode)
    if settings.get("do_center_crop") and settings.get("crop_size"):
        found.append(CenterCrop(_both(settings["crop_size"])))
    return found


def _resized(settings: dict[str, Any], mode: Mode) -> list[nn.Module]:
    size = settings["size"]
    if not isinstance(size, Mapping) or "height" in size:
        return [Resize(_both(size), mode)]
    if "shortest_edge" not in size or size.get("longest_edge"):
        raise ValueError(
            f"the image processor resizes to {dict(size)}; known are a height and a width, or"
            " shortest_edge. Give --resize"
        )
    side, part = int(size["shortest_edge"]), settings.get("crop_pct")
    if part is None:
        return [Resize(side, mode)]
    if side >= CROP_BELOW:
        return [Resize((side, side), mode)]
    return [Resize(int(side / part), mode), CenterCrop((side, side))]


def _normalized(settings: dict[str, Any], asked: Preprocessing, planes: int) -> list[nn.Module]:
    """Return the layer that maps images in [0, 1] to what the net was trained on."""
    if asked.mean:
        return [Normalize(asked.mean, asked.std)]
    scale, offset = 1.0, 0.0
    if settings and not settings.get("do_rescale", True):
        scale = 255.0
    elif "rescale_factor" in settings:
        scale = 255.0 * settings["rescale_factor"]
        offset = -1.0 if settings.get("rescale_offset") else 0.0
    mean, std = [0.0] * planes, [1.0] * planes
    if settings.get("do_normalize"):
        mean = _each_plane(settings["image_mean"], planes)
        std = _each_plane(settings["image_std"], planes)
    mean = [(one - offset) / scale for one in mean]
    std = [one / scale for one in std]
    if not any(mean) and all(abs(one - 1) < 1e-9 for one in std):
        return []
    return [Normalize(mean, std)]


def _each_plane(values: float | Sequence[float], planes: int) -> list[float]:
    return [float(values)] * planes if isinstance(values, int | float) else list(values)


def _both(size: Any) -> tuple[int, int]:
    """Return (height, width) of a size in one of transformers' forms."""
    if isinstance(size, Mapping):
        if "height" not in size:
            return int(size["shortest_edge"]), int(size["shortest_edge"])
        return int(size["height"]), int(size["width"])
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)
