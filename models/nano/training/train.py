"""Teaches the decoder to find what an instruction names, on whole pages. The tower is frozen, so a page's image tokens are computed
once and used for several visits; many questions share a page's keys and values.
python train.py --data DIR --run DIR --start CHECKPOINT --tower PRETRAIN/last.pt [--minutes M]
Besides the answer's tokens these are taught: the letter pairs of the name at the last prompt token and those drawn at each image token;
the place of the text line at each image token; the attention of the last prompt token on the target in layer 2 (PROBE); the target's
place at the last prompt token after it. In a share of the questions that attention is set to the target's, so that copying the place
is learnt from the first step on."""
import argparse, math, os, random, time
from collections import Counter
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from common import *
from muon import optimisers
from parallel import alike, average, spawn
from model import Nano, deeper, patchify
import questions as Q

PROBE = 2  # the layer whose attention is supervised
BIG = 800 * 784  # pixels of a large page
SHARP = 1.7  # how much sharper the found place is read than the attention's own loss would have it; part of the queries in the end
HALF = (0.012, 0.011)  # half the answer box's width and height: about a token's width, a line's height


class Means(dict):
    """What a run tells of itself: the mean of what was added under each name, one weight to each time."""
    def add(self, name, x):
        if not x.numel(): return
        total, n = self.get(name, (0.0, 0)); self[name] = total + x.detach().float().mean().item(), n + 1

    def __str__(self): return ' '.join(f'{k} {total / n:.3f}' for k, (total, n) in self.items())


class Aux(nn.Module):
    def __init__(self, h):
        super().__init__()
        self.gram = nn.Linear(h, NGRAM)
        self.local = nn.Linear(h, NGRAM)
        self.spot, self.found = nn.Linear(h, 16), nn.Linear(h, 16)


