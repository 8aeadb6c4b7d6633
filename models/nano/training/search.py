"""Towers of other shapes, each taught to read from random weights for the same time on the same batches, and asked what they read on pages of validation sources.
python search.py --data DIR --validation DIR --run DIR [--sprites FILE] [--minutes M] [--batches N] [--processes N] [--shapes NAME,...]
A batch is eight pieces of 224 pixels: letters begin to be read after ten to fifteen minutes. RUN/NAME.json is written as each is done, and is not done again; RUN/table.md has all of them.
--stop-under P: a shape stops after three fifths of its time, until where the learning rate is the same for all and does not fall, if from two fifths on it read less than that part of the letters that
the best of the finished shapes read then; the table says so."""
import argparse, glob, json, os, random, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from common import *
from model import RMSNorm, VisionBlock, patch_positions, rotate
from muon import optimisers
from pretrain import Heads, batch, begin, lessons, patches, waves, whitened

PIECES, SIDE, TOKENS, OUT = 8, 224, 8, 256  # of a batch; of a piece: pixels and tokens across; the decoder's width
HELD = 0.6  # of the time, before the learning rate falls
# What differs from the first, which has half the depth of what ships. `inner` is 2.8 times the width.
SHAPES = {
    '160 x 4': {}, '160 x 8': dict(depth=8), '128 x 6': dict(width=128, depth=6), '224 x 2': dict(width=224, depth=2),
    '56-px windows': dict(window=2), '224-px windows': dict(window=8),
    '28-px patches unmerged': dict(patch=28), '7-px patches 96 x 3': dict(patch=7, width=96, depth=3),
    'convolutional stem 160 x 3': dict(stem='convolutions', depth=3), 'half-size sequence + cross attention': dict(layout='cross'),
}


