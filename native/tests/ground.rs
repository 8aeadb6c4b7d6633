//! Grounding from end to end, with a model whose weights are made to give one answer.

mod common;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

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

/// The answer is what was asked for: it is printed, whatever becomes of the picture.
#[test]
fn a_picture_that_cannot_be_written_is_a_warning() {
    let model = answering("(250,250),(750,500)");
    for out in [model.path("nowhere/marked.png"), model.dir().to_owned(), "/dev/full".into()] {
        let (stdout, stderr, code) = ground(model.dir(), &adapters()[0], &["--out", out.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.starts_with("CLICK at (") && !stdout.contains("written: "), "{stdout}");
        // The model's own words have a box on another scale.
        assert!(!stdout.contains("250"), "{stdout}");
        assert!(stderr.contains("warning: ") && stderr.contains(out.to_str().unwrap()), "{stderr}");
    }
}

/// A line of JSON for each instruction, of arguments and of standard input alike; one that cannot be asked does not end
/// the others, and no picture is written unless a file is named.
#[test]
fn several_instructions_are_answered_one_after_the_other() {
    let model = answering("(250,250),(750,500)");
    let long = "click ".repeat(40_000);
    let lines = format!("click Sign in\n\n{long}\r\n- 5 of 12\n");
    let picture = model.write("shot.png", fs::read(image()).unwrap());
    let mut command = fovea();
    command.arg("ground").arg(&picture).args(["-", "--json", "--free", "--adapter", &adapters()[0]]);
    let mut run = command.arg("--model").arg(model.dir()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    run.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = run.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let instructions: Vec<&str> = answers.iter().map(|it| it["instruction"].as_str().unwrap()).collect();
    assert_eq!(instructions, ["click Sign in", long.trim(), "- 5 of 12"]);
    let found: Vec<&Value> = answers.iter().map(|it| &it["found"]).collect();
    assert_eq!(found, [&json!(true), &Value::Null, &json!(true)]);
    assert_eq!(answers[0]["action"], answers[2]["action"]);
    assert!(answers[1]["error"].as_str().unwrap().contains("KV cache"), "{}", answers[1]);
    assert_eq!(output.status.code(), Some(3), "one could not be asked");
    assert!(answers.iter().all(|it| it["version"] == 1 && it["picture"].is_null()), "{stdout}");
    assert!(!model.path("shot.grounded.png").exists());

    // The screenshot from standard input, instructions as arguments.
    let mut command = fovea();
    command.args(["ground", "-", "click Sign in", "- 5 of 12", "--free", "--adapter", &adapters()[0]]);
    command.arg("--model").arg(model.dir()).arg("--out").arg(model.path("marked.png"));
    let output = command.stdin(fs::File::open(&picture).unwrap()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("click Sign in: CLICK at (") && stdout.contains("- 5 of 12: CLICK at ("), "{stdout}");
    assert!(model.path("marked.png").exists());
}

/// A model that is in the program, on a machine that has nothing but the program: a page where something is, and
/// something is not.
#[test]
fn the_program_alone_grounds() {
    let scratch = Scratch::new();
    let program = scratch.path("fovea");
    if fs::hard_link(env!("CARGO_BIN_EXE_fovea"), &program).is_err() {
        fs::copy(env!("CARGO_BIN_EXE_fovea"), &program).unwrap();
    }
    // A part of the sample is enough, and quick.
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/nano/samples/signin.png");
    let shot = scratch.path("shot.png");
    image::open(sample).unwrap().crop_imm(920, 480, 320, 200).save(&shot).unwrap();
    let mut command = Command::new(program);
    command.current_dir(scratch.dir()).env_remove("FOVEA_MODEL").env_remove("WGPU_ADAPTER_NAME").env("NO_COLOR", "1");
    for name in ["XDG_RUNTIME_DIR", "WAYLAND_DISPLAY", "NODEVICE_SELECT"] {
        command.env_remove(name);
    }
    command.args(["ground", "shot.png", "click Sign in", "click Quarterly wombat figures", "--json"]);
    let output = command.args(["--adapter", &adapters()[0]]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2, "{stderr}");
    let (there, absent) = (&answers[0], &answers[1]);
    assert_eq!(
        (&there["found"], &there["action"]["kind"], &there["model"]),
        (&json!(true), &json!("click"), &json!("nano"))
    );
    let point = |axis: &str| there["action"]["point"][axis].as_f64().unwrap();
    assert!((23.0..297.0).contains(&point("x")) && (90.0..129.0).contains(&point("y")), "{there}");
    assert_eq!((&absent["found"], &absent["action"]), (&json!(false), &json!({ "kind": "absent" })), "{absent}");
    assert_eq!(output.status.code(), Some(7), "one is not there");
    assert_eq!(stderr, "", "neither Mesa nor anybody else has something to say");
}

/// The default model finds its sample's button, the one that `./x ground` shows, and types what the instruction quotes,
/// whatever it is.
#[test]
fn the_shipped_sample_comes_out_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let button = 943.0..1217.0_f64;
    let row = 570.0..609.0_f64;
    for (index, adapter) in adapters().iter().enumerate() {
        let mut command = fovea();
        command.arg("ground").arg(root.join("models/nano/samples/signin.png")).arg("Click Sign in");
        if index == 0 {
            command.arg(r#"enter "o'Neill, 7!" in Search titles"#);
        }
        command.arg("--model").arg(root.join("models/nano"));
        let output = command.args(["--json", "--adapter", adapter]).output().unwrap();
        assert!(output.status.success(), "{adapter}: {}", String::from_utf8_lossy(&output.stderr));
        let stdout = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let side = |name: &str| answers[0]["action"]["box"][name].as_f64().unwrap();
        let (x, y) = ((side("left") + side("right")) / 2.0, (side("top") + side("bottom")) / 2.0);
        assert!(button.contains(&x) && row.contains(&y), "{adapter}: {stdout}");
        if let Some(typed) = answers.get(1) {
            assert_eq!((&typed["action"]["kind"], &typed["action"]["text"]), (&json!("type"), &json!("o'Neill, 7!")));
        }
        assert_eq!(answers.len(), if index == 0 { 2 } else { 1 });
    }
}

/// Accuracy is counted against boxes, and every prediction is written; pictures that cannot be read end nothing.
#[test]
fn evaluation_counts_hits() {
    let model = answering("(250,250),(750,750)");
    let (width, height) = image::image_dimensions(image()).unwrap();
    let scratch = Scratch::new();
    scratch.write("a.png", fs::read(image()).unwrap());
    scratch.write("half.png", &fs::read(image()).unwrap()[..400]);
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
    let on = |picture: &str| {
        let mut question = hit.clone();
        question["img_filename"] = json!(picture);
        question
    };
    let questions = [hit.clone(), miss, on("missing.png"), hit.clone(), on("half.png"), absent];
    let lines: String = questions.iter().map(|question| format!("{question}\n")).collect();
    let annotations = scratch.write("annotations.jsonl", lines);
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("warning: question 2: ") && stderr.contains("missing.png"), "{stderr}");
    assert!(stderr.contains("2 of 6 questions could not be asked"), "{stderr}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&printed["version"], &printed["boxes"]), (&json!(1), &json!("xywh")));
    let not_asked: Vec<(&Value, &Value)> =
        printed["not_asked"].as_array().unwrap().iter().map(|it| (&it["index"], &it["img_filename"])).collect();
    assert_eq!(not_asked, [(&json!(2), &json!("missing.png")), (&json!(4), &json!("half.png"))]);
    let hits = |group: &str| {
        let group = &printed["groups"][group];
        (group["model"]["q8"]["hits"].clone(), group["count"].clone())
    };
    assert_eq!(hits("all"), (json!(2), json!(4)));
    assert_eq!(hits("type icon"), (json!(0), json!(1)));
    assert_eq!(hits("source fixture"), (json!(2), json!(4)));
    assert_eq!(hits("role link"), (json!(0), json!(1)));
    assert_eq!(hits("not on the screen"), (json!(0), json!(1)));
    assert_eq!(hits("width under 600"), (json!(2), json!(4)));
    let kinds = json!({ "right": 2, "in another target": 1, "a place for what is not there": 1 });
    assert_eq!(printed["groups"]["all"]["answers"], kinds);
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

/// Corners of ScreenSpot-Pro and fractions are the same questions as ScreenSpot's sizes. A disk that is full ends neither
/// the run nor the table, which comes before the page.
#[test]
fn benchmarks_in_other_conventions() {
    let model = answering("(500,500),(750,750)");
    let (width, height) = image::image_dimensions(image()).unwrap();
    let scratch = Scratch::new();
    scratch.write("a.png", fs::read(image()).unwrap());
    let (w, h) = (f64::from(width), f64::from(height));
    for (bbox, convention) in [
        ([0.5 * w, 0.5 * h, 0.25 * w, 0.25 * h], "xywh"),
        ([0.5 * w, 0.5 * h, 0.75 * w, 0.75 * h], "corners"),
        ([0.5, 0.5, 0.75, 0.75], "fractions"),
    ] {
        let question = json!([{ "img_filename": "a.png", "bbox": bbox, "instruction": "click it" }]);
        let annotations = scratch.write("annotations.json", question.to_string());
        let mut command = fovea();
        command.arg("eval").arg(annotations).arg("--images").arg(scratch.dir()).arg("--model").arg(model.dir());
        let full = if convention == "corners" { "--report" } else { "--predictions" };
        command.args([full, "/dev/full", "--boxes", convention, "--json", "--free"]);
        let output = command.args(["--adapter", &adapters()[0]]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed["boxes"], convention);
        assert_eq!(printed["groups"]["all"]["model"]["q4"]["hits"], 1, "{convention}: {printed}");
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains("error: /dev/full: "), "{stderr}");
        assert_eq!(stderr.contains("warning: "), full == "--predictions", "{stderr}");
    }
}
