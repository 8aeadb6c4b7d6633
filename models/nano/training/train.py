"""Teaches the decoder to find what an instruction names, on whole pages. The tower is frozen, so a page's image tokens are computed
once and used for several visits; many questions share a page's keys and values.
python train.py --data DIR --run DIR --start CHECKPOINT --tower PRETRAIN/last.pt [--minutes M]
Besides the answer's tokens these are taught: the letter pairs of the name at the last prompt token and those drawn at each image token;
the place of the text line at each image token; the attention of the last prompt token on the target in layer 2 (PROBE); the target's
place at the last prompt token after it. In a share of the questions that attention is set to the target's, so that copying the place
is learnt from the first step on."""
import argparse, os, random, time
import torch
from common import *
from loop import Loop
from losses import Aux, copy_loss, page_loss, same_loss, text_loss
from match import match_init
from model import Nano
from muon import optimisers
from parallel import alike, arguments, spawn
from runs import Quantised, checkpoint, see_through, widen
from views import Views
from way import PROBE, reserve


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--data', required=True); ap.add_argument('--run', required=True); ap.add_argument('--start'); ap.add_argument('--tower', help='checkpoint of pretrain.py; read again whenever it is newer, if --follow')
    ap.add_argument('--minutes', type=float, default=60); ap.add_argument('--lr', type=float, default=1e-3); ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--follow', type=float, default=0, help='take the tower anew every so many minutes'); ap.add_argument('--questions', type=int, default=28); ap.add_argument('--attn', type=float, default=1.0)
    ap.add_argument('--share', type=float, default=0.5); ap.add_argument('--short', type=float, default=0.6); ap.add_argument('--force', type=float, default=0.5); ap.add_argument('--decay', type=float, default=0.5)
    ap.add_argument('--ends', type=float, default=1.0, help='how much more it matters to end where nothing is there than not to end where something is')
    ap.add_argument('--agree', type=float, default=0.5, help='weight of what keeps the heads of PROBE at one place')
    ap.add_argument('--icons', type=float, default=0, help='how often, at least, a page full of icons is asked about')
    ap.add_argument('--look', type=float, default=1.0, help='weight of finding more of the page: text, and the icons that were put on it')
    ap.add_argument('--looks', type=float, default=1.0, help='how much text is looked for, as a share of the icons')
    ap.add_argument('--like', type=int, default=0, help='names that stand several times, to be found everywhere, on each page')
    ap.add_argument('--parts', type=float, default=0, help='how often only a part of the page is left, as where an instruction tells the place')
    ap.add_argument('--sprites', help='icons to put on pages, from sprites.mjs')
    ap.add_argument('--absent', type=float, default=0, help='share of questions whose target is not there, added'); ap.add_argument('--lane', type=int, default=1, help='0 before lane.py has been run'); ap.add_argument('--q4', action='store_true', help='train for 4-bit weights'); ap.add_argument('--reuse', type=int, default=4); ap.add_argument('--keep', type=int, default=300); ap.add_argument('--steps', type=int, default=10**9); ap.add_argument('--match', type=float, default=0, help='set the match analytically, with this gain')
    ap.add_argument('--same', type=float, default=1.0, help='weight of looking for the same, whatever the wording')
    ap.add_argument('--copy', type=float, default=0.5, help='weight of copying what is to be typed')
    ap.add_argument('--doubt', type=float, default=0.5, help='weight of saying that it is not there where something else was found')
    arguments(ap); spawn(teach, ap.parse_args())


def teach(rank, a):
    torch.set_num_threads(a.threads); torch.manual_seed(a.seed); os.makedirs(a.run, exist_ok=True)
    cfg = config(); m = Nano(cfg); aux = Aux(cfg['hidden_size'])
    step, ck = 0, os.path.join(a.run, 'last.pt')
    s = saved(ck) if os.path.exists(ck) else None
    if s:
        m.load_state_dict(s['model']); aux.load_state_dict(s['aux']); step = s['step']
    else:
        z = checkpoint(a.start); m.load_state_dict(widen(z['model'], cfg)); aux.load_state_dict({k: x for k, x in z.get('aux', {}).items() if k in aux.state_dict() and aux.state_dict()[k].shape == x.shape}, strict=False)
        if 'aux' not in z: aux.silent()
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
    q = m.model.layers[PROBE + 1].self_attn.q_proj

    def fixed():
        m.model.embed_tokens.weight.grad[NUM0:] = 0
        for p in (q.weight, q.bias):  # the gates, which lane.py found: training blurs them
            if a.lane and p.grad is not None: p.grad[hd // 2 - 2::hd] = 0
    loop = Loop(rank, a, m, aux, [(o, 1) for o in opts], step, turn, pages, params, list(m.model.parameters()), 30, fixed, lambda: reserve(m, a.lane)); taken = time.time()
    for step in loop:
        with Quantised(m, a.q4):
            page_loss(m, aux, views.sample(), rng, a, loop.told, a.force).backward()
            if a.copy and step % 2: (a.copy * copy_loss(m, pages, rng, loop.told)).backward()
            if a.same: (a.same * same_loss(m, pages, rng, loop.told)).backward()
            if step % 3 == 0: (0.3 * text_loss(m, aux, pages, rng, loop.told)).backward()
        if a.follow and time.time() - taken > 60 * a.follow:
            taken = time.time(); take(); reserve(m, a.lane); views.pool.clear()


if __name__ == '__main__':
    main()
