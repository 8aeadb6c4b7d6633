//! What a model that only copies may type: what the instruction quotes, or else any run of its words.

use serde_json::json;

use crate::grounding::quoted;

/// Marks that begin and end a quotation.
const MARKS: [(char, char); 6] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('‘', '’'), ('\'', '\'')];

/// The body of a terminal, in llguidance's dialect of Lark, that matches a CogAgent string with what may be typed.
pub(super) fn typed(instruction: &str) -> String {
    let literal = |text: &str| json!(quoted(text)).to_string();
    let found: Vec<String> = quotations(instruction).into_iter().map(literal).collect();
    if !found.is_empty() {
        return found.join(" | ");
    }
    // What would have to be escaped, or could be taken for the end of the string, is in none.
    let ends = |(at, it): (usize, char)| it.is_control() || it == '\\' || it == '\'' && !within(instruction, at, it);
    let mut runs = Vec::new();
    let mut begin = 0;
    for (at, it) in instruction.char_indices().filter(|&found| ends(found)) {
        runs.extend(instruction.get(begin..at));
        begin = at + it.len_utf8();
    }
    runs.extend(instruction.get(begin..));
    runs.retain(|run| !run.trim().is_empty());
    let runs: Vec<String> = runs.iter().map(|run| format!("%regex {}", json!({ "substring_words": run }))).collect();
    match runs.is_empty() {
        true => literal(""),
        false => format!(r#""'" ({}) "'""#, runs.join(" | ")),
    }
}

/// Whether the mark at `at` is an apostrophe within a word.
fn within(text: &str, at: usize, mark: char) -> bool {
    let word = |it: Option<char>| it.is_some_and(char::is_alphanumeric);
    let (before, behind) = (text.get(..at), text.get(at + mark.len_utf8()..));
    word(before.and_then(|it| it.chars().next_back())) && word(behind.and_then(|it| it.chars().next()))
}

/// What stands between quotation marks.
fn quotations(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = 0;
    for (at, mark) in text.char_indices() {
        let Some((_, close)) = MARKS.iter().find(|(open, _)| *open == mark && at >= rest && !within(text, at, mark))
        else {
            continue;
        };
        let begin = at + mark.len_utf8();
        let behind = text.get(begin..).unwrap_or_default();
        let end = behind.char_indices().find(|&(at, it)| it == *close && !within(text, begin + at, it));
        if let Some(quotation) = end.and_then(|(end, _)| behind.get(..end)) {
            rest = begin + quotation.len() + close.len_utf8();
            if !quotation.trim().is_empty() {
                found.push(quotation);
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
            assert_eq!(quotations(instruction), expected, "{instruction}");
        }
    }
}
