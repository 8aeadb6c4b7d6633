//! Preparation of Qwen2-VL and Qwen2.5-VL: native resolution in multiples of a merged patch.
//!
//! Source: `Qwen2VLImageProcessor` of transformers 4.57.1.

use fovea_engine::op::Patchify;
use serde_json::Value;

use super::{
    CLIP_MEAN, CLIP_STD, Filter, ImageError, Normalisation, Picture, Preprocessor, Size, preprocessor::present,
};

/// Longest side over shortest that the reference accepts.
const ASPECT_LIMIT: u32 = 200;

/// The size nearest to `size`'s aspect ratio whose sides are multiples of `factor` and whose area is between the limits.
///
/// The limits are pixels of the result. A side below half a factor becomes one factor; a tiny picture may exceed
/// `max_pixels` by the rounding up of its sides, as in the reference.
///
/// # Errors
/// [`ImageError::Empty`], [`ImageError::AspectRatio`] above 200, [`ImageError::TooLarge`] if a side does not fit `u32`.
pub fn smart_resize(size: Size, factor: u32, min_pixels: u64, max_pixels: u64) -> Result<Size, ImageError> {
    zoomed_resize(size, 1.0, factor, min_pixels, max_pixels)
}

/// [`smart_resize`] of a picture that is first thought `zoom` times as large, its sides rounded to whole pixels.
fn zoomed_resize(size: Size, zoom: f64, factor: u32, min_pixels: u64, max_pixels: u64) -> Result<Size, ImageError> {
    let Size { width, height } = size;
    if size.pixels() == 0 || factor == 0 {
        return Err(ImageError::Empty { width, height });
    }
    if f64::from(width.max(height)) / f64::from(width.min(height)) > f64::from(ASPECT_LIMIT) {
        return Err(ImageError::AspectRatio { width, height, limit: ASPECT_LIMIT });
    }
    let step = f64::from(factor);
    let sides = [height, width].map(|side| (f64::from(side) * zoom + 0.5).floor().max(1.0));
    let area = sides[0] * sides[1];
    // Python's round: halves to even.
    let rounded = sides.map(|side| (side / step).round_ties_even() * step);
    let result = if rounded[0] * rounded[1] > max_pixels as f64 {
        let beta = (area / max_pixels as f64).sqrt();
        sides.map(|side| ((side / beta / step).floor() * step).max(step))
    } else if rounded[0] * rounded[1] < min_pixels as f64 {
        let beta = (min_pixels as f64 / area).sqrt();
        sides.map(|side| (side * beta / step).ceil() * step)
    } else {
        // With a minimum of zero the reference lets a side vanish.
        rounded.map(|side| side.max(step))
    };
    if result.iter().any(|&side| side > f64::from(u32::MAX)) {
        return Err(ImageError::TooLarge { width, height, limit: max_pixels });
    }
    Ok(Size::new(result[1] as u32, result[0] as u32))
}

/// Patches of a picture by time, height and width, as in the reference's `image_grid_thw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PatchGrid {
    /// Frames over the temporal patch size; 1 for a still picture.
    pub time: u32,
    /// Rows of patches.
    pub height: u32,
    /// Columns of patches.
    pub width: u32,
}

impl PatchGrid {
    /// Number of patches.
    pub fn patches(self) -> usize {
        [self.time, self.height, self.width].iter().map(|&n| n as usize).product()
    }

    /// The grid of tokens after `merge` x `merge` patches became one.
    pub fn merged(self, merge: u32) -> Self {
        let merge = merge.max(1);
        Self { time: self.time, height: self.height / merge, width: self.width / merge }
    }
}

/// What a [`Preprocessor`] says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct QwenImageConfig {
    /// Fewest pixels of the resized picture.
    pub min_pixels: u64,
    /// Most pixels of the resized picture.
    pub max_pixels: u64,
    /// Side of a patch, in pixels.
    pub patch_size: u32,
    /// Frames of a patch; a still picture is repeated.
    pub temporal_patch_size: u32,
    /// Side of the block of patches that becomes one token.
    pub merge_size: u32,
    /// How pictures are resampled; bicubic in every published model.
    pub filter: Filter,
    /// How bytes become numbers.
    pub normalisation: Normalisation,
    /// How much larger than it is a picture is looked at, before `min_pixels` and `max_pixels` limit it; 1 in every published
    /// model. `fovea_zoom` in the file, our own field: the reference can only ask for areas, which would blow up small windows.
    pub zoom: f64,
    /// How what the model looks at is looked at again; `None` in every published model. `fovea_second_look` in the file, our
    /// own field.
    pub second_look: Option<SecondLook>,
    /// Whether to resize at all; without, sides must be multiples of a merged patch already.
    pub do_resize: bool,
}

