"""Questions about one screen: instruction, box, whether something is typed. Names come from the page's targets and, in
training, from any words drawn on it."""
import numpy as np
from common import *

TYPED = ['anna', 'hello', 'Berlin', 'test@example.org', '42', 'blue shoes', 'John Smith', '2024', 'secret', 'news', 'London', 'maria', 'abc123', 'coffee', '10']
SHORT = ['click {}', 'Click {}', 'click on {}', 'click "{}"', '{}']
BY_KIND = {
    'link': ['open {}', 'open the {} link', 'go to {}', 'click the {} link', 'follow the "{}" link', 'show {}'],
    'button': ['press {}', 'press the {} button', 'click the {} button', 'press the "{}" button', 'tap {}', 'hit the {} button'],
    'tab': ['open the {} tab', 'switch to {}', 'select the {} tab'], 'menu item': ['choose {}', 'choose {} in the menu'],
    'field': ['click the {} field', 'focus {}', 'click into {}'], 'select': ['open the {} list', 'click the {} select'],
    'checkbox': ['check {}', 'tick {}', 'toggle {}', 'tick the {} box'], 'radio': ['select {}', 'choose {}'], 'word': ['find {}', 'select {}', 'tap {}', 'choose {}'],
}
TYPE = ['type {1} into {0}', 'enter {1} in {0}', 'type "{1}" into the {0} field', 'type {1} in the {0} box', 'fill {0} with {1}', 'Type {1} into {0}', "type '{1}' in {0}",
        'enter "{1}" into {0}', 'write {1} in the {0} field', 'Enter {1} in the {0} field', 'put "{1}" into {0}', 'fill in {0} with "{1}"', 'set {0} to {1}']
BEFORE = ['', '', '', 'please ', 'Please ', 'now ', 'Now ', 'then ', 'could you ', 'I want you to ', 'next, ', 'first ']
AFTER = ['', '', '', '', ' now', ' please', ', please', '.', ' here', ' on this page', ' for me', ' next', ' on the screen', '!']
LETTERS = 'eeeeeeaaaaaiiiiooootttnnnsssrrrllldddcccuuummmpphhggbbffyywwkkvvxzjq'


def typed_text(rng):
    """Something to type: words, names, addresses, numbers, mostly never seen before, so that it must be copied."""
    word = lambda: ''.join(rng.choice(LETTERS) for _ in range(rng.randint(2, 9)))
    case = lambda w: w if (r := rng.random()) < 0.55 else w.capitalize() if r < 0.93 else w.upper()
    r = rng.random()
    if r < 0.2: return rng.choice(TYPED)
    if r < 0.62: return ' '.join(case(word()) for _ in range(rng.choice([1, 1, 1, 2, 2, 3])))
    if r < 0.76: return word() + rng.choice(['', '.' + word(), '_' + word(), str(rng.randint(0, 99))]) + '@' + word() + rng.choice(['.com', '.org', '.de', '.net', '.example'])
    if r < 0.88: return rng.choice([str(rng.randint(0, 99999)), f'{rng.randint(0, 999)}.{rng.randint(0, 99):02d}', f'{rng.randint(1, 31)}.{rng.randint(1, 12)}.{rng.randint(1950, 2030)}', f'{rng.randint(0, 23)}:{rng.randint(0, 59):02d}'])
    return ''.join(rng.choice(LETTERS + LETTERS.upper() + '0123456789-_!?.+#') for _ in range(rng.randint(4, 14)))


def typed(name, rng):
    """An instruction to type something into what has this name, and what."""
    t = typed_text(rng)
    return rng.choice(TYPE).format(name, t), t


def word_instruction(name, kind, rng, short=0.5):
    """Returns the instruction and the text to type, if any."""
    if kind == 'field' and rng.random() < 0.5: return typed(name, rng)
    if rng.random() < short:
        return rng.choice(SHORT).format(name), None
    return rng.choice(BY_KIND[kind]).format(name), None


