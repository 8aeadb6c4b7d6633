//! Grounding from end to end, with a model whose weights are made to give one answer.

mod common;

use std::{fs, path::Path};

use common::{Scratch, adapters, checkpoint, fovea, golden, join, parts};
use serde_json::{Value, json};

// The last token of every prompt of the fixture, the token that the answer is, and the one that ends it.
const PROMPT_END: usize = 198;
const ANSWER: usize = 390;
const END: usize = 378;

/// A checkpoint that answers every question with `text`: its layers add nothing to the embedding, and its head knows
/// what follows the prompt's last token, and what follows the answer.
fn answering(text: &str) -> Scratch {
    let model = checkpoint("qwen2_vl");
    let json = |name: &str| -> Value { serde_json::from_slice(&fs::read(model.path(name)).unwrap()).unwrap() };
    let mut tokenizer = json("tokenizer.json");
    tokenizer["added_tokens"].as_array_mut().unwrap().push(json!({
        "id": ANSWER, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": false,
    }));
    model.write("tokenizer.json", tokenizer.to_string());
    let mut config = json("config.json");
    config["tie_word_embeddings"] = json!(false);
    let (width, vocabulary) = (config["hidden_size"].as_u64().unwrap() as usize, 400);
    model.write("config.json", config.to_string());

    let path = model.path("model.safetensors");
    let (mut header, mut data) = parts(&path);
    let names: Vec<String> = header.as_object().unwrap().keys().cloned().collect();
    let range = |header: &Value, name: &str| {
        let offset = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize;
        offset(0)..offset(1)
    };
    for name in names.iter().filter(|name| name.contains("o_proj") || name.contains("down_proj")) {
        data[range(&header, name)].fill(0);
    }
    let fill = |values: &mut [u8], value: f32| {
        values.chunks_exact_mut(4).for_each(|word| word.copy_from_slice(&value.to_le_bytes()));
    };
    fill(&mut data[range(&header, "model.norm.weight")], 1.0);
    let table = range(&header, "model.embed_tokens.weight");
    for (axis, token) in [PROMPT_END, ANSWER].into_iter().enumerate() {
        let row = &mut data[table.clone()][4 * width * token..][..4 * width];
        row.fill(0);
        fill(&mut row[4 * axis..][..4], 1.0);
    }
    let mut head = vec![0; 4 * width * vocabulary];
    for (axis, token) in [ANSWER, END].into_iter().enumerate() {
        fill(&mut head[4 * (width * token + axis)..][..4], 1.0);
    }
    let offsets = [data.len(), data.len() + head.len()];
    header["lm_head.weight"] = json!({ "dtype": "F32", "shape": [vocabulary, width], "data_offsets": offsets });
    data.extend(head);
    fs::write(path, join(&header, &data)).unwrap();
    model
}

fn image() -> std::path::PathBuf {
    golden("qwen2_vl/cases/0/image.png")
}

