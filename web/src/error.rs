//! Rust's errors as JavaScript's: `Error` with `code` and `detail`, which `web/js/src/errors.ts` has classes for.

use fovea_engine::{GpuError, OpError, text::TextError, weights::WeightError};
use fovea_models::{LoadError, RunError, grounding::GroundingError};
use js_sys::{Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

/// What the bridge throws.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Answer(#[from] GroundingError),
    /// An argument that the package's types do not allow.
    #[error("{0}")]
    Argument(String),
    /// A second call while one is pending.
    #[error("the model is busy with another call")]
    Busy,
}

/// Details of an error by name.
type Detail = Vec<(&'static str, JsValue)>;

impl Failure {
    fn gpu(&self) -> Option<&GpuError> {
        match self {
            Self::Gpu(error) | Self::Load(LoadError::Gpu(error) | LoadError::Weight(WeightError::Gpu(error))) => {
                Some(error)
            }
            Self::Run(RunError::Gpu(error) | RunError::Op(OpError::Gpu(error))) => Some(error),
            _ => None,
        }
    }

    fn code_and_detail(&self) -> (&'static str, Detail) {
        if let Some(error) = self.gpu() {
            return match error {
                GpuError::NoAdapter { .. } | GpuError::NoDevice { .. } => ("webgpu-unavailable", vec![]),
                GpuError::TooSmall { what, has, needs, .. } => {
                    let detail = vec![
                        ("limit", JsValue::from_str(&in_camel_case(what))),
                        ("has", JsValue::from_f64(*has as f64)),
                        ("needs", JsValue::from_f64(*needs as f64)),
                    ];
                    ("adapter-too-small", detail)
                }
                GpuError::Lost(_) => ("device-lost", vec![]),
                GpuError::OutOfMemory { .. } => ("out-of-memory", vec![]),
                GpuError::BufferTooLarge { bytes, limit, .. } => {
                    let detail = vec![
                        ("limit", JsValue::from_str("maxBufferSize")),
                        ("has", JsValue::from_f64(*limit as f64)),
                        ("needs", JsValue::from_f64(*bytes as f64)),
                    ];
                    ("adapter-too-small", detail)
                }
                GpuError::Rejected(_) => ("internal", vec![]),
            };
        }
        match self {
            Self::Load(LoadError::Image(_)) | Self::Run(RunError::Image(_)) => ("image", vec![]),
            Self::Load(_) | Self::Run(RunError::Text(TextError::NoTemplate) | RunError::GroundsOnly) => {
                ("model", vec![])
            }
            Self::Run(RunError::Op(_)) | Self::Gpu(_) | Self::Busy => ("internal", vec![]),
            Self::Run(_) | Self::Argument(_) => ("prompt", vec![]),
            Self::Answer(error) => ("answer", vec![("text", JsValue::from_str(error.text()))]),
        }
    }
}

impl From<Failure> for JsValue {
    fn from(failure: Failure) -> Self {
        let error = js_sys::Error::new(&failure.to_string());
        let (code, detail) = failure.code_and_detail();
        set(&error, "code", &JsValue::from_str(code));
        if !detail.is_empty() {
            let fields = Object::new();
            detail.iter().for_each(|(name, value)| set(&fields, name, value));
            set(&error, "detail", &fields);
        }
        error.into()
    }
}

/// A limit's name as WebGPU spells it, from wgpu's.
fn in_camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        name + &initial.to_uppercase() + rest
    })
}

/// Sets a field of a plain object, which cannot fail.
pub(crate) fn set(object: &JsValue, name: &str, value: &JsValue) {
    let _ = Reflect::set(object, &JsValue::from_str(name), value);
}

/// What a JavaScript exception says.
pub(crate) fn message(thrown: &JsValue) -> String {
    match thrown.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => thrown.as_string().unwrap_or_else(|| format!("{thrown:?}")),
    }
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use fovea_models::image::ImageError;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn field(object: &JsValue, name: &str) -> JsValue {
        Reflect::get(object, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED)
    }

    #[wasm_bindgen_test]
    fn failures_are_errors_with_a_code() {
        let lost = || GpuError::Lost("reset".to_owned());
        for (failure, code) in [
            (Failure::from(lost()), "device-lost"),
            // However deep it lies.
            (LoadError::Weight(WeightError::Gpu(lost())).into(), "device-lost"),
            (RunError::Op(OpError::Gpu(lost())).into(), "device-lost"),
            (GpuError::OutOfMemory { what: None, message: String::new() }.into(), "out-of-memory"),
            (GpuError::NoAdapter { filter: None, found: String::new() }.into(), "webgpu-unavailable"),
            (GpuError::Rejected(String::new()).into(), "internal"),
            (LoadError::MissingFile { file: "config.json".to_owned() }.into(), "model"),
            (RunError::Image(ImageError::Empty { width: 0, height: 1 }).into(), "image"),
            (RunError::NotInPrompt.into(), "prompt"),
            (RunError::GroundsOnly.into(), "model"),
            (Failure::Argument("no".to_owned()), "prompt"),
            (Failure::Busy, "internal"),
        ] {
            let message = failure.to_string();
            let thrown = JsValue::from(failure);
            assert!(thrown.is_instance_of::<js_sys::Error>());
            assert_eq!(field(&thrown, "code"), JsValue::from_str(code), "{message}");
            assert_eq!(super::message(&thrown), message);
            assert!(field(&thrown, "detail").is_undefined());
        }
    }

    #[wasm_bindgen_test]
    fn limits_are_told_in_numbers() {
        let adapter = "small".to_owned();
        let limit = GpuError::TooSmall { adapter, what: "max_compute_workgroup_storage_size", has: 16, needs: 32 };
        let detail = field(&Failure::from(limit).into(), "detail");
        assert_eq!(field(&detail, "limit"), JsValue::from_str("maxComputeWorkgroupStorageSize"));
        assert_eq!((field(&detail, "has"), field(&detail, "needs")), (JsValue::from(16), JsValue::from(32)));
    }

    #[wasm_bindgen_test]
    fn anything_can_be_thrown() {
        assert_eq!(message(&JsValue::from_str("plain")), "plain");
        assert_eq!(message(&js_sys::Error::new("an error").into()), "an error");
        assert!(!message(&JsValue::NULL).is_empty());
    }
}
