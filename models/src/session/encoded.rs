//! Pictures that the tower has encoded.

use std::sync::Arc;

use fovea_engine::Tensor;

use crate::{
    blocks::CrossCache,
    image::{PatchGrid, Picture, Size, Tiling},
};

/// A picture's embeddings on the GPU.
pub struct EncodedImage {
    /// `[rows, hidden]` of the decoder.
    pub embeds: Tensor,
    /// The patches of the one view that shows the whole picture: its rows without those before and after them.
    pub grid: PatchGrid,
    /// The tokens of each view.
    pub(super) views: Vec<PatchGrid>,
    /// How the views make up the picture.
    pub(super) tiling: Tiling,
    /// Size of the picture that was handed over.
    pub original: Size,
    /// Size after preparation.
    pub resized: Size,
    /// Its pixels, where parts of it may be looked at again.
    pub(super) picture: Option<Arc<Picture>>,
    /// Keys and values for the layers that attend to it.
    pub(super) cross: Option<Arc<CrossCache>>,
    /// Rows before those of the grid.
    pub(super) before: usize,
    pub(super) hash: [u8; 32],
}

impl EncodedImage {
    /// Rows of the decoder that it takes.
    pub fn rows(&self) -> usize {
        self.embeds.rows_and_width().0
    }
}
