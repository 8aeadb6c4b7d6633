"""Builds the way of a place from the picture to the answer, once: python lane.py CHECKPOINT TOWER DATA OUT
After more training, `python lane.py CHECKPOINT - DATA OUT [KEEP]` only finds the gates anew and sets how readily
it says that something is not there (KEEP of what is found is still clicked); of a checkpoint that has the way, another TOWER is
taken, and places are read and gates found anew.
Learnt freely, coordinates came through blurred: with attention right on the target, a third of the answers missed it. The residual is
turned so that its 24 quietest directions become coordinates of their own: PLACE (the position codes of x and y) and OUT (one code).
The merger writes the place of every image token there, read off its own inner layer (behind its narrow end and two layers of the
decoder a column was known to 10 pixels only), and beside it how far what is drawn there is from the token's middle; units of layer
PROBE - 1 that multiply put the two together. Layer PROBE's values copy the place of the attended token into PLACE; layer PROBE + 1 hands x or y, moved by half the box, to OUT, one
head for each of the four numbers; the numbers' embeddings are codes in OUT. `way.reserve` keeps all of it clean."""
import random, sys
import torch
from common import *
from model import Nano, patchify
import questions as Q
from losses import Aux
from match import ridge
from runs import Quantised, prefix_run, prefix_text, see_through, widen
from views import Views, goal, middles, places
from way import CLEAN, GATE, OFF, OUT, PLACE, PROBE, READ, SHARP, TEXT, TURN, reserve, without_prefix


@torch.no_grad()
def hidden(m, views, n):
    """The layers' normalised inputs at image tokens and at text tokens, with what they should tell."""
    xs, mids, spots, stages, texts = [], [], [], [], []
    size = lambda x: x / x.square().mean(-1, keepdim=True).sqrt()
    for _ in range(n):
        v = views.sample(); h, w = v['h'], v['w']
        kv, hs, nxt = prefix_run(m, v['e'], h, w, PROBE)
        n0 = len(PREFIX); mid = size(hs[PROBE - 1][0, n0:])
        xs += [size(v['e'])[::4], size(hs[0][0, n0:])[::4], mid[::4]]
        mids.append(mid); spots.append(places(v))
        pk, pv, _ = prefix_text(m)
        qs = Q.make(v['chars'], v['targets'], views.rng, 24, 0.6, 0.6)
        for q in qs:
            r = views.rng
            p, a = prompt_ids(q['instruction']), answer_ids([r.randint(0, 999) for _ in range(4)], q['typed'])
            ids = torch.tensor(p + a)[None]; p0 = nxt + torch.arange(ids.shape[1]); cos, sin = m.mrope(torch.stack((p0, p0, p0))); x = m.embed(ids)
            last = torch.tensor([len(p) - 1])
            for i, l in enumerate(m.model.layers[:PROBE + 1]):
                xs.append(size(x[0]))
                if i == PROBE: texts.append(xs[-1])
                y = l.questions(x, cos, sin, pk[i], pv[i], sharp=SHARP if i == PROBE else 1)[0]
                if i == PROBE: y[:, last] = l.questions(x, cos, sin, *kv[i], only=last[:, None], sharp=SHARP)[0]
                x = y
            xs.append(size(x[0]))
            # the k-th number is told by the token before it
            s = torch.full((len(a), 4), -1.0)
            for k in range(4): s[1 + 2 * k, k] = 1
            stages.append((size(x[0, len(p) - 1:-1]), torch.cat((torch.full((1, 4), -1.0), s[:-1]))))
    mids.append(torch.cat(texts)); spots.append(torch.zeros(len(mids[-1]), 16))  # text has no place
    return torch.cat(xs), torch.cat(mids), torch.cat(spots), torch.cat([a for a, _ in stages]), torch.cat([b for _, b in stages])


def fewer_bits(m, views, n):
    with Quantised(m, True): return hidden(m, views, n)


@torch.no_grad()
def spare(m, views):
    """Orders the units of layer PROBE - 1 by their weight, so that the last can be taken for something else."""
    p, sizes = m.model.layers[PROBE - 1].mlp, []
    hook = p.down_proj.register_forward_pre_hook(lambda _, x: sizes.append(x[0].square().flatten(0, -2).mean(0)))
    for _ in range(6): v = views.sample(); prefix_run(m, v['e'], v['h'], v['w'], PROBE)
    hook.remove()
    order = (torch.stack(sizes).mean(0).sqrt() * p.down_proj.weight[:OUT.start].norm(dim=0)).argsort(descending=True)
    p.gate_proj.weight.copy_(p.gate_proj.weight[order]); p.up_proj.weight.copy_(p.up_proj.weight[order]); p.down_proj.weight.copy_(p.down_proj.weight[:, order])


