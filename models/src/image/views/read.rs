//! Rules from a checkpoint's [`Preprocessor`], each by its reference's keys. What the reference can do and the rule
//! cannot is refused by the key's name.

use serde_json::Value;

use super::{Filter, ImageError, Normalisation, Size, ViewRule, ViewsConfig};
use crate::image::{CLIP_MEAN, CLIP_STD, Preprocessor, preprocessor::Resize};

const CLIP: Normalisation = Normalisation::of_unit(CLIP_MEAN, CLIP_STD);

/// To -1 to 1.
const HALF: Normalisation = Normalisation::of_unit([0.5; 3], [0.5; 3]);

/// Most tiles that a file may ask for.
const TILES: u32 = 64;

impl ViewsConfig {
    /// `read` has answered all that the rule asks; what is left over is refused here.
    fn new(
        read: &Preprocessor,
        rule: ViewRule,
        patch: u32,
        filter: Filter,
        normalisation: Normalisation,
    ) -> Result<Self, ImageError> {
        read.only("do_resize", true)?;
        let (filter, normalisation) = (read.filter(filter)?, read.normalisation(normalisation)?);
        read.finish()?;
        Ok(Self { rule, filter, normalisation, patch: patch.max(1) })
    }

    /// LLaVA's and Kosmos-2's, for patches of side `patch`, as all of these.
    ///
    /// # Errors
    /// [`ImageError`] that names the field, as all of these.
    pub fn middle(read: &Preprocessor, patch: u32) -> Result<Self, ImageError> {
        let known = ["CLIPImageProcessor", "LlavaImageProcessor", "SiglipImageProcessor", "CLIPFeatureExtractor"];
        if read.class(&known)? == "SiglipImageProcessor" {
            return Self::whole(read, patch);
        }
        let crops = read.flag("do_center_crop", true)?;
        // The mean's, whether or not it is subtracted.
        let colour = read.mean(CLIP_MEAN)?.map(|mean| (f64::from(mean) * 255.0) as u8);
        let pad = read.flag("do_pad", false)?.then_some(colour);
        let square = read.flag("use_square_size", false)?;
        let wrong = |name, expected| read.wrong(name, expected, read.present(name).unwrap_or(&Value::Null));
        let rule = match read.resize("size", "shortest_edge")? {
            _ if square && pad.is_some() => return Err(wrong("do_pad", "false, as `use_square_size` is true")),
            Resize::Edge(side) if square => ViewRule::Whole(Size::new(side, side)),
            Resize::Exact(size) if pad.is_none() => ViewRule::Whole(size),
            Resize::Exact(size) if size.width != size.height => {
                return Err(wrong("size", "a square, as `do_pad` is true"));
            }
            Resize::Edge(shortest) | Resize::Exact(Size { width: shortest, .. }) => {
                let crop = match crops {
                    true => read.size("crop_size")?,
                    // A square is whole as it is.
                    false if pad.is_some() => Size::new(shortest, shortest),
                    false => return Err(wrong("do_center_crop", "true where `size` is the shorter side's")),
                };
                ViewRule::Middle { pad, shortest, crop }
            }
        };
        if let ViewRule::Whole(size) = rule
            && crops
            && read.present("crop_size").is_some()
            && read.size("crop_size")? != size
        {
            return Err(wrong("crop_size", "as `size`"));
        }
        Self::new(read, rule, patch, Filter::Bicubic, CLIP)
    }

