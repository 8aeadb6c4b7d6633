//! How checkpoints say that pictures are prepared: every key is obeyed, or refused by its name.

use std::{collections::BTreeMap, fs};

use fovea_engine::testing::{golden, on_every_gpu};
use fovea_models::{
    Blueprint, Files, LoadError, SMALL_FILES,
    image::{ImageConfig, ImageError, Picture, Size},
};
use serde_json::{Value, json};

const FLAT: &str = "preprocessor_config.json";
const NESTED: &str = "processor_config.json";

type Small = BTreeMap<String, Vec<u8>>;

fn files(model: &str) -> Small {
    let there = SMALL_FILES.iter().filter(|file| golden::path(&format!("{model}/{file}")).exists());
    there.map(|file| ((*file).to_owned(), golden::bytes(&format!("{model}/{file}")))).collect()
}

fn case(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/cases/configs/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn image(files: &Small) -> Result<ImageConfig, LoadError> {
    Blueprint::read(Files(files)).map(|blueprint| blueprint.image)
}

/// Fixtures that bring a preparation, with it.
fn prepared() -> Vec<(String, Small, Value)> {
    let all = golden::models("model.safetensors").into_iter().filter_map(|model| {
        let files = files(&model);
        let value = serde_json::from_slice(files.get(FLAT)?).expect("the fixture's JSON");
        Some((model, files, value))
    });
    let all: Vec<_> = all.collect();
    assert!(all.len() >= 10, "{} fixtures with {FLAT}", all.len());
    all
}

/// transformers 5 writes the preparation into `processor_config.json`.
#[test]
fn a_nested_preparation_is_the_same() {
    for (model, mut files, preparation) in prepared() {
        let flat = image(&files).unwrap();
        let nested = json!({ "image_processor": preparation, "processor_class": "Any", "patch_size": 14 });
        files.remove(FLAT);
        files.insert(NESTED.to_owned(), nested.to_string().into_bytes());
        assert_eq!(image(&files).unwrap(), flat, "{model}");
        files.insert(NESTED.to_owned(), b"{}".to_vec());
        if model != "kosmos2" {
            assert!(matches!(image(&files), Err(LoadError::MissingFile { file }) if file.contains(FLAT)), "{model}");
        }
    }
}

#[test]
fn files_of_transformers_5_are_read() {
    for (model, file, at) in [
        ("llava", "processor_config_v5_llava.json", NESTED),
        ("qwen2_5_vl", "processor_config_v5_qwen2_5_vl.json", NESTED),
        ("qwen2_vl", "preprocessor_size_pixels.json", FLAT),
    ] {
        let mut files = files(model);
        let expected = image(&files).unwrap();
        files.remove(FLAT);
        files.insert(at.to_owned(), case(file));
        assert_eq!(image(&files).unwrap(), expected, "{file}");
    }
}

/// `size` alone, with the limits under either pair of names.
#[test]
fn areas_in_size_are_pixel_limits() {
    for (least, most) in [("min_pixels", "max_pixels"), ("shortest_edge", "longest_edge")] {
        let mut files = files("qwen2_vl");
        files.insert(FLAT.to_owned(), json!({ "size": { least: 784, most: 7840 } }).to_string().into_bytes());
        let ImageConfig::Qwen(config) = image(&files).unwrap() else { panic!("another preparation") };
        assert_eq!((config.min_pixels, config.max_pixels), (784, 7840));
    }
}

/// What the towers get of a grey picture (128), as the reference's image processors compute it.
#[test]
fn steps_that_are_off_are_not_done_on_the_gpu() {
    let clip = [(0.50196 - 0.481_455) / 0.268_63, (0.50196 - 0.457_828) / 0.261_303, (0.50196 - 0.408_211) / 0.275_777];
    let cases = [
        (json!({}), clip),
        (json!({ "do_normalize": false }), [0.50196; 3]),
        (json!({ "do_rescale": false }), [474.7, 488.1, 462.7]),
        (json!({ "rescale_factor": 1.0 / 127.5 }), [1.945, 2.090, 2.160]),
        (json!({ "do_rescale": false, "do_normalize": false }), [128.0; 3]),
        (json!({ "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.125] }), [0.00392, 0.00784, 0.01569]),
    ];
    for (model, original, preparation) in prepared() {
        // Others normalise with another mean.
        let clip_mean = preparation["image_mean"][0].as_f64().is_some_and(|mean| (mean - 0.481_454_66).abs() < 1e-6);
        for (change, expected) in cases.iter().filter(|(change, _)| clip_mean || change.get("image_mean").is_some()) {
            let mut changed = preparation.clone();
            for (key, value) in change.as_object().unwrap() {
                changed[key] = value.clone();
            }
            let mut files = original.clone();
            files.insert(FLAT.to_owned(), changed.to_string().into_bytes());
            let size = Size::new(84, 84);
            let picture = Picture::from_rgb(size, vec![128; 3 * size.pixels() as usize]).unwrap();
            let prepared = image(&files).unwrap().prepare(&picture).unwrap();
            let view = &prepared.views[0];
            let channel = view.patch_width() / 3;
            on_every_gpu(|gpu, run| {
                let mut bytes = view.picture.rgb().to_vec();
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
                let pixels = gpu.upload("picture", &[words.len()], &words)?;
                let patches = run.record(|rec| Ok(rec.patchify(&pixels, view.cut)?))?;
                // The middle of the picture: nobody puts bands there.
                let middle = patches.len() / view.patch_width() / 2 * view.patch_width();
                for (index, &expected) in expected.iter().enumerate() {
                    let value = f64::from(patches[middle + index * channel]);
                    // Expected values are rounded to four digits.
                    let error = (value - expected).abs();
                    assert!(error <= 2e-4 * expected.abs().max(0.1), "{model} {change}: {value}, not {expected}");
                }
                Ok(())
            });
        }
    }
}

/// A key that the reference would act on is never passed over: the preparation differs, or an error names the key.
#[test]
fn nothing_is_passed_over() {
    let changes = [
        ("do_resize", json!(false)),
        ("do_rescale", json!(false)),
        ("rescale_factor", json!(0.5)),
        ("do_normalize", json!(false)),
        ("image_mean", json!([0.1, 0.2, 0.3])),
        ("image_std", json!([0.1, 0.2, 0.3])),
        ("resample", json!(0)),
        ("resample", json!(5)),
        ("do_pad", json!("x")),
        ("do_thumbnail", json!(true)),
        ("image_processor_type", json!("ViTImageProcessor")),
        ("size", json!({ "height": 17, "width": 19 })),
        ("gamma", json!(2.2)),
    ];
    for (model, original, preparation) in prepared() {
        let expected = image(&original).unwrap();
        let flipped = preparation.as_object().unwrap().iter().filter_map(|(key, value)| match key.as_str() {
            // Every picture is RGB. How a `size` of one number is read, which there is none of; whether views are cropped
            // to the size that they have; and whether the caller or the processor asks for tiles: nothing changes.
            "do_convert_rgb" | "default_to_square" | "crop_to_patches" => None,
            "do_center_crop" if model == "llava_next" || model == "kosmos2" => None,
            _ => Some((key.as_str(), json!(!value.as_bool()?))),
        });
        let flipped: Vec<_> = flipped.collect();
        let on = ["do_center_crop", "do_pad"].into_iter().filter(|key| preparation.get(key).is_none_or(Value::is_null));
        let on: Vec<_> = on.map(|key| (key, json!(true))).collect();
        for (key, value) in changes.iter().cloned().chain(flipped).chain(on) {
            let mut changed = preparation.clone();
            changed[key] = value.clone();
            let mut files = original.clone();
            files.insert(FLAT.to_owned(), changed.to_string().into_bytes());
            match image(&files) {
                Ok(image) => assert_ne!(image, expected, "{model}: {key} {value}"),
                // By the file that has it, also where `config.json` contradicts.
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains(key) && error.contains(FLAT), "{model}: {key}: {error}");
                }
            }
        }
    }
}

/// Where nothing is resized, a picture that does not fit is refused, not cut.
#[test]
fn pictures_that_are_not_resized_must_fit() {
    let mut files = files("qwen2_vl");
    files.insert(FLAT.to_owned(), br#"{"do_resize": false}"#.to_vec());
    let image = image(&files).unwrap();
    assert_eq!(image.resized_size(Size::new(56, 28)).unwrap(), Size::new(56, 28));
    let error = image.resized_size(Size::new(57, 28)).unwrap_err();
    assert!(matches!(error, ImageError::Unresized { width: 57, height: 28, step: 28 }), "{error}");
}
