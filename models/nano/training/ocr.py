"""Baseline: an open text recogniser (RapidOCR) and string matching.

The name is the instruction without its verb and role words. It is compared with every window of as many letters on every recognised
line; the best window's middle is clicked. Below a similarity of 0.85 (difflib's ratio) the name is not on the screen.

python ocr.py ANNOTATIONS.json [--images DIR] [--out FILE]   FILE: lines that `fovea eval --ocr FILE` reads"""
import argparse, difflib, json, os, re
import numpy as np
from PIL import Image

LEAST = 0.85
VERBS = r'(?:please |now |then |next,? |first |could you |i want you to )*(?:left[- ]?click|double[- ]?click|click|press|tap|hit|open|go to|follow|show|switch to|select|choose|check|tick|toggle|focus|find|search for)(?: (?:on|into|in))?(?= )'
ROLES = r'(?:button|link|tab|menu item|field|box|list|select|icon|checkbox)'
TYPED = [r'(?:type|enter|write|put|fill in) (?:"[^"]*"|\'[^\']*\'|.+?) (?:into|in) (?P<name>.+)', r'fill(?: in)? (?P<name>.+?) with .+', r'set (?P<name>.+?) to .+']


def name_of(instruction):
    """What an instruction names: `press the "Save" button` names Save."""
    s = instruction.strip().rstrip('.!')
    for pattern in TYPED:
        if m := re.fullmatch(pattern, s, re.I):
            s = m['name']; break
    else:
        s = re.sub(f'^{VERBS} ', '', s, count=1, flags=re.I)
    if (m := re.fullmatch(rf'the (.+) {ROLES}', s, re.I)) or (m := re.fullmatch(rf'["\'](.+)["\'] {ROLES}', s, re.I)): s = m[1]
    if len(s) > 2 and s[0] == s[-1] and s[0] in '"\'': s = s[1:-1]
    return s


def reader():
    """Reads a picture's lines: four corners, text, confidence."""
    from rapidocr_onnxruntime import RapidOCR
    ocr = RapidOCR(intra_op_num_threads=1)
    return lambda image: ocr(np.array(image.convert('RGB'))[..., ::-1])[0] or []


def find(name, lines):
    """The middle of the window that is most like the name, and how like it is (0..1). Spaces do not count: recognisers lose them. Of
    equal windows, the one that fills more of its line."""
    bare = lambda s: [(at, c) for at, c in enumerate(s.lower()) if not c.isspace()]
    wanted = ''.join(c for _, c in bare(name)); best, point = (0.0, 0.0), None
    matcher = difflib.SequenceMatcher(None, autojunk=False); matcher.set_seq2(wanted)
    for corners, text, _ in lines:
        corners, letters = np.asarray(corners, float), bare(text)
        for i in range(max(1, len(letters) - len(wanted) + 1)):
            window = letters[i:i + len(wanted)]
            if not window: continue
            matcher.set_seq1(''.join(c for _, c in window))
            if matcher.quick_ratio() < best[0]: continue
            score = matcher.ratio(), len(window) / len(letters)
            if score > best:
                # Letters of a line are taken to be equally wide.
                along = (window[0][0] + window[-1][0] + 1) / 2 / len(text); left, right = (corners[0] + corners[3]) / 2, (corners[1] + corners[2]) / 2
                best, point = score, tuple(float(v) for v in left + (right - left) * along)
    return point, best[0]


def answer(instruction, lines):
    """Where to click, or None if the name is not on the screen."""
    point, alike = find(name_of(instruction), lines)
    return point if alike >= LEAST else None


def main():
    ap = argparse.ArgumentParser(); ap.add_argument('annotations'); ap.add_argument('--images'); ap.add_argument('--out'); a = ap.parse_args()
    questions = json.load(open(a.annotations)); root = a.images or os.path.dirname(a.annotations)
    read, lines = reader(), {}
    points, tally = [], {}
    for index, q in enumerate(questions):
        name = q['img_filename']
        if name not in lines: lines[name] = read(Image.open(os.path.join(root, name)))
        p = answer(q['instruction'], lines[name]); b = q['bbox']
        hit = p is None if b is None else p is not None and b[0] <= p[0] <= b[0] + b[2] and b[1] <= p[1] <= b[1] + b[3]
        t = tally.setdefault((q['data_type'], q['data_source']), [0, 0, 0]); t[0] += hit; t[1] += 1; t[2] += p is not None and not hit
        points.append(dict(index=index, point=p))
    for key, (hits, count, wrong) in sorted(tally.items()): print('/'.join(key), f'{hits} of {count}, wrong clicks {wrong}')
    for kind in sorted({k for k, _ in tally}):
        rows = [v for (k, _), v in tally.items() if k == kind]; print(kind, *map(sum, zip(*rows)))
    if a.out:
        with open(a.out, 'w') as f: f.writelines(json.dumps(r) + '\n' for r in points)


if __name__ == '__main__':
    main()
