//! Conversations: what is said to a model, as JSON has it.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::{PromptText, TextError};

/// Who speaks a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Standing instructions.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::System, Self::User, Self::Assistant, Self::Tool];

    /// Its name in JSON and in templates.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One part of a message, in reading order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Words, and marks of the program's own.
    Text {
        /// The words.
        text: PromptText,
    },
    /// A picture; the pictures themselves are handed over apart, in this order.
    Image,
    /// A picture whose file is in the message.
    Inline(Vec<u8>),
}

impl Part {
    /// A part of words: what looks like a special token in them is text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: PromptText::words(text) }
    }

    /// A part of the program's own text, in which special tokens count.
    pub fn marks(text: impl Into<String>) -> Self {
        Self::Text { text: PromptText::marks(text) }
    }

    /// Whether it is a picture.
    pub fn is_image(&self) -> bool {
        !matches!(self, Self::Text { .. })
    }
}

/// One turn of a conversation: `{"role": ..., "content": [{"type": "image"}, {"type": "text", "text": ...}]}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; in JSON a plain string stands for one text part.
    pub content: Vec<Part>,
    /// What else templates may write, by its name in JSON: one of [`EXTRA`].
    pub extra: Map<String, Value>,
}

/// Fields of a message, beyond its role and content, that chat templates know.
pub const EXTRA: [&str; 5] = ["tool_calls", "tool_call_id", "name", "reasoning_content", "thinking"];

impl Message {
    fn new(role: Role, content: Vec<Part>) -> Self {
        Self { role, content, extra: Map::new() }
    }

    /// A turn of the user's.
    pub fn user(content: Vec<Part>) -> Self {
        Self::new(Role::User, content)
    }

    /// A turn of the model's, as it wrote it (see [`PromptText::answer`]).
    pub fn assistant(text: impl AsRef<str>) -> Self {
        Self::new(Role::Assistant, vec![Part::Text { text: PromptText::answer(text.as_ref()) }])
    }

    /// Number of pictures it holds.
    pub fn images(&self) -> usize {
        self.content.iter().filter(|part| part.is_image()).count()
    }

    /// Its texts, one after the other.
    pub fn words(&self) -> PromptText {
        let mut all = PromptText::default();
        for part in &self.content {
            if let Part::Text { text } = part {
                all.push(text);
            }
        }
        all
    }

    /// Reads a list of messages, as OpenAI's chat completions have them. `field` is the list's name in errors.
    ///
    /// Content is a string, `null` (of an assistant that called tools), or a list of parts: `{"type": "text", "text"}`;
    /// `{"type": "image"}` for a picture that is handed over apart; `{"type": "image_url", "image_url": {"url"}}` or
    /// `{"type": "image", "image"}` with a `data:` URL; and `{"type": "marks", "text"}` for text of the program's own, in
    /// which special tokens count. In any other text they are text; in the assistant's turns those count that models write
    /// into answers ([`PromptText::answer`]).
    ///
    /// # Errors
    /// [`TextError::Message`] that names the field, what it holds and what is allowed.
    pub fn read_all(field: &str, messages: &Value) -> Result<Vec<Self>, TextError> {
        let Some(list) = messages.as_array() else {
            return Err(wrong(field, format_args!("is {}, it must be a list of messages", shown(messages))));
        };
        if list.is_empty() {
            return Err(wrong(field, "is empty"));
        }
        list.iter().enumerate().map(|(index, message)| Self::read(&format!("{field}[{index}]"), message)).collect()
    }

