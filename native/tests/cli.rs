//! What the program does without a model's work: help, versions, odd paths, closed and full outputs, refusals.

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use common::{Scratch, adapters, assert_fails, checkpoint, fovea, golden};
use serde_json::{Value, json};

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const GPU: i32 = 5;

fn run(arguments: &[&str]) -> Output {
    fovea().args(arguments).output().unwrap()
}

fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const COMMANDS: [&str; 10] =
    ["ground", "generate", "score", "eval", "inspect", "bench", "dump", "devices", "completions", "man"];

#[test]
fn help_is_grouped_and_has_examples() {
    let help = stdout(&["--help"]);
    for text in ["Exit codes:", "Examples:", "Model:", "GPU:"].iter().chain(&COMMANDS) {
        assert!(help.contains(text), "{text}: {help}");
    }
    for code in 0..=7 {
        assert!(help.contains(&format!("\n  {code}  ")), "{code}: {help}");
    }
    for command in COMMANDS.into_iter().filter(|it| *it != "devices") {
        assert!(stdout(&[command, "--help"]).contains("Examples:\n  fovea "), "{command}");
    }
    assert!(stdout(&["ground", "--help"]).contains("Answer:"));
}

/// The repository's commit, where this is built in one.
#[test]
fn the_version_has_the_commit() {
    let version = stdout(&["--version"]);
    assert!(version.starts_with(&format!("fovea {}", env!("CARGO_PKG_VERSION"))), "{version}");
    let head = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    if let Some(head) = head.ok().filter(|head| head.status.success()) {
        let head = String::from_utf8(head.stdout).unwrap();
        assert!(version.contains(&format!("({})", &head[..12])), "{version} is not of {head}");
    }
}

#[test]
fn shells_read_their_completions() {
    let scratch = Scratch::new();
    for (shell, check) in
        [("bash", Some("bash")), ("zsh", None), ("fish", None), ("powershell", None), ("elvish", None)]
    {
        let script = stdout(&["completions", shell]);
        for word in ["ground", "--adapter"].iter().filter(|it| shell != "fish" || !it.starts_with("--")) {
            assert!(script.contains(word), "{shell}: {word}");
        }
        if let Some(program) = check {
            let file = scratch.write(shell, &script);
            assert!(Command::new(program).arg("-n").arg(file).status().unwrap().success(), "{shell}");
        }
    }
}

#[test]
fn manual_pages_are_written() {
    let scratch = Scratch::new();
    let folder = scratch.path("man1");
    stdout(&["man", "--out", folder.to_str().unwrap()]);
    let mut names: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let mut expected: Vec<String> = COMMANDS.iter().map(|it| format!("fovea-{it}.1")).collect();
    expected.push("fovea.1".to_owned());
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(stdout(&["man", "ground"]), fs::read_to_string(folder.join("fovea-ground.1")).unwrap());
    let page = stdout(&["man"]);
    assert!(page.contains(".SH DESCRIPTION") && page.contains("Exit codes"), "{page}");
}

/// Where there is no driver, listing the adapters fails, and says what to install.
#[test]
fn no_gpu_is_an_error_with_its_help() {
    for arguments in [&["devices"][..], &["devices", "--json"], &["bench"]] {
        let output = fovea()
            .args(arguments)
            .env("VK_DRIVER_FILES", "/nowhere.json")
            .env("VK_ICD_FILENAMES", "/nowhere.json")
            .output()
            .unwrap();
        if cfg!(target_os = "linux") {
            assert_fails(&output, GPU, &["no GPU adapter", "mesa-vulkan-drivers"]);
            assert!(output.stdout.is_empty());
        }
    }
}