class Cross(nn.Module):
    """A block of a sequence of low resolution that looks at patches of a high one, narrower, as in CogAgent: [windows, tokens, C] at [windows, patches, narrow]."""
    def __init__(self, c, inner, narrow):
        super().__init__()
        self.block, self.norm, self.norm_at, self.heads = VisionBlock(c, c // 32, inner), RMSNorm(c), RMSNorm(narrow), narrow // 32
        self.q, self.kv, self.o = nn.Linear(c, narrow), nn.Linear(narrow, 2 * narrow), nn.Linear(narrow, c)

    def forward(self, x, at, turns, turns_q, turns_at):
        """Each of the turns is a cosine and a sine of RoPE: among the tokens, and of tokens and patches in the patches' places."""
        split = lambda t: t.view(*t.shape[:2], self.heads, -1).transpose(1, 2)
        k, v = self.kv(self.norm_at(at)).chunk(2, -1)
        y = F.scaled_dot_product_attention(rotate(split(self.q(self.norm(x))), *turns_q), rotate(split(k), *turns_at), split(v))
        return self.block(x + self.o(y.transpose(1, 2).flatten(2)), *turns)


class Tower(nn.Module):
    """What a shape says, for pieces [n, patches of 14 px in blocks of a token, 588] and their places: tokens [n, tokens, OUT], and where a patch has 14
    pixels its features. `pixels`: pieces of training pages, for the kernels to begin with."""
    def __init__(self, pixels, width=160, depth=4, patch=14, window=4, stem='patches', layout='merged'):
        super().__init__()
        self.patch, self.window, self.stem, self.layout = patch, window, stem, layout
        self.per = {7: 16, 14: 4, 28: 1}[patch]; inner = width * 14 // 5
        self.pos_embed = nn.Parameter(waves(32, width))
        if stem == 'convolutions':
            self.convolutions = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), nn.GELU(), nn.Conv2d(24, 48, 3, 1, 1), nn.GELU(), nn.Conv2d(48, width, 7, 7))
        else: self.embed = nn.Linear(3 * patch * patch, width, bias=False)
        if patch == 7: self.inside = nn.Parameter(torch.randn(4, width) * 0.05)
        if layout == 'cross':
            narrow = width * 3 // 5
            self.fine = nn.Linear(588, narrow, bias=False)
            self.fine_blocks = nn.ModuleList(VisionBlock(narrow, narrow // 32, narrow * 14 // 5) for _ in range(depth))
            self.blocks = nn.ModuleList(Cross(width, inner, narrow) for _ in range(depth))
            self.out = nn.Sequential(RMSNorm(width), nn.Linear(width, OUT))
        else:
            self.blocks = nn.ModuleList(VisionBlock(width, width // 32, inner) for _ in range(depth))
            self.norm = RMSNorm(width); c = self.per * width
            self.merger = nn.ModuleDict(dict(mlp=nn.Sequential(nn.Linear(c, max(c, 640)), nn.GELU(), nn.Linear(max(c, 640), OUT))))
        begin(self)
        with torch.no_grad():
            if stem == 'patches': self.embed.weight.copy_(0.7 * whitened(self.cut(pixels).reshape(-1, self.embed.in_features), width))
            if layout == 'cross': self.fine.weight.copy_(0.7 * whitened(pixels.reshape(-1, 588), len(self.fine.weight)))
            for n, p in self.named_parameters():
                if n.endswith(('attn.proj.weight', 'down_proj.weight')): p *= 0.5
        y, x = patch_positions(2 * TOKENS, 2 * TOKENS); self.register_buffer('y', y); self.register_buffer('x', x)

    def picture(self, px):
        """[n, patches, 588] -> [n, 3, SIDE, SIDE]."""
        return px.view(-1, TOKENS, TOKENS, 2, 2, 3, 14, 14).permute(0, 5, 1, 3, 6, 2, 4, 7).reshape(-1, 3, SIDE, SIDE)

    def cut(self, px):
        """Patches of this shape's size, those of a token together: [n, patches, values]."""
        if self.layout == 'cross':  # half as large: one patch is a token
            return F.avg_pool2d(self.picture(px), 2).view(-1, 3, TOKENS, 14, TOKENS, 14).permute(0, 2, 4, 1, 3, 5).reshape(-1, TOKENS ** 2, 588)
        k = 28 // self.patch
        return self.picture(px).view(-1, 3, TOKENS, k, self.patch, TOKENS, k, self.patch).permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(-1, (TOKENS * k) ** 2, 3 * self.patch ** 2)

    def places(self, grids):
        """The table at the 14-px patches of pages of [rows, columns, y, x]: [n, patches, width]."""
        h, w, y, x = (torch.tensor(c).float()[:, None] for c in zip(*grids))
        at = torch.stack(((self.x + x) / (w - 1) * 2 - 1, (self.y + y) / (h - 1) * 2 - 1), -1)[:, None]
        t = self.pos_embed.T.reshape(1, -1, 32, 32).expand(len(grids), -1, -1, -1)
        return F.grid_sample(t, at, align_corners=True, padding_mode='border')[:, :, 0].transpose(1, 2)

    def turns(self, per, head, across=1):
        """RoPE of the tokens' parts in a window, [parts, head]; `per` parts in a token, whose places are those of the middle of `across` by `across` others."""
        k, w = round(per ** 0.5), self.window
        y, x = (t.reshape(-1).float() for t in torch.meshgrid(torch.arange(w * k), torch.arange(w * k), indexing='ij'))
        order = torch.arange((w * k) ** 2).view(w, k, w, k).transpose(1, 2).reshape(-1)
        inv = 1.0 / (10000 ** (torch.arange(0, head // 2, 2).float() / (head // 2)))
        y, x = (t[order, None] * across + (across - 1) / 2 for t in (y, x))
        f = torch.cat((y * inv, x * inv), -1); f = torch.cat((f, f), -1)
        return f.cos()[None, None], f.sin()[None, None]

    def windows(self, t, per, back=False):
        """[n, patches, C] -> [n * windows, patches, C], or back."""
        w, c, o = self.window, t.shape[-1], TOKENS // self.window
        if back: return t.view(-1, o, o, w, w, per * c).transpose(2, 3).reshape(-1, TOKENS ** 2 * per, c)
        return t.view(-1, o, w, o, w, per * c).transpose(2, 3).reshape(-1, w * w * per, c)

    def forward(self, px, grids):
        at = self.places(grids)
        if self.layout == 'cross':
            fine = self.windows(self.fine(px), 4)
            for b in self.fine_blocks: fine = b(fine, *self.turns(4, 32))
            t = self.windows(self.embed(self.cut(px)) + at.view(*at.shape[:1], -1, 4, at.shape[-1]).mean(2), 1)
            for b in self.blocks: t = b(t, fine, self.turns(1, 32), self.turns(1, 32, 2), self.turns(4, 32))
            return self.windows(fine, 4, True), self.out(self.windows(t, 1, True))
        if self.patch == 28: at = at.view(*at.shape[:1], -1, 4, at.shape[-1]).mean(2)
        if self.stem == 'convolutions':
            t = self.convolutions(self.picture(px)); t = t.view(*t.shape[:2], TOKENS, 2, TOKENS, 2).permute(0, 2, 4, 3, 5, 1).flatten(1, 4)
        else: t = self.embed(self.cut(px))
        if self.patch == 7:  # in a token: two rows of 14-px patches, each two rows of 7-px ones
            k = torch.arange(16); of = (k // 8) * 2 + k % 4 // 2; inside = (k // 4 % 2) * 2 + k % 2
            at = (at.view(*at.shape[:1], -1, 4, at.shape[-1])[:, :, of] + self.inside[inside]).flatten(1, 2)
        t = self.windows(t + at, self.per)
        for b in self.blocks: t = b(t, *self.turns(self.per, 32))
        t = self.windows(t, self.per, True)
        return t if self.patch == 14 else None, self.merger['mlp'](self.norm(t).view(t.shape[0], TOKENS ** 2, -1))


def pieces(file, folder, seed, n, sprites):
    """Writes n batches."""
    if os.path.exists(file): return
    torch.set_num_threads(1); pages, rng = Pages(folder, 1), random.Random(seed)
    torch.save([batch(pages, rng, PIECES, sprites, SIDE) for _ in range(n)], file + '.tmp'); os.replace(file + '.tmp', file)


def midway(curve, minutes):
    """The part of the letters of training batches that was read in the last minutes before HELD: for all shapes, also those that stop then."""
    return float(np.mean([c[2] for c in curve if HELD - 0.2 <= c[1] / 60 / minutes < HELD] or [0]))


def behind(curve, a):
    """Whether it was less than a.stop_under of what the best of those in a.run read."""
    others = [json.load(open(f)) for f in glob.glob(os.path.join(a.run, '*.json'))]
    return any(midway(curve, a.minutes) < a.stop_under * midway(d['curve'], a.minutes) for d in others if d['minutes'] == a.minutes)


def study(name, a):
    """Teaches one shape and writes what came of it."""
    file = os.path.join(a.run, name.replace(' ', '-') + '.json')
    if os.path.exists(file): return
    torch.set_num_threads(1); torch.manual_seed(0)
    taught, asked = ([b for f in sorted(glob.glob(os.path.join(a.run, f'{kind}-*.pt'))) for b in saved(f)] for kind in ('taught', 'asked'))
    things = Sprites(a.sprites).things if a.sprites else {}
    tower = Tower(torch.cat([patches(b[0]) for b in taught[:8]]), **SHAPES[name])
    heads = Heads(len(tower.fine.weight) if tower.layout == 'cross' else tower.pos_embed.shape[1], OUT)
    params = [*tower.parameters(), *heads.parameters()]
    opts = optimisers({'visual': tower, 'heads': heads}, a.lr)
    def run(b): return lessons(heads, *tower(patches(b[0]), b[1]), b[2], b[1], *b[3:], things)
    with FlopCounterMode(display=False) as count, torch.no_grad(): tower(patches(taught[0][0]), taught[0][1])
    work = count.get_total_flops() / PIECES * (WHOLE[0] * WHOLE[1]) / (SIDE // 14) ** 2
    step, spent, curve, looked = 0, 0.0, [], False
    while spent < a.minutes * 60:
        t = time.process_time(); gone = spent / 60 / a.minutes
        if gone >= HELD and not looked:
            looked = True
            if a.stop_under and behind(curve, a): break
        for o in opts:
            for g in o.param_groups: g['lr'] = a.lr * min(1, (gone + 0.005) / 0.1) * max(0.03, min(1, (1 - gone) / (1 - HELD)))
        loss, figures = run(taught[step % len(taught)])
        [o.zero_grad(set_to_none=True) for o in opts]; loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0); [o.step() for o in opts]
        step += 1; spent += time.process_time() - t
        if step % 50 == 0: curve.append([step, round(spent), *figures[[5, 9, 10]].round(3).tolist()]); print(name, curve[-1], flush=True)
    with torch.no_grad(): figures = np.mean([run(b)[1] for b in asked], 0)
    json.dump(dict(name=name, minutes=a.minutes, stopped=spent < a.minutes * 60, parameters=sum(p.numel() for p in tower.parameters()), gflop=work / 1e9, steps=step, seconds=spent / step, letters=figures[5], names=figures[9], icons=figures[10], curve=curve), open(file + '.tmp', 'w'))
    os.replace(file + '.tmp', file)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--data', required=True); ap.add_argument('--validation', required=True); ap.add_argument('--run', required=True); ap.add_argument('--sprites')
    ap.add_argument('--minutes', type=float, default=25, help="of a core's time for each"); ap.add_argument('--batches', type=int, default=1200); ap.add_argument('--processes', type=int, default=1)
    ap.add_argument('--stop-under', type=float, default=0, help='of the best letters, under which a shape stops early')
    ap.add_argument('--shapes', help='names, with commas between them'); ap.add_argument('--lr', type=float, default=2e-3)
    a = ap.parse_args(); os.makedirs(a.run, exist_ok=True)
    names = a.shapes.split(',') if a.shapes else list(SHAPES)
    sprites = Sprites(a.sprites) if a.sprites else None
    parts = [(os.path.join(a.run, f'{kind}-{k}.pt'), data, seed + k, n // a.processes, put) for kind, data, seed, n, put in (('taught', a.data, 100, a.batches, sprites), ('asked', a.validation, 200, 24, None)) for k in range(a.processes)]
    with torch.multiprocessing.get_context('spawn').Pool(a.processes, maxtasksperchild=1) as p:
        p.starmap(pieces, parts, chunksize=1); p.starmap(study, [(n, a) for n in names], chunksize=1)
    done = sorted((json.load(open(os.path.join(a.run, f))) for f in os.listdir(a.run) if f.endswith('.json')), key=lambda d: -d['names'])
    with open(os.path.join(a.run, 'table.md'), 'w') as f:
        print('| tower | parameters | GFLOP a 1280x800 screenshot | steps | letters midway | letters | names found | icons found |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |', file=f)
        for d in done: print(f"| {d['name']}{' (stopped)' if d['stopped'] else ''} | {d['parameters'] / 1e6:.2f} M | {d['gflop']:.1f} | {d['steps']} | {midway(d['curve'], d['minutes']):.1%} | {d['letters']:.1%} | {d['names']:.1%} | {d['icons']:.1%} |", file=f)
    print(open(os.path.join(a.run, 'table.md')).read())


if __name__ == '__main__':
    main()
