//! What configurations have in common: checks of sizes, activations, stop tokens.

use fovea_engine::op::Activation;
use serde::Deserialize;

use crate::{checkpoint::Files, error::LoadError};

pub(super) const CONFIG: &str = "config.json";
/// Where pictures' preparation is described, for messages.
pub(super) const PREPARATION: &str = "preprocessor_config.json (or processor_config.json)";
const GENERATION: &str = "generation_config.json";

/// Token ids, one of them without brackets.
#[derive(Deserialize, Clone)]
#[serde(untagged, expecting = "expected eos_token_id to be a token id or a list of them")]
pub(super) enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl From<OneOrMany> for Vec<u32> {
    fn from(ids: OneOrMany) -> Self {
        match ids {
            OneOrMany::One(id) => vec![id],
            OneOrMany::Many(ids) => ids,
        }
    }
}

/// Ids that end an answer: those of `generation_config.json`, and those that `config.json` has, of which files name one
/// here and another there.
pub(super) fn stop<const N: usize>(files: Files<'_>, own: [Option<OneOrMany>; N]) -> Result<Vec<u32>, LoadError> {
    #[derive(Deserialize)]
    struct Generation {
        eos_token_id: Option<OneOrMany>,
    }
    let generation = match files.get(GENERATION) {
        Some(_) => files.json::<Generation>(GENERATION)?.eos_token_id,
        None => None,
    };
    let mut ids: Vec<u32> = Vec::new();
    for id in [generation].into_iter().chain(own).flatten().flat_map(Vec::from) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// A configuration's `model_type`, which must be one of these if it is there.
pub(super) fn kind(field: &'static str, found: Option<&str>, expected: &[&str]) -> Result<(), LoadError> {
    match found {
        Some(found) if !found.is_empty() && !expected.contains(&found) => {
            Err(wrong(field, found.to_owned(), expected.join(" or ")))
        }
        _ => Ok(()),
    }
}

/// A key that may only say what happens anyway.
pub(super) fn only<T: PartialEq + ToString>(field: &'static str, found: Option<T>, usual: T) -> Result<(), LoadError> {
    match found {
        Some(found) if found != usual => Err(wrong(field, found.to_string(), usual.to_string())),
        _ => Ok(()),
    }
}

/// An activation by the name that `transformers` has for it.
pub(super) fn activation(
    field: &'static str,
    name: Option<&str>,
    default: Activation,
) -> Result<Activation, LoadError> {
    match name {
        None => Ok(default),
        Some("gelu") => Ok(Activation::GeluErf),
        Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast") => Ok(Activation::GeluTanh),
        Some("quick_gelu") => Ok(Activation::QuickGelu),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("relu") => Ok(Activation::Relu),
        Some(other) => {
            Err(wrong(field, other.to_owned(), "gelu, gelu_pytorch_tanh, quick_gelu, silu or relu".to_owned()))
        }
    }
}

pub(super) fn head(field: &'static str, head_dim: usize) -> Result<(), LoadError> {
    if head_dim <= 256 && head_dim.is_multiple_of(2) {
        return Ok(());
    }
    Err(wrong(field, head_dim.to_string(), "an even head dimension of at most 256".to_owned()))
}

pub(super) fn epsilon(field: &'static str, eps: f32) -> Result<(), LoadError> {
    if eps.is_finite() && (0.0..1.0).contains(&eps) {
        return Ok(());
    }
    Err(wrong(field, eps.to_string(), "between 0 and 1".to_owned()))
}

pub(super) fn wrong(field: &'static str, got: String, expected: String) -> LoadError {
    LoadError::Field { file: CONFIG, field, got, expected }
}

pub(super) fn size(field: &'static str, got: usize, most: usize) -> Result<(), LoadError> {
    match got {
        1.. if got <= most => Ok(()),
        _ => Err(wrong(field, got.to_string(), format!("between 1 and {most}"))),
    }
}

pub(super) fn divide(field: &'static str, number: usize, by: &'static str, divisor: usize) -> Result<usize, LoadError> {
    if divisor > 0 && number.is_multiple_of(divisor) {
        return Ok(number / divisor);
    }
    Err(wrong(field, number.to_string(), format!("a multiple of {by}, {divisor}")))
}
