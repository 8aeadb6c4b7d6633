//! What a system is made of, before its weights are loaded.

use fovea_engine::weights::{Policy, WeightSource};

use crate::{
    blocks::{DecoderConfig, Sizes, VisionConfig},
    error::{LoadError, RunError},
    grounding::Grammar,
    image::{ImageConfig, PatchGrid, Size},
    names::Spelling,
    prompt::{ChatFormat, ImageSlot, PositionRule},
};

/// A system before its weights are loaded: the sizes of its blocks and how it reads and writes.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Its name.
    pub name: &'static str,
    /// Tower and connector.
    pub vision: VisionConfig,
    /// Decoder.
    pub decoder: DecoderConfig,
    /// Image preparation.
    pub image: ImageConfig,
    /// What a picture's rows replace in a prompt.
    pub slot: ImageSlot,
    /// How the rows of a prompt are counted.
    pub positions: PositionRule,
    /// How conversations are written.
    pub chat: ChatFormat,
    /// How text is split, for a `tokenizer.model` of tiktoken; `None`: it is one of SentencePiece.
    pub tiktoken: Option<&'static str>,
    /// Ids that end an answer.
    pub stop: Vec<u32>,
    /// Longest sequence that it was made for.
    pub max_positions: usize,
    /// What it writes boxes in.
    pub grammar: Grammar,
    /// The layer of the decoder, from 0, whose attention shows where the model looks; `None`: all alike.
    pub heat_layer: Option<usize>,
    /// Whether all it types is quoted from the instruction: a small model copies, and does not compose.
    pub quotes: bool,
    /// Whether it finds names alone, so that an instruction with a place is split into the two.
    pub relations: bool,
    /// Whether it was trained to ground instructions and nothing else: it has no words for other questions
    /// (`fovea_grounds_only`).
    pub grounds_only: bool,
}

impl Blueprint {
    /// See [`crate::System::require_words`]; before any weights are loaded.
    ///
    /// # Errors
    /// [`RunError::GroundsOnly`].
    pub fn require_words(&self) -> Result<(), RunError> {
        if self.grounds_only { Err(RunError::GroundsOnly) } else { Ok(()) }
    }

    /// The same with what the configuration leaves out and the tensors tell.
    #[must_use]
    pub fn fit(mut self, weights: &dyn WeightSource) -> Self {
        if let Some((cross, at)) = &mut self.vision.cross {
            cross.fit(weights, at);
        }
        let decoder = &mut self.decoder;
        if decoder.options.tied_without_head {
            let names = &decoder.names;
            let head = if names.at.is_empty() { names.head.to_owned() } else { format!("{}.{}", names.at, names.head) };
            decoder.tied = weights.info(&Spelling::of(weights).spell(&head)).is_none();
        }
        self
    }

    /// Rows of the decoder that a picture of `size` becomes.
    ///
    /// # Errors
    /// [`LoadError::Image`] if no size fits it.
    pub fn image_tokens(&self, size: Size) -> Result<usize, LoadError> {
        Ok(self.vision.tokens(&self.image.grids(size)?, &self.image.tiling(size)?))
    }

    /// Features of a picture of `size` that every decoder layer attends to.
    ///
    /// # Errors
    /// [`LoadError::Image`] if no size fits it.
    pub fn cross_tokens(&self, size: Size) -> Result<usize, LoadError> {
        Ok(self.vision.cross_tokens(&self.image.grids(size)?, &self.image.tiling(size)?))
    }

    /// Its weights by part; the last two are always embedding and head.
    pub fn parts(&self) -> Vec<(&'static str, Sizes)> {
        let mut parts = vec![("vision tower", self.vision.tower.sizes())];
        if let Some((cross, _)) = &self.vision.cross {
            parts.push(("cross tower", cross.sizes()));
        }
        parts.push(("connector", self.vision.connector_sizes()));
        parts.extend(self.decoder.expert_sizes().map(|sizes| ("visual experts", sizes)));
        parts.extend(self.decoder.cross_sizes().map(|sizes| ("cross attention", sizes)));
        parts.push(("decoder", self.decoder.layer_sizes()));
        parts.push(("embedding", self.decoder.embedding_sizes()));
        parts.push(("head", self.decoder.output_sizes()));
        parts
    }

    /// Published weights that do not run, and are not loaded.
    pub fn unused(&self) -> Sizes {
        let cross = self.vision.cross.as_ref().map(|(cross, _)| cross.unused()).unwrap_or_default();
        self.vision.tower.unused().and(cross)
    }

    /// Parameters by part, with those that do not run where there are any.
    pub fn parameters(&self) -> Vec<(&'static str, u64)> {
        let parts = self.parts().into_iter().map(|(name, sizes)| (name, sizes.parameters()));
        parts.chain(Some(("unused", self.unused().parameters())).filter(|(_, count)| *count > 0)).collect()
    }

    /// Bytes of all weights on the GPU under a policy: matrices with their padding and scales, vectors in f32.
    pub fn weight_bytes(&self, policy: &Policy) -> u64 {
        self.parts().iter().fold(0, |sum, (_, sizes)| sum.saturating_add(sizes.bytes(policy)))
    }

    /// Multiply-adds of a step of decoding, but for its attention.
    pub fn step_products(&self) -> u64 {
        let (decoder, output) = (self.decoder.layer_sizes().products(), self.decoder.embedding_sizes().products());
        decoder + output
    }

    /// Floating-point operations of encoding a picture of `size`, and of prefilling it with `text` further tokens.
    ///
    /// # Errors
    /// [`LoadError::Image`] if no size fits it.
    pub fn flops(&self, size: Size, text: usize) -> Result<(u64, u64), LoadError> {
        let grids: Vec<PatchGrid> = self.image.grids(size)?;
        let tokens = self.image_tokens(size)? + text;
        Ok((self.vision.flops(&grids), self.decoder.prefill_flops(tokens, self.cross_tokens(size)?)))
    }

    /// Those of [`Blueprint::flops`] that are scores of attention and sums by them, which profilers of fused attention
    /// leave out.
    ///
    /// # Errors
    /// [`LoadError::Image`] if no size fits it.
    pub fn score_flops(&self, size: Size, text: usize) -> Result<u64, LoadError> {
        let tokens = self.image_tokens(size)? + text;
        let encode = self.vision.score_flops(&self.image.grids(size)?);
        Ok(encode + self.decoder.score_flops(tokens, self.cross_tokens(size)?))
    }
}
