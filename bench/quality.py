"""PyTorch's side of bench/quality.ts: the TopK step in float32, from its equations, on the file that quality.ts wrote.

    python3 bench/quality.py FILE

x is a row times the scale; z = (x - b_dec) W_enc^T + b_enc; the k largest of a row's z, where positive, are its codes f;
x' = f W_dec + b_dec; loss = mean over rows of |x - x'|^2. AuxK, where its weight is not 0, adds the weight times the squared error of a
reconstruction of x - x' from the k_aux largest z of latents that have been silent for dead_after rows, over the variance
of x - x'. Adam without weight decay; the part of W_dec's gradient along each row is removed before it, and rows have
norm 1 after it. Prints a line of JSON now and then: step, loss of the batch, squared error of the held-out rows.
"""
import json
import struct
import sys

DTYPES = {"F32": ("float32", 4), "F16": ("float16", 2)}


def read_header(file):
    """Settings, entries, and where the arrays begin."""
    (length,) = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(length))
    return json.loads(header.pop("__metadata__")["settings"]), header, 8 + length


def read_array(file, entry, start):
    """Bytes, name of the element type, and shape of an array."""
    begin, end = entry["data_offsets"]
    file.seek(start + begin)
    name, size = DTYPES[entry["dtype"]]
    data = bytearray(end - begin)
    if file.readinto(data) != end - begin:
        raise SystemExit("the file is shorter than its header says")
    count = 1
    for extent in entry["shape"]:
        count *= extent
    if count * size != end - begin:
        raise SystemExit("an array has not as many bytes as its shape says")
    return data, name, entry["shape"]


def load(path):
    """Settings, and arrays as tensors of their own type."""
    import torch

    with open(path, "rb") as file:
        settings, header, start = read_header(file)
        arrays = {}
        for name, entry in header.items():
            data, dtype, shape = read_array(file, entry, start)
            arrays[name] = torch.frombuffer(data, dtype=getattr(torch, dtype)).reshape(shape)
    return settings, arrays


def codes_of(z, k):
    values, index = torch.topk(z, k, dim=-1, sorted=False)
    return torch.zeros_like(z).scatter(-1, index, torch.relu(values))


def main(path):
    settings, arrays = load(path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("highest")
    k, batch, steps, every = (settings[name] for name in ("k", "batch", "steps", "every"))
    parameters = {
        name: arrays[name].to(device).clone().requires_grad_() for name in ("W_enc", "W_dec", "b_enc", "b_dec")
    }
    W_enc, W_dec, b_enc, b_dec = parameters.values()
    rows = arrays["rows"].to(device)
    held = arrays["held_out"].to(device)
    optimiser = torch.optim.Adam(parameters.values(), lr=settings["lr"], betas=(0.9, 0.999), eps=1e-8)
    silent = torch.zeros(settings["d_sae"], dtype=torch.int64, device=device)

    def scaled(part):
        return part.float() * settings["scale"]

    def auxiliary(z, error):
        """Of what the codes leave; none while no latent is dead."""
        dead = silent >= settings["dead_after"]
        count = int(dead.sum())
        if count == 0:
            return 0
        codes = codes_of(z.masked_fill(~dead, float("-inf")), min(settings["k_aux"], count))
        spread = (error - error.mean(0)).pow(2).sum()
        return settings["aux_weight"] * (codes @ W_dec - error).pow(2).sum() / spread

    def held_out_error():
        with torch.no_grad():
            total = 0.0
            for first in range(0, len(held), batch):
                x = scaled(held[first : first + batch])
                out = codes_of((x - b_dec) @ W_enc.T + b_enc, k) @ W_dec + b_dec
                total += (x - out).double().pow(2).sum().item()
            return total

    for step in range(1, steps + 1):
        first = (step - 1) * batch % len(rows)
        x = scaled(rows[first : first + batch])
        z = (x - b_dec) @ W_enc.T + b_enc
        codes = codes_of(z, k)
        out = codes @ W_dec + b_dec
        loss = (x - out).pow(2).sum(-1).mean()
        if settings["aux_weight"] > 0:
            loss = loss + auxiliary(z, (x - out).detach())
        optimiser.zero_grad()
        loss.backward()
        with torch.no_grad():
            W_dec.grad -= (W_dec.grad * W_dec).sum(1, keepdim=True) * W_dec
            optimiser.step()
            W_dec /= W_dec.norm(dim=1, keepdim=True)
            silent += batch
            silent[(codes > 0).any(0)] = 0
        if step == 1 or step % every == 0 or step == steps:
            line = {"step": step, "loss": loss.item(), "squared_error": held_out_error()}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    import torch

    main(sys.argv[1])
