//! Tokenizers: text to token ids and back.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::{
    Beside, PromptText, TextError,
    charsmap::Charsmap,
    marks::{Forbidden, Marks},
    object,
    published::{self, Published},
    recognise, steps,
};

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// A model's tokenizer, whatever file it came from.
#[derive(Debug)]
pub struct Tokenizer {
    pub(super) kind: Kind,
    /// Added tokens, found in text of which some is words.
    marks: Marks,
    /// The largest id.
    last: u32,
    /// The file that it came from.
    file: &'static str,
    /// What a text becomes first.
    charsmap: Option<Charsmap>,
    /// The token for what is unknown, if one stands for all of it that follows each other.
    fused: Option<u32>,
}

/// What encodes and decodes.
#[derive(Debug)]
pub(super) enum Kind {
    HuggingFace(Box<HuggingFace>),
}

#[derive(Debug)]
pub(super) struct HuggingFace {
    pub(super) tokenizer: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// From the bytes of a Hugging Face `tokenizer.json`. Truncation and padding it may ask for are switched off, as
    /// `transformers` does for a single text.
    ///
    /// # Errors
    /// [`TextError::File`] if the bytes are no tokenizer that the `tokenizers` crate reads, or ids are far apart.
    pub fn from_tokenizer_json(bytes: &[u8]) -> Result<Self, TextError> {
        const FILE: &str = "tokenizer.json";
        let mut added = Vec::new();
        check(bytes, &mut added)?;
        let this = Self::read(FILE, bytes)?;
        // The library numbers tokens that the model does not have as it meets them.
        match added.into_iter().find(|(token, id)| this.token_id(token).map(u64::from) != Some(*id)) {
            Some((token, id)) => {
                Err(TextError::File { file: FILE, reason: format!("added_tokens: {token:?} cannot have id {id}") })
            }
            None => Ok(this),
        }
    }

    /// From the bytes of a `tokenizer.model` of tiktoken, lines of `base64(token) rank`, which are split by `pattern`
    /// before their bytes merge, and those of the `tokenizer_config.json` beside it, which lists the special tokens.
    ///
    /// # Errors
    /// [`TextError::File`] that names the file and the line or entry.
    pub fn from_tiktoken(model: &[u8], config: &[u8], pattern: &str) -> Result<Self, TextError> {
        Self::written(published::from_tiktoken(model, config, pattern)?)
    }

    /// From the bytes of a `tokenizer.model` of SentencePiece, a BPE model such as LLaMA's or a unigram model, and what
    /// files beside it say: added tokens, and whether a text begins with a space and a begin-of-text token.
    ///
    /// # Errors
    /// [`TextError::File`] if the bytes are no such model, or that names the other file and the entry.
    pub fn from_sentencepiece(model: &[u8], beside: Beside<'_>) -> Result<Self, TextError> {
        Self::written(published::from_sentencepiece(model, beside)?)
    }

    /// From the bytes of a `vocab.json` and a `merges.txt`, byte-level BPE, and what files beside them say. The class that
    /// `tokenizer_config.json` names decides how text is split.
    ///
    /// # Errors
    /// [`TextError::File`], [`TextError::Field`] that name the file and the entry.
    pub fn from_vocabulary(vocabulary: &[u8], merges: &[u8], beside: Beside<'_>) -> Result<Self, TextError> {
        Self::written(published::from_vocabulary(vocabulary, merges, beside)?)
    }

