"""What is built into the decoder, not learnt: where it may look, and the fixed way of a place from the picture to the answer (lane.py finds
what belongs there). `reserve` restores all of it after every step."""
import math
import torch
from common import *

PROBE = 2  # the layer whose attention is supervised
SHARP = 1.7  # how much sharper the found place is read than the attention's own loss would have it; part of the queries in the end
HALF = (0.012, 0.011)  # half the answer box's width and height: about a token's width, a line's height
TEXT, IMAGE, EYE = 253, 254, 255  # reserved coordinates: set at text tokens, at image tokens, at the last prompt token
LEVEL = (0.3, 4.0)  # their values at text and at image tokens
SCALES = ((0.07, 1.0), (2.0, 1.5), (2.5, 1.7), (3.5, 2.5))  # the residual's size at text and image tokens, by layer, generously
OUT, PLACE = slice(229, 237), slice(237, 253)  # reserved for the way of a place to the answer: lane.py
OFF = slice(229, 231)  # at image tokens: by how much what is drawn there lies beside the token's middle, times TURN
TURN = 20.0
READ = 2.0  # how loudly the place is read from image tokens
SEEN = 16  # the value of a head in layer PROBE, behind those of a place, that is set at image tokens alone
GATE = (60.0, 100.0)  # how loudly the token before a number asks for, and the last prompt token offers, the place
LOUD = 15.0  # how loudly the place is handed on
DEEP = 40  # by how much attention from text to the picture is lowered
CLEAN = 224  # the block of 32 that has the reserved coordinates: what reads places has nothing else in it


def moved(by):
    """Turns the code of v into the code of v + by: an 8x8 matrix."""
    out = torch.zeros(8, 8)
    for i, p in enumerate(WAVES):
        t = by * 31 * 2 * math.pi / p
        out[2 * i:2 * i + 2, 2 * i:2 * i + 2] = torch.tensor([[math.cos(t), math.sin(t)], [-math.sin(t), math.cos(t)]])
    return out


def notched(c, n):
    """About c, so that a block from 0 to it, or from n - 15 parts of it, has an exact 0 in q4: a leak of a great weight into what
    should be 0 is not small, and was the reason why q4 refused otherwise than f32."""
    return n * round(c / n * 64) / 64


def number_codes(norm=2.0):
    c = code(torch.arange(1000) / 1000) * torch.tensor([1, 1, 1.2, 1.5]).repeat_interleave(2)
    return norm * c / c.norm(dim=-1, keepdim=True)


@torch.no_grad()
def without_prefix(m):
    """What takes the first two tokens' directions out of the inputs of layer PROBE: [H, H]."""
    x = m.embed(torch.tensor(PREFIX[:2]))[None]; t = torch.arange(2); cos, sin = m.mrope(torch.stack((t, t, t)))
    for l in m.model.layers[:PROBE]: x = l.causal(x, cos, sin)[0]
    x = m.model.layers[PROBE].input_layernorm(x)[0]; x[:, CLEAN:] = 0
    return torch.eye(x.shape[1]) - x.T @ torch.linalg.solve(x @ x.T, x)


