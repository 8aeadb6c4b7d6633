//! What an instruction quotes or dictates.

use std::ops::Range;

/// Marks that begin and end a quotation.
const MARKS: [(char, char); 6] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('‘', '’'), ('\'', '\'')];

/// Whether the mark at `at` is an apostrophe within a word.
pub(crate) fn is_apostrophe(text: &str, at: usize, mark: char) -> bool {
    let word = |it: Option<char>| it.is_some_and(char::is_alphanumeric);
    let (before, behind) = (text.get(..at), text.get(at + mark.len_utf8()..));
    word(before.and_then(|it| it.chars().next_back())) && word(behind.and_then(|it| it.chars().next()))
}

/// Where something stands between quotation marks, which are not part of it. Within a quotation the same marks may quote again,
/// as in `"{"a": 1}"`: the outermost count.
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
        if let Some(end) = end_of(text, begin, *close, mark == *close) {
            rest = end + close.len_utf8();
            let quotation = begin..end;
            if text.get(quotation.clone()).is_some_and(|it| !it.trim().is_empty()) {
                found.push(quotation);
            }
        }
    }
    found
}

/// Where a quotation ends that begins at `begin`. Marks that look the same open where a word may begin, and close where one may
/// end; if they do not pair, the last that closes is the end.
fn end_of(text: &str, begin: usize, close: char, same: bool) -> Option<usize> {
    let (mut depth, mut last) = (1, None);
    let marks = text.get(begin..)?.match_indices(close).map(|(at, _)| begin + at);
    for at in marks.filter(|&at| !is_apostrophe(text, at, close)) {
        if !same {
            return Some(at);
        }
        let before = text.get(..at).and_then(|it| it.chars().next_back());
        let after = text.get(at + close.len_utf8()..).and_then(|it| it.chars().next());
        let opens = before.is_none_or(|it| it.is_whitespace() || "([{<,:;=".contains(it))
            && at > begin
            && after.is_some_and(|it| !it.is_whitespace());
        if opens {
            depth += 1;
            continue;
        }
        depth -= 1;
        last = Some(at);
        if depth == 0 {
            break;
        }
    }
    last
}

/// What an instruction that begins with a verb of writing says is to be written, without quotation marks: `type Y into X`,
/// `fill X with Y`, `set X to Y`, `search for Y`. Where it can be read in several ways, all of them.
pub(crate) fn dictated(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let begin = word.as_ptr() as usize - text.as_ptr() as usize;
        words.push(begin..begin + word.len());
    }
    let is = |at: usize, known: &[&str]| {
        let word = words.get(at).and_then(|range| text.get(range.clone()));
        word.is_some_and(|word| known.iter().any(|it| word.eq_ignore_ascii_case(it)))
    };
    let verb = usize::from(is(0, &["please"]));
    let behind = |at: usize| Some(words.get(at)?.start..words.last()?.end);
    let mut found = Vec::new();
    if is(verb, &["type", "enter", "write", "input", "insert", "paste", "put"]) {
        // "type in" is a verb, too.
        let begin = verb + 1 + usize::from(is(verb + 1, &["in"]));
        let places = (begin + 1..words.len().saturating_sub(1)).filter(|&at| is(at, &["into", "in", "to", "on"]));
        found.extend(places.map(|at| words[begin].start..words[at - 1].end));
        if found.is_empty() {
            found.extend(behind(begin));
        }
    } else if is(verb, &["fill", "set"]) {
        let by = if is(verb, &["fill"]) { "with" } else { "to" };
        found.extend((verb + 2..words.len()).filter(|&at| is(at, &[by])).filter_map(|at| behind(at + 1)));
    } else if is(verb, &["search", "look"]) && is(verb + 1, &["for"]) {
        found.extend(behind(verb + 2));
    }
    // A sentence's full stop may be the text's own.
    let end = words.last().map_or(0, |last| last.end);
    let shorter: Vec<Range<usize>> = found
        .iter()
        .filter(|range| range.end == end && range.len() > 1 && text.ends_with(['.', '!', '?']))
        .map(|range| range.start..range.end - 1)
        .collect();
    found.extend(shorter);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_are_found() {
        let cases: [(&str, &[&str]); 15] = [
            ("type anna into Email", &[]),
            (r#"type "see you at 5" into the "Note" field"#, &["see you at 5", "Note"]),
            ("type 'don't' in Don't know", &["don't"]),
            ("write “so” and „da“ in «là»", &["so", "da", "là"]),
            ("type \"open into Email", &[]),
            ("type \"\" into Email", &[]),
            ("it's the users' page", &[]),
            (r#"Type "{"a": [1, 2]}" into Search titles"#, &[r#"{"a": [1, 2]}"#]),
            (r#"Type "{"a":"b","c":["d", ""]}" into the "Note" field"#, &[r#"{"a":"b","c":["d", ""]}"#, "Note"]),
            (r#"type "say "hi" now" into Email"#, &[r#"say "hi" now"#]),
            (r#"type "he said "hi"" into Email"#, &[r#"he said "hi""#]),
            (r#"type "a"b" into Email"#, &[r#"a"b"#]),
            ("type 'a' into the users' page", &["a"]),
            ("type '{'a': 'it's'}' into Email", &["{'a': 'it's'}"]),
            ("", &[]),
        ];
        for (instruction, expected) in cases {
            let found: Vec<&str> = quotations(instruction).into_iter().map(|range| &instruction[range]).collect();
            assert_eq!(found, expected, "{instruction}");
        }
    }

    #[test]
    fn what_is_dictated_is_found() {
        let cases: [(&str, &[&str]); 20] = [
            ("type anna into Email", &["anna"]),
            ("Please enter John Smith in the Name field", &["John Smith"]),
            ("enter Check in in Search", &["Check", "Check in"]),
            ("write 42 on  the card", &["42"]),
            ("type hello", &["hello"]),
            ("type in anna into Email", &["anna"]),
            ("type in anna", &["anna"]),
            ("fill Enter note with coffee and  cake", &["coffee and  cake"]),
            ("fill in Dine with us with yes.", &["us with yes.", "yes.", "us with yes", "yes"]),
            ("set Language to English", &["English"]),
            ("search for blue shoes!", &["blue shoes!", "blue shoes"]),
            ("Type é into ü", &["é"]),
            ("click Type in the menu", &[]),
            ("type", &[]),
            ("type in", &[]),
            ("fill Name with", &[]),
            ("set to", &[]),
            ("search for", &[]),
            ("type into Email", &["into Email"]),
            ("", &[]),
        ];
        for (instruction, expected) in cases {
            let found: Vec<&str> = dictated(instruction).into_iter().map(|range| &instruction[range]).collect();
            assert_eq!(found, expected, "{instruction}");
        }
    }
}
