//! Vocabularies that are published in other forms than `tokenizer.json`, written as one.
//!
//! tiktoken: lines of `base64(token) rank`; pairs of tokens merge in the order of what they make. SentencePiece: a
//! protocol buffer (`sentencepiece_model.proto`) of pieces with scores. In a BPE model the pair that makes the piece of
//! the highest score merges first; in a unigram model the pieces whose scores have the largest sum are a text's (Kudo,
//! "Subword Regularization", 2018). tiktoken's and the former are the BPE of the `tokenizers` crate, whose merges are all
//! ways to make a token of two others, the latter its unigram model.

use std::collections::{BTreeMap, HashMap};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{TextError, charsmap::Charsmap};

const MODEL: &str = "tokenizer.model";
const CONFIG: &str = "tokenizer_config.json";

/// SentencePiece writes a space as this.
const SPACE: &str = "\u{2581}";

fn wrong(reason: impl ToString) -> TextError {
    TextError::File { file: MODEL, reason: reason.to_string() }
}

/// A token that is found in text before the model sees it.
fn added(id: u32, content: &str, special: bool) -> Value {
    json!({
        "id": id, "content": content, "special": special,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    })
}

/// Every way to make a token of two others, those that make the first of `order` first.
fn merges<'a>(order: impl Iterator<Item = &'a str>, vocabulary: &HashMap<&str, u32>) -> Vec<[&'a str; 2]> {
    let mut merges = Vec::new();
    for token in order {
        let mut ways: Vec<_> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = token.split_at(at);
                Some((*vocabulary.get(left)?, *vocabulary.get(right)?, [left, right]))
            })
            .collect();
        ways.sort_unstable();
        merges.extend(ways.into_iter().map(|(_, _, way)| way));
    }
    merges
}

/// The letter that stands for a byte in byte-level vocabularies: itself if it is printable, else one beyond U+00FF.
/// Source: `bytes_to_unicode` of GPT-2.
fn letters() -> [char; 256] {
    let mut letters = ['\0'; 256];
    let mut next = 256;
    for (byte, letter) in (0u32..).zip(letters.iter_mut()) {
        let printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        *letter = char::from_u32(if printable { byte } else { next }).unwrap_or_default();
        next += u32::from(!printable);
    }
    letters
}

/// A `tokenizer.json` of tiktoken's ranks, split by `pattern`, and the special tokens of `tokenizer_config.json`.
pub(super) fn from_tiktoken(model: &[u8], config: &[u8], pattern: &str) -> Result<Value, TextError> {
    let letters = letters();
    let text = std::str::from_utf8(model).map_err(wrong)?;
    let mut ranks: BTreeMap<u32, String> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read = || {
            let (token, rank) = line.trim().split_once(' ')?;
            Some((BASE64_STANDARD.decode(token).ok().filter(|bytes| !bytes.is_empty())?, rank.parse().ok()?))
        };
        let (bytes, rank) =
            read().ok_or_else(|| wrong(format_args!("line {}: no base64 token and rank", number + 1)))?;
        let token = bytes.iter().map(|&byte| letters[usize::from(byte)]).collect();
        if ranks.insert(rank, token).is_some() {
            return Err(wrong(format_args!("line {}: rank {rank} occurs twice", number + 1)));
        }
    }
    let vocabulary: HashMap<&str, u32> = ranks.iter().map(|(&rank, token)| (token.as_str(), rank)).collect();
    if vocabulary.len() != ranks.len() {
        return Err(wrong("a token occurs twice"));
    }
    let merges = merges(ranks.values().map(String::as_str), &vocabulary);
    Ok(json!({
        "version": "1.0",
        "added_tokens": special_tokens(config)?,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        // A piece that is a token as a whole is that token, whatever its merges would make.
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges, "ignore_merges": true},
    }))
}

