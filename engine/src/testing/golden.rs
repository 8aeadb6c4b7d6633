//! Golden fixtures of the reference implementations: the folders of `tests/golden`, whose README describes them.
//!
//! `FOVEA_GOLDEN` names a folder of whole sets: one of its folders takes the place of the fixture of that name.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::nmse;
use crate::sketch::Sketch;

/// The repository's own.
fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// Where a file of a fixture is: `qwen2_vl/config.json`.
pub fn path(name: &str) -> PathBuf {
    let model = name.split('/').next().unwrap_or_default();
    if let Some(whole) = std::env::var_os("FOVEA_GOLDEN").map(PathBuf::from) {
        assert!(whole.is_dir(), "FOVEA_GOLDEN: no folder {}", whole.display());
        if whole.join(model).is_dir() {
            return whole.join(name);
        }
    }
    own().join(name)
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
    let own = own();
    let mut models: Vec<String> = std::fs::read_dir(&own)
        .unwrap_or_else(|error| panic!("{}: {error}", own.display()))
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|model| path(&format!("{model}/{file}")).is_file())
        .collect();
    models.sort();
    assert!(!models.is_empty(), "no fixture has {file}");
    models
}

/// How many cases a fixture has.
pub fn cases(model: &str) -> usize {
    (0..).take_while(|case| path(&format!("{model}/cases/{case}/expected.json")).is_file()).count()
}

/// What the reference computed in a case: its `expected.safetensors`.
pub struct Expected {
    name: String,
    bytes: Vec<u8>,
}

impl Expected {
    /// That of a case's folder: `qwen2_vl/cases/0`.
    ///
    /// # Panics
    /// If there is none.
    pub fn open(folder: &str) -> Self {
        let name = format!("{folder}/expected.safetensors");
        Self { bytes: bytes(&name), name }
    }

    /// A tensor, if there is one of that name.
    ///
    /// # Panics
    /// If the file is no fixture's.
    pub fn tensor(&self, name: &str) -> Option<Reference> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let of = |suffix: &str| file.tensor(&format!("{name}{suffix}")).ok();
        if let Some(whole) = of("") {
            return Some(Reference::Whole(numbers(&whole, Dtype::F32, f32::from_le_bytes)));
        }
        if let (Some(values), Some(index)) = (of(".values"), of(".index")) {
            let values = numbers(&values, Dtype::F32, f32::from_le_bytes);
            let index: Vec<usize> = match index.dtype() {
                Dtype::U8 => index.data().iter().map(|&place| place.into()).collect(),
                _ => numbers(&index, Dtype::U16, u16::from_le_bytes).into_iter().map(usize::from).collect(),
            };
            return Some(Reference::Whole(index.into_iter().map(|place| values[place]).collect()));
        }
        let (sketch, shape) = (of(".sketch")?, of(".shape")?);
        let shape = numbers(&shape, Dtype::I64, i64::from_le_bytes);
        let shape = shape.into_iter().map(|side| usize::try_from(side).expect("a shape")).collect();
        let sketch = Sketch::from_parts(shape, numbers(&sketch, Dtype::F64, f64::from_le_bytes));
        Some(Reference::Sketch(sketch.unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name))))
    }

    /// Every number of a tensor, if there is one of that name.
    ///
    /// # Panics
    /// If the fixture has only its sketch.
    pub fn whole(&self, name: &str) -> Option<Vec<f32>> {
        self.tensor(name).map(|tensor| match tensor {
            Reference::Whole(values) => values,
            Reference::Sketch(_) => panic!("{}: {name} is a sketch", self.name),
        })
    }
}

fn numbers<T, const N: usize>(tensor: &TensorView<'_>, dtype: Dtype, read: impl Fn([u8; N]) -> T) -> Vec<T> {
    assert_eq!(tensor.dtype(), dtype);
    tensor.data().as_chunks::<N>().0.iter().map(|&bytes| read(bytes)).collect()
}

/// A tensor of the reference.
pub enum Reference {
    /// All its numbers.
    Whole(Vec<f32>),
    /// Its projections.
    Sketch(Sketch),
}

impl Reference {
    /// Normalised mean square error of `actual`, an estimate of it where this is a sketch.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn nmse(&self, actual: &[f32]) -> f64 {
        match self {
            Self::Whole(expected) => nmse(actual, &expected.iter().map(|&value| f64::from(value)).collect::<Vec<_>>()),
            Self::Sketch(sketch) => sketch.nmse(actual).unwrap_or_else(|error| panic!("{error}")),
        }
    }

    /// Fails if the error of `actual` is above `limit`; returns what was measured.
    ///
    /// # Panics
    /// If so, and if the lengths differ.
    #[track_caller]
    pub fn assert_near(&self, actual: &[f32], limit: f64, what: &str) -> f64 {
        let (limit, kind) = match self {
            Self::Whole(_) => (limit, ""),
            Self::Sketch(_) => (Sketch::limit(limit), ", by its sketch"),
        };
        let error = self.nmse(actual);
        // Written so that a NaN fails.
        assert!(error <= limit, "{what}: normalised mean square error {error:e}{kind}, allowed {limit:e}");
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every case has each stage in one form, and no fixture is empty.
    #[test]
    fn every_case_can_be_compared() {
        for model in models("model.safetensors").iter().map(String::as_str) {
            assert!(cases(model) > 0, "{model}");
            for case in 0..cases(model) {
                let expected = Expected::open(&format!("{model}/cases/{case}"));
                for stage in ["hidden_first", "hidden_last", "logits_prompt"] {
                    assert!(expected.tensor(stage).is_some(), "{model}/{case}: {stage}");
                }
                let steps = expected.whole("logits_steps").expect("logits");
                let ids = json(&format!("{model}/cases/{case}/expected.json"))["generated_ids"].clone();
                let ids: Vec<usize> = serde_json::from_value(ids).expect("ids");
                let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("logits");
                let chosen: Vec<usize> = steps.chunks_exact(steps.len() / ids.len()).map(best).collect();
                assert_eq!(chosen, ids, "{model}/{case}");
            }
        }
    }

    /// A tensor of few values is stored by these and their places: the same numbers.
    #[test]
    fn indexed_tensors_are_whole() {
        let expected = Expected { name: "test".to_owned(), bytes: indexed() };
        assert_eq!(expected.whole("pixel_values"), Some(vec![0.5, -1.0, 0.5]));
        assert!(expected.tensor("pixel").is_none());
    }

    fn indexed() -> Vec<u8> {
        let values: Vec<u8> = [-1.0f32, 0.5].iter().flat_map(|value| value.to_le_bytes()).collect();
        let index: Vec<u8> = [1u16, 0, 1].iter().flat_map(|place| place.to_le_bytes()).collect();
        let views = [
            ("pixel_values.values", TensorView::new(Dtype::F32, vec![2], &values).expect("a tensor")),
            ("pixel_values.index", TensorView::new(Dtype::U16, vec![3, 1], &index).expect("a tensor")),
        ];
        safetensors::serialize(views, None).expect("a file")
    }
}
