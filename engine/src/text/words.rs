//! What of a prompt is words: of people, of pages, of earlier answers. Words are text and nothing else.
//!
//! A tokenizer finds its special tokens wherever text spells them, so that `<|im_end|>` in a search field would end the
//! user's turn. A [`PromptText`] knows which of its letters are words; [`super::Tokenizer`] makes no mark of them.

use std::{
    collections::{BTreeMap, btree_map},
    ops::Range,
};

/// A text of which some letters are words. The others, which a template or a program wrote, may spell marks: tokens that
/// end turns, place pictures, or mean something else than their letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PromptText {
    text: String,
    /// Bytes that are words: in order, apart from each other, none empty.
    words: Vec<Range<usize>>,
}

impl PromptText {
    /// Words, whatever they look like.
    pub fn words(text: impl Into<String>) -> Self {
        let mut all = Self::default();
        all.push_words(&text.into());
        all
    }

    /// Text of a program, in which marks count.
    pub fn marks(text: impl Into<String>) -> Self {
        Self { text: text.into(), words: Vec::new() }
    }

    /// An earlier answer of a model: marks that models write into answers count (boxes, references, places, thinking;
    /// [`is_answer_mark`]), everything else is words.
    pub fn answer(text: &str) -> Self {
        let mut all = Self::default();
        let mut rest = text;
        while let Some(open) = rest.find('<') {
            let (before, mark) = rest.split_at(open);
            all.push_words(before);
            let end = mark.find('>').map_or(1, |end| end + 1);
            let own = is_answer_mark(&mark[..end]);
            // `<<box>`: only the second may open a mark.
            let end = if own { end } else { 1 };
            let (piece, behind) = mark.split_at(end);
            if own {
                all.push_marks(piece);
            } else {
                all.push_words(piece);
            }
            rest = behind;
        }
        all.push_words(rest);
        all
    }

    /// All of it, words and marks.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Puts words after it.
    pub fn push_words(&mut self, words: &str) {
        let start = self.text.len();
        self.text.push_str(words);
        self.add(start..self.text.len());
    }

    /// Puts text after it in which marks count.
    pub fn push_marks(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Puts another after it.
    pub fn push(&mut self, other: &Self) {
        let start = self.text.len();
        self.text.push_str(&other.text);
        for words in &other.words {
            self.add(start + words.start..start + words.end);
        }
    }

    fn add(&mut self, words: Range<usize>) {
        match self.words.last_mut() {
            _ if words.is_empty() => {}
            Some(last) if last.end == words.start => last.end = words.end,
            _ => self.words.push(words),
        }
    }

    /// Without white space around it.
    #[must_use]
    pub fn trimmed(&self) -> Self {
        let start = self.text.len() - self.text.trim_start().len();
        let text = self.text.trim();
        let end = start + text.len();
        let inside = |at: usize| at.clamp(start, end) - start;
        let words = self.words.iter().map(|words| inside(words.start)..inside(words.end));
        Self { text: text.to_owned(), words: words.filter(|words| !words.is_empty()).collect() }
    }

    /// Whether it has words at all.
    pub(super) fn has_words(&self) -> bool {
        !self.words.is_empty()
    }

    /// Whether one of these bytes belongs to words.
    pub(super) fn touches_words(&self, bytes: Range<usize>) -> bool {
        let after = self.words.partition_point(|words| words.end <= bytes.start);
        self.words.get(after).is_some_and(|words| words.start < bytes.end)
    }

    /// Every run of it, in order, and whether it is words.
    pub(super) fn runs(&self) -> impl Iterator<Item = (&str, bool)> {
        let starts = [0].into_iter().chain(self.words.iter().map(|words| words.end));
        let ends = self.words.iter().cloned().map(Some).chain([None]);
        starts.zip(ends).flat_map(|(start, words)| {
            let between = &self.text[start..words.as_ref().map_or(self.text.len(), |words| words.start)];
            [(between, false), (words.map_or("", |words| &self.text[words]), true)]
        })
    }

    /// With letters of words that `stand_ins` has replaced by what stands for them.
    pub(super) fn standing_in(&self, stand_ins: &StandIns) -> String {
        let mut text = String::with_capacity(self.text.len());
        for (run, words) in self.runs() {
            if words {
                text.extend(run.chars().map(|letter| stand_ins.of(letter)));
            } else {
                text.push_str(run);
            }
        }
        text
    }
}

/// Whether `mark` is one that models write into their answers, so that it counts in the assistant's turns of a history:
/// boxes, quadrangles, points and references (Qwen, InternVL, GLM), phrases and cells (Kosmos-2), places and segments
/// (PaliGemma, Florence-2), thinking and tool calls.
pub fn is_answer_mark(mark: &str) -> bool {
    const NAMES: [&str; 14] = [
        "ref",
        "box",
        "quad",
        "point",
        "phrase",
        "object",
        "think",
        "tool_call",
        "answer",
        "p",
        "poly",
        "seg",
        "loc",
        "delimiter_of_multi_objects/",
    ];
    const BARRED: [&str; 10] = [
        "object_ref_start",
        "object_ref_end",
        "box_start",
        "box_end",
        "quad_start",
        "quad_end",
        "point_start",
        "point_end",
        "begin_of_box",
        "end_of_box",
    ];
    let Some(name) = mark.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else { return false };
    if let Some(barred) = name.strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) {
        return BARRED.contains(&barred);
    }
    let numbered = ["patch_index_", "loc_", "loc", "seg"].iter().any(|start| {
        name.strip_prefix(start)
            .is_some_and(|digits| (1..=4).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit()))
    });
    numbered || NAMES.contains(&name.strip_prefix('/').unwrap_or(name))
}

