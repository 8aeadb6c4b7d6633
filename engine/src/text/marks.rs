//! Added tokens of a vocabulary, found in text of which some is words.
//!
//! The `tokenizers` crate finds every added token that a text spells, or, asked to split special tokens, all but those. What
//! is needed here lies between: in one text, marks of a template count and the same letters in words do not. The steps are
//! the crate's own (`AddedVocabulary::extract_and_normalize`), but for what [`PromptText`] says are words.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind};
use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, OffsetReferential, PreTokenizedString, Token,
    tokenizer::normalizer::Range as TextRange,
};

use super::PromptText;

type Error = tokenizers::Error;

/// Whether an added token is a mark: one that means something else than its letters. White space, runs of letters that
/// training added, and the like are ordinary text that happens to have a token.
fn is_mark(token: &AddedToken) -> bool {
    let content = token.content.trim_matches(|letter: char| letter.is_whitespace() || letter == '\u{2581}');
    let mut letters = content.chars();
    let around = (letters.next(), letters.next_back());
    let bracketed = matches!(around, (Some('<'), Some('>')) | (Some('['), Some(']')) | (Some('{'), Some('}')));
    !content.is_empty() && (token.special || bracketed)
}

/// Which of the added tokens words must not spell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forbidden {
    /// All marks.
    Marks,
    /// Those that the vocabulary calls special: others are text to it. As `split_special_tokens` of `transformers`.
    Special,
}

/// Added tokens that are found in the same form of the text.
#[derive(Debug)]
struct Set {
    finder: AhoCorasick,
    tokens: Vec<(u32, AddedToken)>,
}

/// All added tokens.
#[derive(Debug)]
pub(super) struct Marks {
    /// Found in the text itself.
    raw: Set,
    /// Found in what the normaliser makes of it.
    normalised: Set,
    /// Marks by id.
    ids: HashMap<u32, String>,
}

impl Set {
    fn new(tokens: Vec<(u32, AddedToken)>, form: impl Fn(&str) -> Result<String, Error>) -> Result<Self, Error> {
        let patterns = tokens.iter().map(|(_, token)| form(&token.content)).collect::<Result<Vec<_>, _>>()?;
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns)?;
        Ok(Self { finder, tokens })
    }

    /// Splits `text` where its tokens stand. `is_words` says whether a range of its bytes has letters of words.
    fn split(
        &self,
        text: &NormalizedString,
        forbidden: Forbidden,
        is_words: impl Fn(std::ops::Range<usize>) -> bool,
    ) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
        let all = text.get();
        let mut pieces = Vec::new();
        let mut done = 0;
        let cut = |start: usize, end: usize| text.slice(TextRange::Normalized(start..end)).unwrap_or_default();
        let mut from = 0;
        while let Some(found) = self.finder.find(Input::new(all).range(from..).anchored(Anchored::No)) {
            let (mut start, mut end) = (found.start(), found.end());
            // An empty token is found everywhere, and means nothing.
            let next = start + all[start..].chars().next().map_or(1, char::len_utf8);
            let (id, token) = &self.tokens[found.pattern().as_usize()];
            let is_forbidden = match forbidden {
                Forbidden::Marks => is_mark(token),
                Forbidden::Special => token.special,
            };
            if start == end || is_forbidden && is_words(start..end) {
                from = next;
                if from > all.len() {
                    break;
                }
                continue;
            }
            from = end;
            let touches_word = all[..start].chars().next_back().is_some_and(is_of_word)
                || all[end..].chars().next().is_some_and(is_of_word);
            if token.single_word && touches_word {
                continue;
            }
            if token.lstrip {
                start = all[..start].trim_end().len().max(done);
            }
            if token.rstrip {
                end = all.len() - all[end..].trim_start().len();
                from = end;
            }
            if done < start {
                pieces.push((cut(done, start), None));
            }
            let value = all[start..end].to_owned();
            let offsets = (0, value.len());
            pieces.push((cut(start, end), Some(vec![Token::new(*id, value, offsets)])));
            done = end;
        }
        if done < all.len() {
            pieces.push((cut(done, all.len()), None));
        }
        pieces
    }
}

/// As `\w` of regular expressions.
fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

impl Marks {
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Result<Self, Error> {
        let mut added: Vec<(u32, AddedToken)> =
            tokenizer.get_added_tokens_decoder().into_iter().filter(|(_, token)| !token.content.is_empty()).collect();
        added.sort_by_key(|&(id, _)| id);
        let ids =
            added.iter().filter(|(_, token)| is_mark(token)).map(|(id, token)| (*id, token.content.clone())).collect();
        let (normalised, raw) = added.into_iter().partition(|(_, token)| token.normalized);
        let normal = |content: &str| {
            let mut text = NormalizedString::from(content);
            tokenizer.get_normalizer().map_or(Ok(()), |normaliser| normaliser.normalize(&mut text))?;
            Ok(text.get().to_owned())
        };
        Ok(Self {
            raw: Set::new(raw, |content| Ok(content.to_owned()))?,
            normalised: Set::new(normalised, normal)?,
            ids,
        })
    }

