//! Every damaged or missing input ends with an error that names it, and with the exit code of its kind.

mod common;

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use common::{Scratch, adapters, assert_fails, checkpoint, fovea, golden, join, parts};
use serde_json::{Value, json};

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const MODEL: i32 = 4;
const GPU: i32 = 5;
const ANSWER: i32 = 6;

const MODEL_FIXTURE: &str = "qwen2_vl";

fn picture() -> std::path::PathBuf {
    golden(MODEL_FIXTURE).join("cases/0/image.png")
}

/// Grounds on the first adapter.
fn ground(model: &Path, image: &Path) -> Output {
    let out = model.join("marked.png");
    let adapter = adapters().swap_remove(0);
    let arguments = ["--adapter", &adapter, "--quant", "f32", "--max-tokens", "8"];
    fovea()
        .arg("ground")
        .arg(image)
        .arg("click Sign in")
        .arg("--model")
        .arg(model)
        .arg("--out")
        .arg(out)
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
fn model_fails(model: &Scratch, named: &[&str]) {
    assert_fails(&ground(model.dir(), &picture()), MODEL, named);
}

/// A checkpoint whose weights' header and data were changed.
fn reweighed(change: impl FnOnce(&mut Value, &mut Vec<u8>)) -> Scratch {
    let model = checkpoint(MODEL_FIXTURE);
    let (mut header, mut data) = parts(&model.path("model.safetensors"));
    change(&mut header, &mut data);
    model.write("model.safetensors", join(&header, &data));
    model
}

/// A checkpoint whose `config.json` was changed.
fn reconfigured(change: impl FnOnce(&mut Value)) -> Scratch {
    let model = checkpoint(MODEL_FIXTURE);
    let mut config = serde_json::from_slice(&fs::read(model.path("config.json")).unwrap()).unwrap();
    change(&mut config);
    model.write("config.json", config.to_string());
    model
}

const NORM: &str = "model.norm.weight";
const PROJECTION: &str = "model.layers.0.mlp.down_proj.weight";

#[test]
fn truncated_weights() {
    for keep in [0, 5, 100, 20_000] {
        let model = checkpoint(MODEL_FIXTURE);
        let bytes = fs::read(model.path("model.safetensors")).unwrap();
        model.write("model.safetensors", &bytes[..keep]);
        model_fails(&model, &["model.safetensors"]);
    }
    let model = reweighed(|_, data| data.truncate(data.len() - 4));
    model_fails(&model, &["model.safetensors", "truncated", "tensor"]);
}

#[test]
fn headers_that_are_none() {
    let model = checkpoint(MODEL_FIXTURE);
    for bytes in
        [&b"hello, I am no safetensors file"[..], &[0xff; 64], b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}"]
    {
        model.write("model.safetensors", bytes);
        model_fails(&model, &["model.safetensors"]);
    }
}

#[test]
fn misshaped_weights() {
    let model = reweighed(|header, _| {
        let shape = header[PROJECTION]["shape"].as_array_mut().unwrap();
        shape.reverse();
    });
    model_fails(&model, &[PROJECTION, "shape", "model.safetensors"]);
    let model = reweighed(|header, _| header[NORM]["data_offsets"].as_array_mut().unwrap().reverse());
    model_fails(&model, &[NORM, "model.safetensors", "data_offsets", "the end before the start"]);
    let model = reweighed(|header, _| header[NORM]["shape"] = json!([1]));
    model_fails(&model, &[NORM, "bytes do not fit"]);
    let model = reweighed(|header, _| header[NORM]["shape"] = json!([u64::MAX, u64::MAX]));
    model_fails(&model, &["model.safetensors"]);
}

#[test]
fn mistyped_weights() {
    let model = reweighed(|header, _| header[NORM]["dtype"] = json!("I32"));
    model_fails(&model, &[NORM, "I32"]);
    let model = reweighed(|header, _| header[NORM]["dtype"] = json!("X7"));
    model_fails(&model, &["model.safetensors"]);
}

#[test]
fn weights_that_are_not_a_number() {
    for name in [NORM, PROJECTION] {
        let model = reweighed(|header, data| {
            let offsets = header[name]["data_offsets"].as_array().unwrap();
            let (start, end) = (offsets[0].as_u64().unwrap() as usize, offsets[1].as_u64().unwrap() as usize);
            data[start..end].fill(0xff);
        });
        model_fails(&model, &[name, "NaN", "model.safetensors"]);
    }
}

#[test]
fn missing_tensors() {
    for name in [NORM, PROJECTION] {
        let model = reweighed(|header, _| {
            let tensor = header.as_object_mut().unwrap().remove(name).unwrap();
            header["another"] = tensor;
        });
        model_fails(&model, &[name, "missing", "model.safetensors"]);
    }
}

#[test]
fn missing_files() {
    for name in ["config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"] {
        let model = checkpoint(MODEL_FIXTURE);
        fs::remove_file(model.path(name)).unwrap();
        if name == "tokenizer.json" {
            // What one is made of, which would do as well.
            fs::remove_file(model.path("vocab.json")).unwrap();
        }
        model_fails(&model, &[name, "missing"]);
    }
    let nowhere = Scratch::new();
    assert_fails(&ground(&nowhere.path("none"), &picture()), MODEL, &["none", "no such directory"]);
    model_fails(&nowhere, &["config.json", "missing"]);
}

/// What people hand over for a model, each named for what it is.
#[test]
fn other_kinds_of_models() {
    const GGUF: &[u8] = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0";
    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    let files = Scratch::new();
    for (name, bytes, what) in [
        ("model.gguf", GGUF, "GGUF"),
        ("model.safetensors", &[0x40, 0, 0, 0, 0, 0, 0, 0, b'{'], "name the directory"),
        ("pytorch_model.bin", b"PK\x03\x04\0\0", "safetensors"),
    ] {
        assert_fails(&ground(&files.write(name, bytes), &picture()), MODEL, &[name, what]);
    }
    // Directories that have no weights of the right kind, without a configuration and with one.
    for (name, what) in [
        ("model-q4_k_m.gguf", "GGUF"),
        ("pytorch_model-00001-of-00002.bin", "PyTorch"),
        ("consolidated.safetensors", "Mistral"),
        ("model.fp16.safetensors", "another name"),
    ] {
        let bare = Scratch::new();
        bare.write(name, GGUF);
        model_fails(&bare, &[name, what]);
        let model = checkpoint(MODEL_FIXTURE);
        fs::remove_file(model.path("model.safetensors")).unwrap();
        model.write(name, GGUF);
        model_fails(&model, &[name, what]);
    }
    let adapter = Scratch::new();
    adapter.write("adapter_config.json", r#"{"base_model_name_or_path": "Qwen/Qwen2-VL-2B-Instruct"}"#);
    adapter.write("adapter_model.safetensors", GGUF);
    model_fails(&adapter, &["adapter_config.json", "PEFT", "Qwen/Qwen2-VL", "merge"]);
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        let model = checkpoint(MODEL_FIXTURE);
        model.write(name, POINTER);
        model_fails(&model, &[name, "Git LFS pointer", "git lfs pull"]);
        model.write(name, "<!DOCTYPE html><html></html>");
        model_fails(&model, &[name, "web page"]);
    }
}

#[test]
fn shards() {
    let model = checkpoint(MODEL_FIXTURE);
    fs::remove_file(model.path("model.safetensors")).unwrap();
    let index = |file: &str| json!({ "weight_map": { "model.norm.weight": file } }).to_string();
    const INDEX: &str = "model.safetensors.index.json";
    let shard = "model-00001-of-00002.safetensors";
    model.write(INDEX, index(shard));
    model_fails(&model, &[shard, "missing"]);
    for name in ["../model.safetensors", "/etc/passwd", "a/b", "..\\a", ""] {
        model.write(INDEX, index(name));
        model_fails(&model, &[INDEX, "no plain file name"]);
    }
    for text in ["{}", "[", r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": 1}}"#] {
        model.write(INDEX, text);
        model_fails(&model, &[INDEX]);
    }
}

#[test]
fn unknown_architectures() {
    model_fails(&reconfigured(|config| config["model_type"] = json!("llama")), &["config.json", "llama", "qwen2_vl"]);
    let model = reconfigured(|config| {
        config.as_object_mut().unwrap().remove("model_type");
    });
    model_fails(&model, &["config.json", "model_type"]);
}

#[test]
fn impossible_configurations() {
    for (field, value) in [
        ("hidden_size", json!(0)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(7)),
        ("num_hidden_layers", json!(1u64 << 40)),
        ("vocab_size", json!(0)),
        ("rms_norm_eps", json!(-1.0)),
        ("hidden_act", json!("mish")),
        ("use_sliding_window", json!(true)),
        ("image_token_id", json!(1_000_000)),
    ] {
        let shown = format!("{field} = {value}");
        let model = reconfigured(|config| {
            let nested = config.get("text_config").is_some_and(|text| text.get(field).is_some());
            if nested { config["text_config"][field] = value } else { config[field] = value }
        });
        let output = ground(model.dir(), &picture());
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(MODEL), "{shown}: {message}");
        assert!(message.contains("config.json") && message.contains(field), "{shown}: {message}");
    }
    for name in ["config.json", "tokenizer.json", "preprocessor_config.json", "generation_config.json"] {
        let model = checkpoint(MODEL_FIXTURE);
        for text in ["", "{", "[1, 2]", "null", "\u{0}"] {
            model.write(name, text);
            model_fails(&model, &[name]);
        }
    }
}

