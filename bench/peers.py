"""Times the TopK training steps of other libraries, as sequences of PyTorch operations, for bench/compare.ts.

    python3 bench/peers.py --d-in 768 --d-sae 32768 --k 32 --batch 4096

Each step is written after what the library does per batch of activations that are already on the device: SAELens 6
(dense, float32 unless autocast), dictionary_learning (dense, decoder gradient projected, clip, unit norm; TopK and
BatchTopK), sparsify (bfloat16 encoder, sparse encoder backward, sparse decoder, fused optimiser; its own kernels where it
is installed, else ones of the same kind), and OpenAI's (float16 with a scaler, all sparse but the encoder, AuxK computed
at every step). Where there is no Triton, those that need it are left out.

All begin with the same weights and see the same rows as ours (common.py). No latent is dead. Prints one JSON object per
line: name, select, precision, milliseconds (median), rows per second, and the first step's loss (mean over rows of the summed
squared error).
"""
import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F
from common import SEED, hashed_rows, unit_rows

try:
    import triton_bag
except ImportError:
    triton_bag = None
    print("Triton is not here: sparsify's decoder and OpenAI's step are left out", file=sys.stderr)

parser = argparse.ArgumentParser()
parser.add_argument("--d-in", type=int, default=768)
parser.add_argument("--d-sae", type=int, default=32768)
parser.add_argument("--k", type=int, default=32)
parser.add_argument("--batch", type=int, default=4096)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--warm-up", type=int, default=20)
args = parser.parse_args()
d, n, k, batch = args.d_in, args.d_sae, args.k, args.batch
device = "cuda" if torch.cuda.is_available() else "cpu"
x = hashed_rows(batch, d, SEED["rows"], device)
variance = (x - x.mean(0)).pow(2).sum()


def biases():
    return tuple(torch.zeros(size, device=device, requires_grad=True) for size in (n, d))


def bf16(enabled=True):
    return torch.autocast(device, torch.bfloat16, enabled=enabled)


def topk_codes(z):
    values, index = torch.topk(z, k, dim=-1, sorted=False)
    return torch.zeros_like(z).scatter_(-1, index, values.relu()), index


def saelens(autocast):
    dec = unit_rows(n, d, device).requires_grad_()
    enc = dec.detach().T.contiguous().requires_grad_()
    b_enc, b_dec = biases()
    params = [enc, dec, b_enc, b_dec]
    optimiser = torch.optim.Adam(params, lr=3e-4)
    silent = torch.zeros(n, device=device)
    frequency = torch.zeros(n, device=device)

    def step():
        with bf16(autocast):
            norms = dec.norm(dim=-1)
            codes, _ = topk_codes(((x - b_dec) @ enc + b_enc) * norms)
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


def batch_codes(z):
    values, index = z.flatten().topk(k * batch, sorted=False)
    return torch.zeros(batch * n, dtype=z.dtype, device=device).scatter_(0, index, values).view_as(z), index % n


def dictionary_learning(autocast, batch_level=False):
    enc = unit_rows(n, d, device).requires_grad_()
    dec = enc.detach().T.contiguous().requires_grad_()
    b_enc, b_dec = biases()
    params = [enc, dec, b_enc, b_dec]
    optimiser = torch.optim.Adam(params, lr=2e-4 / (n / 2**14) ** 0.5)
    since = torch.zeros(n, dtype=torch.long, device=device)
    threshold = torch.zeros((), device=device)

    def step():
        with bf16(autocast):
            z = F.relu(F.linear(x - b_dec, enc, b_enc))
            codes, index = (batch_codes if batch_level else topk_codes)(z)
            out = F.linear(codes, dec) + b_dec
            if batch_level:
                with torch.no_grad():
                    threshold.lerp_(codes[codes > 0].min().float(), 0.001)
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


def eager_encode(rows, weight, bias):
    return torch.topk(F.relu(F.linear(rows, weight, bias)), k, dim=-1, sorted=False)


