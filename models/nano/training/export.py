"""Writes the Hugging Face directory of the model. python export.py OUT_DIR [CHECKPOINT] (no checkpoint: random weights)"""
import json, pathlib, sys
import torch
from safetensors.torch import save_file
from common import *
from model import Nano
from runs import sharpened


def main(out, ckpt=None):
    out = pathlib.Path(out); out.mkdir(parents=True, exist_ok=True)
    cfg = config()
    torch.manual_seed(0)
    m = Nano(cfg)
    if ckpt:
        s = saved(ckpt)
        m.load_state_dict(s['model'], strict=True); sharpened(m)
    bad = [k for k, v in m.state_dict().items() if not torch.isfinite(v).all() or v.abs().max() > 6e4]
    assert not bad, bad
    save_file({k: v.half().contiguous() for k, v in m.state_dict().items()}, out / 'model.safetensors', metadata={'format': 'pt'})
    (out / 'model.safetensors').chmod(0o644)
    dump = lambda f, o: (out / f).write_text(json.dumps(o, indent=1, ensure_ascii=False) + '\n')
    dump('config.json', cfg)
    dump('generation_config.json', {'bos_token_id': cfg['bos_token_id'], 'pad_token_id': cfg['bos_token_id'], 'do_sample': False, 'eos_token_id': [cfg['eos_token_id'], cfg['bos_token_id']],
                                    'max_new_tokens': 64, 'repetition_penalty': 1.0, 'transformers_version': '4.49.0'})
    dump('preprocessor_config.json', {'min_pixels': 56 * 56, 'max_pixels': MOST, 'fovea_zoom': ZOOM, 'fovea_second_look': {'zoom': SECOND[0], 'tokens': SECOND[1]}, 'patch_size': 14, 'temporal_patch_size': 2, 'merge_size': 2,
                                      'image_mean': [0.48145466, 0.4578275, 0.40821073], 'image_std': [0.26862954, 0.26130258, 0.27577711],
                                      'image_processor_type': 'Qwen2VLImageProcessor', 'processor_class': 'Qwen2_5_VLProcessor'})
    bc = byte_chars()
    added = [{'id': ID[s], 'content': s, 'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False, 'special': s in SPECIALS} for s in SPECIALS + PHRASES]
    # A reader may number added tokens itself, one after the other: the gap before the numbers is filled.
    fill = {i: f'<|unused_{i}|>' for i in range(256 + len(ID), NUM0)} | {NUM0 + n: f'{n:03d}' for n in range(1000)}
    added += [dict(added[0], id=i, content=s, special=i < NUM0) for i, s in fill.items()]
    dump('tokenizer.json', {'version': '1.0', 'truncation': None, 'padding': None, 'added_tokens': added, 'normalizer': None,
                            'pre_tokenizer': {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': False, 'use_regex': False},
                            'post_processor': {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': False, 'use_regex': False},
                            'decoder': {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': False, 'use_regex': False},
                            'model': {'type': 'BPE', 'dropout': None, 'unk_token': None, 'continuing_subword_prefix': '', 'end_of_word_suffix': '', 'fuse_unk': False, 'byte_fallback': False,
                                      'ignore_merges': False, 'vocab': {bc[b]: i for b, i in sorted(BYTE_ID.items(), key=lambda e: e[1])}, 'merges': []}})
    dump('tokenizer_config.json', {'added_tokens_decoder': {str(a['id']): {k: a[k] for k in ('content', 'lstrip', 'normalized', 'rstrip', 'single_word', 'special')} for a in added if a['id'] < NUM0},
                                   'additional_special_tokens': SPECIALS[1:], 'bos_token': None, 'eos_token': '<|im_end|>', 'pad_token': '<|endoftext|>', 'unk_token': None,
                                   'add_prefix_space': False, 'clean_up_tokenization_spaces': False, 'errors': 'replace', 'model_max_length': 32768, 'split_special_tokens': False,
                                   'tokenizer_class': 'Qwen2Tokenizer', 'chat_template': TEMPLATE})
    dump('chat_template.json', {'chat_template': TEMPLATE})
    from tokenizers import Tokenizer
    t = Tokenizer.from_file(str(out / 'tokenizer.json'))
    text = '<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>' + prompt_text('type "anna 42 é" into 2024') + '<|im_end|>\n<|im_start|>assistant\n'
    assert t.encode(text).ids == PREFIX + [IM] + prompt_ids('type "anna 42 é" into 2024'), t.encode(text).tokens
    a = answer_ids([1, 22, 333, 999], 'anna')
    assert t.decode(a) == "Grounded Operation: TYPE(box=[[001,022,333,999]], text='anna')", t.decode(a)
    n = sum(p.numel() for p in m.parameters())
    print('parameters', n, 'bytes', (out / 'model.safetensors').stat().st_size, 'GFLOP 1280x800', flops(cfg, *reversed(WHOLE)) / 1e9)


def flops(cfg, gw, gh, text=45):
    v, p, t = cfg['vision_config'], gw * gh, gw * gh // 4
    c, i = v['hidden_size'], v['intermediate_size']
    enc = p * 2 * 1176 * c + v['depth'] * (p * 2 * (4 * c * c + 3 * c * i) + 4 * p * 64 * c) + t * 2 * (16 * c * c + 4 * c * v['out_hidden_size'])
    h, n = cfg['hidden_size'], t + text
    kv = h // cfg['num_attention_heads'] * cfg['num_key_value_heads']
    dec = cfg['num_hidden_layers'] * (n * 2 * (2 * h * h + 2 * h * kv + 3 * h * cfg['intermediate_size']) + 4 * n * n * h)
    return enc + dec


if __name__ == '__main__':
    main(*sys.argv[1:3])