impl Default for QwenImageConfig {
    /// The defaults of the reference, in force for keys that a file leaves out.
    fn default() -> Self {
        Self {
            min_pixels: 56 * 56,
            max_pixels: 28 * 28 * 1280,
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
            filter: Filter::Bicubic,
            normalisation: Normalisation::of_unit(CLIP_MEAN, CLIP_STD),
            zoom: 1.0,
            second_look: None,
            do_resize: true,
        }
    }
}

/// A second look at a part of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecondLook {
    /// How much larger than it is the part is looked at.
    pub zoom: f64,
    /// Image tokens of the part, across and down.
    pub tokens: [u32; 2],
}

/// A picture made ready for a tower: resized bytes and the patches they hold.
#[derive(Clone, Debug, PartialEq)]
pub struct QwenImage {
    /// The resized picture, `[height, width, 3]` bytes; sides are multiples of `patch_size * merge_size`.
    pub picture: Picture,
    /// Its patches.
    pub grid: PatchGrid,
}

impl QwenImageConfig {
    /// From a checkpoint's description. Pixel limits are `min_pixels` and `max_pixels`, which win as in the reference, or
    /// stand in `size` under these names or as `shortest_edge` and `longest_edge`, which are areas all the same.
    ///
    /// # Errors
    /// [`ImageError::Field`] for a wrong type or an impossible value, [`ImageError::Unknown`].
    pub fn read(read: &Preprocessor) -> Result<Self, ImageError> {
        read.class(&["Qwen2VLImageProcessor", "Qwen2_5_VLImageProcessor"])?;
        let mut config = Self::default();
        let pixels = |value: &Value, name| {
            let positive = value.as_u64().filter(|&it| it > 0);
            positive.ok_or_else(|| read.wrong(name, "a positive integer", value))
        };
        if let Some(size) = read.present("size") {
            let expected = "an object with `min_pixels` and `max_pixels`, or `shortest_edge` and `longest_edge`";
            let fields = size.as_object().ok_or_else(|| read.wrong("size", expected, size))?;
            let limit = |new: &str, old: &str, name| match (present(fields, new), present(fields, old)) {
                (Some(value), None) | (None, Some(value)) => pixels(value, name),
                (Some(one), Some(other)) if one == other => pixels(one, name),
                _ => Err(read.wrong(name, expected, size)),
            };
            config.min_pixels = limit("shortest_edge", "min_pixels", "size")?;
            config.max_pixels = limit("longest_edge", "max_pixels", "size")?;
            let known = ["shortest_edge", "longest_edge", "min_pixels", "max_pixels"];
            if fields.iter().any(|(key, value)| !value.is_null() && !known.contains(&key.as_str())) {
                return Err(read.wrong("size", expected, size));
            }
        }
        if let Some(value) = read.present("min_pixels") {
            config.min_pixels = pixels(value, "min_pixels")?;
        }
        if let Some(value) = read.present("max_pixels") {
            config.max_pixels = pixels(value, "max_pixels")?;
        }
        if config.min_pixels > config.max_pixels {
            return Err(read.wrong("min_pixels", "at most `max_pixels`", &config.min_pixels.into()));
        }
        if config.max_pixels > Picture::PIXEL_LIMIT {
            return Err(read.wrong("max_pixels", "at most 100000000", &config.max_pixels.into()));
        }
        for (name, target) in [
            ("patch_size", &mut config.patch_size),
            ("temporal_patch_size", &mut config.temporal_patch_size),
            ("merge_size", &mut config.merge_size),
        ] {
            if let Some(value) = read.present(name) {
                let small = value.as_u64().filter(|it| (1..=256).contains(it));
                *target = small.ok_or_else(|| read.wrong(name, "an integer from 1 to 256", value))? as u32;
            }
        }
        if let Some(value) = read.present("fovea_zoom") {
            let possible = value.as_f64().filter(|it| (0.25..=4.0).contains(it));
            config.zoom = possible.ok_or_else(|| read.wrong("fovea_zoom", "a number from 0.25 to 4", value))?;
        }
        if let Some(value) = read.present("fovea_second_look") {
            let expected = "{\"zoom\": a number from 0.25 to 4, \"tokens\": two numbers from 1 to 64}";
            let read = second_look(value).ok_or_else(|| read.wrong("fovea_second_look", expected, value))?;
            config.second_look = Some(read);
        }
        config.do_resize = read.flag("do_resize", true)?;
        config.filter = read.filter(config.filter)?;
        config.normalisation = read.normalisation(config.normalisation)?;
        read.finish()?;
        Ok(config)
    }

