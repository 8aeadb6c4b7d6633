"""Configuration, tokenizer and data shared by pretraining, training and evaluation."""
import copy, glob, json, math, os, random, re, unicodedata
import numpy as np
import torch
from PIL import Image

SPECIALS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|vision_start|>', '<|vision_end|>', '<|vision_pad|>', '<|image_pad|>', '<|video_pad|>']
# Fixed phrases of CogAgent's protocol are one token each; everything else is bytes, so every digit is one token.
PHRASES = ['user\n', 'assistant\n', 'Task: ', '\nHistory steps: ', '\n(Platform: WIN)\n', '\n(Platform: Mac)\n', '\n(Platform: Mobile)\n',
           '(Answer in Action-Operation format.)\n', 'Grounded Operation: ', 'CLICK(box=[[', 'TYPE(box=[[', ']])', "]], text='", "')",
           'Action: It is not on this screen.\nGrounded Operation: END()']
NUM0 = 288  # a coordinate is one token, 000 to 999, so that the output layer can hold their order
VOCAB = NUM0 + 1000
ZOOM = 1.125  # how much larger than it is a screen is looked at: small letters are read better
SECOND = 1.5, (20, 6)  # a second look (`fovea_second_look`): how much larger, and tokens of the part across and down
WHOLE = tuple(round(side * ZOOM / 28) * 2 for side in (800, 1280))  # rows and columns of patches of a 1280x800 screenshot
MOST = 2700 * 28 * 28  # pixels of what is looked at: 1920x1080 as it is


def config():
    sid = {s: 256 + i for i, s in enumerate(SPECIALS)}
    return {
        'architectures': ['Qwen2_5_VLForConditionalGeneration'], 'attention_dropout': 0.0,
        'bos_token_id': sid['<|endoftext|>'], 'eos_token_id': sid['<|im_end|>'],
        'vision_start_token_id': sid['<|vision_start|>'], 'vision_end_token_id': sid['<|vision_end|>'], 'vision_token_id': sid['<|vision_pad|>'],
        'image_token_id': sid['<|image_pad|>'], 'video_token_id': sid['<|video_pad|>'],
        'hidden_act': 'silu', 'hidden_size': 256, 'initializer_range': 0.02, 'intermediate_size': 640, 'max_position_embeddings': 32768,
        'max_window_layers': 4, 'fovea_grounding': 'cogagent', 'fovea_quotes': True, 'fovea_relations': True, 'fovea_grounds_only': True, 'model_type': 'qwen2_5_vl', 'num_attention_heads': 4, 'num_hidden_layers': 4, 'num_key_value_heads': 4,
        'rms_norm_eps': 1e-6, 'rope_theta': 10000.0, 'sliding_window': 32768, 'tie_word_embeddings': True, 'torch_dtype': 'float16',
        'transformers_version': '4.49.0', 'use_cache': True, 'use_sliding_window': False,
        'vision_config': {'depth': 8, 'hidden_act': 'silu', 'hidden_size': 160, 'intermediate_size': 448, 'num_heads': 5, 'in_chans': 3,
                          'out_hidden_size': 256, 'patch_size': 14, 'spatial_merge_size': 2, 'spatial_patch_size': 14, 'window_size': 112,
                          'fullatt_block_indexes': [], 'tokens_per_second': 2, 'temporal_patch_size': 2, 'num_position_embeddings': 1024},
        # Row positions get few fast frequencies, columns the rest: from the last text token half of a head's
        # dimensions hardly turn, so that content can be compared at any distance.
        'rope_scaling': {'type': 'mrope', 'mrope_section': [1, 3, 28]},
        'vocab_size': VOCAB,
    }


def byte_chars():
    bs = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    cs, n = bs[:], 0
    for b in range(256):
        if b not in bs:
            bs.append(b); cs.append(256 + n); n += 1
    return {b: chr(c) for b, c in zip(bs, cs)}


# Byte ids follow the printable order of GPT-2's table, as in every byte-level vocabulary of Hugging Face.
BYTE_ID = {b: i for i, b in enumerate(list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256)))}
for _b in range(256):
    if _b not in BYTE_ID:
        BYTE_ID[_b] = len(BYTE_ID)