def wording(name, rng, short=0.5):
    """Any instruction that names something, of whatever kind, also in ways that few targets are asked for."""
    ins = typed(name, rng)[0] if rng.random() < 0.3 else word_instruction(name, rng.choice([k for k in BY_KIND if k != 'field']), rng, short)[0]
    return rng.choice(BEFORE) + ins + rng.choice(AFTER) if rng.random() < 0.4 else ins


def spans(chars, rng, n):
    """Up to n runs of one to three words on a line whose text is drawn only once: (text, box)."""
    if not len(chars):
        return []
    cut = np.flatnonzero(np.diff(chars[:, 5])) + 1
    words = [(a, b) for a, b in zip(np.r_[0, cut], np.r_[cut, len(chars)])]
    text = [''.join(chr(int(c)) for c in chars[a:b, 7]) for a, b in words]
    line = [chars[a, 6] for a, _ in words]
    joined = ' ' + ' '.join(t.lower() for t in text) + ' '
    out = []
    for _ in range(n * 4):
        if len(out) == n:
            break
        i = rng.randrange(len(words)); k = rng.choice([1, 1, 2, 2, 3])
        j = i
        while j + 1 < len(words) and j + 1 - i < k and line[j + 1] == line[i]:
            j += 1
        s = ' '.join(text[i:j + 1]).strip('.,:;!?()"\'')
        if not 3 <= len(s) <= 32 or any(0xd800 <= ord(c) < 0xe000 for c in s) or not any(c.isalnum() for c in s) or joined.count(s.lower()) != 1:
            continue
        c = chars[words[i][0]:words[j][1]]
        out.append((s, [c[:, 1].min(), c[:, 2].min(), c[:, 3].max(), c[:, 4].max()]))
    return out


