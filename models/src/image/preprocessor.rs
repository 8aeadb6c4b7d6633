//! What the `preprocessor_config.json` files of `transformers` have in common.

use serde_json::{Map, Value};

use super::{ImageError, Size, resample::Filter};

const FILE: &str = "preprocessor_config.json";

/// A `preprocessor_config.json`, read field by field.
#[derive(Clone, Debug)]
pub struct Preprocessor(Map<String, Value>);

/// Mean and standard deviation of each channel, on a scale of 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// By channel.
    pub mean: [f32; 3],
    /// By channel.
    pub std: [f32; 3],
}

impl Preprocessor {
    /// From the file's bytes.
    ///
    /// # Errors
    /// [`ImageError::File`] for bad JSON, [`ImageError::Field`] if it asks for less than resizing, rescaling to 0 to 1
    /// and normalising.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ImageError> {
        let json = serde_json::from_slice(bytes)
            .map_err(|error| ImageError::File { file: FILE, reason: error.to_string() })?;
        let this = Self(json);
        for name in ["do_resize", "do_rescale", "do_normalize"] {
            if !this.flag(name, true)? {
                return Err(field(name, "true", &Value::Bool(false)));
            }
        }
        if let Some(value) = this.present("rescale_factor")
            && value.as_f64().is_none_or(|factor| (factor * 255.0 - 1.0).abs() > 1e-6)
        {
            return Err(field("rescale_factor", "1/255", value));
        }
        Ok(this)
    }

    pub(super) fn present(&self, key: &str) -> Option<&Value> {
        present(&self.0, key)
    }

    /// True or false.
    ///
    /// # Errors
    /// [`ImageError::Field`].
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool, ImageError> {
        let read = |value: &Value| value.as_bool().ok_or_else(|| field(name, "true or false", value));
        self.present(name).map_or(Ok(default), read)
    }

    /// A number from 1 to `most`.
    ///
    /// # Errors
    /// [`ImageError::Field`].
    pub fn number(&self, name: &'static str, most: u32, default: u32) -> Result<u32, ImageError> {
        self.present(name).map_or(Ok(default), |value| side(value, name, most))
    }

    /// Mean and standard deviation.
    ///
    /// # Errors
    /// [`ImageError::Field`].
    pub fn normalisation(&self, default: Normalisation) -> Result<Normalisation, ImageError> {
        let read = |name: &'static str, default: [f32; 3]| {
            let three = |value: &Value| channels(value).ok_or_else(|| field(name, "three numbers", value));
            self.present(name).map_or(Ok(default), three)
        };
        let std = read("image_std", default.std)?;
        if std.iter().any(|&std| std <= 0.0) {
            return Err(field("image_std", "three positive numbers", &self.0["image_std"]));
        }
        Ok(Normalisation { mean: read("image_mean", default.mean)?, std })
    }

    /// The filter of `resample`, by Pillow's number.
    ///
    /// # Errors
    /// [`ImageError::Field`].
    pub fn filter(&self, default: Filter) -> Result<Filter, ImageError> {
        let Some(value) = self.present("resample") else { return Ok(default) };
        match value.as_u64() {
            Some(1) => Ok(Filter::Lanczos),
            Some(2) => Ok(Filter::Bilinear),
            Some(3) => Ok(Filter::Bicubic),
            _ => Err(field("resample", "1 (Lanczos), 2 (bilinear) or 3 (bicubic)", value)),
        }
    }

    /// A length under `name`: a number, or an object with one of `keys`.
    ///
    /// # Errors
    /// [`ImageError::Field`] if it is missing or no length.
    pub fn edge(&self, name: &'static str, keys: &[&str]) -> Result<u32, ImageError> {
        let value = self.need(name)?;
        let inner = value.as_object().and_then(|object| keys.iter().find_map(|key| present(object, key)));
        side(inner.unwrap_or(value), name, LONGEST)
    }

    /// A size under `name`: `height` and `width`, or one number for both.
    ///
    /// # Errors
    /// [`ImageError::Field`] if it is missing or no size.
    pub fn size(&self, name: &'static str) -> Result<Size, ImageError> {
        let value = self.need(name)?;
        let Some(object) = value.as_object() else {
            let both = side(value, name, LONGEST)?;
            return Ok(Size::new(both, both));
        };
        let of = |key: &str| side(object.get(key).unwrap_or(&Value::Null), name, LONGEST);
        Ok(Size::new(of("width")?, of("height")?))
    }

    fn need(&self, name: &'static str) -> Result<&Value, ImageError> {
        self.present(name).ok_or_else(|| field(name, "given", &Value::Null))
    }
}

/// Longest side that a file may ask for, in pixels.
const LONGEST: u32 = 1 << 14;

fn side(value: &Value, name: &'static str, most: u32) -> Result<u32, ImageError> {
    let side = value.as_u64().and_then(|it| u32::try_from(it).ok()).filter(|it| (1..=most).contains(it));
    side.ok_or_else(|| field(name, "a positive number, and not too large", value))
}

/// The value of a key, unless it is null.
pub(super) fn present<'a>(json: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    json.get(key).filter(|value| !value.is_null())
}

/// Three finite numbers.
pub(super) fn channels(value: &Value) -> Option<[f32; 3]> {
    let numbers: Vec<f32> = value
        .as_array()?
        .iter()
        .map(|it| it.as_f64().map(|it| it as f32).filter(|it| it.is_finite()))
        .collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// A field with a wrong value, of which the message shows the beginning.
pub(super) fn field(field: &'static str, expected: &'static str, actual: &Value) -> ImageError {
    let mut actual = actual.to_string();
    if let Some((end, _)) = actual.char_indices().nth(40) {
        actual.truncate(end);
    }
    ImageError::Field { file: FILE, field, expected, actual }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_the_field_that_is_wrong() {
        let cases = [
            (r#"{"do_resize": false}"#, "do_resize"),
            (r#"{"do_normalize": 1}"#, "do_normalize"),
            (r#"{"rescale_factor": 1}"#, "rescale_factor"),
            (r#"{"image_mean": [0, 0]}"#, "image_mean"),
            (r#"{"image_std": [0, 1, 1]}"#, "image_std"),
            (r#"{"resample": 0}"#, "resample"),
            (r#"{"size": 0}"#, "size"),
            (r#"{"size": {"height": 8}}"#, "size"),
            (r#"{"size": {"height": 8, "width": 4294967297}}"#, "size"),
        ];
        for (json, name) in cases {
            let error = Preprocessor::from_json(json.as_bytes()).and_then(|read| {
                read.normalisation(Normalisation { mean: [0.0; 3], std: [1.0; 3] })?;
                read.filter(Filter::Bicubic)?;
                read.size("size")
            });
            let error = error.unwrap_err();
            assert!(matches!(error, ImageError::Field { field, .. } if field == name), "{json}: {error}");
        }
        assert!(matches!(Preprocessor::from_json(b"[]"), Err(ImageError::File { .. })));
    }

    proptest! {
        /// Any bytes are a configuration or an error.
        #[test]
        fn any_json_is_handled(text in "\\PC{0,60}") {
            let _ = Preprocessor::from_json(text.as_bytes()).and_then(|read| read.edge("size", &["shortest_edge"]));
        }
    }
}
