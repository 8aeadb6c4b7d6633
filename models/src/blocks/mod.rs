//! Blocks: what systems are composed of. A block reads its part of a configuration, names its tensors, and records
//! its ops. Towers, connectors and decoders know nothing of each other; [`Vision`] joins a tower to a connector.

mod cross_attention;
mod decoder;
mod eva;
mod eva_rope;
mod gated_cross;
mod glu_adapter;
mod latent_queries;
mod mlp;
mod newline;
mod parts;
mod patch_merger;
mod pixels;
mod projector;
mod qwen_vit;
mod rows;
mod sizes;
mod tiled_vit;
mod vision;
mod vit;

pub use cross_attention::{CrossAttentionConfig, CrossCache};
pub use decoder::{
    AbsolutePositions, Angles, BranchNormNames, Context, Decoder, DecoderConfig, DecoderNames, DecoderOptions,
    ExpertConfig, KvCache, PositionTables, Prefill, ProjectionNames, RopeScaling, RotaryConfig, Rows, Tree,
    WindowConfig,
};
pub use eva::{Eva, EvaConfig};
pub use eva_rope::{EvaRope, EvaRopeConfig};
pub use gated_cross::{CrossRange, GatedCrossConfig};
pub use glu_adapter::{GluAdapter, GluAdapterConfig};
pub use latent_queries::{LatentQueries, LatentQueriesConfig};
pub use parts::Norm;
pub use patch_merger::{PatchMerger, PatchMergerConfig};
pub use pixels::Pixels;
pub use projector::{InputNorm, Projector, ProjectorConfig};
pub use qwen_vit::{Feedforward, QwenVit, QwenVitConfig};
pub use sizes::{Matrices, Sizes};
pub use tiled_vit::{TiledVit, TiledVitConfig};
pub use vision::{ConnectorConfig, TowerConfig, Vision, VisionConfig, VisionOutput};
pub use vit::{LayerConfig, LayerNames, Scales, Vit, VitConfig, VitNames, VitPositions};
