//! Attention: `softmax(scale q k^T) v` for each head, the scores bounded by a cap where there is one.
//!
//! One pass over the keys with a running maximum and sum (Milakov, Gimelshein, "Online normalizer calculation for
//! softmax", 2018; Dao et al., "FlashAttention", 2022): scores never reach memory. Several heads of queries may share
//! one head of keys and values (Shazeer, "Fast Transformer Decoding", 2019; Ainslie et al., "GQA", 2023). All in f32.

use std::ops::Range;

use super::{
    ancestors::Ancestors,
    cap::{check_cap, with_cap},
    lanes_part,
    prelude::*,
    reduce_part,
};
use crate::{error::GpuError, gpu::Gpu};

/// Heads and their scale.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values: a divisor of `heads`; head `h` uses `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Elements of a head, at most 256.
    pub head_dim: usize,
    /// What a product of query and key is multiplied by, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// What scores are bounded by, before any mask: `cap tanh(score / cap)`.
    pub cap: Option<f32>,
}

impl Heads {
    /// With the usual scale, `1 / sqrt(head_dim)`, and no cap.
    pub fn new(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self { heads, kv_heads, head_dim, scale: (head_dim as f32).sqrt().recip(), cap: None }
    }
}

/// What a [`Recorder::attention`] needs besides queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Heads and their scale.
    pub heads: Heads,
    /// Rows of keys and values that are valid.
    pub kv_len: usize,
    /// Which of them a query sees.
    pub mask: Mask<'a>,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// All.
    Full,
    /// Query `i` sees keys `0 ..= past + i`, or the last of them.
    Causal {
        /// Keys before the first query's own.
        past: usize,
        /// Most keys that a query sees, its own among them; `None`: all.
        window: Option<usize>,
    },
    /// Each query sees a range of keys of its own: windows, or several images. An empty range gives zeros. The time is
    /// that of the ranges where neighbouring rows have similar ones.
    Ranges(&'a Ranges),
    /// Each query sees of the first `past` keys all or the last, and of those behind them its own ancestors: beams that
    /// share a prompt.
    Tree {
        /// Keys before the tree's.
        past: usize,
        /// Which of the others each query sees.
        ancestors: &'a Ancestors,
    },
}

/// A range of keys for each query.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// `[q_rows, 2]` u32: first key, and the one behind the last.
    table: Tensor,
    /// Keys of all ranges together: what attention costs.
    pairs: u64,
}

impl Ranges {
    /// Hands ranges to the GPU, in the order of the queries.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn new(gpu: &Gpu, ranges: &[Range<u32>]) -> Result<Self, GpuError> {
        let bounds: Vec<u32> = ranges.iter().flat_map(|range| [range.start, range.end]).collect();
        let table = gpu.upload("ranges of keys", &[ranges.len(), 2], &bounds)?;
        Ok(Self { table, pairs: ranges.iter().map(|range| range.len() as u64).sum() })
    }
}

/// What a [`Recorder::attention_decode`] needs besides the query and the caches.
#[derive(Clone, Copy, Debug)]
pub struct DecodeAttention<'a> {
    /// Heads and their scale.
    pub heads: Heads,
    /// Number of valid keys, u32 on the GPU.
    pub length: At<'a>,
    /// Keys beyond that, such as the one that this very step has written.
    pub extra: u32,
    /// Most keys that the query sees, the last ones; `None`: all.
    pub window: Option<usize>,
}

/// Elements of the widest head.
const WIDEST: usize = 256;

params! {
    struct Params for ATTENTION {
        rows: u32,
        heads: u32,
        group: u32,
        head_dim: u32,
        keys: u32,
        query_start: u32,
        query_stride: u32,
        key_start: u32,
        key_stride: u32,
        value_start: u32,
        value_stride: u32,
        past: u32,
        scale: f32,
        cap: f32,
        window: u32,
    }
}

params! {
    struct SplitParams for ATTENTION_SPLIT, ATTENTION_SPLIT_DIRECT {
        heads: u32,
        group: u32,
        head_dim: u32,
        splits: u32,
        query_start: u32,
        key_stride: u32,
        length_at: u32,
        extra: u32,
        capacity: u32,
        scale: f32,
        cap: f32,
        window: u32,
    }
}

params! {
    struct MergeParams for ATTENTION_MERGE {
        heads: u32,
        head_dim: u32,
        splits: u32,
    }
}

