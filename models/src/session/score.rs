//! How likely continuations are.

use super::{Prepared, RunError, Session};
use crate::blocks::Rows;
use fovea_engine::Recorder;

impl Session {
    /// Natural logarithms of the probabilities that the model gives to each token of `continuation` after a prompt. The
    /// rows of the prompt, and of what the last continuation has in common with this one, are read once: ranking
    /// candidates costs their own tokens.
    ///
    /// # Errors
    /// [`RunError`]; [`RunError::Token`] for ids beyond the vocabulary.
    pub async fn score(&mut self, prompt: &Prepared, continuation: &[u32]) -> Result<Vec<f64>, RunError> {
        let vocabulary = self.system.blueprint().decoder.vocabulary;
        if let Some(&id) = continuation.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(RunError::Token { id, vocabulary });
        }
        let Some((_, fed)) = continuation.split_last() else { return Ok(Vec::new()) };
        self.reserve(prompt, continuation.len())?;
        // The last token is asked about, but nothing is asked behind it.
        let whole = prompt.followed_by(fed);
        let mut rec = Recorder::new(self.gpu());
        let first = prompt.ids.len().saturating_sub(1);
        let (_, prefill) = self.record_prefill(&mut rec, &whole, Rows::From(first))?;
        rec.keep(&prefill.logits);
        let program = rec.finish()?;
        self.read_rows(&program, &whole, &|_| ()).await?;
        let logits: Vec<f32> = program.read(&prefill.logits).await?;
        let rows = logits.chunks_exact(vocabulary).zip(continuation);
        Ok(rows.map(|(logits, &id)| LogSoftmax::of(logits).at(logits, id)).collect())
    }
}

/// What logits are reduced by to become natural logarithms of probabilities.
#[derive(Clone, Copy)]
pub(super) struct LogSoftmax {
    largest: f32,
    log_sum: f64,
}

impl LogSoftmax {
    pub(super) fn of(logits: &[f32]) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
        Self { largest, log_sum: sum.ln() }
    }

    pub(super) fn at(self, logits: &[f32], id: u32) -> f64 {
        let logit = logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        f64::from(logit - self.largest) - self.log_sum
    }
}
