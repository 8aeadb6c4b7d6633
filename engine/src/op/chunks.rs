//! Rows in chunks, where what lies between an input and an output would be too large as a whole.
//!
//! A feedforward widens its rows many times: at 6401 patches EVA2-CLIP-E's inner activation would take 393 MB, three times
//! what WebGPU lets a kernel bind by default. Since each row is computed for itself, chunks of rows go through all of it
//! one after the other, and share the memory between.

use std::ops::Range;

use super::prelude::*;

/// Some rows of the input and the output of [`Recorder::in_chunks`].
pub struct Chunk {
    /// Which rows these are.
    rows: Range<usize>,
    /// The rows of the input.
    pub x: Tensor,
    /// The rows of the output, all of which must be written.
    pub y: Tensor,
}

impl Chunk {
    /// The same rows of a tensor that is as wide as the output, such as a residual.
    ///
    /// # Errors
    /// [`OpError::Shape`] if it has another width, or not these rows.
    pub fn of(&self, tensor: &Tensor) -> Result<Tensor, OpError> {
        let ((rows, width), out) = (tensor.rows_and_width(), self.y.rows_and_width().1);
        if width != out || rows < self.rows.end {
            let expected = format!("at least {} rows of {out}", self.rows.end);
            return Err(Check("in_chunks").shape("tensor", tensor, expected));
        }
        Ok(tensor.part(self.rows.start, self.rows.len()))
    }
}

impl Recorder {
    /// A new `[rows, out]` f32 from the rows of `x`, `[rows, width]` f32: `work` is called once with all of them, or, if
    /// `rows` of `inner` f32 were larger than [`Caps::max_activation`](crate::Caps), for one chunk after the other. `inner`
    /// is the width of the widest tensor that it makes.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn in_chunks(
        &mut self,
        x: &Tensor,
        inner: usize,
        out: usize,
        mut work: impl FnMut(&mut Self, &Chunk) -> Result<(), OpError>,
    ) -> Result<Tensor, OpError> {
        let (rows, width) = x.rows_and_width();
        let y = self.transient(&[rows, out], DType::F32);
        let caps = self.caps();
        let fitting = caps.max_activation / 4 / inner.max(1) as u64;
        let step = if fitting >= rows as u64 {
            rows
        } else {
            let aligned = [width, out].map(|width| aligned_rows(width, caps.storage_alignment)).into_iter().max();
            chunk_rows(rows, fitting as usize, aligned.unwrap_or(1))
        };
        // Without rows, the op that they are for tells.
        for first in (0..rows.max(1)).step_by(step.max(1)) {
            let count = step.min(rows - first);
            work(self, &Chunk { rows: first..first + count, x: x.part(first, count), y: y.part(first, count) })?;
        }
        Ok(y)
    }
}

/// The fewest rows of `width` f32 whose bytes are a multiple of `alignment`, a power of two.
fn aligned_rows(width: usize, alignment: u32) -> usize {
    let own = 4 * (width.max(1) as u64 & (width.max(1) as u64).wrapping_neg());
    (u64::from(alignment) / own.min(u64::from(alignment)).max(1)).max(1) as usize
}

/// Rows of a chunk: as few chunks as can be, all but the last equally long and a multiple of `aligned` rows.
fn chunk_rows(rows: usize, fitting: usize, aligned: usize) -> usize {
    let most = (fitting / aligned).max(1) * aligned;
    rows.div_ceil(rows.div_ceil(most).max(1)).next_multiple_of(aligned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        op::{Activation, Epilogue},
        testing::{limited_gpus, random},
        weights::{Format, Weight},
    };

    #[test]
    fn chunks_are_few_and_aligned() {
        // 1792 f32 are 28 * 256 bytes, 48 are three quarters of 256, 49 are 49 / 64 of it.
        assert_eq!([1792, 48, 49].map(|width| aligned_rows(width, 256)), [1, 4, 64]);
        assert_eq!([48, 49].map(|width| aligned_rows(width, 4)), [1, 1]);
        // EVA2-CLIP-E at 1120 and at 1344, in 128 MiB.
        assert_eq!([6401, 9217].map(|rows| chunk_rows(rows, (128 << 20) / 4 / 15360, 1)), [2134, 1844]);
        assert_eq!(chunk_rows(65, 10, 4), 8);
        assert_eq!(chunk_rows(65, 3, 4), 4);
        assert_eq!(chunk_rows(65, 64, 64), 64);
    }

    /// Bit by bit: a row's sums do not depend on its neighbours. Shorter chunks may take the kernel for few rows, which
    /// adds in another order, and are left out.
    #[test]
    fn chunks_give_what_the_whole_gives() {
        let (rows, width, inner, out) = (70, 48, 88, 36);
        let (x, up, down) = (random(rows * width, 1), random(inner * width, 2), random(out * inner, 3));
        let residual = random(rows * out, 4);
        // Twenty rows: chunks of 18, 18, 18, 16, or of multiples of 16.
        for (whole, limited) in limited_gpus(20 * 4 * inner as u64) {
            let run = |gpu: &crate::Gpu| {
                let (up, down) = (
                    Weight::from_f32(gpu, "up", inner, width, &up, Format::F32).expect("a weight"),
                    Weight::from_f32(gpu, "down", out, inner, &down, Format::F32).expect("a weight"),
                );
                let x = gpu.upload("x", &[rows, width], &x).expect("an upload");
                let residual = gpu.upload("residual", &[rows, out], &residual).expect("an upload");
                let mut rec = Recorder::new(gpu);
                let y = rec.in_chunks(&x, inner, out, |rec, chunk| {
                    let epilogue = Epilogue { activation: Activation::Silu, ..Epilogue::default() };
                    let inner = rec.matmul(&chunk.x, &up, epilogue)?;
                    let residual = chunk.of(&residual)?;
                    let epilogue = Epilogue { residual: Some(&residual), ..Epilogue::default() };
                    rec.matmul_into(&inner, &down, epilogue, &chunk.y)
                });
                let y = y.expect("recorded");
                rec.keep(&y);
                let program = rec.finish().expect("a program");
                program.run().expect("runs");
                let y = crate::testing::block_on(program.read::<f32>(&y)).expect("reads");
                (y, program.dispatches(), program.transient_bytes())
            };
            let ((y, dispatches, bytes), (in_chunks, more, fewer)) = (run(whole), run(&limited));
            assert_eq!(y, in_chunks);
            assert_eq!(dispatches, 2);
            assert!(more >= 8, "{more} dispatches");
            assert!(fewer < bytes / 2, "{fewer} bytes, not much less than {bytes}");
        }
    }
}
