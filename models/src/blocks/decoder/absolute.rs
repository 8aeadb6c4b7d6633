//! Positions as vectors that are added to embeddings.

use std::iter::repeat_n;

/// Positions that are added to the embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsolutePositions {
    /// `[sin(p f_0), sin(p f_1), .., cos(p f_0), ..]` with `f_i = 10000^(-i / (hidden / 2 - 1))`. Source:
    /// `Kosmos2TextSinusoidalPositionalEmbedding`.
    Sinusoidal {
        /// Position of a prompt's first row.
        first: usize,
    },
}

impl AbsolutePositions {
    /// Positions below this one are those of `capacity` rows.
    pub(super) fn count(self, capacity: usize) -> usize {
        let Self::Sinusoidal { first } = self;
        capacity.saturating_add(first)
    }

    /// `[count, hidden]`. As in the reference, frequencies and angles are f32.
    pub(super) fn table(self, count: usize, hidden: usize) -> Vec<f32> {
        let half = hidden / 2;
        let step = 10_000f64.ln() / (half.max(2) - 1) as f64;
        let freqs: Vec<f32> = (0..half).map(|i| f64::from(i as f32 * -(step as f32)).exp() as f32).collect();
        let mut table = Vec::with_capacity(count.saturating_mul(hidden));
        for position in 0..count {
            let angles = || freqs.iter().map(|&freq| f64::from(position as f32 * freq));
            table.extend(angles().map(|angle| angle.sin() as f32));
            table.extend(angles().map(|angle| angle.cos() as f32));
            table.extend(repeat_n(0.0, hidden - 2 * half));
        }
        table
    }
}
