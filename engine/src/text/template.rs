//! Chat templates: Jinja programs, published with a checkpoint, that write a conversation as one string.

use std::{collections::BTreeMap, io};

use minijinja::{Environment, Error, ErrorKind, Value, value::Kwargs};
use serde::{Deserialize, Serialize};

use super::TextError;

/// Who speaks a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Standing instructions.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
}

/// One part of a message, in reading order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// A picture; the pictures themselves are handed over apart, in this order.
    Image,
}

impl Part {
    /// A part of words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// One turn of a conversation: `{"role": ..., "content": [{"type": "image"}, {"type": "text", "text": ...}]}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; in JSON a plain string stands for one text part.
    #[serde(deserialize_with = "parts")]
    pub content: Vec<Part>,
}

impl Message {
    /// A turn of the user's.
    pub fn user(content: Vec<Part>) -> Self {
        let role = Role::User;
        Self { role, content }
    }

    /// A turn of the model's.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: vec![Part::text(text)] }
    }

    /// Number of pictures it holds.
    pub fn images(&self) -> usize {
        self.content.iter().filter(|part| **part == Part::Image).count()
    }
}

fn parts<'de, D: serde::Deserializer<'de>>(content: D) -> Result<Vec<Part>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Content {
        Text(String),
        Parts(Vec<Part>),
    }
    Ok(match Content::deserialize(content)? {
        Content::Text(text) => vec![Part::Text { text }],
        Content::Parts(parts) => parts,
    })
}

/// The files of a checkpoint that may hold its chat template; those it has.
#[derive(Clone, Copy, Debug, Default)]
pub struct TemplateFiles<'a> {
    /// `chat_template.jinja`: the template itself.
    pub jinja: Option<&'a [u8]>,
    /// `chat_template.json`: `{"chat_template": ...}`.
    pub json: Option<&'a [u8]>,
    /// `tokenizer_config.json`: `chat_template`, and the special tokens that templates write.
    pub tokenizer_config: Option<&'a [u8]>,
}

const JINJA: &str = "chat_template.jinja";
const JSON: &str = "chat_template.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The template's name in its own error messages.
const NAME: &str = "chat_template";

/// Steps a template may take: thousands of times what a long conversation needs, and an end to endless ones.
const FUEL: u64 = 20_000_000;

/// A compiled chat template with the special tokens it may write.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    special: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Takes the template from the first file that has one, in `transformers`' order: `chat_template.jinja`,
    /// `chat_template.json`, `tokenizer_config.json`. Of several named templates it takes `default`.
    ///
    /// # Errors
    /// [`TextError::NoTemplate`] if none has one, [`TextError::File`] for bad UTF-8, JSON or Jinja,
    /// [`TextError::Field`] for a field of the wrong type.
    pub fn from_files(files: TemplateFiles<'_>) -> Result<Self, TextError> {
        let config = files.tokenizer_config.map(|bytes| object(TOKENIZER_CONFIG, bytes)).transpose()?;
        let (file, source) = if let Some(bytes) = files.jinja {
            let source = std::str::from_utf8(bytes)
                .map_err(|error| TextError::File { file: JINJA, reason: error.to_string() })?;
            (JINJA, source.to_owned())
        } else if let Some(source) = files
            .json
            .map(|bytes| object(JSON, bytes).and_then(|json| template_field(JSON, &json)))
            .transpose()?
            .flatten()
        {
            (JSON, source)
        } else {
            let source = config.as_ref().map(|config| template_field(TOKENIZER_CONFIG, config)).transpose()?.flatten();
            (TOKENIZER_CONFIG, source.ok_or(TextError::NoTemplate)?)
        };
        let special = config.as_ref().map(special_tokens).transpose()?.unwrap_or_default();
        Self::compile(file, source, special)
    }

    /// A template from its text, with special tokens by variable name (`bos_token`, `eos_token`).
    ///
    /// # Errors
    /// [`TextError::File`] if it is no Jinja template.
    pub fn new(source: impl Into<String>, special: BTreeMap<String, String>) -> Result<Self, TextError> {
        Self::compile(JINJA, source.into(), special)
    }

    fn compile(file: &'static str, source: String, special: BTreeMap<String, String>) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        // What `transformers` sets, and Jinja's own defaults.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", to_json);
        let source = without_generation_marks(&source);
        environment
            .template_from_named_str(NAME, &source)
            .map_err(|error| TextError::File { file, reason: told(&error) })?;
        Ok(Self { environment, source, special })
    }

    /// The prompt of a conversation; with `add_generation_prompt`, up to where the model's answer begins.
    ///
    /// # Errors
    /// [`TextError::Render`] if the template fails, refuses the conversation or does not come to an end.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        let context = minijinja::context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            tools => (),
            documents => (),
            ..Value::from_serialize(&self.special),
        };
        self.environment
            .template_from_named_str(NAME, &self.source)
            .and_then(|template| template.render(context))
            .map_err(|error| TextError::Render(told(&error)))
    }
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
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let bad = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut text = Vec::new();
    if let Some(indent) = indent {
        let indent = " ".repeat(indent.min(80));
        let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        value.serialize(&mut serializer).map_err(bad)?;
    } else {
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, PythonSpacing);
        value.serialize(&mut serializer).map_err(bad)?;
    }
    Ok(Value::from(String::from_utf8_lossy(&text).into_owned()))
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

