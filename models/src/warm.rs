//! Kernels built before the weights are there.

use fovea_engine::{
    Gpu, Recorder,
    op::{DecodeState, Sampling},
    weights::{Loader, Policy},
};

use crate::{
    blocks::{Decoder, KvCache, QwenVit, Rows},
    checkpoint::{Checkpoint, LoadError, RunError},
    image::{Picture, Size},
    session::patchify,
    systems::Blueprint,
};

/// The screenshot whose kernels are built: those of other sizes are mostly the same.
const SCREEN: Size = Size::new(1280, 800);

/// Rows of the vocabulary that stand for all.
const VOCABULARY: usize = 1024;

/// Builds the kernels that answering a question about a screenshot takes: what a browser compiles while the weights are
/// on their way need not be waited for when they are there. Records a system of one layer of each kind whose weights are
/// zeros, and runs nothing.
///
/// # Errors
/// As [`crate::System::load`], but for what is wrong with the weights themselves.
pub async fn warm(checkpoint: &Checkpoint, gpu: &Gpu, policy: Policy) -> Result<(), LoadError> {
    let mut blueprint = Blueprint::read(checkpoint.files())?;
    let vision = &mut blueprint.vision;
    vision.depth = vision.depth.min(2);
    vision.full_blocks = if vision.full_blocks.is_empty() { vec![] } else { vec![1] };
    blueprint.decoder.layers = 1;
    blueprint.decoder.vocabulary = blueprint.decoder.vocabulary.min(VOCABULARY);
    let loader = Loader::blank(gpu, checkpoint.weights(), policy);
    let root = loader.at("");
    let vision = QwenVit::load(&root.at("visual"), blueprint.vision.clone()).await?;
    let decoder = Decoder::load(&root, blueprint.decoder.clone()).await?;
    match record(&blueprint, &vision, &decoder, gpu) {
        Ok(()) => Ok(()),
        Err(RunError::Gpu(error)) => Err(error.into()),
        // Whatever does not fit together is told by loading, or by the call that needs it.
        Err(_) => Ok(()),
    }
}

fn record(blueprint: &Blueprint, vision: &QwenVit, decoder: &Decoder, gpu: &Gpu) -> Result<(), RunError> {
    let black = Picture::from_rgb(SCREEN, vec![0; 3 * SCREEN.pixels() as usize])?;
    let prepared = blueprint.image.prepare(&black)?;
    let mut rec = Recorder::new(gpu);
    let pixels = patchify(&mut rec, &blueprint.image, &prepared.picture)?;
    let x = vision.record(&mut rec, &pixels, prepared.grid)?.embeds;
    let tokens = x.rows_and_width().0;
    let (cache, rope) = (KvCache::new(gpu, decoder.config(), tokens)?, decoder.rope(gpu, tokens)?);
    let state = DecodeState::new(gpu, tokens)?;
    let zeros = |count: usize| gpu.upload("zeros", &[count], &vec![0u32; count]);
    let ids = zeros(tokens)?;
    let text = decoder.record_embedding(&mut rec, (&ids).into(), tokens)?;
    let image_rows = rec.gather_rows(&x, (&ids).into(), tokens)?;
    rec.place_rows(&text, &image_rows, &ids)?;
    let prefill = decoder.record_prefill(&mut rec, text, &zeros(3 * tokens)?, &cache, &rope, 0, Rows::Last)?;
    let sampling = Sampling::greedy(&ids);
    rec.prefill_sampled(&prefill.logits, sampling, &state)?;
    let logits = decoder.record_step(&mut rec, &state, &cache, &rope)?;
    rec.sample(&logits, sampling, &state)?;
    Ok(())
}
