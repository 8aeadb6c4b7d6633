//! Rules from `preprocessor_config.json`, each by its reference's keys.

use serde_json::Value;

use super::{Filter, ImageError, Normalisation, Size, ViewRule, ViewsConfig};
use crate::image::{CLIP_MEAN, CLIP_STD, Preprocessor, preprocessor::field};

const CLIP: Normalisation = Normalisation { mean: CLIP_MEAN, std: CLIP_STD };

/// To -1 to 1.
const HALF: Normalisation = Normalisation { mean: [0.5; 3], std: [0.5; 3] };

/// Most tiles that a file may ask for.
const TILES: u32 = 64;

impl ViewsConfig {
    fn new(
        read: &Preprocessor,
        rule: ViewRule,
        patch: u32,
        filter: Filter,
        normalisation: Normalisation,
    ) -> Result<Self, ImageError> {
        let (filter, normalisation) = (read.filter(filter)?, read.normalisation(normalisation)?);
        Ok(Self { rule, filter, normalisation, patch: patch.max(1) })
    }

    /// LLaVA's, for patches of side `patch`, as all of these.
    ///
    /// # Errors
    /// [`ImageError`] that names the field, as all of these.
    pub fn middle(json: &[u8], patch: u32) -> Result<Self, ImageError> {
        let read = Preprocessor::from_json(json)?;
        let shortest = read.edge("size", &["shortest_edge", "height"])?;
        let crop = match read.flag("do_center_crop", true)? {
            true => read.size("crop_size")?,
            false => Size::new(shortest, shortest),
        };
        let rule = ViewRule::Middle { pad: read.flag("do_pad", false)?, shortest, crop };
        Self::new(&read, rule, patch, Filter::Bicubic, CLIP)
    }

    /// PaliGemma's.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn whole(json: &[u8], patch: u32) -> Result<Self, ImageError> {
        let read = Preprocessor::from_json(json)?;
        Self::new(&read, ViewRule::Whole(read.size("size")?), patch, Filter::Bicubic, HALF)
    }

    /// Pixtral's.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn native(json: &[u8], patch: u32) -> Result<Self, ImageError> {
        let read = Preprocessor::from_json(json)?;
        let longest = read.edge("size", &["longest_edge"])?;
        Self::new(&read, ViewRule::Native { longest }, patch, Filter::Bicubic, CLIP)
    }

    /// LLaVA-NeXT's.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn anyres(json: &[u8], patch: u32) -> Result<Self, ImageError> {
        const NAME: &str = "image_grid_pinpoints";
        let read = Preprocessor::from_json(json)?;
        let tile = read.size("crop_size")?.height;
        let wrong = |value: &Value| field(NAME, "a list of [height, width], multiples of the crop's side", value);
        let listed = read.present(NAME).ok_or_else(|| wrong(&Value::Null))?;
        let canvas = |pair: &Value| {
            let side = |index: usize| {
                let side = pair.get(index)?.as_u64().and_then(|it| u32::try_from(it).ok())?;
                (1..=TILES * tile).contains(&side).then_some(side).filter(|side| side.is_multiple_of(tile))
            };
            Some(Size::new(side(1)?, side(0)?))
        };
        let canvases: Option<Vec<Size>> = listed.as_array().and_then(|list| list.iter().map(canvas).collect());
        let canvases = canvases.filter(|list| !list.is_empty()).ok_or_else(|| wrong(listed))?;
        if canvases.iter().any(|canvas| canvas.pixels() > u64::from(TILES) * u64::from(tile).pow(2)) {
            return Err(wrong(listed));
        }
        Self::new(&read, ViewRule::Anyres { canvases, tile }, patch, Filter::Bicubic, CLIP)
    }

    /// InternVL's. Whether to cut tiles is the caller's choice in the reference, whose processor chooses to.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn grid(json: &[u8], patch: u32) -> Result<Self, ImageError> {
        let read = Preprocessor::from_json(json)?;
        let least = read.number("min_patches", TILES, 1)?;
        let most = read.number("max_patches", TILES, 12)?;
        if least > most {
            return Err(field("min_patches", "at most `max_patches`", &least.into()));
        }
        Self::new(&read, ViewRule::Grid { tile: read.size("size")?, least, most }, patch, Filter::Bicubic, CLIP)
    }

    /// Idefics3's.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn split(json: &[u8], patch: u32) -> Result<Self, ImageError> {
        let read = Preprocessor::from_json(json)?;
        let longest = read.edge("size", &["longest_edge"])?;
        let tile = read.edge("max_image_size", &["longest_edge"])?;
        let rule = match read.flag("do_image_splitting", true)? {
            true if longest.div_ceil(tile) > 16 => {
                return Err(field("max_image_size", "at least a sixteenth of `size`", &tile.into()));
            }
            true => ViewRule::Split { longest, tile },
            false => ViewRule::Whole(Size::new(tile, tile)),
        };
        Self::new(&read, rule, patch, Filter::Lanczos, HALF)
    }

    /// Llama 3.2 Vision's.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn canvas(json: &[u8], patch: u32) -> Result<Self, ImageError> {
        let read = Preprocessor::from_json(json)?;
        let (size, most) = (read.size("size")?, read.number("max_image_tiles", TILES, 4)?);
        if size.width != size.height {
            return Err(field("size", "a square", read.present("size").unwrap_or(&Value::Null)));
        }
        Self::new(&read, ViewRule::Canvas { tile: size.height, most }, patch, Filter::Bilinear, CLIP)
    }
}
