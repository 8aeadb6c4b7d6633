//! Answers of `fovea generate` that keep to a schema, a regular expression or a grammar.

mod common;

use common::{Scratch, adapters, assert_fails, fovea, golden};
use serde_json::Value;

fn generate(options: &[&str]) -> std::process::Output {
    let model = golden("qwen2_vl");
    let common = ["--json", "--quant", "f32", "--max-tokens", "64", "--adapter", &adapters()[0], "--model"];
    fovea().args(["generate", "Is there a red box?"]).args(options).args(common).arg(model).output().unwrap()
}

/// The text of a whole answer.
fn answer(options: &[&str]) -> String {
    let output = generate(options);
    assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answer = &value["answers"][0];
    assert_eq!(answer["whole"], true, "{value}");
    answer["text"].as_str().unwrap().to_owned()
}

/// Random weights would write none of these by themselves.
#[test]
fn answers_keep_to_what_is_asked_for() {
    let scratch = Scratch::new();
    let schema = r#"{"type": "object", "properties": {"found": {"type": "boolean"}}, "required": ["found"],
        "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}}"#;
    let schema = scratch.write("schema.json", schema);
    let ebnf = scratch.write("grammar.lark", "start: \"go \" (\"left\" | \"right\")");
    let (schema, ebnf) = (schema.to_str().unwrap(), ebnf.to_str().unwrap());

    let text = answer(&["--json-schema", schema]);
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert!(value["found"].is_boolean(), "{text:?}");
    let text = answer(&["--regex", "yes|no"]);
    assert!(["yes", "no"].contains(&text.as_str()), "{text:?}");
    assert!(["yes", "no"].contains(&answer(&["--regex", "yes|no", "--beams", "2"]).as_str()));
    let text = answer(&["--ebnf", ebnf]);
    assert!(["go left", "go right"].contains(&text.as_str()), "{text:?}");
}

#[test]
fn forms_that_make_no_sense_are_refused() {
    let scratch = Scratch::new();
    let broken = scratch.write("broken.lark", "start: (\"a\"");
    let (broken, missing) = (broken.to_str().unwrap(), scratch.path("missing.json"));
    let missing = missing.to_str().unwrap();
    let usage = |options: &[&str]| assert_fails(&generate(options), 2, &["cannot be used with"]);
    usage(&["--regex", "a", "--ebnf", broken]);
    for (options, words) in [
        (["--regex", "("], "the grammar cannot be followed"),
        (["--ebnf", broken], "the grammar cannot be followed"),
        (["--json-schema", missing], "missing.json"),
        (["--json-schema", broken], "broken.lark"),
    ] {
        let output = generate(&options);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(words), "{options:?}: {message}");
    }
}
