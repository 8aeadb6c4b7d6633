//! What towers are given.

use fovea_engine::Tensor;

use crate::image::PatchGrid;

/// One view of a picture on the GPU.
pub struct Pixels {
    /// `[patches, 3 * temporal * patch * patch]`.
    pub values: Tensor,
    /// Where the patches are.
    pub grid: PatchGrid,
}
