//! What an instruction quotes.

use std::ops::Range;

/// Marks that begin and end a quotation.
const MARKS: [(char, char); 6] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('‘', '’'), ('\'', '\'')];

/// Whether the mark at `at` is an apostrophe within a word.
pub(crate) fn is_apostrophe(text: &str, at: usize, mark: char) -> bool {
    let word = |it: Option<char>| it.is_some_and(char::is_alphanumeric);
    let (before, behind) = (text.get(..at), text.get(at + mark.len_utf8()..));
    word(before.and_then(|it| it.chars().next_back())) && word(behind.and_then(|it| it.chars().next()))
}

/// Where something stands between quotation marks, which are not part of it.
pub(crate) fn quotations(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut rest = 0;
    for (at, mark) in text.char_indices() {
        let Some((_, close)) =
            MARKS.iter().find(|(open, _)| *open == mark && at >= rest && !is_apostrophe(text, at, mark))
        else {
            continue;
        };
        let begin = at + mark.len_utf8();
        let behind = text.get(begin..).unwrap_or_default();
        let end = behind.char_indices().find(|&(at, it)| it == *close && !is_apostrophe(text, begin + at, it));
        if let Some(quotation) = end.and_then(|(end, _)| behind.get(..end)) {
            rest = begin + quotation.len() + close.len_utf8();
            if !quotation.trim().is_empty() {
                found.push(begin..begin + quotation.len());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_are_found() {
        let cases: [(&str, &[&str]); 8] = [
            ("type anna into Email", &[]),
            (r#"type "see you at 5" into the "Note" field"#, &["see you at 5", "Note"]),
            ("type 'don't' in Don't know", &["don't"]),
            ("write “so” and „da“ in «là»", &["so", "da", "là"]),
            ("type \"open into Email", &[]),
            ("type \"\" into Email", &[]),
            ("it's the users' page", &[]),
            ("", &[]),
        ];
        for (instruction, expected) in cases {
            let found: Vec<&str> = quotations(instruction).into_iter().map(|range| &instruction[range]).collect();
            assert_eq!(found, expected, "{instruction}");
        }
    }
}
