"""Qwen2.5-VL in plain PyTorch with the published tensor names, plus one optional extension: a learned table of absolute
patch positions (`vision_config.num_position_embeddings`, interpolated as Qwen3-VL does it).

The decoder has a second entry point for training: many questions share one picture's keys and values."""
import math
import torch
import torch.nn as nn
import torch.nn.functional as F


class RMSNorm(nn.Module):
    def __init__(self, n, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def rotate(x, cos, sin):
    """Half-rotated RoPE; cos and sin are [tokens, head_dim]."""
    h = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., h:], x[..., :h]), -1) * sin


class VisionAttention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(c, 3 * c)
        self.proj = nn.Linear(c, c)

    def forward(self, x, cos, sin):
        """x: [windows, tokens, C]; cos, sin: [windows or 1, 1, tokens, head_dim]"""
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        cos, sin = cos.to(q.dtype), sin.to(q.dtype)
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    def __init__(self, c, inner, bias):
        super().__init__()
        self.gate_proj = nn.Linear(c, inner, bias=bias)
        self.up_proj = nn.Linear(c, inner, bias=bias)
        self.down_proj = nn.Linear(inner, c, bias=bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class VisionBlock(nn.Module):
    def __init__(self, c, heads, inner):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(c), RMSNorm(c)
        self.attn, self.mlp = VisionAttention(c, heads), Mlp(c, inner, True)

    def forward(self, x, cos, sin):
        x = x + self.attn(self.norm1(x), cos, sin)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.proj = nn.Conv3d(3, c, (2, 14, 14), (2, 14, 14), bias=False)

    def forward(self, x):
        """x: [..., 588]: a still picture repeats its frame, so the two temporal kernels add up."""
        return F.linear(x, self.proj.weight.sum(2).flatten(1))


class Merger(nn.Module):
    def __init__(self, c, out):
        super().__init__()
        self.ln_q = RMSNorm(c)
        self.mlp = nn.Sequential(nn.Linear(4 * c, 4 * c), nn.GELU(), nn.Linear(4 * c, out))

    def forward(self, x):
        return self.mlp(self.ln_q(x).reshape(*x.shape[:-2], x.shape[-2] // 4, 4 * x.shape[-1]))


def patch_positions(h, w):
    """Rows and columns of the patches in the processor's order (2x2 blocks)."""
    y = torch.arange(h).view(h // 2, 2, 1, 1).expand(h // 2, 2, w // 2, 2).permute(0, 2, 1, 3).reshape(-1)
    x = torch.arange(w).view(1, 1, w // 2, 2).expand(h // 2, 2, w // 2, 2).permute(0, 2, 1, 3).reshape(-1)
    return y, x


def windows(h, w, size=8):
    """For each attention window the indices of its patches (processor's order), in scan order of windows."""
    gh, gw, m = h // 2, w // 2, size // 2
    idx = torch.arange(gh * gw).view(gh, gw)
    out = []
    for a in range(0, gh, m):
        for b in range(0, gw, m):
            t = idx[a:a + m, b:b + m].reshape(-1)
            out.append((t[:, None] * 4 + torch.arange(4)).reshape(-1))
    return out


def deeper(tower, depth):
    """A tower's tensors with `depth` blocks, if it has fewer: behind each comes its copy, which adds nothing until it has been taught
    (the block expansion of LLaMA Pro, arXiv 2401.02415)."""
    has = 1 + max(int(k.split('.')[1]) for k in tower if k.startswith('blocks.'))
    if has >= depth: return tower
    out = {k: x for k, x in tower.items() if not k.startswith('blocks.')}
    for i in range(depth):
        old = i * has // depth; copy = i > 0 and old == (i - 1) * has // depth
        for k, x in tower.items():
            if k.startswith(f'blocks.{old}.'): out[k.replace(f'.{old}.', f'.{i}.', 1)] = torch.zeros_like(x) if copy and ('attn.proj' in k or 'down_proj' in k) else x.clone()
    return out


class Visual(nn.Module):
    def __init__(self, v):
        super().__init__()
        c = v['hidden_size']
        self.cfg, self.head_dim = v, c // v['num_heads']
        self.patch_embed = PatchEmbed(c)
        if v.get('num_position_embeddings'):
            self.pos_embed = nn.Embedding(v['num_position_embeddings'], c)
            self.grid = int(math.isqrt(v['num_position_embeddings']))
        self.blocks = nn.ModuleList(VisionBlock(c, v['num_heads'], v['intermediate_size']) for _ in range(v['depth']))
        self.merger = Merger(c, v['out_hidden_size'])

    def rope(self, y, x):
        d = self.head_dim // 2
        inv = 1.0 / (10000 ** (torch.arange(0, d, 2).float() / d))
        f = torch.cat((y[..., None].float() * inv, x[..., None].float() * inv), -1)
        f = torch.cat((f, f), -1)
        return f.cos(), f.sin()

    def positions(self, y, x, h, w):
        """Qwen3-VL's fast_pos_embed_interpolate at the patches (y, x) of an h by w grid."""
        g = self.grid
        ys = torch.linspace(0, g - 1, h)[y] if h > 1 else torch.zeros(y.shape)
        xs = torch.linspace(0, g - 1, w)[x] if w > 1 else torch.zeros(x.shape)
        y0, x0 = ys.int().long(), xs.int().long()
        y1, x1 = (y0 + 1).clamp(max=g - 1), (x0 + 1).clamp(max=g - 1)
        dy, dx = (ys - y0)[..., None], (xs - x0)[..., None]
        e = self.pos_embed.weight
        def at(a, b):
            return F.embedding(a * g + b, e)
        return (1 - dy) * (1 - dx) * at(y0, x0) + (1 - dy) * dx * at(y0, x1) + dy * (1 - dx) * at(y1, x0) + dy * dx * at(y1, x1)

    def blocks_on(self, x, cos, sin):
        for b in self.blocks:
            x = b(x, cos, sin)
        return x

    def forward(self, patches, h, w):
        """patches [h*w, 588] in the processor's order -> tower [h*w, C] and embeddings [h*w/4, out]."""
        y, x = patch_positions(h, w)
        t = self.patch_embed(patches)
        if hasattr(self, 'pos_embed'):
            t = t + self.positions(y, x, h, w).to(t.dtype)
        cos, sin = self.rope(y, x)
        full = set(self.cfg['fullatt_block_indexes'])
        wins = windows(h, w, self.cfg['window_size'] // 14)
        groups = {}
        for i in wins:
            groups.setdefault(len(i), []).append(i)
        if not full:  # windows of one size run through all blocks together
            out = torch.empty_like(t)
            parts, order = [], []
            for g in groups.values():
                i = torch.stack(g)
                parts.append(self.blocks_on(t[i], cos[i][:, None], sin[i][:, None]).reshape(-1, t.shape[-1]))
                order.append(i.reshape(-1))
            order = torch.cat(order)
            inv = torch.empty_like(order)
            inv[order] = torch.arange(len(order))
            out = torch.cat(parts)[inv]
        else:
            for n, b in enumerate(self.blocks):
                if n in full:
                    t = b(t[None], cos[None, None], sin[None, None])[0]
                else:
                    o = t.clone()
                    for i in wins:
                        o[i] = b(t[i][None], cos[i][None, None], sin[i][None, None])[0]
                    t = o
            out = t
        return out, self.merger(out)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, n, kv = c['hidden_size'], c['num_attention_heads'], c['num_key_value_heads']
        self.n, self.kv, self.d = n, kv, h // n
        self.q_proj = nn.Linear(h, h)
        self.k_proj = nn.Linear(h, kv * self.d)
        self.v_proj = nn.Linear(h, kv * self.d)
        self.o_proj = nn.Linear(h, h, bias=False)

    def project(self, x, cos, sin):
        """x [batch, tokens, H] -> q [batch, heads, tokens, d], k, v [batch, kv, tokens, d] with RoPE applied."""
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, self.n, self.d).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.kv, self.d).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.kv, self.d).transpose(1, 2)
        cos, sin = cos.to(q.dtype), sin.to(q.dtype)
        return rotate(q, cos, sin), rotate(k, cos, sin), v


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        h = c['hidden_size']
        self.self_attn = Attention(c)
        self.mlp = Mlp(h, c['intermediate_size'], False)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(h, c['rms_norm_eps']), RMSNorm(h, c['rms_norm_eps'])

    def finish(self, x, y):
        b, n, t, d = y.shape
        x = x + self.self_attn.o_proj(y.transpose(1, 2).reshape(b, t, n * d))
        return x + self.mlp(self.post_attention_layernorm(x))

    def causal(self, x, cos, sin):
        a = self.self_attn
        q, k, v = a.project(self.input_layernorm(x), cos, sin)
        r = a.n // a.kv
        y = F.scaled_dot_product_attention(q, k.repeat_interleave(r, 1), v.repeat_interleave(r, 1), is_causal=True)
        return self.finish(x, y), k, v

    def keys(self, x, cos, sin):
        _, k, v = self.self_attn.project(self.input_layernorm(x), cos, sin)
        return k, v

    def questions(self, x, cos, sin, pk, pv, probe=None, force=None, only=None, sharp=1.0):
        """x [questions, tokens, H], each attending to the shared prefix pk, pv [1, kv, prefix, d] and causally to itself.
        With `probe` (an index per question) also returns that token's log attention. `force` (share, attention) mixes a given
        attention in. `only` [questions, m]: the tokens to compute. `sharp` multiplies the scores, but not in the log attention."""
        a = self.self_attn
        q, k, v = a.project(self.input_layernorm(x), cos, sin)
        seen = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()
        if only is not None:
            x = x.gather(1, only[..., None].expand(-1, -1, x.shape[-1]))
            q = q.gather(2, only[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3]))
            seen = seen[only][:, None]
        b, n, t, d = q.shape
        r, p = n // a.kv, pk.shape[2]
        scale = d ** -0.5
        # [kv, b*r*t, d] x [kv, d, p]
        qs = q.view(b, a.kv, r, t, d).permute(1, 0, 2, 3, 4).reshape(a.kv, b * r * t, d) * scale
        s1 = (qs @ pk[0].transpose(1, 2)).view(a.kv, b, r, t, p).permute(1, 0, 2, 3, 4).reshape(b, n, t, p)
        s2 = (q * scale) @ k.repeat_interleave(r, 1).transpose(2, 3)
        s2 = s2.masked_fill(~seen, float('-inf'))
        w = torch.cat((s1, s2), -1).float()
        logp = w[torch.arange(b), :, probe].log_softmax(-1) if probe is not None else None  # [b, n, p + t]
        w = (w * sharp).softmax(-1).to(v.dtype)
        if force is not None:  # only with one token
            w = force[0] * force[1] + (1 - force[0]) * w
        w1 = w[..., :p].view(b, a.kv, r, t, p).permute(1, 0, 2, 3, 4).reshape(a.kv, b * r * t, p)
        y = (w1 @ pv[0]).view(a.kv, b, r, t, d).permute(1, 0, 2, 3, 4).reshape(b, n, t, d)
        y = y + w[..., p:] @ v.repeat_interleave(r, 1)
        return self.finish(x, y), logp


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c['vocab_size'], c['hidden_size'])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c['num_hidden_layers']))
        self.norm = RMSNorm(c['hidden_size'], c['rms_norm_eps'])


