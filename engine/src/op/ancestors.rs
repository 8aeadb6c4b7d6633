//! Which keys the queries of a tree see.
//!
//! Continuations of one prompt lie side by side in one cache; a row sees the prompt and the rows that it descends from.
//! Nothing is copied when continuations fork or end (*tree attention*: Miao et al., "SpecInfer", 2024).

use super::prelude::*;
use crate::{error::GpuError, gpu::Gpu};

/// For each query, the keys that it sees: where those of the prompt begin, and which of those behind it.
#[derive(Clone, Debug)]
pub struct Ancestors {
    /// `[rows, 1 + keys / 64 rounded up, 2]` u32: the prompt's first key and nothing, then a bit for each key behind the
    /// prompt, the lowest first.
    table: Tensor,
    /// Keys behind the prompt that the queries see.
    own: u64,
    /// Keys of the prompt that they do not.
    skipped: u64,
}

impl Ancestors {
    /// Hands to the GPU which of `keys` keys, counted behind the prompt, each query sees, in the order of the queries.
    /// Those beyond `keys` are left out.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn new<K: AsRef<[usize]>>(gpu: &Gpu, keys: usize, seen: &[K]) -> Result<Self, GpuError> {
        Self::from_rows(gpu, keys, seen.iter().map(|own| (0, own.as_ref())))
    }

    /// As [`Ancestors::new`], of ancestors that rise, but each query sees the last `window` of what it would: first those
    /// of the prompt's `past` keys go. A query without ancestors belongs to the prompt and sees all of it.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn last<K: AsRef<[usize]>>(
        gpu: &Gpu,
        (past, window): (usize, usize),
        keys: usize,
        seen: &[K],
    ) -> Result<Self, GpuError> {
        let rows = seen.iter().map(|own| match own.as_ref() {
            [] => (0, &[][..]),
            own => {
                let near = &own[own.len().saturating_sub(window)..];
                (past - past.min(window - near.len()), near)
            }
        });
        Self::from_rows(gpu, keys, rows)
    }

    /// The prompt's first key and those behind it of each query.
    fn from_rows<'a>(
        gpu: &Gpu,
        keys: usize,
        rows: impl ExactSizeIterator<Item = (usize, &'a [usize])>,
    ) -> Result<Self, GpuError> {
        let (count, words) = (rows.len(), words(keys));
        let mut bits = vec![0u32; count * words];
        let (mut all, mut skipped) = (0, 0);
        for (row, (first, own)) in bits.chunks_exact_mut(words).zip(rows) {
            row[0] = first as u32;
            for &key in own.iter().filter(|&&key| key < keys) {
                row[2 + key / 32] |= 1 << (key % 32);
            }
            (all, skipped) = (all + own.len() as u64, skipped + first as u64);
        }
        let table = gpu.upload("ancestors", &[count, words / 2, 2], &bits)?;
        Ok(Self { table, own: all, skipped })
    }

    pub(super) fn table(&self) -> &Tensor {
        &self.table
    }

    /// What the table must be for `rows` queries and `keys` keys.
    pub(super) fn shape(&self, rows: usize, keys: usize) -> [usize; 3] {
        [rows, words(keys) / 2, 2]
    }

    /// Queries and keys that see each other, behind a prompt of `past` keys.
    pub(super) fn pairs(&self, past: usize) -> u64 {
        ((self.table.shape()[0] * past) as u64 + self.own).saturating_sub(self.skipped)
    }
}

/// Words of a row; the kernel reads pairs of them.
fn words(keys: usize) -> usize {
    2 * (1 + keys.div_ceil(64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        op::{Attention, Heads, Mask},
        testing::{assert_nmse, on_every_gpu, random, reference},
    };

    proptest! {
        #![proptest_config(crate::testing::cases(4))]

        /// Each query on its own, over the keys that it sees gathered by hand.
        #[test]
        fn queries_see_the_prompt_and_their_ancestors(
            (past, keys, rows) in (0usize..50, 1usize..150, 1usize..20),
            window in prop::option::of(1usize..90),
            (kv_heads, group, head_dim) in (1usize..3, 1usize..3, 1usize..40),
            seed: u64,
        ) {
            let heads = Heads::new(kv_heads * group, kv_heads, head_dim);
            let (q_width, kv_width) = (heads.heads * head_dim, kv_heads * head_dim);
            let q = random(rows * q_width, seed);
            let (k, v) = (random((past + keys) * kv_width, seed ^ 1), random((past + keys) * kv_width, seed ^ 2));
            // About a third of the keys, its own always.
            let draws = random(rows * keys, seed ^ 3);
            let seen: Vec<Vec<usize>> = (0..rows)
                .map(|row| (0..keys).filter(|&key| key == row % keys || draws[row * keys + key] > 0.4).collect())
                .collect();
            let mut expected = vec![0.0; rows * q_width];
            for row in 0..rows {
                let own: Vec<usize> = (0..past).chain(seen[row].iter().map(|key| past + key)).collect();
                let own = &own[own.len() - own.len().min(window.unwrap_or(own.len()))..];
                for head in 0..heads.heads {
                    let at = head / group * head_dim;
                    let taken = |x: &[f32]| -> Vec<f32> {
                        own.iter().flat_map(|key| &x[key * kv_width + at..][..head_dim]).copied().collect()
                    };
                    let query = &q[row * q_width + head * head_dim..][..head_dim];
                    let one = reference::attention(query, &taken(&k), &taken(&v), heads, |_| 0..own.len());
                    expected[row * q_width + head * head_dim..][..head_dim].copy_from_slice(&one);
                }
            }
            on_every_gpu(|gpu, run| {
                let (q, k) = (gpu.upload("q", &[rows, q_width], &q)?, gpu.upload("k", &[past + keys, kv_width], &k)?);
                let v = gpu.upload("v", &[past + keys, kv_width], &v)?;
                let ancestors = match window {
                    Some(window) => Ancestors::last(gpu, (past, window), keys, &seen)?,
                    None => Ancestors::new(gpu, keys, &seen)?,
                };
                let mask = Mask::Tree { past, ancestors: &ancestors };
                let attention = Attention { heads, kv_len: past + keys, mask };
                let y = run.record(|rec| Ok(rec.attention((&q).into(), (&k).into(), (&v).into(), attention)?))?;
                assert_nmse(&y, &expected, 1e-11);
                Ok(())
            });
        }
    }

    #[test]
    fn other_trees_are_refused() {
        on_every_gpu(|gpu, run| {
            let x = gpu.upload("x", &[9, 4], &[0.0f32; 36])?;
            let ancestors = Ancestors::new(gpu, 5, &[[0]; 8])?;
            let attend = |past| {
                let (heads, mask) = (Heads::new(1, 1, 4), Mask::Tree { past, ancestors: &ancestors });
                let attention = Attention { heads, kv_len: 9, mask };
                run.record(|rec| Ok(rec.attention((&x).into(), (&x).into(), (&x).into(), attention)?))
            };
            let expected = "attention: ancestors is [8, 2, 2], expected [9, 2, 2]";
            assert_eq!(attend(4).unwrap_err().to_string(), expected);
            assert_eq!(attend(10).unwrap_err().to_string(), "attention: past is 10, expected at most the keys");
            Ok(())
        });
    }
}