def eager_encoder_gradients(rows, weight, index, gradient):
    back = F.embedding_bag(index, weight, per_sample_weights=gradient.to(weight.dtype), mode="sum")
    parts = (gradient[:, :, None] * rows[:, None]).reshape(-1, d).to(weight.dtype)
    to_weight = torch.zeros_like(weight).index_add_(0, index.flatten(), parts)
    to_bias = torch.zeros(n, device=device).index_add_(0, index.flatten(), gradient.flatten().float())
    return back.to(rows.dtype), to_weight, to_bias


def sparse_encoder(compiled):
    """Dense forward; backward through the kept codes alone. sparsify compiles both."""
    made = torch.compile if compiled and device == "cuda" else lambda function: function
    encode = made(eager_encode)
    gradients = made(eager_encoder_gradients)

    class SparseEncoder(torch.autograd.Function):
        @staticmethod
        def forward(ctx, rows, weight, bias):
            values, index = encode(rows, weight, bias)
            ctx.save_for_backward(rows, weight, index)
            ctx.mark_non_differentiable(index)
            return values, index

        @staticmethod
        def backward(ctx, gradient, _):
            rows, weight, index = ctx.saved_tensors
            return gradients(rows, weight, index, gradient)

    return SparseEncoder.apply


def eager_bag(index, weights, table):
    return F.embedding_bag(index, table, per_sample_weights=weights, mode="sum")


def sparsify(encode, decode):
    enc = unit_rows(n, d, device).requires_grad_()
    dec = enc.detach().clone().requires_grad_()
    b_enc, b_dec = biases()
    optimiser = torch.optim.Adam([enc, dec, b_enc, b_dec], lr=1e-4, fused=True)

    def step():
        with torch.no_grad():
            dec.div_(dec.norm(dim=1, keepdim=True) + 1e-8)
        with bf16():
            values, index = encode((x - b_dec).bfloat16(), enc.bfloat16(), b_enc.bfloat16())
        out = decode(index, values.float(), dec) + b_dec
        loss = (x - out).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
        loss.item()
        loss.backward()
        with torch.no_grad():
            dec.grad -= (dec.grad * dec).sum(1, keepdim=True) * dec
        optimiser.step()
        optimiser.zero_grad()
        return loss * variance / batch

    return step


def sparsify_kernels():
    """The library's own encoder and decoder, where they are; else ones of the same kind."""
    try:
        from sparsify.fused_encoder import fused_encoder
        from sparsify.xformers import xformers_embedding_bag
    except ImportError:
        print("sparsify is not here: kernels of the same kind stand in for its own", file=sys.stderr)
        return "sparsify-like bf16, Triton decoder", sparse_encoder(True), triton_bag.Bag.apply

    def encode(rows, weight, bias):
        return fused_encoder(rows, weight, bias, k, "topk")[:2]

    def decode(index, weights, table):
        return xformers_embedding_bag(index, table, weights)

    return "sparsify bf16, its own kernels", encode, decode


K_AUX = 256


class OpenAiEncoder(torch.autograd.Function):
    """Dense forward in float16, the k largest and the largest dead ones; backward through both alone."""

    @staticmethod
    def forward(ctx, rows, b_pre, weight, bias, dead):
        centred = (rows - b_pre).half()
        z = F.linear(centred, weight.half(), bias.half())
        values, index = torch.topk(z, k, dim=-1)
        aux_values, aux_index = torch.topk(z.mul_(dead), min(K_AUX, n), dim=-1)
        ctx.save_for_backward(centred, weight, index, aux_index)
        ctx.mark_non_differentiable(index, aux_index)
        return values.float(), index, aux_values.float(), aux_index

    @staticmethod
    def backward(ctx, gradient, _, aux_gradient, __):
        centred, weight, index, aux_index = ctx.saved_tensors
        all_index = torch.cat([index, aux_index], 1)
        all_gradients = torch.cat([gradient, aux_gradient], 1).contiguous()
        to_weight = triton_bag.by_source(all_index, all_gradients, centred, n)
        to_bias = torch.zeros(n, device=device).scatter_add_(0, all_index.flatten(), all_gradients.flatten())
        # A sum over rows of what flows back is one product of the biases' gradient.
        return None, -(to_bias @ weight), to_weight, to_bias, None


