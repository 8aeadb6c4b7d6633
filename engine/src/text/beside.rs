//! The files of a vocabulary that is not a `tokenizer.json`.

/// Files beside a vocabulary that has no `tokenizer.json`; those there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// `tokenizer_config.json`.
    pub config: Option<&'a [u8]>,
    /// `added_tokens.json`: ids by token.
    pub added: Option<&'a [u8]>,
    /// `special_tokens_map.json`.
    pub special: Option<&'a [u8]>,
    /// Whether each digit stands alone, where the class does not say (SmolVLM's vocabulary).
    pub digits: bool,
}
