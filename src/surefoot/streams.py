"""One random stream for each example, so that results do not depend on batch size or order.

A stream is keyed by (seed, purpose, content of the image), never by a position: shards, resumed
runs and other batch sizes draw the same numbers. Two equal images share a stream.
"""

import hashlib
import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def system_seed() -> int:
    """Return a seed from the operating system, which nobody can have searched images for.

    Noise is keyed by the seed and the content of an image. Whoever chooses images and knows the
    seed finds, after thousands of tries, one whose noise happens to support a false radius.
    """
    return secrets.randbits(63)


def keys(images: Tensor) -> list[int]:
    """Return each image a 64-bit key: the BLAKE2 hash of its float32 pixels."""
    pixels = images.detach().to("cpu", torch.float32).contiguous().numpy()
    return [
        int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little")
        for image in pixels
    ]


def normal(shape: Sequence[int], *key: int) -> Tensor:
    """Draw standard normal float32 numbers from the stream of the key (on the CPU).

    Philox with a 128-bit key: streams of different keys do not meet. Noise that a statistical
    statement rests on comes from here.
    """
    stream = np.random.Generator(np.random.Philox(_entropy(key)))
    return torch.from_numpy(stream.standard_normal(tuple(shape), dtype=np.float32))


def bits(shape: Sequence[int], *key: int) -> np.ndarray:
    """Draw 64 random bits a place (uint64) from the stream of the key, as `normal` does."""
    stream = np.random.Philox(_entropy(key))
    return stream.random_raw(math.prod(shape)).reshape(tuple(shape))


def generator(*key: int) -> torch.Generator:
    """Return a torch generator for the key, for starts, orders and perturbations.

    torch seeds its CPU generator from 32 bits: two keys in four billion share a stream, which costs
    an attack nothing. Hypotheses draw from `normal`.
    """
    state = _entropy(key).generate_state(1, np.uint32)
    return torch.Generator().manual_seed(int(state[0]))


@contextmanager
def own_randomness(*key: int) -> Iterator[None]:
    """Seed torch's global streams by the key for a while: a random model is reproducible."""
    seed = generator(*key).initial_seed()
    with torch.random.fork_rng():
        # torch.manual_seed would note a stack trace for devices that are not there, each time.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
        yield


def _entropy(key: Sequence[int]) -> np.random.SeedSequence:
    if min(key) < 0:
        raise ValueError(f"seeds must be at least 0; found {min(key)}")
    # Fixed width and a length in front: (1, 2) and (1, 2, 0) are two keys.
    words = [word for part in key for word in (part & 0xFFFFFFFF, part >> 32)]
    return np.random.SeedSequence([len(key), *words])
