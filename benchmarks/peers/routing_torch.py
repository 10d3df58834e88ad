# SPDX-License-Identifier: Apache-2.0
"""What a Hopper user runs today for DeepSeek-V4's routing, its indexer and the choice of a token: PyTorch, eagerly and with torch.compile.

6 of 384 experts, 1024 of the cache's rows, 64 heads of 128 columns, BF16 as PyTorch multiplies it by default. Device time as in quantize_triton.py: CUDA graph replays over rotating buffers, the last-level cache emptied
before each replay; weights and tables rotate like the other inputs. The results of the first buffers are compared with the same formulas in binary64: what is wrong gets no figure. Where there
are several ways, the fastest that is right counts, and the result names it. Nothing may wait for the device within a captured graph: so dispatch counts by torch.searchsorted, not by
torch.bincount, and constants such as torch.arange are inputs. One JSON object on stdout.
usage: routing_torch.py [--shapes router_dense:8192x7168,sample:1x129280] [--replays 21] [--no-compile]
"""
import argparse
import collections
import json
import math
import sys

import torch
import torch.nn.functional as F
import triton

from quantize_triton import call_us, shapes_of

EXPERTS = 384
TOPK = 6
SCALE = 2.5
VOCABULARY = 129280
HEADS = 64
HEAD_COLUMNS = 128
INDEXER_TOPK = 1024
TEMPERATURE = 1.0
SHAPES = ("router_dense:1x7168,router_dense:64x7168,router_dense:1024x7168,router_dense:8192x7168,router_hash:1x7168,router_hash:8192x7168,"
          "expert_dispatch:1x6,expert_dispatch:1024x6,expert_dispatch:8192x6,expert_combine:1x7168,expert_combine:8192x7168,"
          "indexer_topk:1x32768,indexer_topk:64x16384,sample:1x129280,sample:64x129280")
BF16_ROUNDING = 2.0 ** -8  # of a number rounded to BF16 after a sum in F32: half of that, and a little for the sum
DRAWS = 1024

# op, variant; inputs(rows, columns): one call's, and the bytes that it has to move; formulas that give the op's results; wrong(call, inputs): None where a call of a formula does so, else a
# sentence; parts: name of a formula that does a part of it, and its own `wrong`.
Case = collections.namedtuple("Case", "op variant inputs formulas wrong parts")


def normal(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=torch.float32).to(dtype)


def uniform(*shape):
    return torch.rand(*shape, device="cuda")


def choices(rows):
    """TOPK different experts a row, any order."""
    return torch.rand(rows, EXPERTS, device="cuda").argsort(-1)[:, :TOPK].contiguous()


