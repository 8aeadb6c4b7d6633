//! Golden fixtures of the reference implementations: those of the repository in `tests/golden`, the others in the folder
//! that `FOVEA_GOLDEN` names, else in `shared/golden` beside the repository.

use std::path::PathBuf;

/// The folder of the repository's own.
fn own() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// Where a file of a fixture is, named from the fixtures' folders.
pub fn path(name: &str) -> PathBuf {
    let model = name.split('/').next().unwrap_or_default();
    if !model.is_empty() && own().join(model).is_dir() {
        return own().join(name);
    }
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
    let mut models: Vec<String> = [path(""), own()]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())))
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join(file).is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    models.sort();
    assert!(!models.is_empty(), "no fixture has {file}");
    models
}

/// How many cases a fixture has.
pub fn cases(model: &str) -> usize {
    (0..).take_while(|case| path(&format!("{model}/cases/{case}/expected.json")).is_file()).count()
}
