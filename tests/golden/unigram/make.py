"""Makes `tokenizer.model` (a unigram model with byte fallback) and `plain.model` (one without, that keeps spaces), and
`expected.json`: what the package `sentencepiece` makes of odd texts by each. `python make.py`; needs sentencepiece 0.2.
"""

import io
import json
import pathlib

import sentencepiece

HERE = pathlib.Path(__file__).parent

TEXTS = [
    "",
    " ",
    "   ",
    "a",
    "Where is the menu?",
    "  two  spaces   and a tail  ",
    "tab\there\nand\r\nlines\n\n",
    "caf\u00e9 cafe\u0301 \ufb01ne \u2460 \uff21\uff22\uff23 \u00bd \u2122 \u3000wide\u3000",
    "\u6253\u5f00\u9875\u9762\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \uff76\uff9e\uff77\uff9e",
    "\U0001f642\U0001f469\u200d\U0001f4bb zero\u200bwidth soft\u00adhyphen nbsp\u00a0here",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
    "\u2581 a \u2581\u2581b",
    "<s> </s> <unk> <pad> <0x41> <0xE2>",
    "x<s>y</s>z",
    "<sep>",
    "a<sep>b <sep> c<sep><sep>d",
    " <sep>x",
    "click<box>12<box>34",
    "[[012,345,678,999]] 3.14159 -2e10",
    "antidisestablishmentarianism " * 3,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\x00\x01\x7f control",
    "e\u0301\u0301\u0323 combining \u1100\u1161\u11a8 \uac01",
    "\ufffd \ufeff bom",
]

CORPUS = [
    "Where is the menu of the page?",
    "Click the button that opens the settings, then close the window.",
    "The search field is in the upper right corner of the screen.",
    "Scroll down until the table of prices is seen, and read the third row.",
    "Enter a name, an address and the number 12345 into the form.",
    "An icon of a small house leads back to the first page.",
    "caf\u00e9, na\u00efve, \u00fcber, fa\u00e7ade, se\u00f1or",
    "\u6253\u5f00\u8bbe\u7f6e\u9875\u9762 \u70b9\u51fb\u6309\u94ae",
    "It is open, it's closed; the others are selected: 1, 2, 3 (4) [5] {6}.",
]


def train(name, **options):
    written = io.BytesIO()
    corpus = [" ".join(line.split()[start:]) for line in CORPUS for start in range(4)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus * 5),
        model_writer=written,
        model_type="unigram",
        user_defined_symbols=["<sep>", "<box>"],
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    (HERE / name).write_bytes(written.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    cases = [{"text": text, "ids": model.encode(text), "decoded": model.decode(model.encode(text))} for text in TEXTS]
    return {"model": name, "cases": cases}


models = [
    train("tokenizer.model", vocab_size=370, byte_fallback=True, pad_id=3),
    train(
        "plain.model",
        vocab_size=110,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
    ),
]
(HERE / "expected.json").write_text(json.dumps(models, indent=1) + "\n")