    /// PaliGemma's.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn whole(read: &Preprocessor, patch: u32) -> Result<Self, ImageError> {
        read.class(&["SiglipImageProcessor"])?;
        Self::new(read, ViewRule::Whole(read.size("size")?), patch, Filter::Bicubic, HALF)
    }

    /// Pixtral's.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn native(read: &Preprocessor, patch: u32) -> Result<Self, ImageError> {
        read.class(&["PixtralImageProcessor"])?;
        let longest = read.edge("size", "longest_edge")?;
        if let Some(value) = read.present("patch_size")
            && read.size("patch_size")? != Size::new(patch, patch)
        {
            return Err(read.wrong("patch_size", "that of config.json's `vision_config`", value));
        }
        Self::new(read, ViewRule::Native { longest }, patch, Filter::Bicubic, CLIP)
    }

    /// LLaVA-NeXT's.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn anyres(read: &Preprocessor, patch: u32) -> Result<Self, ImageError> {
        const NAME: &str = "image_grid_pinpoints";
        read.class(&["LlavaNextImageProcessor"])?;
        read.only("do_pad", true)?;
        let crop = read.size("crop_size")?;
        let tile = crop.height;
        let wrong = |value: &Value| read.wrong(NAME, "a list of [height, width], multiples of the crop's side", value);
        // Views are of this size before the crop, which therefore takes nothing away, whether it is done or not.
        read.flag("do_center_crop", true)?;
        let whole = match read.present("size") {
            Some(_) => read.resize("size", "shortest_edge")?,
            None => Resize::Exact(crop),
        };
        if whole != Resize::Edge(tile) && whole != Resize::Exact(Size::new(tile, tile)) || crop.width != tile {
            let size = read.present("size").unwrap_or(&Value::Null);
            return Err(read.wrong("size", "a square of the side of `crop_size`", size));
        }
        if let Some(value) = read.present("aspect_ratio_setting")
            && value.as_str() != Some("anyres")
        {
            return Err(read.wrong("aspect_ratio_setting", "\"anyres\"", value));
        }
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
        Self::new(read, ViewRule::Anyres { canvases, tile }, patch, Filter::Bicubic, CLIP)
    }

    /// InternVL's. Whether to cut tiles (`crop_to_patches`) is the caller's choice in the reference, whose processor
    /// chooses to.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn grid(read: &Preprocessor, patch: u32) -> Result<Self, ImageError> {
        read.class(&["GotOcr2ImageProcessor"])?;
        read.flag("crop_to_patches", true)?;
        let least = read.number("min_patches", TILES, 1)?;
        let most = read.number("max_patches", TILES, 12)?;
        if least > most {
            return Err(read.wrong("min_patches", "at most `max_patches`", &least.into()));
        }
        Self::new(read, ViewRule::Grid { tile: read.size("size")?, least, most }, patch, Filter::Bicubic, CLIP)
    }

    /// Idefics3's and SmolVLM's.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn split(read: &Preprocessor, patch: u32) -> Result<Self, ImageError> {
        read.class(&["Idefics3ImageProcessor", "SmolVLMImageProcessor"])?;
        read.only("do_pad", true)?;
        read.flag("return_row_col_info", true)?;
        let longest = read.edge("size", "longest_edge")?;
        let tile = read.edge("max_image_size", "longest_edge")?;
        let rule = match read.flag("do_image_splitting", true)? {
            true if longest.div_ceil(tile) > 16 => {
                return Err(read.wrong("max_image_size", "at least a sixteenth of `size`", &tile.into()));
            }
            true => ViewRule::Split { longest, tile },
            false => ViewRule::Whole(Size::new(tile, tile)),
        };
        Self::new(read, rule, patch, Filter::Lanczos, HALF)
    }

    /// Llama 3.2 Vision's.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn canvas(read: &Preprocessor, patch: u32) -> Result<Self, ImageError> {
        read.class(&["MllamaImageProcessor"])?;
        read.only("do_pad", true)?;
        let (size, most) = (read.size("size")?, read.number("max_image_tiles", TILES, 4)?);
        if size.width != size.height {
            return Err(read.wrong("size", "a square", read.present("size").unwrap_or(&Value::Null)));
        }
        Self::new(read, ViewRule::Canvas { tile: size.height, most }, patch, Filter::Bilinear, CLIP)
    }
}