impl Recorder {
    /// Attention of every row of `q`, `heads * head_dim` columns, to the first rows of `k` and `v`,
    /// `kv_heads * head_dim` columns each, in a new `[q_rows, heads * head_dim]`. Keys and values are f32, or both f16 with
    /// heads that begin and end at multiples of four.
    ///
    /// # Errors
    /// [`OpError::Shape`] if columns do not have these widths or rows are missing; [`OpError::DType`];
    /// [`OpError::Value`] if the heads do not fit together.
    pub fn attention(
        &mut self,
        q: Columns<'_>,
        k: Columns<'_>,
        v: Columns<'_>,
        attention: Attention<'_>,
    ) -> Result<Tensor, OpError> {
        let check = Check("attention");
        let Attention { heads: Heads { heads, kv_heads, head_dim, scale, cap }, kv_len, mask } = attention;
        check_heads(check, attention.heads)?;
        let rows = check_columns(check, "q", q, heads * head_dim)?;
        let keys = keys_part(check, k, v, head_dim)?;
        for (name, columns) in [("k", k), ("v", v)] {
            if check_columns_of(check, name, columns, kv_heads * head_dim, k.tensor.dtype())? < kv_len {
                return Err(check.shape(name, columns.tensor, format!("at least {kv_len} rows")));
            }
        }
        check.value("kv_len", kv_len, kv_len > 0, "at least one key")?;
        let (code, past, window) = match mask {
            Mask::Full => (0, 0, None),
            Mask::Causal { past, window } => {
                check.value("past", past, past + rows <= kv_len, "a key for every query")?;
                check_window(check, window)?;
                (1, past, window)
            }
            Mask::Ranges(Ranges { table, .. }) => {
                check.tensor("ranges", table, &[rows, 2], DType::U32)?;
                (2, 0, None)
            }
            Mask::Tree { past, ancestors } => {
                check.value("past", past, past <= kv_len, "at most the keys")?;
                check.tensor("ancestors", ancestors.table(), &ancestors.shape(rows, kv_len - past), DType::U32)?;
                (3, past, None)
            }
        };

        let threads = self.attention_threads();
        let kernel = self.with_heads(&kernels::ATTENTION, q, keys, attention.heads);
        let kernel = kernel.with("MASK", code).with("THREADS", threads);
        let ranges = match mask {
            Mask::Ranges(ranges) => &ranges.table,
            Mask::Tree { ancestors, .. } => ancestors.table(),
            // Their binding is unused: the queries serve.
            Mask::Full | Mask::Causal { .. } => q.tensor,
        };
        let y = self.transient(&[rows, heads * head_dim], DType::F32);
        let pairs = match mask {
            Mask::Full => (rows * kv_len) as u64,
            Mask::Causal { past, window } => {
                (past + 1..=past + rows).map(|seen| seen.min(window.unwrap_or(seen)) as u64).sum()
            }
            Mask::Ranges(ranges) => ranges.pairs,
            Mask::Tree { past, ancestors } => ancestors.pairs(past),
        };
        let moved = (4 * rows * heads + k.tensor.dtype().bytes() * kv_len * 2 * kv_heads) * head_dim;
        self.dispatch(Dispatch {
            op: "attention",
            kernel,
            params: Params {
                rows: rows as u32,
                heads: heads as u32,
                group: (heads / kv_heads) as u32,
                head_dim: head_dim as u32,
                keys: kv_len as u32,
                query_start: q.start as u32,
                query_stride: stride(q) as u32,
                key_start: k.start as u32,
                key_stride: stride(k) as u32,
                value_start: v.start as u32,
                value_stride: stride(v) as u32,
                past: past as u32,
                scale,
                cap: cap.unwrap_or(1.0),
                window: window_word(window),
            },
            bindings: &[q.tensor, k.tensor, v.tensor, &y, ranges],
            workgroups: Workgroups([rows.div_ceil(threads as usize) as u32, heads as u32, 1]),
            cost: Cost::moving(&[&y]).bytes(moved as u64).flops((4 * head_dim * heads) as u64 * pairs),
        })?;
        Ok(y)
    }

    /// A workgroup's queries see one union of keys: the fewer they are, the tighter. A processor loses nothing with one
    /// subgroup.
    fn attention_threads(&self) -> u32 {
        match self.caps().family {
            KernelFamily::Cpu => 8,
            KernelFamily::Gpu => 64,
        }
    }

