//! A second look: the places that the first one fell on are looked at again, larger, as an eye turns to what it has noticed.

use std::sync::Arc;

use super::{EncodedImage, GenerateOptions, OnStage, Prepared, Session};
use crate::{
    error::RunError,
    grounding::{Area, PixelBox, PixelPoint, alike, read_answer},
    image::Size,
};

/// So many places are looked at again until one is what is meant.
const LOOKS: usize = 2;

/// A part of a picture that was looked at again.
pub struct Closer {
    /// The part, encoded.
    pub(super) image: Arc<EncodedImage>,
    /// Its upper left corner on the picture, in pixels.
    pub(super) corner: (u32, u32),
    /// What the first look alone would have answered, in pixels of the picture.
    pub(super) told: Option<PixelPoint>,
    /// Where the first look fell: a number for each image token of the picture, row by row.
    pub looks: Vec<f32>,
}

impl Closer {
    /// The part, in pixels of the picture.
    pub fn part(&self) -> PixelBox {
        let ((left, top), Size { width, height }) = (self.corner, self.image.original);
        let (left, top) = (left as f32, top as f32);
        PixelBox::new(left, top, left + width as f32, top + height as f32)
    }

    /// Where a box of the part is on `whole`, the picture. Its middle lies between what both looks tell, where that is about the
    /// same: each is some pixels off, and seldom in the same direction.
    pub(super) fn on_whole(&self, region: PixelBox, whole: &EncodedImage) -> PixelBox {
        let middle = between(self.told, of_whole(region.centre(), self.corner), whole.token());
        boxed(middle, region, self.image.original, whole.original)
    }
}

/// Where a point of the part with this corner is on the picture.
fn of_whole(point: PixelPoint, corner: (u32, u32)) -> PixelPoint {
    PixelPoint { x: point.x + corner.0 as f32, y: point.y + corner.1 as f32 }
}

/// The middle of two points that lie within an image token of each other, or the second.
fn between(first: Option<PixelPoint>, second: PixelPoint, token: (f32, f32)) -> PixelPoint {
    match first {
        Some(first) if (first.x - second.x).abs() <= token.0 && (first.y - second.y).abs() <= token.1 => {
            PixelPoint { x: 0.5 * (first.x + second.x), y: 0.5 * (first.y + second.y) }
        }
        _ => second,
    }
}

/// A box around `middle` on the picture, for one of a part. The models that look twice write boxes that are always as large a
/// share of what they see: it is made the same share of the whole.
fn boxed(middle: PixelPoint, region: PixelBox, part: Size, whole: Size) -> PixelBox {
    // What would lie beyond an edge is taken from both sides, so that the middle stays.
    let half = |middle: f32, extent: f32, part: u32, whole: u32| {
        let whole = whole as f32;
        (0.5 * extent * whole / part.max(1) as f32).min(middle).min(whole - middle).max(0.0)
    };
    let PixelPoint { x, y } = middle;
    let half_width = half(x, region.width(), part.width, whole.width);
    let half_height = half(y, region.height(), part.height, whole.height);
    PixelBox::new(x - half_width, y - half_height, x + half_width, y + half_height)
}

/// Upper left corner and size of the part around `middle` that is `part` large, or all that there is.
fn around(middle: PixelPoint, part: Size, whole: Size) -> ((u32, u32), Size) {
    let side = |middle: f32, part: u32, whole: u32| {
        let part = part.clamp(1, whole.max(1));
        let start = (middle - part as f32 / 2.0).round().max(0.0) as u32;
        (start.min(whole.saturating_sub(part)), part)
    };
    let (left, width) = side(middle.x, part.width, whole.width);
    let (top, height) = side(middle.y, part.height, whole.height);
    ((left, top), Size::new(width, height))
}

