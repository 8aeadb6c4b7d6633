//! Rows in front of and behind others.

use fovea_engine::{Gpu, GpuError, OpError, Recorder, Tensor, op::Activation};

use super::parts::Linear;

/// `first, first + 1, ..`, `[count]` on the GPU.
pub(super) fn iota(gpu: &Gpu, first: usize, count: usize) -> Result<Tensor, GpuError> {
    let rows: Vec<u32> = (first as u32..).take(count).collect();
    gpu.upload("rows", &[count], &rows)
}

/// All rows of each part, one part after the other.
pub(super) fn join(rec: &mut Recorder, parts: &[&Tensor]) -> Result<Tensor, OpError> {
    let mut first = 0;
    let mut places = Vec::with_capacity(parts.len());
    for part in parts {
        let count = part.rows_and_width().0;
        places.push(iota(rec.gpu(), first, count)?);
        first += count;
    }
    let parts: Vec<(&Tensor, &Tensor)> = parts.iter().copied().zip(&places).collect();
    rec.assemble_rows(&parts)
}

/// All rows but the first, such as those behind a class token.
pub(super) fn behind_first(rec: &mut Recorder, x: &Tensor) -> Result<Tensor, OpError> {
    let count = x.rows_and_width().0.saturating_sub(1);
    let rows = iota(rec.gpu(), 1, count)?;
    rec.gather_rows(x, (&rows).into(), count)
}

/// The rows that a tower with a class token begins with: its row, then those of the patches, with a position added to each.
pub(super) fn embed(
    rec: &mut Recorder,
    pixels: &Tensor,
    patch_embed: &Linear,
    [class_token, positions]: [&Tensor; 2],
) -> Result<Tensor, OpError> {
    let patches = patch_embed.record(rec, pixels, Activation::None, None)?;
    let x = join(rec, &[class_token, &patches])?;
    rec.add_into(&x, positions)?;
    Ok(x)
}