/// libwayland's complaint about a missing session is not the program's.
#[test]
fn no_session_is_no_error() {
    let output = fovea()
        .arg("devices")
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("NODEVICE_SELECT")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[cfg(target_os = "linux")]
#[test]
fn paths_need_not_be_unicode() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let scratch = Scratch::new();
    let odd = scratch.dir().join(OsStr::from_bytes(b"m\xffdel"));
    fs::create_dir(&odd).unwrap();
    let fixture = golden("qwen2_vl");
    for name in ["config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors", "chat_template.json"]
    {
        if let Ok(bytes) = fs::read(fixture.join(name)) {
            fs::write(odd.join(name), bytes).unwrap();
        }
    }
    let output = fovea().arg("inspect").arg(&odd).arg("--json").output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(printed["model"].as_str().unwrap().ends_with("m\u{fffd}del"), "{printed}");

    let (image, out) = (odd.join(OsStr::from_bytes(b"s\xfe.png")), odd.join(OsStr::from_bytes(b"o\xfe.safetensors")));
    fs::copy(fixture.join("cases/0/image.png"), &image).unwrap();
    let mut command = fovea();
    command.arg("dump").arg("--messages").arg(fixture.join("cases/0/prompt.json")).arg("--image").arg(&image);
    command.arg("--out").arg(&out).arg("--model").arg(&odd).args(["--json", "--new-tokens", "0"]);
    let output = command.args(["--adapter", &adapters()[0]]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(printed["out"].as_str().unwrap().ends_with("o\u{fffd}.safetensors"), "{printed}");

    let mut command = fovea();
    command.arg("ground").arg(&image).arg("click it").arg("--model").arg(&odd).arg("--json");
    command.arg("--out").arg(odd.join(OsStr::from_bytes(b"\xfe.png")));
    let output = command.args(["--max-tokens", "4", "--free", "--adapter", &adapters()[0]]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(printed["model"].as_str().unwrap().ends_with("m\u{fffd}del"), "{printed} {message}");
}

/// Before a weight is read or a GPU opened: there is neither.
#[test]
fn what_cannot_fit_is_refused_first() {
    let scratch = Scratch::new();
    let fixture = golden("qwen2_vl");
    for name in
        ["config.json", "tokenizer.json", "preprocessor_config.json", "chat_template.json", "tokenizer_config.json"]
    {
        if let Ok(bytes) = fs::read(fixture.join(name)) {
            scratch.write(name, bytes);
        }
    }
    scratch.write("model.safetensors", "");
    let image = fixture.join("cases/0/image.png");
    let image = image.to_str().unwrap();
    // Within the 128 KiB that Linux allows an argument.
    let (model, long) = (scratch.dir().to_str().unwrap(), "xq7 ".repeat(30_000));
    let ids = scratch.write("ids.json", json!(vec![1; 1 << 16]).to_string());
    let (ids, out) = (ids.to_str().unwrap(), scratch.path("never.safetensors"));
    for arguments in [
        &["ground", image, &long][..],
        &["ground", image, "click Sign in", "--max-tokens", "4294967295"],
        &["generate", &long],
        &["generate", "hi", "--max-tokens", "4294967295"],
        &["generate", "hi", "--beams", "2", "--max-tokens", "4294967295"],
        &["score", "hi", &long],
        &["dump", "--ids", ids, "--out", out.to_str().unwrap()],
        &["dump", "--prompt", "hi", "--new-tokens", "18446744073709551615", "--out", out.to_str().unwrap()],
    ] {
        let mut command = fovea();
        command.args(arguments).args(["--model", model]).env("VK_DRIVER_FILES", "/nowhere.json");
        let output = command.env("VK_ICD_FILENAMES", "/nowhere.json").output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(INPUT), "{:?}: {message}", &arguments[..1]);
        assert!(message.contains("KV cache holds"), "{message}");
    }
}

/// What is counted is what the loaded model would read: a template that writes the date, too.
#[cfg(target_os = "linux")]
#[test]
fn templates_that_write_the_date_are_counted() {
    let model = checkpoint("qwen2_vl");
    model.write("chat_template.jinja", "{{ strftime_now('%d %b %Y') }}{{ messages[0].content[0].text }}");
    let mut command = fovea();
    command.args(["generate", "hi", "--model"]).arg(model.dir()).env("VK_DRIVER_FILES", "/nowhere.json");
    let output = command.env("VK_ICD_FILENAMES", "/nowhere.json").output().unwrap();
    assert_fails(&output, GPU, &["no GPU adapter"]);
}

#[test]
fn unknown_filters_list_the_known() {
    let output = run(&["bench", "--filter", "matmull", "--adapter", &adapters()[0]]);
    assert_fails(&output, USAGE, &["matmull", "matmul q4", "model qwen2_5_vl q4 decode"]);
}

/// Negative numbers and texts that begin with a hyphen are texts; options after them are options.
#[test]
fn hyphens_begin_texts() {
    let scratch = Scratch::new();
    let model = scratch.path("none");
    let model = model.to_str().unwrap();
    let image = golden("qwen2_vl/cases/0/image.png");
    let image = image.to_str().unwrap();
    for arguments in [
        &["score", "3 - 4 =", "-1", "-1.5", "- 1", "--json", "--model", model][..],
        &["ground", image, "- 5 of 12", "--json", "--model", model],
        &["ground", image, "-1", "--model", model],
        &["ground", "--model", model, image, "--", "-x"],
        &["generate", "-h is what?", "--model", model],
        &["generate", "-1", "--model", model],
        // Paths too, and values of options.
        &["ground", image, "x", "--out", "-x y.png", "--model", model],
        &["generate", "x", "--model", "-my model"],
    ] {
        // All were understood: it is the model that is not there.
        assert_fails(&run(arguments), 4, &["no such directory"]);
    }
    fs::copy(golden("qwen2_vl/cases/0/image.png"), scratch.path("-x y.png")).unwrap();
    for arguments in [&["ground", "-x y.png", "click", "--model", model][..], &["inspect", "-x y.png"]] {
        let output = fovea().args(arguments).current_dir(scratch.dir()).output().unwrap();
        let named = if arguments[0] == "inspect" { "-x y.png: " } else { "no such directory" };
        assert_fails(&output, 4, &[named]);
    }
    let output = run(&["devices", "-x y"]);
    assert_fails(&output, USAGE, &["'-x y'"]);
    for arguments in [&["ground", image, "click", "--jsno"][..], &["generate", "x", "--temperature", "-1"]] {
        assert_fails(&run(arguments), USAGE, &[arguments[arguments.len() - 1].trim_start_matches("-1")]);
    }
}

/// Results that cannot be written are errors; a reader who has enough is none.
#[cfg(target_os = "linux")]
#[test]
fn full_and_closed_outputs() {
    for arguments in [
        &["inspect"][..],
        &["inspect", "--json"],
        &["man"],
        &["completions", "bash"],
        &["--help"],
        &["-h"],
        &["help", "ground"],
        &["ground", "--help"],
        &["--version"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = fovea().args(arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_fails(&output, INPUT, &["standard output"]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = fovea().args(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = fovea().args(["man", "--out", "/dev/null/pages"]).output().unwrap();
    assert_fails(&output, INPUT, &["/dev/null/pages"]);
}

/// Outputs are opened before the work, and what is read is not written over.
#[test]
fn evaluation_opens_its_outputs_first() {
    let scratch = Scratch::new();
    fs::copy(golden("qwen2_vl/cases/0/image.png"), scratch.path("a.png")).unwrap();
    let question = json!([{ "img_filename": "a.png", "bbox": null, "instruction": "click it" }]).to_string();
    let annotations = scratch.write("annotations.json", &question);
    let report = scratch.write("report.html", "the last one");
    let eval = |more: &[&str], images: &Path| {
        let mut command = fovea();
        command.arg("eval").arg(&annotations).arg("--images").arg(images).args(more);
        command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json").output().unwrap()
    };
    let nowhere = scratch.path("a.png/report.html");
    for option in ["--report", "--predictions"] {
        let folder = scratch.dir().to_str().unwrap();
        assert_fails(&eval(&[option, nowhere.to_str().unwrap()], scratch.dir()), INPUT, &["a.png"]);
        assert_fails(&eval(&[option, folder], scratch.dir()), INPUT, &[folder]);
        assert_fails(&eval(&[option, annotations.to_str().unwrap()], scratch.dir()), USAGE, &["annotations.json"]);
    }
    let same = report.to_str().unwrap();
    assert_fails(&eval(&["--report", same, "--predictions", same], scratch.dir()), USAGE, &["same file"]);
    // The run failed: the page of the last one is still there.
    if cfg!(target_os = "linux") {
        assert_fails(&eval(&["--report", same], scratch.dir()), GPU, &["no GPU adapter"]);
    }
    assert_eq!(fs::read_to_string(&report).unwrap(), "the last one");
    assert_eq!(fs::read_to_string(&annotations).unwrap(), question);
    // Not one picture is there.
    assert_fails(&eval(&[], &scratch.path("elsewhere")), INPUT, &["elsewhere", "a.png"]);
}

/// A file that is read is not written over.
#[test]
fn the_screenshot_is_not_written_over() {
    let scratch = Scratch::new();
    let image = scratch.path("a.png");
    fs::copy(golden("qwen2_vl/cases/0/image.png"), &image).unwrap();
    let image = image.to_str().unwrap();
    assert_fails(&run(&["ground", image, "click it", "--out", image]), USAGE, &["overwrite", "a.png"]);
}

#[test]
fn absurd_sizes_are_counted_or_refused() {
    for size in ["1x1", "4294967295x4294967295", "1x4294967295"] {
        let output = run(&["inspect", "--image-size", size]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!message.contains("panicked") && matches!(output.status.code(), Some(0 | 3 | 4)), "{size}: {message}");
    }
}
