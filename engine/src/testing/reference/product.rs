//! Matrix products and attention.

use crate::op::Heads;

/// `x w^T`: `x` is `[rows, k]`, `w` is `[columns, k]`; the result is `[rows, columns]`.
pub fn matmul(x: &[f32], w: &[f32], k: usize) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    x.chunks_exact(k).flat_map(|row| w.chunks_exact(k).map(move |column| dot(row, column))).collect()
}

/// `cap tanh(x / cap)`, if there is a cap.
pub fn capped(x: f64, cap: Option<f32>) -> f64 {
    cap.map_or(x, |cap| f64::from(cap) * (x / f64::from(cap)).tanh())
}

/// Attention of one of the heads: `q` has a query in each row, `k` and `v` a key and a value; a query sees the keys of
/// its range. The result has the queries' rows and the values' width; it is zero where a range is empty.
pub fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    heads: Heads,
    seen: impl Fn(usize) -> std::ops::Range<usize>,
) -> Vec<f64> {
    let Heads { head_dim, scale, cap, .. } = heads;
    let score = |product: &f64| capped(product * f64::from(scale), cap);
    let mut result = Vec::with_capacity(q.len());
    for (i, query) in q.chunks_exact(head_dim).enumerate() {
        let rows = seen(i);
        let bounds = rows.start * head_dim..rows.end.max(rows.start) * head_dim;
        let scores: Vec<f64> = matmul(query, &k[bounds.clone()], head_dim).iter().map(score).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut sums = vec![0.0; head_dim];
        for (weight, value) in weights.iter().zip(v[bounds].chunks_exact(head_dim)) {
            for (sum, &element) in sums.iter_mut().zip(value) {
                *sum += weight / total * f64::from(element);
            }
        }
        result.extend(sums);
    }
    result
}
