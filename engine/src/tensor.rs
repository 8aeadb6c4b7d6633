//! Tensors: a shape, an element type, and a place on the GPU.

use std::sync::Arc;

use crate::{buffer::Buffer, dtype::DType, error::OpError};

/// Where a tensor lives.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a buffer of its own, beyond any program.
    Buffer(Arc<Buffer>),
    /// In a program's planned memory.
    Transient(Transient),
}

/// A tensor of one recording's planned memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transient {
    /// Which recording it belongs to: no two of a process have the same number.
    pub(crate) recording: u64,
    /// Index among the transients of that recording.
    pub(crate) index: usize,
}

/// Number of elements of a shape; `usize::MAX` if there are more than that, so that a wrapped product never passes for a
/// small tensor. On wasm32 an element count of 2^32 is reached by published models with a wrong configuration.
pub(crate) fn elements(shape: &[usize]) -> usize {
    // An axis of length 0 wins over overflow.
    if shape.contains(&0) { 0 } else { shape.iter().fold(1, |product: usize, &axis| product.saturating_mul(axis)) }
}

/// Bytes of a tensor, saturating.
pub(crate) fn bytes_of(shape: &[usize], dtype: DType) -> u64 {
    (elements(shape) as u64).saturating_mul(dtype.bytes() as u64)
}

/// A row-major array on the GPU. Cloning it clones the handle.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    dtype: DType,
    pub(crate) place: Place,
    /// Bytes of its place before its first element.
    pub(crate) offset: u64,
}

impl Tensor {
    pub(crate) fn new(shape: &[usize], dtype: DType, place: Place) -> Self {
        Self { shape: shape.to_vec(), dtype, place, offset: 0 }
    }

    /// The rows from `first` on as a tensor of their own, in the same place.
    pub(crate) fn part(&self, first: usize, rows: usize) -> Self {
        let width = self.rows_and_width().1;
        let offset = self.offset + first as u64 * width as u64 * self.dtype.bytes() as u64;
        Self { shape: vec![rows, width], offset, ..self.clone() }
    }

    /// Length of each axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements; `usize::MAX` if there are more, which no adapter has memory for.
    pub fn len(&self) -> usize {
        elements(&self.shape)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> u64 {
        bytes_of(&self.shape, self.dtype)
    }

    /// The tensor as a matrix: the product of all axes but the last, and the last.
    pub fn rows_and_width(&self) -> (usize, usize) {
        match self.shape.split_last() {
            Some((&width, outer)) => (elements(outer), width),
            None => (1, 1),
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`OpError::Shape`] if the number of elements differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self, OpError> {
        if elements(shape) != self.len() {
            let (op, got, expected) = ("reshape", self.shape.clone(), format!("as many elements as {shape:?}"));
            return Err(OpError::Shape { op, tensor: "x", got, expected });
        }
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// The columns `start .. start + width` of every row, for ops that take them from a wider tensor.
    pub fn columns(&self, start: usize, width: usize) -> Columns<'_> {
        Columns { tensor: self, start, width }
    }

    /// The element at `index` of the flat tensor and those after it, for ops that read a few numbers.
    pub fn at(&self, index: usize) -> At<'_> {
        At { tensor: self, index }
    }
}

/// Some columns of every row of a tensor, such as the keys within fused queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// The whole tensor.
    pub tensor: &'a Tensor,
    /// First column.
    pub start: usize,
    /// Number of columns.
    pub width: usize,
}

impl<'a> From<&'a Tensor> for Columns<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Columns { tensor, start: 0, width: tensor.rows_and_width().1 }
    }
}

/// An element of a tensor of integers, and those after it.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The whole tensor.
    pub tensor: &'a Tensor,
    /// Index of the first element.
    pub index: usize,
}

impl<'a> From<&'a Tensor> for At<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        At { tensor, index: 0 }
    }
}
