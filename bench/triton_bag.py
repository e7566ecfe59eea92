"""Sums of few rows of a table, with Triton: sum_j weights[r, j] * table[index[r, j]], and its gradients.

What sparsify and OpenAI's code have kernels of their own for, written anew for bench/peers.py. One program makes a whole
row of the result; gradients of the table go by lists of entries for each of its rows.
"""
import torch
import triton
import triton.language as tl


@triton.jit
def _bag(index, weights, table, out, d, k, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
    inside = column < d
    total = tl.zeros([block], dtype=tl.float32)
    for j in range(k):
        entry = row * k + j
        source = tl.load(index + entry)
        values = tl.load(table + source * d + column, mask=inside, other=0.0)
        total += tl.load(weights + entry) * values.to(tl.float32)
    tl.store(out + row * d + column, total, mask=inside)


@triton.jit
def _dots(index, rows, table, out, d, k, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
    inside = column < d
    own = tl.load(rows + row * d + column, mask=inside, other=0.0).to(tl.float32)
    for j in range(k):
        entry = row * k + j
        source = tl.load(index + entry)
        values = tl.load(table + source * d + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + entry, tl.sum(own * values))


@triton.jit
def _by_source(order, ends, weights, rows, out, d, k, block: tl.constexpr):
    source = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
    inside = column < d
    total = tl.zeros([block], dtype=tl.float32)
    begin = tl.load(ends + source - 1, mask=source > 0, other=0)
    for place in range(begin, tl.load(ends + source)):
        entry = tl.load(order + place)
        values = tl.load(rows + (entry // k) * d + column, mask=inside, other=0.0)
        total += tl.load(weights + entry) * values.to(tl.float32)
    tl.store(out + source * d + column, total, mask=inside)


def _shape(d):
    block = triton.next_power_of_2(d)
    return {"block": block, "num_warps": max(1, min(8, block // 512))}


def bag(index, weights, table):
    """[rows, d] from index and float32 weights [rows, k] and table [n, d]."""
    rows, k = index.shape
    out = torch.empty(rows, table.shape[1], device=table.device)
    _bag[(rows,)](index, weights, table, out, table.shape[1], k, **_shape(table.shape[1]))
    return out


def dots(index, rows, table):
    """[rows, k]: each row times the rows of the table that it names."""
    count, k = index.shape
    out = torch.empty(count, k, device=table.device)
    _dots[(count,)](index, rows, table, out, table.shape[1], k, **_shape(table.shape[1]))
    return out


def by_source(index, weights, rows, n):
    """[n, d]: for each row of a table, the weighted sum of the rows that name it."""
    flat = index.flatten()
    order = torch.argsort(flat)
    ends = torch.bincount(flat, minlength=n).cumsum(0)
    d = rows.shape[1]
    out = torch.empty(n, d, device=rows.device)
    _by_source[(n,)](order, ends, weights, rows, out, d, index.shape[1], **_shape(d))
    return out


class Bag(torch.autograd.Function):
    """`bag`, with gradients for weights and table."""

    @staticmethod
    def forward(ctx, index, weights, table):
        ctx.save_for_backward(index, weights, table)
        return bag(index, weights, table)

    @staticmethod
    def backward(ctx, gradient):
        index, weights, table = ctx.saved_tensors
        gradient = gradient.contiguous()
        return None, dots(index, gradient, table), by_source(index, weights, gradient, table.shape[0])