    /// From a `tokenizer.json` that was written here.
    fn written(published: Published) -> Result<Self, TextError> {
        let Published { file, json, charsmap } = published;
        let this = Self::read(file, json.to_string().as_bytes())?;
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            // The library numbers tokens that the model does not have as it meets them.
            let (id, content) = (token["id"].as_u64(), token["content"].as_str().unwrap_or_default());
            if this.token_id(content).map(u64::from) != id {
                let reason = format!("token {content:?} cannot have id {}", id.unwrap_or_default());
                return Err(TextError::File { file, reason });
            }
        }
        let fused = json["model"]["unk_id"].as_u64().and_then(|id| u32::try_from(id).ok());
        Ok(Self { charsmap, fused, ..this })
    }

    fn read(file: &'static str, bytes: &[u8]) -> Result<Self, TextError> {
        let unreadable = |reason: tokenizers::Error| TextError::File { file, reason: reason.to_string() };
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).map_err(unreadable)?;
        tokenizer.with_truncation(None).map_err(unreadable)?;
        tokenizer.with_padding(None);
        let vocabulary = tokenizer.get_vocab(true);
        let (last, count) = (vocabulary.values().copied().max().unwrap_or(0), vocabulary.len());
        // Tables have an entry for each id: of ids that are far apart one small file would make a huge table.
        let most = SPARE_IDS + 4 * count as u64;
        if u64::from(last) >= most {
            let token = vocabulary.iter().find(|(_, id)| **id == last).map_or("", |(token, _)| token.as_str());
            let reason =
                format!("token {token:?} has id {last}, of {count} tokens none may have an id of {most} or more");
            return Err(TextError::File { file, reason });
        }
        let marks = Marks::of(&tokenizer).map_err(unreadable)?;
        let kind = Kind::HuggingFace(Box::new(HuggingFace { tokenizer }));
        Ok(Self { kind, marks, last, file, charsmap: None, fused: None })
    }

    /// Adds the tokens that `tokenizer_config.json` lists and this does not have, as `transformers` does.
    ///
    /// # Errors
    /// [`TextError::File`] if one would get another id than it has there.
    pub fn with_added(self, beside: Beside<'_>) -> Result<Self, TextError> {
        let tokens = published::added_tokens(beside)?;
        let missing: Vec<_> = tokens.iter().filter(|(_, token)| self.token_id(&token.content).is_none()).collect();
        if missing.is_empty() {
            return Ok(self);
        }
        let Kind::HuggingFace(it) = self.kind;
        let mut tokenizer = it.tokenizer;
        let mut last = self.last;
        for (id, token) in missing {
            last = last.max(*id);
            if token.special {
                tokenizer.add_special_tokens(std::slice::from_ref(token));
            } else {
                tokenizer.add_tokens(std::slice::from_ref(token));
            }
            if tokenizer.token_to_id(&token.content) != Some(*id) {
                let reason = format!(
                    "added_tokens_decoder: token {:?} cannot have id {id} after those of tokenizer.json",
                    token.content
                );
                return Err(TextError::File { file: published::CONFIG, reason });
            }
        }
        let unreadable =
            |reason: tokenizers::Error| TextError::File { file: published::CONFIG, reason: reason.to_string() };
        let marks = Marks::of(&tokenizer).map_err(unreadable)?;
        let kind = Kind::HuggingFace(Box::new(HuggingFace { tokenizer }));
        Ok(Self { kind, marks, last, file: self.file, charsmap: self.charsmap, fused: self.fused })
    }

    /// As `tokenizer(text, add_special_tokens=False)`: special tokens written in `text` become their ids, none is
    /// added.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer has no id for a piece of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        match &self.kind {
            Kind::HuggingFace(it) => self.ids(&it.tokenizer, text, false),
        }
    }

    fn ids(&self, tokenizer: &tokenizers::Tokenizer, text: &str, wrap: bool) -> Result<Vec<u32>, TextError> {
        let text = self.charsmap.as_ref().map_or(Cow::Borrowed(text), |map| Cow::Owned(map.normalise(text)));
        let encoding = tokenizer.encode_fast(text, wrap).map_err(|error| TextError::Tokenizer(error.to_string()))?;
        Ok(self.fuse(encoding.get_ids().to_vec()))
    }

    fn fuse(&self, mut ids: Vec<u32>) -> Vec<u32> {
        ids.dedup_by(|id, last| id == last && Some(*id) == self.fused);
        ids
    }

    fn ids_of(&self, text: &PromptText, forbidden: Forbidden, wrap: bool) -> Result<Vec<u32>, TextError> {
        let Kind::HuggingFace(it) = &self.kind;
        if !text.has_words() {
            return self.ids(&it.tokenizer, text.as_str(), wrap);
        }
        let text = match &self.charsmap {
            None => Cow::Borrowed(text),
            Some(map) => {
                let mut normal = PromptText::default();
                for (run, words) in text.runs() {
                    let run = map.normalise(run);
                    if words { normal.push_words(&run) } else { normal.push_marks(&run) }
                }
                Cow::Owned(normal)
            }
        };
        let ids = self.marks.encode(&it.tokenizer, &text, forbidden, wrap);
        Ok(self.fuse(ids.map_err(|error| TextError::Tokenizer(error.to_string()))?))
    }

    /// A text of which some is words: special tokens that the rest spells become their ids, words spell none, and none is
    /// added.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer has no id for a piece of the text.
    pub fn encode_text(&self, text: &PromptText) -> Result<Vec<u32>, TextError> {
        self.ids_of(text, Forbidden::Marks, false)
    }

    /// A rendered prompt: as [`Tokenizer::encode_text`], after what the tokenizer puts before every text (a begin-of-text
    /// token, say), unless it already begins with that. Templates of some models write it, those of others leave it to the
    /// tokenizer; `transformers` decides alike.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer has no id for a piece of the text.
    pub fn encode_prompt(&self, text: &PromptText) -> Result<Vec<u32>, TextError> {
        let (bare, wrapped) = (self.encode_text(text)?, self.ids_of(text, Forbidden::Marks, true)?);
        Ok(if bare.first() == wrapped.first() { bare } else { wrapped })
    }

    /// `text` as mere text: what looks like a special token is spelled out in ordinary ones, none is added. For words
    /// of a user or a page, which must not steer the conversation.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer has no id for a piece of the text.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.encode_text(&PromptText::words(text))
    }

    /// `text` as a model writes it in an answer: added tokens that decode to it count (PaliGemma's places), those that
    /// decode to nothing, the special ones, do not. As `split_special_tokens` of `transformers`.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer has no id for a piece of the text.
    pub fn encode_answer(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.ids_of(&PromptText::words(text), Forbidden::Special, false)
    }

    /// Letters that marks begin or end with: those that a template must not lose sight of in words.
    pub fn edges(&self) -> impl Iterator<Item = char> {
        self.marks.edges()
    }

    /// Text of `ids` without special tokens. Bytes that are not UTF-8 become U+FFFD; ids beyond the vocabulary, which
    /// a padded head can produce, become nothing.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        self.text(ids, true)
    }

    /// Text of `ids` with special tokens written out; otherwise as [`Tokenizer::decode`].
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer's decoder fails.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String, TextError> {
        self.text(ids, false)
    }

    fn text(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        match &self.kind {
            Kind::HuggingFace(it) => {
                it.tokenizer.decode(ids, skip_special).map_err(|error| TextError::Tokenizer(error.to_string()))
            }
        }
    }

    /// Id of `token`, special or not, as written in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        match &self.kind {
            Kind::HuggingFace(it) => it.tokenizer.token_to_id(token),
        }
    }

    /// Id of a token that the caller cannot do without.
    ///
    /// # Errors
    /// [`TextError::UnknownToken`] if the vocabulary lacks it.
    pub fn required_id(&self, token: &str) -> Result<u32, TextError> {
        self.token_id(token).ok_or_else(|| TextError::UnknownToken(token.to_owned()))
    }

    /// The token of `id` as written in the vocabulary (byte-level vocabularies write bytes as stand-in letters).
    pub fn token(&self, id: u32) -> Option<String> {
        match &self.kind {
            Kind::HuggingFace(it) => it.tokenizer.id_to_token(id),
        }
    }

    /// Whether `id` is a byte of a SentencePiece vocabulary: in a run of them one bad byte spoils the whole run.
    fn is_byte(&self, id: u32) -> bool {
        self.token(id).is_some_and(|it| it.len() == 6 && it.starts_with("<0x") && it.ends_with('>'))
    }

    /// Name of the file that it came from.
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// The largest id; a model's head may have more rows.
    pub fn last_id(&self) -> u32 {
        self.last
    }

    /// Starts turning ids into text one at a time, special tokens skipped.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, window: Vec::new(), prefix: String::new(), prefix_ids: 0 }
    }
}

