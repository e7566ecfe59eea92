"""Times transformers with a forward hook, for bench/harvest.ts.

    python3 bench/harvest.py --model FOLDER --layer 6 --context 1024 --batch 8192 --tokens 1048576

The hook keeps the output of one layer and stops the pass there, so that later layers cost nothing; rows are brought to
the host, each batch's while the next one is computed. Prints one JSON object per line: name, tokens per second, and the
root mean square of the first batch's rows.
"""
import argparse
import json
import sys
import time

try:
    import torch
    from transformers import AutoModelForCausalLM
except ImportError as error:
    print(f"transformers is left out: {error}", file=sys.stderr)
    sys.exit(0)
if not torch.cuda.is_available():
    print("transformers is left out: PyTorch finds no CUDA device", file=sys.stderr)
    sys.exit(0)

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--layer", type=int, default=6)
parser.add_argument("--context", type=int, default=1024)
parser.add_argument("--batch", type=int, default=8192)
parser.add_argument("--tokens", type=int, default=1048576)
args = parser.parse_args()


class Reached(Exception):
    """The layer's output is known."""


def layers_of(model):
    for path in ("transformer.h", "gpt_neox.layers", "model.layers"):
        found = model
        for part in path.split("."):
            found = getattr(found, part, None)
            if found is None:
                break
        if found is not None:
            return found
    sys.exit(f"{type(model).__name__}: where its layers are is not known")


def measure(name, dtype, tf32):
    torch.backends.cuda.matmul.allow_tf32 = tf32
    model = AutoModelForCausalLM.from_pretrained(args.model, attn_implementation="sdpa")
    # Versions of transformers name the argument for the type differently.
    model = model.to("cuda", dtype).eval()
    kept = []

    def hook(_module, _inputs, output):
        kept.append(output[0] if isinstance(output, tuple) else output)
        raise Reached

    layers_of(model)[args.layer].register_forward_hook(hook)
    sequences = args.batch // args.context
    rows = sequences * args.context
    vocab = model.config.vocab_size

    def ids(number):
        places = torch.arange(number * rows, (number + 1) * rows, dtype=torch.int64)
        return ((places * 7919 + 13) % vocab).reshape(sequences, args.context)

    hosts = [None, None]
    copies = torch.cuda.Stream()

    @torch.no_grad()
    def run(number):
        kept.clear()
        try:
            model(input_ids=ids(number).cuda(non_blocking=True), use_cache=False)
        except Reached:
            pass
        value = kept[0]
        slot = number % 2
        if hosts[slot] is None:
            hosts[slot] = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        copies.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(copies):
            hosts[slot].copy_(value, non_blocking=True)
        value.record_stream(copies)
        return value

    rms = run(0).float().pow(2).mean().sqrt().item()
    for number in range(3):
        run(number)
    torch.cuda.synchronize()
    passes = max(1, args.tokens // rows)
    begin = time.perf_counter()
    for number in range(passes):
        run(number)
    torch.cuda.synchronize()
    rate = passes * rows / (time.perf_counter() - begin)
    print(json.dumps({"name": name, "tokens_per_second": rate, "rms": rms}), flush=True)


measure("transformers, f32", torch.float32, tf32=False)
measure("transformers, f32 with TF32", torch.float32, tf32=True)
measure("transformers, bf16", torch.bfloat16, tf32=True)
