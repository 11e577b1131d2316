"""One random stream for each example, so that results do not depend on batch size or order.

A stream is keyed by (seed, purpose, content of the image), never by a position: shards, resumed
runs and other batch sizes draw the same numbers. Two equal images share a stream.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def keys(images: Tensor) -> list[int]:
    """Give each image a 64-bit key: the BLAKE2 hash of its float32 pixels."""
    pixels = images.detach().to("cpu", torch.float32).contiguous().numpy()
    return [
        int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little")
        for image in pixels
    ]


def generator(*key: int) -> torch.Generator:
    """Give a CPU generator for the key (non-negative integers); equal keys give equal streams."""
    state = np.random.SeedSequence(key).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))


def normal(shape: Sequence[int], *key: int) -> Tensor:
    """Draw standard normal float32 numbers from the stream of the key (on the CPU)."""
    return torch.randn(tuple(shape), generator=generator(*key))