class Nano(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.visual = Visual(cfg['vision_config'])
        self.model = Decoder(cfg)
        if not cfg['tie_word_embeddings']:
            self.lm_head = nn.Linear(cfg['hidden_size'], cfg['vocab_size'], bias=False)
        d = cfg['hidden_size'] // cfg['num_attention_heads']
        self.register_buffer('inv', 1.0 / (cfg['rope_theta'] ** (torch.arange(0, d, 2).float() / d)), persistent=False)

    def logits(self, x):
        x = self.model.norm(x)
        return F.linear(x, self.model.embed_tokens.weight) if self.cfg['tie_word_embeddings'] else self.lm_head(x)

    def mrope(self, pos):
        """pos [3, ..., tokens] -> cos, sin [..., tokens, head_dim]"""
        f = pos[..., None].float() * self.inv
        s = self.cfg['rope_scaling']['mrope_section']
        f = torch.cat([c[i] for i, c in enumerate(f.split(s, -1))], -1)
        f = torch.cat((f, f), -1)
        return f.cos(), f.sin()

    def embed(self, ids):
        return self.model.embed_tokens(ids)

    def forward(self, ids, images=(), grids=(), tower=None):
        """Plain causal run, as inference does it. images: [patches, 588] each. Returns logits, first and last hidden."""
        x = self.embed(ids)
        if len(images):
            e = torch.cat([self.visual(p, h, w)[1] for p, (h, w) in zip(images, grids)])
            x = x.clone()
            x[ids == self.cfg['image_token_id']] = e.to(x.dtype)
        pos = positions(ids.tolist(), grids, self.cfg)
        cos, sin = self.mrope(pos)
        hs = []
        x = x[None]
        for l in self.model.layers:
            x, _, _ = l.causal(x, cos, sin)
            hs.append(x[0])
        return self.logits(x)[0], hs[0], hs[-1]


def positions(ids, grids, cfg):
    """M-RoPE positions [3, tokens]: text counts on, an image spans its own rows and columns."""
    out, nxt, i, k = [], 0, 0, 0
    while i < len(ids):
        if ids[i] == cfg['image_token_id']:
            h, w = grids[k][0] // 2, grids[k][1] // 2
            k += 1
            for a in range(h):
                for b in range(w):
                    out.append((nxt, nxt + a, nxt + b))
            i += h * w
            nxt += max(h, w)
        else:
            out.append((nxt, nxt, nxt))
            nxt += 1
            i += 1
    return torch.tensor(out).T


MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def patchify(img):
    """uint8 tensor [H, W, 3] (sides multiples of 28) -> [patches, 588] in the processor's order, and the grid."""
    hh, ww = img.shape[0], img.shape[1]
    x = (img.float() / 255 - MEAN) / STD
    gh, gw = hh // 28, ww // 28
    x = x.view(gh, 2, 14, gw, 2, 14, 3).permute(0, 3, 1, 4, 6, 2, 5)  # gh gw 2 2 c 14 14
    return x.reshape(gh * gw * 4, 588), (hh // 14, ww // 14)


def smart_resize(h, w, min_pixels, max_pixels, f=28):
    a, b = max(f, round(h / f) * f), max(f, round(w / f) * f)
    if a * b > max_pixels:
        s = math.sqrt(h * w / max_pixels)
        a, b = max(f, math.floor(h / s / f) * f), max(f, math.floor(w / s / f) * f)
    elif a * b < min_pixels:
        s = math.sqrt(min_pixels / (h * w))
        a, b = math.ceil(h * s / f) * f, math.ceil(w * s / f) * f
    return a, b
