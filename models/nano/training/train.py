"""Teaches the decoder to find what an instruction names. Many questions share one picture's keys and values.
python train.py --data DIR --run DIR --start PRETRAIN/last.pt [--minutes M] [--freeze] ...
Losses besides the answer's tokens: attention of the last prompt token in layer 2 on the target's tokens; bigrams of the words
under each image token and of the name at the last prompt token, both read by the same matrix after layer 1; the box of the element
under each image token; the tower's characters (unless frozen)."""
import argparse, os, random, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from common import *
from muon import optimisers
from model import Nano, patchify
import questions as Q
import pretrain as P0

CELLS = False  # answer with the 28-px cell of the target's token instead of its box: a first stage, learnt in minutes
PROBE = 2  # the layer whose attention is supervised


class Aux(nn.Module):
    def __init__(self, h):
        super().__init__()
        self.gram = nn.Linear(h, NGRAM)
        self.box = nn.Linear(h, 120)
        self.letter = nn.Linear(h, 38)
        self.place = nn.Linear(h, 40)

    def letters(self, x, grams):
        """The letters of the same words as the pairs in `grams`: quick to learn on both sides, and robust to misreadings."""
        g = grams.view(-1, 38, 38)
        t = torch.maximum(g.amax(1), g.amax(2))[:, 1:]
        return F.binary_cross_entropy_with_logits(self.letter(x)[:, 1:], t)


def prefix_run(m, e, h, w, place=None):
    """Runs the fixed prefix and the image tokens e [n, H]; returns keys and values per layer, hidden after each layer."""
    x = torch.cat((m.embed(torch.tensor(PREFIX)), e.to(m.model.embed_tokens.weight.dtype)))[None]
    gh, gw = h // 28, w // 28
    oy, ox, hh, ww = place or (0, 0, gh, gw)
    n = len(PREFIX)
    t = torch.arange(n)
    pos = torch.cat((torch.stack((t, t, t)), torch.stack((torch.full((gh * gw,), n), n + oy + torch.arange(gh).repeat_interleave(gw), n + ox + torch.arange(gw).repeat(gh)))), 1)
    cos, sin = m.mrope(pos)
    kv, hs = [], []
    for l in m.model.layers:
        x, k, v = l.causal(x, cos, sin)
        kv.append((k, v)); hs.append(x)
    return kv, hs, n + max(hh, ww)


