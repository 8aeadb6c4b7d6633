//! Kosmos-2 (`microsoft/kosmos-2-patch14-224`).
//!
//! CLIP ViT-L at 224 -> learned queries -> a decoder with norms inside its branches, sinusoidal positions and no gates. Its
//! boxes are pairs of tokens, one for each of 32 x 32 cells. Source: `modeling_kosmos2.py` and `processing_kosmos2.py` of
//! transformers 4.57.1.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::{
    Blueprint, cog,
    config::{OneOrMany, divide, epsilon, head, kind, only, size, stop, wrong},
    keys,
    vit::{VitKeys, check_views},
};
use crate::{
    blocks::{
        AbsolutePositions, BranchNormNames, ConnectorConfig, DecoderConfig, DecoderNames, DecoderOptions,
        LatentQueriesConfig, Norm, ProjectionNames, RotaryConfig, TowerConfig, VisionConfig, VitConfig,
    },
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::{ImageConfig, ViewsConfig},
    prompt::{ChatFormat, ImageSlot, PositionRule},
};

const NAMES: DecoderNames = DecoderNames {
    at: "text_model",
    embedding: "model.embed_tokens.weight",
    layers: "model.layers",
    input_norm: "self_attn_layer_norm",
    post_norm: "final_layer_norm",
    sub_norms: Some(BranchNormNames { attention: "self_attn.inner_attn_ln", feedforward: "ffn.ffn_layernorm" }),
    end_norms: None,
    projections: ProjectionNames {
        qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        out: "self_attn.out_proj",
        gate_up: &["ffn.fc1"],
        down: "ffn.fc2",
    },
    norm: "model.layer_norm",
    head: "lm_head.weight",
};

/// The vocabulary ends with eleven tags, `<image>` and `</image>` the second and third of them, and the cells.
const IMAGE: u32 = 1034;
const IMAGE_END: u32 = 1033;

/// The first of the ids that stand for a picture's rows: the one behind `<unk>`.
const FIRST_ROW: u32 = 4;

/// The position of the first row, behind that of padding.
const FIRST_POSITION: u32 = 2;

#[derive(Deserialize)]
struct Config {
    #[serde(default = "latents")]
    latent_query_num: usize,
    text_config: Text,
    vision_config: VitKeys,
    eos_token_id: Option<OneOrMany>,
    tie_word_embeddings: Option<bool>,
}

/// `Kosmos2Config`'s default.
fn latents() -> usize {
    64
}

#[derive(Deserialize)]
#[serde(default)]
struct Text {
    model_type: Option<String>,
    tie_word_embeddings: Option<bool>,
    layers: usize,
    embed_dim: usize,
    attention_heads: usize,
    ffn_dim: usize,
    vocab_size: u32,
    max_position_embeddings: usize,
    layer_norm_eps: f32,
    activation_function: String,
    scale_embedding: bool,
    bos_token_id: u32,
    eos_token_id: Option<OneOrMany>,
}

