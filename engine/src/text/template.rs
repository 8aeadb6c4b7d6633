//! Chat templates: Jinja programs, published with a checkpoint, that write a conversation as one string.

use std::{collections::BTreeMap, io, sync::Arc};

use minijinja::{Environment, Error, ErrorKind, Value, value::Kwargs};
use serde_json::json;

use super::{
    Conversation, LocalTime, Message, Object, Part, PromptText, Role, TextError,
    bounded::{self, Budget, Limit},
    object,
    published::{NAMED, content},
    recognise,
    words::StandIns,
};

/// The files of a checkpoint that may hold its chat template; those it has.
#[derive(Clone, Copy, Debug, Default)]
pub struct TemplateFiles<'a> {
    /// `chat_template.jinja`: the template itself.
    pub jinja: Option<&'a [u8]>,
    /// `additional_chat_templates/tool_use.jinja`: the template for conversations with tools.
    pub tool_use: Option<&'a [u8]>,
    /// `chat_template.json`: `{"chat_template": ...}`.
    pub json: Option<&'a [u8]>,
    /// `tokenizer_config.json`: `chat_template`, and the special tokens that templates write.
    pub tokenizer_config: Option<&'a [u8]>,
    /// `special_tokens_map.json`: special tokens that `tokenizer_config.json` does not name.
    pub special_tokens: Option<&'a [u8]>,
}

const JINJA: &str = "chat_template.jinja";
const TOOL_USE: &str = "additional_chat_templates/tool_use.jinja";
const JSON: &str = "chat_template.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";

/// The template's name in its own error messages.
const NAME: &str = "chat_template";

/// A template's text and where it comes from.
#[derive(Debug)]
struct Source {
    file: &'static str,
    text: String,
    /// Which roles' messages it takes as a string; of others it takes a list of parts.
    strings: [bool; Role::ALL.len()],
}

/// A chat template with the special tokens it may write.
#[derive(Debug)]
pub struct ChatTemplate {
    plain: Source,
    /// For conversations with tools, where there is one of its own.
    with_tools: Option<Source>,
    special: BTreeMap<String, String>,
}

/// How a system wants prompts to be written.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Letters that marks begin or end with ([`super::Tokenizer::edges`]): of words, the prompt says where they are.
    pub edges: Vec<char>,
    /// What a picture is in a template that takes strings.
    pub picture: Option<String>,
}

impl ChatTemplate {
    /// Takes the template from the first file that has one, in `transformers`' order: `chat_template.jinja`,
    /// `chat_template.json`, `tokenizer_config.json`. Of several named templates it takes `default`, and `tool_use` for
    /// conversations with tools.
    ///
    /// # Errors
    /// [`TextError::NoTemplate`] if none has one, [`TextError::File`] for bad UTF-8, JSON or Jinja,
    /// [`TextError::Field`] for a field of the wrong type.
    pub fn from_files(files: TemplateFiles<'_>) -> Result<Self, TextError> {
        let config = files.tokenizer_config.map(|bytes| object(TOKENIZER_CONFIG, bytes)).transpose()?;
        let map = files.special_tokens.map(|bytes| object(SPECIAL_TOKENS, bytes)).transpose()?;
        let json = files.json.map(|bytes| object(JSON, bytes)).transpose()?;
        let mut special = BTreeMap::new();
        for (file, object) in [(SPECIAL_TOKENS, &map), (TOKENIZER_CONFIG, &config)] {
            if let Some(object) = object {
                special.extend(special_tokens(file, object)?);
            }
        }
        let text = |file, bytes: &[u8]| {
            recognise(file, bytes)?;
            let text = std::str::from_utf8(bytes);
            text.map(str::to_owned).map_err(|error| TextError::File { file, reason: error.to_string() })
        };
        let mut found = match files.jinja {
            Some(bytes) => Some((JINJA, Named { default: text(JINJA, bytes)?, tool_use: None })),
            None => None,
        };
        for (file, object) in [(JSON, &json), (TOKENIZER_CONFIG, &config)] {
            if let (None, Some(object)) = (&found, object) {
                found = template_field(file, object)?.map(|named| (file, named));
            }
        }
        let Some((file, named)) = found else { return Err(TextError::NoTemplate) };
        let tool_use = match (named.tool_use, files.tool_use) {
            (Some(text), _) => Some((file, text)),
            (None, Some(bytes)) => Some((TOOL_USE, text(TOOL_USE, bytes)?)),
            (None, None) => None,
        };
        let plain = Source::new(file, &named.default, &special)?;
        let with_tools = tool_use.map(|(file, text)| Source::new(file, &text, &special)).transpose()?;
        Ok(Self { plain, with_tools, special })
    }