@torch.no_grad()
def positions(m, pages, n=150):
    """Sets the merger's outputs PLACE to what tells the token's place best, and OFF to how far what is drawn lies beside it."""
    rng, mg, size = random.Random(5), m.visual.merger, []; g = b = 0
    hook = m.model.layers[PROBE - 1].post_attention_layernorm.register_forward_pre_hook(lambda _, x: size.append(x[0]))
    for _ in range(n):
        img, chars, targets = whole(pages.sample(rng), rng)
        if len(chars) < 12: continue
        h, w = img.shape[:2]; px, grid = patchify(torch.from_numpy(img)); t, e = m.visual(px, *grid)
        x = mg.mlp[1](mg.mlp[0](mg.ln_q(t).reshape(len(e), -1))); x = torch.cat((x, torch.ones(len(x), 1)), 1)
        mid = prefix_run(m, e, h, w, PROBE)[1][-1]; r, deep = (x[0, len(PREFIX):].square().mean(-1, keepdim=True) for x in (size.pop(), mid))
        centre = torch.from_numpy(middles(chars[:0], [], h, w)); off = torch.from_numpy(middles(chars, targets, h, w)) - centre
        drawn = off.abs().sum(-1, keepdim=True) > 0
        k = torch.where(drawn, 1.0, 0.1) / n
        g = g + (x * k).T @ x; b = b + (x * k).T @ torch.cat((deep.sqrt() / READ * places(dict(at=centre)), TURN * r * off), 1)
    hook.remove()
    s = torch.linalg.solve(g + 1e-4 * g.diagonal().mean() * torch.eye(len(g)), b).T; o = mg.mlp[2]
    for rows, part in ((PLACE, s[:16]), (OFF, s[16:])): o.weight[rows] = part[:, :-1]; o.bias[rows] = part[:, -1]
    reserve(m)


@torch.no_grad()
def gates(m, views, n=16):
    """The head of layer PROBE + 1 that is asked at the token before its number, found by linear regression."""
    # in exact and in 4-bit weights
    (_, _, _, t1, s1), (_, _, _, t2, s2) = hidden(m, views, n), fewer_bits(m, views, n)
    told, stage = torch.cat((t1, t2)), torch.cat((s1, s2))
    b = m.model.layers[PROBE + 1].self_attn; row = b.d // 2 - 2
    told[:, OUT.start:] = 0; f, mean = ridge(told, stage, 1e-3); off = stage.mean(0); y = (told - mean) @ f.T + off
    print('numbers told apart: least where asked, most elsewhere', [(y[stage[:, k] > 0, k].min().item(), y[stage[:, k] < 0, k].max().item()) for k in range(4)])
    for h in range(b.n):
        b.q_proj.weight[h * b.d + row] = GATE[0] * f[h]; b.q_proj.bias[h * b.d + row] = GATE[0] * (off[h] - f[h] @ mean)
    reserve(m)