/// `added_tokens_decoder` of `tokenizer_config.json`, by id.
fn special_tokens(config: &[u8]) -> Result<Vec<Value>, TextError> {
    let file = |reason: String| TextError::File { file: CONFIG, reason };
    let config: Value = serde_json::from_slice(config).map_err(|error| file(error.to_string()))?;
    let mut tokens = BTreeMap::new();
    for (id, token) in config.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten() {
        let content = token.get("content").and_then(Value::as_str);
        let (Ok(id), Some(content)) = (id.parse::<u32>(), content) else {
            return Err(file(format!("added_tokens_decoder: entry {id} is no id with a `content`")));
        };
        tokens.insert(id, added(id, content, token.get("special").and_then(Value::as_bool).unwrap_or_default()));
    }
    Ok(tokens.into_values().collect())
}

/// What a piece is for; numbers of `SentencePiece.Type`.
const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const BYTE: u64 = 6;

struct Piece<'a> {
    text: &'a str,
    score: f32,
    kind: u64,
}

/// Kinds of models, numbers of `TrainerSpec.ModelType`.
const UNIGRAM: u64 = 1;
const BPE: u64 = 2;

/// A `tokenizer.json` of a SentencePiece model, and what texts become before it reads them.
pub(super) fn from_sentencepiece(model: &[u8]) -> Result<(Value, Option<Charsmap>), TextError> {
    let mut pieces = Vec::new();
    let (mut kind, mut prefix, mut squeeze, mut charsmap) = (UNIGRAM, true, true, &[][..]);
    for field in Fields(model) {
        match field? {
            (1, Data::Bytes(piece)) => pieces.push(read_piece(piece, pieces.len())?),
            (2, Data::Bytes(trainer)) => {
                for field in Fields(trainer) {
                    if let (3, Data::Number(value)) = field? {
                        kind = value;
                    }
                }
            }
            (3, Data::Bytes(normaliser)) => {
                for field in Fields(normaliser) {
                    match field? {
                        (2, Data::Bytes(map)) => charsmap = map,
                        (3, Data::Number(value)) => prefix = value != 0,
                        (4, Data::Number(value)) => squeeze = value != 0,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let vocabulary: HashMap<&str, u32> = pieces.iter().zip(0..).map(|(piece, id)| (piece.text, id)).collect();
    if vocabulary.len() != pieces.len() {
        return Err(wrong("a piece occurs twice"));
    }
    let (written, splitter) = match kind {
        UNIGRAM => (unigram(&pieces)?, reserved(&pieces)),
        BPE => (bpe(&pieces, &vocabulary), Value::Null),
        _ => {
            let reason = format_args!("the model is of type {kind}; only unigram, 1, and BPE, 2, are read").to_string();
            return Err(wrong(reason));
        }
    };
    let specials = pieces.iter().zip(0..).filter_map(|(piece, id)| match piece.kind {
        UNKNOWN | CONTROL => Some(added(id, piece.text, true)),
        // A unigram model finds them by their scores.
        USER_DEFINED if kind == BPE => Some(added(id, piece.text, false)),
        _ => None,
    });
    let mut normalisers = Vec::new();
    let charsmap = match charsmap {
        [] => None,
        map => Some(Charsmap::read(map).ok_or_else(|| wrong("its precompiled_charsmap is cut off"))?),
    };
    if squeeze {
        normalisers.push(json!({"type": "Replace", "pattern": {"Regex": "^ +| +$"}, "content": ""}));
        normalisers.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}));
    }
    if prefix {
        normalisers.push(json!({"type": "Prepend", "prepend": SPACE}));
    }
    normalisers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE}));
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let json = json!({
        "version": "1.0",
        "added_tokens": specials.collect::<Vec<_>>(),
        "normalizer": {"type": "Sequence", "normalizers": normalisers},
        "pre_tokenizer": splitter,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": written,
    });
    Ok((json, charsmap))
}