    /// How the parts of a second look are prepared, and their size in pixels of the picture.
    pub fn closer(&self) -> Option<(Self, Size)> {
        let SecondLook { zoom, tokens: [across, down] } = self.second_look.filter(|_| self.do_resize)?;
        let pixels = |tokens: u32| (f64::from(tokens.saturating_mul(self.factor())) / zoom).round().max(1.0) as u32;
        Some((Self { zoom, ..self.clone() }, Size::new(pixels(across), pixels(down))))
    }

    /// How a resized picture of `size` is cut.
    pub fn cut(&self, size: Size) -> Patchify {
        let Normalisation { scale, mean, std } = self.normalisation;
        Patchify {
            width: size.width as usize,
            height: size.height as usize,
            patch: self.patch_size as usize,
            temporal: self.temporal_patch_size as usize,
            merge: self.merge_size as usize,
            scale,
            mean,
            std,
        }
    }

    /// Side of the square of pixels that becomes one token.
    pub fn factor(&self) -> u32 {
        self.patch_size.saturating_mul(self.merge_size)
    }

    /// The size that a picture of `size` is given.
    ///
    /// # Errors
    /// As [`smart_resize`]; [`ImageError::Unresized`] if resizing is off and a side is no multiple of [`Self::factor`].
    pub fn resized_size(&self, size: Size) -> Result<Size, ImageError> {
        if self.do_resize {
            return zoomed_resize(size, self.zoom, self.factor(), self.min_pixels, self.max_pixels);
        }
        let whole = |side: u32| side != 0 && side.is_multiple_of(self.factor().max(1));
        if !whole(size.width) || !whole(size.height) {
            let Size { width, height } = size;
            return Err(ImageError::Unresized { width, height, step: self.factor() });
        }
        Ok(size)
    }

    /// The patches of a still picture of `size`, without touching pixels.
    ///
    /// # Errors
    /// As [`Self::resized_size`].
    pub fn grid(&self, size: Size) -> Result<PatchGrid, ImageError> {
        Ok(self.grid_of(self.resized_size(size)?))
    }

    fn grid_of(&self, resized: Size) -> PatchGrid {
        let patch = self.patch_size.max(1);
        PatchGrid { time: 1, height: resized.height / patch, width: resized.width / patch }
    }

    /// Resizes a picture for the tower.
    ///
    /// # Errors
    /// As [`Self::resized_size`].
    pub fn prepare(&self, picture: &Picture) -> Result<QwenImage, ImageError> {
        let picture = self.resize(picture)?;
        let grid = self.grid_of(picture.size());
        Ok(QwenImage { picture, grid })
    }

    pub(super) fn resize(&self, picture: &Picture) -> Result<Picture, ImageError> {
        picture.resized_by(self.resized_size(picture.size())?, self.filter)
    }