    /// Letters that marks begin and end with, and what normalisers turn into these.
    pub(super) fn edges(&self) -> impl Iterator<Item = char> {
        let edges = self.ids.values().flat_map(|mark| [mark.chars().next(), mark.chars().next_back()]);
        edges.flatten().filter(|letter| !letter.is_whitespace()).flat_map(|letter| {
            // The wide and small forms of Unicode's compatibility mappings.
            let wide = matches!(letter, '!'..='~').then(|| char::from_u32(u32::from(letter) + 0xfee0)).flatten();
            let small = match letter {
                '<' => Some('\u{fe64}'),
                '>' => Some('\u{fe65}'),
                _ => None,
            };
            [Some(letter), wide, small].into_iter().flatten()
        })
    }

    /// Ids of a text, whose words spell no mark.
    pub(super) fn encode(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        text: &PromptText,
        forbidden: Forbidden,
        wrap: bool,
    ) -> Result<Vec<u32>, Error> {
        let mut pieces = PreTokenizedString::from(text.as_str());
        pieces.split(|_, piece| {
            let start = piece.offsets_original().0;
            Ok(self.raw.split(&piece, forbidden, |bytes| text.touches_words(start + bytes.start..start + bytes.end)))
        })?;
        pieces.split(|_, mut piece| {
            tokenizer.get_normalizer().map_or(Ok(()), |normaliser| normaliser.normalize(&mut piece))?;
            let start = piece.offsets_original().0;
            let is_words = |bytes: std::ops::Range<usize>| {
                let original = piece.convert_offsets(TextRange::Normalized(bytes));
                original.is_none_or(|bytes| text.touches_words(start + bytes.start..start + bytes.end))
            };
            Ok(self.normalised.split(&piece, forbidden, is_words))
        })?;
        if let Some(splitter) = tokenizer.get_pre_tokenizer() {
            tokenizers::PreTokenizer::pre_tokenize(splitter, &mut pieces)?;
        }
        pieces.tokenize(|piece| self.tokens(tokenizer, piece.get(), forbidden))?;
        let splits = pieces.get_splits(OffsetReferential::Normalized, tokenizers::OffsetType::Byte);
        let ids: Vec<u32> =
            splits.into_iter().flat_map(|(_, _, tokens)| tokens.iter().flatten().map(|token| token.id)).collect();
        if !wrap {
            return Ok(ids);
        }
        // What the tokenizer puts around a text does not depend on it.
        let encoding = ids.iter().map(|&id| Token::new(id, String::new(), (0, 0))).collect::<Vec<_>>();
        let encoding = tokenizers::Encoding::from_tokens(encoding, 0);
        Ok(tokenizer.post_process(encoding, None, true)?.get_ids().to_vec())
    }

    /// The tokens of a piece in which no mark counts. A vocabulary may have marks among its pieces (`<s>` in a unigram
    /// model), and find them as such: their first letters then stand alone.
    fn tokens(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        piece: &str,
        forbidden: Forbidden,
    ) -> Result<Vec<Token>, Error> {
        let model = tokenizer.get_model();
        let tokens = model.tokenize(piece)?;
        let spelled = |token: &Token| {
            let mark = self.ids.get(&token.id).filter(|mark| mark.chars().nth(1).is_some());
            mark.is_some_and(|mark| piece.get(token.offsets.0..token.offsets.1) == Some(mark.as_str()))
        };
        if forbidden == Forbidden::Special || !tokens.iter().any(spelled) {
            return Ok(tokens);
        }
        let mut cuts: Vec<usize> = vec![0, piece.len()];
        for token in tokens.iter().filter(|token| spelled(token)) {
            let start = token.offsets.0;
            cuts.extend([start, start + piece[start..].chars().next().map_or(0, char::len_utf8)]);
        }
        cuts.sort_unstable();
        cuts.dedup();
        let mut all: Vec<Token> = Vec::new();
        for cut in cuts.windows(2) {
            let part = &piece[cut[0]..cut[1]];
            let part = if part.len() == piece.len() {
                model.tokenize(part)?
            } else {
                self.tokens(tokenizer, part, forbidden)?
            };
            all.extend(part.into_iter().map(|token| {
                let (start, end) = token.offsets;
                Token::new(token.id, token.value, (cut[0] + start, cut[0] + end))
            }));
        }
        // Of what the vocabulary does not have, a run is one token, as if nothing had been cut.
        let is_unknown = |token: &Token| {
            let text = piece.get(token.offsets.0..token.offsets.1);
            model.id_to_token(token.id).is_some_and(|own| Some(own.as_str()) != text && !own.starts_with("<0x"))
        };
        all.dedup_by(|token, last| token.id == last.id && is_unknown(token) && is_unknown(last));
        Ok(all)
    }
}
