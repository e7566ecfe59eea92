"""The rows and weights that bench/common.ts makes, made again on the device: the same numbers from the same formulas."""
import torch

SEED = {"weights": 1, "rows": 2}
MASK = 0xFFFFFFFF
# Numbers that are made at a time, for they take eight bytes each on the way.
BLOCK = 1 << 24


def scramble(x):
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & MASK
    x = ((x ^ (x >> 15)) * 0x735A2D97) & MASK
    return x ^ (x >> 15)


def hashed_rows(rows, width, seed, device):
    """[rows, width], of a norm near 1."""
    data = torch.empty(rows * width, device=device)
    scale = torch.tensor((12 / width) ** 0.5, dtype=torch.float32, device=device)
    for first in range(0, len(data), BLOCK):
        i = torch.arange(first, min(first + BLOCK, len(data)), dtype=torch.int64, device=device)
        bits = scramble((scramble(i) + (seed * 0x9E3779B9 & MASK)) & MASK) >> 8
        data[first : first + BLOCK] = (bits.float() / 2**24 - 0.5) * scale
    return data.view(rows, width)


def unit_rows(rows, width, device):
    """The decoder that every step begins with, and its encoder."""
    w = hashed_rows(rows, width, SEED["weights"], device)
    return w / w.norm(dim=1, keepdim=True)