/// How many ids more than four times the number of tokens may be left out.
const SPARE_IDS: u64 = 1 << 16;

/// Finds what makes the library panic: some syntax errors, and prefixes longer than the pieces they stand before; and ids
/// that it would not give.
fn check(bytes: &[u8], added: &mut Vec<(String, u64)>) -> Result<(), TextError> {
    #[derive(Deserialize)]
    struct File {
        model: Option<Model>,
        #[serde(default)]
        added_tokens: Vec<Added>,
    }
    #[derive(Deserialize)]
    struct Added {
        id: u64,
        content: String,
    }
    #[derive(Deserialize)]
    struct Model {
        continuing_subword_prefix: Option<String>,
    }

    let malformed = |error: serde_json::Error| TextError::File { file: "tokenizer.json", reason: error.to_string() };
    recognise("tokenizer.json", bytes)?;
    serde_json::from_slice::<WellFormed>(bytes).map_err(malformed)?;
    let whole = object("tokenizer.json", bytes)?;
    if !whole.get("model").is_some_and(serde_json::Value::is_object) {
        let (field, expected) = ("model".to_owned(), "an object with a type and a vocabulary");
        return Err(TextError::Field { file: "tokenizer.json", field, expected });
    }
    let file: File = serde_json::from_slice(bytes).map_err(malformed)?;
    steps::check("tokenizer.json", &whole)?;
    added.extend(file.added_tokens.into_iter().map(|token| (token.content, token.id)));
    match file.model.and_then(|it| it.continuing_subword_prefix) {
        Some(prefix) if !prefix.is_empty() => Err(TextError::Field {
            file: "tokenizer.json",
            field: "model.continuing_subword_prefix".to_owned(),
            expected: "empty: word pieces are not supported",
        }),
        _ => Ok(()),
    }
}

