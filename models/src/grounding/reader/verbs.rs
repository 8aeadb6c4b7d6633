//! What an answer says to do: the names that models give operations, as calls and as keys.

use super::tree::{Item, Node};
use crate::grounding::Direction;

/// What to do at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Click,
    DoubleClick,
    RightClick,
    Hover,
    Type,
    Select,
    Scroll,
    /// Something that has no place.
    Elsewhere,
    /// The task is done.
    End,
    /// It cannot be done.
    Absent,
    /// No operation of ours.
    Unknown,
}

/// An operation and its arguments.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Deed {
    /// As written.
    pub(super) name: Option<String>,
    /// `None` where a place is all that is said: it is clicked.
    pub(super) verb: Option<Verb>,
    pub(super) text: Option<String>,
    pub(super) direction: Option<Direction>,
    pub(super) steps: Option<u32>,
    pub(super) label: Option<String>,
    /// Whether the words before speak of the upper left corner.
    pub(super) upper: bool,
}

/// The verb of a name; `Some(None)` for one that says no more than that a place follows.
pub(super) fn of(name: &str) -> Option<Option<Verb>> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let name: String = last.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    Some(Some(match name.as_str() {
        "click" | "leftclick" | "leftsingle" | "singleclick" | "tap" | "touch" | "clickelement" | "mouseclick" => {
            Verb::Click
        }
        "doubleclick" | "leftdouble" | "doubletap" | "dblclick" => Verb::DoubleClick,
        "rightclick" | "rightsingle" | "contextclick" => Verb::RightClick,
        "hover" | "moveto" | "move" | "mousemove" | "movemouse" => Verb::Hover,
        "type" | "input" | "write" | "typewrite" | "inputtext" | "typetext" | "entertext" | "fill" => Verb::Type,
        "select" | "selectoption" => Verb::Select,
        "scroll" => Verb::Scroll,
        "hotkey" | "key" | "keypress" | "press" | "presskey" | "wait" | "calluser" | "screenshot" | "openapp"
        | "open" | "back" | "pressback" | "home" | "presshome" | "navigate" | "goto" | "launch" => Verb::Elsewhere,
        "finished" | "finish" | "terminate" | "done" | "complete" | "end" | "stop" => Verb::End,
        "drag" | "dragto" | "leftclickdrag" | "swipe" | "longpress" | "middleclick" | "tripleclick" => Verb::Unknown,
        "locate" | "find" | "ground" | "detect" | "element" => return Some(None),
        _ => return None,
    }))
}

fn text_of(node: &Node) -> Option<&str> {
    match node {
        Node::Text(text) | Node::Word(text) => Some(text),
        _ => None,
    }
}

fn get<'a>(items: &'a [Item], names: &[&str]) -> Option<&'a Node> {
    let named =
        |item: &&Item| item.key.as_deref().is_some_and(|key| names.iter().any(|name| name.eq_ignore_ascii_case(key)));
    items.iter().find(named).map(|item| &item.node)
}

/// Whether an object says that what was asked for is not there.
pub(super) fn denies(items: &[Item]) -> bool {
    let no = |node: &Node| text_of(node).is_some_and(|text| text.eq_ignore_ascii_case("false"));
    let missing = |node: &Node| {
        text_of(node).is_some_and(|text| {
            let text: String = text.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect();
            matches!(text.as_str(), "notfound" | "absent" | "missing" | "notvisible" | "infeasible")
        })
    };
    get(items, &["found", "exists", "visible", "present", "is_visible", "element_found"]).is_some_and(no)
        || get(items, &["status", "result", "answer", "action"]).is_some_and(missing)
}

/// What the arguments of an operation add to it.
pub(super) fn learn(deed: &mut Deed, items: &[Item], call: bool) {
    if !call && let Some(name) = get(items, &["action", "action_type", "operation", "type"]).and_then(text_of) {
        let named = of(name);
        // A sentence describes the element; one word that is no operation of ours is one of another's.
        match named {
            Some(verb) => (deed.name, deed.verb) = (Some(name.to_owned()), verb),
            None if get(items, &["action", "action_type", "operation"]).is_some()
                && !name.trim().contains(' ')
                && !name.is_empty() =>
            {
                (deed.name, deed.verb) = (Some(name.to_owned()), Some(Verb::Unknown));
            }
            None => {}
        }
    }
    if let Some(status) = get(items, &["status"]).and_then(text_of)
        && deed.verb == Some(Verb::End)
        && matches!(status.to_ascii_lowercase().as_str(), "failure" | "fail" | "failed" | "infeasible")
    {
        deed.verb = Some(Verb::Absent);
    }
    match get(items, &["button"]).and_then(text_of) {
        Some("right") if deed.verb == Some(Verb::Click) => deed.verb = Some(Verb::RightClick),
        Some("middle") => deed.verb = Some(Verb::Unknown),
        _ => {}
    }
    if let Some(Node::Number(clicks)) = get(items, &["clicks", "num_clicks"])
        && deed.verb == Some(Verb::Click)
    {
        deed.verb = match clicks.value {
            1.0 => Some(Verb::Click),
            2.0 => Some(Verb::DoubleClick),
            _ => Some(Verb::Unknown),
        };
    }
    let text = get(items, &["text", "content", "value", "message", "option"]).and_then(|node| match node {
        Node::Number(number) => Some(number.written.clone()),
        node => text_of(node).map(str::to_owned),
    });
    deed.text = text.or(deed.text.take());
    if let Some(direction) = get(items, &["direction"]).and_then(text_of) {
        deed.direction = match direction.to_ascii_lowercase().as_str() {
            "up" => Some(Direction::Up),
            "down" => Some(Direction::Down),
            "left" => Some(Direction::Left),
            "right" => Some(Direction::Right),
            _ => None,
        };
    }
    if let Some(Node::Number(steps)) = get(items, &["steps", "step_count"]) {
        deed.steps = (0.0..=1e6).contains(&steps.value).then_some(steps.value as u32);
    }
    if let Some(Node::Text(label)) = get(items, &["label", "element_info"]) {
        deed.label = Some(label.clone());
    }
}
