//! From an instruction to the prompt that asks where it is carried out.

use std::sync::Arc;

use super::{Closer, EncodedImage, GenerateOptions, OnStage, Prepared, Row, Session};
use crate::{
    error::RunError,
    grounding::Grammar,
    grounding::{
        APART, Action, Area, GroundingError, Ordinal, PixelBox, PixelPoint, Place, Relation, Target, alike,
        in_reading_order, read_answer,
    },
    prompt::question,
};

/// What is asked.
pub struct Asked {
    /// The prompt.
    pub prompt: Prepared,
    /// The instruction as it stands in it, which may be a part of what was said.
    pub instruction: String,
    /// The part of the picture that the prompt has, if that was looked at again, larger: what the model writes is of this part.
    pub closer: Option<Closer>,
    /// Whether the model finds names alone ([`crate::Blueprint::relations`]): it has no tasks that could be done, so that its
    /// `END()` says that nothing of the name is there.
    names: bool,
}

impl Asked {
    /// What an answer says to do, in pixels of the picture that was asked about; [`Action::Absent`] if nothing there is what
    /// was asked for. `whole`: whether the model ended it, and not the number of tokens that it was given.
    ///
    /// # Errors
    /// As [`read_answer`]; [`GroundingError::Unfinished`].
    pub fn read(
        &self,
        grammar: Grammar,
        answer: &str,
        whole: bool,
        image: &EncodedImage,
    ) -> Result<Action<PixelBox>, GroundingError> {
        let read = read(grammar, answer, image, self.closer.as_ref());
        Ok(match read.map_err(|error| error.of_unfinished(whole))? {
            Action::End if self.names => Action::Absent,
            action => action,
        })
    }
}

fn read(
    grammar: Grammar,
    answer: &str,
    image: &EncodedImage,
    closer: Option<&Closer>,
) -> Result<Action<PixelBox>, GroundingError> {
    match closer {
        None => read_answer(grammar, answer, image.original, image.resized),
        Some(closer) => {
            let action = read_answer(grammar, answer, closer.image.original, closer.image.resized)?;
            Ok(action.map(|region| closer.on_whole(region, image)))
        }
    }
}

/// What gets this share of the attention that the first place gets counts, though alone it is not taken for what is meant.
const SURE: f32 = 0.02;

impl EncodedImage {
    /// Width and height of an image token in pixels of the picture that was handed over.
    pub(super) fn token(&self) -> (f32, f32) {
        let share = |side: u32, tokens: u32| side as f32 / tokens.max(1) as f32;
        (share(self.original.width, self.grid.width), share(self.original.height, self.grid.height))
    }

    /// The middle of an image token, in such pixels.
    pub(super) fn middle(&self, index: usize) -> PixelPoint {
        let ((width, height), columns) = (self.token(), self.grid.width.max(1) as usize);
        PixelPoint { x: ((index % columns) as f32 + 0.5) * width, y: ((index / columns) as f32 + 0.5) * height }
    }
}

