"""Point-in-box accuracy of a checkpoint (or exported directory) by type and source with Wilson intervals, beside baselines.
python evaluate.py ANNOTATIONS.json [--images DIR] [--model CKPT.pt|DIR] [--every N] [--ocr [FILE]] [--out FILE]
`--ocr FILE` also writes the baseline's points (ocr.py) as lines that `fovea eval --ocr FILE` reads.
ANNOTATIONS.json is in ScreenSpot's format; the answer is decoded greedily and parsed as the engine does it."""
import argparse, json, math, os, random, re, sys, time
import numpy as np, torch
from PIL import Image
import ocr
from common import *
from model import Nano, patchify, smart_resize
from runs import prefix_run, sharpened
from way import PROBE

REV = {v: k for k, v in ID.items()}
BYTE = {v: k for k, v in BYTE_ID.items()}


def text_of(ids):
    out = b''
    for i in ids:
        out += b'%03d' % (i - NUM0) if i >= NUM0 else bytes([BYTE[i]]) if i in BYTE else REV.get(i, '').encode() if i in REV and REV[i] not in SPECIALS else b''
    return out.decode('utf-8', 'replace')


def load(path):
    m = Nano(config())
    if os.path.isdir(path):
        from safetensors.torch import load_file
        m.load_state_dict({k: v.float() for k, v in load_file(os.path.join(path, 'model.safetensors')).items()})
    else:
        s = saved(path)
        m.load_state_dict(s['model']); sharpened(m)
    return m.eval()


@torch.no_grad()
def see(m, image, zoom=ZOOM):
    """A picture with the keys and values of its prefix, the position behind it, and its tokens across."""
    h, w = smart_resize(*(math.floor(side * zoom + 0.5) for side in (image.height, image.width)), 56 * 56, MOST)
    img = np.array(image.convert('RGB').resize((w, h), Image.BICUBIC))
    px, g = patchify(torch.from_numpy(img))
    kv, _, nxt = prefix_run(m, m.visual(px, *g)[1], h, w)
    return image, kv, nxt, w // 28


@torch.no_grad()
def write(m, seen, instruction, limit=48):
    """The answer about what is seen, and where its last prompt token looks: one number for each image token."""
    _, kv, nxt, _ = seen
    ids = prompt_ids(instruction); at = len(PREFIX)
    cache = [(k, v) for k, v in kv]
    out, new, pos, looks = [], ids, nxt, None
    while len(out) < limit:
        p = pos + torch.arange(len(new)); pos += len(new)
        cos, sin = m.mrope(torch.stack((p, p, p)))
        x = m.embed(torch.tensor(new))[None]
        for i, l in enumerate(m.model.layers):
            if i == PROBE and looks is None:
                q, k, _ = l.self_attn.project(l.input_layernorm(x), cos, sin); k = torch.cat((cache[i][0], k), 2)
                looks = (q[:, :, -1:] @ k.transpose(2, 3) * l.self_attn.d ** -0.5).softmax(-1)[0, :, 0, at:kv[i][0].shape[2]].mean(0)
            x, k, v = step(l, x, cos, sin, *cache[i]); cache[i] = (k, v)
        t = int(m.logits(x[:, -1:])[0, 0].argmax())
        if t == ID['<|im_end|>']:
            break
        out.append(t); new = [t]
    return text_of(out), looks


def alike(looks, columns, most):
    """The places that were looked at, as the engine tells them apart (`grounding::alike`)."""
    looks, out = looks.numpy(), []; least = max(0.002 * looks.max(), 0.0005 * 4)
    near = lambda a, b: a // columns == b // columns and abs(a - b) <= 2
    for at in np.argsort(-looks, kind='stable').tolist():
        if len(out) == most or looks[at] < least: break
        slope = any(near(at, o) and looks[o] > looks[at] for o in range(max(0, at - 2), min(len(looks), at + 3)))
        if not slope and not any(near(at, p) for p in out): out.append(at)
    return out


