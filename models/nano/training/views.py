"""Whole pages as the decoder is taught on them: their image tokens, what can be asked about them, and where the answers are."""
from collections import Counter
import numpy as np, torch
from common import *
from model import patchify
import questions as Q

BIG = 800 * 784  # pixels of a large page


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

    def draw(self):
        """A page with what can be asked about it, and the picture's patches and their grid."""
        while True:
            img, chars, ts = whole(self.pages.sample(self.rng), self.rng)
            also, put = set(), []
            if self.sprites and self.rng.random() < 0.85:
                img = img.copy(); new, also, put = self.more(img, ts); ts = ts + new
            if len(chars) < 12: continue
            h, w = img.shape[:2]
            if h * w < BIG and self.rng.random() < 0.7: continue  # what is asked in the end are whole large pages
            pr = local_pairs(chars, h, w)
            lab = np.zeros(h * w // 784, bool); lab[pr[:, 0]] = True
            px, grid = patchify(torch.from_numpy(img))
            return dict(h=h, w=w, chars=chars, targets=ts, pairs=here(pr), text=here(lab), at=here(middles(chars, ts, h, w)), put=put, also=[dict(name=n) for n in also]), here(px), grid

    def new(self):
        v, px, grid = self.draw()
        with torch.no_grad(): e = self.m.visual(px, *grid)[1]
        return dict(v, e=e, others=self.others(), left=self.reuse)

    def others(self):
        """What other pages have, and names of icons, whether this page has them or not: (name, kind)."""
        out = []
        while len(out) < 60:
            p = self.pages.sample(self.rng)
            out += [(t['name'], t['kind']) for t in self.rng.sample(p.targets, min(len(p.targets), 12))] + [(s, 'word') for s, _ in Q.spans(p.chars, self.rng, 12)]
        if self.sprites: out += [(self.rng.choice(i['names']), 'button') for i in self.rng.sample(self.sprites.names, 30)]
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
        masks = [here(k) for k in goal(q, v['chars'], v['h'], v['w'])]
        if q['box']:
            b = torch.tensor(q['box'], dtype=torch.float32); good = ((at >= b[:2] - 1) & (at <= b[2:] + 1)).all(-1)
            masks = [k & good if (k & good).any() else k for k in masks]
        out.append(masks)
    return out


def area(v, rng):
    """A part of a page, as `Area` of the engine leaves it where an instruction tells the place: the line of a target, what is above or
    below it, or a half of the page. The image tokens that are left, the words that lie in them as a whole, and the targets there."""
    h, w, gw = v['h'], v['w'], v['w'] // 28
    row, col = (x + 0.5 for x in np.divmod(np.arange(h * w // 784), gw))
    box = rng.choice(v['targets'])['box'] if v['targets'] else [w / 2, h / 2, w / 2, h / 2]
    x, y, kind = (box[0] + box[2]) / 56, (box[1] + box[3]) / 56, rng.random()
    if kind < 0.6: keep = np.abs(row - y) <= 0.51
    elif kind < 0.85: keep = (np.abs(col - x) <= 0.25 * gw) & ((row > y + 0.51) if rng.random() < 0.5 else (row < y - 0.51)) & (np.abs(row - y) <= h / 56)
    else: keep = (row < h / 56 if rng.random() < 0.5 else col < gw / 2) ^ (rng.random() < 0.5)
    inside = lambda x, y: keep[np.clip(np.asarray(y / 28).astype(int), 0, h // 28 - 1) * gw + np.clip(np.asarray(x / 28).astype(int), 0, gw - 1)]
    c = v['chars']; words = np.unique(c[:, 5], return_inverse=True)[1]; out = ~inside((c[:, 1] + c[:, 3]) / 2, (c[:, 2] + c[:, 4]) / 2)
    cut = np.bincount(words, out)[words] > 0
    return here(keep), c[~cut], [t for t in v['targets'] if inside((t['box'][0] + t['box'][2]) / 2, (t['box'][1] + t['box'][3]) / 2)]
