"""How checkpoints are loaded and the decoder is run in training: many prompts share one picture's keys and values."""
import os
import torch
from common import *
from model import deeper
from way import OFF, PLACE, PROBE, SHARP, TEXT


def checkpoint(path):
    """What a training program has saved; or an exported directory, which has the weights alone, rounded to f16."""
    if not os.path.isdir(path): return saved(path)
    from safetensors.torch import load_file
    sd = {k: x.float() for k, x in load_file(os.path.join(path, 'model.safetensors')).items()}
    for k in ('weight', 'bias'): sd[f'model.layers.{PROBE}.self_attn.q_proj.{k}'] /= SHARP
    return dict(model=sd, step=0, turn=torch.eye(TEXT))


def widen(sd, cfg):
    """A checkpoint with fewer key-value heads, tokens or blocks of the tower, made to fit."""
    h = cfg['hidden_size']; d = h // cfg['num_attention_heads']; kv = cfg['num_key_value_heads']
    for k in list(sd):
        if 'k_proj' in k or 'v_proj' in k:
            x = sd[k].view(-1, d, *sd[k].shape[1:]); sd[k] = x.repeat_interleave(kv // len(x), 0).reshape(kv * d, *sd[k].shape[1:])
    e = sd['model.embed_tokens.weight']
    if len(e) < cfg['vocab_size']: sd['model.embed_tokens.weight'] = torch.cat((e, torch.zeros(cfg['vocab_size'] - len(e), h)))
    tower = deeper({k[7:]: sd.pop(k) for k in list(sd) if k.startswith('visual.')}, cfg['vision_config']['depth'])
    return {**sd, **{'visual.' + k: x for k, x in tower.items()}}


@torch.no_grad()
def see_through(m, tower, turn=None):
    """Takes the tower of a checkpoint of pretrain.py; `turn` is how lane.py turned the residual."""
    m.visual.load_state_dict({k[7:]: x for k, x in saved(tower)['model'].items() if k.startswith('visual.')})
    if turn is not None:
        o = m.visual.merger.mlp[2]
        for x in (o.weight, o.bias): x[:TEXT] = turn.T @ x[:TEXT]; x[OFF] = 0; x[PLACE] = 0


@torch.no_grad()
def sharpened(m):
    """The model as it is used: SHARP becomes part of the queries."""
    for p in m.model.layers[PROBE].self_attn.q_proj.parameters(): p.mul_(SHARP)
    return m


def prefix_run(m, e, h, w, upto=None):
    """Runs the fixed prefix and the image tokens e [n, H]; returns keys and values per layer, hidden after each layer.
    With `upto` only as far as the keys and values of that layer."""
    x = torch.cat((m.embed(torch.tensor(PREFIX)), e.to(m.model.embed_tokens.weight.dtype)))[None]
    gh, gw = h // 28, w // 28
    n = len(PREFIX)
    t = torch.arange(n)
    pos = torch.cat((torch.stack((t, t, t)), torch.stack((torch.full((gh * gw,), n), n + torch.arange(gh).repeat_interleave(gw), n + torch.arange(gw).repeat(gh)))), 1)
    cos, sin = m.mrope(pos)
    kv, hs = [], []
    for l in m.model.layers[:upto]:
        x, k, v = l.causal(x, cos, sin)
        kv.append((k, v)); hs.append(x)
    if upto is not None:
        kv.append(m.model.layers[upto].keys(x, cos, sin))
    return kv, hs, n + max(gh, gw)


def prefix_text(m):
    """Keys and values of the fixed tokens before the picture."""
    x = m.embed(torch.tensor(PREFIX))[None]; t = torch.arange(len(PREFIX)); cos, sin = m.mrope(torch.stack((t, t, t)))
    ks, vs = [], []
    for l in m.model.layers:
        x, k, v = l.causal(x, cos, sin)
        ks.append(k); vs.append(v)
    return ks, vs, x


def read(m, instructions, at):
    """Prompts without a picture, from position `at`, after the layers before PROBE: [prompts, tokens, H]; each one's last token; RoPE."""
    pr = [prompt_ids(i) for i in instructions]; L = max(map(len, pr)); ids = torch.full((len(pr), L), ID['<|endoftext|>'])
    for i, p in enumerate(pr): ids[i, :len(p)] = torch.tensor(p)
    pos = at + torch.arange(L); cos, sin = m.mrope(torch.stack((pos, pos, pos))); x = m.embed(ids); pk, pv, _ = prefix_text(m)
    for i, l in enumerate(m.model.layers[:PROBE]): x = l.questions(x, cos, sin, pk[i], pv[i])[0]
    return x, torch.tensor([len(p) - 1 for p in pr]), cos, sin


def four_bits(w):
    """What is left of a matrix stored as q4: 32-wide blocks between their least and greatest value in 15 steps."""
    b = w.view(-1, 32); low = b.amin(1, keepdim=True).half().float(); step = ((b.amax(1, keepdim=True) - low) / 15).clamp(min=1e-8)
    return (((b - low) / step).round().clamp(0, 15) * step + low).view_as(w)


class Quantised:
    """Within, the decoder's matrices are as stored in q4; gradients go to the exact ones."""
    def __init__(self, m, on):
        self.ps = [p for n, p in m.model.layers.named_parameters() if p.dim() == 2] if on else []

    def __enter__(self):
        self.kept = [p.data.clone() for p in self.ps]
        for p in self.ps: p.data.copy_(four_bits(p.data))

    def __exit__(self, *_):
        for p, k in zip(self.ps, self.kept): p.data.copy_(k)
