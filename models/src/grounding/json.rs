//! Actions as JSON: what the command line prints and the npm package hands out.

use serde_json::{Map, Value, json};

use super::{Action, Direction, Key, PixelBox};

impl<B> Action<B> {
    /// The operation's name in lower case: `click`, `double_click`, ..., `end`; `absent` for [`Action::Absent`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Click(_) => "click",
            Self::DoubleClick(_) => "double_click",
            Self::RightClick(_) => "right_click",
            Self::Hover(_) => "hover",
            Self::Type { .. } => "type",
            Self::Select { .. } => "select",
            Self::Scroll { .. } => "scroll",
            Self::KeyPress { .. } => "key_press",
            Self::Gesture(_) => "gesture",
            Self::Launch { .. } => "launch",
            Self::QuoteText { .. } => "quote_text",
            Self::QuoteClipboard { .. } => "quote_clipboard",
            Self::Llm { .. } => "llm",
            Self::End => "end",
            Self::Absent => "absent",
        }
    }
}

impl PixelBox {
    /// `{left, top, right, bottom}`.
    pub fn to_json(&self) -> Value {
        json!({ "left": self.left(), "top": self.top(), "right": self.right(), "bottom": self.bottom() })
    }
}

impl Action<PixelBox> {
    /// `{"kind": ..., "box": {left, top, right, bottom}, "point": {x, y}, ...}`, in pixels; what the action does not
    /// have is left out.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        set("kind", Some(json!(self.kind())));
        if let (Some(target), Some(click)) = (self.target(), self.click_point()) {
            set("box", Some(target.region.to_json()));
            set("point", Some(json!({ "x": click.x, "y": click.y })));
            set("elementType", text(&target.element_type));
            set("elementInfo", text(&target.element_info));
        }
        match self {
            Self::Click(_) | Self::DoubleClick(_) | Self::RightClick(_) | Self::Hover(_) => {}
            Self::End | Self::Absent => {}
            Self::Type { text, .. } | Self::Select { text, .. } => set("text", Some(json!(text))),
            Self::Scroll { direction, steps, .. } => {
                set("direction", Some(json!(direction_name(*direction))));
                set("steps", Some(json!(steps)));
            }
            Self::KeyPress { key } => set("key", Some(json!(key))),
            Self::Gesture(keys) => set("keys", Some(keys.iter().map(key_json).collect())),
            Self::Launch { app, url } => {
                set("app", text(app));
                set("url", text(url));
            }
            Self::QuoteText { output, result, auto_scroll, .. } => {
                set("output", Some(json!(output)));
                set("result", text(result));
                set("autoScroll", auto_scroll.map(|auto| json!(auto)));
            }
            Self::QuoteClipboard { output, result } => {
                set("output", Some(json!(output)));
                set("result", text(result));
            }
            Self::Llm { prompt, output, result } => {
                set("prompt", Some(json!(prompt)));
                set("output", Some(json!(output)));
                set("result", text(result));
            }
        }
        Value::Object(fields)
    }
}

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Up => "up",
        Direction::Down => "down",
        Direction::Left => "left",
        Direction::Right => "right",
    }
}

fn key_json(key: &Key) -> Value {
    let (kind, key) = match key {
        Key::Down(key) => ("down", key),
        Key::Press(key) => ("press", key),
        Key::Up(key) => ("up", key),
    };
    json!({ "kind": kind, "key": key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grounding::Target;

    #[test]
    fn each_part_has_its_field() {
        let target =
            Target { element_info: Some("Search".to_owned()), ..Target::at(PixelBox::new(10.0, 20.0, 30.0, 60.0)) };
        let place = json!({ "left": 10.0, "top": 20.0, "right": 30.0, "bottom": 60.0 });
        let typed = Action::Type { target: target.clone(), text: "anna".to_owned() }.to_json();
        let expected = json!({
            "kind": "type", "box": place, "point": { "x": 20.0, "y": 40.0 }, "elementInfo": "Search", "text": "anna",
        });
        assert_eq!(typed, expected);
        let scrolled = Action::Scroll { target, direction: Direction::Left, steps: 3 }.to_json();
        assert_eq!((&scrolled["direction"], &scrolled["steps"]), (&json!("left"), &json!(3)));
        let gesture = Action::<PixelBox>::Gesture(vec![Key::Down("Lcontrol".to_owned()), Key::Press("a".to_owned())]);
        let keys = json!([{ "kind": "down", "key": "Lcontrol" }, { "kind": "press", "key": "a" }]);
        assert_eq!(gesture.to_json(), json!({ "kind": "gesture", "keys": keys }));
        assert_eq!(Action::<PixelBox>::End.to_json(), json!({ "kind": "end" }));
        assert_eq!(Action::<PixelBox>::Absent.to_json(), json!({ "kind": "absent" }));
        assert!(!Action::<PixelBox>::Absent.is_found() && !Action::<PixelBox>::End.is_found());
    }
}