    /// A template from its text, with special tokens by variable name (`bos_token`, `eos_token`).
    ///
    /// # Errors
    /// [`TextError::File`] if it is no Jinja template.
    pub fn new(source: impl AsRef<str>, special: BTreeMap<String, String>) -> Result<Self, TextError> {
        Ok(Self { plain: Source::new(JINJA, source.as_ref(), &special)?, with_tools: None, special })
    }

    /// The prompt of a conversation; with `add_generation_prompt`, up to where the model's answer begins. What of it comes
    /// from the messages is words, of which the letters in `script.edges` are marked as such: a template may cut and trim
    /// them as it likes.
    ///
    /// # Errors
    /// [`TextError::Render`] if the template fails, refuses the conversation, does not come to an end or makes too much;
    /// [`TextError::Message`] if the conversation has what the template does not write: tools, calls of tools and their
    /// results, or pictures where it takes strings.
    pub fn render<'a>(
        &self,
        conversation: impl Into<Conversation<'a>>,
        script: &Script,
        add_generation_prompt: bool,
    ) -> Result<PromptText, TextError> {
        let conversation = conversation.into();
        let source = match &self.with_tools {
            Some(source) if !conversation.tools.is_empty() => source,
            _ => &self.plain,
        };
        let prompt = source.render(&conversation, script, &self.special, add_generation_prompt)?;
        // What a template does not know it passes over without a word.
        let same_without = |without: &Conversation<'_>| {
            source.render(without, script, &self.special, add_generation_prompt).is_ok_and(|other| other == prompt)
        };
        if !conversation.tools.is_empty() && same_without(&Conversation { tools: &[], ..conversation }) {
            let reason = format!("are not written by the chat template ({})", source.file);
            return Err(TextError::Message { field: "tools".to_owned(), reason });
        }
        for (index, message) in conversation.messages.iter().enumerate() {
            if message.role == Role::Tool && !source.mentions("tool") {
                let reason = format!("is \"tool\", which the chat template ({}) does not know", source.file);
                return Err(TextError::Message { field: format!("messages[{index}].role"), reason });
            }
            if message.extra.contains_key("tool_calls") {
                let mut messages = conversation.messages.to_vec();
                messages[index].extra.remove("tool_calls");
                if same_without(&Conversation { messages: &messages, ..conversation }) {
                    let reason = format!("are not written by the chat template ({})", source.file);
                    return Err(TextError::Message { field: format!("messages[{index}].tool_calls"), reason });
                }
            }
        }
        Ok(prompt)
    }
}

impl Source {
    fn new(file: &'static str, text: &str, special: &BTreeMap<String, String>) -> Result<Self, TextError> {
        let text = without_generation_marks(text);
        bounded::check(NAME, &text).map_err(|error| TextError::File { file, reason: told(&error) })?;
        let mut source = Self { file, text, strings: [false; Role::ALL.len()] };
        for role in [Role::User, Role::System, Role::Assistant, Role::Tool] {
            source.strings[role as usize] = source.takes_strings(role, special);
        }
        Ok(source)
    }

    /// Whether it compares with this name.
    fn mentions(&self, name: &str) -> bool {
        ["'", "\""].iter().any(|quote| self.text.contains(&format!("{quote}{name}{quote}")))
    }

    /// Whether a role's messages must be strings: a list of parts is not taken apart but printed, or is an error, and a
    /// string is written. Found by trying.
    fn takes_strings(&self, role: Role, special: &BTreeMap<String, String>) -> bool {
        const SAID: &str = "fovea-said-this";
        const PART: &str = "fovea-is-a-part";
        let ask = || Message::user(vec![Part::text("a")]);
        let index = match role {
            Role::User => 0,
            Role::System => 0,
            Role::Assistant | Role::Tool => 1,
        };
        let before = match role {
            Role::Assistant | Role::Tool => vec![ask()],
            _ => Vec::new(),
        };
        let after = if role == Role::User { Vec::new() } else { vec![ask()] };
        let said = Message { role, ..Message::user(vec![Part::text(SAID)]) };
        let messages = [before, vec![said], after].concat();
        // Templates that ask for the date do so for all conversations.
        let now = LocalTime::new(2000, [1, 1], [0, 0, 0]);
        let conversation = Conversation { messages: &messages, tools: &[], now };
        let script = Script::default();
        let written = |strings: bool| {
            let mut tried = Self { file: self.file, text: String::new(), strings: self.strings };
            tried.strings[role as usize] = strings;
            let mut values = tried.messages(&conversation, &script, &StandIns::default()).ok()?;
            if !strings {
                values[index]["content"][0][PART] = json!(PART);
            }
            self.run(json!(values), &conversation, special, true, &StandIns::default(), Limit::Trial).ok()
        };
        let has_said = |text: &String| text.contains(SAID);
        let takes_parts = written(false).filter(|text| has_said(text) && !text.contains(PART)).is_some();
        !takes_parts && written(true).filter(has_said).is_some()
    }

