//! Pictures, and their preparation as each system's reference does it.
//!
//! Preparation ends with resized RGB bytes: cutting into patches and normalising happen on the GPU. `pixel_values`
//! functions do the same on the CPU in the reference's order and float arithmetic, for tests and for `dump`.

mod decode;
mod picture;
mod prepare;
mod preprocessor;
mod qwen;
mod resample;
mod size;
mod squash;
mod views;

#[cfg(test)]
pub(crate) mod testing;

pub use picture::Picture;
pub use prepare::{ImageConfig, PreparedImage, Square, View};
pub use preprocessor::{Normalisation, Preprocessor};
pub use qwen::{PatchGrid, QwenImage, QwenImageConfig, SecondLook, smart_resize};
pub use resample::Filter;
pub use size::Size;
pub use squash::Squash;
pub use views::{Tiling, ViewPlan, ViewRule, ViewsConfig};

/// Mean of CLIP's training pictures by channel (red, green, blue), on a scale of 0 to 1.
pub const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Standard deviation of CLIP's training pictures, as [`CLIP_MEAN`].
pub const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// What can be wrong with a picture or with a description of how to prepare it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A side is zero.
    #[error("the picture is {width}x{height}: it has no pixels")]
    Empty {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// More pixels than the caller allows.
    #[error("the picture is {width}x{height}: more than {limit} pixels")]
    TooLarge {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// The bytes do not have the length that the size asks for.
    #[error("{width}x{height} pixels of {channels} bytes need {expected} bytes, not {actual}")]
    Length {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// Bytes of a pixel.
        channels: u32,
        /// Bytes needed.
        expected: u64,
        /// Bytes given.
        actual: u64,
    },
    /// The file is no picture, or of a format that is not decoded.
    #[error("this is {what}; PNG, JPEG, WebP, GIF and BMP can be read: {advice}")]
    Format {
        /// What it is, as far as its first bytes say.
        what: &'static str,
        /// What can be done.
        advice: &'static str,
    },
    /// Part of the file is missing.
    #[error("the {format} picture is cut off, part of the file is missing: download or copy it again")]
    Cut {
        /// Its format.
        format: &'static str,
    },
    /// The file is damaged, or uses what its decoder cannot do.
    #[error("the picture cannot be decoded: {0}")]
    Decode(String),
    /// One side is too many times longer than the other for the model.
    #[error("the picture is {width}x{height}: one side is more than {limit} times the other")]
    AspectRatio {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// Largest ratio.
        limit: u32,
    },
    /// The preparation resizes nothing, and the picture does not fit as it is.
    #[error(
        "the picture is {width}x{height}: the model's `do_resize` is false, so that its sides must be multiples of {step}"
    )]
    Unresized {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// Side of the square of pixels that becomes one token.
        step: u32,
    },
    /// The JSON of a preparation is malformed.
    #[error("{file}: {reason}")]
    File {
        /// Name of the file.
        file: &'static str,
        /// What its parser said.
        reason: String,
    },
    /// A field of a preparation that is not understood: it might change numbers.
    #[error("{file}: field `{field}` ({value}) is not understood for this system, and may change what the model sees")]
    Unknown {
        /// Name of the file.
        file: &'static str,
        /// Name of the field.
        field: String,
        /// The beginning of its value.
        value: String,
    },
    /// A field of a preparation has a wrong type or an impossible value.
    #[error("{file}: field `{field}` must be {expected}, not {actual}")]
    Field {
        /// Name of the file.
        file: &'static str,
        /// Name of the field, dotted inside an object.
        field: &'static str,
        /// What it must hold.
        expected: &'static str,
        /// What it holds.
        actual: String,
    },
}