    /// Attention of one query, `heads * head_dim` columns of a single row, to the keys that caches `[capacity,
    /// kv_heads * head_dim]` hold so far, in a new `[1, heads * head_dim]`. The number of keys is read on the GPU, so
    /// that a recorded program serves every step. Keys and values are as in [`Recorder::attention`].
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`], [`OpError::Value`] if the heads do not fit together.
    pub fn attention_decode(
        &mut self,
        q: Columns<'_>,
        k: &Tensor,
        v: &Tensor,
        attention: DecodeAttention<'_>,
    ) -> Result<Tensor, OpError> {
        let check = Check("attention_decode");
        let DecodeAttention { heads: Heads { heads, kv_heads, head_dim, scale, cap }, length, extra, window } =
            attention;
        check_heads(check, attention.heads)?;
        check_window(check, window)?;
        if check_columns(check, "q", q, heads * head_dim)? != 1 {
            return Err(check.shape("q", q.tensor, "one row".to_owned()));
        }
        let capacity = k.rows_and_width().0;
        let keys = keys_part(check, k.into(), v.into(), head_dim)?;
        check.tensor("k", k, &[capacity, kv_heads * head_dim], k.dtype())?;
        check.tensor("v", v, &[capacity, kv_heads * head_dim], k.dtype())?;
        check.dtype("length", length.tensor, DType::U32)?;
        check.value("length", length.index, length.index < length.tensor.len(), "an index within its tensor")?;

        // Processors have few cores and read keys fastest if one subgroup reads them for all heads that share them.
        let direct = self.caps().family == KernelFamily::Cpu;
        let (threads, splits) = if direct { (8, 8) } else { (64, 32) };
        let seen = capacity.min(window.unwrap_or(capacity));
        let splits = seen.div_ceil(threads).min(splits);
        let partials = self.transient(&[heads, splits, head_dim], DType::F32);
        let stats = self.transient(&[heads, splits, 2], DType::F32);
        let params = SplitParams {
            heads: heads as u32,
            group: (heads / kv_heads) as u32,
            head_dim: head_dim as u32,
            splits: splits as u32,
            query_start: q.start as u32,
            key_stride: (kv_heads * head_dim) as u32,
            length_at: length.index as u32,
            extra,
            capacity: capacity as u32,
            scale,
            cap: cap.unwrap_or(1.0),
            window: window_word(window),
        };
        let read = k.dtype().bytes() * 2 * seen * kv_heads * head_dim;
        let cost = Cost::moving(&[&partials]).bytes(read as u64).flops((4 * heads * head_dim * seen) as u64);
        if direct {
            let groups = (heads / kv_heads).div_ceil(threads);
            self.dispatch(Dispatch {
                op: "attention_split",
                kernel: self
                    .with_heads(&kernels::ATTENTION_SPLIT_DIRECT, q, keys, attention.heads)
                    .with("THREADS", threads as u32),
                params,
                bindings: &[q.tensor, k, v, &partials, length.tensor, &stats],
                workgroups: Workgroups([splits as u32, kv_heads as u32, groups as u32]),
                cost,
            })?;
        } else {
            self.dispatch(Dispatch {
                op: "attention_split",
                kernel: with_cap(kernels::ATTENTION_SPLIT.variant().part(keys).part(reduce_part(self.caps())), cap)
                    .with("THREADS", threads as u32),
                params,
                bindings: &[q.tensor, k, v, length.tensor, &partials, &stats],
                workgroups: Workgroups([splits as u32, heads as u32, 1]),
                cost,
            })?;
        }
        let y = self.transient(&[1, heads * head_dim], DType::F32);
        self.dispatch(Dispatch {
            op: "attention_merge",
            kernel: kernels::ATTENTION_MERGE.variant().with("THREADS", 64),
            params: MergeParams { heads: heads as u32, head_dim: head_dim as u32, splits: splits as u32 },
            bindings: &[&partials, &stats, &y],
            workgroups: Workgroups::for_items(heads * head_dim, 64),
            cost: Cost::moving(&[&partials, &y]).flops((4 * splits * heads * head_dim) as u64),
        })?;
        Ok(y)
    }

    fn with_heads(
        &self,
        kernel: &'static kernels::Kernel,
        q: Columns<'_>,
        keys: &'static kernels::Part,
        heads: Heads,
    ) -> Variant {
        let variant = kernel
            .variant()
            .part(if is_aligned(q, heads.head_dim) { &kernels::HEADS_VEC4 } else { &kernels::HEADS_SCALAR })
            .part(keys)
            .part(match heads.head_dim {
                0..=32 => &kernels::HEAD_32,
                33..=64 => &kernels::HEAD_64,
                65..=128 => &kernels::HEAD_128,
                _ => &kernels::HEAD_256,
            })
            .part(lanes_part(self.caps(), [&kernels::LINES_DIRECT, &kernels::LINES_LANES4, &kernels::LINES_LANES8]));
        with_cap(variant, heads.cap)
    }
}

/// The word of parameters that says how many keys a query sees.
fn window_word(window: Option<usize>) -> u32 {
    window.and_then(|window| u32::try_from(window).ok()).unwrap_or(u32::MAX)
}

fn check_window(check: Check, window: Option<usize>) -> Result<(), OpError> {
    check.value("window", window.unwrap_or(1), window != Some(0), "at least one key")
}

/// Columns of a row.
fn stride(columns: Columns<'_>) -> usize {
    columns.tensor.rows_and_width().1
}

/// Whether every head begins and ends at a multiple of four elements.
fn is_aligned(columns: Columns<'_>, head_dim: usize) -> bool {
    [columns.start, stride(columns), head_dim].iter().all(|count| count.is_multiple_of(4))
}

/// What reads these keys and values.
fn keys_part(check: Check, k: Columns<'_>, v: Columns<'_>, head_dim: usize) -> Result<&'static kernels::Part, OpError> {
    let aligned = is_aligned(k, head_dim) && is_aligned(v, head_dim);
    if k.tensor.dtype() == DType::F16 {
        check.value("head_dim", head_dim, aligned, "f16 heads at multiples of four elements")?;
        return Ok(&kernels::KEYS_F16);
    }
    check.dtype("k", k.tensor, DType::F32)?;
    Ok(if aligned { &kernels::KEYS_VEC4 } else { &kernels::KEYS_SCALAR })
}

pub(super) fn check_heads(check: Check, heads: Heads) -> Result<(), OpError> {
    let Heads { heads, kv_heads, head_dim, cap, .. } = heads;
    check_cap(check, cap)?;
    check.value("head_dim", head_dim, (1..=WIDEST).contains(&head_dim), "1 to 256")?;
    check.value("heads", heads, heads > 0, "at least one")?;
    check.value("kv_heads", kv_heads, kv_heads > 0 && heads.is_multiple_of(kv_heads), "a divisor of the heads")
}

pub(super) fn check_columns(
    check: Check,
    name: &'static str,
    columns: Columns<'_>,
    width: usize,
) -> Result<usize, OpError> {
    check_columns_of(check, name, columns, width, DType::F32)
}

fn check_columns_of(
    check: Check,
    name: &'static str,
    columns: Columns<'_>,
    width: usize,
    dtype: DType,
) -> Result<usize, OpError> {
    let rows = check.columns_of(name, columns, dtype)?;
    if columns.width == width {
        return Ok(rows);
    }
    Err(check.shape(name, columns.tensor, format!("{width} columns to be taken, not {}", columns.width)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_nmse, on_every_gpu, random, reference};
    use proptest::prelude::*;
    use std::ops::Range;

    /// Sums over up to a few thousand keys in f32, and `exp` of a score whose own rounding grows with its size.
    const LIMIT: f64 = 1e-11;

    /// `width` columns from `start` of rows that are `stride` wide, row after row.
    fn taken(data: &[f32], stride: usize, start: usize, width: usize) -> Vec<f32> {
        data.chunks_exact(stride).flat_map(|row| &row[start..start + width]).copied().collect()
    }

    /// Attention of all heads; `q` is `[rows, heads * head_dim]`, `k` and `v` are `[keys, kv_heads * head_dim]`.
    fn expected(q: &[f32], k: &[f32], v: &[f32], heads: Heads, seen: impl Fn(usize) -> Range<usize>) -> Vec<f64> {
        let sizes = heads;
        let Heads { heads, kv_heads, head_dim, .. } = heads;
        let rows = q.len() / (heads * head_dim);
        let mut all = vec![0.0; q.len()];
        for head in 0..heads {
            let (columns, kv_columns) = (head * head_dim, head / (heads / kv_heads) * head_dim);
            let q = taken(q, heads * head_dim, columns, head_dim);
            let k = taken(k, kv_heads * head_dim, kv_columns, head_dim);
            let v = taken(v, kv_heads * head_dim, kv_columns, head_dim);
            let one = reference::attention(&q, &k, &v, sizes, &seen);
            for row in 0..rows {
                all[row * heads * head_dim + columns..][..head_dim].copy_from_slice(&one[row * head_dim..][..head_dim]);
            }
        }
        all
    }

    fn heads(kv_heads: usize, group: usize, head_dim: usize) -> Heads {
        Heads::new(kv_heads * group, kv_heads, head_dim)
    }

    /// Fused queries, keys and values of as many rows, under every mask.
    fn every_mask(heads: Heads, rows: usize, spread: f32, seed: u64) {
        let (q_width, kv_width) = (heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim);
        let stride = q_width + 2 * kv_width;
        let data: Vec<f32> = random(rows * stride, seed).iter().map(|v| v * spread).collect();
        let q = taken(&data, stride, 0, q_width);
        let k = taken(&data, stride, q_width, kv_width);
        let v = taken(&data, stride, q_width + kv_width, kv_width);
        let past = rows / 3;
        let late = rows - past;
        // Windows of seven, but every ninth row sees nothing.
        let window = |row: usize| if row % 9 == 8 { 0..0 } else { row / 7 * 7..(row / 7 * 7 + 7).min(rows) };
        let ranges: Vec<_> = (0..rows).map(|row| window(row).start as u32..window(row).end as u32).collect();
        let full = expected(&q, &k, &v, heads, |_| 0..rows);
        let causal = expected(&q[..late * q_width], &k, &v, heads, |row| 0..past + row + 1);
        let reach = 1 + seed as usize % rows;
        let near = |row: usize| (past + row + 1).saturating_sub(reach)..past + row + 1;
        let sliding = expected(&q[..late * q_width], &k, &v, heads, near);
        let windowed = expected(&q, &k, &v, heads, window);
        on_every_gpu(|gpu, run| {
            let qkv = gpu.upload("qkv", &[rows, stride], &data)?;
            let late_q = gpu.upload("q", &[late, q_width], &q[..late * q_width])?;
            let ranges = Ranges::new(gpu, &ranges)?;
            let k = qkv.columns(q_width, kv_width);
            let v = qkv.columns(q_width + kv_width, kv_width);
            let y = run.record_all(|rec| {
                let mut attend = |q, mask| rec.attention(q, k, v, Attention { heads, kv_len: rows, mask });
                Ok(vec![
                    attend(qkv.columns(0, q_width), Mask::Full)?,
                    attend((&late_q).into(), Mask::Causal { past, window: None })?,
                    attend((&late_q).into(), Mask::Causal { past, window: Some(reach) })?,
                    attend(qkv.columns(0, q_width), Mask::Ranges(&ranges))?,
                ])
            })?;
            assert_nmse(&y[0], &full, LIMIT);
            assert_nmse(&y[1], &causal, LIMIT);
            assert_nmse(&y[2], &sliding, LIMIT);
            assert_nmse(&y[3], &windowed, LIMIT);
            Ok(())
        });
    }

    proptest! {
        #![proptest_config(crate::testing::cases(3))]

        #[test]
        fn equals_reference(
            (kv_heads, group) in (1usize..4, 1usize..4),
            rows in 1usize..90,
            head_dim in 1usize..=64,
            cap in prop::option::of(0.2f32..9.0),
            seed: u64,
        ) {
            every_mask(Heads { cap, ..heads(kv_heads, group, head_dim) }, rows, 1.0, seed);
        }

        #[test]
        fn decode_equals_reference(
            (kv_heads, group) in (1usize..4, 1usize..4),
            head_dim in 1usize..=256,
            capacity in 1usize..400,
            filled in 0.0f64..1.0,
            window in prop::option::of(1usize..500),
            cap in prop::option::of(0.2f32..9.0),
            seed: u64,
        ) {
            let heads = Heads { cap, ..heads(kv_heads, group, head_dim) };
            decode(heads, capacity, 1 + (filled * (capacity - 1) as f64) as usize, window, seed);
        }
    }

    fn decode(heads: Heads, capacity: usize, length: usize, window: Option<usize>, seed: u64) {
        let (q_width, kv_width) = (heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim);
        let q = random(q_width, seed);
        // What lies beyond the length must not matter.
        let mut k = random(capacity * kv_width, seed ^ 1);
        let mut v = random(capacity * kv_width, seed ^ 2);
        let (first, valid) = (length.saturating_sub(window.unwrap_or(length)), length * kv_width);
        let expected = expected(&q, &k[..valid], &v[..valid], heads, |_| first..length);
        k[valid..].fill(f32::NAN);
        v[valid..].fill(f32::NAN);
        on_every_gpu(|gpu, run| {
            let (q, k) = (gpu.upload("q", &[1, q_width], &q)?, gpu.upload("k", &[capacity, kv_width], &k)?);
            let v = gpu.upload("v", &[capacity, kv_width], &v)?;
            let state = gpu.upload("state", &[3], &[99u32, length as u32 - 1, 99])?;
            let y = run.record(|rec| {
                let attention = DecodeAttention { heads, length: state.at(1), extra: 1, window };
                Ok(rec.attention_decode((&q).into(), &k, &v, attention)?)
            })?;
            assert_nmse(&y, &expected, LIMIT);
            Ok(())
        });
    }

    /// Keys and values in f16 are the numbers that they stand for, by every kernel: with the f32 of the same numbers in the
    /// reference, nothing is left but what f32 rounds.
    #[test]
    fn keys_in_f16_are_the_numbers_they_stand_for() {
        for (kv_heads, group, head_dim, keys) in [(4, 1, 8, 37), (2, 2, 32, 90), (1, 4, 128, 300)] {
            let heads = heads(kv_heads, group, head_dim);
            let (q_width, kv_width) = (heads.heads * head_dim, kv_heads * head_dim);
            let (rows, capacity) = (11, keys + 5);
            let q = random(rows * q_width, 7);
            let halves = |seed| -> Vec<half::f16> {
                random(capacity * kv_width, seed).into_iter().map(half::f16::from_f32).collect()
            };
            let (k, v) = (halves(8), halves(9));
            let wide = |halves: &[half::f16]| -> Vec<f32> {
                halves[..keys * kv_width].iter().map(|half| half.to_f32()).collect()
            };
            let expected = expected(&q, &wide(&k), &wide(&v), heads, |_| 0..keys);
            on_every_gpu(|gpu, run| {
                let q = gpu.upload("q", &[rows, q_width], &q)?;
                let k = gpu.upload("k", &[capacity, kv_width], &k)?;
                let v = gpu.upload("v", &[capacity, kv_width], &v)?;
                let length = gpu.upload("length", &[1], &[keys as u32])?;
                let first = gpu.upload("first", &[1], &[0u32])?;
                let y = run.record_all(|rec| {
                    let attention = Attention { heads, kv_len: keys, mask: Mask::Full };
                    let all = rec.attention((&q).into(), (&k).into(), (&v).into(), attention)?;
                    let one = rec.gather_rows(&q, (&first).into(), 1)?;
                    let attention = DecodeAttention { heads, length: (&length).into(), extra: 0, window: None };
                    Ok(vec![all, rec.attention_decode((&one).into(), &k, &v, attention)?])
                })?;
                assert_nmse(&y[0], &expected, LIMIT);
                assert_nmse(&y[1], &expected[..q_width], LIMIT);
                Ok(())
            });
        }
    }

    #[test]
    fn f16_that_does_not_fit_is_named() {
        on_every_gpu(|gpu, run| {
            let zeros = [half::f16::ZERO; 24];
            let k = gpu.upload("k", &[4, 6], &zeros)?;
            let q = gpu.upload("q", &[2, 6], &[0.0f32; 12])?;
            let attend = |k: &Tensor, v: &Tensor| {
                let attention = Attention { heads: heads(1, 1, 6), kv_len: 4, mask: Mask::Full };
                run.record(|rec| Ok(rec.attention((&q).into(), k.into(), v.into(), attention)?))
                    .unwrap_err()
                    .to_string()
            };
            let expected = "attention: head_dim is 6, expected f16 heads at multiples of four elements";
            assert_eq!(attend(&k, &k), expected);
            let v = gpu.upload("v", &[4, 6], &[0.0f32; 24])?;
            let error = attend(&v, &k);
            assert!(error.starts_with("attention: v is "), "{error}");
            Ok(())
        });
    }

    /// Widths of published models.
    #[test]
    fn head_dims() {
        for head_dim in [12, 32, 64, 72, 80, 88, 104, 112, 128, 256] {
            every_mask(heads(2, 2, head_dim), 21, 1.0, head_dim as u64);
        }
    }

    /// Scores of a thousand and more: nothing overflows, and the largest key wins.
    #[test]
    fn large_scores() {
        let heads = Heads { scale: 1.0, ..heads(2, 1, 32) };
        let (rows, width) = (37, 64);
        let q: Vec<f32> = random(rows * width, 1).iter().map(|v| v.round() * 64.0).collect();
        let k: Vec<f32> = random(rows * width, 2).iter().map(|v| v.round() * 64.0).collect();
        let v = random(rows * width, 3);
        let expected = expected(&q, &k, &v, heads, |_| 0..rows);
        on_every_gpu(|gpu, run| {
            let (q, k) = (gpu.upload("q", &[rows, width], &q)?, gpu.upload("k", &[rows, width], &k)?);
            let v = gpu.upload("v", &[rows, width], &v)?;
            let attention = Attention { heads, kv_len: rows, mask: Mask::Full };
            let y = run.record(|rec| Ok(rec.attention((&q).into(), (&k).into(), (&v).into(), attention)?))?;
            assert_nmse(&y, &expected, LIMIT);
            Ok(())
        });
    }

    /// Keys of another tensor than the queries, more rows than are valid, a single key among them.
    #[test]
    fn cross_attention() {
        let heads = heads(1, 3, 32);
        for (rows, kv_len) in [(5, 1), (30, 77), (77, 30)] {
            let (q, capacity) = (random(rows * 96, 4), kv_len + 9);
            let (mut k, mut v) = (random(capacity * 32, 5), random(capacity * 32, 6));
            let expected = expected(&q, &k[..kv_len * 32], &v[..kv_len * 32], heads, |_| 0..kv_len);
            k[kv_len * 32..].fill(f32::NAN);
            v[kv_len * 32..].fill(f32::NAN);
            on_every_gpu(|gpu, run| {
                let (q, k) = (gpu.upload("q", &[rows, 96], &q)?, gpu.upload("k", &[capacity, 32], &k)?);
                let v = gpu.upload("v", &[capacity, 32], &v)?;
                let attention = Attention { heads, kv_len, mask: Mask::Full };
                let y = run.record(|rec| Ok(rec.attention((&q).into(), (&k).into(), (&v).into(), attention)?))?;
                assert_nmse(&y, &expected, LIMIT);
                Ok(())
            });
        }
    }

    #[test]
    fn wrong_heads_are_named() {
        on_every_gpu(|gpu, run| {
            let x = gpu.upload("x", &[2, 48], &[0.0f32; 96])?;
            let attend = |heads, kv_len, mask| {
                let columns = (x.columns(0, 16), x.columns(16, 16), x.columns(32, 16));
                let attention = Attention { heads, kv_len, mask };
                let outcome = run.record(|rec| Ok(rec.attention(columns.0, columns.1, columns.2, attention)?));
                outcome.unwrap_err().to_string()
            };
            let three = Heads { heads: 3, kv_heads: 2, ..heads(1, 1, 8) };
            assert_eq!(attend(three, 2, Mask::Full), "attention: kv_heads is 2, expected a divisor of the heads");
            let wide = heads(3, 1, 8);
            assert_eq!(attend(wide, 2, Mask::Full), "attention: q is [2, 48], expected 24 columns to be taken, not 16");
            let right = heads(2, 1, 8);
            assert_eq!(attend(right, 3, Mask::Full), "attention: k is [2, 48], expected at least 3 rows");
            let causal = Mask::Causal { past: 1, window: None };
            assert_eq!(attend(right, 2, causal), "attention: past is 1, expected a key for every query");
            let blind = Mask::Causal { past: 0, window: Some(0) };
            assert_eq!(attend(right, 2, blind), "attention: window is 0, expected at least one key");
            let flat = Heads { cap: Some(0.0), ..right };
            assert_eq!(attend(flat, 2, Mask::Full), "attention: cap is 0, expected a positive number");
            Ok(())
        });
    }
}
