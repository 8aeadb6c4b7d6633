//! Vocabularies that are published in other forms than `tokenizer.json`, written as one.
//!
//! tiktoken: lines of `base64(token) rank`; pairs of tokens merge in the order of what they make. SentencePiece: a
//! protocol buffer (`sentencepiece_model.proto`) of pieces with scores. In a BPE model the pair that makes the piece of
//! the highest score merges first; in a unigram model the pieces whose scores have the largest sum are a text's (Kudo,
//! "Subword Regularization", 2018). tiktoken's and the former are the BPE of the `tokenizers` crate, whose merges are all
//! ways to make a token of two others, the latter its unigram model.

use std::collections::{BTreeMap, HashMap};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::{Beside, TextError, charsmap::Charsmap, object, recognise};

const MODEL: &str = "tokenizer.model";
pub(super) const CONFIG: &str = "tokenizer_config.json";
const ADDED: &str = "added_tokens.json";
const SPECIAL: &str = "special_tokens_map.json";
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";

/// A vocabulary written as a `tokenizer.json`.
pub(super) struct Published {
    /// The file that it came from.
    pub(super) file: &'static str,
    pub(super) json: Value,
    /// What a text becomes first.
    pub(super) charsmap: Option<Charsmap>,
}

/// SentencePiece writes a space as this.
const SPACE: &str = "\u{2581}";

fn wrong(reason: impl ToString) -> TextError {
    TextError::File { file: MODEL, reason: reason.to_string() }
}

/// A token that is found in text before the model sees it.
fn added(id: u32, content: &str, special: bool) -> Value {
    written(id, &AddedToken::from(content, special).normalized(false))
}

fn written(id: u32, token: &AddedToken) -> Value {
    json!({
        "id": id, "content": token.content, "special": token.special, "single_word": token.single_word,
        "lstrip": token.lstrip, "rstrip": token.rstrip, "normalized": token.normalized,
    })
}

/// Names of the tokens that `tokenizer_config.json` and `special_tokens_map.json` name one by one.
pub(super) const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A token: a string, or an object with its `content`.
pub(super) fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content").and_then(Value::as_str))
}

/// Added tokens by id: `added_tokens_decoder` of `tokenizer_config.json`, and older checkpoints' `added_tokens.json`, of
/// which those are special that the configuration or `special_tokens_map.json` lists as such.
pub(super) fn added_tokens(beside: Beside<'_>) -> Result<BTreeMap<u32, AddedToken>, TextError> {
    let read = |file, bytes: Option<&[u8]>| bytes.map_or(Ok(Map::new()), |bytes| object(file, bytes));
    let (config, special) = (read(CONFIG, beside.config)?, read(SPECIAL, beside.special)?);
    let mut tokens = BTreeMap::new();
    let decoder = config.get("added_tokens_decoder").and_then(Value::as_object);
    for (id, token) in decoder.into_iter().flatten() {
        let (Ok(number), Some(content)) = (id.parse::<u32>(), token.get("content").and_then(Value::as_str)) else {
            let reason = format!("added_tokens_decoder: entry {id} is no id with a `content`");
            return Err(TextError::File { file: CONFIG, reason });
        };
        let flag = |name: &str| token.get(name).and_then(Value::as_bool).unwrap_or_default();
        let token = AddedToken::from(content, flag("special"))
            .single_word(flag("single_word"))
            .lstrip(flag("lstrip"))
            .rstrip(flag("rstrip"))
            .normalized(flag("normalized"));
        tokens.insert(number, token);
    }
    let lists = ["additional_special_tokens", "extra_special_tokens"];
    let is_special = |token: &str| {
        [&config, &special].into_iter().any(|file| {
            let named = NAMED.iter().filter_map(|name| file.get(*name));
            let listed = lists.iter().filter_map(|name| file.get(*name)).flat_map(|list| match list {
                Value::Array(list) => list.iter().collect::<Vec<_>>(),
                Value::Object(named) => named.values().collect(),
                _ => Vec::new(),
            });
            named.chain(listed).any(|it| content(it) == Some(token))
        })
    };
    for (token, id) in read(ADDED, beside.added)? {
        let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
            return Err(TextError::File { file: ADDED, reason: format!("{token:?}: its id is {id}") });
        };
        if !tokens.values().any(|it: &AddedToken| it.content == token) {
            let special = is_special(&token);
            tokens.entry(id).or_insert_with(|| AddedToken::from(token, special).normalized(!special));
        }
    }
    Ok(tokens)
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
pub(super) fn from_tiktoken(model: &[u8], config: &[u8], pattern: &str) -> Result<Published, TextError> {
    let letters = letters();
    recognise(MODEL, model)?;
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
    let added = added_tokens(Beside { config: Some(config), ..Beside::default() })?;
    let json = json!({
        "version": "1.0",
        "added_tokens": added.iter().map(|(&id, token)| written(id, token)).collect::<Vec<_>>(),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(pattern), byte_level(false)]},
        "decoder": byte_level(true),
        // A piece that is a token as a whole is that token, whatever its merges would make.
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges, "ignore_merges": true},
    });
    Ok(Published { file: MODEL, json, charsmap: None })
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": use_regex, "trim_offsets": true, "use_regex": use_regex})
}