    /// `[patches, 3 * temporal_patch_size * patch_size * patch_size]` of a prepared picture.
    ///
    /// Patches go by merge blocks, row by row, and row by row inside a block; a patch by channel, frame, row, column.
    /// The arithmetic is the reference's: rescaling in f64, rounded to f32, then normalising in f32.
    pub fn pixel_values(&self, image: &QwenImage) -> Vec<f32> {
        let (patch, merge) = (self.patch_size as usize, self.merge_size.max(1) as usize);
        let (rows, columns) = (image.grid.height as usize, image.grid.width as usize);
        let width = image.picture.size().width as usize;
        let (pixels, _) = image.picture.rgb().as_chunks::<3>();

        let mut values = Vec::with_capacity(pixels.len() * 3 * self.temporal_patch_size as usize);
        for patch_index in 0..rows / merge * (columns / merge) * merge * merge {
            let (block, inside) = (patch_index / (merge * merge), patch_index % (merge * merge));
            let row = block / (columns / merge) * merge + inside / merge;
            let column = block % (columns / merge) * merge + inside % merge;
            for channel in 0..3 {
                for _frame in 0..self.temporal_patch_size {
                    for y in row * patch..(row + 1) * patch {
                        let line = pixels.iter().skip(y * width + column * patch).take(patch);
                        values.extend(line.map(|pixel| self.normalisation.value(channel, pixel[channel])));
                    }
                }
            }
        }
        values
    }
}

