"""Questions in ScreenSpot's format about what has its name in common with others on the screen, and is told from them by its place or by counting. python make_related.py VAL_DIR OUT_DIR [--screens N] [--per-screen K] [--small]
Pages of tables are made by render.mjs --tables N; at most half of the screens are such, the others are whatever pages have such names."""
import argparse, glob, json, os, random
import numpy as np
from PIL import Image
import questions as Q
ap = argparse.ArgumentParser(); ap.add_argument('val'); ap.add_argument('out'); ap.add_argument('--screens', type=int, default=1000); ap.add_argument('--per-screen', type=int, default=6); ap.add_argument('--small', action='store_true')
a = ap.parse_args()
rng, more = random.Random(13), random.Random(17); os.makedirs(a.out, exist_ok=True)
made, found, ann = [], [], []
for f in sorted(glob.glob(a.val + '/*.json')):
    d = json.load(open(f)); chars = np.array([[0, *c[1:], c[0]] for c in d['chars']], np.float32).reshape(-1, 8)
    if d['source'] == 'icons': continue
    qs = Q.related(chars, d['targets'], (d['width'], d['height']), rng, a.per_screen)
    if qs: (made if d['source'] == 'tables' else found).append((f[:-5], d, qs + Q.counted(chars, d['targets'], more, a.per_screen // 2)))
for v in (made, found): rng.shuffle(v)
for stem, d, qs in made[:a.screens // 2] + found[:a.screens - min(len(made), a.screens // 2)]:
    name = f"{d['source']}-{os.path.basename(stem)}.png"; im = Image.open(stem + '.png').convert('RGB'); to = os.path.join(a.out, name)
    if a.small: im.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(to, optimize=True)
    else: im.save(to)
    for q in qs:
        x0, y0, x1, y1 = q['box']
        ann.append(dict(img_filename=name, bbox=[x0, y0, x1 - x0, y1 - y0], instruction=q['instruction'], data_type='text' if q['text'] else 'icon', data_source=d['source'], role=q['kind'], language=d.get('language') or 'unknown'))
json.dump(ann, open(os.path.join(a.out, 'annotations.json'), 'w'), indent=0)
print(len(made), 'pages of tables,', len(found), 'others;', len(ann), 'questions', {k: sum(x['role'] == k for x in ann) for k in (*Q.BESIDE, 'nth')})
