"""Proof that model.py computes what the engine will: the golden fixture's numbers from the golden fixture's weights.
python verify.py ../../../tests/golden/qwen2_5_vl"""
import json, sys, pathlib
import numpy as np, torch
from PIL import Image
from safetensors.torch import load_file
sys.path.append(str(pathlib.Path(__file__).parents[3] / 'tests/golden'))
import sketch
from model import Nano, patchify, smart_resize
d = pathlib.Path(sys.argv[1])
cfg = json.load(open(d / 'config.json')); pre = json.load(open(d / 'preprocessor_config.json'))
m = Nano(cfg).eval()
print('keys', m.load_state_dict(load_file(d / 'model.safetensors'), strict=True))
for c in sorted((d / 'cases').iterdir()):
    e, t = json.load(open(c / 'expected.json')), sketch.Expected(c / 'expected.safetensors')
    ims, grids = [], []
    for i in e.get('images') or []:
        im = Image.open(c / i['file']).convert('RGB')
        h, w = smart_resize(im.height, im.width, pre['min_pixels'], pre['max_pixels'])
        p, g = patchify(torch.from_numpy(np.array(im.resize((w, h), Image.BICUBIC))))
        ims.append(p); grids.append(g)
    with torch.no_grad():
        lo, h0, h1 = m(torch.tensor(e['input_ids']), ims, grids)
        if ims:
            o = [m.visual(p, *g) for p, g in zip(ims, grids)]
            print(c.name, 'tower', t.nmse('vision_tower', torch.cat([a for a, _ in o])), 'embeds', t.nmse('image_embeds', torch.cat([b for _, b in o])))
    print(c.name, 'first', t.nmse('hidden_first', h0), 'last', t.nmse('hidden_last', h1), 'logits', t.nmse('logits_prompt', lo))
