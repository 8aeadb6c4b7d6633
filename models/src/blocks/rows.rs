//! Rows in front of and behind others.

use fovea_engine::{Gpu, GpuError, OpError, Recorder, Tensor};

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