    /// The messages as templates see them.
    fn messages(
        &self,
        conversation: &Conversation<'_>,
        script: &Script,
        stand_ins: &StandIns,
    ) -> Result<Vec<serde_json::Value>, TextError> {
        let all = conversation.messages.iter().enumerate();
        all.map(|(index, message)| {
            let content = if self.strings[message.role as usize] {
                json!(self.string(index, message, script, stand_ins)?)
            } else {
                let part = |part: &Part| match part {
                    Part::Text { text } => json!({"type": "text", "text": text.standing_in(stand_ins)}),
                    Part::Image | Part::Inline(_) => json!({"type": "image"}),
                };
                message.content.iter().map(part).collect()
            };
            let mut fields = Object::new();
            fields.insert("role".to_owned(), json!(message.role.name()));
            fields.insert("content".to_owned(), content);
            for (name, value) in &message.extra {
                fields.insert(name.clone(), with_stand_ins(value, stand_ins));
            }
            Ok(serde_json::Value::Object(fields))
        })
        .collect()
    }

    /// A message's parts as one string, a line for each.
    fn string(
        &self,
        index: usize,
        message: &Message,
        script: &Script,
        stand_ins: &StandIns,
    ) -> Result<String, TextError> {
        let part = |(part, it): (usize, &Part)| match (it, &script.picture) {
            (Part::Text { text }, _) => Ok(text.standing_in(stand_ins)),
            (_, Some(picture)) => Ok(picture.clone()),
            (_, None) => Err(TextError::Message {
                field: format!("messages[{index}].content[{part}]"),
                reason: format!("is a picture, but the chat template ({}) takes words alone", self.file),
            }),
        };
        let parts: Vec<String> = message.content.iter().enumerate().map(part).collect::<Result<_, _>>()?;
        Ok(parts.join("\n"))
    }

    fn render(
        &self,
        conversation: &Conversation<'_>,
        script: &Script,
        special: &BTreeMap<String, String>,
        add_generation_prompt: bool,
    ) -> Result<PromptText, TextError> {
        let failed = |reason: String| TextError::Render { file: self.file, reason };
        let used: std::collections::BTreeSet<char> = {
            let said = self.messages(conversation, script, &StandIns::default())?;
            let tools = json!(conversation.tools).to_string();
            json!(said).to_string().chars().chain(tools.chars()).chain(self.text.chars()).collect()
        };
        let stand_ins = StandIns::new(script.edges.iter().copied(), |letter| used.contains(&letter))
            .ok_or_else(|| failed("no private letter of Unicode is left".to_owned()))?;
        let messages = self.messages(conversation, script, &stand_ins)?;
        let text = self.run(json!(messages), conversation, special, add_generation_prompt, &stand_ins, Limit::Whole);
        Ok(stand_ins.restored(&text.map_err(|error| failed(told(&error)))?))
    }

    fn run(
        &self,
        messages: serde_json::Value,
        conversation: &Conversation<'_>,
        special: &BTreeMap<String, String>,
        add_generation_prompt: bool,
        stand_ins: &StandIns,
        limit: Limit,
    ) -> Result<String, Error> {
        let tools = with_stand_ins(&json!(conversation.tools), stand_ins);
        let given = messages.to_string().len() + tools.to_string().len() + self.text.len();
        let tools = if conversation.tools.is_empty() { Value::from(()) } else { Value::from_serialize(tools) };
        let context = minijinja::context! {
            messages => Value::from_serialize(messages),
            add_generation_prompt => add_generation_prompt,
            tools => tools,
            documents => (),
            ..Value::from_serialize(special),
        };
        let now = conversation.now;
        bounded::render(NAME, &self.text, context, given, limit, move |environment, budget| {
            extend(environment, budget, now)
        })
    }
}