impl Prepared {
    /// Without the tokens of a picture whose middles are not `inside`; the others stay at their positions. `None` if none is
    /// left, or if rows are more than the text's and the picture's.
    pub(super) fn within(&self, image: &EncodedImage, inside: impl Fn(PixelPoint) -> bool) -> Option<Self> {
        if !self.visual.is_empty() || !self.cross_ranges.is_empty() {
            return None;
        }
        let kept = |row: &Row| row.token_of(image).map(|index| inside(image.middle(index)));
        if !self.rows.iter().any(|row| kept(row) == Some(true)) {
            return None;
        }
        let kept: Vec<usize> = (0..self.rows.len()).filter(|&at| kept(&self.rows[at]) != Some(false)).collect();
        let mut part = Self { part: true, ..self.clone() };
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
    /// instruction tells ([`Relation`]): what something is said to be beside is looked for first, and so are all that bear
    /// a name, where they are counted. Where what it is beside is not found, the whole instruction may be a name and is asked
    /// for as it stands. A system that looks twice ([`crate::image::SecondLook`]) is then asked about the part of the picture
    /// that it looked at.
    ///
    /// # Errors
    /// As [`Session::prepare`] and [`Session::generate_within`].
    pub async fn ask(
        &mut self,
        instruction: &str,
        image: &Arc<EncodedImage>,
        on_stage: OnStage<'_>,
    ) -> Result<Asked, RunError> {
        let names = self.system.blueprint().relations;
        let told = if names { Relation::read(instruction) } else { None };
        if let Some(Relation { wish, ordinal, place }) = told
            && let Some((prompt, area)) = self.there(&wish, place, image, on_stage).await?
        {
            let (prompt, area) = match ordinal {
                Some(ordinal) => self.counted(&wish, prompt, ordinal, image, on_stage).await?,
                None => (prompt, area),
            };
            let (prompt, closer) = self.closer(&wish, prompt, area.as_ref(), image, on_stage).await?;
            return Ok(Asked { prompt, instruction: wish, closer, names });
        }
        let (prompt, closer) = self.on_whole(instruction, image, on_stage).await?;
        Ok(Asked { prompt, instruction: instruction.to_owned(), closer, names })
    }

    /// Asks about the whole picture, at the second look if there is one.
    async fn on_whole(
        &mut self,
        instruction: &str,
        image: &Arc<EncodedImage>,
        on_stage: OnStage<'_>,
    ) -> Result<(Prepared, Option<Closer>), RunError> {
        let prompt = self.where_is(instruction, image)?;
        self.closer(instruction, prompt, None, image, on_stage).await
    }

    /// Asks for what is named, at a place, and tells the area that this is; `None` if the place is not found.
    async fn there(
        &mut self,
        wish: &str,
        place: Option<Place<'_>>,
        image: &Arc<EncodedImage>,
        on_stage: OnStage<'_>,
    ) -> Result<Option<(Prepared, Option<Area>)>, RunError> {
        let Some(place) = place else { return Ok(Some((self.where_is(wish, image)?, None))) };
        let Some(area) = self.area(place, image, on_stage).await? else { return Ok(None) };
        let part = self.where_is(wish, image)?.within(image, |middle| area.contains(middle));
        Ok(part.map(|prompt| (prompt, Some(area))))
    }

    /// The same prompt, with one of the places alone that it looks at and where it finds something, and that area: what lies
    /// there tells better than attention where it stands, and whether it is it at all. If those are fewer than it is counted to,
    /// without them all: there may be another that is hard to see, and else nothing is found.
    async fn counted(
        &mut self,
        wish: &str,
        prompt: Prepared,
        ordinal: Ordinal,
        image: &Arc<EncodedImage>,
        on_stage: OnStage<'_>,
    ) -> Result<(Prepared, Option<Area>), RunError> {
        let (token, mut found) = (image.token(), Vec::new());
        let looks = self.look_heard(&prompt, image, on_stage).await?;
        let most = looks.iter().copied().fold(0.0, f32::max);
        for at in alike(&looks, image.grid.width as usize) {
            let around = Area::around(image.middle(at), token);
            let Some(part) = prompt.within(image, |middle| around.contains(middle)) else { continue };
            let middle = match self.find(wish, &part, image, None, on_stage).await? {
                Some(target) => target.region.centre(),
                None if looks[at] >= SURE * most => image.middle(at),
                None => continue,
            };
            found.push((middle, (middle, part, around)));
        }
        // Lines are at least about a token high.
        let mut found = in_reading_order(found, ((APART + 1) as f32 * token.0, 0.8 * token.1));
        match ordinal.of(found.len()) {
            Some(at) => {
                let (_, part, around) = found.swap_remove(at);
                Ok((part, Some(around)))
            }
            None => {
                let middles: Vec<PixelPoint> = found.iter().map(|(middle, ..)| *middle).collect();
                let rest = Area::without(&middles, token, image.original);
                let part = prompt.within(image, |middle| rest.contains(middle));
                Ok((part.unwrap_or(prompt), Some(rest)))
            }
        }
    }

    /// What the model finds, asked so.
    pub(super) async fn find(
        &mut self,
        instruction: &str,
        prompt: &Prepared,
        image: &EncodedImage,
        closer: Option<&Closer>,
        on_stage: OnStage<'_>,
    ) -> Result<Option<Target<PixelBox>>, RunError> {
        let mut matcher = self.system.constrain(&self.system.grounding(instruction))?;
        let options = GenerateOptions::default();
        let answer = self.generate_within(prompt, &mut matcher, &options, on_stage, &mut |_| true).await?;
        let text = self.system.decode_answer(&answer.ids)?;
        let action = read(self.system.blueprint().grammar, &text, image, closer).ok();
        Ok(action.and_then(|action| action.target().cloned()))
    }

    pub(super) fn where_is(&self, instruction: &str, image: &Arc<EncodedImage>) -> Result<Prepared, RunError> {
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
        let (prompt, closer) = self.on_whole(&instruction, image, on_stage).await?;
        let found = self.find(&instruction, &prompt, image, closer.as_ref(), on_stage).await?;
        let letters = anchor.chars().count();
        Ok(found.map(|target| Area::beside(side, target.region, letters, image.token(), image.original)))
    }
}