ID = {s: 256 + i for i, s in enumerate(SPECIALS + PHRASES)}
IM = ID['<|image_pad|>']


def encode(s):
    """Bytes, but three digits in a row are a number's token, as the tokenizer splits them."""
    out = []
    for part in re.split(r'([0-9]{3})', s):
        out += [NUM0 + int(part)] if re.fullmatch(r'[0-9]{3}', part) else [BYTE_ID[b] for b in part.encode('utf-8', 'replace')]
    return out


TEMPLATE = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
            "{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
            "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}"
            "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
PREFIX = [ID['<|im_start|>'], ID['user\n'], ID['<|vision_start|>']]


def prompt_ids(instruction):
    """What follows the picture, up to and with the generation prompt."""
    return ([ID['<|vision_end|>'], ID['Task: ']] + encode(instruction) + [ID['\nHistory steps: '], ID['\n(Platform: WIN)\n'], ID['(Answer in Action-Operation format.)\n'],
            ID['<|im_end|>'], BYTE_ID[10], ID['<|im_start|>'], ID['assistant\n']])


def prompt_text(instruction):
    return f'Task: {instruction}\nHistory steps: \n(Platform: WIN)\n(Answer in Action-Operation format.)\n'


def answer_ids(box, typed=None):
    out = [ID['Grounded Operation: '], ID['CLICK(box=[[' if typed is None else 'TYPE(box=[[']]
    for i, v in enumerate(box):
        out += ([BYTE_ID[ord(',')]] if i else []) + [NUM0 + v]
    out += [ID[']])']] if typed is None else [ID["]], text='"]] + encode(typed) + [ID["')"]]
    return out + [ID['<|im_end|>']]


# The answer to what is not there is one token, so that the last prompt token, which alone has looked at the picture, decides it.
NOT_THERE = [ID[PHRASES[-1]], ID['<|im_end|>']]


# ---- characters -----------------------------------------------------------------------------------------------------
PUNCT = ".,:;-/()'\"&@$!?+#%_*=|"
CHARS = 'abcdefghijklmnopqrstuvwxyz0123456789' + PUNCT
NCHAR = len(CHARS) + 2  # 0: nothing, last: any other character
_cls = {c: i + 1 for i, c in enumerate(CHARS)}
_fold = {0x2019: "'", 0x2018: "'", 0x201c: '"', 0x201d: '"', 0x2013: '-', 0x2014: '-', 0x2022: '*', 0x00b7: '*'}
_cache = {}


def char_class(cp):
    if cp not in _cache:
        c = _fold.get(cp, chr(cp)).lower()
        c = unicodedata.normalize('NFD', c)[0]
        _cache[cp] = _cls.get(c, NCHAR - 1)
    return _cache[cp]


NGRAM = 38 * 38  # letters and digits 1..36, 37: any other, 0: edge of a word


def bigrams(classes):
    s = [0] + [min(c, 37) for c in classes] + [0]
    return [a * 38 + b for a, b in zip(s, s[1:])]


def text_bigrams(text):
    out = []
    for w in text.split():
        out += bigrams([char_class(ord(c)) for c in w])
    return sorted(set(out))


def here(x):
    """An array, or a tensor, on the device that is trained on (parallel.spawn)."""
    return (torch.from_numpy(x) if isinstance(x, np.ndarray) else x).to(torch.get_default_device())


def saved(path):
    """What a training program has saved, on whatever device."""
    return torch.load(path, map_location=torch.get_default_device(), weights_only=False)


