//! Ops: one file each, with its formula, checks, kernel choice, cost, and tests against the f64 reference.

mod activation;
mod ancestors;
mod attention;
mod attention_weights;
mod cap;
mod check;
mod chunks;
mod columns;
mod elementwise;
mod embed;
mod matmul;
mod norm;
#[cfg(test)]
mod params_tests;
mod patch;
mod peak;
mod rope;
mod rows;
mod sample;
mod to_f16;

pub use activation::Activation;
pub use ancestors::Ancestors;
pub use attention::{Attention, DecodeAttention, Heads, Mask, Ranges};
pub use chunks::Chunk;
pub use columns::Placed;
pub use matmul::Epilogue;
pub use norm::{LayerNorm, RmsNorm};
pub use patch::{MergeOrder, Patchify};
pub use rope::{Rope, RopeStyle, Slot};
pub use sample::{DecodeState, Sampling};

/// What every op file needs.
mod prelude {
    pub(super) use super::check::Check;
    pub(super) use crate::{
        dtype::DType,
        error::OpError,
        gpu::KernelFamily,
        params::params,
        program::{Cost, Dispatch, Recorder, Workgroups},
        tensor::{At, Columns, Tensor},
    };
    pub(super) use fovea_shaders as kernels;
    pub(super) use fovea_shaders::Variant;
}

/// The reduction that suits the adapter: subgroups where there are any.
fn reduce_part(caps: &crate::Caps) -> &'static fovea_shaders::Part {
    if caps.subgroups { &fovea_shaders::REDUCE_SUBGROUP } else { &fovea_shaders::REDUCE_TREE }
}

/// Of the parts that let lanes load for each other - none, four, eight - the one that suits the adapter. The family for
/// GPUs has none: there, equal loads of neighbouring threads are one already.
fn lanes_part(
    caps: &crate::Caps,
    [none, four, eight]: [&'static fovea_shaders::Part; 3],
) -> &'static fovea_shaders::Part {
    match caps.subgroup_sizes.0 {
        _ if !caps.subgroups || caps.family == crate::KernelFamily::Gpu => none,
        0..8 => four,
        _ => eight,
    }
}
