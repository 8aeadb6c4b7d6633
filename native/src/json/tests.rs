//! `docs/json.md` is made of the types that are printed.

use std::{env, fmt::Write, fs, path::Path};

use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use super::*;

/// The documentation's beginning.
const INTRODUCTION: &str = "\
# What `--json` prints

Made from the types that are printed, by a test: `FOVEA_WRITE_DOCS=1 ./x test json_is_documented` writes it.

Every object has a `version`, now 1. It grows when a field goes or changes its meaning; a new field leaves it, so readers
pass over fields that they do not know. Coordinates are pixels of the picture as people see it, from its upper left corner;
fractions of a pixel occur. Times are seconds, sizes bytes. Text is UTF-8.

`fovea ground` prints an object on a line for each instruction, as soon as it is answered, and `fovea eval --predictions`
writes one for each question; every other command prints one object. Where a command fails before it has a result, standard
output is empty, standard error has the reason, and `fovea --help` explains the exit code.
";

#[test]
fn json_is_documented() {
    let mut text = INTRODUCTION.to_owned();
    section::<Grounding<'_>>(&mut text);
    section::<Generation>(&mut text);
    section::<Scores<'_>>(&mut text);
    section::<Evaluation<'_>>(&mut text);
    section::<Prediction<'_>>(&mut text);
    section::<Inspection>(&mut text);
    section::<Bench>(&mut text);
    section::<Dump>(&mut text);
    section::<Devices>(&mut text);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md");
    if env::var_os("FOVEA_WRITE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/json.md is not what the types say: FOVEA_WRITE_DOCS=1 ./x test json_is_documented");
}

/// Actions come from the library as they are: each field and kind is documented, and none besides.
#[test]
fn every_field_of_an_action_is_documented() {
    use fovea_models::grounding::{self, Direction, Target};
    let region = PixelBox::new(1.0, 2.0, 3.0, 4.0);
    let some = |text: &str| Some(text.to_owned());
    let target = || Target { element_type: some("button"), element_info: some("Search"), region };
    let (text, output, result) = (|| "text".to_owned(), || "output".to_owned(), some("result"));
    let actions = [
        grounding::Action::Click(target()),
        grounding::Action::DoubleClick(target()),
        grounding::Action::RightClick(target()),
        grounding::Action::Hover(target()),
        grounding::Action::Type { target: target(), text: text() },
        grounding::Action::Select { target: target(), text: text() },
        grounding::Action::Scroll { target: target(), direction: Direction::Up, steps: 3 },
        grounding::Action::KeyPress { key: text() },
        grounding::Action::Gesture(vec![grounding::Key::Press(text())]),
        grounding::Action::Launch { app: some("app"), url: some("url") },
        grounding::Action::QuoteText {
            target: target(),
            output: output(),
            result: result.clone(),
            auto_scroll: Some(true),
        },
        grounding::Action::QuoteClipboard { output: output(), result: result.clone() },
        grounding::Action::Llm { prompt: text(), output: output(), result },
        grounding::Action::End,
        grounding::Action::Absent,
    ];
    let schema = schema_for!(Action).to_value();
    let properties = schema["properties"].as_object().unwrap();
    let kinds = properties["kind"]["description"].as_str().unwrap();
    let mut unused: Vec<&str> = properties.keys().map(String::as_str).collect();
    for action in &actions {
        let printed = action.to_json();
        assert!(kinds.contains(&format!("`{}`", action.kind())), "{} is not in: {kinds}", action.kind());
        for name in printed.as_object().unwrap().keys() {
            assert!(properties.contains_key(name), "{name} of {printed} is not documented");
            unused.retain(|it| it != name);
        }
    }
    assert!(unused.is_empty(), "no action has {unused:?}");
}

/// A command's object, and the objects in it.
fn section<T: JsonSchema>(text: &mut String) {
    let schema = schema_for!(T).to_value();
    let about = schema["description"].as_str().unwrap();
    let (title, rest) = about.split_once([':', '.']).unwrap();
    let _ = write!(text, "\n## {title}\n\n");
    let rest = joined(rest);
    if !rest.is_empty() {
        let mut letters = rest.chars();
        let first = letters.next().map(|it| it.to_uppercase().to_string()).unwrap_or_default();
        let _ = write!(text, "{first}{}\n\n", letters.as_str());
    }
    fields(text, &schema);
    for (name, inner) in schema["$defs"].as_object().into_iter().flatten() {
        let _ = write!(text, "\n`{name}`: {}\n\n", joined(inner["description"].as_str().unwrap()));
        fields(text, inner);
    }
}

fn fields(text: &mut String, schema: &Value) {
    text.push_str("| field | type | meaning |\n| --- | --- | --- |\n");
    for (name, field) in schema["properties"].as_object().unwrap() {
        let about = field["description"].as_str().unwrap_or_else(|| panic!("{name} is not documented"));
        let _ = writeln!(text, "| `{name}` | {} | {} |", kind(field), joined(about));
    }
}

/// A type in words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return format!("`{}`", name.rsplit('/').next().unwrap());
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
        other => panic!("{other} in {schema}"),
    };
    let words = names.into_iter().map(|name| match name {
        "array" => match (&schema["items"], &schema["prefixItems"]) {
            (Value::Null, Value::Array(items)) => format!("list of {} {}s", items.len(), kind(&items[0])),
            (items, _) => match schema["maxItems"].as_u64() {
                Some(count) => format!("list of {count} {}s", kind(items)),
                None => format!("list of {}", kind(items)),
            },
        },
        "object" => format!("object of {} by name", kind(&schema["additionalProperties"])),
        name => name.to_owned(),
    });
    words.collect::<Vec<_>>().join(" or ")
}

fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
