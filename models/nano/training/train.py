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

PROBE = 2  # the layer whose attention is supervised


class Aux(nn.Module):
    def __init__(self, h):
        super().__init__()
        self.gram = nn.Linear(h, NGRAM)
        self.box = nn.Linear(h, 120)


def prefix_run(m, e, h, w):
    """Runs the fixed prefix and the image tokens e [n, H]; returns keys and values per layer, hidden after each layer."""
    x = torch.cat((m.embed(torch.tensor(PREFIX)), e.to(m.model.embed_tokens.weight.dtype)))[None]
    gh, gw = h // 28, w // 28
    n = len(PREFIX)
    t = torch.arange(n)
    pos = torch.cat((torch.stack((t, t, t)), torch.stack((torch.full((gh * gw,), n), n + torch.arange(gh).repeat_interleave(gw), n + torch.arange(gw).repeat(gh)))), 1)
    cos, sin = m.mrope(pos)
    kv, hs = [], []
    for l in m.model.layers:
        x, k, v = l.causal(x, cos, sin)
        kv.append((k, v)); hs.append(x)
    return kv, hs, n + max(gh, gw)


def page_loss(m, heads, aux, img, chars, targets, qs, freeze, stats):
    h, w = img.shape[:2]
    px, grid = patchify(torch.from_numpy(img))
    with torch.set_grad_enabled(not freeze):
        t, e = m.visual(px, *grid)
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
    kv, hs, nxt = prefix_run(m, e, h, w)
    n0 = len(PREFIX)
    mid = hs[PROBE - 1][0, n0:]
    tgt = torch.zeros(len(mid), NGRAM); tgt[pairs[:, 0], pairs[:, 1]] = 1
    if mask.any():
        lg = F.binary_cross_entropy_with_logits(aux.gram(mid[mask]), tgt[mask]) * 100
        loss = loss + 0.3 * lg; stats['gram_i'] += lg.item()
    # the box under each image token: its element if it has one, else its line of text
    bx = np.full((len(mid), 4), -1, np.int64); area = np.full(len(mid), 1e9)
    if len(chars):
        cut = np.flatnonzero(np.diff(chars[:, 6])) + 1
        for c in np.split(chars, cut):
            b = [c[:, 1].min(), c[:, 2].min(), c[:, 3].max(), c[:, 4].max()]
            bx[Q.tokens_in(b, h, w)] = Q.box1000(b, h, w)
    for tg in targets:
        k = Q.tokens_in(tg['box'], h, w); ar = (tg['box'][2] - tg['box'][0]) * (tg['box'][3] - tg['box'][1])
        k &= ar < area
        bx[k] = Q.box1000(tg['box'], h, w); area[k] = ar
    bt = torch.from_numpy(bx); bm = bt[:, 0] >= 0
    if bm.any():
        dg = torch.stack((bt // 100, bt // 10 % 10, bt % 10), -1)[bm].reshape(-1)
        lb = F.cross_entropy(aux.box(mid[bm]).view(-1, 10), dg, reduction='none').view(-1, 4, 3)
        loss = loss + 0.5 * (lb * torch.tensor([1.0, 0.6, 0.15])).mean(); stats['box_h'] += lb[..., 0].mean().item(); stats['box_t'] += lb[..., 1].mean().item()
    if qs:
        pr = [prompt_ids(q['instruction']) for q in qs]
        an = [answer_ids(Q.box1000(q['box'], h, w), q['typed']) for q in qs]
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
                loss = loss + 0.3 * lg; stats['gram_q'] += lg.item()
            x, lp = l.questions(x, cos, sin, kv[i][0], kv[i][1], last if i == PROBE else None)
            if i == PROBE:
                inb = torch.stack([torch.from_numpy(Q.tokens_in(q['box'], h, w)) for q in qs])
                lpi = lp[:, :, n0:n0 + len(mid)]
                la = -torch.logsumexp(lpi.masked_fill(~inb[:, None], -1e9), -1)
                loss = loss + 0.5 * la.mean(); stats['attn'] += la.mean().item()
                hit = inb.gather(1, lpi.detach().exp().mean(1).argmax(-1)[:, None])[:, 0].float()
                stats['hit'] += hit.mean().item()
        lo = m.logits(x[:, :-1])
        ce = F.cross_entropy(lo.reshape(-1, VOCAB), ids[:, 1:].reshape(-1), reduction='none').view(len(qs), L - 1)
        ww = wts[:, :-1]
        la = (ce * ww).sum() / ww.sum()
        loss = loss + 2.0 * la; stats['ans'] += la.item()
        hun = ww == 1.0
        stats['dig'] += (lo.detach().argmax(-1)[hun] == ids[:, 1:][hun]).float().mean().item()
    stats['n'] += 1; stats['tok'] += len(mid)
    return loss


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--data', required=True); ap.add_argument('--run', required=True); ap.add_argument('--start')
    ap.add_argument('--minutes', type=float, default=60); ap.add_argument('--threads', type=int, default=1); ap.add_argument('--freeze', action='store_true')
    ap.add_argument('--lr', type=float, default=8e-4); ap.add_argument('--tower-lr', type=float, default=2e-4); ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--accum', type=int, default=2); ap.add_argument('--questions', type=int, default=16); ap.add_argument('--decay-steps', type=int, default=6000)
    ap.add_argument('--sizes', default='224x336,280x420,336x448,392x616'); ap.add_argument('--steps', type=int, default=10**9); ap.add_argument('--share', type=float, default=0.5); ap.add_argument('--short', type=float, default=0.6)
    a = ap.parse_args()
    torch.set_num_threads(a.threads); torch.manual_seed(a.seed); os.makedirs(a.run, exist_ok=True)
    cfg = config(); v = cfg['vision_config']
    m = Nano(cfg); P0.init(m)
    heads = P0.Heads(v['hidden_size'], v['out_hidden_size']); aux = Aux(cfg['hidden_size'])
    at = m.model.layers[PROBE].self_attn; hd = at.d  # query and key start as the same map: likeness from the first step
    at.q_proj.weight.data.copy_(at.k_proj.weight.data.view(at.kv, 1, hd, -1).repeat(1, at.n // at.kv, 1, 1).reshape(at.n * hd, -1))
    aux.gram.weight.data.mul_(0.3)
    step, ck = 0, os.path.join(a.run, 'last.pt')
    s = None
    if os.path.exists(ck):
        s = torch.load(ck); m.load_state_dict(s['model']); heads.load_state_dict(s['heads']); aux.load_state_dict(s['aux']); step = s['step']
    elif a.start:
        z = torch.load(a.start)
        m.visual.load_state_dict({k[7:]: x for k, x in z['model'].items() if k.startswith('visual.')}); heads.load_state_dict(z['heads'])
        if 'aux' in z: m.load_state_dict(z['model']); aux.load_state_dict(z['aux'])
        else: aux.gram.load_state_dict(heads.gram.state_dict())
    dec = list(m.model.parameters()) + list(aux.parameters()); tow = list(m.visual.parameters()) + list(heads.parameters())
    if a.freeze:
        for p in tow: p.requires_grad_(False)
    opts = optimisers({'model': m.model, 'aux': aux}, a.lr) + ([] if a.freeze else optimisers({'visual': m.visual, 'heads': heads}, a.tower_lr))
    if s and len(s['opt']) == len(opts):
        [o.load_state_dict(z) for o, z in zip(opts, s['opt'])]
    for o, b in zip(opts, (a.lr, a.lr, a.tower_lr, a.tower_lr)):
        for g in o.param_groups: g['base'] = b
    pages, rng = Pages(a.data), random.Random(a.seed + step)
    sizes = [tuple(map(int, z.split('x'))) for z in a.sizes.split(',')]
    print('params', sum(p.numel() for p in m.parameters()), 'step', step, 'pages', len(pages.stems), flush=True)
    from collections import defaultdict
    st = defaultdict(float); t0 = last = time.time(); s0 = step
    while time.time() - t0 < a.minutes * 60 and step < a.steps:
        for g in [g for o in opts for g in o.param_groups]: g['lr'] = g['base'] * min(1, (step - s0 + 1) / 100, (step + 1) / 100) * (0.04 + 0.96 * 0.5 * (1 + np.cos(np.pi * min(1, step / a.decay_steps))))
        [o.zero_grad(set_to_none=True) for o in opts]
        for _ in range(a.accum):
            for _ in range(20):
                img, chars, ts = crop(pages.sample(rng), rng, rng.choice(sizes))
                if len(chars) < 12: continue
                qs = Q.make(chars, ts, rng, a.questions, a.short, a.share)
                if len(qs) >= 4: break
            (page_loss(m, heads, aux, img, chars, ts, qs, a.freeze, st) / a.accum).backward()
        torch.nn.utils.clip_grad_norm_(dec, 1.0)
        if not a.freeze: torch.nn.utils.clip_grad_norm_(tow, 1.0)
        [o.step() for o in opts]; step += 1
        if step % 25 == 0:
            n = st.pop('n')
            print(time.strftime('%H:%M:%S'), 'step', step, ' '.join(f'{k} {x / n:.3f}' for k, x in st.items()), f's/step {(time.time() - t0) / (step - s0):.2f}', flush=True); st.clear()
        if time.time() - last > 60:
            pages.refresh(); last = time.time()
            torch.save(dict(model=m.state_dict(), heads=heads.state_dict(), aux=aux.state_dict(), opt=[o.state_dict() for o in opts], step=step), ck + '.tmp'); os.replace(ck + '.tmp', ck)
    torch.save(dict(model=m.state_dict(), heads=heads.state_dict(), aux=aux.state_dict(), opt=[o.state_dict() for o in opts], step=step), ck)


if __name__ == '__main__':
    main()