def repeated(chars, targets, rng, n, most=8):
    """Up to n names that stand two to `most` times on a screen: (name, boxes), text of one or two words and what icons are called."""
    cut = np.flatnonzero(np.diff(chars[:, 5])) + 1 if len(chars) else []
    words = [c for c in np.split(chars, cut) if len(c)]
    raw = [''.join(chr(int(i)) for i in c[:, 7]).strip('.,:;!?()"\'') for c in words]
    line, joined, runs, icons = [c[0, 6] for c in words], ' '.join(raw).lower(), {}, {}
    for k in (1, 2):
        for i in range(len(words) - k + 1):
            if line[i] != line[i + k - 1]: continue
            s = ' '.join(raw[i:i + k])
            if 3 <= len(s) <= 32 and any(c.isalnum() for c in s) and all(ord(c) < 0x250 for c in s): runs.setdefault(s.lower(), []).append((s, np.concatenate(words[i:i + k])))
    # Every place where the letters stand must be one of them.
    out = [(rng.choice(r)[0], [[c[:, 1].min(), c[:, 2].min(), c[:, 3].max(), c[:, 4].max()] for _, c in r]) for s, r in runs.items() if 2 <= len(r) <= most and joined.count(s) == len(r)]
    for t in targets:
        if not t['text'] and len(t['name']) <= 36 and t['name'].lower() not in joined: icons.setdefault(t['name'].lower(), []).append(t)
    named = [(g[0]['name'], [t['box'] for t in g]) for g in icons.values() if 2 <= len(g) <= most]
    return rng.sample(named, min(len(named), n // 2)) + rng.sample(out, min(len(out), n))


def make(chars, targets, rng, n, short=0.5, share=0.5):
    """n questions: dicts with ids of the prompt, box in pixels, name, typed text."""
    count = {}
    for t in targets:
        count[t['name'].lower()] = count.get(t['name'].lower(), 0) + 1
    ts = [t for t in targets if count[t['name'].lower()] == 1 and len(t['name']) <= 36]
    rng.shuffle(ts)
    ts = ts[:max(round(n * share), 1)]
    out = []
    for t in ts:
        ins, typed = word_instruction(t['name'], t['kind'], rng, short)
        out.append(dict(instruction=ins, typed=typed, name=t['name'], box=t['box'], text=t['text']))
    for s, b in spans(chars, rng, n - len(out)):
        ins, _ = word_instruction(s, 'word', rng, 0.85)
        out.append(dict(instruction=ins, typed=None, name=s, box=b, text=True))
    return out


def not_there(chars, targets, others, rng, n, short=0.5):
    """n questions about what other pages have and this one has not; `others`: (name, kind)."""
    words = lambda s: ''.join(c.lower() if c.isalnum() else ' ' for c in s).split()
    cut = np.flatnonzero(np.diff(chars[:, 5])) + 1 if len(chars) else []
    text = ' ' + ' '.join(words(' '.join(''.join(chr(int(c)) for c in w) for w in np.split(chars[:, 7], cut)) + ' ' + ' '.join(t['name'] for t in targets))) + ' '
    out = []
    for name, kind in rng.sample(others, len(others)):
        if len(out) == n: break
        if not 3 <= len(name) <= 36 or not words(name) or ' '.join(words(name)) in text: continue
        ins, typed = word_instruction(name, kind, rng, short)
        out.append(dict(instruction=ins, typed=typed, name=name, box=None, text=True))
    return out


BESIDE = {'row': ['{0} in the row of {1}', '{0} in the row of {1}', '{0} in the {1} row', '{0} in the same row as {1}', '{0} in the row with {1}'],
          'below': ['{0} below {1}', '{0} under {1}', '{0} below the {1} heading'],
          'part': ['{0} at the {1}', '{0} at the {1} of the page', '{0} on the {1} side']}


def related(chars, targets, screen, rng, n, short=0.5):
    """n questions about what has its name in common with others, and is told from them by what is in its row or above it, or by the part
    of the screen that it is in (`models/src/grounding/relation.rs` has the words)."""
    cut = np.r_[0, np.flatnonzero(np.diff(chars[:, 6])) + 1, len(chars)] if len(chars) else [0]
    lines = []
    for c in (chars[a:b] for a, b in zip(cut[:-1], cut[1:])):
        text = ' '.join(''.join(chr(int(i)) for i in w[:, 7]) for w in np.split(c, np.flatnonzero(np.diff(c[:, 5])) + 1))
        lines.append((text, (c[:, 1].min(), c[:, 2].min(), c[:, 3].max(), c[:, 4].max())))
    whole = '\n'.join(t.lower() for t, _ in lines)
    named = [(t, b) for t, b in lines if 4 <= len(t) <= 32 and t[0].isupper() and t[-1].isalnum() and all(ord(i) < 0x250 for i in t) and whole.count(t.lower()) == 1]
    like, out = {}, []
    for t in targets: like.setdefault(t['name'].lower(), []).append(t)
    middle = lambda b: ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)
    for group in like.values():
        if not 2 <= len(group) <= 12 or len(group[0]['name']) > 36 or not all(ord(i) < 0x250 for i in group[0]['name']): continue
        for t in group:
            y, b, found = middle(t['box'])[1], t['box'], []
            row = [(a, c) for a, c in named if abs(middle(c)[1] - y) < 8 and (c[2] <= b[0] or c[0] >= b[2])]
            if row and sum(abs(middle(o['box'])[1] - y) < 14 for o in group) == 1: found.append(('row', min(row, key=lambda e: e[1][0])[0]))
            over = [(a, c) for a, c in named if c[3] <= b[1] and b[1] - c[3] < 120 and c[0] < b[2] and b[0] < c[2]]
            if over:
                a, c = max(over, key=lambda e: e[1][3])
                if not any(o is not t and o['box'][1] >= c[3] and abs(middle(o['box'])[0] - middle(c)[0]) < 0.3 * screen[0] for o in group): found.append(('below', a))
            for side, inside in (('top', lambda x, y: y < 0.45), ('bottom', lambda x, y: y > 0.55), ('left', lambda x, y: x < 0.45), ('right', lambda x, y: x > 0.55)):
                share = lambda o: (middle(o['box'])[0] / screen[0], middle(o['box'])[1] / screen[1])
                # Nobody says "at the top" of something whose like is just below the middle.
                if inside(*share(t)) and all(o is t or not inside(*share(o)) and not 0.4 < share(o)[side in ('top', 'bottom')] < 0.6 for o in group): found.append(('part', side))
            for kind, anchor in found[:1] if rng.random() < 0.7 else found[-1:]:
                ways = [w for w in BESIDE[kind] if kind != 'part' or ('side' in w) == (anchor in ('left', 'right'))]
                ins, _ = word_instruction(t['name'], 'word' if t['kind'] == 'field' else t['kind'], rng, short)
                out.append(dict(instruction=rng.choice(ways).format(ins, anchor), name=t['name'], box=t['box'], text=t['text'], kind=kind))
    rng.shuffle(out)
    return out[:n]


NTH = ['first', 'second', 'third', 'fourth', 'fifth', 'sixth']


def counted(chars, targets, rng, n):
    """n questions about one of several targets of one name, told by counting in reading order; all that bears the name can be clicked."""
    drawn, like, out = ''.join(chr(int(c)) for c in chars[:, 7]).lower(), {}, []
    for t in targets: like.setdefault(t['name'].lower(), []).append(t)
    for name, group in like.items():
        if not 2 <= len(group) <= 8 or not 3 <= len(name) <= 30 or not all(ord(c) < 0x250 for c in name) or not name[0].isalpha(): continue
        if drawn.count(name.replace(' ', '')) != (len(group) if group[0]['text'] else 0) or len({t['text'] for t in group}) > 1: continue
        # In cards of different heights nobody knows which comes first.
        middle = lambda t: ((t['box'][0] + t['box'][2]) / 2, (t['box'][1] + t['box'][3]) / 2)
        clear = lambda a, b: abs(a[1] - b[1]) < 6 or abs(a[1] - b[1]) > (18 if abs(a[0] - b[0]) < 60 else 80)
        if not all(clear(middle(a), middle(b)) for a in group for b in group): continue
        order = []
        for t in sorted(group, key=lambda t: middle(t)[1]):
            if order and middle(t)[1] - middle(order[-1][0])[1] < 6: order[-1].append(t)
            else: order.append([t])
        order = [t for row in order for t in sorted(row, key=lambda t: middle(t)[0])]
        i = rng.randrange(len(order)); t = order[i]
        word = 'last' if i == len(order) - 1 and rng.random() < 0.6 else NTH[i] if i < len(NTH) else f'{i + 1}th'
        kind = t['kind'] if t['kind'] in ('link', 'button', 'tab') else ''
        ins = rng.choice(['click the {} {}', 'click the {} {}', 'click on the {} {}', 'press the {} {}', 'open the {} {}', 'the {} {}'] + ['click the {} {} ' + kind, 'press the {} {} ' + kind] * bool(kind)).format(word, t['name'])
        out.append(dict(instruction=ins, name=t['name'], box=t['box'], text=t['text'], kind='nth', many=len(order)))
    rng.shuffle(out)
    return out[:n]


def tokens_in(b, h, w):
    """Mask of the 28-px tokens that the box covers (a third of the token or of the box)."""
    gh, gw = h // 28, w // 28
    x = np.clip(np.minimum(b[2], np.arange(1, gw + 1) * 28) - np.maximum(b[0], np.arange(gw) * 28), 0, None)
    y = np.clip(np.minimum(b[3], np.arange(1, gh + 1) * 28) - np.maximum(b[1], np.arange(gh) * 28), 0, None)
    a = y[:, None] * x[None]
    m = a >= 0.3 * min(784, (b[2] - b[0]) * (b[3] - b[1]))
    if not m.any():
        m = a >= a.max() - 1e-6
    return m.reshape(-1)