@torch.no_grad()
def dare(m, views, keep, n=40):
    """Moves the embedding of the answer to what is not there so that `keep` of what is found is still clicked."""
    hs, found, there = [], [], []
    with Quantised(m, True):
        for _ in range(n):
            v = views.sample(); h, w = v['h'], v['w']; kv, _, nxt = prefix_run(m, v['e'], h, w)
            pk, pv, _ = prefix_text(m); n0 = len(PREFIX)
            qs = Q.make(v['chars'], v['targets'], views.rng, 16, 0.5, 1); qs += Q.not_there(v['chars'], v['targets'] + v['also'], v['others'], views.rng, 8, 0.6)
            for q in qs:
                p = prompt_ids(q['instruction']); at = nxt + torch.arange(len(p)); cos, sin = m.mrope(torch.stack((at, at, at)))
                x = m.embed(torch.tensor(p))[None]; last = torch.tensor([len(p) - 1])
                for i, l in enumerate(m.model.layers):
                    y = l.questions(x, cos, sin, pk[i], pv[i], sharp=SHARP if i == PROBE else 1)[0]
                    if i == PROBE:
                        y[:, last], lp = l.questions(x, cos, sin, *kv[i], torch.zeros(1, dtype=torch.long), only=last[:, None], sharp=SHARP)
                        seen = lp[0, :, n0:n0 + h * w // 784].exp().mean(0).argmax()
                    x = y
                hs.append(m.model.norm(x)[0, -1]); there.append(bool(q['box'])); found.append(bool(goal(q, v['chars'], h, w)[0][seen]))
    hs, found, there = torch.stack(hs), torch.tensor(found), torch.tensor(there)
    e = m.model.embed_tokens.weight; gone = hs @ (e[NOT_THERE[0]] - e[answer_ids([0] * 4)[0]])
    mean = hs.mean(0); mean[OUT.start:] = 0; by = gone[found].quantile(keep)
    e[NOT_THERE[0]] -= by * mean / mean.square().sum()
    now = hs @ (e[NOT_THERE[0]] - e[answer_ids([0] * 4)[0]]) > 0
    share = lambda which: round(now[which].float().mean().item(), 3)
    print(f'moved by {by:.2f}; refused of what is not there {share(~there)}, of what is found {share(found)}, of what is there and not found {share(there & ~found)}; {len(hs)} questions')


@torch.no_grad()
def place_values(m, views):
    """Sets the values of layer PROBE to what tells the places of image tokens from their inputs; text has none."""
    _, mid, spot, _, _ = hidden(m, views, 24)
    l = m.model.layers[PROBE]; a = l.self_attn
    told = mid[:, PLACE] * READ; print('place as the merger tells it, scale', ((told * spot).sum() / told.square().sum()).item(), 'mean square error', (told - spot).square().mean(0))
    mid = mid * l.input_layernorm.weight; mid[:, CLEAN:] = 0; mid = mid @ without_prefix(m); rest = spot - told
    g = mid.T @ mid / len(mid) + 1e-4 * torch.eye(mid.shape[1]); s = torch.linalg.solve(g, mid.T @ rest / len(mid)).T
    print('place at tokens, mean square error', (mid @ s.T - rest).square().mean(0))
    for h in range(a.n): a.v_proj.weight[h * a.d:h * a.d + 16] = s; a.v_proj.bias[h * a.d:h * a.d + 16] = 0
    reserve(m)


def see(m, views, data):
    """All of the way that depends on the tower, each part on what is set before it."""
    spare(m, views); reserve(m); positions(m, Pages(data, icons=0.15)); views.pool.clear()
    place_values(m, views); gates(m, views)


@torch.no_grad()
def main(ckpt, tower, data, out, keep=0.9):
    torch.set_num_threads(1); torch.manual_seed(3)
    z = saved(ckpt); m = Nano(config()); m.load_state_dict(widen(z['model'], config()))
    if tower == '-':
        views = Views(m, Pages(data), random.Random(11), 1, 4)
        gates(m, views)
        # What is found on pages of other people's tells better what will be found than what was made to be hard.
        pages = Pages(data); pages.stems = [s for s in pages.stems if s.rsplit('-', 1)[1] in ('real', 'package')]
        dare(m, Views(m, pages, random.Random(11), 1, 4), keep)
        return torch.save(dict(z, model=m.state_dict()), out)
    if z.get('turn') is not None:
        see_through(m, tower, z['turn'])
        views = Views(m, Pages(data), random.Random(9), 1, 4)
        see(m, views, data)
        return torch.save(dict(z, model=m.state_dict()), out)
    see_through(m, tower)
    aux = Aux(256); aux.load_state_dict(z['aux'], strict=False)
    reserve(m, lane=False)
    views = Views(m, Pages(data), random.Random(9), 1, 4)
    # norms become plain, so that the residual can be turned
    for l in m.model.layers:
        for norm, lins in ((l.input_layernorm, (l.self_attn.q_proj, l.self_attn.k_proj, l.self_attn.v_proj)), (l.post_attention_layernorm, (l.mlp.gate_proj, l.mlp.up_proj))):
            for x in lins: x.weight *= norm.weight
            norm.weight.fill_(1)
    m.model.norm.weight[:TEXT] = m.model.norm.weight[:TEXT].mean()
    x = hidden(m, views, 10)[0][:, :TEXT]
    val, vec = torch.linalg.eigh(x.T @ x / len(x)); q = vec.flip(1)
    print('share of the quietest directions', (val[:24].sum() / val.sum()).item())
    ins = lambda w: w[:, :TEXT].copy_(w[:, :TEXT] @ q)
    outs = lambda w: w[:TEXT].copy_(q.T @ w[:TEXT])
    ins(m.model.embed_tokens.weight)
    o = m.visual.merger.mlp[2]; outs(o.weight); outs(o.bias)
    for l in m.model.layers:
        a, p = l.self_attn, l.mlp
        for w in (a.q_proj, a.k_proj, a.v_proj, p.gate_proj, p.up_proj): ins(w.weight)
        for w in (a.o_proj, p.down_proj): outs(w.weight)
    for w in (aux.gram, aux.local, aux.spot, aux.found): ins(w.weight)
    m.model.embed_tokens.weight[NUM0:] = 0
    m.model.norm.weight[OUT] = 4
    reserve(m)
    see(m, views, data)
    torch.save(dict(model=m.state_dict(), aux=aux.state_dict(), step=z['step'], turn=q), out)


if __name__ == '__main__':
    main(*sys.argv[1:5], *map(float, sys.argv[5:6]))