/// How Qwen2's text is split. Source: `PRETOKENIZE_REGEX` of `tokenization_qwen2.py`, transformers 4.57.1.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A `tokenizer.json` of byte-level BPE, by the class that `tokenizer_config.json` names.
pub(super) fn from_vocabulary(vocabulary: &[u8], merges: &[u8], beside: Beside<'_>) -> Result<Published, TextError> {
    let config = beside.config.map_or(Ok(Map::new()), |bytes| object(CONFIG, bytes))?;
    let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
    let prefix = config.get("add_prefix_space").and_then(Value::as_bool).unwrap_or_default();
    let level = json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true});
    let (normaliser, splitters) = match class.strip_suffix("Fast").unwrap_or(class) {
        "Qwen2Tokenizer" => (json!({"type": "NFC"}), vec![split(QWEN2), byte_level(false)]),
        "GPT2Tokenizer" if beside.digits => {
            (Value::Null, vec![json!({"type": "Digits", "individual_digits": true}), level])
        }
        "GPT2Tokenizer" => (Value::Null, vec![level]),
        _ => {
            return Err(TextError::Field {
                file: CONFIG,
                field: "tokenizer_class".to_owned(),
                expected: "Qwen2Tokenizer or GPT2Tokenizer, as there is no tokenizer.json beside vocab.json",
            });
        }
    };
    let mut ids: BTreeMap<String, u32> = BTreeMap::new();
    for (token, id) in object(VOCABULARY, vocabulary)? {
        let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
            return Err(TextError::File { file: VOCABULARY, reason: format!("{token:?}: its id is {id}") });
        };
        ids.insert(token, id);
    }
    recognise(MERGES, merges)?;
    let text =
        std::str::from_utf8(merges).map_err(|error| TextError::File { file: MERGES, reason: error.to_string() })?;
    let mut pairs: Vec<[&str; 2]> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || number == 0 && line.starts_with("#version") {
            continue;
        }
        let pair = line.split_once(' ').filter(|(left, right)| {
            ids.contains_key(*left) && ids.contains_key(*right) && ids.contains_key(&[*left, *right].concat())
        });
        let Some((left, right)) = pair else {
            let reason = format!("line {}: no two tokens of vocab.json that make a third", number + 1);
            return Err(TextError::File { file: MERGES, reason });
        };
        pairs.push([left, right]);
    }
    let json = json!({
        "version": "1.0",
        "added_tokens": added_tokens(beside)?.iter().map(|(&id, token)| written(id, token)).collect::<Vec<_>>(),
        "normalizer": normaliser,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splitters},
        "decoder": byte_level(true),
        "model": {"type": "BPE", "vocab": ids, "merges": pairs},
    });
    Ok(Published { file: VOCABULARY, json, charsmap: None })
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