def answer(m, seen, instruction, twice=None):
    """What is answered, and the point, 0..1 of the picture, or None. `twice`: a second look, how much larger, and its tokens across and down."""
    image, _, _, columns = seen; W, H = image.size
    text, looks = write(m, seen, instruction); rows = len(looks) // columns
    middle = lambda b: b and ((b[0] + b[2]) / 2000, (b[1] + b[3]) / 2000)
    told = middle(parse(text))
    if not twice: return text, told
    zoom, tokens = twice
    w, h = (min(side, round(n * 28 / zoom)) for side, n in zip((W, H), tokens))
    found = None
    for at in alike(looks, columns, 2):
        x, y = (min(max(0, math.floor((c + 0.5) * whole / n - side / 2 + 0.5)), whole - side) for c, n, side, whole in ((at % columns, columns, w, W), (at // columns, rows, h, H)))
        text = write(m, see(m, image.crop((x, y, x + w, y + h)), zoom), instruction)[0]; p = middle(parse(text))
        found = found or (text, None)
        if p:
            p = (x + p[0] * w) / W, (y + p[1] * h) / H
            if told and all(abs(a - b) * n <= 1 for a, b, n in zip(p, told, (columns, rows))): p = tuple((a + b) / 2 for a, b in zip(p, told))
            return text, p
    return found or (text, None)


def step(l, x, cos, sin, pk, pv):
    a = l.self_attn
    q, k, v = a.project(l.input_layernorm(x), cos, sin)
    k, v = torch.cat((pk, k), 2), torch.cat((pv, v), 2)
    n, t = k.shape[2], x.shape[1]
    mask = torch.ones(t, n, dtype=torch.bool).tril(n - t)
    r = a.n // a.kv
    y = torch.nn.functional.scaled_dot_product_attention(q, k.repeat_interleave(r, 1), v.repeat_interleave(r, 1), attn_mask=mask)
    return l.finish(x, y), k, v


def parse(text):
    g = re.search(r'box=\[\[(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})\]\]', text)
    return [int(x) for x in g.groups()] if g else None


def wilson(k, n):
    if n == 0:
        return 0, 0
    p, z = k / n, 1.96
    c, d = (p + z * z / 2 / n) / (1 + z * z / n), z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n) / (1 + z * z / n)
    return c - d, c + d


def table(name, rows):
    """rows: (type, source, hit)"""
    out = {}
    for key in [('text', None), ('icon', None), ('absent', None)] + sorted({(t, s) for t, s, _ in rows}):
        r = [h for t, s, h in rows if t == key[0] and (key[1] is None or s == key[1])]
        if r:
            lo, hi = wilson(sum(r), len(r))
            out['/'.join(k for k in key if k)] = f'{100 * sum(r) / len(r):.1f} % [{100 * lo:.1f}, {100 * hi:.1f}] n={len(r)}'
    print(name); [print(f'  {k:42s} {v}') for k, v in out.items()]; sys.stdout.flush()
    return out


def main():
    ap = argparse.ArgumentParser(); ap.add_argument('annotations'); ap.add_argument('--images'); ap.add_argument('--model'); ap.add_argument('--limit', type=int, default=10**9)
    ap.add_argument('--ocr', nargs='?', const='', help='match with an open text recogniser, too; its points go to this file'); ap.add_argument('--out'); ap.add_argument('--threads', type=int, default=1); ap.add_argument('--every', type=int, default=1); ap.add_argument('--twice', action='store_true', help='with a second look (common.SECOND)')
    a = ap.parse_args(); torch.set_num_threads(a.threads)
    ann = [dict(q, index=i) for i, q in enumerate(json.load(open(a.annotations)))][::a.every][:a.limit]; root = a.images or os.path.dirname(a.annotations)
    rng = random.Random(0)
    inside = lambda b, x, y: b is None if x is None else b is not None and b[0] <= x <= b[0] + b[2] and b[1] <= y <= b[1] + b[3]
    res = {'random': [], 'centre': [], 'ocr': [], 'model': []}; preds = []; cur = None; t0 = time.time()
    m = load(a.model) if a.model else None
    points = []
    if a.ocr is not None:
        read = ocr.reader()
    for q in sorted(ann, key=lambda q: q['img_filename']):
        if cur != q['img_filename']:
            cur = q['img_filename']; im = Image.open(os.path.join(root, cur)).convert('RGB'); W, H = im.size
            if m: seen = see(m, im)
            if a.ocr is not None: lines = read(im)
        b, k = q['bbox'], (q['data_type'], q['data_source'])
        add = lambda n, x, y: res[n].append((*k, inside(b, x, y)))
        add('random', rng.random() * W, rng.random() * H); add('centre', W / 2, H / 2)
        if a.ocr is not None:
            p = ocr.answer(q['instruction'], lines); add('ocr', *(p or (None, None))); points.append(dict(index=q['index'], point=p))
        if m:
            text, p = answer(m, seen, q['instruction'], a.twice and SECOND)
            x, y = (p[0] * W, p[1] * H) if p else (None, None)
            add('model', x, y); preds.append(dict(point=p and [x, y], img_filename=cur, instruction=q['instruction'], answer=text, bbox=b, data_type=k[0], data_source=k[1], hit=bool(inside(b, x, y))))
    out = {n: table(n, r) for n, r in res.items() if r}
    print(f'{time.time() - t0:.0f} s, without a place', sum(p['point'] is None for p in preds))
    for path, rows in ((a.out, preds), (a.ocr, points)):
        if path:
            with open(path, 'w') as f: f.writelines(json.dumps(r) + '\n' for r in rows)
    return out


if __name__ == '__main__':
    main()
