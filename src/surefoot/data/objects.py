"""Read data sets that are Python objects: torch `Dataset` and `DataLoader`, Hugging Face tables."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from surefoot.data import folder, hub, layout
from surefoot.data.dataset import Data
from surefoot.data.folder import Size, stack
from surefoot.types import ValueRange

Pair = tuple[Any, Any]


def load(
    source: Any,
    size: Size | None = None,
    value_range: ValueRange = (0.0, 1.0),
    name: str = "",
) -> Data:
    """Read every example of a torch `Dataset` or `DataLoader`, or of a Hugging Face data set.

    Items are (image, label) pairs, dicts with them, or images alone; images are tensors, arrays or
    PIL images. A `DataLoader` is run once, in its own order. Class names are taken from the
    attribute `classes` of the data set (torchvision's) or from the features of the table.

    Args:
        source: the object.
        size: height and width that PIL images are resized to.
        value_range: of the images.
        name: how records call the data; "": the class of the object.

    Raises:
        ValueError: no such object, or examples that do not fit together.
    """
    if isinstance(source, dict):
        raise ValueError(
            f"expected one data set; found a dict of {sorted(map(str, source))}. Take one split:"
            f" load(source[{next(iter(source), 'train')!r}])."
        )
    if hub.is_table(source):
        return hub.read(source, name or "table", size=size, value_range=value_range)
    if not isinstance(source, DataLoader | Dataset):
        raise ValueError(
            f"expected the name or path of a data set, a torch Dataset or DataLoader, or a Hugging"
            f" Face data set; found {type(source).__name__}. Arrays and tensors: Data(images,"
            " labels)."
        )
    inner = source.dataset if isinstance(source, DataLoader) else source
    name = name or type(inner).__name__
    pairs = list(_batches(source) if isinstance(source, DataLoader) else _items(source))
    if not pairs:
        raise ValueError(f"{name} must hold at least one example; found none.")
    images, labels = zip(*pairs, strict=True)
    if hasattr(images[0], "getbands"):  # PIL
        numbered = ((f"{name} item {number}", image) for number, image in enumerate(images))
        x, size_text = stack(numbered, size)
    else:
        folder.check_no_size(name, size)
        x, size_text = _joined(name, images), ""
    classes = getattr(inner, "classes", None)
    try:
        return Data(
            x,
            _labels(labels),
            classes=None if classes is None else tuple(map(str, classes)),
            value_range=value_range,
            name=name + size_text,
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _items(source: Any) -> Iterator[Pair]:
    items: Iterable[Any] = source
    if hasattr(source, "__len__"):  # a map-style set need not end its iteration
        items = (source[number] for number in range(len(source)))
    return (_pair(item) for item in items)


def _batches(loader: Any) -> Iterator[Pair]:
    """Take batches apart."""
    for batch in loader:
        images, labels = _pair(batch)
        yield from zip(images, [None] * len(images) if labels is None else labels, strict=True)


def _pair(item: Any) -> Pair:
    """Return image and label of an item, or of a batch."""
    if isinstance(item, dict):
        image = next((item[key] for key in hub.IMAGES if key in item), None)
        label = next((item[key] for key in hub.LABELS if key in item), None)
        if image is None:
            raise ValueError(
                f"an item must hold its image as one of {', '.join(hub.IMAGES)}; found"
                f" {sorted(map(str, item))}. Rename it, or return (image, label)."
            )
        return image, label
    if isinstance(item, tuple | list):
        if len(item) not in (1, 2):
            raise ValueError(
                f"an item must be (image, label); found {len(item)} values. Return the first two:"
                " wrap the data set in one whose __getitem__ does."
            )
        return (item[0], item[1] if len(item) == 2 else None)
    return item, None


def _joined(name: str, images: tuple[Any, ...]) -> Tensor:
    arrays = [torch.as_tensor(np.asarray(image)) for image in images]
    odd = next((place for place, one in enumerate(arrays) if one.shape != arrays[0].shape), None)
    if odd is not None:
        raise ValueError(
            f"{name}: all examples must have one shape; expected {tuple(arrays[0].shape)} as the"
            f" first, found {tuple(arrays[odd].shape)} at {odd}. Resize them in the transform of"
            " the data set, or let it return PIL images and give input_size=(height, width)."
        )
    joined = torch.stack(arrays)
    if isinstance(images[0], Tensor):
        return joined.float() if joined.dtype == torch.float64 else joined
    return layout.images_tensor(joined.numpy())


def _labels(labels: tuple[Any, ...]) -> Tensor | None:
    if any(label is None for label in labels):
        return None
    return layout.labels_tensor(np.asarray([np.asarray(label) for label in labels]))