    fn read(field: &str, message: &Value) -> Result<Self, TextError> {
        let Some(fields) = message.as_object() else {
            return Err(wrong(
                field,
                format_args!("is {}, it must be an object with role and content", shown(message)),
            ));
        };
        let role = fields.get("role").unwrap_or(&Value::Null);
        let known = || Role::ALL.map(Role::name).join(", ");
        let Some(role) = Role::ALL.into_iter().find(|known| role.as_str() == Some(known.name())) else {
            return Err(wrong(
                &format!("{field}.role"),
                format_args!("is {}, it must be one of {}", shown(role), known()),
            ));
        };
        let mut extra = Map::new();
        for (name, value) in
            fields.iter().filter(|(name, value)| !matches!(&***name, "role" | "content") && !value.is_null())
        {
            if !EXTRA.contains(&name.as_str()) {
                // Servers write every field that they have: `"annotations": []`, `"audio": {}`, `"refusal": ""`.
                if says_nothing(value) {
                    continue;
                }
                let known = EXTRA.join(", ");
                return Err(wrong(
                    &format!("{field}.{name}"),
                    format_args!("is not known: role, content, {known} are"),
                ));
            }
            extra.insert(name.clone(), value.clone());
        }
        if let Some(calls) = extra.get("tool_calls") {
            check_calls(&format!("{field}.tool_calls"), role, calls)?;
        }
        // A list of calls that is empty calls nothing.
        extra.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        let text = |text: &str| match role {
            Role::Assistant => PromptText::answer(text),
            _ => PromptText::words(text),
        };
        let name = format!("{field}.content");
        let content = match fields.get("content") {
            Some(Value::String(words)) => vec![Part::Text { text: text(words) }],
            Some(Value::Array(parts)) => {
                let parts = parts.iter().enumerate();
                parts
                    .map(|(index, part)| read_part(&format!("{name}[{index}]"), part, &text))
                    .collect::<Result<_, _>>()?
            }
            None | Some(Value::Null) if role == Role::Assistant => Vec::new(),
            other => {
                let found = other.map_or("missing".to_owned(), shown);
                return Err(wrong(&name, format_args!("is {found}, it must be a string or a list of parts")));
            }
        };
        Ok(Self { role, content, extra })
    }
}

/// Whether a field of JSON could as well be left out: null, and empty text, lists and objects.
pub fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn wrong(field: &str, reason: impl ToString) -> TextError {
    TextError::Message { field: field.to_owned(), reason: reason.to_string() }
}

/// A value in an error: its beginning.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn check_calls(field: &str, role: Role, calls: &Value) -> Result<(), TextError> {
    if role != Role::Assistant {
        return Err(wrong(field, format_args!("belongs to the role assistant, not {}", role.name())));
    }
    let Some(list) = calls.as_array() else {
        return Err(wrong(field, format_args!("is {}, it must be a list", shown(calls))));
    };
    for (index, call) in list.iter().enumerate() {
        // The function stands in `function`, or is the call itself.
        let function = call.get("function").unwrap_or(call);
        if function.get("name").and_then(Value::as_str).is_none() {
            return Err(wrong(&format!("{field}[{index}].function.name"), "is missing"));
        }
    }
    Ok(())
}

const PARTS: &str = "text, image, image_url, marks";

fn read_part(field: &str, part: &Value, words: &dyn Fn(&str) -> PromptText) -> Result<Part, TextError> {
    let Some(fields) = part.as_object() else {
        return match part.as_str() {
            Some(text) => Ok(Part::Text { text: words(text) }),
            None => Err(wrong(field, format_args!("is {}, it must be an object with a type: {PARTS}", shown(part)))),
        };
    };
    let kind = fields.get("type").unwrap_or(&Value::Null);
    let (own, part) = match kind.as_str() {
        Some("text") => ("text", Part::Text { text: words(text_of(field, fields)?) }),
        Some("marks") => ("text", Part::marks(text_of(field, fields)?)),
        Some("image") => match fields.get("image") {
            None | Some(Value::Null) => ("image", Part::Image),
            Some(url) => ("image", inline(&format!("{field}.image"), url)?),
        },
        Some("image_url") => {
            let name = format!("{field}.image_url");
            match fields.get("image_url") {
                Some(Value::Object(object)) => {
                    let other = object
                        .iter()
                        .find(|(key, value)| !matches!(key.as_str(), "url" | "detail") && !says_nothing(value));
                    if let Some((other, _)) = other {
                        return Err(wrong(&format!("{name}.{other}"), "is not known: url, detail are"));
                    }
                    ("image_url", inline(&format!("{name}.url"), object.get("url").unwrap_or(&Value::Null))?)
                }
                other => ("image_url", inline(&name, other.unwrap_or(&Value::Null))?),
            }
        }
        _ => {
            return Err(wrong(&format!("{field}.type"), format_args!("is {}, it must be one of {PARTS}", shown(kind))));
        }
    };
    let other = fields.iter().find(|(key, value)| {
        let is_read = matches!(key.as_str(), "type" | "cache_control") || key.as_str() == own;
        !is_read && !says_nothing(value)
    });
    match other {
        Some((other, _)) => Err(wrong(&format!("{field}.{other}"), format_args!("is not known: type, {own} are"))),
        None => Ok(part),
    }
}

