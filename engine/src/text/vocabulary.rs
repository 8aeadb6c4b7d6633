//! The bytes behind each token, for grammars that allow some and forbid others.

use std::collections::HashMap;

use tokenizers::DecoderWrapper;

use super::tokenizer::{Kind, Tokenizer};

/// What a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenBytes {
    /// Text: these bytes, perhaps a part of a character.
    Text(Vec<u8>),
    /// A mark that is no text, by its name.
    Special(String),
    /// An id that the vocabulary leaves out.
    None,
}

impl Tokenizer {
    /// What each id stands for, up to the largest.
    pub fn token_bytes(&self) -> Vec<TokenBytes> {
        let Kind::HuggingFace(it) = &self.kind;
        let tokenizer = &it.tokenizer;
        let added = tokenizer.get_added_tokens_decoder();
        let vocabulary = tokenizer.get_vocab(true);
        let byte_level = tokenizer.get_decoder().is_some_and(is_byte_level);
        let letters = if byte_level { letters() } else { HashMap::new() };
        let mut all = vec![TokenBytes::None; self.last_id() as usize + 1];
        for (token, id) in vocabulary {
            let Some(place) = all.get_mut(id as usize) else { continue };
            *place = match added.get(&id) {
                Some(added) if added.special => TokenBytes::Special(token),
                // Added tokens are written as they are.
                Some(_) => TokenBytes::Text(token.into_bytes()),
                None if byte_level => TokenBytes::Text(unlettered(&letters, &token)),
                None => TokenBytes::Text(unspaced(&token)),
            };
        }
        all
    }
}

fn is_byte_level(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::ByteLevel(_) => true,
        DecoderWrapper::Sequence(all) => all.get_decoders().iter().any(is_byte_level),
        _ => false,
    }
}

/// The byte that each letter of a byte-level vocabulary stands for: visible Latin-1 for itself, the rest in order from
/// U+0100 on (`bytes_to_unicode` of GPT-2).
fn letters() -> HashMap<char, u8> {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let hidden = (0..=u8::MAX).filter(|&byte| !visible(byte)).zip(0x100u32..);
    let stand_ins = hidden.filter_map(|(byte, letter)| Some((char::from_u32(letter)?, byte)));
    (0..=u8::MAX).filter(|&byte| visible(byte)).map(|byte| (char::from(byte), byte)).chain(stand_ins).collect()
}

fn unlettered(letters: &HashMap<char, u8>, token: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for letter in token.chars() {
        match letters.get(&letter) {
            Some(&byte) => bytes.push(byte),
            None => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// A SentencePiece piece: `▁` is a space, `<0x0A>` a byte.
fn unspaced(token: &str) -> Vec<u8> {
    let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).filter(|digits| digits.len() == 2);
    match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => vec![byte],
        None => token.replace('▁', " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::golden;

    /// The bytes of a text's tokens, one after the other, are the text's.
    #[test]
    fn tokens_are_made_of_the_texts_bytes() {
        let text = "Grounded Operation: CLICK(box=[[012,345,678,999]], element_info='Größe 漢字 🙂')\n\t<x>";
        let mut seen = 0;
        for model in golden::models("tokenizer.json") {
            let tokenizer = Tokenizer::from_tokenizer_json(&golden::bytes(&format!("{model}/tokenizer.json"))).unwrap();
            let all = tokenizer.token_bytes();
            let ids = tokenizer.encode(text).unwrap();
            // Small vocabularies do not have every character.
            if tokenizer.decode(&ids).unwrap().trim_start() != text {
                continue;
            }
            let bytes: Vec<u8> = ids
                .iter()
                .flat_map(|&id| match &all[id as usize] {
                    TokenBytes::Text(bytes) => bytes.clone(),
                    other => panic!("{model}: {id} is {other:?}"),
                })
                .collect();
            let joined = String::from_utf8(bytes).unwrap();
            // SentencePiece puts a space before everything.
            assert_eq!(joined.strip_prefix(' ').unwrap_or(&joined), text, "{model}");
            seen += 1;
        }
        assert!(seen > 3, "{seen} tokenizers");
    }

    #[test]
    fn marks_are_no_text() {
        let tokenizer = Tokenizer::from_tokenizer_json(&golden::bytes("qwen2_5_vl/tokenizer.json")).unwrap();
        let id = tokenizer.required_id("<|im_end|>").unwrap();
        assert_eq!(tokenizer.token_bytes()[id as usize], TokenBytes::Special("<|im_end|>".to_owned()));
    }
}