def widen(sd, cfg):
    """A checkpoint with fewer key-value heads, tokens or blocks of the tower, made to fit."""
    h = cfg['hidden_size']; d = h // cfg['num_attention_heads']; kv = cfg['num_key_value_heads']
    for k in list(sd):
        if 'k_proj' in k or 'v_proj' in k:
            x = sd[k].view(-1, d, *sd[k].shape[1:]); sd[k] = x.repeat_interleave(kv // len(x), 0).reshape(kv * d, *sd[k].shape[1:])
    e = sd['model.embed_tokens.weight']
    if len(e) < cfg['vocab_size']: sd['model.embed_tokens.weight'] = torch.cat((e, torch.zeros(cfg['vocab_size'] - len(e), h)))
    tower = deeper({k[7:]: sd.pop(k) for k in list(sd) if k.startswith('visual.')}, cfg['vision_config']['depth'])
    return {**sd, **{'visual.' + k: x for k, x in tower.items()}}


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
    else: e[NUM0:, :TEXT] = number_codes() @ torch.linalg.qr(torch.randn(TEXT, 8, generator=torch.Generator().manual_seed(7)))[0].T
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


@torch.no_grad()
def see_through(m, tower, turn=None):
    """Takes the tower of a checkpoint of pretrain.py; `turn` is how lane.py turned the residual."""
    m.visual.load_state_dict({k[7:]: x for k, x in torch.load(tower, weights_only=False)['model'].items() if k.startswith('visual.')})
    if turn is not None:
        o = m.visual.merger.mlp[2]
        for x in (o.weight, o.bias): x[:TEXT] = turn.T @ x[:TEXT]; x[OFF] = 0; x[PLACE] = 0


def prefix_run(m, e, h, w, upto=None):
    """Runs the fixed prefix and the image tokens e [n, H]; returns keys and values per layer, hidden after each layer.
    With `upto` only as far as the keys and values of that layer."""
    x = torch.cat((m.embed(torch.tensor(PREFIX)), e.to(m.model.embed_tokens.weight.dtype)))[None]
    gh, gw = h // 28, w // 28
    n = len(PREFIX)
    t = torch.arange(n)
    pos = torch.cat((torch.stack((t, t, t)), torch.stack((torch.full((gh * gw,), n), n + torch.arange(gh).repeat_interleave(gw), n + torch.arange(gw).repeat(gh)))), 1)
    cos, sin = m.mrope(pos)
    kv, hs = [], []
    for l in m.model.layers[:upto]:
        x, k, v = l.causal(x, cos, sin)
        kv.append((k, v)); hs.append(x)
    if upto is not None:
        kv.append(m.model.layers[upto].keys(x, cos, sin))
    return kv, hs, n + max(gh, gw)


@torch.no_grad()
def sharpened(m):
    """The model as it is used: SHARP becomes part of the queries."""
    for p in m.model.layers[PROBE].self_attn.q_proj.parameters(): p.mul_(SHARP)
    return m


def prefix_text(m):
    """Keys and values of the fixed tokens before the picture."""
    x = m.embed(torch.tensor(PREFIX))[None]; t = torch.arange(len(PREFIX)); cos, sin = m.mrope(torch.stack((t, t, t)))
    ks, vs = [], []
    for l in m.model.layers:
        x, k, v = l.causal(x, cos, sin)
        ks.append(k); vs.append(v)
    return ks, vs, x


class Views:
    """Whole pages with their frozen image tokens; a view is used `reuse` times, then drawn anew."""
    def __init__(self, m, pages, rng, reuse, keep, sprites=None):
        self.m, self.pages, self.rng, self.reuse, self.keep, self.pool, self.sprites = m, pages, rng, reuse, keep, [], sprites

    def more(self, img, targets):
        """Puts icons on a page: those that can be asked for, each by one of its names; what more there is then, by all names; and all
        that were put: (names, thing, box)."""
        things = self.sprites.things; of = lambda names: things.get(names[0].lower(), names[0].lower())
        put = self.sprites.draw(img, self.rng, self.rng.randint(3, 30)); have = {things.get(t['name'].lower(), t['name'].lower()) for t in targets}
        often = Counter(of(names) for names, _ in put)
        asked = [dict(name=names[0], kind='button', box=list(box), text=False) for names, box in put if often[of(names)] == 1 and of(names) not in have]
        return asked, {n for names, _ in put for n in names} | {n for n, thing in things.items() if thing in have}, [(names, of(names), box) for names, box in put]

    def new(self):
        while True:
            img, chars, ts = whole(self.pages.sample(self.rng), self.rng)
            also, put = set(), []
            if self.sprites and self.rng.random() < 0.6:
                img = img.copy(); new, also, put = self.more(img, ts); ts = ts + new
            if len(chars) < 12: continue
            h, w = img.shape[:2]
            if h * w < BIG and self.rng.random() < 0.7: continue  # what is asked in the end are whole large pages
            with torch.no_grad():
                px, g = patchify(torch.from_numpy(img))
                e = self.m.visual(px, *g)[1]
            pr = local_pairs(chars, h, w)
            lab = np.zeros(h * w // 784, bool); lab[pr[:, 0]] = True
            return dict(e=e, h=h, w=w, chars=chars, targets=ts, pairs=torch.from_numpy(pr), text=torch.from_numpy(lab), at=torch.from_numpy(middles(chars, ts, h, w)), others=self.others(), put=put, also=[dict(name=n) for n in also], left=self.reuse)

    def others(self):
        """What other pages have: (name, kind)."""
        out = []
        while len(out) < 60:
            p = self.pages.sample(self.rng)
            out += [(t['name'], t['kind']) for t in self.rng.sample(p.targets, min(len(p.targets), 12))] + [(s, 'word') for s, _ in Q.spans(p.chars, self.rng, 12)]
        return out

    def sample(self):
        if len(self.pool) < 8 or self.rng.random() < 1 / self.reuse:
            v = self.new(); self.pool.append(v)
            if len(self.pool) > self.keep: self.pool.pop(0)
            return v
        return self.rng.choice(self.pool)


def middles(chars, targets, h, w):
    """Where to click for what is drawn in each token, 0..1 of the page [tokens, 2]: the middle of the part of the text line nearest the
    token's centre that lies in the token; without text that of an icon's part; else the centre."""
    gh, gw = h // 28, w // 28
    out = np.stack(np.meshgrid(np.arange(gw), np.arange(gh)), -1).reshape(-1, 2) * 28 + 14.0; centre = out.copy(); text = np.zeros(gh * gw, bool)
    if len(chars):
        cy = (chars[:, 2] + chars[:, 4]) / 2
        tok = np.clip((cy / 28).astype(int), 0, gh - 1) * gw + np.clip(((chars[:, 1] + chars[:, 3]) / 56).astype(int), 0, gw - 1)
        order = np.lexsort((chars[:, 6], tok)); c, t, y = chars[order], tok[order], cy[order]
        first = np.r_[0, np.flatnonzero(np.diff(t) | np.diff(c[:, 6]).astype(bool)) + 1]; many = np.diff(np.r_[first, len(t)]); t = t[first]
        y = np.add.reduceat(y, first) / many; x = centre[t, 0]
        x = (np.maximum(np.minimum.reduceat(c[:, 1], first), x - 14) + np.minimum(np.maximum.reduceat(c[:, 3], first), x + 14)) / 2
        far = np.argsort(-np.abs(y - centre[t, 1]), kind='stable')  # the nearest is written last
        out[t[far]] = np.stack((x, y), -1)[far]; text[t] = True
    for q in targets:
        b = np.array(q['box'])
        if q['text'] or (b[2:] - b[:2]).max() >= 56: continue
        k = Q.tokens_in(b, h, w) & ~text
        out[k] = (np.maximum(centre[k] - 14, b[:2]) + np.minimum(centre[k] + 14, b[2:])) / 2
    return (out / (w, h)).astype(np.float32)


def places(v):
    """The code of the place of what is drawn in every image token."""
    return torch.cat((code(v['at'][:, 0]), code(v['at'][:, 1])), -1)


def goal(q, chars, h, w):
    """The tokens that count as found, the tokens of the name's text alone, and the point to answer (0..1)."""
    b = q['box']
    if not b: return np.zeros(h * w // 784, bool), np.zeros(h * w // 784, bool)
    inb = Q.tokens_in(b, h, w)
    cx, cy = (chars[:, 1] + chars[:, 3]) / 2, (chars[:, 2] + chars[:, 4]) / 2
    i = (cx > b[0]) & (cx < b[2]) & (cy > b[1] - 1) & (cy < b[3] + 1)
    text = np.zeros_like(inb)
    if i.any():
        text[np.clip((cy[i] / 28).astype(int), 0, h // 28 - 1) * (w // 28) + np.clip((cx[i] / 28).astype(int), 0, w // 28 - 1)] = True
        return inb | text, text
    return inb, inb


def goals(v, qs):
    """`goal` of each question; of a target's tokens only those count that would be clicked in it, if there are any: of two lines in one
    token only the nearer one is."""
    at, out = v['at'] * torch.tensor([v['w'], v['h']]), []
    for q in qs:
        masks = [torch.from_numpy(k) for k in goal(q, v['chars'], v['h'], v['w'])]
        if q['box']:
            b = torch.tensor(q['box'], dtype=torch.float32); good = ((at >= b[:2] - 1) & (at <= b[2:] + 1)).all(-1)
            masks = [k & good if (k & good).any() else k for k in masks]
        out.append(masks)
    return out


def page_loss(m, aux, v, rng, a, stats, force):
    h, w, chars, targets = v['h'], v['w'], v['chars'], v['targets']
    qs = Q.make(chars, targets, rng, a.questions, a.short, a.share)
    if qs: qs += Q.not_there(chars, targets + v['also'], v['others'], rng, round(a.questions * a.absent), a.short)
    n0 = len(PREFIX); loss = 0
    kv, hs, nxt = prefix_run(m, v['e'], h, w, PROBE)
    mid, text = hs[PROBE - 1][0, n0:], v['text']
    spot = places(v)
    ls = F.mse_loss(kv[PROBE][1][0, :, n0:, :16] if a.lane else aux.spot(mid)[None], spot.expand(len(kv[PROBE][1][0]) if a.lane else 1, -1, -1)); stats.add('spot', ls)
    tgt = torch.zeros(len(mid), NGRAM); tgt[v['pairs'][:, 0], v['pairs'][:, 1]] = 1
    lg = F.binary_cross_entropy_with_logits(aux.local(mid[text]), tgt[text]) * 100; stats.add('local', lg)
    loss = 10 * ls + 0.2 * lg
    if a.look and (v['put'] or a.looks): loss = loss + a.look * look_loss(m, v, kv, nxt, rng, a, stats)
    if not qs:
        return loss
    pr = [prompt_ids(q['instruction']) for q in qs]
    inb, on = (torch.stack(x) for x in zip(*goals(v, qs)))
    there = inb.any(-1)
    px, py = ((on * c).sum(-1) / on.sum(-1).clamp(min=1) for c in v['at'].T)
    ends = torch.stack((px - HALF[0], py - HALF[1], px + HALF[0], py + HALF[1]), -1).clamp(0, 0.999)
    an = [answer_ids([min(999, int(x * 1000 + 0.5)) for x in b], q['typed']) if q['box'] else NOT_THERE for b, q in zip(ends.tolist(), qs)]
    L = max(len(p) + len(b) for p, b in zip(pr, an)); N = len(qs)
    ids = torch.full((N, L), ID['<|endoftext|>']); wts = torch.zeros(N, L)
    last = torch.tensor([len(p) - 1 for p in pr]); rows = torch.arange(N)
    for i, (p, b) in enumerate(zip(pr, an)):
        ids[i, :len(p) + len(b)] = torch.tensor(p + b)
        # whether it is there is told by the first token
        wts[i, len(p) - 1:len(p) + len(b) - 1] = torch.tensor([1.0 if t >= NUM0 and 2 <= j <= 8 else (2.0 if qs[i]['box'] else 2.0 * a.ends) if j == 0 else 0.2 for j, t in enumerate(b)])
    p0 = nxt + torch.arange(L); cos, sin = m.mrope(torch.stack((p0, p0, p0)))
    x = m.embed(ids)
    pk, pv, _ = prefix_text(m)
    for i, l in enumerate(m.model.layers):
        if i == PROBE:
            tg = torch.zeros(N, NGRAM)
            for j, q in enumerate(qs): tg[j, text_bigrams(q['name'])] = 1
            lq = F.binary_cross_entropy_with_logits(aux.gram(x[rows, last]), tg) * 100; stats.add('gram_q', lq); loss = loss + 0.3 * lq
            forced = (torch.rand(N) < force) & there
            put = torch.zeros(N, n0 + len(mid) + L); put[:, n0:n0 + len(mid)] = on / on.sum(-1, keepdim=True).clamp(min=1)
            part = torch.where(forced, 0.25 + 0.75 * torch.rand(N), torch.zeros(N))  # the rest stays the model's own attention
            see, lp = l.questions(x, cos, sin, kv[i][0], kv[i][1], torch.zeros_like(last), (part[:, None, None, None], put[:, None, None]), only=last[:, None], sharp=SHARP)
            x, _ = l.questions(x, cos, sin, pk[i], pv[i], sharp=SHARP)
            x = torch.where((torch.arange(L) == last[:, None])[..., None], see, x)
            lpi = lp[:, :, n0:n0 + len(mid)]
            # what is not there is looked for in vain: attention stays with the text
            lt = torch.cat((lp[:, :, :n0], lp[:, :, n0 + len(mid):]), -1)
            la = -torch.where(there[:, None], torch.logsumexp(lpi.masked_fill(~inb[:, None], -1e9), -1), torch.logsumexp(lt, -1))
            stats.add('attn', la[there]); stats.add('vain', la[~there])
            # Heads that look at different places blur what they bring; together they find more than each alone.
            both = lp.clamp(min=-30); mean = both.detach().exp().mean(1, keepdim=True)
            apart = (mean * (mean.clamp(min=1e-9).log() - both)).sum(-1).mean(); stats.add('apart', apart)
            loss = loss + a.attn * la.mean() + a.agree * apart
            hit = inb.gather(1, lpi.detach().exp().mean(1).argmax(-1)[:, None])[there, 0].float(); stats.add('hit', hit)
            mass = torch.where(forced | ~there, torch.ones(N), (2 * (lpi.detach().exp().mean(1) * inb).sum(-1)).clamp(max=1))
            lf = ((x[rows, last][:, PLACE] if a.lane else aux.found(x[rows, last])) - torch.cat((code(px), code(py)), -1)).square().mean(-1)
            stats.add('found', lf[forced]); loss = loss + 4 * (lf * mass * there).mean()
        elif i < len(m.model.layers) - 1:
            x, _ = l.questions(x, cos, sin, pk[i], pv[i])
        else:  # from the last prompt token on
            only = (last[:, None] + torch.arange(max(map(len, an)))).clamp(max=L - 2)
            x, _ = l.questions(x, cos, sin, pk[i], pv[i], only=only)
    lo = m.logits(x).log_softmax(-1)
    wts = wts.gather(1, only) * (torch.arange(only.shape[1]) < torch.tensor(list(map(len, an)))[:, None])
    y, ww = ids.gather(1, only + 1), wts * mass[:, None]
    ce = -lo.gather(-1, y[..., None])[..., 0]
    num = wts == 1
    near = torch.exp(-0.5 * ((torch.arange(1000) - (y[num] - NUM0)[:, None]) / 5) ** 2); near = near / near.sum(-1, keepdim=True)
    # What was looked at in vain had better be refused, too.
    miss = a.doubt * 2.0 * torch.where(there, 1 - mass, torch.zeros(N)); no = -lo[:, 0, NOT_THERE[0]]
    ce = ce.masked_scatter(num, -(lo[num][:, NUM0:] * near).sum(-1))
    la = ((ce * ww).sum() + (no * miss).sum()) / (ww.sum() + miss.sum()); stats.add('ans', la); loss = loss + la
    said = lo.detach()[:, 0].argmax(-1) == NOT_THERE[0]
    stats.add('ends', said[~there]); free = there & ~forced
    for name, share in (('ends wrongly', free & (mass > 0.5)), ('ends in doubt', free & (mass <= 0.5))): stats.add(name, said[share])
    off = (lo.detach()[num].argmax(-1) - y[num]).abs().view(-1, 4).float(); f = forced[there].nonzero()[:, 0]
    stats.add('off', off[f].clamp(max=200))
    ok = ((y[num].view(-1, 4) - lo.detach()[num].argmax(-1).view(-1, 4)).view(-1, 2, 2).float().mean(1)).abs()
    bx = torch.tensor([[(q['box'][2] - q['box'][0]) / w, (q['box'][3] - q['box'][1]) / h] for q in qs if q['box']]) * 500
    right = (ok <= bx + 2).all(-1); forced = forced[there]
    stats.add('right', right[~forced])
    return loss


def read(m, instructions, at):
    """Prompts without a picture, from position `at`, after the layers before PROBE: [prompts, tokens, H]; each one's last token; RoPE."""
    pr = [prompt_ids(i) for i in instructions]; L = max(map(len, pr)); ids = torch.full((len(pr), L), ID['<|endoftext|>'])
    for i, p in enumerate(pr): ids[i, :len(p)] = torch.tensor(p)
    pos = at + torch.arange(L); cos, sin = m.mrope(torch.stack((pos, pos, pos))); x = m.embed(ids); pk, pv, _ = prefix_text(m)
    for i, l in enumerate(m.model.layers[:PROBE]): x = l.questions(x, cos, sin, pk[i], pv[i])[0]
    return x, torch.tensor([len(p) - 1 for p in pr]), cos, sin


def look_loss(m, v, kv, nxt, rng, a, stats, n=36):
    """More of the page is asked for, its text and, by any of their names, the icons that were put on it: only where layer PROBE looks is
    taught, which is cheap."""
    h, w, thing = v['h'], v['w'], {}
    qs = Q.make(v['chars'], v['targets'], rng, round(n * a.looks), a.short, a.share)
    asked = [(Q.wording(q['name'], rng, a.short), on) for q, (on, _) in zip(qs, goals(v, qs))]
    put = rng.sample(v['put'], min(n, len(v['put'])))
    for _, t, b in v['put']: thing[t] = thing.get(t, False) | Q.tokens_in(b, h, w)
    asked += [(Q.wording(rng.choice(names), rng, 0.7), torch.from_numpy(thing[t])) for names, t, _ in put]
    if not asked: return 0
    on = torch.stack([k for _, k in asked])
    x, last, cos, sin = read(m, [i for i, _ in asked], nxt)
    lp = m.model.layers[PROBE].questions(x, cos, sin, *kv[PROBE], torch.zeros_like(last), only=last[:, None])[1]
    lp = lp[:, :, len(PREFIX):len(PREFIX) + len(v['e'])]; hit = on.gather(1, lp.detach().exp().mean(1).argmax(-1)[:, None])[:, 0].float()
    stats.add('icon hit', hit[len(qs):])
    return -torch.logsumexp(lp.masked_fill(~on[:, None], -1e9), -1).mean(1).sum() / n


def four_bits(w):
    """What is left of a matrix stored as q4: 32-wide blocks between their least and greatest value in 15 steps."""
    b = w.view(-1, 32); low = b.amin(1, keepdim=True).half().float(); step = ((b.amax(1, keepdim=True) - low) / 15).clamp(min=1e-8)
    return (((b - low) / step).round().clamp(0, 15) * step + low).view_as(w)


class Quantised:
    """Within, the decoder's matrices are as stored in q4; gradients go to the exact ones."""
    def __init__(self, m, on):
        self.ps = [p for n, p in m.model.layers.named_parameters() if p.dim() == 2] if on else []

    def __enter__(self):
        self.kept = [p.data.clone() for p in self.ps]
        for p in self.ps: p.data.copy_(four_bits(p.data))

    def __exit__(self, *_):
        for p, k in zip(self.ps, self.kept): p.data.copy_(k)


def text_loss(m, aux, pages, rng, stats, n=40):
    """Instructions alone: after layer 1 the last prompt token must know the letter pairs of the name. No picture, so it is cheap."""
    qs = []
    while len(qs) < n:
        p = pages.sample(rng)
        qs += Q.make(p.chars, list(p.targets), rng, 12, 0.7, 0.5)
    x, last, _, _ = read(m, [q['instruction'] for q in qs[:n]], rng.randint(10, 60))
    tg = torch.zeros(n, NGRAM)
    for j, q in enumerate(qs[:n]): tg[j, text_bigrams(q['name'])] = 1
    loss = F.binary_cross_entropy_with_logits(aux.gram(x[torch.arange(n), last]), tg) * 100
    stats.add('gram_t', loss)
    return loss


def last_query(m, instructions, at):
    """What layer PROBE asks for at the end of each prompt, before RoPE: [instructions, H]."""
    x, last, _, _ = read(m, instructions, at); l = m.model.layers[PROBE]
    return l.self_attn.q_proj(l.input_layernorm(x[torch.arange(len(x)), last]))


def same_loss(m, pages, rng, stats, n=32):
    """Whatever the wording, what is looked for is the name. No picture, so it is cheap."""
    names = []
    while len(names) < n:
        p = pages.sample(rng); names += [s for s, _ in Q.spans(p.chars, rng, 5)] + [t['name'] for t in rng.sample(p.targets, min(len(p.targets), 5)) if len(t['name']) <= 36]
    at = rng.randint(20, 60); mine = last_query(m, [Q.wording(s, rng, 0.2) for s in names[:n]], at)
    with torch.no_grad(): plain = last_query(m, ['click ' + s for s in names[:n]], at)
    loss = (mine - plain).square().mean() / (plain - plain.mean(0)).square().mean()
    stats.add('same', loss)
    return loss


def copy_loss(m, pages, rng, stats, n=14):
    """What is to be typed is copied from the instruction. No picture, so it is cheap. Numbers look alike to the model: any counts."""
    qs = []
    while len(qs) < n:
        ts = pages.sample(rng).targets
        if ts: qs += [(Q.typed(t['name'], rng)) for t in rng.sample(ts, min(len(ts), 7)) if len(t['name']) <= 36]
    pr = [prompt_ids(ins) for ins, _ in qs[:n]]; an = [answer_ids([rng.randint(0, 999) for _ in range(4)], t) for _, t in qs[:n]]
    L = max(len(p) + len(b) for p, b in zip(pr, an)); ids = torch.full((n, L), ID['<|endoftext|>']); on = torch.zeros(n, L, dtype=torch.bool)
    for i, (p, b) in enumerate(zip(pr, an)):
        ids[i, :len(p) + len(b)] = torch.tensor(p + b); on[i, [len(p), *range(len(p) + 9, len(p) + len(b) - 1)]] = True
    pos = rng.randint(10, 60) + torch.arange(L); cos, sin = m.mrope(torch.stack((pos, pos, pos)))
    x = m.embed(ids); pk, pv, _ = prefix_text(m)
    for i, l in enumerate(m.model.layers): x = l.questions(x, cos, sin, pk[i], pv[i], sharp=SHARP if i == PROBE else 1)[0]
    lo = m.logits(x[on]).log_softmax(-1); lo = torch.cat((lo[:, :NUM0], lo[:, NUM0:].logsumexp(-1, keepdim=True)), -1)
    y = ids[:, 1:][on[:, :-1]].clamp(max=NUM0)
    loss = F.nll_loss(lo, y)
    stats.add('typed', loss); stats.add('typed right', lo.argmax(-1) == y)
    return loss


def ridge(x, y, c=1e-2):
    """Linear read-out of y [n, k] from x [n, d] about their means: weight [k, d] and the mean of x."""
    mx, my = x.mean(0), y.mean(0); x = x - mx
    g = x.T @ x / len(x)
    return torch.linalg.solve(g + c * g.diagonal().mean() * torch.eye(len(g)), x.T @ (y - my) / len(x)).T, mx


@torch.no_grad()
def match_init(m, views, rng, n=60, slow=17, gain=1.0):
    """Sets the queries and keys of layer PROBE to what linear read-outs of letter pairs on both sides give: score = pairs named times
    pairs drawn. Only dimensions that RoPE hardly turns are used."""
    xi, yi, xt, yt = [], [], [], []
    l = m.model.layers[PROBE]
    for _ in range(n):
        v = views.sample(); h, w = v['h'], v['w']
        kv, hs, nxt = prefix_run(m, v['e'], h, w, PROBE)
        mid = hs[PROBE - 1][0, len(PREFIX):]
        y = torch.zeros(len(mid), NGRAM); y[v['pairs'][:, 0], v['pairs'][:, 1]] = 1
        pick = v['text'] | (torch.rand(len(mid)) < 0.2)
        xi.append(l.input_layernorm(mid)[pick]); yi.append(y[pick])
        qs = Q.make(v['chars'], v['targets'], rng, 40, 0.6, 0.5)
        if not qs: continue
        x, last, _, _ = read(m, [q['instruction'] for q in qs], nxt)
        xt.append(l.input_layernorm(x[torch.arange(len(qs)), last]))
        y = torch.zeros(len(qs), NGRAM)
        for i, q in enumerate(qs): y[i, text_bigrams(q['name'])] = 1
        yt.append(y)
    xi, yi, xt, yt = map(torch.cat, (xi, yi, xt, yt))
    use = (yi.sum(0) > 5) & (yt.sum(0) > 2)
    gi, mi = ridge(xi, yi[:, use]); gt, mt = ridge(xt, yt[:, use])
    rare = (len(yi) / (yi[:, use].sum(0) + 5)).log()
    b = gt.T @ (rare[:, None] * gi)
    u, s, vh = torch.linalg.svd(b)
    a = l.self_attn; half = a.d // 2; dims = torch.cat((torch.arange(slow - 1, half - 1), torch.arange(slow - 1, half - 1) + half)); k = len(dims) * a.n
    r = torch.linalg.qr(torch.randn(k, k))[0]
    q, kk = r @ (s[:k].sqrt()[:, None] * u[:, :k].T), r @ (s[:k].sqrt()[:, None] * vh[:k])
    print('share of the match kept', (s[:k].sum() / s.sum()).item(), 'names', len(yt), 'pairs', int(use.sum()), flush=True)
    spread = ((xt - mt) @ q.T * 1.0 @ ((xi - mi) @ kk.T)[:4000].T).std() / a.n
    f = (gain * a.d ** 0.5 / spread).sqrt()
    for w, bias, new, mean in ((a.q_proj.weight, a.q_proj.bias, q, mt), (a.k_proj.weight, a.k_proj.bias, kk, mi)):
        w.zero_(); bias.zero_(); at = (torch.arange(a.n)[:, None] * a.d + dims).reshape(-1)
        w[at] = f * new; bias[at] = -f * (new @ mean)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--data', required=True); ap.add_argument('--run', required=True); ap.add_argument('--start'); ap.add_argument('--tower', help='checkpoint of pretrain.py; read again whenever it is newer, if --follow')
    ap.add_argument('--minutes', type=float, default=60); ap.add_argument('--threads', type=int, default=1); ap.add_argument('--lr', type=float, default=1e-3); ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--follow', type=float, default=0, help='take the tower anew every so many minutes'); ap.add_argument('--questions', type=int, default=28); ap.add_argument('--attn', type=float, default=1.0)
    ap.add_argument('--share', type=float, default=0.5); ap.add_argument('--short', type=float, default=0.6); ap.add_argument('--force', type=float, default=0.5); ap.add_argument('--decay', type=float, default=0.5)
    ap.add_argument('--ends', type=float, default=1.0, help='how much more it matters to end where nothing is there than not to end where something is')
    ap.add_argument('--agree', type=float, default=0.5, help='weight of what keeps the heads of PROBE at one place')
    ap.add_argument('--icons', type=float, default=0, help='how often, at least, a page full of icons is asked about')
    ap.add_argument('--look', type=float, default=1.0, help='weight of finding more of the page: text, and the icons that were put on it')
    ap.add_argument('--looks', type=float, default=1.0, help='how much text is looked for, as a share of the icons')
    ap.add_argument('--sprites', help='icons to put on pages, from sprites.mjs')
    ap.add_argument('--absent', type=float, default=0, help='share of questions whose target is not there, added'); ap.add_argument('--lane', type=int, default=1, help='0 before lane.py has been run'); ap.add_argument('--q4', action='store_true', help='train for 4-bit weights'); ap.add_argument('--reuse', type=int, default=4); ap.add_argument('--keep', type=int, default=300); ap.add_argument('--steps', type=int, default=10**9); ap.add_argument('--match', type=float, default=0, help='set the match analytically, with this gain')
    ap.add_argument('--same', type=float, default=1.0, help='weight of looking for the same, whatever the wording')
    ap.add_argument('--copy', type=float, default=0.5, help='weight of copying what is to be typed')
    ap.add_argument('--doubt', type=float, default=0.5, help='weight of saying that it is not there where something else was found')
    ap.add_argument('--processes', type=int, default=1, help='each takes pages of its own; gradients are averaged')
    spawn(teach, ap.parse_args())


def teach(rank, a):
    torch.set_num_threads(a.threads); torch.manual_seed(a.seed); os.makedirs(a.run, exist_ok=True)
    cfg = config(); m = Nano(cfg); aux = Aux(cfg['hidden_size'])
    step, ck = 0, os.path.join(a.run, 'last.pt')
    s = torch.load(ck, weights_only=False) if os.path.exists(ck) else None
    if s:
        m.load_state_dict(s['model']); aux.load_state_dict(s['aux']); step = s['step']
    else:
        z = torch.load(a.start, weights_only=False); m.load_state_dict(widen(z['model'], cfg)); aux.load_state_dict({k: x for k, x in z.get('aux', {}).items() if k in aux.state_dict() and aux.state_dict()[k].shape == x.shape}, strict=False)
        if 'aux' not in z or 'found.weight' not in z['aux']: nn.init.constant_(aux.local.bias, -5)
    turn = (s or z).get('turn')
    take = lambda: see_through(m, a.tower, turn)
    if a.tower: take()
    reserve(m, a.lane)
    for p in m.visual.parameters(): p.requires_grad_(False)
    opts = optimisers({'model': m.model, 'aux': aux}, a.lr)
    for o, z in zip(opts, s['opt'] if s else []): o.load_state_dict(z)
    pages, rng = Pages(a.data, icons=a.icons), random.Random(a.seed + step + 7919 * rank)
    views = Views(m, pages, rng, a.reuse, a.keep, Sprites(a.sprites) if a.sprites else None); hd = m.model.layers[0].self_attn.d
    if a.match and not s: match_init(m, views, rng, gain=a.match)
    params = [p for p in (*m.parameters(), *aux.parameters()) if p.requires_grad]; alike(params); torch.manual_seed(a.seed + step + 7919 * rank)
    if not rank: print('params', sum(p.numel() for p in m.parameters()), 'step', step, 'pages', len(pages.stems), flush=True)
    st = Means(); t0 = last = taken = time.time(); s0 = step; gone = 0.0  # the share of the time that has passed
    save = lambda: (torch.save(dict(model=m.state_dict(), aux=aux.state_dict(), opt=[o.state_dict() for o in opts], step=step, turn=turn), ck + '.tmp'), os.replace(ck + '.tmp', ck))
    while gone < 1 and step < a.steps:
        for g in [g for o in opts for g in o.param_groups]: g['lr'] = a.lr * min(1, (step - s0 + 1) / 30) * max(0.03, min(1, (1 - gone) / a.decay))
        [o.zero_grad(set_to_none=True) for o in opts]
        with Quantised(m, a.q4):
            page_loss(m, aux, views.sample(), rng, a, st, a.force).backward()
            if a.copy and step % 2: (a.copy * copy_loss(m, pages, rng, st)).backward()
            if a.same: (a.same * same_loss(m, pages, rng, st)).backward()
            if step % 3 == 0: (0.3 * text_loss(m, aux, pages, rng, st)).backward()
        gone = average(params, (time.time() - t0) / 60 / a.minutes)
        m.model.embed_tokens.weight.grad[NUM0:] = 0
        q = m.model.layers[PROBE + 1].self_attn.q_proj
        if a.lane: q.weight.grad[hd // 2 - 2::hd] = 0; q.bias.grad[hd // 2 - 2::hd] = 0  # the gates, which lane.py found: training blurs them
        torch.nn.utils.clip_grad_norm_(m.model.parameters(), 1.0)
        [o.step() for o in opts]; step += 1
        reserve(m, a.lane)
        if step % 25 == 0 and not rank:
            print(time.strftime('%H:%M:%S'), 'step', step, st, f's/step {(time.time() - t0) / (step - s0):.2f}', flush=True); st.clear()
        if time.time() - last > 60:
            pages.refresh(); last = time.time()
            if not rank: save()
        if a.follow and time.time() - taken > 60 * a.follow:
            taken = time.time(); take(); reserve(m, a.lane); views.pool.clear()
    if not rank: save()


if __name__ == '__main__':
    main()
