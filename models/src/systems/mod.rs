//! The systems: one small file for each, from its published configuration to a composition of blocks.

mod blueprint;
mod cog;
mod cogagent_18b;
mod cogagent_9b;
mod cogvlm2;
mod cogvlm_17b;
mod config;
mod glm_4v_9b;
mod idefics3;
mod intern_vit;
mod internvl;
mod keys;
mod kosmos2;
mod llava;
mod llava_next;
mod mllama;
mod paligemma;
mod pixtral;
mod qwen;
mod qwen2_5_vl;
mod qwen2_vl;
mod text;
mod vit;

pub use blueprint::Blueprint;

use serde::Deserialize;
use serde_json::Value;

use crate::{checkpoint::Files, error::LoadError};

/// What a `config.json` tells the system by.
#[derive(Deserialize)]
struct Identity {
    model_type: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
    /// GLM-4V: interleaved rotary positions.
    original_rope: Option<bool>,
    /// CogVLM2: heads of keys and values.
    num_multi_query_heads: Option<usize>,
    #[serde(default)]
    vision_config: Value,
}

impl Identity {
    fn type_is(&self, name: &str) -> bool {
        self.model_type.as_deref() == Some(name)
    }

    fn vision_is(&self, name: &str) -> bool {
        self.vision_config.get("model_type").and_then(Value::as_str) == Some(name)
    }

    fn is_of(&self, architecture: &str) -> bool {
        self.architectures.iter().any(|it| it == architecture)
    }
}

/// A system: its name, the configurations that are its own, and their reader.
struct Entry {
    name: &'static str,
    is: fn(&Identity) -> bool,
    read: fn(Files<'_>) -> Result<Blueprint, LoadError>,
}

const SYSTEMS: &[Entry] = &[
    Entry { name: "qwen2_vl", is: |it| it.type_is("qwen2_vl"), read: qwen2_vl::read },
    Entry { name: "qwen2_5_vl", is: |it| it.type_is("qwen2_5_vl"), read: qwen2_5_vl::read },
    Entry {
        name: "glm_4v_9b",
        is: |it| it.type_is("chatglm") && it.original_rope != Some(false),
        read: glm_4v_9b::read,
    },
    Entry {
        name: "cogagent_9b",
        is: |it| it.type_is("chatglm") && it.original_rope == Some(false),
        read: cogagent_9b::read,
    },
    Entry {
        name: "cogvlm_17b",
        is: |it| it.is_of("CogVLMForCausalLM") && it.num_multi_query_heads.is_none(),
        read: cogvlm_17b::read,
    },
    Entry {
        name: "cogvlm2",
        is: |it| it.is_of("CogVLMForCausalLM") && it.num_multi_query_heads.is_some(),
        read: cogvlm2::read,
    },
    Entry { name: "cogagent_18b", is: |it| it.is_of("CogAgentForCausalLM"), read: cogagent_18b::read },
    Entry { name: "kosmos2", is: |it| it.type_is("kosmos-2"), read: kosmos2::read },
    Entry { name: "llava", is: |it| it.type_is("llava") && !it.vision_is("pixtral"), read: llava::read },
    Entry { name: "llava_next", is: |it| it.type_is("llava_next"), read: llava_next::read },
    Entry { name: "pixtral", is: |it| it.type_is("llava") && it.vision_is("pixtral"), read: pixtral::read },
    Entry { name: "internvl", is: |it| it.type_is("internvl"), read: internvl::read },
    Entry { name: "idefics3", is: |it| it.type_is("idefics3") || it.type_is("smolvlm"), read: idefics3::read },
    Entry { name: "mllama", is: |it| it.type_is("mllama"), read: mllama::read },
    Entry { name: "paligemma", is: |it| it.type_is("paligemma"), read: paligemma::read },
];

/// Names of all systems.
pub fn names() -> impl Iterator<Item = &'static str> {
    SYSTEMS.iter().map(|entry| entry.name)
}

impl Blueprint {
    /// Reads a checkpoint's configuration; no weights are touched.
    ///
    /// # Errors
    /// [`LoadError`] that names the file and the field.
    pub fn read(files: Files<'_>) -> Result<Self, LoadError> {
        files.check()?;
        let identity: Identity = files.json(config::CONFIG)?;
        let Some(entry) = SYSTEMS.iter().find(|entry| (entry.is)(&identity)) else {
            let known = names().collect::<Vec<_>>().join(", ");
            let found = match identity.model_type {
                Some(found) => found,
                None => format!("(absent, and architectures {:?})", identity.architectures),
            };
            return Err(LoadError::Architecture { found, known });
        };
        (entry.read)(files).map_err(|error| keys::as_written(files, error))
    }
}
