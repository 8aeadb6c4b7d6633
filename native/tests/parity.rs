//! `fovea dump` against the numbers of the reference implementations, on every adapter.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{Scratch, adapters, fovea, golden, parts};
use serde_json::Value;

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

fn nmse(got: &[f32], expected: &[f32]) -> f64 {
    let square = |value: f64| value * value;
    let error: f64 = got.iter().zip(expected).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    error / expected.iter().map(|&b| square(f64::from(b))).sum::<f64>()
}

/// One 8-bit step of the widest channel after normalisation.
const PIXEL_STEP: f32 = 1.001 / 255.0 / 0.261_302_6;

fn check(model: &str, case: &str, adapter: &str, own_pixels: bool) {
    let directory = golden().join(model);
    let case_directory = directory.join("cases").join(case);
    let expected: Value = serde_json::from_slice(&fs::read(case_directory.join("expected.json")).unwrap()).unwrap();
    let (floats, _) = tensors(&case_directory.join("expected.safetensors"));
    let ids =
        |name: &str| -> Vec<i64> { expected[name].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect() };
    let pixels = floats.contains_key("pixel_values");
    if own_pixels && !pixels {
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
    if pixels && !own_pixels {
        command.arg("--pixels").arg(case_directory.join("expected.safetensors"));
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
        let Some(expected) = floats.get(name) else {
            assert!(!got.contains_key(name), "{at}: {name} is not expected");
            continue;
        };
        assert_eq!(got[name].len(), expected.len(), "{at}: {name}");
        let error = nmse(&got[name], expected);
        assert!(error < TOLERANCE, "{at}: {name} has NMSE {error:e}");
    }
    if let Some(expected) = floats.get("pixel_values") {
        let second = floats.get("cross_pixel_values").map_or(&[][..], Vec::as_slice);
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
            assert!(golden().join(model).join("cases").join(case).is_dir());
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
    let directory = golden().join("qwen2_vl");
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
    let (floats, _) = tensors(&case.join("expected.safetensors"));
    let (got, _) = tensors(&out);
    assert!(nmse(&got["logits_prompt"], &floats["logits_prompt"]) < TOLERANCE);
    assert!(!got.contains_key("logits_steps"));
}
