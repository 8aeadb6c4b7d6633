//! Kernels built before the weights are there.

use fovea_engine::{
    Gpu, Recorder,
    op::{DecodeState, Sampling},
    weights::{Loader, Policy},
};

use crate::{
    blocks::{Context, Decoder, KvCache, Rows, TowerConfig, Vision},
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
    let (blueprint, vision, decoder) = blank(checkpoint, gpu, policy).await?;
    match record(&blueprint, &vision, &decoder, gpu) {
        Ok(()) => Ok(()),
        Err(RunError::Gpu(error)) => Err(error.into()),
        // Whatever does not fit together is told by loading, or by the call that needs it.
        Err(_) => Ok(()),
    }
}

/// One layer of each kind.
async fn blank(checkpoint: &Checkpoint, gpu: &Gpu, policy: Policy) -> Result<(Blueprint, Vision, Decoder), LoadError> {
    let mut blueprint = Blueprint::read(checkpoint.files())?.fit(checkpoint.weights());
    match &mut blueprint.vision.tower {
        TowerConfig::QwenVit(tower) => {
            tower.depth = tower.depth.min(2);
            tower.full_blocks = if tower.full_blocks.is_empty() { vec![] } else { vec![1] };
        }
        TowerConfig::Eva(tower) => tower.depth = 1,
        TowerConfig::Vit(tower) => tower.depth = tower.depth.min(1),
        // The layers whose outputs are kept belong to its sizes.
        TowerConfig::Tiled(tower) => tower.global = tower.global.min(1),
    }
    if let Some((cross, _)) = &mut blueprint.vision.cross {
        cross.depth = 1;
    }
    blueprint.decoder.layers = 1;
    if let Some(gated) = &mut blueprint.decoder.gated {
        gated.layers.truncate(1);
        blueprint.decoder.layers += gated.layers.first().copied().unwrap_or_default();
    }
    blueprint.decoder.vocabulary = blueprint.decoder.vocabulary.min(VOCABULARY);
    let loader = Loader::blank(gpu, checkpoint.weights(), policy);
    let root = loader.at("");
    let vision = Vision::load(&root, blueprint.vision.clone()).await?;
    let decoder = Decoder::load(&root, blueprint.decoder.clone()).await?;
    Ok((blueprint, vision, decoder))
}

fn record(blueprint: &Blueprint, vision: &Vision, decoder: &Decoder, gpu: &Gpu) -> Result<(), RunError> {
    let black = Picture::from_rgb(SCREEN, vec![0; 3 * SCREEN.pixels() as usize])?;
    let prepared = blueprint.image.prepare(&black)?;
    let mut rec = Recorder::new(gpu);
    let pixels = prepared.views.iter().map(|view| patchify(&mut rec, view)).collect::<Result<Vec<_>, _>>()?;
    let output = vision.record(&mut rec, &pixels, &prepared.tiling)?;
    let cross = match blueprint.vision.attended(&output, &prepared.tiling) {
        Some((features, seen)) => Some(decoder.record_cross(&mut rec, features, seen)?),
        None => None,
    };
    let x = output.embeds;
    let tokens = x.rows_and_width().0;
    let (cache, tables) = (KvCache::new(gpu, decoder.config(), tokens)?, decoder.tables(gpu, tokens)?);
    let state = DecodeState::new(gpu, tokens)?;
    let zeros = |count: usize| gpu.upload("zeros", &[count], &vec![0u32; count]);
    let ids = zeros(tokens)?;
    let text = decoder.record_embedding(&mut rec, (&ids).into(), tokens)?;
    let image_rows = rec.gather_rows(&x, (&ids).into(), tokens)?;
    rec.place_rows(&text, &image_rows, &ids)?;
    // Both experts have rows: those of most pictures outnumber the words.
    let visual: Vec<bool> = (0..tokens).map(|row| row < tokens / 2).collect();
    let context = Context {
        cache: &cache,
        tables: &tables,
        past: 0,
        visual: &visual,
        cross: cross.as_ref(),
        picture_at: 0,
        tree: None,
    };
    let prefill = decoder.record_prefill(&mut rec, text, &zeros(3 * tokens)?, &context, Rows::Last)?;
    let sampling = Sampling::greedy(&ids);
    rec.prefill_sampled(&prefill.logits, sampling, &state)?;
    let logits = decoder.record_step(&mut rec, &state, &cache, &tables, cross.as_ref())?;
    rec.sample(&logits, sampling, &state)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use fovea_engine::{
        testing::{Memory, block_on, golden, gpus},
        weights::{Format, Safetensors},
    };

    use super::*;
    use crate::{checkpoint::SMALL_FILES, systems};

    #[test]
    fn every_system_can_be_warmed() {
        let models = golden::models("model.safetensors");
        for system in systems::names().filter(|name| models.iter().any(|model| model == name)) {
            let files = SMALL_FILES
                .iter()
                .filter(|file| golden::path(&format!("{system}/{file}")).exists())
                .map(|file| ((*file).to_owned(), golden::bytes(&format!("{system}/{file}"))))
                .collect();
            let weights = Memory::new(system, golden::bytes(&format!("{system}/model.safetensors")));
            let weights = block_on(Safetensors::open(vec![weights])).expect("the fixture's weights");
            let checkpoint = Checkpoint::new(files, Box::new(weights));
            let gpu = &gpus()[0];
            let (blueprint, vision, decoder) =
                block_on(blank(&checkpoint, gpu, Policy::uniform(Format::F32))).expect(system);
            record(&blueprint, &vision, &decoder, gpu).expect(system);
        }
    }
}
