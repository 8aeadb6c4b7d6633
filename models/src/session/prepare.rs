//! From a conversation with its pictures to the rows that the decoder is given.

use std::sync::Arc;

use fovea_engine::text::Conversation;

use super::{
    EncodedImage, Session,
    prepared::{Prepared, Row},
};
use crate::{
    blocks::CrossRange,
    error::RunError,
    prompt::{Filling, PromptError, SlotText, expand_slots},
};

impl Session {
    /// A conversation with its pictures, in the order of their placeholders.
    ///
    /// # Errors
    /// [`RunError::Text`], [`RunError::Prompt`].
    pub fn prepare<'a>(
        &self,
        conversation: impl Into<Conversation<'a>>,
        images: &[Arc<EncodedImage>],
    ) -> Result<Prepared, RunError> {
        self.prepare_ids(&self.system.ids(conversation)?, images)
    }

    /// Token ids, one placeholder for each picture, with their pictures.
    ///
    /// # Errors
    /// [`RunError::Prompt`], [`RunError::Token`].
    pub fn prepare_ids(&self, ids: &[u32], images: &[Arc<EncodedImage>]) -> Result<Prepared, RunError> {
        let blueprint = self.system.blueprint();
        let vocabulary = blueprint.decoder.embedding_rows();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(RunError::Token { id, vocabulary });
        }
        let grids: Vec<_> = images.iter().map(|image| image.grid).collect();
        let fillings = images.iter().map(|image| self.filling(image)).collect::<Result<Vec<_>, _>>()?;
        if blueprint.decoder.cross.is_some() && images.is_empty() {
            return Err(PromptError::NoImage.into());
        }
        let expanded = expand_slots(ids, &blueprint.slot, &fillings)?;
        let positions = blueprint.positions.positions(expanded.ids.len(), &expanded.spans, &grids)?;
        let mut visual = Vec::new();
        if blueprint.decoder.expert.is_some() {
            visual = vec![false; expanded.ids.len()];
            // A picture's last row is the language's.
            expanded.spans.iter().for_each(|span| visual[span.start..span.end - 1].fill(true));
        }
        let mut rows: Vec<Row> = expanded.ids.iter().map(|&id| Row::Token(id)).collect();
        for (places, image) in expanded.rows.iter().zip(images) {
            for (row, &place) in places.iter().enumerate() {
                rows[place] = Row::Image { hash: image.hash, row };
            }
        }
        let cross_ranges = if blueprint.slot.text == SlotText::Apart {
            cross_ranges(expanded.spans.iter().map(|span| span.start).zip(images))
        } else {
            Vec::new()
        };
        Ok(Prepared { ids: expanded.ids, positions, images: images.to_vec(), rows, visual, cross_ranges, part: false })
    }

    /// What fills a picture's slot.
    fn filling(&self, image: &EncodedImage) -> Result<Filling, RunError> {
        let (slot, tokenizer) = (&self.system.blueprint().slot, self.system.tokenizer());
        let placeholder = tokenizer.token(slot.token).unwrap_or_default();
        Ok(match (slot.text, slot.text.write(&placeholder, &image.views, &image.tiling)) {
            (SlotText::Apart, _) => Filling::Apart,
            (_, None) => Filling::Rows(image.rows()),
            (_, Some(text)) => Filling::Written(tokenizer.encode(&text)?),
        })
    }
}

/// The features that rows attend to, of pictures that stand in rows of their own. The features of all pictures lie one after
/// the other, and after those the ones of tiles that show nothing.
fn cross_ranges<'a>(pictures: impl Iterator<Item = (usize, &'a Arc<EncodedImage>)>) -> Vec<CrossRange> {
    let mut all: Vec<CrossRange> = Vec::new();
    for (from, image) in pictures {
        let own = image.cross.as_ref().map_or(0, |cross| cross.seen().len());
        let (end, run) = match all.last() {
            // Pictures right behind each other are seen together.
            Some(last) if last.from + 1 == from => (last.seen.end, Some(last.seen.start)),
            last => (last.map_or(0, |last| last.seen.end), None),
        };
        all.push(CrossRange { from, seen: run.unwrap_or(end)..end + own });
    }
    all
}
