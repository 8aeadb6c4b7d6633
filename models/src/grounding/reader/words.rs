//! Answers in words that nothing like it is there.

const DENIALS: [&str; 46] = [
    "not found",
    "no such",
    "not visible",
    "not present",
    "not on the",
    "not on this",
    "not in the",
    "not in this",
    "not there",
    "not available",
    "not shown",
    "not exist",
    "n't exist",
    "not appear",
    "n't appear",
    "not see",
    "n't see",
    "not contain",
    "n't contain",
    "not have",
    "n't have",
    "not find",
    "n't find",
    "n't visible",
    "n't present",
    "not locate",
    "n't locate",
    "unable to find",
    "unable to locate",
    "there is no ",
    "there's no ",
    "there are no ",
    "there is not ",
    "there isn't ",
    "there aren't ",
    "there are not ",
    "unable to identify",
    "not identify",
    "n't identify",
    "unable to see",
    "no matching",
    "no element",
    "nothing like",
    "未找到",
    "找不到",
    "不存在",
];

/// Whether words say that something is not there.
pub(super) fn deny(text: &str) -> bool {
    let text = text.to_lowercase().replace('’', "'");
    let alone = text.trim().trim_matches(|it: char| !it.is_alphanumeric());
    matches!(alone, "none" | "null" | "n/a" | "absent" | "not_found" | "nothing" | "no")
        || DENIALS.iter().any(|denial| text.contains(denial))
        || text.contains("没有")
        || ["i see no ", "can see no "].iter().any(|denial| text.contains(denial))
}

/// Whether words go on after what they deny.
pub(super) fn go_on(text: &str) -> bool {
    let text = text.to_lowercase();
    text.split(|it: char| !it.is_alphabetic()).any(|word| matches!(word, "but" | "however" | "instead" | "though"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_understood() {
        for text in [
            "There is no Sign in button.",
            "I couldn't find it.",
            "None",
            "The element doesn’t exist on the screen.",
            "not found",
            "There isn't a Sign in button.",
            "I am unable to identify it.",
            "无法定位：未找到",
        ] {
            assert!(deny(text), "{text}");
        }
        for text in ["Yes.", "The button is at the top.", "Notes", "Nonesuch"] {
            assert!(!deny(text), "{text}");
        }
    }
}
