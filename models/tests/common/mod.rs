//! Fixtures as checkpoints.

use std::{collections::BTreeMap, error::Error, sync::Arc};

use fovea_engine::{
    Gpu,
    testing::{Memory, block_on, golden},
    weights::{Format, Policy, Safetensors},
};
use fovea_models::{Checkpoint, SMALL_FILES, System};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A fixture with these weights.
pub(crate) fn checkpoint(model: &str, weights: Vec<u8>) -> Outcome<Checkpoint> {
    let files: BTreeMap<_, _> = SMALL_FILES
        .iter()
        .filter(|file| golden::path(&format!("{model}/{file}")).exists())
        .map(|file| ((*file).to_owned(), golden::bytes(&format!("{model}/{file}"))))
        .collect();
    let weights = Memory::new("model.safetensors", weights);
    Ok(Checkpoint::new(files, Box::new(block_on(Safetensors::open(vec![weights]))?)))
}

/// A fixture on a GPU.
pub(crate) fn load(model: &str, gpu: &Gpu, format: Format) -> Outcome<Arc<System>> {
    load_from(model, golden::bytes(&format!("{model}/model.safetensors")), gpu, Policy::uniform(format))
}

/// A fixture with these weights on a GPU.
pub(crate) fn load_from(model: &str, weights: Vec<u8>, gpu: &Gpu, policy: Policy) -> Outcome<Arc<System>> {
    Ok(Arc::new(block_on(System::load(&checkpoint(model, weights)?, gpu, policy, &|_| ()))?))
}
