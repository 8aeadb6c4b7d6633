//! Configurations and weights that make no sense: an error that names what is wrong, never a panic.

use std::collections::BTreeMap;

use fovea_engine::{
    testing::{Memory, block_on, golden, gpus},
    weights::{Bytes, Format, Policy, Safetensors, TensorInfo, WeightError, WeightSource},
};
use fovea_models::{Blueprint, Checkpoint, Files, SMALL_FILES, System, image::Size};
use serde_json::{Value, json};

fn files(model: &str) -> BTreeMap<String, Vec<u8>> {
    let there = SMALL_FILES.iter().filter(|file| golden::path(&format!("{model}/{file}")).exists());
    there.map(|file| ((*file).to_owned(), golden::bytes(&format!("{model}/{file}")))).collect()
}

/// Every place in a JSON value, as a pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            found.push(at.to_owned());
            items.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

/// Whatever stands in one place, a configuration is read or refused; what is read can be counted.
#[test]
fn any_value_in_a_configuration_is_handled() {
    let absurd = [
        json!(null),
        json!(0),
        json!(-1),
        json!(1),
        json!(3),
        json!(1e300),
        json!(4_294_967_297u64),
        json!("x"),
        json!([]),
        json!({}),
        json!(true),
    ];
    for model in golden::models("model.safetensors") {
        let original = files(&model);
        for name in ["config.json", "preprocessor_config.json"] {
            let Some(bytes) = original.get(name) else { continue };
            let file: Value = serde_json::from_slice(bytes).expect("the fixture's JSON");
            let mut found = Vec::new();
            places(&file, "", &mut found);
            for place in found {
                for value in &absurd {
                    let mut changed = file.clone();
                    *changed.pointer_mut(&place).expect("a place of its own") = value.clone();
                    let mut files = original.clone();
                    files.insert(name.to_owned(), changed.to_string().into_bytes());
                    let Ok(blueprint) = Blueprint::read(Files(&files)) else { continue };
                    for size in [Size::new(1, 1), Size::new(1, 300), Size::new(1280, 800)] {
                        let _ = blueprint.image_tokens(size);
                        let _ = blueprint.flops(size, 64);
                    }
                    let _ = (blueprint.parameters(), blueprint.unused(), blueprint.step_products());
                }
            }
        }
    }
}

/// A checkpoint without one of its tensors.
struct Without {
    inner: Safetensors<Memory>,
    hidden: String,
}

impl WeightSource for Without {
    fn names(&self) -> Vec<&str> {
        self.inner.names().into_iter().filter(|name| *name != self.hidden).collect()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        if name == self.hidden { None } else { self.inner.info(name) }
    }

    fn missing(&self, name: &str) -> WeightError {
        self.inner.missing(name)
    }

    fn file(&self, index: usize) -> &str {
        self.inner.file(index)
    }

    fn files(&self) -> String {
        self.inner.files()
    }

    fn read<'a>(&'a self, info: &'a TensorInfo, range: std::ops::Range<u64>) -> Bytes<'a> {
        self.inner.read(info, range)
    }
}

/// Published and not run: layers and norms behind the output that is taken.
fn is_unused(model: &str, tensor: &str) -> bool {
    let last = |layers: &str| tensor.contains(layers);
    match model {
        "llava" | "llava_next" => last("post_layernorm") || last("encoder.layers.2."),
        _ => false,
    }
}

/// A tensor that is missing is named, whichever it is.
#[test]
fn every_missing_tensor_is_named() {
    let gpu = &gpus()[0];
    for model in [
        "llava",
        "llava_next",
        "pixtral",
        "internvl",
        "internvl_6b",
        "idefics3",
        "smolvlm",
        "paligemma",
        "paligemma2",
        "mllama",
    ] {
        let weights = || Memory::new("model.safetensors", golden::bytes(&format!("{model}/model.safetensors")));
        let open = || block_on(Safetensors::open(vec![weights()])).expect("the fixture's weights");
        let names: Vec<String> = open().names().into_iter().map(str::to_owned).collect();
        for name in names.into_iter().filter(|name| !is_unused(model, name)) {
            let source = Without { inner: open(), hidden: name.clone() };
            let checkpoint = Checkpoint::new(files(model), Box::new(source));
            let loaded = block_on(System::load(&checkpoint, gpu, Policy::uniform(Format::F32), &|_| ()));
            let error = loaded.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(&name), "{model}: without {name}: {error:?}");
        }
    }
}

/// Numbers that no decoder can use are refused by the name of their field.
#[test]
fn windows_and_caps_of_nothing_are_named() {
    let none = json!("none");
    for (field, value) in [
        ("sliding_window", json!(0)),
        ("sliding_window", json!(1u64 << 40)),
        ("layer_types", json!([])),
        ("layer_types", json!(["sliding_attention", "full_attention", none, none])),
        ("query_pre_attn_scalar", json!(0)),
        ("query_pre_attn_scalar", json!(-256)),
        ("attn_logit_softcapping", json!(0.0)),
        ("attn_logit_softcapping", json!(-50)),
        ("attn_logit_softcapping", json!(1e300)),
        ("final_logit_softcapping", json!(0)),
    ] {
        let mut files = files("paligemma2");
        let mut config: Value = serde_json::from_slice(&files["config.json"]).expect("the fixture's JSON");
        config["text_config"][field] = value.clone();
        files.insert("config.json".to_owned(), config.to_string().into_bytes());
        let error = Blueprint::read(Files(&files)).expect_err("refused").to_string();
        assert!(error.contains(&format!("text_config.{field}")), "{value}: {error}");
    }
}

/// What has no window or cap says so with null.
#[test]
fn windows_and_caps_may_be_absent() {
    let mut files = files("paligemma2");
    let mut config: Value = serde_json::from_slice(&files["config.json"]).expect("the fixture's JSON");
    for field in ["sliding_window", "attn_logit_softcapping", "final_logit_softcapping"] {
        config["text_config"][field] = Value::Null;
    }
    files.insert("config.json".to_owned(), config.to_string().into_bytes());
    let decoder = Blueprint::read(Files(&files)).expect("a system").decoder;
    assert_eq!((decoder.window, decoder.options.score_cap, decoder.options.logit_cap), (None, None, None));
}