fn has_bytes(pieces: &[Piece<'_>]) -> bool {
    pieces.iter().any(|piece| piece.kind == BYTE)
}

fn bpe(pieces: &[Piece<'_>], vocabulary: &HashMap<&str, u32>) -> Value {
    let mergeable = |piece: &&Piece<'_>| matches!(piece.kind, NORMAL | USER_DEFINED);
    let parts: HashMap<&str, u32> =
        pieces.iter().zip(0..).filter(|(piece, _)| mergeable(piece)).map(|(piece, id)| (piece.text, id)).collect();
    let mut order: Vec<&Piece<'_>> = pieces.iter().filter(mergeable).collect();
    order.sort_by(|a, b| b.score.total_cmp(&a.score));
    let merges = merges(order.into_iter().map(|piece| piece.text), &parts);
    let unknown = pieces.iter().find(|piece| piece.kind == UNKNOWN).map(|piece| piece.text);
    json!({
        "type": "BPE", "vocab": vocabulary, "merges": merges, "unk_token": unknown, "fuse_unk": true,
        "byte_fallback": has_bytes(pieces),
    })
}

fn unigram(pieces: &[Piece<'_>]) -> Result<Value, TextError> {
    let normal = pieces.iter().filter(|piece| piece.kind == NORMAL).map(|piece| piece.score);
    let best = f64::from(normal.fold(f32::NEG_INFINITY, f32::max));
    let best = if best.is_finite() { best } else { 0.0 };
    let mut vocabulary = Vec::with_capacity(pieces.len());
    for (index, piece) in pieces.iter().enumerate() {
        let score = match piece.kind {
            // So that they are always chosen: `EncodeOptimized` of SentencePiece's `unigram_model.cc`.
            USER_DEFINED => piece.text.len() as f64 * best - 0.1,
            _ => f64::from(piece.score),
        };
        if !score.is_finite() {
            return Err(wrong(format_args!("piece {index}: its score is {score}")));
        }
        vocabulary.push(json!([piece.text, score]));
    }
    let unknown = pieces.iter().position(|piece| piece.kind == UNKNOWN);
    Ok(json!({
        "type": "Unigram", "vocab": vocabulary, "unk_id": unknown, "byte_fallback": has_bytes(pieces),
    }))
}

/// What keeps pieces that no text has, such as `<s>` and `<0x41>`, from being found in one that spells them: their first
/// letter stands alone there.
fn reserved(pieces: &[Piece<'_>]) -> Value {
    let mut patterns: Vec<String> = Vec::new();
    if has_bytes(pieces) {
        patterns.push("<(?=0x[0-9A-F]{2}>)".to_owned());
    }
    for piece in pieces.iter().filter(|piece| !matches!(piece.kind, NORMAL | USER_DEFINED | BYTE)) {
        let mut letters = piece.text.chars();
        if let Some(first) = letters.next().filter(|_| !letters.as_str().is_empty()) {
            let escape = |letter: char| format!("\\x{{{:x}}}", u32::from(letter));
            let rest: String = letters.map(escape).collect();
            patterns.push(format!("{}(?={rest})", escape(first)));
        }
    }
    if patterns.is_empty() {
        return Value::Null;
    }
    json!({"type": "Split", "pattern": {"Regex": patterns.join("|")}, "behavior": "Isolated", "invert": false})
}

fn read_piece(bytes: &[u8], index: usize) -> Result<Piece<'_>, TextError> {
    let mut piece = Piece { text: "", score: 0.0, kind: NORMAL };
    for field in Fields(bytes) {
        match field? {
            (1, Data::Bytes(text)) => {
                piece.text =
                    std::str::from_utf8(text).map_err(|error| wrong(format_args!("piece {index}: {error}")))?;
            }
            (2, Data::Float(score)) => piece.score = score,
            (3, Data::Number(kind)) => piece.kind = kind,
            _ => {}
        }
    }
    Ok(piece)
}

/// What a field of a protocol buffer holds.
enum Data<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Float(f32),
    /// Eight bytes; none of the fields read here has any.
    Long,
}

/// The fields of a protocol buffer's message, by number.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    fn field(&mut self) -> Option<(u64, Data<'a>)> {
        let tag = self.number()?;
        let data = match tag & 7 {
            0 => Data::Number(self.number()?),
            1 => self.bytes(8).map(|_| Data::Long)?,
            2 => {
                let length = self.number()?;
                Data::Bytes(self.bytes(length)?)
            }
            5 => Data::Float(f32::from_le_bytes(self.bytes(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, data))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Data<'a>), TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            // Nothing more can be read of it.
            self.0 = &[];
        }
        Some(field.ok_or_else(|| wrong("it is no SentencePiece model, or cut off")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        testing::golden::{self, json},
        text::Tokenizer,
    };

    const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    fn sentencepiece(model: &str) -> Tokenizer {
        Tokenizer::from_sentencepiece(&golden::bytes(&format!("{model}/tokenizer.model"))).unwrap()
    }

    fn tiktoken(model: &str) -> Tokenizer {
        let file = |name| golden::bytes(&format!("{model}/{name}"));
        Tokenizer::from_tiktoken(&file("tokenizer.model"), &file("tokenizer_config.json"), PATTERN).unwrap()
    }

    fn ids_of(value: &Value) -> Vec<u32> {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn sentencepiece_equals_the_reference() {
        for (model, cases) in [("cogvlm_17b", 4), ("cogagent_18b", 3)] {
            let tokenizer = sentencepiece(model);
            for case in 0..cases {
                let expected = json(&format!("{model}/cases/{case}/expected.json"));
                let ids = tokenizer.encode_plain(expected["prompt"].as_str().unwrap()).unwrap();
                let all = ids_of(&expected["input_ids"]);
                assert_eq!(ids, all[all.len() - ids.len()..], "{model}/{case}");
                let generated = ids_of(&expected["generated_ids"]);
                let text = expected["generated_text"].as_str().unwrap();
                // Of bytes that are no character the library makes more signs than the reference.
                if !text.contains(char::REPLACEMENT_CHARACTER) {
                    assert_eq!(tokenizer.decode(&generated).unwrap(), text, "{model}/{case}");
                }
            }
        }
    }

    /// The fixtures that publish both files, whose `tokenizer.json` puts no space before the text.
    #[test]
    fn sentencepiece_equals_its_tokenizer_json() {
        let text = "Where is the menu [[212,498,787,564]]  in the caf\u{e9}\n\npage \u{6253}\u{5f00}?";
        for model in ["llava", "llava_next"] {
            let own = sentencepiece(model).encode_plain(text).unwrap();
            let published = Tokenizer::from_tokenizer_json(&golden::bytes(&format!("{model}/tokenizer.json"))).unwrap();
            assert_eq!(own, published.encode_plain(&format!(" {text}")).unwrap(), "{model}");
        }
    }

    #[test]
    fn tiktoken_equals_the_reference() {
        for model in ["glm_4v_9b", "cogagent_9b"] {
            let tokenizer = tiktoken(model);
            let expected = json(&format!("{model}/cases/2/expected.json"));
            let request = json(&format!("{model}/cases/2/prompt.json"));
            let said = request["messages"][0]["content"][0]["text"].as_str().unwrap();
            let ids = tokenizer.encode_plain(said).unwrap();
            assert_eq!(ids, ids_of(&expected["input_ids"])[4..4 + ids.len()], "{model}");
            assert_eq!(tokenizer.encode("[gMASK]<sop>").unwrap(), ids_of(&expected["input_ids"])[..2]);
            assert!(!tokenizer.encode_plain("<sop>").unwrap().contains(&tokenizer.required_id("<sop>").unwrap()));
            let generated = ids_of(&expected["generated_ids"]);
            assert_eq!(tokenizer.decode(&generated).unwrap(), expected["generated_text"], "{model}");
        }
    }

    #[test]
    fn names_what_is_broken() {
        let message = |result: Result<Tokenizer, TextError>| result.unwrap_err().to_string();
        let tiktoken = |model: &str| message(Tokenizer::from_tiktoken(model.as_bytes(), b"{}", PATTERN));
        assert_eq!(tiktoken("AA== 0\nnonsense"), "tokenizer.model: line 2: no base64 token and rank");
        assert_eq!(tiktoken("AA== 0\nAQ== 0"), "tokenizer.model: line 2: rank 0 occurs twice");
        assert_eq!(tiktoken("AA== 0\nAA== 1"), "tokenizer.model: a token occurs twice");
        let config = br#"{"added_tokens_decoder": {"x": {"content": "a"}}}"#;
        let config = message(Tokenizer::from_tiktoken(b"AA== 0", config, PATTERN));
        assert_eq!(config, "tokenizer_config.json: added_tokens_decoder: entry x is no id with a `content`");
        let cut = golden::bytes("cogvlm_17b/tokenizer.model");
        let cut = message(Tokenizer::from_sentencepiece(&cut[..cut.len() - 3]));
        assert_eq!(cut, "tokenizer.model: it is no SentencePiece model, or cut off");
        // A trainer's `model_type`: words.
        let words = message(Tokenizer::from_sentencepiece(&[0x12, 2, 0x18, 3]));
        assert_eq!(words, "tokenizer.model: the model is of type 3; only unigram, 1, and BPE, 2, are read");
        // A piece "a" whose score is NaN.
        let unscored = [0x0a, 8, 0x0a, 1, b'a', 0x15, 0, 0, 0xc0, 0x7f];
        let unscored = message(Tokenizer::from_sentencepiece(&unscored));
        assert_eq!(unscored, "tokenizer.model: piece 0: its score is NaN");
    }

    /// Byte fallback, NFKC, user-defined pieces, controls spelled out: `tests/golden/unigram/make.py` asks the package.
    #[test]
    fn unigram_equals_sentencepiece() {
        for model in json("unigram/expected.json").as_array().unwrap() {
            let name = model["model"].as_str().unwrap();
            let tokenizer = Tokenizer::from_sentencepiece(&golden::bytes(&format!("unigram/{name}"))).unwrap();
            for case in model["cases"].as_array().unwrap() {
                let (text, ids) = (case["text"].as_str().unwrap(), ids_of(&case["ids"]));
                assert_eq!(tokenizer.encode_plain(text).unwrap(), ids, "{name}: {text:?}");
                let (decoded, unknown) = (case["decoded"].as_str().unwrap(), tokenizer.token_id("<unk>"));
                // The package has a sign of its own for what is unknown.
                if !ids.iter().any(|&id| Some(id) == unknown) {
                    assert_eq!(tokenizer.decode(&ids).unwrap(), decoded, "{name}: {text:?}");
                }
            }
        }
    }

    /// Kosmos-2 publishes its unigram model and a `tokenizer.json`, whose ids are one higher.
    #[test]
    fn unigram_equals_its_tokenizer_json() {
        let own = Tokenizer::from_sentencepiece(&golden::bytes("kosmos2/sentencepiece.bpe.model")).unwrap();
        let published = Tokenizer::from_tokenizer_json(&golden::bytes("kosmos2/tokenizer.json")).unwrap();
        let text = "Where is the menu in the page?";
        let shifted: Vec<u32> = own.encode_plain(text).unwrap().iter().map(|id| id + 1).collect();
        assert_eq!(shifted, published.encode_plain(text).unwrap());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_a_tokenizer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Tokenizer::from_sentencepiece(&bytes);
            let _ = Tokenizer::from_tiktoken(&bytes, &bytes, PATTERN);
        }
    }
}
