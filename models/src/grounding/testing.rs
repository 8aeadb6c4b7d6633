//! Actions for property tests.

use proptest::prelude::*;

use super::{Action, Direction, Key, Normalised1000, Target};

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,20}", "[a-z'\"\\\\,()\\[\\]=\n\t\r ]{0,20}"]
}

fn targets() -> impl Strategy<Value = Target<Normalised1000>> {
    let corners = prop::array::uniform4(0u16..=1000)
        .prop_filter_map("on the scale", |[a, b, c, d]| Normalised1000::new(a, b, c, d));
    (corners, prop::option::of(words()), prop::option::of(words()))
        .prop_map(|(region, element_type, element_info)| Target { region, element_type, element_info })
}

/// Actions of every kind with every argument.
pub(crate) fn actions() -> impl Strategy<Value = Action<Normalised1000>> {
    let direction = prop::sample::select(vec![Direction::Up, Direction::Down, Direction::Left, Direction::Right]);
    let key = prop_oneof![words().prop_map(Key::Down), words().prop_map(Key::Press), words().prop_map(Key::Up)];
    let name = || prop::option::of(words().prop_filter("means none", |it| it != "None"));
    prop_oneof![
        targets().prop_map(Action::Click),
        targets().prop_map(Action::DoubleClick),
        targets().prop_map(Action::RightClick),
        targets().prop_map(Action::Hover),
        (targets(), words()).prop_map(|(target, text)| Action::Type { target, text }),
        (targets(), words()).prop_map(|(target, text)| Action::Select { target, text }),
        (targets(), direction, any::<u32>()).prop_map(|(target, direction, steps)| Action::Scroll {
            target,
            direction,
            steps
        }),
        words().prop_map(|key| Action::KeyPress { key }),
        prop::collection::vec(key, 0..4).prop_map(Action::Gesture),
        (name(), name()).prop_map(|(app, url)| Action::Launch { app, url }),
        (targets(), words(), prop::option::of(words()), any::<Option<bool>>()).prop_map(
            |(target, output, result, auto_scroll)| Action::QuoteText { target, output, result, auto_scroll }
        ),
        (words(), prop::option::of(words())).prop_map(|(output, result)| Action::QuoteClipboard { output, result }),
        (words(), words(), prop::option::of(words())).prop_map(|(prompt, output, result)| Action::Llm {
            prompt,
            output,
            result
        }),
        Just(Action::End),
    ]
}
