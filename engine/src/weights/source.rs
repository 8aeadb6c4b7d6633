//! Where weights come from.

use std::{future::Future, ops::Range, pin::Pin};

use thiserror::Error;

use super::Format;
use crate::error::GpuError;

/// Element type of a tensor in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredType {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
}

impl StoredType {
    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            StoredType::F32 => 4,
            StoredType::F16 | StoredType::BF16 => 2,
        }
    }

    /// Little-endian elements as f32; a rest that is no whole element is left out.
    pub fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        let halves = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        match self {
            StoredType::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            StoredType::F16 => halves.map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
            StoredType::BF16 => halves.map(|bits| half::bf16::from_bits(bits).to_f32()).collect(),
        }
    }
}

/// What is known of a tensor without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Index of the file among the source's.
    pub file: usize,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: StoredType,
    /// Where its bytes lie in the file.
    pub range: Range<u64>,
}

/// What can be wrong with weights.
#[derive(Clone, Debug, Error)]
pub enum WeightError {
    /// A file could not be read.
    #[error("{file}: {reason}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// A file's header makes no sense, or the file is shorter than its header says.
    #[error("{file}: {reason}")]
    Header {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor of the system is in none of the files.
    #[error("tensor {tensor} is missing; looked in {files}")]
    Missing {
        /// Its name.
        tensor: String,
        /// The files.
        files: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {tensor}{}: shape is {got:?}, the configuration says {expected:?}", in_file(file))]
    Shape {
        /// Its name.
        tensor: String,
        /// Its file.
        file: String,
        /// The shape in the file.
        got: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A tensor has an element type that weights do not have.
    #[error(
        "tensor {tensor}{}: element type is {got}, expected F32, F16 or BF16; quantised checkpoints are not read",
        in_file(file)
    )]
    DType {
        /// Its name.
        tensor: String,
        /// Its file.
        file: String,
        /// The type in the file.
        got: String,
    },
    /// Tensors of another kind of checkpoint: quantised weights, adapters.
    #[error("tensor {tensor} in {files}: {reason}")]
    Kind {
        /// The first of them.
        tensor: String,
        /// The files.
        files: String,
        /// What they are, and what to do.
        reason: String,
    },
    /// A tensor has numbers that are infinite or not a number.
    #[error("tensor {tensor}{}: element {index} is {value}", in_file(file))]
    NotFinite {
        /// Its name.
        tensor: String,
        /// Its file.
        file: String,
        /// Index of the first such element.
        index: usize,
        /// What it is.
        value: f32,
    },
    /// A number does not fit the format that was asked for.
    #[error("tensor {tensor}: {value} is too large for {format}; choose another quantisation")]
    Overflow {
        /// Its name.
        tensor: String,
        /// The number.
        value: f32,
        /// The format.
        format: Format,
    },
    /// A tensor has no elements.
    #[error("tensor {tensor} has no elements")]
    Empty {
        /// Its name.
        tensor: String,
    },
    /// The GPU could not take it.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

fn in_file(file: &str) -> String {
    if file.is_empty() { String::new() } else { format!(" in {file}") }
}

/// Bytes on their way.
pub type Bytes<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, WeightError>> + 'a>>;

/// A file, wherever it lies: on disk, behind a URL, in a browser's cache.
pub trait ByteSource {
    /// Its name in errors.
    fn name(&self) -> &str;

    /// Its size in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads bytes; a source that ends before `range` does is an error that names it.
    fn read(&self, range: Range<u64>) -> Bytes<'_>;
}

/// Named tensors.
pub trait WeightSource {
    /// Every tensor's name.
    fn names(&self) -> Vec<&str>;

    /// Names of what is stored beside them and is of a type that weights do not have: indices, packed quants.
    fn others(&self) -> Vec<&str> {
        Vec::new()
    }

    /// What is known of a tensor.
    fn info(&self, name: &str) -> Option<&TensorInfo>;

    /// The error of asking for a tensor that [`WeightSource::info`] does not know.
    fn missing(&self, name: &str) -> WeightError;

    /// Names of the files, by index.
    fn file(&self, index: usize) -> &str;

    /// Names of all files, for errors.
    fn files(&self) -> String;

    /// Reads bytes of a tensor, `range` counted from its first byte.
    fn read<'a>(&'a self, info: &'a TensorInfo, range: Range<u64>) -> Bytes<'a>;
}