/// The same with its strings as words.
fn with_stand_ins(value: &serde_json::Value, stand_ins: &StandIns) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(stand_ins.stand_in(text)),
        Value::Array(list) => list.iter().map(|value| with_stand_ins(value, stand_ins)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields.map(|(name, value)| (stand_ins.stand_in(name), with_stand_ins(value, stand_ins))).collect()
        }
        other => other.clone(),
    }
}

/// What `transformers` gives templates beyond Jinja's own.
fn extend(environment: &mut Environment<'_>, budget: &Arc<Budget>, now: Option<LocalTime>) {
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: &str| {
        let wrong =
            |reason: &str| Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {reason}"));
        let now = now.ok_or_else(|| wrong("the caller gave no time"))?;
        now.format(format).ok_or_else(|| wrong("no format of a date or time"))
    });
    let budget = Arc::clone(budget);
    environment.add_filter("tojson", move |value: &Value, options: Kwargs| to_json(&budget, value, &options));
}

/// `transformers` knows `{% generation %}` blocks, which mark what the model itself said and write nothing; blocks that
/// always hold take their place, so that space around them is trimmed alike.
fn without_generation_marks(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut pieces = source.split("{%");
    result.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        result.push_str("{%");
        let (tag, rest) = piece.split_once("%}").unwrap_or((piece, ""));
        let word = tag.trim_matches(|it: char| it.is_whitespace() || matches!(it, '-' | '+'));
        let replaced = match word {
            "generation" => tag.replacen(word, "if true", 1),
            "endgeneration" => tag.replacen(word, "endif", 1),
            _ => {
                result.push_str(piece);
                continue;
            }
        };
        result.push_str(&replaced);
        result.push_str("%}");
        result.push_str(rest);
    }
    result
}

/// Jinja's `raise_exception`, by which a template refuses a conversation.
fn raise_exception(reason: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, reason.to_owned()))
}

/// The `tojson` of `transformers`: Python's `json.dumps(value, ensure_ascii=False, indent=indent)`, nothing escaped for
/// HTML.
fn to_json(budget: &Budget, value: &Value, options: &Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Python's other options change nothing of what is written here, or are refused.
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    if ascii == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: ensure_ascii is not supported"));
    }
    let bad = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut text = bounded::Json::new(budget);
    if let Some(indent) = indent {
        let indent = " ".repeat(indent.min(80));
        let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        serde::Serialize::serialize(value, &mut serializer).map_err(bad)?;
    } else {
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, PythonSpacing);
        serde::Serialize::serialize(value, &mut serializer).map_err(bad)?;
    }
    Ok(Value::from(String::from_utf8_lossy(&text.into_bytes()).into_owned()))
}

/// `", "` and `": "`, as Python writes JSON on one line.
struct PythonSpacing;