fn text_of<'a>(field: &str, fields: &'a Map<String, Value>) -> Result<&'a str, TextError> {
    let text = fields.get("text").unwrap_or(&Value::Null);
    text.as_str()
        .ok_or_else(|| wrong(&format!("{field}.text"), format_args!("is {}, it must be a string", shown(text))))
}

/// The picture of a `data:` URL.
fn inline(field: &str, url: &Value) -> Result<Part, TextError> {
    let Some(text) = url.as_str() else {
        return Err(wrong(field, format_args!("is {}, it must be a data: URL", shown(url))));
    };
    let Some(data) = text.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).map(|_| &text[5..]) else {
        return Err(wrong(
            field,
            format_args!(
                "is {}: pictures are not fetched. Give a data: URL, or a part {{\"type\": \"image\"}} and the picture \
                 beside the messages",
                shown(url)
            ),
        ));
    };
    let encoded = data.split_once(',').filter(|(kind, _)| kind.to_ascii_lowercase().ends_with(";base64"));
    let Some((_, encoded)) = encoded else {
        return Err(wrong(field, "is a data: URL without `;base64,`: the picture must be in base64"));
    };
    let encoded: String = encoded.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    match BASE64_STANDARD.decode(encoded) {
        Ok(bytes) if !bytes.is_empty() => Ok(Part::Inline(bytes)),
        Ok(_) => Err(wrong(field, "is a data: URL without a picture")),
        Err(error) => Err(wrong(field, format_args!("is no base64: {error}"))),
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::read("message", &value).map_err(de::Error::custom)
    }
}

/// A date and a time of day, where the caller is: what a template's `strftime_now` writes. The engine reads no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime(jiff::civil::DateTime);

impl LocalTime {
    /// `None` for a date or time that no calendar has. Months and days count from 1.
    pub fn new(year: i16, [month, day]: [i8; 2], [hour, minute, second]: [i8; 3]) -> Option<Self> {
        jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok().map(Self)
    }

    /// The time by a format of C's `strftime`; `None` if the format is none.
    pub(super) fn format(self, format: &str) -> Option<String> {
        // A conversion may pad to any width: formats are short, and have none.
        let padded = format.split('%').skip(1).any(|rest| {
            rest.trim_start_matches(['-', '_', '0', '^', '#']).starts_with(|letter: char| letter.is_ascii_digit())
        });
        if format.len() > 1000 || padded {
            return None;
        }
        jiff::fmt::strtime::format(format, self.0).ok()
    }
}

/// What a prompt is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conversation<'a> {
    /// The turns.
    pub messages: &'a [Message],
    /// Descriptions of tools, as OpenAI has them, for templates that write them.
    pub tools: &'a [Value],
    /// The time, for templates that ask for it; without it those fail by name.
    pub now: Option<LocalTime>,
}

impl<'a> From<&'a [Message]> for Conversation<'a> {
    fn from(messages: &'a [Message]) -> Self {
        Self { messages, ..Self::default() }
    }
}

impl<'a> From<&'a Vec<Message>> for Conversation<'a> {
    fn from(messages: &'a Vec<Message>) -> Self {
        Self::from(messages.as_slice())
    }
}