type Object = serde_json::Map<String, serde_json::Value>;

fn object(file: &'static str, bytes: &[u8]) -> Result<Object, TextError> {
    serde_json::from_slice(bytes).map_err(|error| TextError::File { file, reason: error.to_string() })
}

/// `chat_template` of a JSON file: absent, a string, or a list of `{"name", "template"}`.
fn template_field(file: &'static str, json: &Object) -> Result<Option<String>, TextError> {
    use serde_json::Value::{Array, Null, String};

    let wrong = || TextError::Field {
        file,
        field: "chat_template".to_owned(),
        expected: "a string, or a list with a template named `default`",
    };
    match json.get("chat_template") {
        None | Some(Null) => Ok(None),
        Some(String(source)) => Ok(Some(source.clone())),
        Some(Array(named)) => named
            .iter()
            .find(|it| it.get("name").and_then(|name| name.as_str()) == Some("default"))
            .and_then(|it| it.get("template")?.as_str())
            .map(|source| Some(source.to_owned()))
            .ok_or_else(wrong),
        Some(_) => Err(wrong()),
    }
}

/// The special tokens of `tokenizer_config.json` that have a value, each a string or `{"content": ...}`.
fn special_tokens(config: &Object) -> Result<BTreeMap<String, String>, TextError> {
    use serde_json::Value;

    let mut special = BTreeMap::new();
    for name in ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] {
        let text = match config.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => Some(text.as_str()),
            Some(token) => token.get("content").and_then(Value::as_str),
        };
        let text = text.ok_or_else(|| TextError::Field {
            file: TOKENIZER_CONFIG,
            field: name.to_owned(),
            expected: "a string or an object with a string `content`",
        })?;
        special.insert(name.to_owned(), text.to_owned());
    }
    Ok(special)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::golden::{self, json};

    fn rendered(source: &str, messages: &[Message]) -> Result<String, TextError> {
        let special = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
        ChatTemplate::new(source, special)?.render(messages, true)
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
                let prompt = template.render(&messages, true).unwrap();
                assert_eq!(prompt, expected["prompt"], "{model}/{case}");
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
            let prompt = ChatTemplate::from_files(files).unwrap().render(&messages, true).unwrap();
            let expected = json(&format!("{model}/cases/2/expected.json"));
            assert_eq!(prompt, expected["prompt"], "{model}");
        }
    }

    #[test]
    fn speaks_the_jinja_of_transformers() {
        let source = "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ bos_token }}{{ m.role.upper() }}\n  {% endif %}\n{% endfor %}\n";
        assert_eq!(rendered(source, &hello()).unwrap(), "<s>USER\n");
        let source = "{{ messages | tojson }}";
        assert_eq!(
            rendered(source, &hello()).unwrap(),
            r#"[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a <b> & 'c'"}]}]"#
        );
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
    fn reads_plain_and_listed_content() {
        let plain: Message = serde_json::from_str(r#"{"role": "user", "content": "hi"}"#).unwrap();
        assert_eq!(plain, Message::user(vec![Part::text("hi")]));
        assert_eq!(hello()[0].images(), 1);
    }

    #[test]
    fn tells_why_a_template_fails() {
        let error = rendered("{% if %}", &[]).unwrap_err();
        assert!(matches!(error, TextError::File { file: JINJA, .. }), "{error}");
        let error = rendered("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
        assert!(matches!(&error, TextError::Render(it) if it.contains("roles must alternate")), "{error}");
        let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
        assert!(matches!(rendered(endless, &[]), Err(TextError::Render(_))));
        let clock = rendered("{{ strftime_now('%Y') }}", &[]);
        assert!(matches!(clock, Err(TextError::Render(_))));
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
        assert_eq!(config(named).unwrap().render(&[], false).unwrap(), "x</s>");
        let files = TemplateFiles { jinja: Some(&[0xff]), ..TemplateFiles::default() };
        assert!(matches!(ChatTemplate::from_files(files), Err(TextError::File { file: JINJA, .. })));
    }
}
