"""What the decoder is taught (README.md tells each in a sentence)."""
import torch, torch.nn as nn, torch.nn.functional as F
from common import *
from runs import prefix_run, prefix_text, read
from views import area, goals, places
from way import HALF, PLACE, PROBE, SHARP
import questions as Q


class Aux(nn.Module):
    def __init__(self, h):
        super().__init__()
        self.gram = nn.Linear(h, NGRAM)
        self.local = nn.Linear(h, NGRAM)
        self.spot, self.found = nn.Linear(h, 16), nn.Linear(h, 16)

    @torch.no_grad()
    def silent(self):
        """So that they teach the model nothing before they have learnt something themselves."""
        for x in (self.gram, self.local): x.weight.zero_(); x.bias.fill_(-5)


def page_loss(m, aux, v, rng, a, stats, force):
    h, w, chars, targets, part = v['h'], v['w'], v['chars'], v['targets'], None
    if rng.random() < a.parts:
        part, chars, targets = area(v, rng)
        qs = Q.make(chars, targets, rng, a.questions, a.short, a.share)
        qs = [q for q, (on, _) in zip(qs, goals(v, qs)) if (on & part).any()]
        # What is elsewhere on the page is not there, nor what other pages have.
        others = [(t['name'], t['kind']) for t in v['targets']] + v['others']
    else: qs, others = Q.make(chars, targets, rng, a.questions, a.short, a.share), v['others']
    if qs: qs += Q.not_there(chars, targets + v['also'], others, rng, round((a.questions if part is None else len(qs)) * a.absent), a.short)
    n0 = len(PREFIX); loss = 0
    kv, hs, nxt = prefix_run(m, v['e'], h, w, PROBE)
    mid, text = hs[PROBE - 1][0, n0:], v['text']
    spot = places(v)
    ls = F.mse_loss(kv[PROBE][1][0, :, n0:, :16] if a.lane else aux.spot(mid)[None], spot.expand(len(kv[PROBE][1][0]) if a.lane else 1, -1, -1)); stats.add('spot', ls)
    tgt = torch.zeros(len(mid), NGRAM); tgt[v['pairs'][:, 0], v['pairs'][:, 1]] = 1
    lg = F.binary_cross_entropy_with_logits(aux.local(mid[text]), tgt[text]) * 100; stats.add('local', lg)
    loss = 10 * ls + 0.2 * lg
    if a.look and (v['put'] or a.looks): loss = loss + a.look * look_loss(m, v, kv, nxt, rng, a, stats, like=a.like)
    if not qs:
        return loss
    pr = [prompt_ids(q['instruction']) for q in qs]
    inb, on = (torch.stack(x) for x in zip(*goals(v, qs))); at, (image_k, image_v) = v['at'], kv[PROBE]
    if part is not None:
        inb, on, at, left = inb[:, part], on[:, part], at[part], torch.cat((torch.ones(n0, dtype=torch.bool), part)); image_k, image_v = image_k[:, :, left], image_v[:, :, left]
    n1 = n0 + len(at)
    there = inb.any(-1)
    px, py = ((on * c).sum(-1) / on.sum(-1).clamp(min=1) for c in at.T)
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
            put = torch.zeros(N, n1 + L); put[:, n0:n1] = on / on.sum(-1, keepdim=True).clamp(min=1)
            share = torch.where(forced, 0.25 + 0.75 * torch.rand(N), torch.zeros(N))  # the rest stays the model's own attention
            see, lp = l.questions(x, cos, sin, image_k, image_v, torch.zeros_like(last), (share[:, None, None, None], put[:, None, None]), only=last[:, None], sharp=SHARP)
            x, _ = l.questions(x, cos, sin, pk[i], pv[i], sharp=SHARP)
            x = torch.where((torch.arange(L) == last[:, None])[..., None], see, x)
            lpi = lp[:, :, n0:n1]
            # what is not there is looked for in vain: attention stays with the text
            lt = torch.cat((lp[:, :, :n0], lp[:, :, n1:]), -1)
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


def look_loss(m, v, kv, nxt, rng, a, stats, n=36, icons=1.0, absent=0, like=0):
    """More of the page is asked for, its text and, by any of their names, the icons that were put on it: only where layer PROBE looks is
    taught, which is cheap. Attention is to be shared equally among all that bear a name. `icons`: what one of them weighs; `absent`: how
    many names of other pages' are asked for (`v['others']`), for which attention is to stay with the text; `like`: how many names that
    stand several times."""
    h, w, thing = v['h'], v['w'], {}
    qs = Q.make(v['chars'], v['targets'], rng, round(n * a.looks), a.short, a.share)
    asked = [(q['name'], a.short, [on]) for q, (on, _) in zip(qs, goals(v, qs))]
    put = rng.sample(v['put'], min(n, len(v['put'])))
    for _, t, b in v['put']: thing.setdefault(t, []).append(here(Q.tokens_in(b, h, w)))
    asked += [(rng.choice(names), 0.7, thing[t]) for names, t, _ in put]
    asked += [(name, a.short, [on for on, _ in goals(v, [dict(box=b) for b in boxes])]) for name, boxes in (Q.repeated(v['chars'], v['targets'], rng, like) if like else [])]
    there = len(asked)
    if absent: asked += [(q['name'], a.short, []) for q in Q.not_there(v['chars'], v['targets'] + v['also'], v['others'], rng, absent, a.short)]
    if not asked: return torch.zeros(())
    weight = torch.ones(len(asked)); weight[len(qs):len(qs) + len(put)] = icons
    x, last, cos, sin = read(m, [Q.wording(name, rng, short) for name, short, _ in asked], nxt)
    lp = m.model.layers[PROBE].questions(x, cos, sin, *kv[PROBE], torch.zeros_like(last), only=last[:, None])[1]
    n0, e = len(PREFIX), len(v['e']); lt = torch.cat((lp[there:, :, :n0], lp[there:, :, n0 + e:]), -1); lp = lp[:, :, n0:n0 + e]
    found = torch.logsumexp(lt, -1).mean(1) if len(lt) else torch.zeros(0)
    seen = lp.detach().exp().mean(1); stats.add('looked', seen[:there].sum(-1)); stats.add('in vain', seen[there:].sum(-1))
    if there:
        of = torch.tensor([i for i, (_, _, ons) in enumerate(asked) for _ in ons]); on = torch.stack([k for _, _, ons in asked for k in ons])
        many = torch.bincount(of).float()
        each = torch.logsumexp(lp[of].masked_fill(~on[:, None], -1e9), -1).mean(1)
        found = torch.cat((torch.zeros(there).index_add(0, of, each) / many + many.log(), found))
        union = torch.zeros(there, e).index_add(0, of, on.float()) > 0; hit = union.gather(1, seen[:there].argmax(-1)[:, None])[:, 0].float()
        stats.add('text hit', hit[:len(qs)]); stats.add('icon hit', hit[len(qs):len(qs) + len(put)])
        # How many of several stand out: a quarter of what the strongest place gets.
        top = (seen[of] * on).amax(-1); several = many[of] > 1; stats.add('all of several', (top > 0.25 * seen[of].amax(-1))[several].float())
    return -(weight * found).sum() / n


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
