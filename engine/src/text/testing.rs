//! Where the golden fixtures are.

use std::path::PathBuf;

fn root() -> PathBuf {
    let root = std::env::var_os("FOVEA_GOLDEN")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden"), PathBuf::from);
    assert!(
        root.is_dir(),
        "no golden fixtures in {}: set FOVEA_GOLDEN to the folder that holds qwen2_vl, qwen2_5_vl and the others",
        root.display()
    );
    root
}

/// Bytes of a fixture, named from the fixtures' folder.
pub(crate) fn golden(path: &str) -> Vec<u8> {
    let path = root().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON fixture.
pub(crate) fn json(path: &str) -> serde_json::Value {
    serde_json::from_slice(&golden(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fixture models that have `file`, by name.
pub(crate) fn golden_models(file: &str) -> Vec<String> {
    let mut models: Vec<String> = std::fs::read_dir(root())
        .expect("the folder was there a moment ago")
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join(file).is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    models.sort();
    assert!(!models.is_empty(), "no fixture has {file}");
    models
}
