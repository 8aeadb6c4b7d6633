//! What ends an answer.
//!
//! Files disagree: `generation_config.json` may name the end of a text where the model was trained to end its turns with
//! another token, and the other way round. Whichever comes ends the answer.

use fovea_engine::text::{Message, Part};
use serde::Deserialize;

use crate::{checkpoint::Files, error::LoadError, systems::Blueprint, text::Text};

const TOKENIZER: &str = "tokenizer_config.json";

/// An answer that no template has.
const ANSWER: &str = "fovea7answer";

/// The blueprint's ids, the tokenizer's end of a text, and what follows an answer in a conversation.
///
/// # Errors
/// [`LoadError::Field`] if none of them is a token of the model.
pub(crate) fn stops(files: Files<'_>, blueprint: &Blueprint, text: &Text) -> Result<Vec<u32>, LoadError> {
    let mut ids = blueprint.stop.clone();
    let more = [end_of_text(files, text), end_of_turn(text)];
    ids.extend(more.into_iter().flatten());
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|&id| (id as usize) < blueprint.decoder.vocabulary && seen.insert(id));
    if ids.is_empty() {
        return Err(LoadError::Field {
            file: "generation_config.json",
            field: "eos_token_id",
            got: match blueprint.stop.as_slice() {
                [] => "absent, as it is in config.json, and the tokenizer names no eos_token".to_owned(),
                ids => format!("{ids:?}"),
            },
            expected: format!("a token below {}, or an answer never ends", blueprint.decoder.vocabulary),
        });
    }
    Ok(ids)
}

/// The tokenizer's `eos_token`.
fn end_of_text(files: Files<'_>, text: &Text) -> Option<u32> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Token {
        Text(String),
        Added { content: String },
    }
    #[derive(Deserialize)]
    struct Config {
        eos_token: Option<Token>,
    }
    files.get(TOKENIZER)?;
    match files.json::<Config>(TOKENIZER).ok()?.eos_token? {
        Token::Text(token) | Token::Added { content: token } => text.tokenizer().token_id(&token),
    }
}

/// The special token that follows an answer in a conversation, if one does.
fn end_of_turn(text: &Text) -> Option<u32> {
    let question = || Message::user(vec![Part::text("a")]);
    let conversation = text.render(&[question(), Message::assistant(ANSWER), question()]).ok()?;
    let (_, rest) = conversation.rsplit_once(ANSWER)?;
    let rest = rest.trim_start();
    let tokenizer = text.tokenizer();
    let first = *tokenizer.encode(rest).ok()?.first()?;
    let token = tokenizer.token(first)?;
    // One that is left out of what is read, and stands there as it is written: no piece of a word.
    let special = tokenizer.decode(&[first]).is_ok_and(|shown| shown.is_empty());
    (special && rest.starts_with(&token)).then_some(first)
}
