//! Records, plans and replays vision-language model programs on WebGPU.
//!
//! Ops are methods of a [`Recorder`]: they check shapes, choose a kernel for the adapter, and append a dispatch. A
//! finished [`Program`] owns its planned memory and runs as one compute pass. Everything here also compiles for
//! `wasm32-unknown-unknown`: no threads, files, clocks or blocking waits.

mod buffer;
mod dtype;
pub mod error;
mod gpu;
pub mod op;
mod params;
mod program;
pub mod sketch;
mod tensor;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod weights;

pub use dtype::DType;
pub use error::{GpuError, OpError};
pub use gpu::{AdapterName, Caps, Element, Gpu, GpuOptions, KernelFamily, Kernels, UnknownKernels, Wait, adapters};
pub use params::{Member, Params};
pub use program::{Cost, Dispatch, Program, Recorder, Timing, Workgroups};
pub use tensor::{At, Columns, Tensor};