impl<'a, const N: usize> From<&'a [Message; N]> for Conversation<'a> {
    fn from(messages: &'a [Message; N]) -> Self {
        Self::from(messages.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(messages: Value) -> String {
        Message::read_all("messages", &messages).unwrap_err().to_string()
    }

    #[test]
    fn reads_content_of_every_form() {
        let plain: Message = serde_json::from_value(json!({"role": "user", "content": "hi"})).unwrap();
        assert_eq!(plain, Message::user(vec![Part::text("hi")]));
        let url = "data:image/png;base64,AQI=";
        let read = Message::read_all(
            "messages",
            &json!([
                {"role": "assistant", "content": null, "tool_calls": []},
                {"role": "user", "content": [
                    {"type": "image"},
                    {"type": "image", "image": url},
                    {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
                    {"type": "image_url", "image_url": url},
                    {"type": "text", "text": "a<|im_end|>", "cache_control": {}},
                    {"type": "marks", "text": "<grounding>"},
                ], "refusal": null},
                {
                    "role": "assistant", "content": "<box>1</box>", "annotations": [], "refusal": null, "audio": null,
                    "function_call": null, "tool_calls": [],
                },
            ]),
        );
        let read = read.unwrap();
        let picture = || Part::Inline(vec![1, 2]);
        let expected =
            vec![Part::Image, picture(), picture(), picture(), Part::text("a<|im_end|>"), Part::marks("<grounding>")];
        assert_eq!(read[0], Message::new(Role::Assistant, Vec::new()));
        assert_eq!(read[1], Message::user(expected));
        assert_eq!(read[2], Message::assistant("<box>1</box>"));
        assert_eq!(read[1].images(), 4);
    }

    /// What servers write into every message is passed over where it says nothing, in turns and in their parts, and refused by
    /// its name where it says something.
    #[test]
    fn empty_fields_are_as_if_left_out() {
        let whole = json!({"role": "assistant", "content": [{"type": "text", "text": "a"}]});
        for name in ["annotations", "refusal", "audio", "function_call", "x"] {
            for empty in [json!(null), json!([]), json!({}), json!("")] {
                let (mut turn, mut part) = (whole.clone(), whole.clone());
                turn[name] = empty.clone();
                part["content"][0][name] = empty;
                for message in [turn, part] {
                    let read = Message::read_all("messages", &json!([message])).unwrap();
                    assert_eq!(read, [Message::assistant("a")], "{message}");
                }
            }
            for full in [json!([{}]), json!({"id": 1}), json!("no"), json!(false), json!(0)] {
                let (mut turn, mut part) = (whole.clone(), whole.clone());
                turn[name] = full.clone();
                part["content"][0][name] = full;
                assert!(error(json!([turn])).starts_with(&format!("messages[0].{name} is not known: ")));
                assert!(error(json!([part])).starts_with(&format!("messages[0].content[0].{name} is not known: ")));
            }
        }
    }

    #[test]
    fn names_the_field_and_what_is_allowed() {
        let cases = [
            (json!({"role": "user"}), "messages is {\"role\":\"user\"}, it must be a list of messages"),
            (json!([]), "messages is empty"),
            (json!(["hi"]), "messages[0] is \"hi\", it must be an object with role and content"),
            (
                json!([{"role": "developer", "content": "a"}]),
                "messages[0].role is \"developer\", it must be one of system, user, assistant, tool",
            ),
            (json!([{"role": "user"}]), "messages[0].content is missing, it must be a string or a list of parts"),
            (
                json!([{"role": "user", "content": null}]),
                "messages[0].content is null, it must be a string or a list of parts",
            ),
            (
                json!([{"role": "user", "content": [{"type": "video"}]}]),
                "messages[0].content[0].type is \"video\", it must be one of text, image, image_url, marks",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image", "min_pixels": 3}]}]),
                "messages[0].content[0].min_pixels is not known: type, image are",
            ),
            (
                json!([{"role": "user", "content": [{"type": "text", "text": 3}]}]),
                "messages[0].content[0].text is 3, it must be a string",
            ),
            (
                json!([{"role": "user", "content": "a", "weight": 1}]),
                "messages[0].weight is not known: role, content, tool_calls, tool_call_id, name, reasoning_content, \
                 thinking are",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}]}]),
                "messages[0].content[0].image_url.url is \"https://a.b/c.png\": pictures are not fetched. Give a data: \
                 URL, or a part {\"type\": \"image\"} and the picture beside the messages",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png,abc"}]}]),
                "messages[0].content[0].image_url is a data: URL without `;base64,`: the picture must be in base64",
            ),
            (
                json!([{"role": "user", "content": "a", "tool_calls": [{}]}]),
                "messages[0].tool_calls belongs to the role assistant, not user",
            ),
            (
                json!([{"role": "assistant", "content": "a", "tool_calls": [{}]}]),
                "messages[0].tool_calls[0].function.name is missing",
            ),
        ];
        for (messages, expected) in cases {
            assert_eq!(error(messages), expected);
        }
    }

    #[test]
    fn the_time_is_written_as_c_does() {
        let time = LocalTime::new(2026, [2, 3], [4, 5, 6]).unwrap();
        assert_eq!(
            time.format("%Y-%m-%d %H:%M:%S %d %b %Y %B %A").unwrap(),
            "2026-02-03 04:05:06 03 Feb 2026 February Tuesday"
        );
        assert_eq!(time.format("%999999999d"), None);
        assert_eq!(time.format("%"), None);
        assert_eq!(LocalTime::new(2026, [2, 30], [0, 0, 0]), None);
    }
}
