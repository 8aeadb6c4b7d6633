"""Linear read-outs, and a start for the search of a name on a page that is made of them."""
import torch
from common import *
from runs import prefix_run, read
from way import PROBE
import questions as Q


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
