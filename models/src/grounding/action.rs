//! What an agent may do on a screen, in the vocabulary of CogAgent-9B, with what CogAgent-18B has besides.

use std::fmt;

use super::{Normalised1000, PixelBox, PixelPoint};

/// An element of the screen and what the model says about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target<B> {
    /// Where it is.
    pub region: B,
    /// Its kind, such as `button`.
    pub element_type: Option<String>,
    /// Its words, such as `Search`.
    pub element_info: Option<String>,
}

impl<B> Target<B> {
    /// A target of which only the place is known.
    pub fn at(region: B) -> Self {
        Self { region, element_type: None, element_info: None }
    }

    fn map<C>(self, map: &mut impl FnMut(B) -> C) -> Target<C> {
        Target { region: map(self.region), element_type: self.element_type, element_info: self.element_info }
    }
}

/// Where a wheel turns the page to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards the beginning.
    Up,
    /// Towards the end.
    Down,
    /// To the left.
    Left,
    /// To the right.
    Right,
}

/// One part of a gesture; keys by the model's names, such as `Lcontrol`, `Return`, `A`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Press and hold.
    Down(String),
    /// Press and let go.
    Press(String),
    /// Let go.
    Up(String),
}

/// One operation, its boxes on the scale `B`. Printed (for [`Normalised1000`]) in CogAgent's grammar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action<B = PixelBox> {
    /// Click with the left button.
    Click(Target<B>),
    /// Click twice.
    DoubleClick(Target<B>),
    /// Click with the right button.
    RightClick(Target<B>),
    /// Move the pointer there.
    Hover(Target<B>),
    /// Type into an element.
    Type {
        /// Where.
        target: Target<B>,
        /// What; may name an earlier `__CogName_...__`.
        text: String,
    },
    /// Choose an option of an element, such as a list (CogAgent-18B).
    Select {
        /// Where.
        target: Target<B>,
        /// Its words.
        text: String,
    },
    /// Turn the wheel over an element.
    Scroll {
        /// Where.
        target: Target<B>,
        /// Which way.
        direction: Direction,
        /// Notches of the wheel.
        steps: u32,
    },
    /// Press a key.
    KeyPress {
        /// Its name.
        key: String,
    },
    /// Press keys together or one after the other.
    Gesture(Vec<Key>),
    /// Open a program or a page; the page if both are given.
    Launch {
        /// Name of the program.
        app: Option<String>,
        /// Address of the page.
        url: Option<String>,
    },
    /// Read the text of an element into a variable.
    QuoteText {
        /// Where.
        target: Target<B>,
        /// Name of the variable, `__CogName_...__`.
        output: String,
        /// The text, as far as the model has read it.
        result: Option<String>,
        /// Whether to scroll through the element.
        auto_scroll: Option<bool>,
    },
    /// Read the clipboard into a variable.
    QuoteClipboard {
        /// Name of the variable.
        output: String,
        /// The text, as far as the model knows it.
        result: Option<String>,
    },
    /// Ask a language model about variables.
    Llm {
        /// The question.
        prompt: String,
        /// Name of the variable for the answer.
        output: String,
        /// The answer, as far as the model knows it.
        result: Option<String>,
    },
    /// The task is done.
    End,
    /// Nothing on the screen is what was asked for.
    Absent,
}

impl<B> Action<B> {
    /// The element it acts on.
    pub fn target(&self) -> Option<&Target<B>> {
        match self {
            Self::Click(target)
            | Self::DoubleClick(target)
            | Self::RightClick(target)
            | Self::Hover(target)
            | Self::Type { target, .. }
            | Self::Select { target, .. }
            | Self::Scroll { target, .. }
            | Self::QuoteText { target, .. } => Some(target),
            Self::KeyPress { .. }
            | Self::Gesture(_)
            | Self::Launch { .. }
            | Self::QuoteClipboard { .. }
            | Self::Llm { .. }
            | Self::End
            | Self::Absent => None,
        }
    }

    /// Whether there is something to do: neither [`Action::Absent`] nor [`Action::End`].
    pub fn is_found(&self) -> bool {
        !matches!(self, Self::Absent | Self::End)
    }