impl Default for Text {
    /// Those of `Kosmos2TextConfig`, which files may leave out.
    fn default() -> Self {
        Self {
            model_type: None,
            tie_word_embeddings: None,
            layers: 24,
            embed_dim: 2048,
            attention_heads: 32,
            ffn_dim: 8192,
            vocab_size: 65037,
            max_position_embeddings: 2048,
            layer_norm_eps: 1e-5,
            activation_function: "gelu".to_owned(),
            scale_embedding: true,
            bos_token_id: 0,
            eos_token_id: Some(OneOrMany::One(2)),
        }
    }
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let Config { latent_query_num: latents, text_config: text, vision_config, eos_token_id, tie_word_embeddings } =
        keys::read(files)?;
    kind("text_config.model_type", text.model_type.as_deref(), &["kosmos_2_text_model"])?;
    only("tie_word_embeddings", tie_word_embeddings, true)?;
    only("text_config.tie_word_embeddings", text.tie_word_embeddings, true)?;
    let vocabulary = text.vocab_size as usize;
    size("text_config.layers", text.layers, 1024)?;
    size("text_config.embed_dim", text.embed_dim, 1 << 16)?;
    size("text_config.attention_heads", text.attention_heads, 1024)?;
    size("text_config.ffn_dim", text.ffn_dim, 1 << 18)?;
    size("text_config.vocab_size", vocabulary, 1 << 24)?;
    size("text_config.max_position_embeddings", text.max_position_embeddings, 1 << 24)?;
    size("latent_query_num", latents, 4096)?;
    epsilon("text_config.layer_norm_eps", text.layer_norm_eps)?;
    let heads = text.attention_heads;
    let head_dim = divide("text_config.embed_dim", text.embed_dim, "text_config.attention_heads", heads)?;
    head("text_config.embed_dim / attention_heads", head_dim)?;
    if text.activation_function != "gelu" {
        return Err(wrong("text_config.activation_function", text.activation_function, "gelu".to_owned()));
    }
    let tags = |behind: u32| {
        let expected = format!("more than {IMAGE}, the tags and cells at the end");
        text.vocab_size
            .checked_sub(behind)
            .ok_or_else(|| wrong("text_config.vocab_size", text.vocab_size.to_string(), expected))
    };
    let tags = [tags(IMAGE)?, tags(IMAGE_END)?];
    // The norm behind the tower is the connector's.
    let tower = VitConfig { stored_norm: false, ..vision_config.clip(&["kosmos_2_vision_model"], -1)? };
    let square = cog::square("vision_config.image_size", (tower.side * tower.patch) as u32, tower.patch as u32)?;
    let image = match files.find_preprocessor()? {
        Some(read) => {
            let views = ViewsConfig::middle(&read, square.patch)?;
            check_views(tower.side, &views)?;
            ImageConfig::Views(views)
        }
        None => ImageConfig::Squares(vec![square]),
    };
    Ok(Blueprint {
        name: "kosmos2",
        vision: VisionConfig {
            connector: ConnectorConfig::LatentQueries(LatentQueriesConfig {
                width: tower.layer.hidden,
                norm_eps: tower.layer.eps,
                latents,
                heads,
                out: text.embed_dim,
            }),
            connector_at: "",
            tower: TowerConfig::Vit(Box::new(tower)),
            tower_at: "vision_model.model",
            drop_class: false,
            newline: None,
            apart: false,
            cross: None,
        },
        decoder: DecoderConfig {
            names: NAMES,
            layers: text.layers,
            hidden: text.embed_dim,
            heads,
            kv_heads: heads,
            head_dim,
            feedforward: text.ffn_dim,
            vocabulary,
            eps: text.layer_norm_eps,
            rotary: RotaryConfig::none(),
            qkv_bias: true,
            tied: true,
            expert: None,
            cross: None,
            gated: None,
            window: None,
            options: DecoderOptions {
                norm: Norm::Layer,
                absolute: Some(AbsolutePositions::Sinusoidal { first: FIRST_POSITION as usize }),
                out_bias: true,
                mlp_bias: true,
                activation: Activation::GeluErf,
                gate: false,
                embedding_scale: if text.scale_embedding { (text.embed_dim as f32).sqrt() } else { 1.0 },
                ..DecoderOptions::default()
            },
        },
        image,
        slot: ImageSlot {
            before: vec![tags[0]],
            behind: vec![tags[1]],
            counted_from: Some(FIRST_ROW),
            ..ImageSlot::token(tags[0])
        },
        positions: PositionRule::Sequential { first: FIRST_POSITION },
        chat: ChatFormat::Kosmos2 { begin: text.bos_token_id, image: tags },
        tiktoken: None,
        stop: stop(files, [text.eos_token_id, eos_token_id])?,
        max_positions: text.max_position_embeddings,
        grammar: Grammar::Kosmos2Cells,
        heat_layer: None,
        quotes: false,
        relations: false,
        grounds_only: false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::systems::config::CONFIG;

    #[test]
    fn impossible_sizes_are_told_by_their_names() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/configs/kosmos2.json");
        let published: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for (field, value) in [
            ("latent_query_num", json!(0)),
            ("text_config/embed_dim", json!(2047)),
            ("text_config/attention_heads", json!(0)),
            ("text_config/layers", json!(1 << 20)),
            ("text_config/vocab_size", json!(1000)),
            ("text_config/layer_norm_eps", json!(-1.0)),
            ("text_config/activation_function", json!("relu")),
            ("vision_config/patch_size", json!(0)),
            ("vision_config/image_size", json!(1 << 20)),
        ] {
            let mut config = published.clone();
            *config.pointer_mut(&format!("/{field}")).unwrap() = value.clone();
            let files = BTreeMap::from([(CONFIG.to_owned(), config.to_string().into_bytes())]);
            let message = read(Files(&files)).map(|_| ()).unwrap_err().to_string();
            let name = field.rsplit('/').next().unwrap();
            assert!(message.contains(CONFIG) && message.contains(name), "{field} {value}: {message}");
        }
    }
}
