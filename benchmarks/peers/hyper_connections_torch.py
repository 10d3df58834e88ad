# SPDX-License-Identifier: Apache-2.0
"""What a Hopper user runs today for DeepSeek-V4's hyper-connections: torch.compile of the reference model's formulas, and a Triton kernel for Sinkhorn.

Four streams, 20 iterations, BF16. Device time as in quantize_triton.py: CUDA graph replays over rotating buffers, the last-level cache emptied before each replay. The parameters of a
module rotate like the other inputs. The results of the first buffers are compared with the same formulas in binary64; what is wrong gets no figure. One JSON object on stdout.
usage: hyper_connections_torch.py [--shapes sinkhorn:8192x16,hc_pre:8192x7168,hc_post:1x7168] [--replays 21] [--no-compile]
"""
import argparse
import json
import sys

import torch
import triton
import triton.language as tl

from quantize_triton import call_us, shapes_of

N = 4
ITERATIONS = 20
EPS = 1e-6  # hc_eps and rms_norm_eps
SHAPES = ("sinkhorn:1x16,sinkhorn:8192x16,sinkhorn:65536x16,hc_pre:1x7168,hc_pre:16x7168,hc_pre:128x7168,hc_pre:1024x7168,hc_pre:8192x7168,"
          "hc_post:1x7168,hc_post:1024x7168,hc_post:8192x7168")
TRITON_CONFIGS = ({"block": 32, "warps": 1}, {"block": 64, "warps": 1}, {"block": 128, "warps": 4}, {"block": 256, "warps": 4}, {"block": 256, "warps": 8})
# Of m and of sinkhorn's results, which are of the order of 1: sums in F32 stay far below it, in TF32 they would not.
TOLERANCE = 1e-4


# Each matrix lies in one thread, as four rows of four: no sum needs another thread.
@triton.jit
def softmax_row(logits, eps):
    e = tl.exp(logits - tl.max(logits, 1)[:, None])
    return e * (1.0 / tl.sum(e, 1))[:, None] + eps


@triton.jit
def normalised_row(c, eps):
    return c * (1.0 / (tl.sum(c, 1) + eps))[:, None]


@triton.jit
def sinkhorn_kernel(logits, comb, tokens, eps, ITERATIONS: tl.constexpr, BLOCK: tl.constexpr):
    t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = t[:, None] * 16 + tl.arange(0, 4)[None, :]
    mask = (t < tokens)[:, None]
    c0 = softmax_row(tl.load(logits + at, mask=mask, other=0.0), eps)
    c1 = softmax_row(tl.load(logits + at + 4, mask=mask, other=0.0), eps)
    c2 = softmax_row(tl.load(logits + at + 8, mask=mask, other=0.0), eps)
    c3 = softmax_row(tl.load(logits + at + 12, mask=mask, other=0.0), eps)
    f = 1.0 / (c0 + c1 + c2 + c3 + eps)
    c0 *= f
    c1 *= f
    c2 *= f
    c3 *= f
    for _ in range(ITERATIONS - 1):
        c0 = normalised_row(c0, eps)
        c1 = normalised_row(c1, eps)
        c2 = normalised_row(c2, eps)
        c3 = normalised_row(c3, eps)
        f = 1.0 / (c0 + c1 + c2 + c3 + eps)
        c0 *= f
        c1 *= f
        c2 *= f
        c3 *= f
    tl.store(comb + at, c0, mask=mask)
    tl.store(comb + at + 4, c1, mask=mask)
    tl.store(comb + at + 8, c2, mask=mask)
    tl.store(comb + at + 12, c3, mask=mask)


def triton_sinkhorn(logits, comb, config):
    tokens = logits.shape[0]
    sinkhorn_kernel[(triton.cdiv(tokens, config["block"]),)](logits, comb, tokens, EPS, ITERATIONS=ITERATIONS, BLOCK=config["block"], num_warps=config["warps"])


# The formulas compute in the type of the parameters (F32, and F64 to compare with) and round to the type of x.
def sinkhorn(logits):
    c = torch.softmax(logits, -1) + EPS
    c = c / (c.sum(-2, keepdim=True) + EPS)
    for _ in range(ITERATIONS - 1):
        c = c / (c.sum(-1, keepdim=True) + EPS)
        c = c / (c.sum(-2, keepdim=True) + EPS)
    return c


def hc_pre(x, fn, base, scale):
    flat = x.flatten(1).to(fn.dtype)
    m = torch.nn.functional.linear(flat, fn) * torch.rsqrt(flat.square().mean(-1, keepdim=True) + EPS)
    pre = torch.sigmoid(m[:, :N] * scale[0] + base[:N]) + EPS
    post = 2 * torch.sigmoid(m[:, N:2 * N] * scale[1] + base[N:2 * N])
    comb = sinkhorn((m[:, 2 * N:] * scale[2] + base[2 * N:]).view(-1, N, N))
    collapsed = (pre.unsqueeze(-1) * flat.view(x.shape)).sum(1).to(x.dtype)
    return collapsed, post, comb


