"""Trains the demo's language model and records its activations. Needed only to remake demo/data.

    python3 demo/make-corpus.py .carry
    python3 demo/make-data.py .carry OUT

needs PyTorch, transformers, tokenizers and safetensors, and takes about two minutes on a data-centre GPU; demo/data's
README gives the versions. OUT receives what demo/data holds: model/, held-out.txt, activations.safetensors and
parity.safetensors. Everything measured or recorded here (cross-entropy, activations, parity) is computed in f32 on the
CPU from the saved f16 weights, so that other programs can reproduce it.
"""

import argparse
import math
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import safetensors.numpy
import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel

SEED = 1
SEPARATOR = "<|endoftext|>"
VOCABULARY = 1536
CONTEXT = 128
D_MODEL = 128
LAYERS = 3
HEADS = 4
HOOK_LAYER = 1
ACTIVATION_ROWS = 160 * CONTEXT
PARITY_TOKENS = 32
BATCH = 512
PEAK_LEARNING_RATE = 3e-3
WARM_UP_STEPS = 200
PROMPTS = ["The President of the United States", "And the LORD said unto", "She was", "The whale", "A program that"]


def train_tokenizer(text):
    """Byte-level BPE without a prefix space or a normalizer; id 0 is the separator."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.split(SEPARATOR), trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY and tokenizer.token_to_id(SEPARATOR) == 0
    return tokenizer


def encode(tokenizer, text):
    """Token ids of the text, separators included, as i64 [n]."""
    passages = [passage + SEPARATOR for passage in text.split(SEPARATOR) if passage]
    ids = [encoding.ids for encoding in tokenizer.encode_batch(passages)]
    return torch.from_numpy(np.concatenate([np.asarray(part, dtype=np.int64) for part in ids]))


def contexts(ids):
    """Consecutive windows [n, CONTEXT] of the ids; the incomplete last one is left out."""
    return ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)


def mean_cross_entropy(model, windows):
    """Nats per prediction: each window by itself, nothing prepended, CONTEXT - 1 predictions each."""
    total = 0.0
    with torch.no_grad():
        for batch in windows.split(64):
            logits = model(batch).logits[:, :-1].float()
            total += torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum"
            ).item()
    return total / (windows.shape[0] * (CONTEXT - 1))


def learning_rate(step, steps):
    """Linear warm-up, then a cosine down to a twentieth of the peak."""
    if step < WARM_UP_STEPS:
        return PEAK_LEARNING_RATE * (step + 1) / WARM_UP_STEPS
    progress = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    return PEAK_LEARNING_RATE * (0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2)


def train(train_ids, held_out, steps, device):
    """Trains a GPT-2 model on windows that start anywhere in train_ids."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=D_MODEL,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(SEED)
    model = GPT2LMHeadModel(config).to(device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95))
    train_ids, held_out = train_ids.to(device), held_out.to(device)
    offsets = torch.arange(CONTEXT, device=device)
    started = time.time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        starts = torch.randint(len(train_ids) - CONTEXT, (BATCH, 1), device=device)
        batch = train_ids[starts + offsets]
        with torch.autocast(device, dtype=torch.bfloat16):
            logits = model(batch, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 500 == 0 or step + 1 == steps:
            validation = mean_cross_entropy(model, held_out)
            seconds = time.time() - started
            print(f"step {step + 1}: loss {loss.item():.4f}, held out {validation:.4f}, {seconds:.0f} s", flush=True)
    return model


def sample(model, tokenizer, prompt, tokens=60, temperature=0.8):
    """The prompt and a continuation drawn from the model."""
    ids = torch.tensor([tokenizer.encode(prompt).ids])
    with torch.no_grad():
        for _ in range(tokens):
            probabilities = torch.softmax(model(ids).logits[0, -1] / temperature, dim=-1)
            ids = torch.cat([ids, torch.multinomial(probabilities, 1)[None]], dim=1)
    return tokenizer.decode(ids[0].tolist())


def record_activations(model, windows):
    """Residual stream after block HOOK_LAYER, f32 [windows * CONTEXT, D_MODEL], contexts in order."""
    with torch.no_grad():
        # hidden_states[0] enters block 0, so entry L + 1 leaves block L (the last entry is after the final LayerNorm).
        parts = [model(batch, output_hidden_states=True).hidden_states[HOOK_LAYER + 1] for batch in windows.split(64)]
    return torch.cat(parts).view(-1, D_MODEL)


def print_activation_statistics(activations):
    """What an SAE will meet: scale, outliers, unused dimensions, and how concentrated the variance is."""
    norms = activations.norm(dim=1)
    print(f"norm: mean {norms.mean():.3f}, min {norms.min():.3f}, max {norms.max():.3f}")
    print(f"root mean square norm {norms.square().mean().sqrt():.3f}, "
          f"norm of the mean {activations.mean(0).norm():.3f}")
    by_position = norms.view(-1, CONTEXT).mean(0)
    print("mean norm at positions 0, 1, 2, 8, 64, 127:", [f"{by_position[p]:.2f}" for p in (0, 1, 2, 8, 64, 127)])
    deviations = activations.std(0)
    print(f"standard deviation by dimension: min {deviations.min():.3f}, median {deviations.median():.3f}, "
          f"max {deviations.max():.3f}; dimensions under 0.001: {(deviations < 1e-3).sum().item()}")
    variances = torch.linalg.eigvalsh(torch.cov(activations.T)).flip(0)
    share = (variances.cumsum(0) / variances.sum())[[0, 7, 15, 31, 63]]
    print("share of variance in the first 1, 8, 16, 32, 64 principal components:", [f"{s:.3f}" for s in share])


def record_parity(model, ids):
    """Inputs and f32 outputs of one pass, for comparing another implementation with this one."""
    with torch.no_grad():
        output = model(ids[None], output_hidden_states=True)
    tensors = {"input_ids": ids[None].to(torch.int32), "logits": output.logits}
    for layer, hidden in enumerate(output.hidden_states[:-1]):
        tensors[f"blocks.{layer}.hook_resid_pre"] = hidden
    tensors["ln_final"] = output.hidden_states[-1]
    return tensors


def save_tensors(path, tensors, metadata):
    safetensors.numpy.save_file({name: t.contiguous().numpy() for name, t in tensors.items()}, path, metadata)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder with train.txt and held-out.txt")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"python {sys.version.split()[0]}, torch {torch.__version__}, transformers {transformers.__version__}, "
          f"tokenizers {tokenizers.__version__}, numpy {np.__version__}, {device}, seed {SEED}")

    model_folder = args.out / "model"
    model_folder.mkdir(parents=True, exist_ok=True)
    train_text = (args.corpus / "train.txt").read_text()
    held_out_text = (args.corpus / "held-out.txt").read_text()
    tokenizer = train_tokenizer(train_text)
    tokenizer.save(str(model_folder / "tokenizer.json"))
    train_ids, held_out_ids = encode(tokenizer, train_text), encode(tokenizer, held_out_text)
    assert held_out_ids.tolist() == tokenizer.encode(held_out_text).ids
    held_out = contexts(held_out_ids)
    print(f"{len(train_ids):,} training tokens, {len(held_out_ids):,} held-out tokens "
          f"({len(held_out_text) / len(held_out_ids):.2f} characters each), {len(held_out)} held-out contexts")
    assert held_out.numel() >= ACTIVATION_ROWS

    trained = train(train_ids, held_out, args.steps, device)
    trained.to("cpu", torch.float16).save_pretrained(model_folder)
    (model_folder / "generation_config.json").unlink(missing_ok=True)
    model = GPT2LMHeadModel.from_pretrained(model_folder, dtype=torch.float32).eval()

    print(f"held-out cross-entropy of the saved model: {mean_cross_entropy(model, held_out):.4f} nats per token")
    for prompt in PROMPTS:
        print("sample:", repr(sample(model, tokenizer, prompt)))

    recorded = held_out.view(-1)[:ACTIVATION_ROWS]
    activations = record_activations(model, recorded.view(-1, CONTEXT))
    print_activation_statistics(activations)
    metadata = {
        "model": "model",
        "hook_point": f"blocks.{HOOK_LAYER}.hook_resid_post",
        "context_length": str(CONTEXT),
        "text": f"the first {ACTIVATION_ROWS} tokens of held-out.txt",
    }
    save_tensors(
        args.out / "activations.safetensors",
        {"activations": activations.half(), "input_ids": recorded.to(torch.int32)},
        metadata,
    )
    save_tensors(
        args.out / "parity.safetensors",
        record_parity(model, held_out_ids[:PARITY_TOKENS]),
        {"model": "model", "computed_in": "f32 from the f16 weights"},
    )
    shutil.copy(args.corpus / "held-out.txt", args.out / "held-out.txt")
    for path in sorted(p for p in args.out.rglob("*") if p.is_file()):
        print(f"{path.relative_to(args.out)}: {path.stat().st_size:,} bytes")


main()
