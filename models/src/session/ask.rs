//! From an instruction to the prompt that asks where it is carried out.

use std::sync::Arc;

use super::{EncodedImage, GenerateOptions, OnStage, Prepared, Row, Session};
use crate::{
    checkpoint::RunError,
    grounding::{Area, PixelPoint, Place, Relation, question, read_answer},
};

/// What is asked.
pub struct Asked {
    /// The prompt.
    pub prompt: Prepared,
    /// The instruction as it stands in it, which may be a part of what was said.
    pub instruction: String,
    /// Whether the prompt has a part of the picture only.
    pub part: bool,
}

impl EncodedImage {
    /// Width and height of an image token in pixels of the picture that was handed over.
    fn token(&self) -> (f32, f32) {
        let share = |side: u32, tokens: u32| side as f32 / tokens.max(1) as f32;
        (share(self.original.width, self.grid.width), share(self.original.height, self.grid.height))
    }
}

impl Prepared {
    /// Without the tokens of a picture whose middles lie outside of `area`; the others stay at their positions. `None` if
    /// none is left, or if rows are more than the text's and the picture's.
    fn within(&self, image: &EncodedImage, area: Area) -> Option<Self> {
        if !self.visual.is_empty() || !self.glimpses.is_empty() {
            return None;
        }
        let (width, height) = image.token();
        let middle = |index: usize| PixelPoint {
            x: (index % image.grid.width as usize) as f32 * width + 0.5 * width,
            y: (index / image.grid.width as usize) as f32 * height + 0.5 * height,
        };
        let inside = |row: &Row| row.token_of(image).map(|index| area.contains(middle(index)));
        if !self.rows.iter().any(|row| inside(row) == Some(true)) {
            return None;
        }
        let kept: Vec<usize> = (0..self.rows.len()).filter(|&at| inside(&self.rows[at]) != Some(false)).collect();
        let mut part = self.clone();
        part.ids = kept.iter().map(|&at| self.ids[at]).collect();
        part.rows = kept.iter().map(|&at| self.rows[at]).collect();
        for (axis, whole) in part.positions.axes.iter_mut().zip(&self.positions.axes) {
            *axis = kept.iter().map(|&at| whole[at]).collect();
        }
        Some(part)
    }
}

impl Session {
    /// Asks where on a picture `instruction` is carried out. A system that finds names alone
    /// ([`crate::Blueprint::relations`]) is asked for what is named, in the part of the picture that the rest of the
    /// instruction tells ([`Relation`]): what something is said to be beside is looked for first. Where that is not
    /// found, the whole instruction may be a name and is asked for as it stands.
    ///
    /// # Errors
    /// As [`Session::prepare`] and [`Session::generate_within`].
    pub async fn ask(
        &mut self,
        instruction: &str,
        image: &Arc<EncodedImage>,
        on_stage: OnStage<'_>,
    ) -> Result<Asked, RunError> {
        let relation = if self.system.blueprint().relations { Relation::read(instruction) } else { None };
        if let Some(Relation { wish, place }) = relation
            && let Some(area) = self.area(place, image, on_stage).await?
            && let Some(prompt) = self.where_is(wish, image)?.within(image, area)
        {
            return Ok(Asked { prompt, instruction: wish.to_owned(), part: true });
        }
        Ok(Asked { prompt: self.where_is(instruction, image)?, instruction: instruction.to_owned(), part: false })
    }

    fn where_is(&self, instruction: &str, image: &Arc<EncodedImage>) -> Result<Prepared, RunError> {
        let grammar = self.system.blueprint().grammar;
        self.prepare(&question(grammar, instruction), std::slice::from_ref(image))
    }

    /// The part of a picture that a place is; `None` if what it is beside is not found.
    async fn area(
        &mut self,
        place: Place<'_>,
        image: &Arc<EncodedImage>,
        on_stage: OnStage<'_>,
    ) -> Result<Option<Area>, RunError> {
        let (side, anchor) = match place {
            Place::Part(shares) => return Ok(Some(Area::part(shares, image.original))),
            Place::By(side, anchor) => (side, anchor),
        };
        let instruction = format!("click {anchor}");
        let prompt = self.where_is(&instruction, image)?;
        let mut matcher = self.system.constrain(&self.system.grounding(&instruction))?;
        let options = GenerateOptions::default();
        let answer = self.generate_within(&prompt, &mut matcher, &options, on_stage, &mut |_| true).await?;
        let text = self.system.decode_answer(&answer.ids)?;
        let action = read_answer(self.system.blueprint().grammar, &text, image.original, image.resized).ok();
        let found = action.as_ref().and_then(|action| action.target());
        let letters = anchor.chars().count();
        Ok(found.map(|target| Area::beside(side, target.region, letters, image.token(), image.original)))
    }
}
