"""Moves the position table of a checkpoint into the quietest directions of the tower's residual stream, loud enough for the merger to read,
and hides them from the blocks. python place_positions.py CHECKPOINT DATA OUT
Run once after pretraining: reading characters had taught the tower to drown positions (0.09 of the embeddings' size)."""
import random, sys
import numpy as np, torch
from common import *
from model import Nano, patchify


@torch.no_grad()
def main(ckpt, data, out):
    torch.manual_seed(1); torch.set_num_threads(1)
    s = saved(ckpt); m = Nano(config()); m.load_state_dict(s['model']); v = m.visual
    pages, rng, cov = Pages(data), random.Random(5), 0
    for _ in range(12):
        img, _, _ = whole(pages.sample(rng), rng)
        acts = []
        hooks = [b.register_forward_hook(lambda _, i, o: acts.append(o.reshape(-1, o.shape[-1]))) for b in v.blocks]
        px, g = patchify(torch.from_numpy(img)); v(px, *g)
        [h.remove() for h in hooks]
        for t in [v.patch_embed(px)] + acts: cov = cov + t.T @ t / len(t) / t.square().mean()
    val, vec = torch.linalg.eigh(cov)
    B = vec[:, :16]
    print('variance of the chosen directions', (val[:16].sum() / val.sum()).item())
    hide = torch.eye(len(B)) - B @ B.T
    for b in v.blocks:
        for norm, lins in ((b.norm1, [b.attn.qkv]), (b.norm2, [b.mlp.gate_proj, b.mlp.up_proj])):
            for l in lins: l.weight.copy_(l.weight * norm.weight @ hide / norm.weight)
    g = v.grid; t = torch.arange(g).float()
    w = torch.stack([f(t * 2 * np.pi / p) for p in (62, 24, 9, 4) for f in (torch.sin, torch.cos)], -1)
    feat = torch.cat((w[:, None].expand(g, g, -1), w[None].expand(g, g, -1)), -1).reshape(g * g, -1)
    feat = feat - feat.mean(0)
    v.pos_embed.weight.copy_(feat / feat.square().mean().sqrt() * 3.2 @ B.T)
    l = v.merger.mlp[0]
    for k in range(4):
        blk = l.weight[:, k * len(B):(k + 1) * len(B)]
        blk.copy_(blk @ hide)
    extra = torch.randn(l.weight.shape[0], 16) * 0.05
    for k in range(4): l.weight[:, k * len(B):(k + 1) * len(B)] += extra @ B.T
    s['model'] = m.state_dict(); s['ema'] = {k: x.clone() for k, x in s['model'].items()}
    torch.save(s, out)


main(*sys.argv[1:4])
