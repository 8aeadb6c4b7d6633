//! Kernels built before the weights are there.

use fovea_engine::{
    Gpu, Recorder,
    op::{DecodeState, Sampling},
    weights::{Loader, Policy},
};

use crate::{
    blocks::{Context, Decoder, KvCache, Rows, TowerConfig, Vision},
    checkpoint::Checkpoint,
    error::{LoadError, RunError},
    image::{Picture, Size},
    names::Spelling,
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
        Ok(_) => Ok(()),
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
    let spelling = Spelling::of(checkpoint.weights());
    let spell = |name: &str| spelling.spell(name);
    let loader = Loader::blank(gpu, checkpoint.weights(), policy).spelled(&spell);
    let root = loader.at("");
    let vision = Vision::load(&root, blueprint.vision.clone()).await?;
    let decoder = Decoder::load(&root, blueprint.decoder.clone()).await?;
    Ok((blueprint, vision, decoder))
}

/// What encodes a screenshot, reads it, and takes a step.
fn record(blueprint: &Blueprint, vision: &Vision, decoder: &Decoder, gpu: &Gpu) -> Result<Recorder, RunError> {
    let black = Picture::from_rgb(SCREEN, vec![0; 3 * SCREEN.pixels() as usize])?;
    let prepared = blueprint.image.prepare(&black)?;
    let mut rec = Recorder::new(gpu);
    let pixels = prepared.views.iter().map(|view| patchify(&mut rec, view)).collect::<Result<Vec<_>, _>>()?;
    let output = vision.record(&mut rec, &pixels, &prepared.tiling)?;
    let cross = match blueprint.vision.attended(&output, &prepared.tiling) {
        Some((features, seen)) => Some(decoder.record_cross(&mut rec, features, 0..seen)?),
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
        cross_ranges: &[],
        tree: None,
    };
    let prefill = decoder.record_prefill(&mut rec, text, &zeros(3 * tokens)?, &context, Rows::Last)?;
    let sampling = Sampling::greedy(&ids);
    rec.prefill_sampled(&prefill.logits, sampling, &state)?;
    let logits = decoder.record_step(&mut rec, &state, &cache, &tables, cross.as_ref())?;
    rec.sample(&logits, sampling, &state)?;
    Ok(rec)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ops::Range};

    use fovea_engine::{
        Caps,
        testing::{Memory, block_on, golden, gpus, limited_gpus},
        weights::{Bytes, Format, Safetensors, StoredType, TensorInfo, WeightError, WeightSource},
    };

    use super::*;
    use crate::checkpoint::SMALL_FILES;

    /// Has every tensor, of no particular shape.
    struct Everything(TensorInfo);

    impl WeightSource for Everything {
        fn names(&self) -> Vec<&str> {
            Vec::new()
        }

        fn info(&self, _: &str) -> Option<&TensorInfo> {
            Some(&self.0)
        }

        fn missing(&self, name: &str) -> WeightError {
            WeightError::Empty { tensor: name.to_owned() }
        }

        fn file(&self, _: usize) -> &str {
            "nowhere"
        }

        fn files(&self) -> String {
            "nowhere".to_owned()
        }

        fn read<'a>(&'a self, _: &'a TensorInfo, _: Range<u64>) -> Bytes<'a> {
            Box::pin(async { Err(self.missing("all")) })
        }
    }

    /// A published system of full size, without its weights.
    fn published(system: &str) -> Checkpoint {
        let path = format!("{}/tests/configs/{system}", env!("CARGO_MANIFEST_DIR"));
        let files = [("config.json", ".json"), ("preprocessor_config.json", ".preprocessor.json")];
        let read = |(name, end): (&str, &str)| Some((name.to_owned(), std::fs::read(path.clone() + end).ok()?));
        let files: BTreeMap<String, Vec<u8>> = files.into_iter().filter_map(read).collect();
        let info = TensorInfo { file: 0, shape: Vec::new(), dtype: StoredType::F32, range: 0..0 };
        Checkpoint::new(files, Box::new(Everything(info)))
    }

    /// What WebGPU allows a binding by default.
    const BINDING: u64 = 128 << 20;

    /// Towers of 6401 and 9217 rows, whose inner activations would take 393 and 566 MB, and prompts of 1602 and 2306: one
    /// layer of each kind stands for all. Nothing is planned or run, only recorded.
    #[test]
    fn published_systems_fit_the_bindings_that_every_browser_has() {
        let (whole, gpu) = limited_gpus(BINDING).pop().expect("an adapter");
        let largest = |system: &str, gpu: &Gpu| {
            let policy = Policy::uniform(Format::Q4);
            let (blueprint, vision, decoder) = block_on(blank(&published(system), gpu, policy)).expect(system);
            record(&blueprint, &vision, &decoder, gpu).expect(system).largest_binding()
        };
        // Where nothing limits them, they are as large as they are.
        if whole.caps().max_activation >= 4 * 6401 * 15360 {
            assert_eq!(largest("cogagent_9b", whole), 4 * 6401 * 15360);
        }
        for system in ["cogagent_9b", "cogagent_18b", "cogvlm2", "cogvlm_17b", "glm_4v_9b", "kosmos2", "qwen2_5_vl"] {
            let bytes = largest(system, &gpu);
            println!("{system}: {bytes} bytes");
            assert!(bytes <= BINDING, "{system}: {bytes} bytes");
        }
    }

    /// The kernels of a fixture's system with f32 weights.
    fn kernels(system: &str, gpu: &Gpu) -> Vec<String> {
        let files = SMALL_FILES
            .iter()
            .filter(|file| golden::path(&format!("{system}/{file}")).exists())
            .map(|file| ((*file).to_owned(), golden::bytes(&format!("{system}/{file}"))))
            .collect();
        let weights = Memory::new(system, golden::bytes(&format!("{system}/model.safetensors")));
        let weights = block_on(Safetensors::open(vec![weights])).expect("the fixture's weights");
        let checkpoint = Checkpoint::new(files, Box::new(weights));
        let (blueprint, vision, decoder) =
            block_on(blank(&checkpoint, gpu, Policy::uniform(Format::F32))).expect(system);
        record(&blueprint, &vision, &decoder, gpu).expect(system).kernels().map(str::to_owned).collect()
    }

    /// Every system can be warmed; with f32 weights, shader-f16 changes no kernel, so the tiers that `f32_gpus` leaves out
    /// would run the same again; and the other family runs other kernels.
    #[test]
    fn tiers_change_the_kernels_that_they_should() {
        let (gpu, caps) = (&gpus()[0], gpus()[0].caps());
        let wanted = Caps { f16: false, ..caps.clone() };
        let without_f16 = gpus().iter().find(|it| it.name() == gpu.name() && *it.caps() == wanted);
        let without_f16 = without_f16.expect("every adapter can do without f16");
        let other = gpus().iter().find(|it| it.caps().family != caps.family).expect("both families");
        for system in golden::models("model.safetensors") {
            let all = kernels(&system, gpu);
            assert_eq!(all, kernels(&system, without_f16), "{system}");
            assert_ne!(all, kernels(&system, other), "{system}");
        }
    }
}
