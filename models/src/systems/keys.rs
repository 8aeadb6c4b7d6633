//! `config.json` in one form, whatever version of `transformers` wrote it, read key by key.
//!
//! Files say the same in several ways: `rope_theta` and `rope_scaling` or `rope_parameters`, a decoder's keys at the top
//! level or under `text_config`, `image_token_index` or `image_token_id`, null or nothing. [`read`] brings them into the
//! older nested form, so that each system knows one, and refuses files that say two things at once. Then it notes which
//! keys a system's types take. One that they do not take must be known to change no numbers: by its name, or by a value
//! that says what happens anyway. Null, and empty text, lists and objects, say nothing: they are as if left out.

use fovea_engine::text::says_nothing;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::config::CONFIG;
use crate::{checkpoint::Files, error::LoadError};

/// Keys that change no numbers here, wherever they stand. Anything that begins with an underscore, ends with
/// `_token_id`, `_token_index` or `_token_ids`, or has `dropout` in it, belongs to them too.
const HARMLESS: &[&str] = &[
    // Where a file comes from, and how weights are stored or computed with.
    "architectures",
    "attn_implementation",
    "auto_map",
    "dtype",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "transformers_weights",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    "cache_implementation",
    "use_bfloat16",
    "use_flash_attn",
    "use_flash_attention_2",
    "is_composition",
    "keys_to_ignore_at_inference",
    "is_llama_config",
    "tokenizer_class",
    "processor_class",
    "tokenizer_model_max_length",
    "tokenizer_padding_side",
    // Training.
    "bias_dropout_fusion",
    "drop_path_rate",
    "embd_pdrop",
    "attn_pdrop",
    "resid_pdrop",
    "freeze_mm_mlp_adapter",
    "gradient_checkpointing",
    "ignore_index",
    "init_std",
    "initializer_factor",
    "initializer_range",
    "layer_scale_init_value",
    "layerdrop",
    "neftune_noise_alpha",
    "output_router_logits",
    "router_aux_loss_coef",
    "tune_mm_mlp_adapter",
    "tune_mm_vision_resampler",
    "unfreeze_mm_vision_tower",
    // The base class of configurations once wrote its own: what is put out, and how is sampled.
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "finetuning_task",
    "id2label",
    "label2id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "prefix",
    "problem_type",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "remove_invalid_values",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "top_k",
    "top_p",
    "typical_p",
    // Rounding and order of the same sums.
    "apply_query_key_layer_scaling",
    "attention_softmax_in_fp32",
    "fp32_residual_connection",
    // Counts that follow from others, or of what is not run: CLIP's text, SigLIP's head, video.
    "image_seq_len",
    "image_seq_length",
    "num_image_tokens",
    "num_positions_embeddings",
    "projection_dim",
    "tokens_per_second",
    "vision_use_head",
    // Idefics2's resampler, which Idefics3 and SmolVLM do not have.
    "perceiver_config",
    "pixel_shuffle_factor",
    "max_image_size",
    "size",
    "use_base_siglip",
];

/// Keys that change no numbers where they stand: at the top level they are copies, or of another class.
const HARMLESS_AT: &[(&str, &[&str])] = &[
    // Sizes of the decoder, which `text_config` has, in PaliGemma 2 even of another one.
    ("", &["hidden_size", "model_type", "num_hidden_layers", "vocab_size"]),
    ("text_config", &["projector_hidden_act"]),
    ("vision_config", &["projector_hidden_act", "vocab_size", "num_positions", "tie_word_embeddings"]),
];

/// Keys that may say what happens anyway, and nothing else.
const USUAL: &[(&str, &str)] = &[
    ("num_channels", "3"),
    ("in_channels", "3"),
    ("in_chans", "3"),
    ("pretraining_tp", "1"),
    ("chunk_size_feed_forward", "0"),
    ("partial_rotary_factor", "1"),
    ("multi_query_attention", "true"),
    ("post_layer_norm", "true"),
    ("rmsnorm", "true"),
    ("rotary_percent", "0.5"),
    ("use_image_newline_parameter", "true"),
    ("position_embedding_type", "\"absolute\""),
    // For PaliGemma's prompts, which see all of themselves; its own class sets it.
    ("use_bidirectional_attention", "true"),
];

