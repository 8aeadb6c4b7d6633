//! Where a query looks: the weights of its attention, `mean over heads of softmax(scale q k^T)`, for a heat map.

use std::ops::Range;

use super::{
    attention::{Heads, check_columns, check_heads},
    cap::with_cap,
    prelude::*,
    reduce_part,
};

params! {
    struct Params for ATTENTION_WEIGHTS {
        heads: u32,
        group: u32,
        head_dim: u32,
        first: u32,
        keys: u32,
        query_start: u32,
        key_stride: u32,
        scale: f32,
        cap: f32,
    }
}

impl Recorder {
    /// How much one query, `heads * head_dim` columns of a single row, attends to each of the rows `keys` of `k`,
    /// `[capacity, kv_heads * head_dim]`, in a new `[keys.end]` whose sum is 1: the mean over the heads. Rows before them
    /// have 0.
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`], [`OpError::Value`] if the heads do not fit together or there is no key.
    pub fn attention_weights(
        &mut self,
        q: Columns<'_>,
        k: &Tensor,
        heads: Heads,
        keys: Range<usize>,
    ) -> Result<Tensor, OpError> {
        let check = Check("attention_weights");
        check_heads(check, heads)?;
        let Heads { heads, kv_heads, head_dim, scale, cap } = heads;
        if check_columns(check, "q", q, heads * head_dim)? != 1 {
            return Err(check.shape("q", q.tensor, "one row".to_owned()));
        }
        let capacity = k.rows_and_width().0;
        check.tensor("k", k, &[capacity, kv_heads * head_dim], DType::F32)?;
        let Range { start: first, end: keys } = keys;
        check.value("keys", keys, (1..=capacity).contains(&keys), "at least one, at most the rows of k")?;
        check.value("first key", first, first < keys, "below the last one")?;
        let weights = self.transient(&[keys], DType::F32);
        self.dispatch(Dispatch {
            op: "attention_weights",
            kernel: with_cap(kernels::ATTENTION_WEIGHTS.variant().part(reduce_part(self.caps())), cap)
                .with("THREADS", 64),
            params: Params {
                heads: heads as u32,
                group: (heads / kv_heads) as u32,
                head_dim: head_dim as u32,
                first: first as u32,
                keys: keys as u32,
                query_start: q.start as u32,
                key_stride: (kv_heads * head_dim) as u32,
                scale,
                cap: cap.unwrap_or(1.0),
            },
            bindings: &[q.tensor, k, &weights],
            workgroups: Workgroups::linear(1),
            cost: Cost::moving(&[&weights])
                .bytes((4 * (keys - first) * kv_heads * head_dim) as u64)
                .flops((6 * (keys - first) * heads * head_dim) as u64),
        })?;
        Ok(weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_nmse, on_every_gpu, random, reference};
    use proptest::prelude::*;

    /// The mean over heads of the softmax of scaled products, in f64.
    fn expected(q: &[f32], k: &[f32], heads: Heads, keys: Range<usize>) -> Vec<f64> {
        let Heads { heads, kv_heads, head_dim, scale, cap } = heads;
        let mut weights = vec![0.0; keys.end];
        for head in 0..heads {
            let q = &q[head * head_dim..][..head_dim];
            let column = head / (heads / kv_heads) * head_dim;
            let score = |key: &[f32]| -> f64 {
                let products = q.iter().zip(&key[column..]).map(|(&a, &b)| f64::from(a) * f64::from(b));
                reference::capped(products.sum::<f64>() * f64::from(scale), cap)
            };
            let seen = k.chunks_exact(kv_heads * head_dim).take(keys.end).skip(keys.start);
            let powers: Vec<f64> = seen.map(|key| score(key).exp()).collect();
            let sum: f64 = powers.iter().sum();
            weights[keys.start..]
                .iter_mut()
                .zip(powers)
                .for_each(|(weight, power)| *weight += power / sum / heads as f64);
        }
        weights
    }

    proptest! {
        #![proptest_config(crate::testing::cases(6))]

        #[test]
        fn equals_reference(
            kv_heads in 1usize..4,
            group in 1usize..4,
            head_dim in 1usize..=256,
            keys in 1usize..400,
            spare in 0usize..40,
            start in 0usize..9,
            (before, cap) in (0.0f64..1.0, prop::option::of(0.5f32..9.0)),
            seed: u64,
        ) {
            let sizes = Heads { cap, ..Heads::new(kv_heads * group, kv_heads, head_dim) };
            let seen = (before * keys as f64) as usize..keys;
            let width = start + sizes.heads * head_dim;
            let row = random(width, seed);
            let k = random((keys + spare) * kv_heads * head_dim, seed ^ 1);
            let expected = expected(&row[start..], &k, sizes, seen.clone());
            on_every_gpu(|gpu, run| {
                let q = gpu.upload("q", &[1, width], &row)?;
                let k = gpu.upload("k", &[keys + spare, kv_heads * head_dim], &k)?;
                let query = q.columns(start, sizes.heads * head_dim);
                let weights = run.record(|rec| Ok(rec.attention_weights(query, &k, sizes, seen.clone())?))?;
                // As attention itself: sums of products in f32, and `exp`.
                assert_nmse(&weights, &expected, 1e-11);
                Ok(())
            });
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        on_every_gpu(|gpu, run| {
            let q = gpu.upload("q", &[2, 4], &[0.0f32; 8])?;
            let k = gpu.upload("k", &[3, 4], &[0.0f32; 12])?;
            let heads = Heads::new(1, 1, 4);
            let error = run.record(|rec| Ok(rec.attention_weights((&q).into(), &k, heads, 0..3)?)).unwrap_err();
            assert_eq!(error.to_string(), "attention_weights: q is [2, 4], expected one row");
            let one = gpu.upload("q", &[1, 4], &[0.0f32; 4])?;
            let error = run.record(|rec| Ok(rec.attention_weights((&one).into(), &k, heads, 0..4)?)).unwrap_err();
            let expected = "attention_weights: keys is 4, expected at least one, at most the rows of k";
            assert_eq!(error.to_string(), expected);
            let error = run.record(|rec| Ok(rec.attention_weights((&one).into(), &k, heads, 2..2)?)).unwrap_err();
            assert_eq!(error.to_string(), "attention_weights: first key is 2, expected below the last one");
            Ok(())
        });
    }
}