class Page:
    """A rendered picture: img uint8 [H, W, 3]; chars [n, 8] float: class, x0, y0, x1, y1, word, line, codepoint. `screen`: how many of
    its rows are seen at a time."""
    def __init__(self, stem):
        with open(stem + '.json') as f: d = json.load(f)
        self.stem, self.source, self.targets = stem, d['source'], d['targets']
        self.img = np.array(Image.open(stem + ('.jpg' if os.path.exists(stem + '.jpg') else '.png')).convert('RGB'))
        self.screen = d.get('screen', len(self.img))
        c = np.array(d['chars'], np.float32).reshape(-1, 7)
        self.chars = np.concatenate((np.array([char_class(int(x)) for x in c[:, 0]], np.float32).reshape(-1, 1), c[:, 1:], c[:, :1]), 1)

    def seen(self, rng):
        """What is seen of it at a time, scrolled anywhere: a page as high as a screen."""
        if len(self.img) <= self.screen: return self
        y = rng.randint(0, len(self.img) - self.screen); out = copy.copy(self)
        out.img = self.img[y:y + self.screen]
        middle = (self.chars[:, 2] + self.chars[:, 4]) / 2; out.chars = self.chars[(middle >= y) & (middle < y + self.screen)] - np.array([0, 0, y, 0, y, 0, 0, 0], np.float32)
        out.targets = []
        for t in self.targets:
            x0, top, x1, bottom = t['box']; a, b = max(top - y, 0), min(bottom - y, self.screen)
            if b - a >= max(6, 0.7 * (bottom - top)): out.targets.append(dict(t, box=[x0, a, x1, b]))
        return out


class Pages:
    """Rendered pictures in a folder; `icons`: how often, at least, one full of icons is drawn."""
    def __init__(self, folder, limit_gb=4, icons=0.0):
        self.folder, self.cache, self.stems, self.bytes, self.limit, self.share = folder, {}, [], 0, limit_gb * 1e9, icons
        self.refresh()

    def refresh(self):
        self.stems = sorted(f[:-5] for f in glob.glob(self.folder + '/*.json'))
        self.toolbars = [s for s in self.stems if s.endswith('-icons')]

    def get(self, stem):
        if stem in self.cache:
            return self.cache[stem]
        p = Page(stem)
        if self.bytes < self.limit:
            self.cache[stem] = p
            self.bytes += p.img.nbytes
        return p

    def sample(self, rng):
        while True:
            s = rng.choice(self.toolbars if self.toolbars and rng.random() < self.share else self.stems)
            try:
                return self.get(s).seen(rng)
            except Exception:  # still being written
                continue