/// Features that nothing here does: keys that may say that a model does without them. Of a key that is not known, `false` says
/// as much as `true`: a class may have by default what it turns off.
const OFF: &[&str] = &[
    "add_bias_linear",
    "add_cross_attention",
    "apply_residual_connection_post_layernorm",
    "attention_bias",
    "attention_k_eq_v",
    "bf16",
    "enable_moe_block",
    "fp16",
    "is_decoder",
    "is_encoder_decoder",
    "mlp_bias",
    "mm_use_im_patch_token",
    "mm_use_im_start_end",
    "original_rope",
    "prefix_projection",
    "qk_layer_norms",
    "qk_normalization",
    "qkv_bias",
    "rope_interleaved",
    "scale_embedding",
    "swin_norm",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "use_clipped_linears",
    "use_double_wide_mlp",
    "use_mask_token",
    "use_mean_pooling",
    "use_qk_norm",
    "use_resampler",
    "use_sliding_window",
    "use_swiglu_ffn",
];

/// Keys for which null is a value of its own, and not the default.
const NULL_IS_A_VALUE: &[&str] = &["sliding_window", "attn_logit_softcapping", "final_logit_softcapping"];

/// Keys of a decoder that older files have at the top level.
const OF_TEXT: &[&str] = &[
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "partial_rotary_factor",
    "max_position_embeddings",
    "hidden_act",
    "use_sliding_window",
    "attention_bias",
    "mlp_bias",
    // From here on `text_config` wins: files keep stale copies of these, and tensors say which is right.
    "vocab_size",
    "sliding_window",
    "max_window_layers",
    "layer_types",
];

/// Those of [`OF_TEXT`] that must not differ.
const EQUAL: usize = 15;

/// The keys that a system takes, of type `T`.
///
/// # Errors
/// [`LoadError`] that names the key: one of a wrong type, two that contradict each other, one that nothing here
/// understands.
pub(super) fn read<T: DeserializeOwned>(files: Files<'_>) -> Result<T, LoadError> {
    take(canonical(files)?)
}

/// The same of a file whose decoder's keys may be at the top level.
pub(super) fn read_flat<T: DeserializeOwned>(files: Files<'_>) -> Result<T, LoadError> {
    let mut json = canonical(files)?;
    nest(&mut json)?;
    take(json)
}

/// An error about a key in the place and under the name that the file has for it.
pub(super) fn as_written(files: Files<'_>, error: LoadError) -> LoadError {
    let LoadError::Field { file: CONFIG, field, got, expected } = error else { return error };
    let json: Map<String, Value> = files.json(CONFIG).unwrap_or_default();
    let (part, key) = field.split_once('.').unwrap_or(("", field));
    let level = json.get(part).and_then(Value::as_object);
    let flat = level.is_none() && part == "text_config";
    let level = level.unwrap_or(&json);
    let key = match key.strip_prefix("rope_scaling") {
        Some(rest) if !level.contains_key("rope_scaling") && level.contains_key("rope_parameters") => {
            format!("rope_parameters{rest}")
        }
        _ => key.to_owned(),
    };
    let field = if flat || part.is_empty() { key } else { format!("{part}.{key}") };
    LoadError::File { file: CONFIG.to_owned(), reason: format!("{field} is {got}, expected {expected}") }
}

fn error(reason: String) -> LoadError {
    LoadError::File { file: CONFIG.to_owned(), reason }
}

fn contradiction(a: &str, first: &Value, b: &str, second: &Value) -> LoadError {
    error(format!("{a} is {first} and {b} is {second}: they contradict each other, remove the wrong one"))
}

/// The file's object in the older form.
fn canonical(files: Files<'_>) -> Result<Map<String, Value>, LoadError> {
    let mut json: Map<String, Value> = files.json(CONFIG)?;
    unquantised(&json)?;
    clean(&mut json);
    unify(&mut json, "")?;
    for part in ["text_config", "vision_config"] {
        if let Some(Value::Object(nested)) = json.get_mut(part) {
            unquantised(nested)?;
            unify(nested, part)?;
        }
    }
    Ok(json)
}