def page_loss(m, heads, aux, img, chars, targets, qs, freeze, stats, rng):
    h, w = img.shape[:2]
    place = Q.placement(rng, h, w)
    px, grid = patchify(torch.from_numpy(img))
    with torch.set_grad_enabled(not freeze):
        t, e = m.visual(px, *grid, tuple(2 * v for v in place))
    loss = 0
    lab = torch.from_numpy(merge_order(slot_labels(chars, h, w))).reshape(-1)
    wt = torch.ones(NCHAR); wt[0] = 0.4
    lt = heads.token(e).view(-1, NCHAR)
    on = lab > 0
    stats['char'] += (lt.detach().argmax(-1)[on] == lab[on]).float().mean().item() if on.any() else 0
    geo, mask, pairs = token_labels(chars, h, w)
    mask, pairs = torch.from_numpy(mask), torch.from_numpy(pairs)
    if not freeze and mask.any():
        lch = F.cross_entropy(lt, lab, wt) + F.cross_entropy(heads.patch(t).view(-1, NCHAR), lab, wt)
        loss = loss + 0.5 * lch
        stats['lchar'] += lch.item()
    # where the token stands, in hundreds and tens of thousandths: the merged token must carry it
    ty, tx = torch.arange(h // 28).repeat_interleave(w // 28), torch.arange(w // 28).repeat(h // 28)
    at = torch.stack(((tx + place[1] + 0.5) / place[3] * 1000, (ty + place[0] + 0.5) / place[2] * 1000), -1).long()
    lp = F.cross_entropy(aux.place(e).view(-1, 10), torch.stack((at // 100, at // 10 % 10), -1).reshape(-1), reduction='none').view(-1, 2)
    loss = loss + lp[:, 0].mean() + 0.5 * lp[:, 1].mean(); stats['pos_h'] += lp[:, 0].mean().item(); stats['pos_t'] += lp[:, 1].mean().item()
    kv, hs, nxt = prefix_run(m, e, h, w, place)
    n0 = len(PREFIX)
    mid = hs[PROBE - 1][0, n0:]
    tgt = torch.zeros(len(mid), NGRAM); tgt[pairs[:, 0], pairs[:, 1]] = 1
    if mask.any():
        lg = F.binary_cross_entropy_with_logits(aux.gram(mid[mask]), tgt[mask]) * 100
        loss = loss + 0.3 * lg; stats['gram_i'] += lg.item()
        lu = aux.letters(mid[mask], tgt[mask]); loss = loss + 2 * lu; stats['let_i'] += lu.item()
    # the box under each image token: its element if it has one, else the nearest word
    bx = np.full((len(mid), 4), -1, np.int64); area = np.full(len(mid), 1e9)
    gx, gy = np.tile(np.arange(w // 28), h // 28) + place[1] + 0.5, np.repeat(np.arange(h // 28), w // 28) + place[0] + 0.5
    mk = mask.numpy()
    wb = np.stack(((gx + geo[:, 0]) / place[3], (gy + geo[:, 1]) / place[2], (gx + geo[:, 2]) / place[3], (gy + geo[:, 3]) / place[2]), 1)
    bx[mk] = np.clip(np.round(wb[mk] * 1000), 0, 999).astype(np.int64)
    for tg in targets:
        k = Q.tokens_in(tg['box'], h, w); ar = (tg['box'][2] - tg['box'][0]) * (tg['box'][3] - tg['box'][1])
        k &= ar < area
        bx[k] = Q.box1000(tg['box'], h, w, place); area[k] = ar
    cell = np.stack(((gx - 0.5) / place[3], (gy - 0.5) / place[2], (gx + 0.5) / place[3], (gy + 0.5) / place[2]), 1)
    cell = np.clip(np.round(cell * 1000), 0, 999).astype(np.int64)
    if CELLS: bx = cell
    bt = torch.from_numpy(bx); bm = bt[:, 0] >= 0
    if bm.any():
        dg = torch.stack((bt // 100, bt // 10 % 10, bt % 10), -1)[bm].reshape(-1)
        lb = F.cross_entropy(aux.box(mid[bm]).view(-1, 10), dg, reduction='none').view(-1, 4, 3)
        loss = loss + 2.0 * (lb * torch.tensor([1.0, 1.0, 0.1])).mean(); stats['box_h'] += lb[..., 0].mean().item(); stats['box_t'] += lb[..., 1].mean().item()
    if qs:
        pr = [prompt_ids(q['instruction']) for q in qs]
        boxes = [Q.box1000(q['box'], h, w, place) for q in qs]
        if CELLS:
            middle = lambda b: min(h // 28 - 1, int((b[1] + b[3]) / 56)) * (w // 28) + min(w // 28 - 1, int((b[0] + b[2]) / 56))
            boxes = [[int(v) for v in cell[middle(q['box'])]] for q in qs]
        an = [answer_ids(b, q['typed']) for b, q in zip(boxes, qs)]
        L = max(len(p) + len(b) for p, b in zip(pr, an))
        ids = torch.full((len(qs), L), ID['<|endoftext|>']); wts = torch.zeros(len(qs), L)
        last = torch.tensor([len(p) - 1 for p in pr])
        for i, (p, b) in enumerate(zip(pr, an)):
            ids[i, :len(p) + len(b)] = torch.tensor(p + b)
            wv = [0.1, 0.3] + [v for j in range(4) for v in ([0.1] if j else []) + [1.0, 0.7, 0.15]] + [0.1]
            wv += [0.1] * (len(b) - len(wv))
            wts[i, len(p) - 1:len(p) - 1 + len(b)] = torch.tensor(wv)
        pos = nxt + torch.arange(L); cos, sin = m.mrope(torch.stack((pos, pos, pos)))
        x = m.embed(ids)
        la = 0
        for i, l in enumerate(m.model.layers):
            if i == PROBE:
                tg = torch.zeros(len(qs), NGRAM)
                for j, q in enumerate(qs): tg[j, text_bigrams(q['name'])] = 1
                lg = F.binary_cross_entropy_with_logits(aux.gram(x[torch.arange(len(qs)), last]), tg) * 100
                lu = aux.letters(x[torch.arange(len(qs)), last], tg)
                loss = loss + 0.3 * lg + 2 * lu; stats['gram_q'] += lg.item(); stats['let_q'] += lu.item()
            x, lp = l.questions(x, cos, sin, kv[i][0], kv[i][1], last if i == PROBE else None)
            if i == PROBE:
                inb = torch.stack([torch.from_numpy(Q.tokens_in(q['box'], h, w)) for q in qs])
                lpi = lp[:, :, n0:n0 + len(mid)]
                la = -torch.logsumexp(lpi.masked_fill(~inb[:, None], -1e9), -1)
                loss = loss + 0.5 * la.mean(); stats['attn'] += la.mean().item()
                hit = inb.gather(1, lpi.detach().exp().mean(1).argmax(-1)[:, None])[:, 0].float()
                stats['hit'] += hit.mean().item()
                # the box must now be known at the last prompt token ...
                bq = torch.tensor(boxes)
                dq = torch.stack((bq // 100, bq // 10 % 10, bq % 10), -1).reshape(-1)
                lb = F.cross_entropy(aux.box(x[torch.arange(len(qs)), last]).view(-1, 10), dq, reduction='none').view(-1, 4, 3)
                loss = loss + 1.0 * (lb * torch.tensor([1.0, 0.8, 0.1])).mean(); stats['qbox_h'] += lb[..., 0].mean().item(); stats['qbox_t'] += lb[..., 1].mean().item()
            if i == PROBE + 1:
                # ... and the answer's tokens copy it from there
                rows = wts > 0
                on_last = lp[torch.arange(len(qs)), :, :, lp.shape[-1] - L + last].transpose(1, 2)[rows]  # [rows, heads]
                lc = -(on_last + 1e-6).log().mean(); loss = loss + 0.3 * lc; stats['copy'] += lc.item()
        lo = m.logits(x[:, :-1])
        ce = F.cross_entropy(lo.reshape(-1, VOCAB), ids[:, 1:].reshape(-1), reduction='none').view(len(qs), L - 1)
        ww = wts[:, :-1]
        la = (ce * ww).sum() / ww.sum()
        loss = loss + 2.0 * la; stats['ans'] += la.item()
        hun = ww == 1.0
        stats['dig'] += (lo.detach().argmax(-1)[hun] == ids[:, 1:][hun]).float().mean().item()
    stats['n'] += 1; stats['tok'] += len(mid)
    return loss


def text_loss(m, aux, pages, rng, stats, n=40):
    """Instructions alone: after layer 1 the last prompt token must know the letter pairs of the name. No picture, so it is cheap."""
    qs = []
    while len(qs) < n:
        p = pages.sample(rng)
        qs += Q.make(p.chars, list(p.targets), rng, 12, 0.7, 0.5)
    pr = [prompt_ids(q['instruction']) for q in qs[:n]]
    L = max(map(len, pr)); ids = torch.full((n, L), ID['<|endoftext|>'])
    for i, p in enumerate(pr): ids[i, :len(p)] = torch.tensor(p)
    pos = rng.randint(10, 60) + torch.arange(L); cos, sin = m.mrope(torch.stack((pos, pos, pos)))
    x = m.embed(ids)
    for l in m.model.layers[:PROBE]: x = l.causal(x, cos, sin)[0]
    tg = torch.zeros(n, NGRAM)
    for j, q in enumerate(qs[:n]): tg[j, text_bigrams(q['name'])] = 1
    y = x[torch.arange(n), torch.tensor([len(p) - 1 for p in pr])]
    loss = F.binary_cross_entropy_with_logits(aux.gram(y), tg) * 100
    stats['gram_t'] += 2 * loss.item()
    return loss + 7 * aux.letters(y, tg)


@torch.no_grad()
def look_back(m, gain=5.0):
    """The first layer's heads start by looking 0 to 3 tokens back (through the biases and RoPE), so that letters meet their neighbours."""
    a = m.model.layers[0].self_attn
    h = a.d // 2; pairs = [0] + list(range(4, 10))
    a.k_proj.bias.zero_(); a.q_proj.bias.zero_()
    k, q = a.k_proj.bias.view(a.kv, a.d), a.q_proj.bias.view(a.n, a.d)
    for i in pairs:
        k[:, i] = gain
        for n, back in enumerate((1, 2, 3, 0)):
            # rotate(q, p) . rotate(k, p - back) is largest when q = rotate(k, -back)
            q[n, i], q[n, h + i] = gain * torch.cos(back * m.inv[i]), -gain * torch.sin(back * m.inv[i])


def stage(sizes, p):
    """Curriculum: which sizes of crops are in use when a share p of the run is done."""
    return sizes[:3] if p < 0.15 else sizes[:4] if p < 0.35 else sizes[1:5] if p < 0.6 else sizes[2:6] * 2 + sizes[6:]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--data', required=True); ap.add_argument('--run', required=True); ap.add_argument('--start')
    ap.add_argument('--minutes', type=float, default=60); ap.add_argument('--threads', type=int, default=1); ap.add_argument('--freeze', action='store_true'); ap.add_argument('--louder-positions', type=float, default=1.0); ap.add_argument('--cells', action='store_true'); ap.add_argument('--sharpen', type=float, default=1.0, help='factor on the queries of the supervised layer, once'); ap.add_argument('--look-back', action='store_true', help='set the look-back biases in a resumed checkpoint')
    ap.add_argument('--lr', type=float, default=8e-4); ap.add_argument('--tower-lr', type=float, default=2e-4); ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--accum', type=int, default=2); ap.add_argument('--questions', type=int, default=16); 
    ap.add_argument('--sizes', default='168x280,224x336,280x420,336x448,392x616,504x784,812x1288'); ap.add_argument('--begin', type=float, default=0.0, help='share of the curriculum already done'); ap.add_argument('--steps', type=int, default=10**9); ap.add_argument('--share', type=float, default=0.5); ap.add_argument('--short', type=float, default=0.6)
    a = ap.parse_args()
    torch.set_num_threads(a.threads); torch.manual_seed(a.seed); os.makedirs(a.run, exist_ok=True)
    cfg = config(); v = cfg['vision_config']
    m = Nano(cfg); P0.init(m)
    heads = P0.Heads(v['hidden_size'], v['out_hidden_size']); aux = Aux(cfg['hidden_size'])
    look_back(m)
    at = m.model.layers[PROBE].self_attn; hd = at.d  # query and key start as the same map: likeness from the first step
    at.q_proj.weight.data.copy_(at.k_proj.weight.data.view(at.kv, 1, hd, -1).repeat(1, at.n // at.kv, 1, 1).reshape(at.n * hd, -1))
    aux.gram.weight.data.mul_(0.3)
    step, ck = 0, os.path.join(a.run, 'last.pt')
    s = None
    if os.path.exists(ck):
        s = torch.load(ck, weights_only=False); m.load_state_dict(s['model']); heads.load_state_dict(s['heads']); aux.load_state_dict(s['aux'], strict=False); step = s['step']
    elif a.start and os.path.isdir(a.start):  # an exported directory: the read-outs begin afresh
        from safetensors.torch import load_file
        m.load_state_dict({k: x.float() for k, x in load_file(os.path.join(a.start, 'model.safetensors')).items()})
    elif a.start:
        z = torch.load(a.start, weights_only=False)
        m.visual.load_state_dict({k[7:]: x for k, x in z['model'].items() if k.startswith('visual.')}); heads.load_state_dict(z['heads'])
        if 'aux' in z: m.load_state_dict(z['model']); aux.load_state_dict(z['aux'])
        else: aux.gram.load_state_dict(heads.gram.state_dict())
    dec = list(m.model.parameters()) + list(aux.parameters()); tow = list(m.visual.parameters()) + list(heads.parameters())
    if a.freeze:
        for p in tow: p.requires_grad_(False)
    fast = {id(p) for p in [*m.visual.merger.parameters(), m.visual.pos_embed.weight]}
    opts = optimisers({'model': m.model, 'aux': aux}, a.lr) + ([] if a.freeze else [torch.optim.AdamW([dict(params=[p for p in tow if id(p) not in fast], base=a.tower_lr), dict(params=[p for p in tow if id(p) in fast], base=3 * a.tower_lr)], lr=a.tower_lr, betas=(0.9, 0.98), weight_decay=0.02)])
    for o, z in zip(opts, s['opt'] if s else []):
        try: o.load_state_dict(z)
        except ValueError: print('an optimiser starts afresh', flush=True)
    for o, bs in zip(opts, ([a.lr], [a.lr], [a.tower_lr, 3 * a.tower_lr])):
        for g, b in zip(o.param_groups, bs): g['base'] = b
    if a.look_back: look_back(m)
    globals()['CELLS'] = a.cells
    for p in (m.model.layers[PROBE].self_attn.q_proj.weight, m.model.layers[PROBE].self_attn.q_proj.bias): p.data.mul_(a.sharpen)
    m.visual.pos_embed.weight.data.mul_(a.louder_positions)
    pages, rng = Pages(a.data), random.Random(a.seed + step)
    ema = {k: x.clone() for k, x in (s.get('ema') or m.state_dict()).items()} if s else {k: x.clone() for k, x in m.state_dict().items()}
    sizes = [tuple(map(int, z.split('x'))) for z in a.sizes.split(',')]
    print('params', sum(p.numel() for p in m.parameters()), 'step', step, 'pages', len(pages.stems), flush=True)
    from collections import defaultdict
    st = defaultdict(float); t0 = last = time.time(); s0 = step
    while time.time() - t0 < a.minutes * 60 and step < a.steps:
        for g in [g for o in opts for g in o.param_groups]: g['lr'] = g['base'] * min(1, (step - s0 + 1) / 30) * float(0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * min(1, (time.time() - t0) / 60 / a.minutes))))
        [o.zero_grad(set_to_none=True) for o in opts]
        for _ in range(a.accum):
            for _ in range(20):
                img, chars, ts = crop(pages.sample(rng), rng, rng.choice(stage(sizes, a.begin + (1 - a.begin) * (time.time() - t0) / 60 / a.minutes)))
                if len(chars) < 12: continue
                qs = Q.make(chars, ts, rng, a.questions, a.short, a.share)
                if len(qs) >= 4: break
            try:
                loss = page_loss(m, heads, aux, img, chars, ts, qs, a.freeze, st, rng)
            except (ValueError, IndexError, RuntimeError) as e:  # one odd page must not end a run
                print('skipped', str(e)[:200], flush=True)
                continue
            (loss / a.accum).backward()
        if step % 2 == 0: (0.5 * text_loss(m, aux, pages, rng, st)).backward()
        torch.nn.utils.clip_grad_norm_(dec, 1.0)
        if not a.freeze: torch.nn.utils.clip_grad_norm_(tow, 1.0)
        [o.step() for o in opts]; step += 1
        d = min(0.98, (1 + step) / (10 + step))
        with torch.no_grad():
            for k, x in m.state_dict().items(): ema[k].lerp_(x, 1 - d)
        if step % 25 == 0:
            n = st.pop('n')
            print(time.strftime('%H:%M:%S'), 'step', step, ' '.join(f'{k} {x / n:.3f}' for k, x in st.items()), f's/step {(time.time() - t0) / (step - s0):.2f}', flush=True); st.clear()
        if time.time() - last > 60:
            pages.refresh(); last = time.time()
            torch.save(dict(model=m.state_dict(), ema=ema, heads=heads.state_dict(), aux=aux.state_dict(), opt=[o.state_dict() for o in opts], step=step), ck + '.tmp'); os.replace(ck + '.tmp', ck)
    torch.save(dict(model=m.state_dict(), ema=ema, heads=heads.state_dict(), aux=aux.state_dict(), opt=[o.state_dict() for o in opts], step=step), ck)


if __name__ == '__main__':
    main()