/// Letters that stand for others while a template works on words: a template can trim, cut and join them, and what it
/// makes of words is still known to be words.
#[derive(Clone, Debug, Default)]
pub(super) struct StandIns {
    there: BTreeMap<char, char>,
    back: BTreeMap<char, char>,
}

/// Letters that no standard gives a meaning: plane 16, without its last two, which are no characters.
const PRIVATE: std::ops::RangeInclusive<char> = '\u{100000}'..='\u{10fffd}';

impl StandIns {
    /// For `letters`, by letters that `is_used` does not have; `None` if it has too many.
    pub(super) fn new(letters: impl IntoIterator<Item = char>, is_used: impl Fn(char) -> bool) -> Option<Self> {
        let mut all = Self::default();
        let mut free = PRIVATE.filter(|&letter| !is_used(letter));
        for letter in letters {
            if let btree_map::Entry::Vacant(place) = all.there.entry(letter) {
                let stand_in = *place.insert(free.next()?);
                all.back.insert(stand_in, letter);
            }
        }
        Some(all)
    }

    fn of(&self, letter: char) -> char {
        self.there.get(&letter).copied().unwrap_or(letter)
    }

    /// All of `text` as words, with letters standing in.
    pub(super) fn stand_in(&self, text: &str) -> String {
        text.chars().map(|letter| self.of(letter)).collect()
    }

    /// What a template wrote, with the letters themselves: those that stood in are words.
    pub(super) fn restored(&self, text: &str) -> PromptText {
        let mut all = PromptText::default();
        for letter in text.chars() {
            match self.back.get(&letter) {
                Some(own) => all.push_words(own.encode_utf8(&mut [0; 4])),
                None => all.text.push(letter),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &PromptText) -> Vec<(&str, bool)> {
        text.runs().filter(|(run, _)| !run.is_empty()).collect()
    }

    #[test]
    fn words_and_marks_stay_apart() {
        let mut text = PromptText::marks("<s>");
        text.push_words(" <s> ");
        text.push_words("a");
        text.push(&PromptText::answer("b<box>[[1]]</box><|im_end|>"));
        let expected = [
            ("<s>", false),
            (" <s> ab", true),
            ("<box>", false),
            ("[[1]]", true),
            ("</box>", false),
            ("<|im_end|>", true),
        ];
        assert_eq!(split(&text), expected);
        let trimmed = PromptText::words("  a ");
        assert_eq!(trimmed.trimmed(), PromptText::words("a"));
        assert!(text.touches_words(2..4) && !text.touches_words(0..3) && !text.touches_words(10..14));
    }

    #[test]
    fn answers_keep_the_marks_that_models_write() {
        for mark in ["<|box_start|>", "</ref>", "<loc0012>", "<patch_index_0001>", "</delimiter_of_multi_objects/>"] {
            assert!(is_answer_mark(mark), "{mark}");
        }
        for mark in ["<|im_end|>", "<s>", "</s>", "<image>", "<|image_pad|>", "<loc>1", "<grounding>", "<loc00001>"] {
            assert!(!is_answer_mark(mark), "{mark}");
        }
    }

    #[test]
    fn letters_that_a_text_has_stand_for_none() {
        let stand_ins = StandIns::new(['<', '>', '<'], |letter| letter == '\u{100000}').unwrap();
        assert_eq!(stand_ins.stand_in("a<\u{100000}>"), "a\u{100001}\u{100000}\u{100002}");
        assert!(StandIns::new(['<'], |_| true).is_none());
    }

    proptest! {
        /// Letters come back, and are words.
        #[test]
        fn stand_ins_give_way(words in ".{0,20}", answer in "[<>|a-z]{0,20}") {
            let mut text = PromptText::marks("<|a|>");
            text.push_words(&words);
            text.push(&PromptText::answer(&answer));
            let used = |letter| text.as_str().contains(letter);
            let stand_ins = StandIns::new(['<', '>', '|'], used).unwrap();
            let back = stand_ins.restored(&text.standing_in(&stand_ins));
            prop_assert_eq!(back.as_str(), text.as_str());
            let whole: String = text.runs().map(|(run, _)| run).collect();
            prop_assert_eq!(whole, text.as_str());
            for (at, letter) in text.as_str().char_indices().filter(|(_, letter)| "<>|".contains(*letter)) {
                let bytes = at..at + letter.len_utf8();
                prop_assert_eq!(back.touches_words(bytes.clone()), text.touches_words(bytes));
            }
        }
    }
}