/// Refuses what says that the weights are packed.
fn unquantised(json: &Map<String, Value>) -> Result<(), LoadError> {
    let keys = ["quantization_config", "compression_config", "quantization"];
    let Some(how) =
        keys.iter().find_map(|key| Some((key, json.get(*key).filter(|it| !says_nothing(it) && **it != false)?)))
    else {
        return Ok(());
    };
    let (key, how) = how;
    let text = |key: &str| how.get(key).and_then(Value::as_str).map(str::to_owned);
    let method = text("quant_method").or_else(|| text("quant_algo"));
    // MLX has a key of its own, and its sizes under the other, too.
    let unnamed = if json.contains_key("quantization") { "MLX" } else { "an unnamed method" };
    let method = method.map_or_else(|| unnamed.to_owned(), |it| it.to_uppercase());
    Err(error(format!(
        "{key}: the checkpoint is quantised ({method}), which is not read: use the original checkpoint in bf16, f16 or \
         f32; it is quantised on loading"
    )))
}

/// Takes nulls out, but where they mean something.
fn clean(json: &mut Map<String, Value>) {
    // As many as there are heads of queries, whatever a class has without the key.
    if json.get("num_key_value_heads").is_some_and(Value::is_null)
        && let Some(heads) = json.get("num_attention_heads").cloned()
    {
        json.insert("num_key_value_heads".to_owned(), heads);
    }
    json.retain(|key, value| !value.is_null() || NULL_IS_A_VALUE.contains(&key.as_str()));
    for value in json.values_mut() {
        if let Value::Object(nested) = value {
            clean(nested);
        }
    }
}

/// The newer names of a level under the older ones.
fn unify(json: &mut Map<String, Value>, at: &str) -> Result<(), LoadError> {
    let path = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    if let Some(index) = json.remove("image_token_index") {
        match json.get("image_token_id") {
            Some(id) if *id != index => {
                return Err(contradiction(&path("image_token_id"), id, &path("image_token_index"), &index));
            }
            _ => json.insert("image_token_id".to_owned(), index),
        };
    }
    unify_rope(json, &path)
}

/// `rope_parameters` as `rope_theta`, `partial_rotary_factor` and `rope_scaling`, whose kind is its `rope_type`.
fn unify_rope(json: &mut Map<String, Value>, path: &dyn Fn(&str) -> String) -> Result<(), LoadError> {
    let mut all = Map::new();
    // What each came from, to name it.
    let mut from: Map<String, Value> = Map::new();
    for source in ["rope_scaling", "rope_parameters"] {
        let Some(value) = json.remove(source) else { continue };
        let Value::Object(value) = value else {
            if says_nothing(&value) {
                continue;
            }
            return Err(error(format!("{}: {value} is no object", path(source))));
        };
        for (key, value) in one_of_layers(value, &path(source))? {
            let name = format!("{}.{key}", path(source));
            let (key, value) = match (key.as_str(), value.as_str()) {
                // M-RoPE is what its sections say; Qwen's towers turn by two axes, which the value says.
                ("type" | "rope_type", Some("mrope" | "axial")) => continue,
                ("type", _) => ("rope_type".to_owned(), value),
                _ => (key, value),
            };
            match all.get(&key).zip(from.get(&key).and_then(Value::as_str)) {
                Some((other, origin)) if !same(other, &value) => {
                    return Err(contradiction(origin, other, &name, &value));
                }
                _ => {
                    from.insert(key.clone(), name.into());
                    all.insert(key, value);
                }
            }
        }
    }
    for key in ["rope_theta", "partial_rotary_factor"] {
        let Some(value) = all.remove(key) else { continue };
        match json.get(key) {
            Some(own) if !same(own, &value) => {
                let name = from.get(key).and_then(Value::as_str).unwrap_or(key);
                return Err(contradiction(&path(key), own, name, &value));
            }
            _ => json.insert(key.to_owned(), value),
        };
    }
    if !all.is_empty() {
        json.insert("rope_scaling".to_owned(), all.into());
    }
    Ok(())
}

/// Rotary parameters that are given for each type of layer, if all have the same.
fn one_of_layers(parameters: Map<String, Value>, path: &str) -> Result<Map<String, Value>, LoadError> {
    let layers: Vec<&Map<String, Value>> = parameters.values().filter_map(Value::as_object).collect();
    match layers.as_slice() {
        [first, rest @ ..] if layers.len() == parameters.len() => match rest.iter().all(|it| it == first) {
            true => Ok((*first).clone()),
            false => {
                let types = parameters.keys().cloned().collect::<Vec<_>>().join(", ");
                Err(error(format!("{path} differs between layers of the types {types}, which is not supported")))
            }
        },
        _ => Ok(parameters),
    }
}