def size(*tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


# Routers. Users keep the gate in BF16; of its product they take F32 where their torch gives it, else BF16.
def f32_logits(x, weight):
    return torch.mm(x, weight.t(), out_dtype=torch.float32)


def bf16_logits(x, weight):
    return F.linear(x, weight).float()


def scores(logits):
    return torch.sqrt(F.softplus(logits))


def weighed(chosen):
    return chosen / (chosen.sum(-1, keepdim=True) + 1e-20) * SCALE


def dense_of(s, bias):
    indices = torch.topk(s + bias, TOPK, dim=-1).indices
    return indices, weighed(s.gather(-1, indices))


def dense_f32_logits(x, weight, bias):
    return dense_of(scores(f32_logits(x, weight)), bias)


def dense_bf16_logits(x, weight, bias):
    return dense_of(scores(bf16_logits(x, weight)), bias)


def gate_gemm(x, weight, bias):
    return F.linear(x, weight)


def hash_all_experts(x, weight, table, ids):
    indices = table[ids]
    return indices, weighed(scores(bf16_logits(x, weight).gather(-1, indices)))


def hash_chosen_experts(x, weight, table, ids):
    indices = table[ids]
    return indices, weighed(scores((weight[indices].float() * x.float().unsqueeze(1)).sum(-1)))


def gate(columns):
    return normal(EXPERTS, columns, dtype=torch.float32).div(64).bfloat16()


def dense_inputs(rows, columns):
    inputs = [normal(rows, columns), gate(columns), uniform(EXPERTS)]
    return inputs, size(*inputs)


def hash_inputs(rows, columns):
    x, weight = normal(rows, columns), gate(columns)
    ids = torch.randint(VOCABULARY, (rows,), device="cuda")
    return [x, weight, choices(VOCABULARY), ids], size(x, ids) + min(EXPERTS, rows * TOPK) * columns * 2


def exact_logits(x, weight):
    """The logits in binary64, and how far off those of a BF16 product may be: rounded to BF16, and so may be a few partial sums, which are of the order of a root of the sum of squares."""
    x, weight = x.double(), weight.double()
    z = x @ weight.t()
    return z, BF16_ROUNDING * (z.abs() + x.norm(dim=-1, keepdim=True) * weight.norm(dim=-1) / math.sqrt(x.shape[-1]))


def selection_differs(indices, low, high):
    """None where as many different columns as given have the highest values, of which only an interval is known; else a sentence."""
    indices = indices.long()
    if not bool(((indices >= 0) & (indices < low.shape[-1])).all()) or not bool((indices.sort(-1).values.diff(dim=-1) > 0).all()):
        return "indices are out of range or not different"
    left = low.scatter(-1, indices, -math.inf).amax(-1)
    if not bool((high.gather(-1, indices).amin(-1) >= left).all()):
        return "another selection has higher scores"
    return None


def weights_differ(weights, indices, z, off):
    low, high = scores(z - off).gather(-1, indices), scores(z + off).gather(-1, indices)
    least = low / (low + high.sum(-1, keepdim=True) - high) * SCALE
    most = high / (high + low.sum(-1, keepdim=True) - low) * SCALE
    good = (weights >= least * (1 - 1e-5)) & (weights <= most * (1 + 1e-5))
    return None if weights.shape == least.shape and bool(good.all()) else "weights are off"


def dense_wrong(call, inputs):
    x, weight, bias = inputs
    indices, weights = call(*inputs)
    z, off = exact_logits(x, weight)
    bias = bias.double()
    return selection_differs(indices, scores(z - off) + bias - 1e-5, scores(z + off) + bias + 1e-5) or weights_differ(weights, indices, z, off)


def gate_gemm_wrong(call, inputs):
    x, weight, _ = inputs
    z, off = exact_logits(x, weight)
    return None if bool(((call(*inputs).double() - z).abs() <= off).all()) else "the product is off"


def hash_wrong(call, inputs):
    x, weight, table, ids = inputs
    indices, weights = call(*inputs)
    if not torch.equal(indices, table[ids]):
        return "indices differ from the table"
    return weights_differ(weights, indices, *exact_logits(x, weight))


# Dispatch and combine.
def dispatch_by_sort(indices, weights, starts, places):
    """starts: 0 .. EXPERTS; places: 0 .. T * TOPK - 1."""
    flat = indices.flatten()
    experts, order = torch.sort(flat, stable=True)
    offsets = torch.searchsorted(experts, starts, out_int32=True)
    positions = torch.empty_like(flat).scatter_(0, order, places)
    return offsets, (order // TOPK).int(), positions.view_as(indices), weights.flatten()[order]


def dispatch_inputs(rows, columns):
    if columns != TOPK:
        sys.exit(f"--shapes: expert_dispatch has {columns} columns, expected {TOPK}")
    indices, weights = choices(rows).int(), uniform(rows, TOPK)
    starts = torch.arange(EXPERTS + 1, device="cuda", dtype=torch.int32)
    places = torch.arange(rows * TOPK, device="cuda", dtype=torch.int32)
    return [indices, weights, starts, places], 5 * size(indices) + size(starts)


def dispatch_wrong(call, inputs):
    indices, weights = inputs[:2]
    flat = indices.flatten().long()
    of_expert = (flat.unsqueeze(1) == torch.arange(EXPERTS, device="cuda")).long()
    offsets = F.pad(of_expert.sum(0).cumsum(0), (1, 0))
    positions = offsets[flat] + of_expert.cumsum(0).gather(1, flat.unsqueeze(1)).squeeze(1) - 1
    rows, row_weights = torch.empty_like(flat), torch.empty_like(weights.flatten())
    rows[positions] = torch.arange(flat.numel(), device="cuda") // TOPK
    row_weights[positions] = weights.flatten()
    names = ("offsets", "rows", "positions", "row_weights")
    for name, actual, expected in zip(names, call(*inputs), (offsets, rows, positions.view_as(indices), row_weights)):
        if not torch.equal(actual.to(expected.dtype), expected):
            return f"{name} differ"
    return None


def combine(y, positions, weights):
    return (y[positions].float() * weights.unsqueeze(-1)).sum(1).to(y.dtype)


def combine_inputs(rows, columns):
    y, weights = normal(rows * TOPK, columns), uniform(rows, TOPK)
    order = choices(rows).flatten().argsort(stable=True)
    positions = torch.empty_like(order)
    positions[order] = torch.arange(rows * TOPK, device="cuda")
    return [y, positions.view(rows, TOPK), weights], size(y, weights, positions) + rows * columns * 2


def combine_wrong(call, inputs):
    y, positions, weights = inputs
    out = call(*inputs)
    for start in range(0, out.shape[0], 1024):
        part = slice(start, start + 1024)
        exact = (y[positions[part]].double() * weights[part].double().unsqueeze(-1)).sum(1)
        if not bool(((out[part].double() - exact).abs() <= BF16_ROUNDING * exact.abs() + 1e-4).all()):
            return "a sum is off"
    return None


# Indexer.
def indexer(q, keys, weights, valid, rows):
    """rows: 0 .. C - 1."""
    dots = torch.einsum("shd,td->sht", q, keys)
    score = (dots.relu() * weights.unsqueeze(-1)).sum(1)
    return torch.topk(score.masked_fill(rows >= valid.unsqueeze(-1), -math.inf), INDEXER_TOPK, dim=-1).indices


def indexer_inputs(rows, columns):
    if columns < INDEXER_TOPK + 16:
        sys.exit(f"--shapes: indexer_topk has {columns} columns, expected at least {INDEXER_TOPK + 16}")
    valid = columns - torch.randint(16, (rows,), device="cuda")
    inputs = [normal(rows, HEADS, HEAD_COLUMNS), normal(columns, HEAD_COLUMNS), normal(rows, HEADS, dtype=torch.float32), valid]
    return [*inputs, torch.arange(columns, device="cuda")], size(*inputs) + rows * INDEXER_TOPK * 4


def indexer_wrong(call, inputs):
    q, keys, weights, valid, rows = inputs
    indices = call(*inputs)
    for s in range(0, q.shape[0], max(1, q.shape[0] - 1)):  # the first query and the last
        dots = q[s].double() @ keys.double().t()
        w = weights[s].double().unsqueeze(-1)
        norms = q[s].double().norm(dim=-1, keepdim=True) * keys.double().norm(dim=-1)
        score = (w * dots.relu()).sum(0)
        off = (w.abs() * (BF16_ROUNDING * dots.abs() + 1e-5 * norms)).sum(0)
        hidden = rows >= valid[s]
        low, high = (value.masked_fill(hidden, -math.inf).unsqueeze(0) for value in (score - off, score + off))
        found = selection_differs(indices[s:s + 1], low, high)
        if found is not None:
            return f"query {s}: {found}"
    return None


# Choice of a token.
def greedy(logits):
    return logits.argmax(-1)


def drawn_from_softmax(logits):
    p = torch.softmax(logits / TEMPERATURE, -1)
    return (p / torch.empty_like(p).exponential_(1)).argmax(-1)


def drawn_from_logits(logits):
    return (logits / TEMPERATURE - torch.empty_like(logits).exponential_(1).log()).argmax(-1)


def sample_inputs(rows, columns):
    logits = normal(rows, columns, dtype=torch.float32)
    return [logits], size(logits)


def greedy_wrong(call, inputs):
    logits, = inputs
    tokens = call(logits)
    return None if torch.equal(logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), logits.amax(-1)) else "a token is not the most likely one"


def drawn_wrong(call, inputs):
    """Draws from logits of the same shape that leave three tokens, and counts them: each within five standard deviations."""
    logits, = inputs
    rows, columns = logits.shape
    likely = {1: 0.5, columns // 2: 0.3, columns - 1: 0.2}
    peaked = torch.full_like(logits, -1e4)
    for token, p in likely.items():
        peaked[:, token] = math.log(p)
    tokens = torch.cat([call(peaked) for _ in range(math.ceil(DRAWS / rows))])
    n = tokens.numel()
    counts = {token: int((tokens == token).sum()) for token in likely}
    if sum(counts.values()) != n:
        return "a token was drawn that has no probability"
    for token, p in likely.items():
        if abs(counts[token] - n * p) > 5 * math.sqrt(n * p * (1 - p)):
            return f"of {n} draws {counts[token]} are a token of probability {p}"
    return None


CHOICE = f"{TOPK} of {EXPERTS}"
CASES = (
    Case("router_dense", f"bf16, {CHOICE}", dense_inputs, (dense_f32_logits, dense_bf16_logits), dense_wrong, {"torch_gate_gemm": (gate_gemm, gate_gemm_wrong)}),
    Case("router_hash", f"bf16, {CHOICE}", hash_inputs, (hash_all_experts, hash_chosen_experts), hash_wrong, {}),
    Case("expert_dispatch", CHOICE, dispatch_inputs, (dispatch_by_sort,), dispatch_wrong, {}),
    Case("expert_combine", f"{TOPK} rows", combine_inputs, (combine,), combine_wrong, {}),
    Case("indexer_topk", f"top {INDEXER_TOPK}, {HEADS} x {HEAD_COLUMNS}", indexer_inputs, (indexer,), indexer_wrong, {}),
    Case("sample", "greedy", sample_inputs, (greedy,), greedy_wrong, {}),
    Case("sample", "drawn", sample_inputs, (drawn_from_softmax, drawn_from_logits), drawn_wrong, {}),
)


def fastest(formulas, wrong, compiled, inputs, replays):
    """Microseconds and name of the fastest formula that is right, or None. One that this torch cannot run, compile or capture is left out."""
    best = None
    for formula in formulas:
        try:
            call = formula
            if compiled:
                torch._dynamo.reset()  # each shape is compiled for itself
                call = torch.compile(formula, dynamic=False)
            found = wrong(call, inputs[0])
            if found is None:
                us = call_us(lambda i: call(*inputs[i]), len(inputs), replays)
                best = (us, formula.__name__) if best is None or us < best[0] else best
        except Exception as error:  # of any kind: the others go on
            found = f"{type(error).__name__}: {error}".splitlines()[0]
        if found is not None:
            print(f"{formula.__name__}{', compiled' if compiled else ''}, {inputs[0][0].shape[0]} rows: {found}", file=sys.stderr)
    return best


def measure(case, rows, columns, replays, compile_too):
    """One result, with a figure for each implementation that was right."""
    row = {"op": case.op, "variant": case.variant, "rows": rows, "columns": columns}
    first, each = case.inputs(rows, columns)
    sets = max(2, min(64, (200 << 20) // each))
    inputs = [first] + [case.inputs(rows, columns)[0] for _ in range(sets - 1)]
    implementations = {"torch": (case.formulas, case.wrong, False)}
    if compile_too:
        implementations["torch_compile"] = (case.formulas, case.wrong, True)
    for name, (formula, wrong) in case.parts.items():
        implementations[name] = ((formula,), wrong, False)
    for name, (formulas, wrong, compiled) in implementations.items():
        best = fastest(formulas, wrong, compiled, inputs, replays)
        if best is not None:
            row[f"{name}_us"] = round(best[0], 3)
            row[f"{name}_formula"] = best[1]
    return row


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--shapes", default=SHAPES)
    p.add_argument("--replays", type=int, default=21)
    p.add_argument("--no-compile", action="store_true")
    a = p.parse_args()
    out = {"device": torch.cuda.get_device_name(0), "torch": torch.__version__, "triton": triton.__version__, "results": []}
    for op, rows, columns in shapes_of([case.op for case in CASES], a.shapes):
        for case in CASES:
            if case.op == op:
                out["results"].append(measure(case, rows, columns, a.replays, not a.no_compile))
    json.dump(out, sys.stdout)
    print()


if __name__ == "__main__":
    main()
