//! Checkpoints as several versions of `transformers` write them: whatever the keys of the configuration and the names of
//! the tensors are, the answers are the fixture's, and what is not understood is refused by its name.
//!
//! `configs/saved` holds the configurations of `configs` as `to_dict` of two versions writes them, with every key that
//! their classes have; `configs/v5` holds three fixtures' in the newest form.

use std::{collections::BTreeMap, error::Error, path::Path, sync::Arc};

use fovea_engine::{
    testing::{Memory, block_on, golden, gpus},
    text::{Message, Part},
    weights::{Format, Policy, Safetensors},
};
use fovea_models::{Blueprint, Checkpoint, Files, GenerateOptions, SMALL_FILES, Session, System, image::Picture};
use serde_json::{Map, Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;
type Small = BTreeMap<String, Vec<u8>>;

const CONFIG: &str = "config.json";

fn small(model: &str) -> Small {
    let there = SMALL_FILES.iter().filter(|file| golden::path(&format!("{model}/{file}")).exists());
    there.map(|file| ((*file).to_owned(), golden::bytes(&format!("{model}/{file}")))).collect()
}

fn parsed(files: &Small, name: &str) -> Value {
    serde_json::from_slice(&files[name]).expect("JSON")
}

/// A fixture's small files with another configuration.
fn with_config(model: &str, config: &Value) -> Small {
    let mut files = small(model);
    files.insert(CONFIG.to_owned(), config.to_string().into_bytes());
    files
}

fn config(model: &str) -> Value {
    golden::json(&format!("{model}/{CONFIG}"))
}

/// A fixture's weights whose header and numbers were changed.
fn weights(model: &str, change: impl FnOnce(&mut Map<String, Value>, &mut Vec<u8>)) -> Vec<u8> {
    let bytes = golden::bytes(&format!("{model}/model.safetensors"));
    let (length, rest) = bytes.split_first_chunk::<8>().expect("a header");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Map<String, Value> = serde_json::from_slice(header).expect("a header");
    let mut data = data.to_vec();
    change(&mut header, &mut data);
    let header = Value::Object(header).to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// Adds a tensor of zeros, or of these numbers.
fn add(header: &mut Map<String, Value>, data: &mut Vec<u8>, name: &str, values: &[f32]) {
    let start = data.len();
    data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let entry = json!({"dtype": "F32", "shape": [values.len()], "data_offsets": [start, data.len()]});
    header.insert(name.to_owned(), entry);
}

/// A tensor's numbers.
fn floats(header: &Map<String, Value>, data: &[u8], name: &str) -> Vec<f32> {
    let at = |index: usize| header[name]["data_offsets"][index].as_u64().expect("an offset") as usize;
    data[at(0)..at(1)].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn load(files: Small, weights: Vec<u8>) -> Outcome<Arc<System>> {
    let weights = block_on(Safetensors::open(vec![Memory::new("model.safetensors", weights)]))?;
    let checkpoint = Checkpoint::new(files, Box::new(weights));
    let policy = Policy::uniform(Format::F32);
    Ok(Arc::new(block_on(System::load(&checkpoint, &gpus()[0], policy, &|_| ()))?))
}

#[track_caller]
fn refused(files: Small, weights: Vec<u8>, named: &[&str]) {
    let error = load(files, weights).err().expect("refused").to_string();
    assert!(named.iter().all(|name| error.contains(name)), "{named:?}: {error}");
}

/// The answer to a fixture's first case is the reference's.
#[track_caller]
fn answers(model: &str, files: Small, weights: Vec<u8>) {
    let answer = || -> Outcome<Vec<u32>> {
        let system = load(files, weights)?;
        let mut session = Session::new(&system)?;
        let folder = format!("{model}/cases/0");
        let prompt = golden::json(&format!("{folder}/prompt.json"));
        let picture = Picture::decode(&golden::bytes(&format!("{folder}/image.png")))?;
        let messages: Vec<Message> = match prompt["prompt"].as_str() {
            Some(text) => vec![Message::user(vec![Part::Image, Part::text(text)])],
            None => serde_json::from_value(prompt["messages"].clone())?,
        };
        let image = block_on(session.encode(&picture, &|_| ()))?;
        let prompt = session.prepare(&messages, &[image])?;
        let options = GenerateOptions { max_tokens: expected(model).len(), ignore_stop: true, ..Default::default() };
        Ok(block_on(session.generate(&prompt, &options, &|_| (), &mut |_| true))?)
    };
    assert_eq!(answer().unwrap_or_else(|error| panic!("{model}: {error}")), expected(model), "{model}");
}

fn expected(model: &str) -> Vec<u32> {
    let expected = golden::json(&format!("{model}/cases/0/expected.json"));
    serde_json::from_value(expected["generated_ids"].clone()).expect("ids")
}

fn unchanged(model: &str) -> Vec<u8> {
    golden::bytes(&format!("{model}/model.safetensors"))
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/configs"))
}

fn read(files: &Small) -> Result<String, String> {
    // All that follows from a configuration.
    Blueprint::read(Files(files)).map(|blueprint| format!("{blueprint:?}")).map_err(|error| error.to_string())
}

#[track_caller]
fn names(files: &Small, named: &[&str]) {
    let error = read(files).expect_err("refused");
    assert!(named.iter().all(|name| error.contains(name)), "{named:?}: {error}");
}

#[test]
fn configurations_of_transformers_5_give_the_same_answers() {
    for model in ["internvl", "mllama", "qwen2_vl"] {
        let path = folder().join(format!("v5/{model}.json"));
        let config: Value = serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
        answers(model, with_config(model, &config), unchanged(model));
    }
}

/// Published configurations with every key that two versions of the reference write.
#[test]
fn configurations_with_all_keys_are_the_same_systems() {
    let mut count = 0;
    for version in ["4.57.1", "5.24.0"] {
        for file in std::fs::read_dir(folder().join("saved").join(version)).expect("a folder") {
            let path = file.expect("a file").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            let mut files = Small::new();
            if let Ok(bytes) = std::fs::read(folder().join(format!("{name}.preprocessor.json"))) {
                files.insert("preprocessor_config.json".to_owned(), bytes);
            }
            let mut of = |path: &Path| {
                files.insert(CONFIG.to_owned(), std::fs::read(path).expect("a file"));
                let mut blueprint = Blueprint::read(Files(&files)).unwrap_or_else(|error| panic!("{path:?}: {error}"));
                // The classes have ids of their own where a file has none.
                blueprint.stop.clear();
                blueprint.decoder.options.tied_without_head = false;
                format!("{blueprint:#?}")
            };
            let (short, long) = (of(&folder().join(format!("{name}.json"))), of(&path));
            let differ = short.lines().zip(long.lines()).find(|(a, b)| a != b);
            assert_eq!(differ, None, "{version} {name}");
            count += 1;
        }
    }
    assert!(count >= 28, "{count} configurations");
}

/// Files of fine-tuned models leave out what their classes have by default.
#[test]
fn what_a_file_leaves_out_is_its_classes_default() {
    for (name, part, left_out) in [
        ("qwen2_vl", "vision_config", &["depth", "embed_dim", "mlp_ratio", "num_heads", "patch_size"][..]),
        ("qwen2_vl", "vision_config", &["spatial_merge_size", "temporal_patch_size"]),
        ("qwen2_5_vl", "vision_config", &["depth", "intermediate_size", "num_heads", "patch_size", "window_size"]),
        ("qwen2_5_vl", "vision_config", &["spatial_merge_size", "temporal_patch_size", "fullatt_block_indexes"]),
        ("internvl", "vision_config", &["hidden_size", "image_size", "intermediate_size", "layer_norm_eps"]),
        ("internvl", "vision_config", &["num_attention_heads", "num_hidden_layers", "patch_size", "norm_type"]),
        ("mllama", "vision_config", &["attention_heads", "hidden_size", "intermediate_layers_indices", "patch_size"]),
        ("mllama", "vision_config", &["intermediate_size", "max_num_tiles", "norm_eps", "num_global_layers"]),
        ("mllama", "vision_config", &["num_hidden_layers", "supported_aspect_ratios", "vision_output_dim"]),
        ("kosmos2", "text_config", &["attention_heads", "embed_dim", "eos_token_id", "ffn_dim", "layer_norm_eps"]),
        ("kosmos2", "text_config", &["layers", "max_position_embeddings", "vocab_size", "activation_function"]),
    ] {
        let bytes = std::fs::read(folder().join(format!("{name}.json"))).expect("a file");
        let mut config: Value = serde_json::from_slice(&bytes).expect("JSON");
        let mut files = Small::from([(CONFIG.to_owned(), bytes)]);
        if let Ok(bytes) = std::fs::read(folder().join(format!("{name}.preprocessor.json"))) {
            files.insert("preprocessor_config.json".to_owned(), bytes);
        }
        let whole = read(&files).expect("a system");
        for key in left_out {
            assert!(config[part].as_object_mut().expect("an object").remove(*key).is_some(), "{name} {key}");
        }
        files.insert(CONFIG.to_owned(), config.to_string().into_bytes());
        assert_eq!(read(&files).unwrap_or_else(|error| panic!("{name}: {error}")), whole, "{name} {left_out:?}");
    }
    // Qwen's towers end by default with the width of the decoders of 7B.
    for (name, width) in [("qwen2_vl", "hidden_size"), ("qwen2_5_vl", "out_hidden_size")] {
        let bytes = std::fs::read(folder().join(format!("{name}.json"))).expect("a file");
        let mut config: Value = serde_json::from_slice(&bytes).expect("JSON");
        (config["hidden_size"], config["num_attention_heads"]) = (3584.into(), 28.into());
        config["num_key_value_heads"] = 4.into();
        config["vision_config"].as_object_mut().expect("an object").remove(width);
        let preparation = std::fs::read(folder().join(format!("{name}.preprocessor.json"))).expect("a file");
        let files = Small::from([
            (CONFIG.to_owned(), config.to_string().into_bytes()),
            ("preprocessor_config.json".to_owned(), preparation),
        ]);
        assert_eq!(read(&files).map(|_| ()), Ok(()), "{name}");
    }
}

/// Keys in the words of transformers 5: `rope_parameters`, `dtype`, a nested decoder, the other name of the picture's
/// token.
fn newer(config: &Value) -> Value {
    let mut config = config.as_object().expect("an object").clone();
    let qwen = config["model_type"].as_str().is_some_and(|it| it.starts_with("qwen"));
    if qwen && !config.contains_key("text_config") {
        let stay = ["vision_config", "model_type", "architectures", "tie_word_embeddings", "image_token_id"];
        let mut text = config.clone();
        text.retain(|key, _| !stay.contains(&key.as_str()) && !key.starts_with("fovea"));
        config.retain(|key, _| stay.contains(&key.as_str()) || key.starts_with("fovea"));
        config.insert("text_config".to_owned(), text.into());
    }
    for (old, new) in [("image_token_index", "image_token_id"), ("image_token_id", "image_token_index")] {
        if let Some(id) = config.remove(old) {
            config.insert(new.to_owned(), id);
            break;
        }
    }
    for part in ["text_config", "vision_config"] {
        let Some(level) = config.get_mut(part).and_then(Value::as_object_mut) else { continue };
        let mut rope = match level.remove("rope_scaling") {
            Some(Value::Object(rope)) => rope,
            _ => Map::new(),
        };
        rope.extend(level.remove("rope_theta").map(|theta| ("rope_theta".to_owned(), theta)));
        if !rope.is_empty() {
            rope.entry("rope_type").or_insert("default".into());
            level.insert("rope_parameters".to_owned(), rope.into());
        }
        level.insert("dtype".to_owned(), "float32".into());
        level.remove("torch_dtype");
        level.insert("id2label".to_owned(), json!({"0": "LABEL_0"}));
        level.insert("pad_token_id".to_owned(), Value::Null);
    }
    Value::Object(config)
}

#[test]
fn newer_keys_are_the_older_ones() {
    for model in golden::models("model.safetensors") {
        let config = config(&model);
        if config.get("vision_config").is_none() || config.get("model_type").is_none_or(|it| it == "chatglm") {
            continue;
        }
        let changed = newer(&config);
        assert_ne!(changed, config);
        let (old, new) = (read(&small(&model)), read(&with_config(&model, &changed)));
        assert_eq!(old.expect("a system"), new.unwrap_or_else(|error| panic!("{model}: {error}")), "{model}");
    }
}

/// Begins of names, older and as transformers writes them since 4.52; those of 5 for LLaVA's towers.
const RENAMED: &[(&str, &str)] = &[
    ("language_model.lm_head.", "lm_head."),
    ("language_model.model.", "model.language_model."),
    ("vision_tower.", "model.vision_tower."),
    ("multi_modal_projector.", "model.multi_modal_projector."),
    ("image_newline", "model.image_newline"),
    ("vision_model.", "model.vision_model."),
    ("visual.", "model.visual."),
    ("model.", "model.language_model."),
];

fn renamed(model: &str, names: &[(&str, &str)]) -> Vec<u8> {
    weights(model, |header, _| {
        let new = |name: &str| {
            let found = names.iter().find_map(|(old, new)| Some((new, name.strip_prefix(old)?)));
            found.map_or_else(|| name.to_owned(), |(new, rest)| format!("{new}{rest}"))
        };
        let changed: Map<String, Value> =
            std::mem::take(header).into_iter().map(|(name, it)| (new(&name), it)).collect();
        *header = changed;
    })
}

#[test]
fn tensors_may_have_the_newer_names() {
    for model in ["qwen2_vl", "qwen2_5_vl", "llava", "llava_next", "pixtral", "internvl", "mllama", "paligemma"] {
        answers(model, small(model), renamed(model, RENAMED));
    }
}

/// In part the one, in part the other, whatever the configuration's version.
#[test]
fn each_part_may_have_its_own_names() {
    let bare = [("vision_tower.vision_model.", "model.vision_tower.")];
    for (model, names) in [
        ("llava", &bare[..]),
        ("paligemma", &[("vision_tower.vision_model.", "vision_tower.")]),
        ("llava_next", &RENAMED[..2]),
        ("internvl", &RENAMED[2..4]),
    ] {
        answers(model, with_config(model, &newer(&config(model))), renamed(model, names));
    }
}

/// Attention whose values and outputs have biases that cancel: `out(v + b) - out b`.
#[test]
fn attention_biases_are_used_where_the_configuration_has_them() {
    let (model, at) = ("llava", "language_model.model.layers.0.self_attn");
    let biased = |cancelled: bool| {
        weights(model, |header, data| {
            let layers = (0..).take_while(|index| header.contains_key(&at_layer(at, *index, "q_proj.weight"))).count();
            for layer in 0..layers {
                for name in ["q_proj", "k_proj"] {
                    add(header, data, &at_layer(at, layer, &format!("{name}.bias")), &[0.0; 64]);
                }
                let values: Vec<f32> = (0..64).map(|i| (i % 7) as f32 * 0.1 - 0.3).collect();
                let out = floats(header, data, &at_layer(at, layer, "o_proj.weight"));
                let out = out.chunks(64).map(|row| -row.iter().zip(&values).map(|(w, b)| w * b).sum::<f32>());
                let out: Vec<f32> = out.map(|it| if cancelled { it } else { 0.0 }).collect();
                add(header, data, &at_layer(at, layer, "v_proj.bias"), &values);
                add(header, data, &at_layer(at, layer, "o_proj.bias"), &out);
            }
        })
    };
    let mut config = config(model);
    config["text_config"]["attention_bias"] = true.into();
    answers(model, with_config(model, &config), biased(true));
    // Where the configuration has none, they are not passed over.
    refused(small(model), biased(true), &["self_attn", ".bias"]);
    // And without them, they are missed.
    refused(with_config(model, &config), unchanged(model), &["self_attn.q_proj.bias", "missing"]);
    config["text_config"]["attention_bias"] = false.into();
    refused(with_config(model, &config), biased(false), &["bias"]);
}

fn at_layer(at: &str, layer: usize, name: &str) -> String {
    format!("{}.{name}", at.replace("layers.0", &format!("layers.{layer}")))
}

#[test]
fn tensors_that_nothing_uses_are_named() {
    for (model, name) in [
        ("llava", "multi_modal_projector.linear_3.weight"),
        ("qwen2_vl", "model.layers.0.self_attn.o_proj.bias"),
        ("qwen2_vl", "model.layers.3.input_layernorm.weight"),
        ("qwen2_5_vl", "visual.blocks.0.attn.q_norm.weight"),
        ("pixtral", "language_model.model.layers.0.self_attn.q_proj.bias"),
        ("glm_4v_9b", "transformer.encoder.layers.0.self_attention.dense.bias"),
    ] {
        refused(small(model), weights(model, |header, data| add(header, data, name, &[0.0; 8])), &[name]);
    }
}

#[test]
fn tables_and_tied_heads_may_lie_there() {
    let with = weights("qwen2_vl", |header, data| {
        for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "visual.rotary_pos_emb.inv_freq"] {
            add(header, data, name, &[0.0; 8]);
        }
        header.insert("lm_head.weight".to_owned(), header["model.embed_tokens.weight"].clone());
        let start = data.len();
        data.extend([0; 16]);
        let ids = json!({"dtype": "I64", "shape": [2], "data_offsets": [start, start + 16]});
        header.insert("visual.embeddings.position_ids".to_owned(), ids);
    });
    answers("qwen2_vl", small("qwen2_vl"), with);
}

/// The embedding would take its place without a word.
#[test]
fn a_stored_head_that_is_not_the_tied_one_is_named() {
    for (model, key, head) in [
        ("llava", "tie_word_embeddings", "language_model.lm_head.weight"),
        ("cogagent_9b", "tie_word_embeddings", "transformer.output_layer.weight"),
        ("cogvlm_17b", "tie_word_embeddings", "lm_head.weight"),
    ] {
        let mut config = config(model);
        config[key] = true.into();
        refused(with_config(model, &config), unchanged(model), &[head, key, "config.json"]);
    }
    let short = weights("qwen2_vl", |header, data| add(header, data, "lm_head.weight", &[0.0; 8]));
    refused(small("qwen2_vl"), short, &["lm_head.weight", "model.embed_tokens.weight"]);
}

/// A configuration that says both, as files do: the stored head decides.
#[test]
fn a_disputed_head_is_the_stored_one() {
    for (model, untied) in [("llava", true), ("qwen2_vl", false)] {
        let mut config = newer(&config(model));
        config["tie_word_embeddings"] = true.into();
        config["text_config"]["tie_word_embeddings"] = false.into();
        let files = with_config(model, &config);
        let stored = golden::bytes(&format!("{model}/model.safetensors"));
        let system = load(files.clone(), stored.clone()).expect("a system");
        assert_eq!(system.blueprint().decoder.tied, !untied, "{model}");
        answers(model, files, stored);
    }
}

#[test]
fn packed_weights_and_adapters_are_named_for_what_they_are() {
    for (name, kind) in [
        ("language_model.model.layers.0.mlp.up_proj.qweight", "GPTQ or AWQ"),
        ("language_model.model.layers.0.mlp.up_proj.weight_scale_inv", "fp8"),
        ("language_model.model.layers.0.mlp.up_proj.SCB", "bitsandbytes"),
        ("language_model.model.layers.0.mlp.up_proj.weight.absmax", "bitsandbytes"),
        ("language_model.model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4", "bitsandbytes"),
        ("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", "merge_and_unload"),
    ] {
        refused(small("llava"), weights("llava", |header, data| add(header, data, name, &[0.0; 8])), &[name, kind]);
    }
    for method in ["awq", "gptq", "fp8", "bitsandbytes", "compressed-tensors"] {
        let mut config = config("qwen2_vl");
        config["quantization_config"] = json!({"quant_method": method, "bits": 4});
        let method = method.to_uppercase();
        names(&with_config("qwen2_vl", &config), &["quantization_config", &method, "original checkpoint"]);
    }
    let mut files = small("qwen2_vl");
    files.insert(
        "adapter_config.json".to_owned(),
        br#"{"base_model_name_or_path": "a/b", "peft_type": "LORA"}"#.to_vec(),
    );
    names(&files, &["adapter_config.json", "PEFT", "a/b", "merge"]);
}

#[test]
fn files_of_other_kinds_are_named_for_what_they_are() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    for (content, what) in [
        (pointer, "Git LFS pointer"),
        ("<!DOCTYPE html>\n<html class=\"\">", "web page"),
        ("\n <HTML>", "web page"),
        ("GGUF\x03\0\0\0", "GGUF"),
        ("{\"error\":\"Repository not found\"}", "server's error"),
    ] {
        for name in [CONFIG, "generation_config.json", "preprocessor_config.json", "tokenizer.json"] {
            let mut files = small("qwen2_vl");
            files.insert(name.to_owned(), content.as_bytes().to_vec());
            names(&files, &[name, what]);
        }
    }
}

/// Whichever file it is.
#[test]
fn json_files_that_hold_no_object_are_named_with_their_beginning() {
    let whole = small("qwen2_vl");
    let utf16 = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    for (content, what) in [
        (b"Access to model x is restricted.".to_vec(), "begins with \"Access to model"),
        (vec![0; 64], "begins with \"\\0"),
        (b" [1]".to_vec(), "begins with \"[1]"),
        (b"null".to_vec(), "begins with \"null"),
        (Vec::new(), "empty"),
        (b"\xef\xbb\xbf".to_vec(), "empty"),
        (b"<!-- Sorry --><html>".to_vec(), "web page"),
        (utf16("\u{feff}{\"a\": 1}"), "UTF-16"),
    ] {
        for name in whole.keys().filter(|name| name.ends_with(".json")) {
            let mut files = whole.clone();
            files.insert(name.clone(), content.clone());
            names(&files, &[name, what]);
        }
    }
}

/// Editors put one before the text, whichever file it is.
#[test]
fn byte_order_marks_are_no_part_of_a_file() {
    for model in ["qwen2_vl", "qwen2_5_vl_v5"] {
        let files = small(model).into_iter();
        let marked = files.map(|(name, bytes)| (name, [b"\xef\xbb\xbf".as_slice(), &bytes].concat())).collect();
        answers(model, marked, unchanged(model));
    }
    let mut files = small("qwen2_vl");
    files.remove("tokenizer.json").expect("to read the others");
    let marked = files.into_iter().map(|(name, bytes)| (name, [b"\xef\xbb\xbf".as_slice(), &bytes].concat()));
    answers("qwen2_vl", marked.collect(), unchanged("qwen2_vl"));
}

/// Keys that change numbers and that nothing here does, in each system.
#[test]
fn keys_that_are_not_understood_are_named() {
    for (model, place, value) in [
        ("llava", "text_config/logit_scale", json!(0.5)),
        ("llava", "text_config/attn_logit_softcapping", json!(50.0)),
        ("llava", "text_config/final_logit_softcapping", json!(30.0)),
        ("llava", "text_config/query_pre_attn_scalar", json!(256)),
        ("llava", "text_config/partial_rotary_factor", json!(0.5)),
        ("llava", "text_config/sliding_window", json!(4096)),
        ("llava", "text_config/hidden_activation", json!("gelu")),
        ("llava", "text_config/hidden_act", json!("relu2")),
        ("llava", "text_config/embedding_multiplier", json!(12.0)),
        ("llava", "text_config/num_local_experts", json!(8)),
        ("llava", "text_config/cross_attention_layers", json!([1])),
        ("llava", "text_config/pretraining_tp", json!(2)),
        ("llava", "text_config/rope_scaling", json!({"rope_type": "yarn", "factor": 4.0, "beta_fast": 32})),
        ("llava", "text_config/rope_scaling", json!({"rope_type": "dynamic", "factor": 2.0, "alpha": 1000.0})),
        ("llava", "text_config/rope_scaling", json!({"rope_type": "linear"})),
        ("llava", "text_config/rope_scaling", json!({"mrope_section": [2, 3, 3]})),
        ("llava", "text_config/rope_parameters", json!({"a": {"rope_theta": 1e4}, "b": {"rope_theta": 1e6}})),
        ("llava", "text_config/layer_types", json!(["full_attention", "sliding_attention", "full_attention"])),
        ("llava", "vision_config/num_channels", json!(4)),
        ("llava", "vision_config/model_type", json!("siglip_vision_model")),
        ("llava", "vision_config/rope_theta", json!(10000.0)),
        ("llava", "mm_projector_type", json!("mlp2x_gelu")),
        ("llava", "vision_feature_layer", json!([-2, -5])),
        ("pixtral", "text_config/attention_bias", json!(true)),
        ("pixtral", "vision_feature_layer", json!(-2)),
        ("pixtral", "vision_feature_select_strategy", json!("default")),
        ("llava_next", "use_image_newline_parameter", json!(false)),
        ("paligemma", "text_config/use_bidirectional_attention", json!(false)),
        ("glm_4v_9b", "rmsnorm", json!(false)),
        ("glm_4v_9b", "post_layer_norm", json!(false)),
        ("glm_4v_9b", "multi_query_attention", json!(false)),
        ("qwen2_vl", "quantization", json!({"group_size": 64, "bits": 4})),
        ("qwen2_vl", "vision_config", json!([])),
        ("qwen2_vl", "architectures", json!("Qwen2VLForConditionalGeneration")),
        ("qwen2_5_vl", "vision_config/window_size", json!(13)),
        ("pixtral", "text_config/mlp_bias", json!(true)),
        ("internvl", "vision_config/use_mask_token", json!(true)),
        ("internvl", "text_config/use_sliding_window", json!("yes")),
        ("qwen2_vl", "use_sliding_window", json!(true)),
        ("qwen2_vl", "logit_scale", json!(0.5)),
        ("qwen2_vl", "attention_bias", json!(3)),
        // Of what is not known, nobody knows whether it is on or off by default.
        ("qwen2_vl", "scale_queries", json!(true)),
        ("qwen2_vl", "scale_queries", json!(false)),
        ("llava", "text_config/norm_first", json!(false)),
        ("llava", "vision_config/norm_first", json!(true)),
        ("qwen2_vl", "rope_scaling", json!({"type": "yarn", "factor": 4.0, "mrope_section": [2, 3, 3]})),
        ("qwen2_vl", "rope_scaling", json!({"type": "mrope", "mrope_section": [2, 3, 3], "mrope_interleaved": true})),
        ("qwen2_vl", "vision_config/spatial_patch_size", json!(16)),
        ("qwen2_vl", "vision_config/hidden_act", json!("gelu")),
        ("qwen2_vl", "vision_config/deepstack_visual_indexes", json!([1])),
        ("qwen2_5_vl", "fovea_grounding", json!("other")),
        ("qwen2_5_vl", "vision_config/hidden_act", json!("gelu")),
        ("qwen2_5_vl", "fovea_relation", json!(true)),
        ("mllama", "text_config/attention_bias", json!(true)),
        ("mllama", "tie_word_embedding", json!(true)),
        ("paligemma", "text_config/attn_logit_softcapping", json!(50.0)),
        ("glm_4v_9b", "add_bias_linear", json!(true)),
        ("glm_4v_9b", "rmsnorm", json!(1)),
        ("glm_4v_9b", "rmsnorm", json!(false)),
        ("glm_4v_9b", "post_layer_norm", json!(false)),
        ("glm_4v_9b", "multi_query_attention", json!(false)),
        ("paligemma", "text_config/use_bidirectional_attention", json!(false)),
        ("glm_4v_9b", "rotary_percent", json!(1.0)),
        ("cogvlm2", "hidden_act", json!("gelu")),
        ("cogvlm2", "cross_hidden_size", json!(32)),
        ("cogvlm_17b", "vision_config/hidden_act", json!("silu")),
        ("cogagent_18b", "rope_theta", json!(500000.0)),
        ("kosmos2", "text_config/tie_word_embeddings", json!("no")),
        ("kosmos2", "vision_config/attention_bias", json!(true)),
    ] {
        let mut config = config(model);
        match place.split_once('/') {
            Some((at, key)) => config[at][key] = value.clone(),
            None => config[place] = value.clone(),
        }
        let key = place.rsplit('/').next().expect("a key");
        let error = read(&with_config(model, &config)).expect_err(place);
        assert!(error.contains(CONFIG) && error.contains(key), "{model} {place} = {value}: {error}");
    }
}

/// What says that something is not there, or what happens anyway, is no reason to refuse.
#[test]
fn keys_that_change_nothing_pass() {
    for model in golden::models("model.safetensors") {
        let (before, mut config) = (read(&small(&model)), config(&model));
        if config.get("vision_config").is_none() {
            continue;
        }
        let harmless = json!({
            "logit_scale": null, "use_qk_norm": false, "use_resampler": false, "is_decoder": false, "experts": [], "moe": {},
            "note": "", "dtype": "bfloat16",
            "_name_or_path": "x", "transformers_version": "9.0", "attention_dropout": 0.1, "some_token_id": 7,
            "initializer_range": 0.02, "architectures": ["A"], "use_cache": true, "pretraining_tp": 1,
        });
        let harmless = harmless.as_object().expect("an object").clone();
        let fill = |level: &mut Value| {
            let level = level.as_object_mut().expect("an object");
            for (key, value) in &harmless {
                level.entry(key.clone()).or_insert(value.clone());
            }
        };
        fill(&mut config);
        for part in ["text_config", "vision_config"] {
            if config.get(part).is_some() {
                fill(&mut config[part]);
            }
        }
        assert_eq!(read(&with_config(&model, &config)), before, "{model}");
    }
}

#[test]
fn contradictions_name_both_keys() {
    let case = |model: &str, change: &dyn Fn(&mut Value), named: &[&str]| {
        let mut config = config(model);
        change(&mut config);
        names(&with_config(model, &config), named);
    };
    case("llava", &|it| it["image_token_id"] = 3.into(), &["image_token_id", "image_token_index"]);
    case(
        "pixtral",
        &|it| it["text_config"]["rope_parameters"] = json!({"rope_theta": 10000.0}),
        &["text_config.rope_theta", "text_config.rope_parameters.rope_theta"],
    );
    case(
        "mllama",
        &|it| it["text_config"]["rope_parameters"] = json!({"rope_type": "default"}),
        &["rope_scaling.rope_type", "rope_parameters.rope_type"],
    );
    case(
        "mllama",
        &|it| it["text_config"]["rope_scaling"]["type"] = "linear".into(),
        &["rope_scaling.rope_type", "rope_scaling.type"],
    );
    case(
        "qwen2_vl",
        &|it| it["text_config"] = json!({"hidden_size": 128}),
        &["hidden_size is 64", "text_config.hidden_size is 128"],
    );
    case("qwen2_vl", &|it| it["text_config"] = json!({"rope_theta": 5.0}), &["rope_theta", "text_config.rope_theta"]);
}

/// The same twice is no contradiction, nor are the stale copies that files have.
#[test]
fn copies_are_no_contradictions() {
    let mut config = config("qwen2_vl");
    let mut nested = config.clone();
    nested.as_object_mut().expect("an object").remove("vision_config");
    nested["rope_scaling"] = json!({"mrope_section": config["rope_scaling"]["mrope_section"], "rope_type": "default",
        "type": "default"});
    nested["model_type"] = "qwen2_vl_text".into();
    nested["sliding_window"] = Value::Null;
    config["text_config"] = nested;
    config["sliding_window"] = 32768.into();
    assert_eq!(read(&with_config("qwen2_vl", &config)), read(&small("qwen2_vl")));
    // Without their own number, keys have as many heads as queries, not as many as the class has by default.
    let mut config = self::config("pixtral");
    config["text_config"]["num_key_value_heads"] = Value::Null;
    let blueprint = Blueprint::read(Files(&with_config("pixtral", &config))).expect("a system");
    assert_eq!(blueprint.decoder.kv_heads, blueprint.decoder.heads);
    let mut config = self::config("llava");
    config["image_token_id"] = config["image_token_index"].clone();
    assert_eq!(read(&with_config("llava", &config)), read(&small("llava")));
}

/// Errors use the words of the file.
#[test]
fn errors_have_the_places_and_names_of_the_file() {
    let wrong = |mut config: Value, place: &[&str]| {
        let mut level = &mut config;
        for key in place {
            level = &mut level[key];
        }
        *level = json!("odd");
        config
    };
    let flat = wrong(config("qwen2_vl"), &["hidden_act"]);
    let error = read(&with_config("qwen2_vl", &flat)).expect_err("refused");
    assert!(error.contains("hidden_act is odd") && !error.contains("text_config"), "{error}");
    let nested = wrong(newer(&config("qwen2_vl")), &["text_config", "hidden_act"]);
    names(&with_config("qwen2_vl", &nested), &["text_config.hidden_act"]);
    let rope = wrong(newer(&config("mllama")), &["text_config", "rope_parameters", "factor"]);
    names(&with_config("mllama", &rope), &["text_config.rope_parameters.factor"]);
    let typed = wrong(config("llava"), &["text_config", "hidden_size"]);
    names(&with_config("llava", &typed), &["text_config.hidden_size", "odd"]);
}

/// Two files say how a picture is cut.
#[test]
fn sizes_that_differ_between_two_files_are_named() {
    for (model, ours, theirs, value) in [
        ("qwen2_vl", "spatial_merge_size", "merge_size", json!(1)),
        ("qwen2_5_vl", "patch_size", "patch_size", json!(16)),
        ("qwen2_5_vl", "temporal_patch_size", "temporal_patch_size", json!(1)),
        ("llava_next", "image_grid_pinpoints", "image_grid_pinpoints", json!([[112, 112]])),
    ] {
        let mut files = small(model);
        let mut config = config(model);
        if model == "llava_next" {
            config["image_grid_pinpoints"] = parsed(&files, "preprocessor_config.json")["image_grid_pinpoints"].clone();
            files = with_config(model, &config);
            assert!(read(&files).is_ok());
        }
        let mut preparation = parsed(&files, "preprocessor_config.json");
        preparation[theirs] = value;
        files.insert("preprocessor_config.json".to_owned(), preparation.to_string().into_bytes());
        names(&files, &[ours, theirs, "config.json", "preprocessor_config.json"]);
    }
}

/// A tower has positions for the patches of one size; Pixtral's, for as many as `image_size` has.
#[test]
fn views_of_another_size_than_the_towers_are_named() {
    for model in ["llava", "llava_next", "internvl", "paligemma", "mllama", "pixtral", "kosmos2", "idefics3", "smolvlm"]
    {
        let mut config = config(model);
        assert!(read(&small(model)).is_ok(), "{model}");
        let side = &mut config["vision_config"]["image_size"];
        let half = |side: &Value| Value::from(side.as_u64().expect("a side") / 2);
        *side = side.as_array().map_or_else(|| half(side), |sides| sides.iter().map(half).collect());
        names(&with_config(model, &config), &["image_size", "patches", "preprocessor_config.json"]);
    }
    // The other way round, by the key of the preparation.
    for (model, key, value) in [
        ("llava", "crop_size", json!({"height": 28, "width": 28})),
        ("llava", "crop_size", json!({"height": 56, "width": 28})),
        ("idefics3", "max_image_size", json!({"longest_edge": 96})),
        ("smolvlm", "max_image_size", json!({"longest_edge": 32})),
        ("paligemma", "size", json!({"height": 28, "width": 28})),
    ] {
        let mut files = small(model);
        let mut preparation = parsed(&files, "preprocessor_config.json");
        preparation[key] = value;
        files.insert("preprocessor_config.json".to_owned(), preparation.to_string().into_bytes());
        names(&files, &["vision_config.image_size", key, "preprocessor_config.json"]);
    }
}

/// Llama 3.2 Vision's tiles are counted in three places; the tower has learned rows for each canvas by its number.
#[test]
fn canvases_that_differ_are_named() {
    let model = "mllama";
    let mut files = small(model);
    let mut preparation = parsed(&files, "preprocessor_config.json");
    for tiles in [1, 3, 5] {
        preparation["max_image_tiles"] = tiles.into();
        files.insert("preprocessor_config.json".to_owned(), preparation.to_string().into_bytes());
        names(&files, &["vision_config.max_num_tiles", "max_image_tiles", "preprocessor_config.json"]);
    }
    let published = json!([[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]);
    assert_eq!(config(model)["vision_config"]["supported_aspect_ratios"], published);
    for ratios in [
        json!([[1, 1], [1, 2], [2, 1]]),
        json!([[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [5, 1]]),
        json!([[1, 1], [2, 1], [3, 1], [4, 1], [1, 2], [2, 2], [1, 3], [1, 4]]),
        json!([[0, 1]]),
    ] {
        let mut config = config(model);
        config["vision_config"]["supported_aspect_ratios"] = ratios;
        let named = ["vision_config.supported_aspect_ratios", "vision_config.max_num_tiles"];
        names(&with_config(model, &config), &named);
    }
    // Both of them as for another tower: its tables are too large.
    let mut config = config(model);
    config["vision_config"]["max_num_tiles"] = 2.into();
    config["vision_config"]["supported_aspect_ratios"] = json!([[1, 1], [1, 2], [2, 1]]);
    let mut files = with_config(model, &config);
    preparation["max_image_tiles"] = 2.into();
    files.insert("preprocessor_config.json".to_owned(), preparation.to_string().into_bytes());
    refused(files, unchanged(model), &["position", "shape"]);
}

/// Whichever file names them: the end of a text, the end of a turn, and what the template has after an answer.
#[test]
fn every_token_that_ends_an_answer_stops() {
    let model = "qwen2_vl";
    let own: Vec<u32> =
        serde_json::from_value(golden::json(&format!("{model}/generation_config.json"))["eos_token_id"].clone())
            .expect("ids");
    let [turn, text] = own[..] else { panic!("two ids") };
    let stops = |files: Small| load(files, unchanged(model)).map(|system| system.blueprint().stop.clone());
    // The file names the end of a text alone; the model ends its turns with the other.
    let mut files = small(model);
    files.insert("generation_config.json".to_owned(), json!({"eos_token_id": text}).to_string().into_bytes());
    let found = stops(files.clone()).expect("a system");
    assert!(found[0] == text && found.contains(&turn), "{found:?}");
    // The template alone says it.
    let mut config = config(model);
    config.as_object_mut().expect("an object").remove("eos_token_id");
    let mut bare = with_config(model, &config);
    bare.insert("generation_config.json".to_owned(), json!({"eos_token_id": text}).to_string().into_bytes());
    let mut words = parsed(&bare, "tokenizer_config.json");
    words.as_object_mut().expect("an object").remove("eos_token");
    bare.insert("tokenizer_config.json".to_owned(), words.to_string().into_bytes());
    assert_eq!(stops(bare.clone()).expect("a system"), [text, turn]);
    bare.remove("generation_config.json");
    assert_eq!(stops(bare.clone()).expect("a system"), [turn]);
    // Nothing does.
    for name in ["chat_template.json", "chat_template.jinja"] {
        bare.remove(name);
    }
    words.as_object_mut().expect("an object").remove("chat_template");
    bare.insert("tokenizer_config.json".to_owned(), words.to_string().into_bytes());
    refused(bare.clone(), unchanged(model), &["eos_token_id", "generation_config.json", "config.json"]);
    bare.insert("generation_config.json".to_owned(), json!({"eos_token_id": 4_000_000}).to_string().into_bytes());
    refused(bare, unchanged(model), &["eos_token_id", "4000000"]);
}
