//! `fovea dump` against the numbers of the reference implementations, on every adapter.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{Scratch, adapters, fovea, golden, join, parts};
use fovea_engine::{sketch::Sketch, testing::golden::Expected};
use serde_json::{Value, json};

/// Normalised mean square error that another order of summation explains.
const TOLERANCE: f64 = 1e-9;

/// Floating-point tensors of a safetensors file, and the integer ones.
fn tensors(path: &Path) -> (BTreeMap<String, Vec<f32>>, BTreeMap<String, Vec<i64>>) {
    let (header, data) = parts(path);
    let (mut floats, mut integers) = (BTreeMap::new(), BTreeMap::new());
    for (name, info) in header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__") {
        let offset = |i: usize| info["data_offsets"][i].as_u64().unwrap() as usize;
        let bytes = &data[offset(0)..offset(1)];
        match info["dtype"].as_str().unwrap() {
            "F32" => {
                let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                floats.insert(name.clone(), values.collect());
            }
            "I64" => {
                let values = bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
                integers.insert(name.clone(), values.collect());
            }
            _ => {}
        }
    }
    (floats, integers)
}

/// A safetensors file of f32 tensors.
fn file(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let (mut header, mut data) = (json!({}), Vec::new());
    for (name, values) in tensors {
        let from = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header[name] = json!({ "dtype": "F32", "shape": [values.len()], "data_offsets": [from, data.len()] });
    }
    join(&header, &data)
}

/// One 8-bit step of the widest channel after normalisation.
const PIXEL_STEP: f32 = 1.001 / 255.0 / 0.261_302_6;

fn check(model: &str, case: &str, adapter: &str, own_pixels: bool) {
    let directory = golden(model);
    let case_directory = directory.join("cases").join(case);
    let expected: Value = serde_json::from_slice(&fs::read(case_directory.join("expected.json")).unwrap()).unwrap();
    let reference = Expected::open(&format!("{model}/cases/{case}"));
    let ids =
        |name: &str| -> Vec<i64> { expected[name].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect() };
    let pixels = reference.whole("pixel_values");
    let second = reference.whole("cross_pixel_values").unwrap_or_default();
    if own_pixels && pixels.is_none() {
        // The other run has prepared its pictures itself already.
        return;
    }

    let scratch = Scratch::new();
    let out = scratch.path("dump.safetensors");
    let mut command = fovea();
    command.arg("dump").arg("--messages").arg(case_directory.join("prompt.json")).arg("--out").arg(&out);
    command.args(["--new-tokens", &ids("generated_ids").len().to_string()]);
    command.arg("--model").arg(&directory).args(["--adapter", adapter]);
    for image in ["image.png", "image1.png", "image2.png"] {
        if case_directory.join(image).exists() {
            command.arg("--image").arg(case_directory.join(image));
        }
    }
    if let (Some(pixels), false) = (&pixels, own_pixels) {
        let given = file(&[("pixel_values", pixels.as_slice()), ("cross_pixel_values", second.as_slice())]);
        command.arg("--pixels").arg(scratch.write("pixels.safetensors", given));
    }
    let output = command.output().unwrap();
    let at = format!("{model} case {case} on {adapter}");
    assert!(output.status.success(), "{at}: {}", String::from_utf8_lossy(&output.stderr));

    let (got, got_ids) = tensors(&out);
    // The reference of some systems expands image slots behind its ids.
    if got_ids["input_ids"].len() == ids("input_ids").len() {
        assert_eq!(got_ids["input_ids"], ids("input_ids"), "{at}");
    } else {
        assert_eq!(got_ids["input_ids"].len(), ids("position_ids").len(), "{at}");
    }
    assert_eq!(got_ids["generated_ids"], ids("generated_ids"), "{at}");
    for name in
        ["vision_tower", "image_embeds", "cross_vision", "hidden_first", "hidden_last", "logits_prompt", "logits_steps"]
    {
        let Some(expected) = reference.tensor(name) else {
            assert!(!got.contains_key(name), "{at}: {name} is not expected");
            continue;
        };
        expected.assert_near(&got[name], TOLERANCE, &format!("{at}: {name}"));
    }
    if let Some(expected) = pixels {
        let (expected, values) = ([expected, second].concat(), &got["pixel_values"]);
        assert_eq!(values.len(), expected.len(), "{at}");
        let differing = |by: f32| values.iter().zip(&expected).filter(|&(a, b)| (a - b).abs() > by).count();
        assert_eq!(differing(PIXEL_STEP), 0, "{at}: more than one 8-bit step");
        assert!(differing(1e-5) * 1000 <= values.len(), "{at}: {} pixel values differ", differing(1e-5));
    }
}

