"""Teaches the vision tower to read: every 112-px attention window is a complete example of its own.
python pretrain.py --data DIR --run DIR [--minutes M] [--threads N]
Losses: characters per patch (three columns each) from the tower and again from the merged token, bigrams of the words that touch
a token, and the word's edges. Checkpoints every minute to RUN/last.pt and goes on from there."""
import argparse, math, os, random, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from common import *
from muon import optimisers
from parallel import alike, arguments, average, spawn
from model import Nano, deeper, patchify, patch_positions
import questions as Q


KEY = 128


class Heads(nn.Module):
    """Read-outs that exist only in training."""
    def __init__(self, c, h):
        super().__init__()
        self.patch = nn.Linear(c, 3 * NCHAR)
        self.token = nn.Linear(h, 12 * NCHAR)
        self.gram = nn.Linear(h, NGRAM)
        self.geo = nn.Linear(h, 4)
        self.code = nn.Linear(h, 16)
        # a name is the sum of its pairs' vectors; a token is found by the dot product
        self.key, self.name = nn.Linear(h, KEY), nn.Embedding(NGRAM, KEY)
        nn.init.normal_(self.name.weight, std=KEY ** -0.5)
        nn.init.constant_(self.gram.bias, -5)
        self.sharp = nn.Parameter(torch.tensor(1.0))
        self.empty = nn.Linear(h, 1)

    def find(self, e, bags):
        """Scores [names, tokens] of names (lists of pairs) on tokens e [n, H]."""
        i = torch.tensor([g for b in bags for g in b]); off = torch.tensor(np.cumsum([0] + [len(b) for b in bags[:-1]]))
        q = F.embedding_bag(i, self.name.weight, off, mode='sum')
        return self.sharp * (q @ self.key(e).T) + self.empty(e).T


def begin(m):
    """A module's matrices and biases before they have learnt anything."""
    for n, p in m.named_parameters():
        if p.dim() > 1 and 'pos_embed' not in n:
            nn.init.trunc_normal_(p, std=min(0.05, (2 / (p.shape[0] + p[0].numel())) ** 0.5))
        elif n.endswith('bias'):
            nn.init.zeros_(p)


def waves(g, c):
    """A table [g * g, c] of positions: waves of many lengths, so that the first layers can already tell places apart."""
    t = torch.arange(g).float()
    w = torch.stack([f(t * 2 * np.pi / p) for p in np.geomspace(3, 2.2 * g, 10) for f in (torch.sin, torch.cos)], -1)
    feat = torch.cat((w[:, None].expand(g, g, -1), w[None].expand(g, g, -1)), -1).reshape(g * g, -1)
    return 0.5 * feat @ torch.linalg.qr(torch.randn(c, feat.shape[1]))[0].T


def init(m):
    begin(m)
    for b in m.visual.blocks:
        b.attn.proj.weight.data *= 0.5; b.mlp.down_proj.weight.data *= 0.5
    m.visual.patch_embed.proj.weight.data.mul_(0.7)
    nn.init.normal_(m.model.embed_tokens.weight, std=0.05)
    m.visual.pos_embed.weight.data.copy_(waves(m.visual.grid, m.visual.pos_embed.weight.shape[1]))


@torch.no_grad()
def whitened(x, n):
    """Kernels [n, values] for patches x [patches, values]: their whitened principal components, so that strokes weigh as much as backgrounds."""
    x = x - x.mean(0)
    val, vec = torch.linalg.eigh(x.T @ x / len(x))
    return torch.linalg.qr(torch.randn(n, n))[0] @ (vec[:, -n:] / (val[-n:] + 1e-3 * val[-1] / 10).sqrt()).T.flip(0)


def seen(checkpoint, depth=0):
    """The tower's part of a checkpoint, with at least `depth` blocks."""
    return deeper({k[7:]: x for k, x in checkpoint['model'].items() if k.startswith('visual.')}, depth)


def patches(images):
    """Pictures [n, side, side, 3] -> [n, patches, 588]."""
    return torch.stack([patchify(i)[0] for i in images])