fn second_look(value: &Value) -> Option<SecondLook> {
    let zoom = value.get("zoom")?.as_f64().filter(|it| (0.25..=4.0).contains(it))?;
    let side = |it: &Value| it.as_u64().and_then(|it| u32::try_from(it).ok()).filter(|it| (1..=64).contains(it));
    let [across, down] = value.get("tokens")?.as_array()?.as_slice() else { return None };
    Some(SecondLook { zoom, tokens: [side(across)?, side(down)?] })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::testing::{assert_pixels, tensor};
    use fovea_engine::testing::golden::{self, json};

    fn read(json: &[u8]) -> Result<QwenImageConfig, ImageError> {
        QwenImageConfig::read(&Preprocessor::from_json(json)?)
    }

    #[test]
    fn equals_the_reference() {
        let mut tensors = 0;
        for model in ["qwen2_vl", "qwen2_5_vl"] {
            let config = read(&golden::bytes(&format!("{model}/preprocessor_config.json"))).unwrap();
            for case in 0..3 {
                let folder = format!("{model}/cases/{case}");
                let expected = json(&format!("{folder}/expected.json"));
                let mut values = Vec::new();
                for (index, file) in expected["images"].as_array().unwrap().iter().enumerate() {
                    let file = format!("{folder}/{}", file["file"].as_str().unwrap());
                    let image = config.prepare(&Picture::decode(&golden::bytes(&file)).unwrap()).unwrap();
                    let PatchGrid { time, height, width } = image.grid;
                    assert_eq!(serde_json::json!([time, height, width]), expected["image_grid_thw"][index], "{file}");
                    values.extend(config.pixel_values(&image));
                }
                if let Some(expected) = tensor(&folder, "pixel_values") {
                    assert_pixels(&values, &expected, &folder);
                    tensors += 1;
                }
            }
        }
        assert_eq!(tensors, 2);
    }

    /// Sizes worked out with the reference's function in Python.
    #[test]
    fn smart_resize_equals_python() {
        let cases = [
            ((1280, 800), (3136, 12845056), (1288, 812)),
            ((1920, 1080), (3136, 1003520), (1316, 728)),
            ((42, 70), (3136, 1003520), (56, 56)),
            ((98, 126), (1, 10000000), (112, 112)),
            ((14, 14), (1, 10000000), (28, 28)),
            ((13, 700), (3136, 1003520), (28, 420)),
            ((2000, 10), (3136, 1003520), (812, 28)),
            ((3840, 2160), (200704, 1003520), (1316, 728)),
            ((1, 1), (3136, 94080), (56, 56)),
            ((28, 5600), (3136, 94080), (28, 4312)),
            ((8000, 6000), (3136, 12845056), (4116, 3080)),
            ((2571, 1066), (1048576, 2007040), (2184, 896)),
            ((2848, 2690), (1048576, 1048577), (1036, 980)),
            ((1927, 1040), (1048576, 1048577), (1372, 728)),
            ((662, 483), (200704, 2007040), (672, 476)),
            ((1029, 1579), (1048576, 1048577), (812, 1260)),
            ((2370, 1041), (3136, 12845056), (2380, 1036)),
            ((907, 1691), (200704, 1048577), (728, 1372)),
            ((1615, 673), (3136, 1048577), (1568, 644)),
            ((2551, 2549), (200704, 1048577), (1008, 1008)),
            ((561, 27), (3136, 1048577), (560, 28)),
            ((902, 699), (3136, 2007040), (896, 700)),
            ((1304, 834), (1048576, 12845056), (1316, 840)),
            ((2582, 858), (3136, 12845056), (2576, 868)),
            ((826, 1589), (200704, 1048577), (728, 1400)),
            ((1499, 1719), (3136, 1048577), (952, 1092)),
            ((1100, 286), (200704, 2007040), (1092, 280)),
            ((2490, 2420), (3136, 12845056), (2492, 2408)),
            ((2796, 2918), (200704, 1048577), (980, 1036)),
            ((1289, 1475), (200704, 2007040), (1288, 1484)),
            ((2872, 1313), (3136, 2007040), (2072, 952)),
        ];
        for ((width, height), (min_pixels, max_pixels), expected) in cases {
            let resized = smart_resize(Size::new(width, height), 28, min_pixels, max_pixels).unwrap();
            assert_eq!((resized.width, resized.height), expected, "{width}x{height} {min_pixels} {max_pixels}");
        }
    }

    #[test]
    fn refuses_slivers_and_nothing() {
        let error = smart_resize(Size::new(2010, 10), 28, 3136, 1 << 20).unwrap_err();
        assert_eq!(error, ImageError::AspectRatio { width: 2010, height: 10, limit: 200 });
        assert!(smart_resize(Size::new(2000, 10), 28, 3136, 1 << 20).is_ok());
        assert!(matches!(smart_resize(Size::new(0, 5), 28, 1, 9), Err(ImageError::Empty { .. })));
        assert!(matches!(smart_resize(Size::new(5, 5), 0, 1, 9), Err(ImageError::Empty { .. })));
        let size = smart_resize(Size::new(5, 100), 28, 0, 1 << 20).unwrap();
        assert_eq!(size, Size::new(28, 112));
    }

    #[test]
    fn reads_both_ways_of_giving_limits() {
        let config = read(br#"{"size": {"shortest_edge": 12544, "longest_edge": 99999}}"#).unwrap();
        assert_eq!((config.min_pixels, config.max_pixels), (12_544, 99_999));
        let config =
            read(br#"{"size": {"shortest_edge": 1, "longest_edge": 2}, "max_pixels": 9, "min_pixels": null}"#).unwrap();
        assert_eq!((config.min_pixels, config.max_pixels), (1, 9));
        let config = read(br#"{"size": {"min_pixels": 3, "max_pixels": 4}}"#).unwrap();
        assert_eq!((config.min_pixels, config.max_pixels), (3, 4));
        assert_eq!(read(b"{}").unwrap(), QwenImageConfig::default());
    }

    #[test]
    fn a_second_look_is_larger() {
        let json = br#"{"fovea_zoom": 1.125, "fovea_second_look": {"zoom": 1.5, "tokens": [20, 6]}}"#;
        let config = read(json).unwrap();
        let (closer, part) = config.closer().unwrap();
        assert_eq!(part, Size::new(373, 112));
        assert_eq!(closer.resized_size(part).unwrap(), Size::new(20 * 28, 6 * 28));
        assert_eq!(QwenImageConfig::default().closer(), None);
        assert_eq!(QwenImageConfig { do_resize: false, ..config }.closer(), None);
    }

    #[test]
    fn looks_at_a_picture_larger_than_it_is() {
        let config = read(br#"{"fovea_zoom": 1.125, "max_pixels": 1646400}"#).unwrap();
        // 1440 x 900, to the nearest multiples of 28; then more than the limit allows, whatever the zoom.
        assert_eq!(config.resized_size(Size::new(1280, 800)).unwrap(), Size::new(1428, 896));
        let plain = QwenImageConfig { zoom: 1.0, ..config.clone() };
        let large = Size::new(2560, 1600);
        assert_eq!(config.resized_size(large).unwrap(), plain.resized_size(large).unwrap());
        // An error tells the picture's own size.
        let error = config.resized_size(Size::new(4000, 10)).unwrap_err();
        assert!(matches!(error, ImageError::AspectRatio { width: 4000, height: 10, .. }), "{error}");
        assert!(config.resized_size(Size::new(u32::MAX, u32::MAX)).is_ok());
        // Nothing vanishes, however much smaller it is thought.
        let small = QwenImageConfig { zoom: 0.25, ..config };
        assert_eq!(small.resized_size(Size::new(1, 1)).unwrap(), Size::new(56, 56));
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        for (json, name) in [
            (r#"{"min_pixels": "many"}"#, "min_pixels"),
            (r#"{"max_pixels": -1}"#, "max_pixels"),
            (r#"{"max_pixels": 1e12}"#, "max_pixels"),
            (r#"{"max_pixels": 1000000000000}"#, "max_pixels"),
            (r#"{"min_pixels": 9, "max_pixels": 8}"#, "min_pixels"),
            (r#"{"size": 3}"#, "size"),
            (r#"{"size": {"shortest_edge": 1}}"#, "size"),
            (r#"{"size": {"shortest_edge": [1], "longest_edge": 1}}"#, "size"),
            (r#"{"size": {"min_pixels": 1, "shortest_edge": 2, "longest_edge": 3}}"#, "size"),
            (r#"{"size": {"min_pixels": 1, "max_pixels": 2, "height": 3}}"#, "size"),
            (r#"{"image_processor_type": "CLIPImageProcessor"}"#, "image_processor_type"),
            (r#"{"patch_size": 0}"#, "patch_size"),
            (r#"{"merge_size": 4294967296}"#, "merge_size"),
            (r#"{"temporal_patch_size": 1.5}"#, "temporal_patch_size"),
            (r#"{"image_mean": [0.5, 0.5]}"#, "image_mean"),
            (r#"{"image_mean": [1e300, 0.5, 0.5]}"#, "image_mean"),
            (r#"{"image_std": [0, 1, 1]}"#, "image_std"),
            (r#"{"do_resize": "no"}"#, "do_resize"),
            (r#"{"rescale_factor": 0}"#, "rescale_factor"),
            (r#"{"resample": 0}"#, "resample"),
            (r#"{"fovea_zoom": 0}"#, "fovea_zoom"),
            (r#"{"fovea_zoom": 1e300}"#, "fovea_zoom"),
            (r#"{"fovea_second_look": 2}"#, "fovea_second_look"),
            (r#"{"fovea_second_look": {"zoom": 0, "tokens": [2, 2]}}"#, "fovea_second_look"),
            (r#"{"fovea_second_look": {"zoom": 2, "tokens": [2, 0]}}"#, "fovea_second_look"),
            (r#"{"fovea_second_look": {"zoom": 2, "tokens": [2, 4294967297]}}"#, "fovea_second_look"),
            (r#"{"fovea_second_look": {"zoom": 2, "tokens": [2, 2, 2]}}"#, "fovea_second_look"),
        ] {
            let error = read(json.as_bytes()).unwrap_err();
            assert!(matches!(error, ImageError::Field { field, .. } if field == name), "{json}: {error}");
        }
        let error = read(b"[]").unwrap_err();
        assert!(error.to_string().starts_with("preprocessor_config.json: "), "{error}");
    }

    #[test]
    fn without_resizing_sides_must_fit() {
        let config = QwenImageConfig { do_resize: false, ..QwenImageConfig::default() };
        assert_eq!(config.grid(Size::new(56, 28)).unwrap(), PatchGrid { time: 1, height: 2, width: 4 });
        assert!(config.grid(Size::new(57, 28)).is_err());
        assert!(config.grid(Size::new(0, 28)).is_err());
    }

    proptest! {
        /// Sides are multiples of the factor, never zero, and the area is below the limit where the sides allow.
        #[test]
        fn smart_resize_keeps_its_word(
            width in 1u32..9000, height in 1u32..9000, min in 0u64..200_000, more in 0u64..2_000_000,
        ) {
            let max = min + more + 28 * 28;
            if let Ok(size) = smart_resize(Size::new(width, height), 28, min, max) {
                prop_assert!(size.width % 28 == 0 && size.height % 28 == 0 && size.pixels() > 0);
                prop_assert!(size.pixels() >= min.min(max / 4) || size.pixels() >= 28 * 28);
            }
        }

        /// Any bytes are a configuration or an error.
        #[test]
        fn any_json_is_handled(text in "\\PC{0,60}") {
            let _ = read(text.as_bytes());
        }
    }
}