/// The configuration and the chat template are of different models: neither the picture nor the instruction is wrong.
#[test]
fn pictures_that_the_template_writes_otherwise() {
    let other = reconfigured(|config| config["image_token_id"] = json!(7));
    model_fails(&other, &["config.json", "image_token_id is 7", "chat template"]);
    // A token that it writes for something else.
    let tokenizer: Value = serde_json::from_slice(&fs::read(other.path("tokenizer.json")).unwrap()).unwrap();
    let added = tokenizer["added_tokens"].as_array().unwrap();
    let start = added.iter().find(|token| token["content"] == "<|im_start|>").unwrap()["id"].clone();
    let other = reconfigured(|config| config["image_token_id"] = start.clone());
    model_fails(&other, &["config.json", "image_token_id is ", "<|im_start|>", "chat template"]);
}

#[test]
fn wrong_tokenizers() {
    for other in ["llava/tokenizer.json", "internvl/tokenizer.json"] {
        let model = checkpoint(MODEL_FIXTURE);
        model.write("tokenizer.json", fs::read(golden(other)).unwrap());
        let output = ground(model.dir(), &picture());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(INPUT | MODEL)), "{other}: {message}");
        assert!(!message.contains("panicked") && message.contains("token"), "{other}: {message}");
    }
}

