//! Arguments that all commands share.

use crate::model::{GpuArguments, ModelArguments};

/// What all commands share.
#[derive(clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) gpu: GpuArguments,
    /// Print JSON, whose fields docs/json.md describes.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}
