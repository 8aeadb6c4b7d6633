//! What a model that only copies may type: what the instruction quotes or dictates, or else any run of its words.

use serde_json::json;

use crate::grounding::{dictated, is_apostrophe, quotations, quoted};

/// The body of a terminal, in llguidance's dialect of Lark, that matches a CogAgent string with what may be typed.
pub(super) fn typed(instruction: &str) -> String {
    let literal = |text: &str| json!(quoted(text)).to_string();
    for ranges in [quotations(instruction), dictated(instruction)] {
        let found: Vec<String> = ranges.into_iter().filter_map(|range| instruction.get(range)).map(literal).collect();
        if !found.is_empty() {
            return found.join(" | ");
        }
    }
    // What would have to be escaped, or could be taken for the end of the string, is in none.
    let ends =
        |(at, it): (usize, char)| it.is_control() || it == '\\' || it == '\'' && !is_apostrophe(instruction, at, it);
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
