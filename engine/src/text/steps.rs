//! The steps of a `tokenizer.json`: normalisers, splitters, wrappers, decoders, each a `type` with parameters.
//!
//! The `tokenizers` crate trusts the parameters. With some it panics on every text, or makes of a short text a long one
//! without bound: those are refused here, before it sees them.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};
use tokenizers::utils::SysRegex;

use super::TextError;

/// By how much all replacements together may make a text longer. Published ones write a space as three bytes.
const GROWTH: usize = 64;
/// Bytes, or tokens, that may be put before or after a text.
const ADDED: usize = 1024;

/// Refuses a parameter that the library cannot work with, by the name of its step.
///
/// # Errors
/// [`TextError::Field`].
pub(super) fn check(file: &'static str, json: &Map<String, Value>) -> Result<(), TextError> {
    for name in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] {
        let mut length = Length { growth: 1, added: 0 };
        if let Some(step) = json.get(name) {
            length.step(name, step).map_err(|(field, expected)| TextError::Field { file, field, expected })?;
        }
    }
    Ok(())
}

/// What a text may become by the steps so far.
struct Length {
    growth: usize,
    added: usize,
}

type Checked = Result<(), (String, &'static str)>;

impl Length {
    fn step(&mut self, field: &str, step: &Value) -> Checked {
        let wrong = |key: &str, expected| Err((format!("{field}.{key}"), expected));
        let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
        let positive = |key: &str| step.get(key).and_then(Value::as_u64).is_none_or(|it| it > 0);
        match text("type") {
            "Sequence" => {
                for list in ["normalizers", "pretokenizers", "processors", "decoders"] {
                    for (index, inner) in step.get(list).and_then(Value::as_array).into_iter().flatten().enumerate() {
                        self.step(&format!("{field}.{list}[{index}]"), inner)?;
                    }
                }
            }
            "Replace" => {
                let pattern = &step["pattern"];
                let string = pattern.get("String").and_then(Value::as_str);
                let regex = pattern.get("Regex").and_then(Value::as_str);
                // A pattern that is none is for the library to report.
                let empty = regex.and_then(|it| SysRegex::new(it).ok()).is_some_and(|it| matches_nothing(&it));
                if empty || string == Some("") {
                    return wrong("pattern", "a pattern that matches no empty text");
                }
                let shortest = string.map_or(1, str::len);
                self.growth = self.growth.saturating_mul(text("content").len().div_ceil(shortest).max(1));
            }
            "Prepend" => self.added = self.added.saturating_add(text("prepend").len()),
            "Precompiled" if !is_charsmap(text("precompiled_charsmap")) => {
                return wrong("precompiled_charsmap", "a map of SentencePiece, in base64");
            }
            "FixedLength" if !positive("length") => return wrong("length", "above 0"),
            "Strip" if step.get("stop").and_then(Value::as_u64).is_some_and(|it| it > 0) => {
                return wrong("stop", "0: nothing else is supported");
            }
            "BPEDecoder" => return wrong("type", "another decoder: this one is not supported"),
            "TemplateProcessing" => {
                let tokens = &step["special_tokens"];
                for piece in step.get("single").and_then(Value::as_array).into_iter().flatten() {
                    let id = |kind: &str| piece.get(kind).and_then(|it| it.get("id")).and_then(Value::as_str);
                    let known = id("SpecialToken").is_none_or(|id| tokens.get(id).is_some());
                    if !known || id("Sequence").is_some_and(|id| id != "A") {
                        return wrong("single", "of the sequence A and tokens of `special_tokens`");
                    }
                    let ids = id("SpecialToken").and_then(|id| tokens[id]["ids"].as_array()).map_or(1, Vec::len);
                    self.added = self.added.saturating_add(ids.max(1));
                }
            }
            _ => {}
        }
        if self.growth > GROWTH || self.added > ADDED {
            return Err((field.to_owned(), "steps that make a text longer by a little only"));
        }
        Ok(())
    }
}

/// Whether a pattern matches between characters: the library then looks for a character where there is none.
fn matches_nothing(pattern: &SysRegex) -> bool {
    ["", "a", " ", "a b", "1", "A.\n"].iter().any(|text| pattern.find_iter(text).any(|(start, end)| start == end))
}

/// Whether every step through a map's trie stays in it, and every replacement is there.
fn is_charsmap(text: &str) -> bool {
    const LEAF: usize = 1 << 31;
    let read = || -> Option<bool> {
        let bytes = BASE64_STANDARD.decode(text).ok()?;
        let (size, rest) = bytes.split_first_chunk::<4>()?;
        let (trie, replacements) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let (units, []) = trie.as_chunks::<4>() else { return None };
        let replacements = std::str::from_utf8(replacements).ok()?;
        let inside = units.iter().enumerate().all(|(place, unit)| {
            let unit = u32::from_le_bytes(*unit) as usize;
            let next = place ^ ((unit >> 10) << ((unit & (1 << 9)) >> 6));
            match unit & LEAF {
                0 => (next | 0xff) < units.len(),
                _ => replacements.is_char_boundary(unit & (LEAF - 1)),
            }
        });
        Some(inside && !units.is_empty())
    };
    read().unwrap_or(false)
}