#[test]
fn broken_pictures() {
    let model = golden(MODEL_FIXTURE);
    let scratch = Scratch::new();
    let whole = fs::read(picture()).unwrap();
    for (name, bytes) in [
        ("empty.png", &b""[..]),
        ("text.png", b"not a picture"),
        ("half.png", &whole[..whole.len() / 2]),
        ("head.png", &whole[..20]),
        ("huge.bmp", &huge_bmp()),
        ("huge.png", &huge_png()),
    ] {
        let path = scratch.write(name, bytes);
        assert_fails(&ground(&model, &path), INPUT, &[name]);
    }
    assert_fails(&ground(&model, &scratch.path("missing.png")), INPUT, &["missing.png"]);
    assert_fails(&ground(&model, scratch.dir()), INPUT, &["directory"]);
}

#[test]
fn pictures_that_do_not_suit_the_model() {
    let scratch = Scratch::new();
    let path = scratch.path("thin.png");
    image::RgbImage::new(1, 400).save(&path).unwrap();
    let model = checkpoint(MODEL_FIXTURE);
    assert_fails(&ground(model.dir(), &path), INPUT, &["thin.png", "1x400"]);
}

/// A header that claims 60000x60000 pixels, and nothing behind it.
fn huge_bmp() -> Vec<u8> {
    let mut bmp = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend(60_000u32.to_le_bytes());
    bmp.extend(60_000u32.to_le_bytes());
    bmp.extend([1, 0, 24, 0]);
    bmp.extend([0; 24]);
    bmp
}

