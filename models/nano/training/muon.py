"""Muon (orthogonalised momentum) for the matrices inside blocks, AdamW for everything else. Update size as in Moonlight, so that both
share one learning rate."""
import torch


def orthogonal(g, steps=4):
    x = g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, named, base, wd=0.02, momentum=0.95):
        """named: [(name, parameter)]"""
        self.split = {}
        ps = []
        for n, p in named:
            self.split[id(p)] = 3 if 'qkv' in n else 1
            ps.append(p)
        super().__init__([dict(params=ps, base=base)], dict(lr=base, wd=wd, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g['params']:
                if p.grad is None:
                    continue
                s = self.state[p]
                if 'm' not in s:
                    s['m'] = torch.zeros_like(p)
                s['m'].lerp_(p.grad, 1 - g['momentum'])
                u = p.grad.lerp(s['m'], g['momentum'])
                k = self.split[id(p)]
                u = orthogonal(u.view(k, p.shape[0] // k, -1)).reshape(p.shape)
                p.mul_(1 - g['lr'] * g['wd'])
                p.add_(u, alpha=-g['lr'] * 0.2 * max(p.shape[0] // k, p.shape[1]) ** 0.5)


def optimisers(modules, base, wd=0.02):
    """For modules (name -> module): a Muon over block matrices and an AdamW over the rest; every group carries its base rate."""
    mu, ad = [], []
    for name, m in modules.items():
        for n, p in m.named_parameters():
            full = f'{name}.{n}'
            if p.requires_grad:
                (mu if p.dim() == 2 and any(k in full for k in ('blocks.', 'merger.mlp', 'layers.')) else ad).append((full, p))
    return [Muon(mu, base, wd), torch.optim.AdamW([dict(params=[p for _, p in ad], base=base)], lr=base, betas=(0.9, 0.98), weight_decay=wd)]
