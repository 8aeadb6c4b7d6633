//! From a conversation with its pictures to the rows that the decoder is given.

use std::sync::Arc;

use fovea_engine::text::Message;

use super::{EncodedImage, Session};
use crate::{
    checkpoint::RunError,
    prompt::{Filling, Positions, PromptError, SlotText, expand_slots},
};

/// A prompt made ready: ids with image slots, positions, pictures.
#[derive(Clone)]
pub struct Prepared {
    /// Token ids, image slots expanded.
    pub ids: Vec<u32>,
    /// Position of each on each axis.
    pub positions: Positions,
    pub(super) images: Vec<Arc<EncodedImage>>,
    /// What stands in each row: an id, or a row of a picture.
    pub(super) rows: Vec<Row>,
    /// Whether the visual expert takes a row; empty if there is none.
    pub(super) visual: Vec<bool>,
    /// The row where the first picture stands.
    pub(super) picture_at: usize,
}

impl Prepared {
    /// The picture that every layer attends to.
    pub(super) fn cross(&self) -> Option<&EncodedImage> {
        self.images.first().map(|image| &**image).filter(|image| image.cross.is_some())
    }
}

/// What stands in a row of the decoder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Token(u32),
    Image { hash: [u8; 32], row: usize },
}

impl Row {
    /// Whether it is one of the picture's own tokens.
    pub(super) fn is_of(&self, image: &EncodedImage) -> bool {
        let own = image.before..image.before + image.grid.patches();
        matches!(self, Self::Image { hash, row } if *hash == image.hash && own.contains(row))
    }
}

impl Session {
    /// A conversation with its pictures, in the order of their placeholders.
    ///
    /// # Errors
    /// [`RunError::Text`], [`RunError::Prompt`].
    pub fn prepare(&self, messages: &[Message], images: &[Arc<EncodedImage>]) -> Result<Prepared, RunError> {
        self.prepare_ids(&self.system.ids(messages)?, images)
    }

    /// A rendered prompt with its pictures.
    ///
    /// # Errors
    /// [`RunError::Text`], [`RunError::Prompt`].
    pub fn prepare_text(&self, prompt: &str, images: &[Arc<EncodedImage>]) -> Result<Prepared, RunError> {
        self.prepare_ids(&self.system.tokenizer().encode_prompt(prompt)?, images)
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
        if blueprint.slot.text == SlotText::Apart && images.len() > 1 {
            return Err(PromptError::OneImage { images: images.len() }.into());
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
        let picture_at = expanded.spans.first().map_or(0, |span| span.start);
        Ok(Prepared { ids: expanded.ids, positions, images: images.to_vec(), rows, visual, picture_at })
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
