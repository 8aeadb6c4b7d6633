//! Weights: where they come from, how they are stored, and how they reach the GPU.
//!
//! A [`WeightSource`] yields the bytes of named tensors in ranges. A [`Loader`] streams them: a chunk of rows is read,
//! converted, checked, quantised, written to the GPU, and gone. What lies in processor memory at any time is bounded
//! by a constant, whatever the model's size.

mod foreign;
mod format;
mod load;
pub mod quant;
mod safetensors;
mod source;

pub use foreign::foreign;
pub use format::{BLOCK, Format};
pub use load::{CrossFormat, Loader, Policy, Progress, Scope, TensorClass};
pub use safetensors::Safetensors;
pub use source::{ByteSource, Bytes, StoredType, TensorInfo, WeightError, WeightSource};

use std::ops::Range;

use crate::{dtype::DType, error::GpuError, gpu::Gpu, tensor::Tensor};
use quant::Packer;

/// A weight matrix on the GPU, `[rows, width]`: one row for each output.
///
/// A matrix larger than the adapter's binding limit is split by rows into parts; ops run once for each part, and nobody
/// above the ops sees it.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Number of outputs.
    pub rows: usize,
    /// Number of inputs.
    pub width: usize,
    /// How it is stored.
    pub format: Format,
    /// Consecutive runs of rows.
    pub parts: Vec<WeightPart>,
}

/// Consecutive rows of a [`Weight`].
#[derive(Clone, Debug)]
pub struct WeightPart {
    /// Index of the first row.
    pub first_row: usize,
    /// Number of rows.
    pub rows: usize,
    /// Rows of the planes before them, which belong to another weight.
    pub skipped: usize,
    /// The plane of weights, u32 words; see `shaders/wgsl/parts/weights_*.wgsl`.
    pub quants: Tensor,
    /// The plane of scales, u32 words, for quantised formats.
    pub scales: Option<Tensor>,
}

impl WeightPart {
    /// The planes in the order of their bindings.
    pub fn planes(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.quants).chain(&self.scales)
    }
}

impl Weight {
    /// Elements of a stored row: `width` rounded up to a multiple of [`BLOCK`].
    pub fn padded_width(&self) -> usize {
        self.width.next_multiple_of(BLOCK)
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        self.format.bytes(self.rows, self.width)
    }

    /// Those of its rows that are in `rows` as a matrix of their own, in the same memory.
    #[must_use]
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let (start, end) = (rows.start.min(self.rows), rows.end.min(self.rows));
        let taken = |part: &WeightPart| {
            let (first, end) = (start.max(part.first_row), end.min(part.first_row + part.rows));
            let skipped = part.skipped + first.saturating_sub(part.first_row);
            let own = WeightPart { first_row: first - start, rows: end.saturating_sub(first), skipped, ..part.clone() };
            (own.rows > 0).then_some(own)
        };
        let parts = self.parts.iter().filter_map(taken).collect();
        Self { rows: end.saturating_sub(start), width: self.width, format: self.format, parts }
    }

    /// A matrix from its elements in row-major order.
    ///
    /// # Errors
    /// [`WeightError::Shape`] if `data` does not have `rows * width` elements, [`WeightError::Overflow`] if a number
    /// does not fit the format, [`WeightError::Gpu`].
    pub fn from_f32(
        gpu: &Gpu,
        name: &str,
        rows: usize,
        width: usize,
        data: &[f32],
        format: Format,
    ) -> Result<Self, WeightError> {
        let mut upload = Upload::new(gpu, name, rows, width, format)?;
        upload.push(data)?;
        upload.finish()
    }
}

/// Takes rows one after the other and writes them to the GPU.
struct Upload<'a> {
    gpu: &'a Gpu,
    name: String,
    weight: Weight,
    packer: Packer,
    /// Rows written so far.
    done: usize,
    /// Elements that do not fill an even number of rows yet: packed scales pair up over two rows.
    pending: Vec<f32>,
}

impl<'a> Upload<'a> {
    fn new(gpu: &'a Gpu, name: &str, rows: usize, width: usize, format: Format) -> Result<Self, WeightError> {
        let (quant_bytes, scale_bytes) = format.row_bytes(width);
        let limit = gpu.caps().max_binding.min(gpu.caps().max_buffer);
        // An even number of rows, so that packed scales never straddle two parts.
        let most = (limit / quant_bytes.max(scale_bytes).max(1) as u64) as usize & !1;
        if rows == 0 || width == 0 {
            return Err(WeightError::Empty { tensor: name.to_owned() });
        }
        if most == 0 {
            let (what, bytes) = (name.to_owned(), 2 * quant_bytes as u64);
            return Err(GpuError::BufferTooLarge { what, bytes, limit }.into());
        }
        let mut parts = Vec::new();
        for first_row in (0..rows).step_by(most) {
            let rows = most.min(rows - first_row);
            let plane = |bytes: usize| gpu.tensor(name, &[(rows * bytes).div_ceil(4)], DType::U32);
            let scales = (scale_bytes > 0).then(|| plane(scale_bytes)).transpose()?;
            parts.push(WeightPart { first_row, rows, skipped: 0, quants: plane(quant_bytes)?, scales });
        }
        let weight = Weight { rows, width, format, parts };
        let packer = Packer::new(format, width);
        Ok(Self { gpu, name: name.to_owned(), weight, packer, done: 0, pending: Vec::new() })
    }

    /// Appends rows, or pieces of rows.
    fn push(&mut self, data: &[f32]) -> Result<(), WeightError> {
        self.pending.extend_from_slice(data);
        let rows = (self.pending.len() / self.weight.width) & !1;
        self.write(rows)
    }

    fn write(&mut self, rows: usize) -> Result<(), WeightError> {
        let width = self.weight.width;
        let mut taken = 0;
        while taken < rows {
            let Some(part) = self.weight.parts.iter().find(|p| self.done < p.first_row + p.rows) else {
                return Err(self.wrong_length(self.done + rows - taken));
            };
            let count = (rows - taken).min(part.first_row + part.rows - self.done);
            let packed = self.packer.pack(&self.pending[taken * width..(taken + count) * width]).map_err(|value| {
                WeightError::Overflow { tensor: self.name.clone(), value, format: self.weight.format }
            })?;
            let row = self.done - part.first_row;
            let (quant_bytes, scale_bytes) = self.weight.format.row_bytes(width);
            self.gpu.write(&part.quants, row * quant_bytes / 4, &packed.quants)?;
            if let Some(scales) = &part.scales {
                self.gpu.write(scales, row * scale_bytes / 4, &packed.scales)?;
            }
            taken += count;
            self.done += count;
        }
        self.pending.drain(..taken * width);
        Ok(())
    }

    fn finish(mut self) -> Result<Weight, WeightError> {
        self.write(self.pending.len() / self.weight.width)?;
        if self.done != self.weight.rows || !self.pending.is_empty() {
            return Err(self.wrong_length(self.done));
        }
        Ok(self.weight)
    }

    fn wrong_length(&self, rows: usize) -> WeightError {
        WeightError::Shape {
            tensor: self.name.clone(),
            file: String::new(),
            got: vec![rows, self.weight.width],
            expected: vec![self.weight.rows, self.weight.width],
        }
    }
}
