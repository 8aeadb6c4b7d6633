//! InternVL 1.5 to 3 in the layout of `transformers` (`OpenGVLab/InternVL3-1B-hf` and its relatives).
//!
//! InternViT over tiles and over the whole picture, without its class token -> squares of patches side by side, LayerNorm,
//! MLP -> Qwen2 or LLaMA. Boxes in thousandths between marks.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::{
    Blueprint, Grammar,
    config::{CONFIG, activation, divide, epsilon, head, size, stop, wrong},
    text::TextConfig,
};
use crate::{
    blocks::{
        ConnectorConfig, DecoderNames, InputNorm, LayerConfig, Norm, ProjectorConfig, Scales, TowerConfig,
        VisionConfig, VitConfig, VitNames, VitPositions,
    },
    checkpoint::{Files, LoadError},
    image::{ImageConfig, ViewsConfig},
    prompt::{ChatFormat, ImageSlot, PositionRule, SlotText},
};

#[derive(Deserialize)]
struct Config {
    text_config: TextConfig,
    vision_config: Vision,
    image_token_id: u32,
    #[serde(default = "half")]
    downsample_ratio: f64,
    projector_hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
}

fn half() -> f64 {
    0.5
}

#[derive(Deserialize)]
struct Vision {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    image_size: [usize; 2],
    patch_size: [usize; 2],
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    use_qk_norm: bool,
    #[serde(default = "yes")]
    use_mean_pooling: bool,
    norm_type: Option<String>,
    layer_norm_eps: f32,
    hidden_act: Option<String>,
}

fn yes() -> bool {
    true
}

impl Vision {
    fn read(&self) -> Result<VitConfig, LoadError> {
        size("vision_config.hidden_size", self.hidden_size, 1 << 16)?;
        size("vision_config.intermediate_size", self.intermediate_size, 1 << 18)?;
        size("vision_config.num_hidden_layers", self.num_hidden_layers, 1024)?;
        size("vision_config.num_attention_heads", self.num_attention_heads, 1024)?;
        epsilon("vision_config.layer_norm_eps", self.layer_norm_eps)?;
        let ([height, width], [patch, patch_width]) = (self.image_size, self.patch_size);
        if height != width || patch != patch_width {
            let got = format!("{height} x {width} in {patch} x {patch_width}");
            return Err(wrong("vision_config.image_size", got, "a square in squares".to_owned()));
        }
        size("vision_config.patch_size", patch, 256)?;
        size("vision_config.image_size", height, 1 << 14)?;
        let heads = self.num_attention_heads;
        let head_dim = divide("vision_config.hidden_size", self.hidden_size, "num_attention_heads", heads)?;
        head("vision_config.hidden_size / num_attention_heads", head_dim)?;
        let norm = match self.norm_type.as_deref() {
            None | Some("layer_norm") => Norm::Layer,
            Some("rms_norm") => Norm::Rms,
            Some(other) => {
                let expected = "layer_norm or rms_norm".to_owned();
                return Err(wrong("vision_config.norm_type", other.to_owned(), expected));
            }
        };
        let gelu = Activation::GeluErf;
        Ok(VitConfig {
            names: VitNames::INTERN,
            layer: LayerConfig {
                activation: activation("vision_config.hidden_act", self.hidden_act.as_deref(), gelu)?,
                norm,
                eps: self.layer_norm_eps,
                qkv_bias: self.attention_bias,
                qk_norm: self.use_qk_norm,
                scales: Scales::Learned,
                ..LayerConfig::clip(self.hidden_size, heads, self.intermediate_size)
            },
            depth: self.num_hidden_layers,
            stored: self.num_hidden_layers,
            patch,
            side: divide("vision_config.image_size", height, "patch_size", patch)?,
            positions: VitPositions::Learned,
            class_token: true,
            patch_bias: true,
            pre_norm: false,
            post_norm: !self.use_mean_pooling,
            stored_norm: false,
        })
    }
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: Config = files.json(CONFIG)?;
    let names = DecoderNames { at: "language_model", ..DecoderNames::LLAMA };
    let text = config.text_config.read(names, config.tie_word_embeddings)?;
    let tower = config.vision_config.read()?;
    let merge = (1.0 / config.downsample_ratio).round();
    if !((1.0..=16.0).contains(&merge) && merge * config.downsample_ratio == 1.0) {
        let expected = "one over a whole number".to_owned();
        return Err(wrong("downsample_ratio", config.downsample_ratio.to_string(), expected));
    }
    let merge = merge as usize;
    divide("vision_config.image_size / patch_size", tower.side, "1 / downsample_ratio", merge)?;
    let act = config.projector_hidden_act.as_deref();
    Ok(Blueprint {
        name: "internvl",
        image: ImageConfig::Views(ViewsConfig::grid(files.need("preprocessor_config.json")?, tower.patch as u32)?),
        vision: VisionConfig {
            connector: ConnectorConfig::Projector(ProjectorConfig {
                width: tower.layer.hidden,
                merge,
                norm: Some(InputNorm { name: "layer_norm", eps: 1e-5 }),
                projections: &["linear_1", "linear_2"],
                bias: true,
                activation: activation("projector_hidden_act", act, Activation::GeluErf)?,
                out: text.decoder.hidden,
                scaling: 1.0,
            }),
            connector_at: "multi_modal_projector",
            tower: TowerConfig::Vit(Box::new(tower)),
            tower_at: "vision_tower",
            drop_class: true,
            newline: None,
            apart: false,
            cross: None,
        },
        decoder: text.decoder,
        slot: ImageSlot { text: SlotText::Between("<img>", "</img>"), ..ImageSlot::token(config.image_token_id) },
        positions: PositionRule::Sequential { first: 0 },
        chat: ChatFormat::Template,
        tiktoken: None,
        stop: stop(files, config.text_config.eos_token_id)?,
        max_positions: text.max_positions,
        grammar: Grammar::InternBoxes,
        heat_layer: None,
    })
}