impl serde_json::ser::Formatter for PythonSpacing {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// An error of minijinja's with its causes, on one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The templates of a file.
struct Named {
    default: String,
    tool_use: Option<String>,
}

/// `chat_template` of a JSON file: absent, a string, or a list of `{"name", "template"}`.
fn template_field(file: &'static str, json: &Object) -> Result<Option<Named>, TextError> {
    use serde_json::Value::{Array, Null, String};

    let wrong = || TextError::Field {
        file,
        field: "chat_template".to_owned(),
        expected: "a string, or a list of templates with names, one of them `default`",
    };
    match json.get("chat_template") {
        None | Some(Null) => Ok(None),
        Some(String(source)) => Ok(Some(Named { default: source.clone(), tool_use: None })),
        Some(Array(named)) => {
            let find = |name: &str| {
                let found = named.iter().find(|it| it.get("name").and_then(|name| name.as_str()) == Some(name))?;
                found.get("template")?.as_str().map(str::to_owned)
            };
            let default = find("default").ok_or_else(wrong)?;
            Ok(Some(Named { default, tool_use: find("tool_use") }))
        }
        Some(_) => Err(wrong()),
    }
}

/// The special tokens of a file that have a value, each a string or `{"content": ...}`, and those of its
/// `extra_special_tokens` that have names (in a list, as of transformers 5, they have none).
fn special_tokens(file: &'static str, config: &Object) -> Result<BTreeMap<String, String>, TextError> {
    use serde_json::Value;

    let mut special = BTreeMap::new();
    for field in ["extra_special_tokens", "model_specific_special_tokens"] {
        let named = config.get(field).and_then(Value::as_object).into_iter().flatten();
        special.extend(named.filter_map(|(name, token)| Some((name.clone(), content(token)?.to_owned()))));
    }
    for name in NAMED {
        let token = match config.get(name) {
            None | Some(Value::Null) => continue,
            Some(token) => content(token),
        };
        let token = token.ok_or_else(|| TextError::Field {
            file,
            field: name.to_owned(),
            expected: "a string or an object with a string `content`",
        })?;
        special.insert(name.to_owned(), token.to_owned());
    }
    Ok(special)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::golden::{self, json};

    fn rendered(source: &str, messages: &[Message]) -> Result<String, TextError> {
        let special = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
        Ok(ChatTemplate::new(source, special)?.render(messages, &Script::default(), true)?.as_str().to_owned())
    }

    fn hello() -> Vec<Message> {
        vec![Message::user(vec![Part::Image, Part::text("a <b> & 'c'")])]
    }

    #[test]
    fn renders_every_prompt_of_the_fixtures() {
        for model in golden::models("chat_template.json") {
            let (template, config) = (
                golden::bytes(&format!("{model}/chat_template.json")),
                golden::bytes(&format!("{model}/tokenizer_config.json")),
            );
            let template = ChatTemplate::from_files(TemplateFiles {
                json: Some(&template),
                tokenizer_config: Some(&config),
                ..TemplateFiles::default()
            })
            .unwrap();
            for case in 0..golden::cases(&model) {
                let request = json(&format!("{model}/cases/{case}/prompt.json"));
                let messages: Vec<Message> = serde_json::from_value(request["messages"].clone()).unwrap();
                let expected = json(&format!("{model}/cases/{case}/expected.json"));
                let prompt = template.render(&messages, &Script::default(), true).unwrap();
                assert_eq!(prompt.as_str(), expected["prompt"], "{model}/{case}");
            }
        }
    }

    #[test]
    fn the_tokenizer_config_holds_the_same_template() {
        for model in ["qwen2_vl", "qwen2_5_vl", "internvl"] {
            let config = golden::bytes(&format!("{model}/tokenizer_config.json"));
            let files = TemplateFiles { tokenizer_config: Some(&config), ..TemplateFiles::default() };
            let request = json(&format!("{model}/cases/2/prompt.json"));
            let messages: Vec<Message> = serde_json::from_value(request["messages"].clone()).unwrap();
            let prompt = ChatTemplate::from_files(files).unwrap().render(&messages, &Script::default(), true).unwrap();
            let expected = json(&format!("{model}/cases/2/expected.json"));
            assert_eq!(prompt.as_str(), expected["prompt"], "{model}");
        }
    }

    #[test]
    fn speaks_the_jinja_of_transformers() {
        let source = "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ bos_token }}{{ m.role.upper() }}\n  {% endif %}\n{% endfor %}\n";
        assert_eq!(rendered(source, &hello()).unwrap(), "<s>USER\n");
        let source = r#"{{ [{"type": "text", "text": messages[0].content[1].text}, [], {}, none, 1.5] | tojson }}"#;
        let expected = r#"[{"type": "text", "text": "a <b> & 'c'"}, [], {}, null, 1.5]"#;
        assert_eq!(rendered(source, &hello()).unwrap(), expected);
        assert_eq!(rendered("{{ {'a': 1} | tojson(indent=2) }}", &[]).unwrap(), "{\n  \"a\": 1\n}");
        let source =
            "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}{{ tools is none }}";
        assert_eq!(rendered(source, &[]).unwrap(), "01True");
        assert_eq!(rendered("{{ messages[0].content[1].text }}", &hello()).unwrap(), "a <b> & 'c'");
    }

    #[test]
    fn generation_blocks_write_nothing() {
        let source = "a {%- generation %} b {% endgeneration -%} c{% if x %}";
        assert_eq!(without_generation_marks(source), "a {%- if true %} b {% endif -%} c{% if x %}");
        let source = "{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{% endfor %}";
        assert_eq!(rendered(source, &hello()).unwrap(), "user");
    }

    #[test]
    fn tells_why_a_template_fails() {
        let error = rendered("{% if %}", &[]).unwrap_err();
        assert!(matches!(error, TextError::File { file: JINJA, .. }), "{error}");
        let error = rendered("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
        assert!(
            matches!(&error, TextError::Render { reason, .. } if reason.contains("roles must alternate")),
            "{error}"
        );
        let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
        assert!(matches!(rendered(endless, &[]), Err(TextError::Render { .. })));
        let clock = rendered("{{ strftime_now('%Y') }}", &[]).unwrap_err().to_string();
        assert!(clock.contains("the caller gave no time"), "{clock}");
    }

    #[test]
    fn names_the_file_and_the_field() {
        let none = ChatTemplate::from_files(TemplateFiles::default());
        assert!(matches!(none, Err(TextError::NoTemplate)));
        let config = |text: &'static str| {
            ChatTemplate::from_files(TemplateFiles {
                tokenizer_config: Some(text.as_bytes()),
                ..TemplateFiles::default()
            })
        };
        assert!(matches!(config("{}"), Err(TextError::NoTemplate)));
        assert!(matches!(config("{"), Err(TextError::File { file: TOKENIZER_CONFIG, .. })));
        let error = config(r#"{"chat_template": 3}"#).unwrap_err().to_string();
        assert!(error.contains("tokenizer_config.json") && error.contains("chat_template"), "{error}");
        let error = config(r#"{"chat_template": "", "bos_token": 3}"#).unwrap_err().to_string();
        assert!(error.contains("bos_token"), "{error}");
        let named = r#"{"chat_template": [{"name": "default", "template": "x{{ eos_token }}"}], "eos_token": {"content": "</s>"}}"#;
        let rendered = config(named).unwrap().render(&[], &Script::default(), false).unwrap();
        assert_eq!(rendered.as_str(), "x</s>");
        let files = TemplateFiles { jinja: Some(&[0xff]), ..TemplateFiles::default() };
        assert!(matches!(ChatTemplate::from_files(files), Err(TextError::File { file: JINJA, .. })));
    }

    fn refused(source: &str) -> String {
        rendered(source, &hello()).unwrap_err().to_string()
    }

    /// Each would take gigabytes: it is refused when it has taken what it may, and the file is named.
    #[test]
    fn templates_that_take_too_much_are_refused() {
        let doubled = |set: &str| format!("{{% set x = 'aaaaaaaa' %}}{}{{{{ x | length }}}}", set.repeat(40));
        let bombs = [
            doubled("{% set x = x + x %}"),
            doubled("{% set x = x ~ x %}"),
            doubled("{% set x = x * 2 %}"),
            doubled("{% set x = [x, x] %}"),
            doubled("{% set x = {'a': x, 'b': x} %}"),
            doubled("{% set x = [x, x] | join %}"),
            doubled("{% set x = x | replace('a', 'aa') %}"),
            doubled("{% set x = x.replace('a', 'aa') %}"),
            doubled("{% set x %}{{ x }}{{ x }}{% endset %}"),
            doubled("{% set x %}{% filter upper %}{{ x }}{{ x }}{% endfilter %}{% endset %}"),
            doubled("{% set x = '%s%s' | format(x, x) %}"),
            doubled("{% set x = '{}{}'.format(x, x) %}"),
            "{% set x = range(99999) | list %}".to_owned()
                + &"{% set x = x + x %}".repeat(40)
                + "{{ x | list | length }}",
            "{% set x = ['a'] * 90000000 %}{{ x | list | length }}".to_owned(),
            "{{ 'a' * 99999999 * 99999999 }}".to_owned(),
            "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}"
                .to_owned(),
            "{% macro m(x, n) %}{{ m(x + x, n - 1) if n else x | length }}{% endmacro %}{{ m('aaaaaaaa', 40) }}"
                .to_owned(),
            format!(
                "{{% for i in range(99999) %}}{{% for i in range(99999) %}}{}{{% endfor %}}{{% endfor %}}",
                "a".repeat(99999)
            ),
            "{{ 'a\nb' | indent(999999999) }}".to_owned(),
            "{{ ['a\nb'] | map('indent', 999999999) | list }}".to_owned(),
            "{{ 'a\nb' | indent(width=999999999) }}".to_owned(),
            "{{ [1] | batch(999999999, 'x') | list }}".to_owned(),
            "{{ [1] | slice(999999999) | list }}".to_owned(),
            "{{ '%999999999d' | format(1) }}".to_owned(),
            "{{ '%*d' | format(999999999, 1) }}".to_owned(),
            "{{ '{:>999999999}'.format(1) }}".to_owned(),
        ];
        for bomb in bombs {
            let shown = bomb.get(..120).unwrap_or(&bomb).to_owned();
            match rendered(&bomb, &hello()) {
                Err(TextError::Render { file: JINJA, .. }) => {}
                other => panic!("{shown}: {other:?}"),
            }
        }
        let told = refused(&doubled("{% set x = x + x %}"));
        assert!(told.starts_with("chat_template.jinja: the chat template failed: "), "{told}");
        assert!(told.contains("it makes more than 32 MiB and 64 times the conversation"), "{told}");
    }

    /// Each lies in itself thousands of times: whoever walks over it would run out of stack, which nobody can catch.
    #[test]
    fn templates_within_themselves_are_refused() {
        let many = |begin: &str, again: &str, end: &str, times: usize| format!("{begin}{}{end}", again.repeat(times));
        let chains = [
            ("{{ ", "not ", "1 }}"),
            ("{{ ", "1 + ", "1 }}"),
            ("{{ ", "- ", "1 }}"),
            ("{{ ", "2 ** ", "1 }}"),
            ("{{ ", "1 if 1 else ", "2 }}"),
            ("{{ 'a'", " ~ 'a'", " }}"),
            ("{{ 'a'", " | upper", " }}"),
            ("{{ 'a'", " is string", " }}"),
            ("{{ 'a'", " in 'a'", " }}"),
            ("{{ 1", " == 1", " }}"),
            ("{{ 1", " and 1", " }}"),
            ("{{ messages", ".x", " }}"),
            ("{{ messages", "[0]", " }}"),
            ("{{ messages", "()", " }}"),
            ("{{ ", "(", " }}"),
            ("{{ ", "[", " }}"),
            ("{% filter upper", " | upper", " %}{% endfilter %}"),
            ("{% if 0 %}", "{% elif 0 %}", "{% endif %}"),
            ("", "{% if 0 %}", ""),
            ("", "{% for i in [] %}", ""),
            ("", "{% set a %}", ""),
            ("", "{% macro a() %}", ""),
        ];
        for (begin, again, end) in chains {
            let refused = rendered(&many(begin, again, end, 100_000), &[]);
            assert!(matches!(refused, Err(TextError::File { file: JINJA, .. })), "{again}: {refused:?}");
            // Below the limit, the stack is enough.
            let _ = rendered(&many(begin, again, end, 100), &[]);
            let _ = rendered(&many(begin, again, end, 199), &[]);
            let _ = rendered(&many(begin, again, end, 395), &[]);
        }
        let refused = refused(&many("{{ ", "not ", "1 }}", 401));
        assert!(refused.ends_with("more than 400 tokens in one tag"), "{refused}");
    }

    /// Each would look at gigabytes in few steps, and for minutes.
    #[test]
    fn templates_that_look_too_long_are_refused() {
        for look in [
            "x | length == 1",
            "'b' in x",
            "x == x ~ 'b'",
            "x.count('b') == 1",
            "x[4000000:4000001] == 'b'",
            "[[x]] == [[1]]",
            "loop.changed(many)",
            "5 is in(many)",
            "many is eq(many)",
            "many | select('in', many) | first",
            "many | map('default', many) | first",
            "many | sum == 1",
            "range(99999) | length == 1",
        ] {
            let source = format!(
                "{{% set x = 'a' * 8000000 %}}{{% set many = range(9000) | list %}}{{% for i in range(99999) %}}{{% if {look} %}}{{% endif %}}{{% endfor %}}"
            );
            let error = refused(&source);
            assert!(error.contains("it looks at more") || error.contains("it makes more"), "{look}: {error}");
        }
    }

    /// A thousand short turns, of which each asks for the number of turns, what they are, and which was the last of the user's.
    #[test]
    fn long_conversations_are_within_the_bounds() {
        let turns: Vec<Message> =
            (0..2000).flat_map(|_| [Message::user(vec![Part::text("a")]), Message::assistant("b")]).collect();
        let source = "{% set asked = messages | selectattr('role', 'equalto', 'user') | list %}\
            {% macro write(message, all) %}{{ message.role | trim }}: {{ message.content if message.content is string }}\
            {% endmacro %}{% for message in messages %}\
            {% if loop.index0 == messages | length - 1 or message == asked[-1] or messages[0].role == 'system' %}!{% endif %}\
            {{ write(message, messages) }}{% if messages is defined and message.content is not string %}?{% endif %}\
            {% endfor %}";
        let written = rendered(source, &turns).unwrap();
        assert_eq!(written.matches("user: ").count(), 2000);
    }

    /// Values that hold themselves have no end.
    #[test]
    fn values_that_hold_themselves_are_refused() {
        for source in [
            "{% set n = namespace() %}{% set n.a = n %}{{ n }}",
            "{% set n = namespace() %}{% set n.a = [n] %}{{ n }}",
            "{% set n = namespace() %}{{ [n] | upper }}",
            "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}",
        ] {
            assert!(matches!(rendered(source, &[]), Err(TextError::Render { .. })), "{source}");
        }
    }

    #[test]
    fn statements_that_read_other_templates_are_refused() {
        for source in ["{% include 'a' %}", "{% extends 'a' %}", "{% import 'a' as b %}", "{% block a %}{% endblock %}"]
        {
            let error = rendered(source, &[]).unwrap_err().to_string();
            assert!(
                error.starts_with("chat_template.jinja: ") && error.contains("is not read in a chat template"),
                "{error}"
            );
        }
    }

    /// What counting changes in a template changes nothing of what it writes.
    #[test]
    fn counted_templates_write_what_they_did() {
        let cases = [
            ("{% set x = ['a', 'b'] + ['c'] %}{{ x[1:] | join('-') }}{{ x[::-1][0] }}", "b-cc"),
            ("{{ 'a' ~ 1 ~ none }}", "a1None"),
            ("{{ 'ab' * 2 }}{{ 3 * 2 }}{{ 1.5 + 1 }}", "abab62.5"),
            (
                "{% macro m(a, b='x') %}[{{ a }}{{ b }}{{ caller() if caller }}]{% endmacro %}{{ m(1) }}{% call m(2, b=3) %}!{% endcall %}",
                "[1x][23!]",
            ),
            ("{% for a, b in {'k': 'v'}.items() %}{{ a }}{{ b }}{% endfor %}", "kv"),
            (
                "{% set n = namespace(found=false) %}{% for i in range(3) if i %}{% set n.found = i %}{% endfor %}{{ n.found }}",
                "2",
            ),
            ("{% set x %}a{{ 'b' | upper }}{% endset %}{{ x }}{{ x is string }}", "aBTrue"),
            ("{% filter upper %}a{% endfilter %}{{ 'a,b'.split(',') | last }}", "Ab"),
            ("{{ 'x'.join(['a', 'b']) }}{{ 'aaa'.replace('a', 'b', 2) }}{{ 'aa' | replace('a', 'b') }}", "axbbbabb"),
            (
                "{{ missing }}{{ missing is defined }}{{ missing | default('d') }}{{ messages[0].content[9] is undefined }}",
                "FalsedTrue",
            ),
            ("{{ '%03d' | format(7) }}{{ 'a\nb' | indent(2) }}", "007a\n  b"),
            (
                "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ loop.index0 }}{% endfor %}",
                "02",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(rendered(source, &hello()).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn templates_say_whether_they_take_strings() {
        let takes = |source: &str| {
            let template = ChatTemplate::new(source, BTreeMap::new()).unwrap();
            template.plain.strings
        };
        let each = |inner: &str| format!("{{% for m in messages %}}{inner}{{% endfor %}}");
        assert_eq!(takes(&each("{{ m.content }}")), [true; 4]);
        assert_eq!(takes(&each("{{ m['content'] + 'x' }}")), [true; 4]);
        assert_eq!(takes(&each("{{ m['content'] | trim }}")), [true; 4]);
        assert_eq!(takes(&each("{% for c in m.content %}{{ c.text }}{% endfor %}")), [false; 4]);
        let either = "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}";
        assert_eq!(takes(&each(either)), [false; 4]);
        // One for each role; what is not written at all takes parts.
        let mixed =
            "{% if m.role == 'user' %}{{ m.content[0].text }}{% elif m.role == 'system' %}{{ m.content }}{% endif %}";
        assert_eq!(takes(&each(mixed)), [true, false, false, false]);
        // A template for conversations that begin with a question.
        let alternates = "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no') }}{% endif %}{{ m.content }}";
        assert_eq!(takes(&each(alternates)), [false, true, true, true]);
    }

    /// However a template cuts and joins words, they are known to be words.
    #[test]
    fn words_stay_words() {
        let script = Script { edges: vec!['<', '>'], picture: None };
        let asked = [Message::user(vec![Part::text(" <|a|> "), Part::marks("<|b|>")])];
        let source = "<|m|>{{ messages[0].content[0].text | trim | upper }}{{ messages[0].content[1].text[:3] }}{{ messages[0].content[0].text | tojson }}";
        let text = ChatTemplate::new(source, BTreeMap::new()).unwrap().render(&asked, &script, true).unwrap();
        assert!(text.as_str().starts_with("<|m|><|A|><|b"), "{}", text.as_str());
        let mut expected = PromptText::marks("<|m|>");
        for letter in ["<", "|A|", ">"] {
            if letter.len() == 1 { expected.push_words(letter) } else { expected.push_marks(letter) }
        }
        expected.push_marks("<|b");
        for at in 0..expected.as_str().len() {
            assert_eq!(text.touches_words(at..at + 1), expected.touches_words(at..at + 1), "byte {at}");
        }
    }
}
