"""Teaches the tower and the decoder's first layers together where to look, on whole pages: text and icons are asked for by their names
in any wording, and the attention of the last prompt token in layer PROBE is pulled to where they are. What the tower is taught elsewhere
(pretrain.py: to be found among windows of many pages) is easier than to be found on a page among its like.
python look.py --data DIR --run DIR --start CHECKPOINT|EXPORTED_DIR [--minutes M] [--sprites ICONS]
Places move with the tower: `lane.py RUN/last.pt RUN/last.pt DATA OUT` afterwards finds them anew, then train.py goes on from OUT."""
import argparse, os, random
import torch, torch.nn.functional as F
from common import *
from muon import optimisers
from parallel import alike, arguments, spawn
from model import Nano
from loop import Loop
from losses import Aux, look_loss
from runs import Quantised, checkpoint, prefix_run, widen
from views import Views, places
from way import PROBE, reserve


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--data', required=True); ap.add_argument('--run', required=True); ap.add_argument('--start', required=True)
    ap.add_argument('--minutes', type=float, default=60); ap.add_argument('--steps', type=int, default=10**9); ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--lr', type=float, default=8e-4, help="the tower's rate"); ap.add_argument('--slow', type=float, default=0.5, help="the decoder's rate, as a share of the tower's")
    ap.add_argument('--decay', type=float, default=0.6, help='share of the time over which the rate falls to nothing')
    ap.add_argument('--names', type=int, default=48, help='texts, and at most as many icons, that are looked for on a page'); ap.add_argument('--icons', type=float, default=0, help='how often at least a page full of icons is drawn'); ap.add_argument('--weight', type=float, default=1, help='what an icon weighs beside a text'); ap.add_argument('--absent', type=int, default=0, help="names of other pages' that are asked for, to be looked for in vain"); ap.add_argument('--like', type=int, default=0, help='names that stand several times, to be found everywhere')
    ap.add_argument('--share', type=float, default=0.5); ap.add_argument('--short', type=float, default=0.6)
    ap.add_argument('--sprites', help='icons to put on pages, from sprites.mjs'); ap.add_argument('--q4', action='store_true', help='train for 4-bit weights of the decoder')
    ap.add_argument('--compile', action='store_true', help='compile the tower: needs a C++ compiler')
    arguments(ap); spawn(teach, ap.parse_args())


def teach(rank, a):
    torch.set_num_threads(a.threads); os.makedirs(a.run, exist_ok=True); a.looks = 1
    cfg = config(); m = Nano(cfg); aux = Aux(cfg['hidden_size']); aux.silent()
    ck = os.path.join(a.run, 'last.pt'); s = saved(ck) if os.path.exists(ck) else None
    z = s or checkpoint(a.start); step = z['step'] if s else 0; turn = z.get('turn')
    m.load_state_dict(widen(z['model'], cfg))
    if 'aux' in z: aux.load_state_dict(z['aux'])
    reserve(m)
    learns = [m.visual, m.model.embed_tokens, *m.model.layers[:PROBE + 1], aux.local]
    for p in (*m.parameters(), *aux.parameters()): p.requires_grad_(False)
    for x in learns:
        for p in x.parameters(): p.requires_grad_(True)
    opts = [(o, f) for f, group in ((1, {'visual': m.visual}), (a.slow, {'model': m.model, 'aux': aux})) for o in optimisers(group, a.lr)]
    for (o, _), x in zip(opts, s['opt'] if s else []): o.load_state_dict(x)
    pages, rng = Pages(a.data, icons=a.icons), random.Random(a.seed + step + 7919 * rank)
    views = Views(m, pages, rng, 1, 0, Sprites(a.sprites) if a.sprites else None)
    params = [p for p in (*m.parameters(), *aux.parameters()) if p.requires_grad]; alike(params); torch.manual_seed(a.seed + step + 7919 * rank)
    if a.compile: m.visual.blocks_on = torch.compile(m.visual.blocks_on, dynamic=True)
    if not rank: print('parameters that learn', sum(p.numel() for p in params), 'step', step, 'pages', len(pages.stems), flush=True)
    def fixed(): m.model.embed_tokens.weight.grad[NUM0:] = 0
    loop = Loop(rank, a, m, aux, opts, step, turn, pages, params, params, 40, fixed, lambda: reserve(m)); told = loop.told
    for _ in loop:
        v, px, grid = views.draw()
        if a.absent: v['others'] = views.others()
        with Quantised(m, a.q4):
            v['e'] = m.visual(px, *grid)[1]
            kv, hs, nxt = prefix_run(m, v['e'], v['h'], v['w'], PROBE); mid = hs[PROBE - 1][0, len(PREFIX):][v['text']]
            # What is drawn and where it is stay known, too.
            place = F.mse_loss(kv[PROBE][1][0, :, len(PREFIX):, :16], places(v).expand(len(kv[PROBE][1][0]), -1, -1)); told.add('spot', place)
            drawn = torch.zeros(len(v['e']), NGRAM); drawn[v['pairs'][:, 0], v['pairs'][:, 1]] = 1
            local = F.binary_cross_entropy_with_logits(aux.local(mid), drawn[v['text']]) * 100; told.add('local', local)
            look = look_loss(m, v, kv, nxt, rng, a, told, a.names, a.weight, a.absent, a.like)
            told.add('look', look)
            (10 * place + 0.2 * local + 2 * look).backward()


if __name__ == '__main__':
    main()
