//! How a checkpoint says that pictures are prepared: `preprocessor_config.json`, or since transformers 5 the object
//! `image_processor` of `processor_config.json`.
//!
//! Every key is read by name, or known to change no number, or refused: see [`Preprocessor::finish`].

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::{Map, Value};

use super::{ImageError, Size, resample::Filter};

const FILE: &str = "preprocessor_config.json";
const NESTED_FILE: &str = "processor_config.json";
/// The nested object, as messages name it.
const NESTED: &str = "processor_config.json, `image_processor`";

/// Keys that change no number here: names of classes, formats of what is returned, videos, and the conversion to RGB,
/// which every picture has had.
const WITHOUT_EFFECT: [&str; 16] = [
    "_valid_processor_keys",
    "auto_map",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "do_sample_frames",
    "feature_extractor_type",
    "image_seq_len",
    "image_seq_length",
    "input_data_format",
    "processor_class",
    "return_tensors",
    "transformers_version",
    "video_sampling",
];

/// Steps that may be off, besides those whose names begin with `do_`.
const OFF: [&str; 3] = ["crop_to_patches", "return_row_col_info", "split_image"];

/// A preparation, read field by field.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    file: &'static str,
    fields: Map<String, Value>,
    asked: RefCell<BTreeSet<&'static str>>,
}

/// How bytes become a tower's numbers: `(byte * scale - mean) / std`, by channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// 1/255 in every published model, so that bytes reach a scale of 0 to 1; 1 where they are not rescaled.
    pub scale: f64,
    /// By channel; 0 where nothing is normalised.
    pub mean: [f32; 3],
    /// By channel, above 0; 1 where nothing is normalised.
    pub std: [f32; 3],
}

/// What pictures are resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resize {
    /// One of the sides is this long.
    Edge(u32),
    /// Both are.
    Exact(Size),
}

impl Normalisation {
    /// Of bytes on a scale of 0 to 1.
    pub const fn of_unit(mean: [f32; 3], std: [f32; 3]) -> Self {
        Self { scale: 1.0 / 255.0, mean, std }
    }

    /// A byte's number, with the roundings of the reference: the product in f64, rounded to f32; the rest in f32.
    pub fn value(&self, channel: usize, byte: u8) -> f32 {
        let value = (f64::from(byte) * self.scale) as f32;
        match (self.mean.get(channel), self.std.get(channel)) {
            (Some(mean), Some(std)) => (value - mean) / std,
            _ => value,
        }
    }
}

impl Preprocessor {
    /// From the bytes of the checkpoint's files, where they exist. `nested` is `processor_config.json`: its object
    /// `image_processor` comes first, as in transformers 5. `None` if neither describes a preparation.
    ///
    /// # Errors
    /// [`ImageError::File`] for bad JSON, [`ImageError::Field`].
    pub fn find(flat: Option<&[u8]>, nested: Option<&[u8]>) -> Result<Option<Self>, ImageError> {
        if let Some(bytes) = nested {
            let mut processor = object(NESTED_FILE, bytes)?;
            match processor.remove("image_processor") {
                None | Some(Value::Null) => {}
                Some(Value::Object(fields)) => return Self::new(NESTED, fields).map(Some),
                Some(other) => return Err(field(NESTED_FILE, "image_processor", "an object", &other)),
            }
        }
        flat.map(Self::from_json).transpose()
    }