/// Whether two values are the same, 1 and 1.0 among them.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// Whether two of a decoder's values are the same: scaling that scales nothing may be left out.
fn same_of_text(key: &str, a: &Value, b: &Value) -> bool {
    let plain = |value: &Value| {
        let mut value = value.clone();
        if let Value::Object(it) = &mut value {
            it.retain(|key, value| !(key == "rope_type" && value == "default"));
        }
        value
    };
    if key == "rope_scaling" { plain(a) == plain(b) } else { same(a, b) }
}

/// Moves a decoder's keys from the top level under `text_config`.
fn nest(json: &mut Map<String, Value>) -> Result<(), LoadError> {
    let mut text = match json.remove("text_config") {
        None => Map::new(),
        Some(Value::Object(text)) => text,
        Some(other) => return Err(error(format!("text_config: {other} is no object"))),
    };
    for (index, key) in OF_TEXT.iter().enumerate() {
        let Some(outer) = json.remove(*key) else { continue };
        match text.get(*key) {
            None => {
                text.insert((*key).to_owned(), outer);
            }
            Some(inner) if index < EQUAL && !same_of_text(key, inner, &outer) => {
                return Err(contradiction(key, &outer, &format!("text_config.{key}"), inner));
            }
            Some(_) => {}
        }
    }
    json.insert("text_config".to_owned(), text.into());
    Ok(())
}

/// An object as a type, and none of its keys left that could change numbers.
fn take<T: DeserializeOwned>(json: Map<String, Value>) -> Result<T, LoadError> {
    let json = Value::Object(json);
    let mut unread = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unread.push(keys(&path));
    let reader = serde_ignored::Deserializer::new(&json, &mut note);
    let value = serde_path_to_error::deserialize(reader).map_err(|wrong| {
        let path = wrong.path().to_string();
        let reason = wrong.into_inner().to_string();
        error(if path == "." { reason } else { format!("{path}: {reason}") })
    })?;
    let unknown: Vec<String> = unread.iter().filter_map(|path| refused(&json, path)).collect();
    match unknown.as_slice() {
        [] => Ok(value),
        [one] => Err(error(format!("{one} is not supported: it may change the answers, and nothing here reads it"))),
        some => {
            let all = some.join(", ");
            Err(error(format!("{all} are not supported: they may change the answers, and nothing here reads them")))
        }
    }
}

/// A path's keys and indices.
fn keys(path: &serde_ignored::Path<'_>) -> Vec<String> {
    use serde_ignored::Path;
    let (parent, key) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, index.to_string()),
        Path::Map { parent, key } => (parent, key.clone()),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            return keys(parent);
        }
    };
    let mut all = keys(parent);
    all.push(key);
    all
}

/// What is wrong with a key that nothing took, if anything.
fn refused(json: &Value, path: &[String]) -> Option<String> {
    let (key, above) = path.split_last()?;
    let value = path.iter().try_fold(json, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => value.get(key),
    })?;
    let usual = USUAL.iter().find(|(name, _)| name == key).map(|(_, usual)| *usual);
    let fits = usual.is_some_and(|usual| serde_json::from_str(usual).is_ok_and(|usual: Value| same(&usual, value)));
    // A decoder's key beside `text_config`, which is the one that counts, may only repeat it.
    let inner = json.get("text_config").and_then(|text| text.get(key)).filter(|_| above.is_empty());
    let repeats = inner.is_some_and(|inner| same_of_text(key, inner, value));
    // Where a thing happens anyway, false says that it should not.
    let absent = match value {
        Value::Bool(false) => usual.is_none() && OFF.contains(&key.as_str()),
        _ if usual.is_some() => value.is_null(),
        value => says_nothing(value),
    };
    if fits || repeats || absent || is_harmless(key, &above.join(".")) {
        return None;
    }
    let expected = usual.map(|usual| format!(" (only {usual} is)")).unwrap_or_default();
    let mut value = value.to_string();
    if value.chars().count() > 60 {
        value = value.chars().take(60).chain("...".chars()).collect();
    }
    Some(format!("{} = {value}{expected}", path.join(".")))
}

fn is_harmless(key: &str, at: &str) -> bool {
    let ends = ["_token_id", "_token_index", "_token_ids"];
    key.starts_with('_')
        || key.contains("dropout")
        || ends.iter().any(|end| key.ends_with(end))
        || HARMLESS.contains(&key)
        || HARMLESS_AT.iter().any(|(place, names)| *place == at && names.contains(&key))
}
