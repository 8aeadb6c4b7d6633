//! Preparation of the Cog family: the whole picture pressed into a square.

use super::{CLIP_MEAN, CLIP_STD, ImageError, Normalisation, Picture, Size};

/// Resizes to a square without keeping the aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Squash {
    side: u32,
}

impl Squash {
    /// To `side` x `side` pixels, normalised as CLIP.
    pub const fn to(side: u32) -> Self {
        Self { side }
    }

    /// The side of the square, in pixels.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// CLIP's.
    pub fn normalisation(&self) -> Normalisation {
        Normalisation::of_unit(CLIP_MEAN, CLIP_STD)
    }

    /// The square picture, `[side, side, 3]` bytes.
    ///
    /// # Errors
    /// [`ImageError::Empty`] or [`ImageError::TooLarge`] for an impossible side.
    pub fn prepare(&self, picture: &Picture) -> Result<Picture, ImageError> {
        picture.resized(Size::new(self.side, self.side))
    }

    /// `[3, height, width]`, normalised, of a prepared picture, in the reference's (torchvision's) arithmetic.
    pub fn pixel_values(&self, resized: &Picture) -> Vec<f32> {
        let (pixels, _) = resized.rgb().as_chunks::<3>();
        let Normalisation { mean, std, .. } = self.normalisation();
        let channels = mean.into_iter().zip(std).enumerate();
        channels
            .flat_map(|(channel, (mean, std))| {
                pixels.iter().map(move |pixel| {
                    let value = pixel.get(channel).copied().unwrap_or_default();
                    (f32::from(value) / 255.0 - mean) / std
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::{assert_pixels, tensor};
    use fovea_engine::testing::golden::{self, json};

    /// Cases with stored pixels, and the sides their configurations ask for.
    #[test]
    fn equals_the_reference() {
        let mut checked = 0;
        for (model, key) in [
            ("cogvlm2", "pixel_values"),
            ("cogvlm_17b", "pixel_values"),
            ("cogagent_9b", "pixel_values"),
            ("glm_4v_9b", "pixel_values"),
            ("cogagent_18b", "pixel_values"),
            ("cogagent_18b", "cross_pixel_values"),
        ] {
            let config = json(&format!("{model}/config.json"));
            let side = match key {
                "pixel_values" => &config["vision_config"]["image_size"],
                _ => &config["cross_image_size"],
            };
            let squash = Squash::to(u32::try_from(side.as_u64().unwrap()).unwrap());
            for case in 0..3 {
                let Some(expected) = tensor(&format!("{model}/cases/{case}"), key) else {
                    continue;
                };
                let picture = Picture::decode(&golden::bytes(&format!("{model}/cases/{case}/image.png"))).unwrap();
                let resized = squash.prepare(&picture).unwrap();
                assert_pixels(&squash.pixel_values(&resized), &expected, &format!("{model}/{case}/{key}"));
                checked += 1;
            }
        }
        assert!(checked >= 6, "only {checked} tensors found");
    }
}