/// A `tokenizer.json` of a SentencePiece model. Classes of `transformers` put a space and a begin-of-text token before a text
/// by options of their own. Source: `LlamaConverter` of `convert_slow_tokenizer.py`, transformers 4.57.1.
pub(super) fn from_sentencepiece(model: &[u8], beside: Beside<'_>) -> Result<Published, TextError> {
    recognise(MODEL, model)?;
    let config = beside.config.map_or(Ok(Map::new()), |bytes| object(CONFIG, bytes))?;
    let own = added_tokens(beside)?;
    let flag = |name: &str| config.get(name).and_then(Value::as_bool);
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
    // Gemma's configuration names the first pieces anew.
    for (piece, id) in pieces.iter_mut().zip(0..) {
        if let (UNKNOWN | CONTROL, Some(token)) = (piece.kind, own.get(&id)) {
            piece.text = &token.content;
        }
    }
    let vocabulary: HashMap<&str, u32> = pieces.iter().zip(0..).map(|(piece, id)| (piece.text, id)).collect();
    if vocabulary.len() != pieces.len() {
        return Err(wrong("a piece occurs twice"));
    }
    let (written_model, splitter) = match kind {
        UNIGRAM => (unigram(&pieces)?, reserved(&pieces)),
        BPE => (bpe(&pieces, &vocabulary), Value::Null),
        _ => {
            let reason = format_args!("the model is of type {kind}; only unigram, 1, and BPE, 2, are read").to_string();
            return Err(wrong(reason));
        }
    };
    let published = pieces.iter().zip(0..).filter_map(|(piece, id)| match piece.kind {
        UNKNOWN | CONTROL => Some((id, added(id, piece.text, true))),
        // A unigram model finds them by their scores.
        USER_DEFINED if kind == BPE => Some((id, added(id, piece.text, false))),
        _ => None,
    });
    let mut specials: BTreeMap<u32, Value> = published.collect();
    specials.extend(own.iter().map(|(&id, token)| (id, written(id, token))));
    // A key that is null says no; one that is not there leaves it to the model.
    prefix = match config.get("add_prefix_space") {
        None => prefix,
        Some(space) => space.as_bool().unwrap_or_default(),
    };
    // Since `legacy: false` a space stands before the text alone, and not after every special token.
    let first_only = prefix && flag("legacy") == Some(false);
    let mut normalisers = Vec::new();
    let charsmap = match charsmap {
        [] => None,
        map => Some(Charsmap::read(map).ok_or_else(|| wrong("its precompiled_charsmap is cut off"))?),
    };
    if squeeze {
        normalisers.push(json!({"type": "Replace", "pattern": {"Regex": "^ +| +$"}, "content": ""}));
        normalisers.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}));
    }
    if prefix && !first_only {
        normalisers.push(json!({"type": "Prepend", "prepend": SPACE}));
    }
    if !first_only {
        normalisers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE}));
    }
    let first = json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": false});
    let splitters: Vec<Value> = [first_only.then_some(first), Some(splitter)].into_iter().flatten().collect();
    let splitters: Vec<Value> = splitters.into_iter().filter(|splitter| !splitter.is_null()).collect();
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    // Llama's and Gemma's classes begin a text with `bos_token` unless told otherwise, and no class ends a prompt.
    let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
    let begins = ["LlamaTokenizer", "GemmaTokenizer"].contains(&class.strip_suffix("Fast").unwrap_or(class));
    let begin = config.get("bos_token").and_then(content).filter(|_| flag("add_bos_token").unwrap_or(begins));
    let begin = begin.and_then(|token| {
        let id = specials.iter().find(|(_, it)| it["content"] == token).map(|(&id, _)| id);
        Some((token, id.or_else(|| vocabulary.get(token).copied())?))
    });
    let wrapper = begin.map(|(token, id)| {
        let (begin, text) =
            (json!({"SpecialToken": {"id": token, "type_id": 0}}), json!({"Sequence": {"id": "A", "type_id": 0}}));
        let other = json!({"Sequence": {"id": "B", "type_id": 1}});
        json!({
            "type": "TemplateProcessing", "single": [&begin, &text], "pair": [&begin, &text, &begin, other],
            "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
        })
    });
    let splitter =
        if splitters.is_empty() { Value::Null } else { json!({"type": "Sequence", "pretokenizers": splitters}) };
    let json = json!({
        "version": "1.0",
        "added_tokens": specials.into_values().collect::<Vec<_>>(),
        "normalizer": {"type": "Sequence", "normalizers": normalisers},
        "pre_tokenizer": splitter,
        "post_processor": wrapper,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": written_model,
    });
    Ok(Published { file: MODEL, json, charsmap })
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
        Tokenizer::from_sentencepiece(&golden::bytes(&format!("{model}/tokenizer.model")), Beside::default()).unwrap()
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
        let cut = message(Tokenizer::from_sentencepiece(&cut[..cut.len() - 3], Beside::default()));
        assert_eq!(cut, "tokenizer.model: it is no SentencePiece model, or cut off");
        // A trainer's `model_type`: words.
        let words = message(Tokenizer::from_sentencepiece(&[0x12, 2, 0x18, 3], Beside::default()));
        assert_eq!(words, "tokenizer.model: the model is of type 3; only unigram, 1, and BPE, 2, are read");
        // A piece "a" whose score is NaN.
        let unscored = [0x0a, 8, 0x0a, 1, b'a', 0x15, 0, 0, 0xc0, 0x7f];
        let unscored = message(Tokenizer::from_sentencepiece(&unscored, Beside::default()));
        assert_eq!(unscored, "tokenizer.model: piece 0: its score is NaN");
    }

    /// Byte fallback, NFKC, user-defined pieces, controls spelled out: `tests/golden/unigram/make.py` asks the package.
    #[test]
    fn unigram_equals_sentencepiece() {
        for model in json("unigram/expected.json").as_array().unwrap() {
            let name = model["model"].as_str().unwrap();
            let tokenizer =
                Tokenizer::from_sentencepiece(&golden::bytes(&format!("unigram/{name}")), Beside::default()).unwrap();
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
        let own = Tokenizer::from_sentencepiece(&golden::bytes("kosmos2/sentencepiece.bpe.model"), Beside::default())
            .unwrap();
        let published = Tokenizer::from_tokenizer_json(&golden::bytes("kosmos2/tokenizer.json")).unwrap();
        let text = "Where is the menu in the page?";
        let shifted: Vec<u32> = own.encode_plain(text).unwrap().iter().map(|id| id + 1).collect();
        assert_eq!(shifted, published.encode_plain(text).unwrap());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_a_tokenizer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Tokenizer::from_sentencepiece(&bytes, Beside::default());
            let _ = Tokenizer::from_tiktoken(&bytes, &bytes, PATTERN);
        }
    }
}