def batch(pages, rng, n, sprites=None, side=112):
    """n square pieces of pages, `side` pixels wide, and what they show: pictures, each one's page in patches and its place there, characters of
    each patch, geometry and its mask, letter pairs and names of the tokens."""
    a, many = side // 14, (side // 112) ** 2
    xs, grids, labs, geos, masks, pairs, names = [], [], [], [], [], [], []
    k = 0
    while k < n:
        p = pages.sample(rng)
        if not len(p.chars):
            continue
        img, q, (oy, ox), (H, W) = part(p, rng, 4 * 112)
        inside = [np.array(t['box']) * np.tile([W / p.img.shape[1], H / p.img.shape[0]], 2) - np.tile([ox, oy], 2) for t in p.targets]
        h, w = img.shape[0] // side * side, img.shape[1] // side * side
        if not h or not w:
            continue
        cx, cy = (q[:, 1] + q[:, 3]) / 2, (q[:, 2] + q[:, 4]) / 2
        ok = (cx >= 0) & (cy >= 0) & (cx < w) & (cy < h)
        q = q[ok]; wid = (cy[ok] // side).astype(int) * (w // side) + (cx[ok] // side).astype(int)
        cnt = np.bincount(wid, minlength=h * w // side ** 2)
        icons = [([t['name']], b) for t, b in zip(p.targets, inside) if not t['text'] and b[0] >= 0 and b[1] >= 0 and b[2] < w and b[3] < h and max(b[2] - b[0], b[3] - b[1]) < 56]
        if sprites and rng.random() < 0.7:
            img = img.copy()
            icons += sprites.draw(img[:h, :w], rng, h * w // 12544)
        spot = np.array([[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2] for _, b in icons]).reshape(-1, 2)
        iwid = (spot[:, 1] // side).astype(int) * (w // side) + (spot[:, 0] // side).astype(int)
        good = np.flatnonzero((cnt >= 12) | (np.bincount(iwid, minlength=len(cnt)) > 0))
        if not len(good):
            continue
        gh, gw, py, px = H // 14, W // 14, min(oy // 14, H // 14 - h // 14), min(ox // 14, W // 14 - w // 14)
        if rng.random() < 0.6:
            gh, gw = max(WHOLE[0], h // 14), max(WHOLE[1], w // 14)
            py, px = rng.randint(0, (gh - h // 14) // 8) * 8, rng.randint(0, (gw - w // 14) // 8) * 8
        good = rng.sample(list(good), min(len(good), 12 // many, n - k))
        img = augment(img[:h, :w], rng)
        for i in good:
            wy, wx = divmod(int(i), w // side)
            c = q[wid == i].copy(); c[:, [1, 3]] -= wx * side; c[:, [2, 4]] -= wy * side
            xs.append(torch.from_numpy(np.ascontiguousarray(img[wy * side:wy * side + side, wx * side:wx * side + side])))
            labs.append(merge_order(slot_labels(c, side, side)))
            g, mk, _ = token_labels(c, side, side)
            pr = local_pairs(c, side, side)
            geos.append(g); masks.append(mk)
            pr[:, 0] += k * a * a // 4; pairs.append(pr)
            for s, b in Q.spans(c, rng, 3 * many):
                names.append((text_bigrams(s), [k * a * a // 4 + int(t) for t in np.flatnonzero(Q.tokens_in(b, side, side))], s.lower(), True))
            for (called, b) in (icons[j] for j in np.flatnonzero(iwid == i)):
                for name in called[:2]:
                    names.append((text_bigrams(name), [k * a * a // 4 + int(t) for t in np.flatnonzero(Q.tokens_in(b - np.tile([wx * side, wy * side], 2), side, side))], name.lower(), False))
            grids.append((gh, gw, py + wy * a, px + wx * a))
            k += 1
    return torch.stack(xs), grids, torch.from_numpy(np.stack(labs)), torch.from_numpy(np.concatenate(geos)), torch.from_numpy(np.concatenate(masks)), torch.from_numpy(np.concatenate(pairs)), names


def lessons(heads, t, e, lab, grids, geo, mask, pairs, names, things, find=1.0):
    """What the tower is taught by a batch, from its patches t [n, patches, C] (or nothing) and tokens e [n, tokens, H]: the loss, and eleven figures:
    losses of the patches' and the tokens' characters, of the letter pairs and the geometry; the share of each one's characters that is right; how far off
    the geometry is; the losses of the place and of being found; the shares of names and of icons that are found among the batch's tokens."""
    l = lab.reshape(-1); on = l > 0
    wt = torch.ones(NCHAR); wt[0] = 0.4
    right = lambda scores: (scores.argmax(-1)[on] == l[on]).float().mean().item()
    lt = heads.token(e).view(-1, NCHAR).float(); l2 = F.cross_entropy(lt, l, wt)
    lp = heads.patch(t).view(-1, NCHAR).float() if t is not None else lt; l1 = F.cross_entropy(lp, l, wt) if t is not None else torch.tensor(0.0)
    lg = heads.gram(e).view(-1, NGRAM).float(); ge = heads.geo(e).view(-1, 4).float()
    tgt = torch.zeros(lg.shape); tgt[pairs[:, 0], pairs[:, 1]] = 1
    l3 = F.binary_cross_entropy_with_logits(lg[mask], tgt[mask]) * 100
    l4 = F.smooth_l1_loss(ge[mask], geo[mask], beta=0.2)
    em = e.reshape(-1, e.shape[-1]).float()
    gd = torch.tensor(grids).float(); wide = math.isqrt(e.shape[1]); k = torch.arange(e.shape[1])
    at = torch.cat((code((gd[:, 3:] / 2 + k % wide + 0.5) / gd[:, 1:2] * 2), code((gd[:, 2:3] / 2 + k // wide + 0.5) / gd[:, :1] * 2)), -1)
    l5 = F.mse_loss(heads.code(em), at.view(-1, 16))
    sc = heads.find(em, [n[0] for n in names])
    # What shows the same thing is found, too: what has this name, and the icons of what is called so.
    hit = torch.zeros(sc.shape, dtype=torch.bool); shown = {}
    for n in names:
        shown.setdefault(n[2], []).extend(n[1])
        if not n[3] and n[2] in things: shown.setdefault((things[n[2]],), []).extend(n[1])
    for i, n in enumerate(names): hit[i, shown[n[2]] + shown.get((things.get(n[2]),), [])] = True
    l6 = (torch.logsumexp(sc, -1) - torch.logsumexp(sc.masked_fill(~hit, -1e9), -1)).mean()
    found = hit.gather(1, sc.argmax(-1)[:, None])[:, 0].cpu().numpy(); drawn = np.array([n[3] for n in names])
    figures = np.array([l1.item(), l2.item(), l3.item(), l4.item(), right(lp), right(lt), (ge[mask] - geo[mask]).abs().mean().item(),
                        l5.item(), l6.item(), found[drawn].sum() / max(1, drawn.sum()), found[~drawn].sum() / max(1, (~drawn).sum())])
    return l1 + l2 + 0.5 * l3 + 0.3 * l4 + 5 * l5 + find * l6, figures


class Batches(torch.utils.data.IterableDataset):
    """Batches without end, made by another process."""
    def __init__(self, pages, seed, n, sprites): self.pages, self.seed, self.n, self.sprites = pages, seed, n, sprites

    def __iter__(self):
        torch.set_num_threads(1); rng, last = random.Random(self.seed), time.time()
        while True:
            if time.time() - last > 60: self.pages.refresh(); last = time.time()
            images, *rest = batch(self.pages, rng, self.n, self.sprites)
            yield patches(images), *rest


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--data', required=True); ap.add_argument('--run', required=True)
    ap.add_argument('--minutes', type=float, default=60)
    ap.add_argument('--back', help='a checkpoint of train.py: its tower goes on learning here')
    ap.add_argument('--find', type=float, default=1.0, help='weight of being found by name')
    ap.add_argument('--sprites', help='icons to put on the screens, from sprites.mjs')
    ap.add_argument('--lr', type=float, default=1.5e-3); ap.add_argument('--batch', type=int, default=64)
    ap.add_argument('--seed', type=int, default=0); ap.add_argument('--steps', type=int, default=10**9); ap.add_argument('--decay', type=float, default=0.4, help='share of the time over which the rate falls to nothing')
    ap.add_argument('--compile', action='store_true', help='compile the tower: needs a C++ compiler, saves a quarter of its time')
    arguments(ap); spawn(teach, ap.parse_args())


def teach(rank, a):
    torch.set_num_threads(a.threads); torch.manual_seed(a.seed)
    os.makedirs(a.run, exist_ok=True)
    cfg = config(); v = cfg['vision_config']
    m = Nano(cfg); init(m)
    heads = Heads(v['hidden_size'], v['out_hidden_size'])
    if a.back:
        z = saved(a.back)
        m.visual.load_state_dict(seen(z, v['depth']))
        heads.load_state_dict({k: x for k, x in z['heads'].items() if 'gram' not in k}, strict=False)
    params = list(m.visual.parameters()) + list(heads.parameters())
    opts = optimisers({'visual': m.visual, 'heads': heads}, a.lr)
    step, ck = 0, os.path.join(a.run, 'last.pt')
    if os.path.exists(ck):
        s = saved(ck); m.visual.load_state_dict(seen(s)); heads.load_state_dict(s['heads']); [o.load_state_dict(z) for o, z in zip(opts, s['opt'])]; step = s['step']
    if not rank: print('params', sum(p.numel() for p in m.visual.parameters()), 'step', step, flush=True)
    pages, rng = Pages(a.data), random.Random(a.seed + step)
    sprites = Sprites(a.sprites) if a.sprites else None; things = sprites.things if sprites else {}
    if step == 0 and not a.back:
        w = m.visual.patch_embed.proj.weight  # [C, 3, 2, 14, 14]
        k = whitened(here(torch.cat([patches(batch(pages, rng, 64)[0]).reshape(-1, 588) for _ in range(5)])), len(w))
        w.data.copy_(0.35 * k.view(-1, 3, 1, 14, 14).expand_as(w))
    y, x = patch_positions(8, 8)
    cos, sin = m.visual.rope(y, x); cos, sin = cos[None, None], sin[None, None]
    t0 = last = time.time(); acc = np.zeros(8); extra = np.zeros(4)
    tb = 0
    made = iter(torch.utils.data.DataLoader(Batches(pages, a.seed + step + 7919 * rank, a.batch, sprites), batch_size=None, num_workers=1, prefetch_factor=8))
    def tower(t, cos, sin): t = m.visual.blocks_on(t, cos, sin); return t, m.visual.merger(t)
    if a.compile: tower = torch.compile(tower)
    alike(params); gone = 0.0  # the share of the time that has passed
    while gone < 1 and step < a.steps:
        tt = time.time()
        px, grids, lab, geo, mask, pairs, names = next(made); px, lab, geo, mask, pairs = map(here, (px, lab, geo, mask, pairs))
        tb += time.time() - tt
        lr = a.lr * min(1, (step + 1) / (40 if a.back else 150)) * max(0.03, min(1, (1 - gone) / a.decay))
        for o in opts:
            for g in o.param_groups: g['lr'] = lr
        pos = torch.stack([m.visual.positions(y + gy, x + gx, gh, gw) for gh, gw, gy, gx in grids])
        t, e = tower(m.visual.patch_embed(px) + pos, cos, sin)
        loss, figures = lessons(heads, t, e, lab, grids, geo, mask, pairs, names, things, a.find)
        [o.zero_grad(set_to_none=True) for o in opts]; loss.backward()
        gone = average(params, (time.time() - t0) / 60 / a.minutes)
        torch.nn.utils.clip_grad_norm_(params, 1.0); [o.step() for o in opts]; step += 1
        extra += figures[7:]; acc[:7] += figures[:7]; acc[7] += 1
        if rank: continue
        if step % 25 == 0:
            r = acc[:7] / acc[7]; acc[:] = 0
            print('code, find, hit, hit of icons', (extra / 25).round(4)); extra[:] = 0
            print(f'{time.strftime("%H:%M:%S")} step {step} lr {lr:.1e} patch {r[0]:.3f} token {r[1]:.3f} gram {r[2]:.3f} geo {r[3]:.3f} acc {r[4]:.3f} {r[5]:.3f} edge {r[6]:.3f} s/step {(time.time() - t0) / max(1, step):.2f} data {tb:.0f}s of {time.time() - t0:.0f}', flush=True)
        if time.time() - last > 60:
            last = time.time()
            torch.save({'model': m.state_dict(), 'heads': heads.state_dict(), 'opt': [o.state_dict() for o in opts], 'step': step}, ck + '.tmp'); os.replace(ck + '.tmp', ck)
    if not rank: torch.save({'model': m.state_dict(), 'heads': heads.state_dict(), 'opt': [o.state_dict() for o in opts], 'step': step}, ck)


if __name__ == '__main__':
    main()