    /// The same action with its box on another scale: `action.map(|it| it.to_pixels(screenshot))`.
    pub fn map<C>(self, mut map: impl FnMut(B) -> C) -> Action<C> {
        let map = &mut map;
        match self {
            Self::Click(target) => Action::Click(target.map(map)),
            Self::DoubleClick(target) => Action::DoubleClick(target.map(map)),
            Self::RightClick(target) => Action::RightClick(target.map(map)),
            Self::Hover(target) => Action::Hover(target.map(map)),
            Self::Type { target, text } => Action::Type { target: target.map(map), text },
            Self::Select { target, text } => Action::Select { target: target.map(map), text },
            Self::Scroll { target, direction, steps } => Action::Scroll { target: target.map(map), direction, steps },
            Self::KeyPress { key } => Action::KeyPress { key },
            Self::Gesture(keys) => Action::Gesture(keys),
            Self::Launch { app, url } => Action::Launch { app, url },
            Self::QuoteText { target, output, result, auto_scroll } => {
                Action::QuoteText { target: target.map(map), output, result, auto_scroll }
            }
            Self::QuoteClipboard { output, result } => Action::QuoteClipboard { output, result },
            Self::Llm { prompt, output, result } => Action::Llm { prompt, output, result },
            Self::End => Action::End,
            Self::Absent => Action::Absent,
        }
    }
}

impl Action<PixelBox> {
    /// Where the pointer acts: the centre of the box.
    pub fn click_point(&self) -> Option<PixelPoint> {
        self.target().map(|target| target.region.centre())
    }
}

impl fmt::Display for Action<Normalised1000> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Click(target) => call(f, "CLICK", Some(target), &[]),
            Self::DoubleClick(target) => call(f, "DOUBLE_CLICK", Some(target), &[]),
            Self::RightClick(target) => call(f, "RIGHT_CLICK", Some(target), &[]),
            Self::Hover(target) => call(f, "HOVER", Some(target), &[]),
            Self::Type { target, text } => call(f, "TYPE", Some(target), &[("text", Some(quoted(text)))]),
            Self::Select { target, text } => call(f, "SELECT", Some(target), &[("text", Some(quoted(text)))]),
            Self::Scroll { target, direction, steps } => {
                let name = match direction {
                    Direction::Up => "SCROLL_UP",
                    Direction::Down => "SCROLL_DOWN",
                    Direction::Left => "SCROLL_LEFT",
                    Direction::Right => "SCROLL_RIGHT",
                };
                call(f, name, Some(target), &[("step_count", Some(steps.to_string()))])
            }
            Self::KeyPress { key } => call(f, "KEY_PRESS", None, &[("key", Some(quoted(key)))]),
            Self::Gesture(keys) => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                write!(f, "GESTURE(actions=[{}])", keys.join(", "))
            }
            Self::Launch { app, url } => {
                let or_none = |it: &Option<String>| Some(quoted(it.as_deref().unwrap_or("None")));
                call(f, "LAUNCH", None, &[("app", or_none(app)), ("url", or_none(url))])
            }
            Self::QuoteText { target, output, result, auto_scroll } => {
                let scroll = auto_scroll.map(|it| if it { "True" } else { "False" }.to_owned());
                let rest = [
                    ("output", Some(quoted(output))),
                    ("result", result.as_deref().map(quoted)),
                    ("auto_scroll", scroll),
                ];
                call(f, "QUOTE_TEXT", Some(target), &rest)
            }
            Self::QuoteClipboard { output, result } => {
                let rest = [("output", Some(quoted(output))), ("result", result.as_deref().map(quoted))];
                call(f, "QUOTE_CLIPBOARD", None, &rest)
            }
            Self::Llm { prompt, output, result } => {
                let rest = [
                    ("prompt", Some(quoted(prompt))),
                    ("output", Some(quoted(output))),
                    ("result", result.as_deref().map(quoted)),
                ];
                call(f, "LLM", None, &rest)
            }
            // The grammar has no other word for what is not there.
            Self::End | Self::Absent => f.write_str("END()"),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(key) => write!(f, "KEY_DOWN(key={})", quoted(key)),
            Self::Press(key) => write!(f, "KEY_PRESS(key={})", quoted(key)),
            Self::Up(key) => write!(f, "KEY_UP(key={})", quoted(key)),
        }
    }
}

/// `NAME(box=[[...]], rest..., element_type=..., element_info=...)`, in the order of the published examples.
fn call(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    target: Option<&Target<Normalised1000>>,
    rest: &[(&str, Option<String>)],
) -> fmt::Result {
    let mut arguments = Vec::new();
    if let Some(target) = target {
        let corners = target.region.corners().map(|it| format!("{it:03}"));
        arguments.push(format!("box=[[{}]]", corners.join(",")));
    }
    for (name, value) in rest {
        arguments.extend(value.as_ref().map(|value| format!("{name}={value}")));
    }
    if let Some(target) = target {
        arguments.extend(target.element_type.as_ref().map(|it| format!("element_type={}", quoted(it))));
        arguments.extend(target.element_info.as_ref().map(|it| format!("element_info={}", quoted(it))));
    }
    write!(f, "{name}({})", arguments.join(", "))
}

/// A string as CogAgent writes it, in quotes and escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str("\\\\"),
            '\'' => quoted.push_str("\\'"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}