    /// From the bytes of `preprocessor_config.json`.
    ///
    /// # Errors
    /// [`ImageError::File`] for bad JSON, [`ImageError::Field`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ImageError> {
        Self::new(FILE, object(FILE, bytes)?)
    }

    fn new(file: &'static str, fields: Map<String, Value>) -> Result<Self, ImageError> {
        Ok(Self { file, fields, asked: RefCell::default() })
    }

    /// Refuses what nobody has asked for, unless it says nothing (null), is a step that is off (false, or the size of a crop
    /// that is) or known to change no number.
    ///
    /// # Errors
    /// [`ImageError::Unknown`] with the key.
    pub fn finish(&self) -> Result<(), ImageError> {
        let asked = self.asked.borrow();
        let unknown = self.fields.iter().find(|(key, value)| {
            let crops = present(&self.fields, "do_center_crop").is_some_and(|it| it != &Value::Bool(false));
            let is_step = key.starts_with("do_") || OFF.contains(&key.as_str());
            let off = value.is_null() || is_step && *value == false || key.as_str() == "crop_size" && !crops;
            !off && !asked.contains(key.as_str()) && !WITHOUT_EFFECT.contains(&key.as_str())
        });
        match unknown {
            Some((key, value)) => {
                Err(ImageError::Unknown { file: self.file, field: key.clone(), value: beginning(value) })
            }
            None => Ok(()),
        }
    }

    /// The class that the reference prepares with, without the suffix of its variant: one of `known`, the first if the
    /// file names none.
    ///
    /// # Errors
    /// [`ImageError::Field`] for a class that is none of them.
    pub fn class(&self, known: &[&'static str]) -> Result<&'static str, ImageError> {
        const NAME: &str = "image_processor_type";
        let first = known.first().copied().unwrap_or_default();
        let Some(value) = self.present(NAME) else { return Ok(first) };
        let name = value.as_str().unwrap_or_default();
        let plain = name.strip_suffix("Fast").or_else(|| name.strip_suffix("Pil")).unwrap_or(name);
        let found = known.iter().find(|&&class| class == plain);
        found.copied().ok_or_else(|| self.wrong(NAME, "a class that prepares pictures for this system", value))
    }

    /// Refuses a flag that is not as the system's preparation is.
    ///
    /// # Errors
    /// [`ImageError::Field`].
    pub fn only(&self, name: &'static str, flag: bool) -> Result<(), ImageError> {
        match self.flag(name, flag)? == flag {
            true => Ok(()),
            false => Err(self.wrong(name, if flag { "true" } else { "false" }, &Value::Bool(!flag))),
        }
    }

    /// A field's value, unless it is null.
    pub(super) fn present(&self, name: &'static str) -> Option<&Value> {
        self.asked.borrow_mut().insert(name);
        present(&self.fields, name)
    }

    /// The error for a field with a wrong value.
    pub(super) fn wrong(&self, name: &'static str, expected: &'static str, actual: &Value) -> ImageError {
        field(self.file, name, expected, actual)
    }

    /// True or false.
    ///
    /// # Errors
    /// [`ImageError::Field`].
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool, ImageError> {
        let read = |value: &Value| value.as_bool().ok_or_else(|| self.wrong(name, "true or false", value));
        self.present(name).map_or(Ok(default), read)
    }

    /// A number from 1 to `most`.
    ///
    /// # Errors
    /// [`ImageError::Field`].
    pub fn number(&self, name: &'static str, most: u32, default: u32) -> Result<u32, ImageError> {
        self.present(name).map_or(Ok(default), |value| self.side(value, name, most))
    }

    /// How bytes become numbers: `do_rescale`, `rescale_factor`, `do_normalize`, `image_mean` and `image_std`.
    ///
    /// # Errors
    /// [`ImageError::Field`].
    pub fn normalisation(&self, default: Normalisation) -> Result<Normalisation, ImageError> {
        let (mean, std) = (self.mean(default.mean)?, self.three("image_std", default.std)?);
        if !std.iter().all(|std| (1e-6..=1e6).contains(std)) {
            let value = self.present("image_std").unwrap_or(&Value::Null);
            return Err(self.wrong("image_std", "three numbers above 0", value));
        }
        let mut scale = default.scale;
        if let Some(value) = self.present("rescale_factor") {
            let possible = value.as_f64().filter(|factor| (1e-6..=1.0).contains(factor));
            scale = possible.ok_or_else(|| self.wrong("rescale_factor", "a number from 1e-6 to 1", value))?;
        }
        let rescales = self.flag("do_rescale", true)?;
        let normalises = self.flag("do_normalize", true)?;
        Ok(Normalisation {
            scale: if rescales { scale } else { 1.0 },
            mean: if normalises { mean } else { [0.0; 3] },
            std: if normalises { std } else { [1.0; 3] },
        })
    }

    /// `image_mean`, whether or not it is subtracted.
    ///
    /// # Errors
    /// [`ImageError::Field`].
    pub fn mean(&self, default: [f32; 3]) -> Result<[f32; 3], ImageError> {
        let mean = self.three("image_mean", default)?;
        if !mean.iter().all(|mean| mean.abs() <= 1e6) {
            let value = self.present("image_mean").unwrap_or(&Value::Null);
            return Err(self.wrong("image_mean", "three numbers from -1e6 to 1e6", value));
        }
        Ok(mean)
    }

    fn three(&self, name: &'static str, default: [f32; 3]) -> Result<[f32; 3], ImageError> {
        let read = |value: &Value| channels(value).ok_or_else(|| self.wrong(name, "three numbers", value));
        self.present(name).map_or(Ok(default), read)
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
            _ => Err(self.wrong("resample", "1 (Lanczos), 2 (bilinear) or 3 (bicubic)", value)),
        }
    }

    /// A length under `name`: a number, or an object with `key`.
    ///
    /// # Errors
    /// [`ImageError::Field`] if it is missing or no length.
    pub fn edge(&self, name: &'static str, key: &str) -> Result<u32, ImageError> {
        let value = self.need(name)?;
        match value.as_object() {
            // Other keys ask for another way of resizing.
            Some(object) => {
                match present(object, key).filter(|_| object.values().filter(|it| !it.is_null()).count() == 1) {
                    Some(inner) => self.side(inner, name, LONGEST),
                    None => Err(self.wrong(name, "a length, or an object with nothing but its edge", value)),
                }
            }
            None => self.side(value, name, LONGEST),
        }
    }

    /// What `name` resizes to: a length, alone or under `key`, or a size with `height` and `width`.
    ///
    /// # Errors
    /// [`ImageError::Field`] if it is missing or neither.
    pub(super) fn resize(&self, name: &'static str, key: &str) -> Result<Resize, ImageError> {
        let exact = self.need(name)?.as_object().is_some_and(|object| present(object, key).is_none());
        if exact { self.size(name).map(Resize::Exact) } else { self.edge(name, key).map(Resize::Edge) }
    }

    /// A size under `name`: `height` and `width`, or one number for both.
    ///
    /// # Errors
    /// [`ImageError::Field`] if it is missing or no size.
    pub fn size(&self, name: &'static str) -> Result<Size, ImageError> {
        let value = self.need(name)?;
        let Some(object) = value.as_object() else {
            let both = self.side(value, name, LONGEST)?;
            return Ok(Size::new(both, both));
        };
        let of = |key: &str| match present(object, key) {
            Some(inner) => self.side(inner, name, LONGEST),
            None => Err(self.wrong(name, "a length, or an object with `height` and `width`", value)),
        };
        Ok(Size::new(of("width")?, of("height")?))
    }

    fn need(&self, name: &'static str) -> Result<&Value, ImageError> {
        self.present(name).ok_or_else(|| self.wrong(name, "given", &Value::Null))
    }

    fn side(&self, value: &Value, name: &'static str, most: u32) -> Result<u32, ImageError> {
        let side = value.as_u64().and_then(|it| u32::try_from(it).ok()).filter(|it| (1..=most).contains(it));
        side.ok_or_else(|| self.wrong(name, "a positive number, and not too large", value))
    }
}