impl Session {
    /// Looks again at the places that `prompt` looks at, the instruction about a picture or about an area of it, and returns
    /// the prompt about the first part that has what is meant; if none has, about the first. `prompt` itself if the system
    /// does not look twice, or looks nowhere.
    ///
    /// # Errors
    /// As [`Session::encode`] and [`Session::generate_within`].
    pub(super) async fn closer(
        &mut self,
        instruction: &str,
        prompt: Prepared,
        area: Option<&Area>,
        image: &EncodedImage,
        on_stage: OnStage<'_>,
    ) -> Result<(Prepared, Option<Closer>), RunError> {
        let blueprint = self.system.blueprint();
        let (Some((config, size)), Some(picture)) = (blueprint.image.closer(), image.picture.clone()) else {
            return Ok((prompt, None));
        };
        let looks = self.look_heard(&prompt, image, on_stage).await?;
        let told = self.find(instruction, &prompt, image, None, on_stage).await?.map(|target| target.region.centre());
        let mut first = None;
        for at in alike(&looks, image.grid.width as usize).into_iter().take(LOOKS) {
            let (corner, size) = around(image.middle(at), size, image.original);
            let part = picture.placed(size, -i64::from(corner.0), -i64::from(corner.1), [0; 3])?;
            let part = Arc::new(self.encode_by(&config, &part, &|_| ()).await?);
            let prompt = Prepared { part: true, ..self.where_is(instruction, &part)? };
            let prompt = match area {
                Some(area) => prompt.within(&part, |middle| area.contains(of_whole(middle, corner))),
                None => Some(prompt),
            };
            let Some(prompt) = prompt else { continue };
            let seen = self.sees(instruction, &prompt, &part).await?;
            let look = (prompt, Closer { image: part, corner, told, looks: Vec::new() });
            if seen {
                first = Some(look);
                break;
            }
            first = first.or(Some(look));
        }
        Ok(match first {
            Some((prompt, closer)) => (prompt, Some(Closer { looks, ..closer })),
            None => (prompt, None),
        })
    }

    /// Whether an answer begins otherwise than with the words that all is done, or that nothing like it is there.
    async fn sees(&mut self, instruction: &str, prompt: &Prepared, image: &EncodedImage) -> Result<bool, RunError> {
        let mut matcher = self.system.constrain(&self.system.grounding(instruction))?;
        let options = GenerateOptions { max_tokens: 1, ..GenerateOptions::default() };
        let answer = self.generate_within(prompt, &mut matcher, &options, &|_| (), &mut |_| true).await?;
        let text = self.system.decode_answer(&answer.ids)?;
        let begun = read_answer(self.system.blueprint().grammar, &text, image.original, image.resized);
        Ok(!matches!(begun, Ok(action) if !action.is_found()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Size = Size::new(1280, 800);
    const PART: Size = Size::new(240, 80);

    #[test]
    fn a_part_lies_within_the_picture() {
        let at = |x, y| around(PixelPoint { x, y }, PART, WHOLE);
        assert_eq!(at(600.0, 400.0), ((480, 360), PART));
        assert_eq!(at(3.0, 799.0), ((0, 720), PART));
        assert_eq!(at(1e9, -5.0), ((1040, 0), PART));
        assert_eq!(around(PixelPoint { x: 50.0, y: 20.0 }, PART, Size::new(100, 60)), ((0, 0), Size::new(100, 60)));
        assert_eq!(around(PixelPoint { x: f32::NAN, y: 0.0 }, PART, Size::new(0, 1)).1, Size::new(1, 1));
    }

    #[test]
    fn a_box_of_a_part_has_its_place_on_the_picture() {
        let region = PixelBox::new(117.0, 39.0, 123.0, 41.0);
        let at = |x, y| PixelPoint { x, y };
        assert_eq!(boxed(at(600.0, 400.0), region, PART, WHOLE), PixelBox::new(584.0, 390.0, 616.0, 410.0));
        // Near an edge it is smaller, around the same middle.
        assert_eq!(boxed(at(4.0, 760.0), region, PART, WHOLE), PixelBox::new(0.0, 750.0, 8.0, 770.0));
        assert_eq!(boxed(at(0.0, 0.0), region, Size::new(0, 0), Size::new(0, 0)).width(), 0.0);
    }

    #[test]
    fn what_both_looks_tell_is_between_them() {
        let at = |x, y| PixelPoint { x, y };
        let token = (25.0, 24.0);
        assert_eq!(between(Some(at(600.0, 400.0)), at(610.0, 396.0), token), at(605.0, 398.0));
        assert_eq!(between(Some(at(600.0, 400.0)), at(626.0, 400.0), token), at(626.0, 400.0));
        assert_eq!(between(Some(at(600.0, 400.0)), at(600.0, 375.0), token), at(600.0, 375.0));
        assert_eq!(between(None, at(626.0, 400.0), token), at(626.0, 400.0));
    }
}