def openai():
    enc = unit_rows(n, d, device).requires_grad_()
    dec = enc.detach().clone().requires_grad_()
    b_enc, b_pre = biases()
    fused = torch.optim.Adam([enc, dec, b_enc, b_pre], lr=1e-4, eps=6.25e-10, fused=True)
    scaler = torch.amp.GradScaler(device)
    silent = torch.zeros(n, device=device)

    def step():
        dead = (silent > 10_000_000 // batch).half()
        values, index, aux_values, aux_index = OpenAiEncoder.apply(x, b_pre, enc, b_enc, dead)
        with torch.no_grad():
            fired = torch.zeros(n, device=device).scatter_add_(0, index.flatten(), (values > 1e-3).float().flatten())
            silent.mul_(1 - fired.clamp(max=1)).add_(1)
        out = triton_bag.Bag.apply(index, values.relu(), dec) + b_pre
        error = (x - out + b_pre).detach()
        aux = triton_bag.Bag.apply(aux_index, aux_values.relu(), dec) + b_pre
        spread = (error - error.mean(0)).pow(2).mean()
        main = (out - x).pow(2).sum() / variance
        loss = main + ((aux - error).pow(2).mean() / spread).nan_to_num() / 32
        scaler.scale(loss).backward()
        with torch.no_grad():
            dec.div_(dec.norm(dim=1, keepdim=True))
            dec.grad -= (dec.grad * dec).sum(1, keepdim=True) * dec
        scaler.unscale_(fused)
        scaler.step(fused)
        scaler.update()
        fused.zero_grad()
        return main * variance / batch

    return step


def clock(step):
    """Milliseconds of one step."""
    if device == "cpu":
        begin = time.perf_counter()
        step()
        return (time.perf_counter() - begin) * 1000
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def measure(name, precision, make, select="topk"):
    result = {"name": name, "select": select, "precision": precision}
    try:
        step = make()
        first_loss = step().item()
        for _ in range(args.warm_up):
            step()
        ms = sorted(clock(step) for _ in range(args.steps))[args.steps // 2]
        result |= {"ms": ms, "rows_per_second": batch / ms * 1000, "first_loss": first_loss}
    except torch.OutOfMemoryError:
        result["why"] = "out of memory"
    except Exception as error:
        # One library's failure, a limit of PyTorch's say, is no reason to time no other.
        result["why"] = f"failed: {str(error).splitlines()[0][:100] if str(error) else type(error).__name__}"
    print(json.dumps(result), flush=True)
    del make
    if device == "cuda":
        torch.cuda.empty_cache()


torch.set_float32_matmul_precision("highest")
measure("SAELens f32", "f32", lambda: saelens(False))
measure("SAELens bf16 autocast", "half", lambda: saelens(True))
for level in (False, True):
    kind = "BatchTopK" if level else "TopK"
    for half in (False, True):
        measure(
            f"dictionary_learning {kind} {'bf16' if half else 'f32'}",
            "half" if half else "f32",
            lambda half=half, level=level: dictionary_learning(half, level),
            kind.lower(),
        )
torch.set_float32_matmul_precision("high")
measure("sparsify-like bf16, embedding_bag", "half", lambda: sparsify(sparse_encoder(False), eager_bag))
if triton_bag:
    named, own_encode, own_decode = sparsify_kernels()
    measure(named, "half", lambda: sparsify(own_encode, own_decode))
    measure("OpenAI f16", "half", openai)