fn check_all(model: &str) {
    for adapter in adapters() {
        for case in ["0", "1", "2"] {
            assert!(golden(model).join("cases").join(case).is_dir());
            check(model, case, &adapter, true);
            check(model, case, &adapter, false);
        }
    }
}

#[test]
fn qwen2_vl_equals_the_reference() {
    check_all("qwen2_vl");
}

#[test]
fn qwen2_5_vl_equals_the_reference() {
    check_all("qwen2_5_vl");
}

/// One case with a picture of each: the library's own tests have all, in every tier.
#[test]
fn the_cog_family_equals_the_reference() {
    for model in ["glm_4v_9b", "cogagent_9b", "cogvlm_17b", "cogvlm2", "cogagent_18b"] {
        for adapter in adapters() {
            check(model, "0", &adapter, false);
        }
    }
}

/// Ids from a file, expanded or not, are the same prompt.
#[test]
fn ids_are_a_prompt() {
    let directory = golden("qwen2_vl");
    let case = directory.join("cases/0");
    let scratch = Scratch::new();
    let expected: Value = serde_json::from_slice(&fs::read(case.join("expected.json")).unwrap()).unwrap();
    let ids = scratch.write("ids.json", expected["input_ids"].to_string());
    let out = scratch.path("dump.safetensors");
    let mut command = fovea();
    command.arg("dump").arg("--ids").arg(&ids).arg("--image").arg(case.join("image.png")).arg("--out").arg(&out);
    command.arg("--model").arg(&directory).args(["--new-tokens", "0", "--adapter", &adapters()[0]]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let logits = Expected::open("qwen2_vl/cases/0").tensor("logits_prompt").unwrap();
    let (got, _) = tensors(&out);
    logits.assert_near(&got["logits_prompt"], TOLERANCE, "logits_prompt");
    assert!(!got.contains_key("logits_steps"));
}

/// Sketches are those of the numbers that are written without the option; ids and the new tokens' logits stay whole.
#[test]
fn sketches_are_of_what_is_dumped() {
    let directory = golden("qwen2_vl");
    let case = directory.join("cases/0");
    let scratch = Scratch::new();
    let dump = |name: &str, more: &[&str]| {
        let mut command = fovea();
        command.arg("dump").arg("--messages").arg(case.join("prompt.json")).arg("--image").arg(case.join("image.png"));
        command.arg("--out").arg(scratch.path(name)).args(more).args(["--new-tokens", "2"]);
        command.arg("--model").arg(&directory).args(["--adapter", &adapters()[0]]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        parts(&scratch.path(name))
    };
    let (whole, _) = dump("whole.safetensors", &[]);
    let (header, data) = dump("sketch.safetensors", &["--sketch"]);
    let (floats, ids) = tensors(&scratch.path("whole.safetensors"));
    let (kept, integers) = tensors(&scratch.path("sketch.safetensors"));
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["logits_steps"]);
    assert_eq!(kept["logits_steps"], floats["logits_steps"]);
    for name in ["input_ids", "generated_ids"] {
        assert_eq!(integers[name], ids[name]);
    }
    let mut sketched = 0;
    for (name, values) in floats.iter().filter(|(name, _)| *name != "logits_steps") {
        let shape: Vec<usize> = serde_json::from_value(whole[name]["shape"].clone()).unwrap();
        assert_eq!(integers[&format!("{name}.shape")], shape.iter().map(|&side| side as i64).collect::<Vec<_>>());
        let [from, to] = serde_json::from_value(header[format!("{name}.sketch")]["data_offsets"].clone()).unwrap();
        let bytes: &[u8] = &data[from..to];
        let stored: Vec<f64> = bytes.as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        assert_eq!(stored, Sketch::of(&shape, values).unwrap().values(), "{name}");
        sketched += 1;
    }
    assert_eq!(sketched, 6, "pixels, tower, embeddings, two layers, logits");
}
