"""Times the TopK training steps of other libraries, as sequences of PyTorch operations, for bench/compare.ts.

    python3 bench/peers.py --d-in 768 --d-sae 32768 --k 32 --batch 4096

Each step is written after what the library does per batch of activations that are already on the device: SAELens 6
(dense, float32 unless autocast), dictionary_learning (dense, decoder gradient projected, clip, unit norm), and one
like sparsify's (bfloat16 encoder, sparse encoder backward, embedding_bag decode, fused optimiser). AuxK costs nothing
here, for no latent is dead. Prints one JSON object per line: name, milliseconds (median), rows per second, loss.
"""
import argparse
import json

import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--d-in", type=int, default=768)
parser.add_argument("--d-sae", type=int, default=32768)
parser.add_argument("--k", type=int, default=32)
parser.add_argument("--batch", type=int, default=4096)
parser.add_argument("--steps", type=int, default=20)
args = parser.parse_args()
d, n, k, batch = args.d_in, args.d_sae, args.k, args.batch
torch.manual_seed(0)
x = torch.randn(batch, d, device="cuda") / d**0.5


def unit_rows():
    w = torch.randn(n, d, device="cuda")
    return w / w.norm(dim=1, keepdim=True)


def sparse_codes(z):
    values, index = torch.topk(z, k, dim=-1, sorted=False)
    return torch.zeros_like(z).scatter_(-1, index, values.relu()), index


def saelens(autocast):
    dec = (unit_rows() * 0.1).requires_grad_()
    enc = dec.detach().T.contiguous().requires_grad_()
    b_enc = torch.zeros(n, device="cuda", requires_grad=True)
    b_dec = torch.zeros(d, device="cuda", requires_grad=True)
    params = [enc, dec, b_enc, b_dec]
    optimiser = torch.optim.Adam(params, lr=3e-4)
    silent = torch.zeros(n, device="cuda")
    frequency = torch.zeros(n, device="cuda")

    def step():
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            norms = dec.norm(dim=-1)
            codes, _ = sparse_codes(((x - b_dec) @ enc + b_enc) * norms)
            out = (codes / norms) @ dec + b_dec
            loss = (out - x).pow(2).sum(-1).mean()
            int((silent > 1000).sum())
        with torch.no_grad():
            fired = codes.bool().float()
            silent.add_(1)
            silent[fired.sum(0).bool()] = 0
            frequency.add_(fired.sum(0))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return step


def dictionary_learning(autocast):
    enc = unit_rows().requires_grad_()
    dec = enc.detach().T.contiguous().requires_grad_()
    b_enc = torch.zeros(n, device="cuda", requires_grad=True)
    b_dec = torch.zeros(d, device="cuda", requires_grad=True)
    params = [enc, dec, b_enc, b_dec]
    optimiser = torch.optim.Adam(params, lr=2e-4 / (n / 2**14) ** 0.5)
    since = torch.zeros(n, dtype=torch.long, device="cuda")

    def step():
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            codes, index = sparse_codes(F.relu(F.linear(x - b_dec, enc, b_enc)))
            out = F.linear(codes, dec) + b_dec
            since.add_(batch)
            since[index.flatten()] = 0
            int((since >= 10_000_000).sum())
            loss = (x - out).pow(2).sum(-1).mean()
        loss.backward()
        with torch.no_grad():
            unit = dec / (dec.norm(dim=0, keepdim=True) + 1e-6)
            dec.grad -= (dec.grad * unit).sum(0) * unit
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            dec.div_(dec.norm(dim=0, keepdim=True) + 1e-8)
        return loss

    return step


class SparseEncoder(torch.autograd.Function):
    """Dense forward; backward through the kept codes alone."""

    @staticmethod
    def forward(ctx, rows, weight, bias):
        values, index = torch.topk(F.relu(F.linear(rows, weight, bias)), k, dim=-1, sorted=False)
        ctx.save_for_backward(rows, weight, index)
        return values, index

    @staticmethod
    def backward(ctx, gradient, _):
        rows, weight, index = ctx.saved_tensors
        back = F.embedding_bag(index, weight, per_sample_weights=gradient.to(weight.dtype), mode="sum")
        parts = (gradient[:, :, None] * rows[:, None]).reshape(-1, d).to(weight.dtype)
        to_weight = torch.zeros_like(weight).index_add_(0, index.flatten(), parts)
        to_bias = torch.zeros(n, device="cuda").index_add_(0, index.flatten(), gradient.flatten().float())
        return back.to(rows.dtype), to_weight, to_bias


def sparsify_like():
    enc = unit_rows().requires_grad_()
    dec = enc.detach().clone().requires_grad_()
    b_enc = torch.zeros(n, device="cuda", requires_grad=True)
    b_dec = torch.zeros(d, device="cuda", requires_grad=True)
    optimiser = torch.optim.Adam([enc, dec, b_enc, b_dec], lr=1e-4, fused=True)

    def step():
        with torch.no_grad():
            dec.div_(dec.norm(dim=1, keepdim=True) + 1e-8)
        with torch.autocast("cuda", torch.bfloat16):
            values, index = SparseEncoder.apply((x - b_dec).bfloat16(), enc.bfloat16(), b_enc.bfloat16())
        out = F.embedding_bag(index, dec, per_sample_weights=values.float(), mode="sum") + b_dec
        loss = (x - out).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            dec.grad -= (dec.grad * dec).sum(1, keepdim=True) * dec
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return step


def measure(name, make):
    try:
        step = make()
        for _ in range(10):
            loss = step()
        times = []
        for _ in range(args.steps):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            loss = step()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        ms = sorted(times)[len(times) // 2]
        result = {"name": name, "ms": ms, "rows_per_second": batch / ms * 1000, "loss": loss.item()}
    except torch.OutOfMemoryError:
        result = {"name": name, "ms": None, "rows_per_second": None, "loss": None}
    print(json.dumps(result), flush=True)
    torch.cuda.empty_cache()


torch.set_float32_matmul_precision("highest")
measure("SAELens f32", lambda: saelens(False))
measure("SAELens bf16 autocast", lambda: saelens(True))
measure("dictionary_learning TopK f32", lambda: dictionary_learning(False))
measure("dictionary_learning TopK bf16", lambda: dictionary_learning(True))
torch.set_float32_matmul_precision("high")
measure("sparsify-like bf16", sparsify_like)