/// A whole PNG that claims 60000x60000 pixels.
fn huge_png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], data: &[u8]| {
        png.extend((data.len() as u32).to_be_bytes());
        let body = [&name[..], data].concat();
        png.extend(&body);
        png.extend(crc32(&body).to_be_bytes());
    };
    let side = 60_000u32.to_be_bytes();
    chunk(b"IHDR", &[&side[..], &side[..], &[8, 2, 0, 0, 0]].concat());
    chunk(b"IDAT", &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1]);
    chunk(b"IEND", &[]);
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn empty_prompts() {
    let model = golden(MODEL_FIXTURE);
    let model = model.to_str().unwrap();
    let image = picture();
    let image = image.to_str().unwrap();
    for arguments in [
        &["ground", image, ""][..],
        &["ground", image, "  \n"],
        &["generate", ""],
        &["generate", " "],
        &["generate", "--raw", ""],
        &["generate", "--beams", "0", "x"],
        &["generate", "--beams", "2", "--length-penalty", "NaN", "x"],
        &["generate", "--beams", "2", "--temperature", "1", "x"],
        &["score", "", "x"],
        &["score", "x"],
        &["score", "x", ""],
        &["dump", "--prompt", "", "--out", "never"],
    ] {
        let output = fovea().args(arguments).args(["--model", model]).output().unwrap();
        assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Dumps on the first adapter.
fn dump(arguments: &[&Path], flag: &str, file: &Path) -> Output {
    let scratch = Scratch::new();
    let mut command = fovea();
    command.arg("dump").arg(flag).arg(file).args(arguments).arg("--out").arg(scratch.path("dump.safetensors"));
    command.arg("--model").arg(golden(MODEL_FIXTURE)).args(["--new-tokens", "1", "--adapter", &adapters()[0]]);
    command.output().unwrap()
}

/// OpenAI's parts, a bare list, content that is null, words that spell special tokens; of tools' calls, which this model's
/// template does not write, the field is named.
#[test]
fn messages_as_clients_write_them() {
    let case = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/cases/messages/{name}.json"));
    let image = picture();
    let apart = [Path::new("--image"), &image];
    for (name, arguments) in
        [("openai_image_url", &[][..]), ("bare_list", &apart), ("content_null", &apart), ("im_end", &apart)]
    {
        let output = dump(arguments, "--messages", &case(name));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let calls = dump(&apart, "--messages", &case("tool_calls"));
    assert_fails(&calls, INPUT, &["messages[1].tool_calls are not written by the chat template"]);
    let both = dump(&apart, "--messages", &case("openai_image_url"));
    assert_fails(&both, INPUT, &["messages have 0 pictures", "--image gives 1"]);
    let scratch = Scratch::new();
    let far = r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a.b/c.png"}}]}]"#;
    let far = dump(&[], "--messages", &scratch.write("prompt.json", far));
    assert_fails(&far, INPUT, &["messages[0].content[0].image_url.url", "pictures are not fetched"]);
    let broken = r#"[{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,AQI="}]}]"#;
    let broken = dump(&[], "--messages", &scratch.write("prompt.json", broken));
    assert_fails(&broken, INPUT, &["messages[0].content[0]"]);
}

/// What people have in a file's place, and what it is called.
const OTHERS: [(&[u8], &str); 6] = [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "Git LFS pointer"),
    (b"<!DOCTYPE html><html></html>", "web page"),
    (b"\xef\xbb\xbf<html></html>", "web page"),
    (b"\xff\xfe[\0]\0", "UTF-16"),
    (b"[\0{\0", "UTF-16"),
    (b" \n", "empty"),
];

/// Every JSON file of the command line is named for what it is, and read with a byte order mark.
#[test]
fn files_of_other_kinds_are_named() {
    let scratch = Scratch::new();
    let nowhere = scratch.path("none");
    let named = |arguments: &[&str], file: &Path, code: i32, named: &[&str]| {
        let output = fovea().args(arguments).arg(file).arg("--model").arg(&nowhere).output().unwrap();
        assert_fails(&output, code, named);
    };
    let readers: [(&[&str], &str); 7] = [
        (&["generate", "--messages"], r#"[{"role": "user", "content": "hi"}]"#),
        (&["score", "yes", "no", "--messages"], r#"{"prompt": "hi"}"#),
        (&["dump", "--out", "x", "--messages"], r#"[{"role": "user", "content": "hi"}]"#),
        (&["dump", "--out", "x", "--ids"], "[1, 2]"),
        (&["generate", "hi", "--json-schema"], "{}"),
        (&["generate", "hi", "--ebnf"], "start: \"a\""),
        (&["eval", "--images", "."], r#"[{"img_filename": "a.png", "bbox": null, "instruction": "x"}]"#),
    ];
    for (arguments, text) in readers {
        for (bytes, what) in OTHERS {
            if arguments.contains(&"--ebnf") && what == "empty" {
                continue;
            }
            named(arguments, &scratch.write("file.json", bytes), INPUT, &["file.json", what]);
        }
        // It is read: what is wrong is something else.
        let marked = scratch.write("file.json", format!("\u{feff}{text}"));
        let (code, what) = if arguments[0] == "eval" { (INPUT, "a.png") } else { (MODEL, "no such directory") };
        named(arguments, &marked, code, &[what]);
        if !arguments.contains(&"--ebnf") {
            named(arguments, &scratch.write("file.json", "hello"), INPUT, &["file.json"]);
        }
    }
}

#[test]
fn broken_prompt_files() {
    let scratch = Scratch::new();
    for text in [
        "",
        "[]",
        "{}",
        r#"{"messages": []}"#,
        r#"{"prompt": ""}"#,
        r#"{"messages": [{"role": "nobody", "content": "hi"}]}"#,
        r#"{"messages": [{"role": "user", "content": [{"type": "video"}]}]}"#,
        r#"{"prompt": "a", "messages": [{"role": "user", "content": "hi"}]}"#,
        r#"{"prompt": "a", "model": "x"}"#,
    ] {
        let path = scratch.write("prompt.json", text);
        assert_fails(&dump(&[], "--messages", &path), INPUT, &["prompt.json"]);
    }
    let path = scratch.write("prompt.json", r#"{"messages": [{"role": "user", "content": [{"type": "image"}]}]}"#);
    assert_fails(&dump(&[], "--messages", &path), INPUT, &["messages have 1 pictures", "--image gives 0"]);
    for text in ["", "{}", r#"["a"]"#, "[-1]", "[1.5]", "[4294967296]"] {
        let path = scratch.write("ids.json", text);
        assert_fails(&dump(&[], "--ids", &path), INPUT, &["ids.json"]);
    }
    let path = scratch.write("ids.json", "[1, 4000000000]");
    assert_fails(&dump(&[], "--ids", &path), INPUT, &["4000000000", "vocabulary"]);
    let path = scratch.write("ids.json", "[]");
    assert_fails(&dump(&[], "--ids", &path), INPUT, &["empty"]);
}

#[test]
fn pixels_that_do_not_fit() {
    let scratch = Scratch::new();
    let prompt = golden(MODEL_FIXTURE).join("cases/0/prompt.json");
    let image = picture();
    let tensor = |name: &str, dtype: &str| {
        join(&json!({ name: { "dtype": dtype, "shape": [2], "data_offsets": [0, 8] } }), &[0; 8])
    };
    for (bytes, named) in [
        (tensor("pixel_values", "F32"), "2 numbers"),
        (tensor("pixel_values", "I32"), "I32"),
        (tensor("another", "F32"), "missing"),
        (b"nothing".to_vec(), "pixels.safetensors"),
        (OTHERS[0].0.to_vec(), "Git LFS pointer"),
    ] {
        let path = scratch.write("pixels.safetensors", bytes);
        let arguments = [Path::new("--image"), &image, Path::new("--pixels"), &path];
        assert_fails(&dump(&arguments, "--messages", &prompt), INPUT, &["pixels.safetensors", named]);
    }
}

#[test]
fn adapters_that_are_not_there() {
    let image = picture();
    let output = fovea()
        .arg("ground")
        .arg(&image)
        .args(["click", "--adapter", "Voodoo 2"])
        .arg("--model")
        .arg(golden(MODEL_FIXTURE))
        .output();
    assert_fails(&output.unwrap(), GPU, &["Voodoo 2"]);
}

#[test]
fn wrong_usage() {
    for arguments in [
        &["fly"][..],
        &["ground"],
        &["ground", "a.png", "click", "--quant", "q5"],
        &["generate", "hi", "--top-p", "0"],
        &["generate", "hi", "--temperature", "-1"],
        &["inspect", "--image-size", "0x5"],
        &["bench", "--rounds", "0"],
        &["bench", "--rounds", "-1"],
        &["bench", "--rounds", "99999999999"],
        &["eval", "a.json", "--images", ".", "--limit", "-1"],
        &["ground", "a.png", "click", "--max-tokens", "-1"],
        &["generate", "hi", "--max-tokens", "-5"],
        &["dump", "--prompt", "x", "--out", "y", "--new-tokens", "-1"],
        &["inspect", "--image-size", "-5x5"],
        &["ground", "a.png", "click", "--max-tokens", "0"],
        &["ground", "a.png", "click", "--max-tokens", "99999999999999999999"],
        &["ground", "a.png", "-", "click"],
        &["ground", "-", "-"],
        &["ground", "a.png", "click", "--out", "-"],
        &["ground", "a.png", "-x"],
        &["generate", "hi", "--max-tokens", "0"],
        &["generate", "hi", "--seed", "-1"],
        &["generate", "hi", "--beams", "-1"],
        &["eval", "a.json", "--images", ".", "--limit", "0"],
        &["eval", "a.json", "--images", ".", "--boxes", "triangles"],
        &["completions", "emacs"],
        &["man", "woman"],
        &["dump", "--out", "x"],
    ] {
        let output = fovea().args(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}: {message}");
        // A number is refused as a number, by the option that it belongs to.
        if let [.., option, number] = arguments
            && number.starts_with(['-', '0', '9'])
            && option.starts_with("--")
        {
            assert!(message.contains(&format!("'{number}' for '{option}")) || message.contains(option), "{message}");
            assert!(!message.contains("unexpected argument"), "{message}");
        }
    }
    let output = fovea().arg("ground").arg(picture()).args(["click", "--quant", "all"]).output().unwrap();
    assert_fails(&output, USAGE, &["--quant all"]);
}

/// nano has words for grounding only: a question is refused by the key that says so, not answered with noise.
#[test]
fn a_model_that_only_grounds_refuses_questions() {
    let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/nano");
    for more in [&[][..], &["--beams", "2"], &["--raw"]] {
        let output = fovea().args(["generate", "What is this page about?", "--model"]).arg(&nano).args(more).output();
        assert_fails(&output.unwrap(), USAGE, &["only grounds instructions", "fovea_grounds_only"]);
    }
    // Before a GPU is looked for, and weights are loaded.
    if cfg!(target_os = "linux") {
        let mut command = fovea();
        command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json");
        assert_fails(&command.args(["generate", "What?"]).output().unwrap(), USAGE, &["fovea_grounds_only"]);
    }
}

/// Random weights write noise, which is no box.
#[test]
fn malformed_answers_are_shown() {
    let model = checkpoint(MODEL_FIXTURE);
    // Within eight tokens: that is the reason.
    let named = ["cut off at the most tokens", "--max-tokens"];
    assert_fails(&ground(model.dir(), &picture()), ANSWER, &named);
    for more in [&["--max-tokens", "1"][..], &["--max-tokens", "2", "--free"]] {
        let mut command = fovea();
        command.arg("ground").arg(picture()).args(["click it", "--quant", "f32", "--adapter", &adapters()[0]]);
        assert_fails(&command.arg("--model").arg(model.dir()).args(more).output().unwrap(), ANSWER, &named);
    }
}

#[test]
fn broken_annotations() {
    let scratch = Scratch::new();
    let model = golden(MODEL_FIXTURE);
    let eval_bytes = |text: &[u8]| {
        let path = scratch.write("annotations.json", text);
        let mut command = fovea();
        command.arg("eval").arg(path).arg("--images").arg(scratch.dir()).arg("--model").arg(&model);
        command.args(["--adapter", &adapters()[0]]).output().unwrap()
    };
    let eval = |text: &str| eval_bytes(text.as_bytes());
    fs::copy(picture(), scratch.path("a.png")).unwrap();
    for text in [
        "",
        "[]",
        "[{}]",
        r#"[{"img_filename": "a.png", "bbox": [1, 2, 3], "instruction": "x"}]"#,
        r#"[{"img_filename": "a.png", "bbox": [1, 2, -3, 4], "instruction": "x"}]"#,
        r#"[{"img_filename": "a.png", "bbox": [1, 2, 3, 4], "instruction": ""}]"#,
        r#"[{"img_filename": "../a.png", "bbox": [1, 2, 3, 4], "instruction": "x"}]"#,
        r#"[{"img_filename": "a.png", "instruction": "not null, but nothing"}]"#,
        "PAR1",
    ] {
        assert_fails(&eval(text), INPUT, &["annotations.json"]);
    }
    for (bytes, what) in OTHERS {
        assert_fails(&eval_bytes(bytes), INPUT, &["annotations.json", what]);
    }
    let good = r#"{"img_filename": "a.png", "bbox": [1, 2, 3, 4], "instruction": "x"}"#;
    for bbox in ["[1, 2, 1e300, 4]", "[1, 2, NaN, 4]", "[1, 2, -3, 4]", "[1, 2, 30000, 4]", "[-500, 2, 3, 4]"] {
        let list = format!("[{good}, {}]", good.replace("[1, 2, 3, 4]", bbox));
        assert_fails(&eval(&list), INPUT, &["annotations.json", "annotation 1: "]);
    }
    fs::remove_file(scratch.path("a.png")).unwrap();
    let missing = eval(r#"[{"img_filename": "a.png", "bbox": [1, 2, 3, 4], "instruction": "x"}]"#);
    assert_fails(&missing, INPUT, &["a.png"]);
}

#[test]
fn nobody_reads() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let inspect = fovea().arg("inspect").arg(golden(MODEL_FIXTURE)).stdout(writer).stderr(Stdio::piped()).output();
    let output = inspect.unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(!message.contains("panicked"), "{message}");
}