fn ground(model: &Path, adapter: &str, arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = fovea();
    command.arg("ground").arg(image()).arg("click Sign in").arg("--model").arg(model);
    // The answer that the weights are made to give is no answer of the fixture's grammar.
    let output = command.args(["--free", "--adapter", adapter]).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn the_box_is_told_and_drawn() {
    let model = answering("(250,250),(750,500)");
    let (width, height) = image::image_dimensions(image()).unwrap();
    let scaled = |thousandths: u32, side: u32| f64::from(thousandths) * f64::from(side) / 1000.0;
    for (index, adapter) in adapters().iter().enumerate() {
        // Compiling kernels takes most of the time: the parity tests have seen the exact ones everywhere.
        let quants: &[&str] = if index == 0 { &["f32", "f16", "q8", "q4"] } else { &["q4"] };
        for quant in quants {
            let marked = model.path("marked.png");
            let out = marked.to_str().unwrap();
            let (stdout, stderr, code) = ground(model.dir(), adapter, &["--quant", quant, "--out", out, "--json"]);
            assert_eq!(code, Some(0), "{adapter} {quant}: {stderr}");
            let told: Value = serde_json::from_str(&stdout).unwrap();
            assert_eq!(told["action"]["kind"], "click", "{told}");
            assert_eq!(told["answer_tokens"], 1, "{told}");
            let corners = [scaled(250, width), scaled(250, height), scaled(750, width), scaled(500, height)];
            let sides = ["left", "top", "right", "bottom"];
            for (side, corner) in sides.into_iter().zip(corners) {
                let got = told["action"]["box"][side].as_f64().unwrap();
                assert!((got - corner).abs() < 1e-3, "{told}");
            }
            let (before, after) = (image::open(image()).unwrap(), image::open(&marked).unwrap());
            assert_eq!((after.width(), after.height()), (width, height));
            assert_ne!(before.to_rgb8(), after.to_rgb8());
            fs::remove_file(marked).unwrap();
        }
    }
}

#[test]
fn one_line_and_the_stages() {
    let model = answering("(0,0),(1000,1000)");
    let out = model.path("marked.png");
    let (stdout, stderr, code) = ground(model.dir(), &adapters()[0], &["--out", out.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("CLICK at ("), "{stdout}");
    for stage in ["load", "prepare", "encode", "prefill", "decode", "tokens/s", "written: "] {
        assert!(stdout.contains(stage), "{stage}: {stdout}");
    }
}

#[test]
fn a_picture_that_cannot_be_written_is_named() {
    let model = answering("(1,1),(2,2)");
    let out = model.path("nowhere/marked.png");
    let (_, stderr, code) = ground(model.dir(), &adapters()[0], &["--out", out.to_str().unwrap()]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("marked.png") && !stderr.contains("panicked"), "{stderr}");
}

/// The default model finds its sample's button: the one that `./x ground` shows.
#[test]
fn the_shipped_sample_comes_out_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let button = 943.0..1217.0_f64;
    let row = 570.0..609.0_f64;
    for adapter in adapters() {
        let scratch = Scratch::new();
        let mut command = fovea();
        command.arg("ground").arg(root.join("models/nano/samples/signin.png")).arg("Click Sign in");
        command.arg("--model").arg(root.join("models/nano")).arg("--out").arg(scratch.path("marked.png"));
        let output = command.args(["--json", "--adapter", &adapter]).output().unwrap();
        assert!(output.status.success(), "{adapter}: {}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let side = |name: &str| told["action"]["box"][name].as_f64().unwrap();
        let (x, y) = ((side("left") + side("right")) / 2.0, (side("top") + side("bottom")) / 2.0);
        assert!(button.contains(&x) && row.contains(&y), "{adapter}: {told}");
    }
}

/// The default model types what the instruction quotes, whatever it is.
#[test]
fn the_default_model_types_what_is_quoted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let scratch = Scratch::new();
    let mut command = fovea();
    command
        .arg("ground")
        .arg(root.join("models/nano/samples/signin.png"))
        .arg(r#"enter "o'Neill, 7!" in Search titles"#);
    command.arg("--model").arg(root.join("models/nano")).arg("--out").arg(scratch.path("marked.png")).arg("--json");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["action"]["kind"], &told["action"]["text"]), (&json!("type"), &json!("o'Neill, 7!")), "{told}");
}

/// Accuracy is counted against boxes, and every prediction is written.
#[test]
fn evaluation_counts_hits() {
    let model = answering("(250,250),(750,750)");
    let (width, height) = image::image_dimensions(image()).unwrap();
    let scratch = Scratch::new();
    scratch.write("a.png", fs::read(image()).unwrap());
    let question = |bbox: [u32; 4], kind: &str| {
        json!({
            "img_filename": "a.png", "bbox": bbox, "instruction": "click it", "data_type": kind,
            "data_source": "fixture",
        })
    };
    let hit = question([width / 4, height / 4, width / 2, height / 2], "text");
    let miss = question([0, 0, width / 4, height / 4], "icon");
    let mut absent = hit.clone();
    (absent["bbox"], absent["role"], absent["instruction"]) = (Value::Null, json!("link"), json!("click <it>"));
    let annotations = scratch.write("annotations.json", json!([hit, miss, hit, absent]).to_string());
    let (predictions, report) = (scratch.path("predictions.jsonl"), scratch.path("report/index.html"));
    let mut command = fovea();
    command.arg("eval").arg(annotations).arg("--images").arg(scratch.dir()).arg("--model").arg(model.dir());
    command.arg("--predictions").arg(&predictions).arg("--report").arg(&report).args([
        "--json",
        "--free",
        "--quant",
        "q8",
        "--adapter",
        &adapters()[0],
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hits = |group: &str| (told["groups"][group]["q8"]["hits"].clone(), told["groups"][group]["count"].clone());
    assert_eq!(hits("all"), (json!(2), json!(4)));
    assert_eq!(hits("type icon"), (json!(0), json!(1)));
    assert_eq!(hits("source fixture"), (json!(2), json!(4)));
    assert_eq!(hits("role link"), (json!(0), json!(1)));
    assert_eq!(hits("not on the screen"), (json!(0), json!(1)));
    assert_eq!(hits("width under 600"), (json!(2), json!(4)));
    let kinds = json!({ "right": 2, "in another target": 1, "a place for what is not there": 1 });
    assert_eq!(told["groups"]["all"]["answers"], kinds);
    let lines = fs::read_to_string(predictions).unwrap();
    let correct: Vec<bool> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["correct"].as_bool().unwrap()).collect();
    assert_eq!(correct, [true, false, true, false]);
    let page = fs::read_to_string(report).unwrap();
    assert_eq!(page.matches("<figure>").count(), 4);
    assert_eq!(page.matches("data:image/jpeg").count(), 1, "a screenshot is there once");
    assert_eq!((page.matches(r#"class="target""#).count(), page.matches(r#"class="answer""#).count()), (3, 4));
    assert!(page.contains("click &lt;it&gt;") && !page.contains("<it>"));
}
