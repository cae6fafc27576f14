"""Hashed parameter sharing: which entry of a small store stands for each weight of a linear layer. numpy alone.

A row of the weight matrix [out, in] is cut into chunks of ``chunk`` neighbours (the last of a row may be shorter), numbered
k = 0, 1, … row after row; the store is cut into n = size / chunk slots of the same length. In round e = k // n (the
arithmetic is on uint32, x mod 2^32)

    slot(k) = (a_e * (k mod n) + b_e) mod n        a_e the first number coprime with n from 1 + mix(seed, 2 e + 1) mod n on,
                                                   b_e = mix(seed, 2 e + 2) mod n
    sign(k) = -1 where the highest bit of mix(seed, 2^31 + k) is set, else 1
    mix(seed, i) = fmix(seed + 0x9E3779B9 * (i + 1)),  fmix the finalizer of MurmurHash3 (Appleby, public domain)
    W[row, chunk p of it] = sign(k) * store[slot(k) * chunk …],  k = row * ceil(in / chunk) + p

So every slot is used equally often, within one, and a store as large as the layer is a permutation of its weights, as STABLE-RPS
asks for ("stable" randomized parameter sharing); that chunks rather than single weights are shared is what makes it cheap on
a device, as in ROBE (Desai et al. 2021, arXiv 2108.02191): an addition and a hash per chunk. The idea is that of HashedNets
(Chen et al. 2015, arXiv 1504.04788), where single weights are hashed, some entries more often than others.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

STRIDE = 0x9E3779B9
"""2^32 / the golden ratio, rounded to an odd number: neighbouring counters come far apart."""
SIGNS = 1 << 31
"""Counters from here on are the signs'."""


def mix(seed: int, counters: np.ndarray) -> np.ndarray:
    """uint32 hashes of (seed, counter)."""
    with np.errstate(over="ignore"):
        h = np.uint32(seed & 0xFFFFFFFF) + np.uint32(STRIDE) * (counters.astype(np.uint32) + np.uint32(1))
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h *= np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    return np.asarray(h)


def rounds(chunks: int, slots: int, seed: int) -> np.ndarray:
    """int64 [rounds, 2]: (a_e, b_e) for as many rounds through the slots as the chunks need."""
    table = []
    for e in range(-(-chunks // slots)):
        step, start = (int(h) % slots for h in mix(seed, np.array([2 * e + 1, 2 * e + 2])))
        step += 1
        while math.gcd(step, slots) != 1:
            step += 1
        table.append((step % slots, start))
    return np.array(table, np.int64).reshape(-1, 2)


@lru_cache(maxsize=64)
def places(out_size: int, in_size: int, size: int, chunk: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [out, in]: the entry of the store for every weight, float32 [out, in]: its sign); read-only."""
    across, slots = -(-in_size // chunk), size // chunk
    k = np.arange(out_size * across)
    table = rounds(len(k), slots, seed)[k // slots]
    slot = (table[:, 0] * (k % slots) + table[:, 1]) % slots
    entry = (slot[:, None] * chunk + np.arange(chunk)).reshape(out_size, -1)[:, :in_size]
    sign = np.where(mix(seed, np.uint32(SIGNS) + k.astype(np.uint32)) >> np.uint32(31), -1.0, 1.0).astype(np.float32)
    signs = np.repeat(sign, chunk).reshape(out_size, -1)[:, :in_size]
    for array in (entry, signs):
        array.flags.writeable = False
    return entry, signs
