//! Errors of the GPU and of recording.

use thiserror::Error;

use crate::dtype::DType;

/// What can go wrong between this program and an adapter.
#[derive(Clone, Debug, Error)]
pub enum GpuError {
    /// No adapter matches the request.
    #[error("no GPU adapter{}; found: {found}", filter.as_ref().map(|f| format!(" matches \"{f}\"")).unwrap_or_default())]
    NoAdapter {
        /// The name that was asked for.
        filter: Option<String>,
        /// The adapters there are, or "none".
        found: String,
    },
    /// The adapter refused to give a device.
    #[error("adapter {adapter} gave no device: {reason}")]
    NoDevice {
        /// Name of the adapter.
        adapter: String,
        /// What it said.
        reason: String,
    },
    /// The adapter lacks something that no kernel can do without.
    #[error("adapter {adapter} is too small: {what} is {has}, at least {needs} is needed")]
    TooSmall {
        /// Name of the adapter.
        adapter: String,
        /// The limit's name.
        what: &'static str,
        /// What it has.
        has: u64,
        /// What is needed.
        needs: u64,
    },
    /// The device was lost: driver reset, removed, or destroyed.
    #[error("the GPU device was lost: {0}")]
    Lost(String),
    /// The adapter has no memory left.
    #[error("out of GPU memory{}: {message}", what.as_ref().map(|w| format!(" for {w}")).unwrap_or_default())]
    OutOfMemory {
        /// What was to be allocated.
        what: Option<String>,
        /// What the driver said.
        message: String,
    },
    /// A single buffer would be larger than the adapter allows.
    #[error("{what} needs a buffer of {bytes} bytes, the adapter allows {limit}")]
    BufferTooLarge {
        /// What was to be allocated.
        what: String,
        /// Bytes needed.
        bytes: u64,
        /// Largest binding or buffer of the adapter.
        limit: u64,
    },
    /// The driver or wgpu rejected something; a defect of this program or of the driver.
    #[error("the GPU rejected a command: {0}")]
    Rejected(String),
}

/// What can go wrong while an op is recorded.
#[derive(Clone, Debug, Error)]
pub enum OpError {
    /// A tensor does not have the shape that the op needs.
    #[error("{op}: {tensor} is {got:?}, expected {expected}")]
    Shape {
        /// The op.
        op: &'static str,
        /// The argument's name.
        tensor: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// What would fit.
        expected: String,
    },
    /// A tensor does not have the element type that the op needs.
    #[error("{op}: {tensor} is {got:?}, expected {expected:?}")]
    DType {
        /// The op.
        op: &'static str,
        /// The argument's name.
        tensor: &'static str,
        /// Its type.
        got: DType,
        /// What would fit.
        expected: DType,
    },
    /// A number is outside of what the op can do.
    #[error("{op}: {what} is {got}, expected {expected}")]
    Value {
        /// The op.
        op: &'static str,
        /// The number's name.
        what: &'static str,
        /// What was given.
        got: String,
        /// What would fit.
        expected: String,
    },
    /// The GPU could not allocate or build what the op needs.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}