/// Longest side that a file may ask for, in pixels.
const LONGEST: u32 = 1 << 14;

fn object(file: &'static str, bytes: &[u8]) -> Result<Map<String, Value>, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::File { file, reason: error.to_string() })
}

/// The value of a key, unless it is null.
pub(super) fn present<'a>(json: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    json.get(key).filter(|value| !value.is_null())
}

/// Three finite numbers.
fn channels(value: &Value) -> Option<[f32; 3]> {
    let numbers: Vec<f32> = value
        .as_array()?
        .iter()
        .map(|it| it.as_f64().map(|it| it as f32).filter(|it| it.is_finite()))
        .collect::<Option<_>>()?;
    numbers.try_into().ok()
}

fn field(file: &'static str, field: &'static str, expected: &'static str, actual: &Value) -> ImageError {
    ImageError::Field { file, field, expected, actual: beginning(actual) }
}

/// The beginning of a value, for messages.
fn beginning(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(40) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF: Normalisation = Normalisation::of_unit([0.5; 3], [0.5; 3]);

    fn read(json: &str) -> Preprocessor {
        Preprocessor::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let cases = [
            (r#"{"do_normalize": 1}"#, "do_normalize"),
            (r#"{"rescale_factor": 2}"#, "rescale_factor"),
            (r#"{"rescale_factor": 0}"#, "rescale_factor"),
            (r#"{"image_mean": [0, 0]}"#, "image_mean"),
            (r#"{"image_std": [0, 1, 1]}"#, "image_std"),
            (r#"{"resample": 0}"#, "resample"),
            (r#"{"size": 0}"#, "size"),
            (r#"{"size": {"height": 8}}"#, "size"),
            (r#"{"size": {"height": 8, "width": 4294967297}}"#, "size"),
        ];
        for (json, name) in cases {
            let read = read(json);
            let error =
                read.normalisation(HALF).and_then(|_| read.filter(Filter::Bicubic)).and_then(|_| read.size("size"));
            let error = error.unwrap_err();
            assert!(matches!(error, ImageError::Field { field, .. } if field == name), "{json}: {error}");
        }
        assert!(matches!(Preprocessor::from_json(b"[]"), Err(ImageError::File { .. })));
        let edges = r#"{"size": {"shortest_edge": 8, "longest_edge": 9}}"#;
        assert!(read(edges).edge("size", "shortest_edge").is_err());
    }

    /// Switched off, a step leaves numbers as they are.
    #[test]
    fn steps_can_be_switched_off() {
        let of = |json: &str| {
            let normalisation = read(json).normalisation(HALF).unwrap();
            [0, 128, 255].map(|byte| normalisation.value(1, byte))
        };
        let (unit, whole) = ([0.0, 128.0 / 255.0, 1.0f32], [0.0, 128.0, 255.0f32]);
        assert_eq!(of(r#"{"do_normalize": false}"#), unit);
        assert_eq!(of(r#"{"do_normalize": false, "do_rescale": false}"#), whole);
        assert_eq!(of("{}"), unit.map(|value| (value - 0.5) / 0.5));
        assert_eq!(of(r#"{"do_rescale": false, "rescale_factor": 0.1}"#), whole.map(|value| (value - 0.5) / 0.5));
    }

    #[test]
    fn the_nested_object_comes_first() {
        let flat = br#"{"size": 1}"#;
        let found = |nested: &str| Preprocessor::find(Some(flat), Some(nested.as_bytes()));
        let size = |nested: &str| found(nested).unwrap().unwrap().edge("size", "longest_edge").unwrap();
        assert_eq!(size(r#"{"image_processor": {"size": {"longest_edge": 7}}}"#), 7);
        assert_eq!(size(r#"{"image_processor": null}"#), 1);
        assert_eq!(size("{}"), 1);
        let error = found(r#"{"image_processor": 5}"#).unwrap_err();
        assert_eq!(error.to_string(), "processor_config.json: field `image_processor` must be an object, not 5");
        let nested = br#"{"image_processor": {"size": "x"}}"#;
        let error = Preprocessor::find(None, Some(nested)).unwrap().unwrap().size("size").unwrap_err().to_string();
        assert!(error.starts_with("processor_config.json, `image_processor`: field `size` must be"), "{error}");
        assert!(Preprocessor::find(None, Some(b"{}")).unwrap().is_none());
        assert!(Preprocessor::find(None, None).unwrap().is_none());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let read = read(r#"{"size": 4, "do_convert_rgb": true, "do_pad": false, "crop_size": null, "gamma": 2.2}"#);
        read.size("size").unwrap();
        let error = read.finish().unwrap_err();
        assert!(matches!(&error, ImageError::Unknown { field, .. } if field == "gamma"), "{error}");
    }

    #[test]
    fn variants_of_a_class_are_one() {
        for name in ["CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil"] {
            let json = format!(r#"{{"image_processor_type": "{name}"}}"#);
            assert_eq!(read(&json).class(&["X", "CLIPImageProcessor"]).unwrap(), "CLIPImageProcessor");
        }
        assert_eq!(read("{}").class(&["X", "Y"]).unwrap(), "X");
        assert!(read(r#"{"image_processor_type": "BitImageProcessor"}"#).class(&["X"]).is_err());
    }

    proptest! {
        /// Any bytes are a configuration or an error.
        #[test]
        fn any_json_is_handled(text in "\\PC{0,60}") {
            let _ = Preprocessor::find(Some(text.as_bytes()), None).map(|read| read.map(|it| it.edge("size", "x")));
            let _ = Preprocessor::find(None, Some(text.as_bytes()));
        }
    }
}
