"""Questions whose target is not there though much of it is: one word of a name exchanged, or a row that does not exist.
python make_absent.py EVAL_DIR [--words 40] [--rows 25]   writes EVAL_DIR/absent/annotations.json, images relative to EVAL_DIR"""
import argparse, json, os, random, re
from PIL import Image
import ocr

ROW = re.compile(r"(in the (?:same )?row (?:of|as|with) |in the )(?P<row>.+?)(?P<end>'s row| row)?$", re.I)


def bare(s):
    return ''.join(c for c in s.lower() if c.isalnum())


def main():
    ap = argparse.ArgumentParser(); ap.add_argument('eval'); ap.add_argument('--words', type=int, default=40); ap.add_argument('--rows', type=int, default=25); a = ap.parse_args()
    rng = random.Random(5)
    questions = json.load(open(os.path.join(a.eval, 'annotations.json'))); related = json.load(open(os.path.join(a.eval, 'related', 'annotations.json')))
    read, pages = ocr.reader(), {}
    def text(path):
        if path not in pages: pages[path] = bare(' '.join(t for _, t, _ in read(Image.open(os.path.join(a.eval, path)))))
        return pages[path]

    out = []
    def add(path, instruction, source):
        out.append(dict(img_filename=path, bbox=None, instruction=instruction, data_type='absent', data_source=source))

    # One word exchanged for one of another screen's names, about as long.
    named = [(q, ocr.name_of(q['instruction'])) for q in questions if q['data_type'] == 'text']
    words = {q['img_filename']: set() for q, _ in named}
    for q, n in named: words[q['img_filename']].update(w for w in n.split() if len(w) > 2 and w.isalpha())
    several = [(q, n) for q, n in named if len(n.split()) > 1 and n in q['instruction']]; rng.shuffle(several)
    for q, n in several:
        if len(out) == a.words: break
        path = q['img_filename']; parts = n.split(); at = rng.choice([i for i, w in enumerate(parts) if len(w) > 2] or [0])
        others = sorted({w for p, ws in words.items() if p != path for w in ws if abs(len(w) - len(parts[at])) <= 2 and bare(w) not in text(path)})
        if not others: continue
        parts[at] = rng.choice(others); name = ' '.join(parts)
        if bare(name) not in text(path): add(path, q['instruction'].replace(n, name), 'one word exchanged')

    # A row of another table.
    rows = [(q, m['row']) for q in related if 'row' in q['instruction'] and (m := ROW.search(q['instruction']))]
    rng.shuffle(rows); count = len(out)
    for q, row in rows:
        if len(out) - count == a.rows: break
        path = 'related/' + q['img_filename']
        others = sorted({r for p, r in rows if p['img_filename'] != q['img_filename'] and bare(r) not in text(path)})
        if others: add(path, q['instruction'].replace(row, rng.choice(others)), 'a row that does not exist')
    os.makedirs(os.path.join(a.eval, 'absent'), exist_ok=True)
    with open(os.path.join(a.eval, 'absent', 'annotations.json'), 'w') as f: json.dump(out, f, indent=0); f.write('\n')
    print({s: sum(q['data_source'] == s for q in out) for s in ('one word exchanged', 'a row that does not exist')})


if __name__ == '__main__':
    main()
