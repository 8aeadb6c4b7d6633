//! What of an answer is meant for the reader: not what the model thinks aloud before it.

/// Tags around thinking; those of Kimi, Mistral and gpt-oss are written otherwise than as XML.
const THINKING: [(&str, &str); 9] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<grounding_think>", "</grounding_think>"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
];

/// What ends an answer; a model that is not stopped there writes another turn.
const ENDS: [&str; 5] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>", "<eos>"];

/// Labels of lines that say what a model thinks, and of lines that say what it answers.
const THOUGHTS: [&str; 11] = [
    "thought",
    "thoughts",
    "thinking",
    "reasoning",
    "reflection",
    "observation",
    "analysis",
    "status",
    "plan",
    "action_summary",
    "思考",
];
const ANSWERS: [&str; 8] =
    ["action", "actions", "answer", "final answer", "output", "result", "grounded operation", "动作"];

/// The answer without thinking between tags, within `<answer>` if there is one, up to the token that ends it. A closing tag
/// whose opening tag stands in the prompt ends what came before; an opening tag that is never closed has the rest.
pub(in crate::grounding) fn without_tags(text: &str) -> String {
    let end = ENDS.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    let text = &text[..end];
    let (mut kept, mut depth, mut from) = (String::new(), 0usize, 0);
    let mut at = 0;
    while let Some(found) = text[at..].find(['<', '◁', '[']) {
        at += found;
        let rest = &text[at..];
        // Other brackets are many.
        if rest.starts_with('[') && !rest[1..].starts_with(['T', 't', '/']) {
            at += 1;
            continue;
        }
        let begins = |tag: &str| rest.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
        if let Some((open, _)) = THINKING.iter().find(|(open, _)| begins(open)) {
            if depth == 0 {
                kept.push_str(&text[from..at]);
            }
            depth += 1;
            at += open.len();
        } else if let Some((_, close)) = THINKING.iter().find(|(_, close)| begins(close)) {
            if depth == 0 {
                kept.clear();
            }
            depth = depth.saturating_sub(1);
            at += close.len();
            from = at;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    if depth == 0 {
        kept.push_str(&text[from..]);
    }
    match kept.rfind("<answer>") {
        Some(open) => {
            let inner = &kept[open + "<answer>".len()..];
            inner.split("</answer>").next().unwrap_or_default().to_owned()
        }
        None => kept,
    }
}

/// Without the lines from one that begins with `Thought:` or the like to the next that begins with `Action:` or the like, or
/// with something that is no sentence.
pub(super) fn without_thoughts(text: &str) -> String {
    let (mut kept, mut thinks) = (String::new(), false);
    for line in text.split_inclusive('\n') {
        let start = line.trim_start_matches(|it: char| it.is_whitespace() || matches!(it, '*' | '#' | '_' | '-' | '>'));
        let label = start.split([':', '：']).next().filter(|label| label.len() < start.trim_end().len());
        let label = label.map(|it| it.trim_matches(|it: char| it.is_whitespace() || it == '*').to_lowercase());
        if let Some(label) = &label
            && THOUGHTS.contains(&label.as_str())
        {
            thinks = true;
        } else if label.is_some_and(|label| ANSWERS.contains(&label.as_str()))
            || start.starts_with(['{', '[', '<'])
            || start.starts_with("```")
            || line.trim_start().starts_with("```")
        {
            thinks = false;
        }
        if !thinks {
            kept.push_str(line);
        } else if let Some(at) = line.rfind("Action:") {
            kept.push_str(&line[at..]);
            thinks = false;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_is_no_answer() {
        for (text, left) in [
            ("<think>a</think>b", "b"),
            ("a</think>b", "b"),
            ("<think>a", ""),
            ("a<think>b", "a"),
            ("<think>a<think>b</think>c</think>d", "d"),
            ("a</think>b</THINK>c", "c"),
            ("x<think>a</think>y<thinking>b</thinking>z", "xyz"),
            ("◁think▷a◁/think▷b", "b"),
            ("[THINK]a[/THINK][1, 2]", "[1, 2]"),
            ("<|channel|>analysis<|message|>[1, 2]<|channel|>final<|message|>b", "b"),
            ("<grounding_think>a</grounding_think><answer>b</answer>", "b"),
            ("<answer>a</answer>, no: <answer>b", "b"),
            ("a<|im_end|><|im_start|>user", "a"),
            ("", ""),
        ] {
            assert_eq!(without_tags(text), left, "{text}");
        }
    }

    #[test]
    fn lines_of_thought_are_no_answer() {
        for (text, left) in [
            ("Thought: a\nb\nAction: c", "Action: c"),
            ("**Thought**: a\n**Action**: c", "**Action**: c"),
            ("Thought: a\n{\"b\": 1}", "{\"b\": 1}"),
            ("Thoughts:\na\nActions:\nCLICK", "Actions:\nCLICK"),
            ("思考：a\n动作：b", "动作：b"),
            ("I thought: a", "I thought: a"),
            ("Thought: a", ""),
            ("Thought: a. Action: b\nc", "Action: b\nc"),
        ] {
            assert_eq!(without_thoughts(text), left, "{text}");
        }
    }
}
