//! Where the golden fixtures are, and how pixels are compared with them.

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

/// Values of an f32 tensor of a safetensors fixture, if it has one of that name.
pub(crate) fn tensor(path: &str, name: &str) -> Option<Vec<f32>> {
    let bytes = golden(path);
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
    let tensor = file.tensor(name).ok()?;
    assert_eq!(tensor.dtype(), safetensors::Dtype::F32, "{path}: {name}");
    Some(tensor.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

/// Every value equal to float rounding: as the resize is bit exact, an 8-bit step (0.014) is a defect.
pub(crate) fn assert_pixels(actual: &[f32], expected: &[f32], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of values");
    let far = actual.iter().zip(expected).filter(|(a, b)| a.is_nan() || (*a - *b).abs() > 1e-6).count();
    assert_eq!(far, 0, "{what}: {far} of {} values differ", expected.len());
}