def hc_post(x, sub, post, comb):
    mixed = (comb.unsqueeze(-1) * x.to(comb.dtype).unsqueeze(-2)).sum(1)  # [T, j, k, D] over j: comb is used transposed
    return ((post.unsqueeze(-1) * sub.to(post.dtype).unsqueeze(1) + mixed).to(x.dtype),)


def sinkhorn_of(logits):
    return (sinkhorn(logits),)


FORMULAS = {"sinkhorn": sinkhorn_of, "hc_pre": hc_pre, "hc_post": hc_post}
VARIANTS = {"sinkhorn": "4x4", "hc_pre": "4 streams", "hc_post": "4 streams"}


def inputs_of(op, tokens, columns, device):
    """Random inputs, and how many of them have a row a token: the others are parameters."""
    def normal(*shape, dtype=torch.float32):
        return torch.randn(*shape, device=device, dtype=dtype)

    def uniform(*shape):
        return torch.rand(*shape, device=device)

    if op == "sinkhorn":
        return [normal(tokens, N, N)], 1
    x = normal(tokens, N, columns, dtype=torch.bfloat16)
    if op == "hc_pre":
        mixes = N * (N + 2)
        return [x, normal(mixes, N * columns) / 64, normal(mixes), normal(3)], 1
    return [x, normal(tokens, columns, dtype=torch.bfloat16), uniform(tokens, N), uniform(tokens, N, N)], 4


def bytes_of(op, inputs):
    """What a call has to read and to write."""
    x = inputs[0]
    read = sum(t.numel() * t.element_size() for t in inputs)
    written = {"sinkhorn": x.numel() * 4, "hc_pre": x.numel() // N * 2 + x.shape[0] * N * (N + 1) * 4, "hc_post": x.numel() * 2}
    return read + written[op]


def wrong(op, inputs, by_token, outputs):
    """None where outputs are those of the formulas in binary64, else a sentence. A BF16 output may also be rounded the other way, by at most 2^-8 of itself."""
    formula = FORMULAS[op]
    tokens = inputs[0].shape[0]
    for start in range(0, tokens, 1024):
        part = [(t[start:start + 1024] if i < by_token else t).double() for i, t in enumerate(inputs)]
        for i, exact in enumerate(formula(*part)):
            actual = outputs[i][start:start + 1024].double()
            allowed = TOLERANCE * (1 + inputs[0].abs().max().double()) + exact.abs() / 256 if outputs[i].dtype == torch.bfloat16 else TOLERANCE
            off = (actual - exact).abs()
            if actual.shape != exact.shape or not bool((off <= allowed).all()):
                return f"output {i} of {op} with {tokens} tokens is off by up to {off.max().item()}"
    return None


def measure(op, tokens, columns, replays, compile_too):
    """One result, with a figure for each implementation that was right."""
    row = {"op": op, "variant": VARIANTS[op], "rows": tokens, "columns": columns}
    first, by_token = inputs_of(op, tokens, columns, "cuda")
    each = bytes_of(op, first)
    sets = max(2, min(64, (200 << 20) // each))
    inputs = [first] + [inputs_of(op, tokens, columns, "cuda")[0] for _ in range(sets - 1)]
    if op == "sinkhorn":
        outputs = [torch.empty_like(logits) for logits, in inputs]
        best = None
        for config in TRITON_CONFIGS:
            outputs[0].fill_(float("nan"))
            triton_sinkhorn(inputs[0][0], outputs[0], config)
            found = wrong(op, first, by_token, outputs[:1])
            if found is not None:
                print(f"triton, {config}: {found}", file=sys.stderr)
                continue
            us = call_us(lambda i: triton_sinkhorn(inputs[i][0], outputs[i], config), sets, replays)
            if best is None or us < best[0]:
                best = (us, config)
        if best is not None:
            row["triton_us"] = round(best[0], 3)
            row["triton_config"] = best[1]
    if compile_too:
        torch._dynamo.reset()  # each shape is compiled for itself
        compiled = torch.compile(FORMULAS[op], dynamic=False)
        found = wrong(op, first, by_token, compiled(*first))
        if found is None:
            row["torch_compile_us"] = round(call_us(lambda i: compiled(*inputs[i]), sets, replays), 3)
        else:
            print(f"torch.compile: {found}", file=sys.stderr)
    return row


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--shapes", default=SHAPES)
    p.add_argument("--replays", type=int, default=21)
    p.add_argument("--no-compile", action="store_true")
    a = p.parse_args()
    out = {"device": torch.cuda.get_device_name(0), "torch": torch.__version__, "triton": triton.__version__, "results": []}
    for op, tokens, columns in shapes_of(FORMULAS, a.shapes):
        if op == "sinkhorn" and columns != N * N:
            sys.exit(f"--shapes: sinkhorn has {columns} columns, expected {N * N}")
        if op == "sinkhorn" or not a.no_compile:
            out["results"].append(measure(op, tokens, columns, a.replays, not a.no_compile))
    json.dump(out, sys.stdout)
    print()


if __name__ == "__main__":
    main()
