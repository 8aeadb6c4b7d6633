//! What a checkpoint's tensors say of it: that it is packed or an adapter, that a head is no copy, that some would lie
//! unused.

use fovea_engine::weights::{WeightError, WeightSource};

use crate::{blocks::TowerConfig, checkpoint::MERGE, error::LoadError, names::Spelling, systems::Blueprint};

/// Ends of names that tables have which are computed here.
const COMPUTED: &[&str] = &[".inv_freq", ".position_ids", ".freqs_cos", ".freqs_sin", ".embed_positions.weights"];

/// Whether a stored tensor that no block asked for is known to take part in nothing: a table that is computed, the copy of
/// a tied head, a layer after the output that is taken.
fn is_idle(name: &str, blueprint: &Blueprint, spelling: &Spelling) -> bool {
    if COMPUTED.iter().any(|end| name.ends_with(end)) {
        return true;
    }
    let begins = |own: String| name.starts_with(&spelling.spell(&own));
    let decoder = &blueprint.decoder;
    let head = match decoder.names.at {
        "" => decoder.names.head.to_owned(),
        at => format!("{at}.{}", decoder.names.head),
    };
    let at = blueprint.vision.tower_at;
    let tower = match &blueprint.vision.tower {
        TowerConfig::Vit(tower) => {
            let layer = |index: usize| begins(format!("{at}.{}.{index}.", tower.names.layers));
            // SigLIP's head pools rows for classification.
            (tower.depth..tower.stored).any(layer)
                || tower.stored_norm && begins(format!("{at}.{}.", tower.names.post_norm))
                || begins(format!("{at}.head."))
        }
        _ => false,
    };
    let cross = blueprint.vision.cross.as_ref().is_some_and(|(cross, at)| {
        let layer = |index: usize| begins(format!("{at}.vit.model.blocks.{index}."));
        (cross.depth..cross.stored).any(layer)
            || ["norm.", "head."].iter().any(|it| begins(format!("{at}.vit.model.{it}")))
    });
    decoder.tied && name == spelling.spell(&head) || tower || cross
}

/// Refuses a stored head that is no copy of the embedding, although the configuration ties them: older versions of the
/// reference take the embedding then, newer ones the head.
pub(crate) async fn check_head(
    weights: &dyn WeightSource,
    blueprint: &Blueprint,
    spelling: &Spelling,
) -> Result<(), LoadError> {
    /// Numbers that are compared: training changes all.
    const SOME: u64 = 1 << 14;
    let names = &blueprint.decoder.names;
    let full = |name: &str| {
        spelling.spell(&if names.at.is_empty() { name.to_owned() } else { format!("{}.{name}", names.at) })
    };
    let (head, embedding) = (full(names.head), full(names.embedding));
    let (Some(a), Some(b)) = (weights.info(&head), weights.info(&embedding)) else { return Ok(()) };
    if !blueprint.decoder.tied {
        return Ok(());
    }
    let mut numbers = Vec::new();
    for info in [a, b] {
        let end = (SOME * info.dtype.bytes() as u64).min(info.range.end - info.range.start);
        numbers.push(info.dtype.to_f32(&weights.read(info, 0..end).await?));
    }
    if a.shape == b.shape && numbers[0] == numbers[1] {
        return Ok(());
    }
    let reason = format!(
        "differs from {embedding}, and tie_word_embeddings in config.json says that it is the same: set that to false to use \
         this head, or remove it to use the embedding"
    );
    Err(WeightError::Kind { tensor: head, files: weights.files(), reason }.into())
}

/// Refuses a checkpoint whose tensors were not all asked for.
pub(crate) fn all_used(
    unasked: &[&str],
    weights: &dyn WeightSource,
    blueprint: &Blueprint,
    spelling: &Spelling,
) -> Result<(), LoadError> {
    let unused: Vec<&str> = unasked.iter().copied().filter(|name| !is_idle(name, blueprint, spelling)).collect();
    if unused.is_empty() {
        return Ok(());
    }
    let first = unused.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    let more = if unused.len() > 3 { format!(" and {} more", unused.len() - 3) } else { String::new() };
    Err(LoadError::Unused { tensors: first + &more, files: weights.files() })
}

/// Parts of names that only packed weights have, and what packs them.
const PACKED: &[(&str, &str)] = &[
    (".qweight", "GPTQ or AWQ"),
    (".qzeros", "GPTQ or AWQ"),
    (".g_idx", "GPTQ"),
    (".weight_packed", "compressed-tensors"),
    (".weight_scale_inv", "fp8"),
    (".weight_scale", "fp8 or int8"),
    (".input_scale", "fp8"),
    (".SCB", "bitsandbytes, 8 bits"),
    (".quant_map", "bitsandbytes, 4 bits"),
    (".absmax", "bitsandbytes, 4 bits"),
    (".biases", "MLX"),
];

/// Refuses adapters and packed weights by their tensors.
///
/// # Errors
/// [`LoadError::Weight`] that names the first such tensor.
pub(crate) fn check_kind(weights: &dyn WeightSource) -> Result<(), LoadError> {
    let named = |tensor: &str, reason: String| {
        Err(WeightError::Kind { tensor: tensor.to_owned(), files: weights.files(), reason }.into())
    };
    for name in weights.names().into_iter().chain(weights.others()) {
        let scheme = PACKED.iter().find(|(part, _)| name.ends_with(part) || name.contains(&format!("{part}.")));
        if let Some((_, scheme)) = scheme {
            return named(
                name,
                format!(
                    "quantised weights ({scheme}), which are not read: use the original checkpoint in bf16, f16 or f32; it \
                     is quantised on loading"
                ),
            );
        }
        if [".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_magnitude_vector"].iter().any(|it| name.contains(it)) {
            return named(name, MERGE.to_owned());
        }
    }
    Ok(())
}
