//! The default model, as it ships.

use std::{error::Error, sync::Arc};

use fovea_engine::{
    Gpu,
    testing::{Memory, block_on},
    weights::{Policy, Safetensors},
};
use fovea_models::{Checkpoint, SMALL_FILES, System, image::Picture};

fn file(name: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(format!("{}/nano/{name}", env!("CARGO_MANIFEST_DIR")))
}

pub(crate) fn load(gpu: &Gpu, policy: Policy) -> Result<Arc<System>, Box<dyn Error>> {
    let files = SMALL_FILES.iter().filter_map(|name| Some(((*name).to_owned(), file(name).ok()?))).collect();
    let weights = block_on(Safetensors::open(vec![Memory::new("model.safetensors", file("model.safetensors")?)]))?;
    let checkpoint = Checkpoint::new(files, Box::new(weights));
    Ok(Arc::new(block_on(System::load(&checkpoint, gpu, policy, &|_| ()))?))
}

/// A picture that ships with it.
pub(crate) fn picture(name: &str) -> Result<Picture, Box<dyn Error>> {
    Ok(Picture::decode(&file(name)?)?)
}

/// Its sample: 1280x800, the Sign in button at x 943 to 1217, y 570 to 609.
pub(crate) fn sample() -> Result<Picture, Box<dyn Error>> {
    picture("samples/signin.png")
}
