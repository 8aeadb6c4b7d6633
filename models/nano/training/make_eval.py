"""Turns validation renders into ScreenSpot-format annotations. python make_eval.py VAL_DIR OUT_DIR [--screens N] [--per-screen K] [--small]
--small writes palette PNGs, so that the folder can be committed."""
import argparse, glob, json, os, random, re
import numpy as np
from PIL import Image
import questions as Q
# What a training icon is called: of icons that were never seen, those with such a name are easier.
CALLED = re.search(r'CALLED = `(.*?)`', open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'icons.mjs')).read(), re.S)[1]
CALLED = {name.lower() for line in CALLED.strip().split('\n') for name in line.split(': ')[0].split('|')}


def drawn(image, box, least=8, contrast=24):
    """Whether anything is drawn in a box: at least so many pixels, three from its edge or more, that differ from most by this much of 255."""
    x0, y0, x1, y1 = (int(v) for v in (np.ceil(box[0]) + 3, np.ceil(box[1]) + 3, box[2] - 3, box[3] - 3))
    pixels = np.asarray(image).astype(int)[max(0, y0):y1, max(0, x0):x1].reshape(-1, 3)
    return len(pixels) > 0 and (abs(pixels - np.median(pixels, 0)).max(1) > contrast).sum() >= least


ap = argparse.ArgumentParser(); ap.add_argument('val'); ap.add_argument('out'); ap.add_argument('--screens', type=int, default=1000); ap.add_argument('--per-screen', type=int, default=12); ap.add_argument('--small', action='store_true')
a = ap.parse_args()
rng = random.Random(11); os.makedirs(a.out, exist_ok=True)
by = {}
for f in sorted(glob.glob(a.val + '/*.json')):
    d = json.load(open(f)); ts = [t for t in d['targets'] if t['unique'] and len(t['name']) <= 36 and all(ord(c) < 0x250 for c in t['name'])]
    if len(ts) >= 3 and d['source'] != 'tables': by.setdefault(d['source'], []).append((f[:-5], d, ts))
for s, v in by.items(): (random.Random(12) if s == 'icons' else rng).shuffle(v)  # what was asked before icons came stays as it is
share = {'real': 0.5, 'material-design-lite': 0.25, 'startbootstrap-sb-admin-2': 0.25, 'icons': 0.125}
ann, pages = [], []
for src, v in sorted(by.items(), key=lambda e: (e[0] == 'icons', e[0])):
    for stem, d, ts in v[:max(1, round(a.screens * share[src]))]:
        name = f'{src}-{os.path.basename(stem)}.png'
        im = Image.open(stem + '.png').convert('RGB')
        if a.small: im.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(os.path.join(a.out, name), optimize=True)
        else: im.save(os.path.join(a.out, name))
        rng.shuffle(ts)
        # An empty field is drawn by its border.
        ts = [t for t in ts if t['kind'] in ('field', 'select', 'checkbox', 'radio') or drawn(im, t['box'])]
        icons, texts = [t for t in ts if not t['text']], [t for t in ts if t['text']]
        pages.append((name, src, d))
        for t in (icons[:2 * a.per_screen] if src == 'icons' else texts[:a.per_screen - min(3, len(icons))] + icons[:3]):
            ins, _ = Q.word_instruction(t['name'], t['kind'], rng, 0.5)
            x0, y0, x1, y1 = t['box']
            ann.append(dict(img_filename=name, bbox=[x0, y0, x1 - x0, y1 - y0], instruction=ins, data_type='text' if t['text'] else 'icon', data_source=src if src != 'icons' else 'icons, training names' if t['name'].lower() in CALLED else 'icons, other names', role=t['kind'], language=d.get('language') or 'unknown'))
# What other screens have and this one has not: the right answer is no place.
for name, src, d in pages:
    others = [(t['name'], t['kind']) for n, _, o in pages if n != name for t in o['targets'] if t['unique'] and all(ord(c) < 0x250 for c in t['name'])]
    for q in Q.not_there(np.array([[0, *c[1:], c[0]] for c in d['chars']], np.float32).reshape(-1, 8), d['targets'], others, rng, 2):
        ann.append(dict(img_filename=name, bbox=None, instruction=q['instruction'], data_type='absent', data_source=src, language=d.get('language') or 'unknown'))
json.dump(ann, open(os.path.join(a.out, 'annotations.json'), 'w'), indent=0)
print({s: len(v) for s, v in by.items()}, len(ann), {k: sum(x['data_type'] == k for x in ann) for k in ('text', 'icon', 'absent')})