def augment(img, rng):
    if rng.random() < 0.1:
        img = 255 - img
    if rng.random() < 0.2:
        img = img[..., rng.sample([0, 1, 2], 3)]
    if rng.random() < 0.3:
        a, b = rng.uniform(0.7, 1.1), rng.uniform(-20, 30)
        img = np.clip(img.astype(np.float32) * a + b, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(img)


class Sprites:
    """Icons as masks (sprites.mjs), to be put on pictures."""
    def __init__(self, file):
        self.names = json.load(open(file + '.json'))
        self.masks = np.fromfile(file + '.bin', np.uint8).reshape(len(self.names), 48, 48)
        self.known, self.rest = ([i for i, n in enumerate(self.names) if n['known'] == k] for k in (True, False))
        self.things = {n.lower(): names[0].lower() for names in (self.names[i]['names'] for i in self.known) for n in names}

    def draw(self, img, rng, n, tries=6, p=0.65):
        """Puts up to n icons on flat places of `img` [H, W, 3], which is changed: [(names, box)], the icon's names in order of use.
        `p`: the share of the icons that have a common name."""
        out, (h, w) = [], img.shape[:2]
        for _ in range(n * tries):
            if len(out) == n: break
            k = rng.randint(12, 20) if rng.random() < 0.6 else rng.randint(16, 34); pad = rng.randint(1, 6); s = k + 2 * pad
            if h <= s or w <= s: continue
            y, x = rng.randint(0, h - s), rng.randint(0, w - s); spot = img[y:y + s, x:x + s]
            if (spot.max((0, 1)).astype(int) - spot.min((0, 1))).max() > 10: continue
            i = rng.choice(self.known if rng.random() < p else self.rest)
            back = spot.reshape(-1, 3).mean(0); light = back @ (0.3, 0.59, 0.11)
            r = rng.random()
            if r < 0.15:  # on a patch of its own
                back = np.array([rng.uniform(0, 255) for _ in range(3)]); light = back @ (0.3, 0.59, 0.11)
                d = (np.arange(s) - (s - 1) / 2) / (s / 2 - 0.5); e = rng.choice([2, 2, 6, 99])
                spot[(np.abs(d[:, None]) ** e + np.abs(d[None]) ** e <= 1) if e < 99 else np.ones((s, s), bool)] = back
            for _ in range(20):
                fore = np.full(3, rng.uniform(0, 255)) if rng.random() < 0.6 else np.array([rng.uniform(0, 255) for _ in range(3)])
                if abs(fore @ (0.3, 0.59, 0.11) - light) > 85: break
            else: fore = np.full(3, 0.0 if light > 128 else 255.0)
            m = np.asarray(Image.fromarray(self.masks[i]).resize((k, k), Image.LANCZOS if rng.random() < 0.5 else Image.BOX), np.float32)[..., None] / 255
            at = spot[pad:pad + k, pad:pad + k]
            at[:] = np.clip(at * (1 - m) + fore * m + 0.5, 0, 255).astype(np.uint8)
            names = self.names[i]['names']
            out.append(([names[0]] + rng.sample(names[1:], len(names) - 1) if rng.random() < 0.6 else rng.sample(names, len(names)), np.array([x, y, x + s, y + s], float)))
        return out


def whole(page, rng, odd=0.25):
    """A page as the processor resizes it (sometimes at another scale): image, characters and targets."""
    H, W = page.img.shape[:2]
    f = ZOOM * (rng.uniform(0.88, 1.06) if rng.random() < odd else 1)
    h, w = max(112, round(H * f / 28) * 28), max(112, round(W * f / 28) * 28)
    img = page.img if (h, w) == (H, W) else np.array(Image.fromarray(page.img).resize((w, h), Image.BICUBIC))
    s = np.array([w / W, h / H, w / W, h / H])
    c = page.chars.copy(); c[:, 1:5] *= s
    return augment(img, rng), c, [dict(t, box=list(np.array(t['box']) * s)) for t in page.targets]


def slot_labels(chars, h, w):
    """Character classes per 14-px patch, three columns each: [h/14, w/14, 3]."""
    lab = np.zeros((h // 14, w // 14, 3), np.int64)
    cx, cy = (chars[:, 1] + chars[:, 3]) / 2, (chars[:, 2] + chars[:, 4]) / 2
    py = np.clip((cy // 14).astype(int), 0, h // 14 - 1); px = np.clip((cx // 14).astype(int), 0, w // 14 - 1)
    s = np.clip(((cx - px * 14) / (14 / 3)).astype(int), 0, 2)
    lab[py, px, s] = chars[:, 0].astype(np.int64)
    return lab


def merge_order(a):
    """[h, w, ...] per patch -> [h*w, ...] in the processor's order."""
    h, w = a.shape[:2]
    r = a.reshape(h // 2, 2, w // 2, 2, *a.shape[2:])
    return np.ascontiguousarray(np.moveaxis(r, 2, 1)).reshape(h * w, *a.shape[2:])


def token_labels(chars, h, w, window=None):
    """Per 28-px token: geometry of the nearest text (left and right end of its word, top and bottom, in tokens from the
    token's centre), a mask, and the bigrams of the words that touch the token, as (token, bigram) pairs.
    With `window` (tokens per side) words are cut at the windows' borders."""
    gh, gw = h // 28, w // 28
    geo, mask, best = np.zeros((gh * gw, 4), np.float32), np.zeros(gh * gw, bool), np.full(gh * gw, 1e9)
    pairs = []
    if len(chars) == 0:
        return geo, mask, np.zeros((0, 2), np.int64)
    cx, cy = (chars[:, 1] + chars[:, 3]) / 2, (chars[:, 2] + chars[:, 4]) / 2
    tx, ty = np.clip((cx // 28).astype(int), 0, gw - 1), np.clip((cy // 28).astype(int), 0, gh - 1)
    key = chars[:, 5].astype(np.int64) * 100003
    if window:
        key = key + (ty // window) * 1009 + tx // window
    cut = np.flatnonzero(np.diff(key)) + 1
    real = chars[:, 5]
    for a, b in zip(np.r_[0, cut], np.r_[cut, len(key)]):
        x0, y0, x1, y1 = chars[a:b, 1].min(), chars[a:b, 2].min(), chars[a:b, 3].max(), chars[a:b, 4].max()
        c = [int(v) if v < 37 else 37 for v in chars[a:b, 0]]
        left = [] if a and real[a - 1] == real[a] else [0]
        right = [] if b < len(real) and real[b] == real[b - 1] else [0]
        s = left + c + right
        grams = set(p * 38 + q for p, q in zip(s, s[1:]))
        toks = set((int(ty[i]), int(tx[i])) for i in range(a, b))
        for (y, x) in toks:
            t = y * gw + x
            pairs += [(t, g) for g in grams]
            mx, my = x * 28 + 14, y * 28 + 14
            d = abs((y0 + y1) / 2 - my) + max(0, x0 - mx, mx - x1)
            if d < best[t]:
                best[t] = d; mask[t] = True
                geo[t] = [(x0 - mx) / 28, (y0 - my) / 28, (x1 - mx) / 28, (y1 - my) / 28]
    return geo.clip(-6, 6), mask, np.array(pairs, np.int64).reshape(-1, 2)


WAVES = (62, 24, 9, 4)  # periods of the position code in steps of a 32-grid: the shortest is an eighth of the picture


def code(v):
    """The position code of coordinates in 0..1: sine and cosine of every wave, [..., 8]."""
    a = torch.stack([v * (31 * 2 * math.pi / p) for p in WAVES], -1)
    return torch.stack((a.sin(), a.cos()), -1).flatten(-2)


def local_pairs(chars, h, w):
    """(token, pair) for the letter pairs of which a part is drawn in the 28-px token; 0 stands for a word's edge."""
    gw = w // 28
    if not len(chars):
        return np.zeros((0, 2), np.int64)
    c = np.minimum(chars[:, 0].astype(np.int64), 37)
    tok = np.clip(((chars[:, 2] + chars[:, 4]) / 56).astype(int), 0, h // 28 - 1) * gw + np.clip(((chars[:, 1] + chars[:, 3]) / 56).astype(int), 0, gw - 1)
    same = chars[1:, 5] == chars[:-1, 5]
    left, right = np.r_[0, np.where(same, c[:-1], 0)], np.r_[np.where(same, c[1:], 0), 0]
    out = np.concatenate((np.stack((tok, left * 38 + c), 1), np.stack((tok, c * 38 + right), 1)))
    return np.unique(out, axis=0)


def part(page, rng, side, p=0.7):
    """A part of the page, at most `side` pixels wide and high, mostly as the processor resizes it, sometimes at another scale:
    its picture, its characters, its corner (y, x) and the size (h, w) of the whole resized page."""
    H, W = page.img.shape[:2]
    r = rng.random()
    h, w = (round(H * ZOOM / 28) * 28, round(W * ZOOM / 28) * 28) if r < p else (H, W)
    if r > 0.85:
        f = ZOOM * rng.uniform(0.92, 1.15); h, w = round(H * f), round(W * f)
    ph, pw = min(h, side), min(w, side)
    y, x = rng.randint(0, h - ph), rng.randint(0, w - pw)
    c = page.chars.copy()
    c[:, [1, 3]] *= w / W; c[:, [2, 4]] *= h / H
    c[:, [1, 3]] -= x; c[:, [2, 4]] -= y
    if (h, w) == (H, W):
        return page.img[y:y + ph, x:x + pw], c, (y, x), (h, w)
    fy, fx = H / h, W / w
    y0, x0 = max(0, int(y * fy) - 8), max(0, int(x * fx) - 8)
    y1, x1 = min(H, math.ceil((y + ph) * fy) + 8), min(W, math.ceil((x + pw) * fx) + 8)
    box = (x * fx - x0, y * fy - y0, min((x + pw) * fx, W) - x0, min((y + ph) * fy, H) - y0)
    return np.array(Image.fromarray(page.img[y0:y1, x0:x1]).resize((pw, ph), Image.BICUBIC, box)), c, (y, x), (h, w)
