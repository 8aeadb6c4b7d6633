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
                        ("limit", JsValue::from_str(what)),
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
            Self::Load(_) | Self::Run(RunError::Text(TextError::NoTemplate)) => ("model", vec![]),
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
