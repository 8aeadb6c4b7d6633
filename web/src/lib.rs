//! The bridge between the engine and the npm package: what `web/js/src/bridge.ts` describes.
//!
//! A [`Device`] is a GPU, a [`Model`] a system on it with one session. Files come from JavaScript in ranges; errors go
//! there as `Error` objects with a `code` and details. Every call that waits takes an `AbortSignal`: when it fires, the
//! work is dropped where it stands, which leaves device and model usable.

#![expect(clippy::await_holding_refcell_ref, reason = "a call that finds the session taken fails; it does not wait")]

mod abort;
mod bench;
mod device;
mod error;
mod json;
mod model;
mod picture;
mod source;
mod stages;

pub use device::{Device, wasm_bytes};
pub use model::{Answer, Image, Model};
pub use picture::{composite_picture, decode_picture};