@torch.no_grad()
def reserve(m, lane=True):
    """Late fusion: only the last prompt token sees the picture, and only in layer PROBE. One key dimension that RoPE does not turn
    carries the ban, from coordinates that nothing else reads or writes. Text can then be run without the picture, which makes a
    question cheap to train. The same for the way of a place to the answer (lane.py). Called after every step."""
    d = m.model.layers[0].self_attn.d; low = OUT.start if lane else TEXT
    e = m.model.embed_tokens.weight; e[:, low:] = 0; e[:, TEXT] = LEVEL[0]; e[ID['assistant\n'], EYE] = LEVEL[0] * 7 / 8; e[ID['user\n'], EYE] = -LEVEL[0] * 7 / 8
    if lane: e[NUM0:] = e[NUM0:].mean(0); e[NUM0:, OUT] = number_codes()  # a number's embedding is its code: the likeliest one is the nearest
    else: e[NUM0:, :TEXT] = number_codes() @ here(torch.linalg.qr(torch.randn(TEXT, 8, generator=torch.Generator('cpu').manual_seed(7), device='cpu'))[0].T)
    o = m.visual.merger.mlp[2]
    for x in (o.weight, o.bias):
        kept = x.clone(); x[low:] = 0
        if lane: x[OFF] = kept[OFF]; x[PLACE] = kept[PLACE]
    o.bias[IMAGE] = LEVEL[1]
    m.model.norm.weight[TEXT:] = 0
    if lane: m.model.norm.weight[OUT] = 4
    for i, l in enumerate(m.model.layers):
        a, p = l.self_attn, l.mlp; heads = torch.arange(a.n) * d
        l.input_layernorm.weight[low:] = 1; l.post_attention_layernorm.weight[low:] = 1
        for x in (a.q_proj, a.k_proj, a.v_proj, p.gate_proj, p.up_proj): x.weight[:, low:] = 0
        for x in (a.o_proj, p.down_proj): x.weight[low:] = 0
        c = (DEEP * d ** 0.5 * SCALES[i][0] / LEVEL[0] * SCALES[i][1] / LEVEL[1]) ** 0.5
        for x in (a.q_proj, a.k_proj):
            rows = heads + d // 2 - 1
            for r in (rows, rows + d // 2): x.weight[r] = 0; x.bias[r] = 0
            if x is a.k_proj: x.weight[rows, IMAGE] = -notched(c, 15)
            else:
                x.weight[rows, TEXT] = notched(c, 7)
                if i == PROBE: x.weight[rows, EYE] = -notched(c, 7) * 8 / 7
        if lane and i == PROBE - 1:
            # The last units turn the token's place by what is in OFF: silu(x) - silu(-x) = x, so a pair of units is a product.
            p.gate_proj.weight[-32:] = 0; p.up_proj.weight[-32:] = 0; p.down_proj.weight[:, -32:] = 0
            for k in range(16):
                u, wave, sign = p.gate_proj.weight.shape[0] - 32 + 2 * k, WAVES[k % 8 // 2], 1 - 2 * (k % 2)
                p.gate_proj.weight[u, OFF.start + k // 8] = 1; p.gate_proj.weight[u + 1, OFF.start + k // 8] = -1
                p.up_proj.weight[u, PLACE.start + (k ^ 1)] = sign; p.up_proj.weight[u + 1, PLACE.start + (k ^ 1)] = -sign
                p.down_proj.weight[PLACE.start + k, u:u + 2] = 31 * 2 * math.pi / wave / TURN
        if lane and i == PROBE:
            rows = (heads[:, None] + torch.arange(16)).reshape(-1)
            a.v_proj.weight[rows, CLEAN:] = 0; a.v_proj.weight[rows, PLACE.start + torch.arange(16).repeat(a.n)] = READ; a.v_proj.bias[rows] = 0
            # The first two tokens, always the same, get no place: heads that are not asked look at 'user\n' (its EYE is negative).
            a.v_proj.weight[rows] = a.v_proj.weight[rows] @ without_prefix(m)
            a.o_proj.weight[:, rows] = 0
            for h in heads: a.o_proj.weight[PLACE, h:h + 16] = torch.eye(16) / a.n
            # How much of the attention lies on the picture: what is not there is known by it.
            rows = heads + SEEN
            a.v_proj.weight[rows] = 0; a.v_proj.bias[rows] = 0; a.v_proj.weight[rows, IMAGE] = 1
        if lane and i == PROBE + 1:
            row = heads + d // 2 - 2
            a.k_proj.weight[row] = 0; a.k_proj.bias[row] = 0; a.k_proj.weight[row, EYE] = GATE[1] * 8 / 7
            for x in (a.q_proj, a.k_proj): x.weight[row + d // 2] = 0; x.bias[row + d // 2] = 0
            rows = (heads[:, None] + torch.arange(8)).reshape(-1)
            a.v_proj.weight[rows] = 0; a.v_proj.bias[rows] = 0; a.o_proj.weight[:, rows] = 0
            for h, (half, axis) in zip(heads, ((-HALF[0], 0), (-HALF[1], 8), (HALF[0], 0), (HALF[1], 8))):
                a.v_proj.weight[h:h + 8, PLACE.start + axis:PLACE.start + axis + 8] = moved(half)
                a.o_proj.weight[OUT, h:h + 8] = LOUD * torch.eye(8)