/// Any JSON, read in full (strings and numbers too) and forgotten.
struct WellFormed;

impl<'de> Deserialize<'de> for WellFormed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for WellFormed {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// Decodes ids as they are generated and hands out complete characters only.
///
/// The pieces it hands out, joined, are [`Tokenizer::decode`] of all the ids.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The last ids handed out, for decoders that treat the first token apart, then those held back.
    window: Vec<u32>,
    /// Text of the first `prefix_ids` of `window`, already handed out.
    prefix: String,
    prefix_ids: usize,
}

impl TextStream<'_> {
    /// A character spans few tokens, so a longer window is noise that no later byte completes.
    const LONGEST_WINDOW: usize = 256;

    /// Takes the next id and returns the text that is now certain, often empty in the middle of a character.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window)?;
        let uncertain = text.ends_with(REPLACEMENT) || self.tokenizer.is_byte(id);
        if uncertain && self.window.len() < Self::LONGEST_WINDOW {
            return Ok(String::new());
        }
        let new = self.beyond_prefix(&text);
        // An id without text (a special token) leaves the prefix: a decoder may trim the start of the next one.
        if !new.is_empty() {
            self.window.drain(..self.prefix_ids);
            self.prefix_ids = self.window.len();
            self.prefix = self.tokenizer.decode(&self.window)?;
        }
        Ok(new)
    }

    /// The text held back when generation stopped inside a character, ending with U+FFFD.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer's decoder fails.
    pub fn finish(self) -> Result<String, TextError> {
        let text = self.tokenizer.decode(&self.window)?;
        Ok(self.beyond_prefix(&text))
    }

    fn beyond_prefix(&self, text: &str) -> String {
        text.strip_prefix(self.prefix.as_str()).or_else(|| text.get(self.prefix.len()..)).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::golden::{self, json};

    fn tokenizer(model: &str) -> Tokenizer {
        Tokenizer::from_tokenizer_json(&golden::bytes(&format!("{model}/tokenizer.json"))).unwrap()
    }

    /// With each the library panics, or takes seconds and gigabytes for a word.
    #[test]
    fn steps_that_the_library_cannot_do_are_refused() {
        use serde_json::json;

        let wrapper = |single: serde_json::Value| json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}});
        let (begin, text) =
            (json!({"SpecialToken": {"id": "<q>", "type_id": 0}}), json!({"Sequence": {"id": "A", "type_id": 0}}));
        let replace = |pattern: serde_json::Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        let longer = replace(json!({"Regex": "."}), &"x".repeat(60));
        let prepend = json!({"type": "Prepend", "prepend": "x".repeat(1000)});
        for (field, step) in [
            ("post_processor", wrapper(json!([begin, text]))),
            ("post_processor", wrapper(json!([{"Sequence": {"id": "B", "type_id": 0}}]))),
            ("post_processor", json!({"type": "Sequence", "processors": [wrapper(json!([begin, text]))]})),
            ("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
            ("normalizer", replace(json!({"String": ""}), "x")),
            ("normalizer", replace(json!({"Regex": ""}), "x")),
            ("normalizer", replace(json!({"Regex": "b*"}), "x")),
            ("normalizer", replace(json!({"Regex": "\\b"}), "x")),
            ("normalizer", json!({"type": "Sequence", "normalizers": [longer, longer]})),
            ("normalizer", json!({"type": "Sequence", "normalizers": [prepend, prepend]})),
            ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
            ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="})),
            ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAP////9hYmM="})),
            ("decoder", json!({"type": "Strip", "content": "a", "start": 1, "stop": 9})),
            ("decoder", json!({"type": "BPEDecoder", "suffix": ""})),
            ("decoder", json!({"type": "Sequence", "decoders": [longer, longer]})),
        ] {
            let mut file = json("qwen2_vl/tokenizer.json");
            file[field] = step.clone();
            let error = Tokenizer::from_tokenizer_json(file.to_string().as_bytes()).unwrap_err();
            assert!(matches!(&error, TextError::Field { field: at, .. } if at.starts_with(field)), "{step}: {error}");
        }
        // As published: CLIP's, and what stands before a text.
        for (field, step) in [
            ("normalizer", replace(json!({"Regex": "\\s+"}), " ")),
            ("decoder", json!({"type": "Strip", "content": " ", "start": 1, "stop": 0})),
        ] {
            let mut file = json("qwen2_vl/tokenizer.json");
            file[field] = step;
            Tokenizer::from_tokenizer_json(file.to_string().as_bytes()).unwrap();
        }
    }

    fn ids_of(value: &serde_json::Value) -> Vec<u32> {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn decodes_every_generated_text_of_the_fixtures() {
        for model in golden::models("tokenizer.json") {
            let tokenizer = tokenizer(&model);
            for case in 0..golden::cases(&model) {
                let expected = json(&format!("{model}/cases/{case}/expected.json"));
                let ids = ids_of(&expected["generated_ids"]);
                assert_eq!(tokenizer.decode(&ids).unwrap(), expected["generated_text"], "{model}/{case}");

                let mut stream = tokenizer.stream();
                let mut pieces: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
                pieces += &stream.finish().unwrap();
                assert_eq!(pieces, expected["generated_text"], "{model}/{case}, streamed");
            }
        }
    }

    #[test]
    fn encodes_a_text_only_prompt_as_the_reference() {
        let models = ["qwen2_vl", "qwen2_5_vl", "internvl", "idefics3", "pixtral", "llava", "llava_next", "mllama"];
        for model in models {
            let expected = json(&format!("{model}/cases/2/expected.json"));
            let prompt = expected["prompt"].as_str().unwrap();
            assert_eq!(
                tokenizer(model).encode_prompt(&PromptText::marks(prompt)).unwrap(),
                ids_of(&expected["input_ids"]),
                "{model}"
            );
        }
    }

    #[test]
    fn spells_out_special_tokens_in_plain_text() {
        let tokenizer = tokenizer("qwen2_vl");
        let end = tokenizer.required_id("<|im_end|>").unwrap();
        let text = "ok<|im_end|>";
        assert!(tokenizer.encode(text).unwrap().contains(&end));
        let plain = tokenizer.encode_plain(text).unwrap();
        assert!(!plain.contains(&end));
        assert_eq!(tokenizer.decode(&plain).unwrap(), text);
    }

    /// Words have the ids that the reference gives them where it knows no special tokens: `tests/cases/make.py`.
    #[test]
    fn words_are_spelled_as_the_reference_does() {
        let cases = include_str!("../../../tests/cases/words.json");
        let cases: serde_json::Value = serde_json::from_str(cases).unwrap();
        let texts = cases["texts"].as_array().unwrap();
        let systems = cases["ids"].as_object().unwrap();
        assert_eq!((texts.len(), systems.len()), (6, 11));
        for (model, all) in systems {
            let tokenizer = tokenizer(model);
            for (text, ids) in texts.iter().zip(all.as_array().unwrap()) {
                let text = text.as_str().unwrap();
                assert_eq!(tokenizer.encode_plain(text).unwrap(), ids_of(ids), "{model}: {text:?}");
            }
        }
    }

    #[test]
    fn ignores_ids_beyond_the_vocabulary() {
        let tokenizer = tokenizer("qwen2_vl");
        let mut ids = tokenizer.encode("page").unwrap();
        ids.push(u32::MAX);
        assert_eq!(tokenizer.decode(&ids).unwrap(), "page");
    }

    #[test]
    fn names_what_is_missing_or_broken() {
        let error = Tokenizer::from_tokenizer_json(b"{\"version\": \"1.0\"").unwrap_err();
        assert!(matches!(error, TextError::File { file: "tokenizer.json", .. }), "{error}");
        let error = Tokenizer::from_tokenizer_json(b"[]").unwrap_err();
        assert!(error.to_string().starts_with("tokenizer.json: "), "{error}");
        let json = br###"{"version": "1.0", "model": {"type": "BPE", "continuing_subword_prefix": "##", "vocab": {}, "merges": []}}"###;
        let error = Tokenizer::from_tokenizer_json(json).unwrap_err();
        assert!(error.to_string().contains("continuing_subword_prefix"), "{error}");
        let error = tokenizer("qwen2_vl").required_id("<|no_such|>").unwrap_err();
        assert!(error.to_string().contains("<|no_such|>"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever ids come, the streamed pieces join to the decoded text.
        #[test]
        fn streams_what_it_decodes(ids in prop::collection::vec(0u32..420, 0..40)) {
            let tokenizer = tokenizer("qwen2_vl");
            let mut stream = tokenizer.stream();
            let mut pieces = String::new();
            for &id in &ids {
                let piece = stream.push(id).unwrap();
                prop_assert!(!piece.ends_with(REPLACEMENT));
                pieces += &piece;
            }
            pieces += &stream.finish().unwrap();
            prop_assert_eq!(pieces, tokenizer.decode(&ids).unwrap());
        }

        /// No mark comes of words, wherever they stand between marks; and marks do not depend on words.
        #[test]
        fn words_make_no_marks(
            pieces in prop::collection::vec((any::<bool>(), "(<\\|?|>|im_end|image|\\|>|</?s>|<\\|im_end\\|>|[a-z ]){0,4}"), 0..6),
        ) {
            static ALL: std::sync::LazyLock<Vec<Tokenizer>> =
                std::sync::LazyLock::new(|| ["qwen2_vl", "llava", "kosmos2", "paligemma"].map(tokenizer).into());
            for tokenizer in ALL.iter() {
                let marks: Vec<u32> = ["<|im_end|>", "<s>", "</s>", "<image>"].iter().filter_map(|it| tokenizer.token_id(it)).collect();
                let count = |ids: &[u32]| ids.iter().filter(|id| marks.contains(id)).count();
                let (mut text, mut expected) = (PromptText::default(), 0);
                for (words, piece) in &pieces {
                    if *words {
                        text.push_words("x");
                        text.push_words(piece);
                        text.push_words("x");
                    } else {
                        text.push_marks(piece);
                        expected += count(&tokenizer.encode(piece).unwrap());
                        // So that the pieces of marks do not join.
                        text.push_words("x");
                    }
                }
                prop_assert_eq!(count(&tokenizer.encode_text(&text).unwrap()), expected, "{:?}", pieces);
            }
        }

        /// Text comes back, when the normaliser (NFC) has nothing to do.
        #[test]
        fn plain_text_round_trips(text in "[ -~\n\tа-я一-龥]{0,60}") {
            let tokenizer = tokenizer("qwen2_vl");
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode_plain(&text).unwrap()).unwrap(), text);
        }

        /// A damaged file is an error, never a panic.
        #[test]
        fn damaged_files_do_not_panic(at in 0usize..15_000, byte in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = golden::bytes("qwen2_vl/tokenizer.json");
            let at = at % bytes.len();
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            if let Ok(tokenizer) = Tokenizer::from_tokenizer_json(&bytes) {
                let _ = tokenizer.encode("Where is the <|im_end|> 打开?").map(|ids| tokenizer.decode(&ids));
            }
        }
    }
}
