//! Golden fixtures of the reference implementations: in the folder that `FOVEA_GOLDEN` names, else in `shared/golden`
//! beside the repository.

use std::path::PathBuf;

/// Where a fixture is, named from the fixtures' folder.
pub fn path(name: &str) -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden");
    let root = std::env::var_os("FOVEA_GOLDEN").map_or_else(beside, PathBuf::from);
    assert!(
        root.is_dir(),
        "no golden fixtures in {}: set FOVEA_GOLDEN to the folder that holds qwen2_vl, qwen2_5_vl and the others",
        root.display()
    );
    root.join(name)
}

/// Its bytes.
pub fn bytes(name: &str) -> Vec<u8> {
    let path = path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fixture in JSON.
pub fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The fixture models that have `file`, by name.
pub fn models(file: &str) -> Vec<String> {
    let mut models: Vec<String> = std::fs::read_dir(path(""))
        .unwrap_or_else(|error| panic!("the fixtures' folder: {error}"))
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join(file).is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    models.sort();
    assert!(!models.is_empty(), "no fixture has {file}");
    models
}
