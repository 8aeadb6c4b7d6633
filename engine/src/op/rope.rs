//! Rotary positions.
//!
//! Each pair `(a, b)` of a head becomes `(a cos - b sin, b cos + a sin)`, the angle being a coordinate of the token's
//! position times the pair's inverse frequency (Su et al., "RoFormer", 2021). Several coordinates give the 2-D rotation
//! of vision towers and M-RoPE (Wang et al., "Qwen2-VL", 2024); which coordinate turns a pair is a table, so that every
//! split into sections is the same kernel.

use super::prelude::*;
use crate::{error::GpuError, gpu::Gpu};

/// Which two elements of a head are a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// Pair i is the elements `i` and `i + pairs`.
    Halves,
    /// Pair i is the elements `2i` and `2i + 1`.
    Interleaved,
}

/// The angles of a model's rotary positions.
#[derive(Clone, Debug)]
pub struct Rope {
    /// `[positions, pairs, 2]` f32: cos, sin.
    pub table: Tensor,
    /// `[pairs]` u32: the coordinate of a position that turns each pair.
    pub axes: Tensor,
    /// Which elements are pairs.
    pub style: RopeStyle,
    /// Coordinates of a position.
    axis_count: usize,
}

impl Rope {
    /// The tables for positions below `positions`, with an inverse frequency and a coordinate for each pair.
    ///
    /// A position has as many coordinates as the largest one named, plus one. As in the reference, the angle is a
    /// product of two f32; its cosine and sine are those of f64, rounded.
    ///
    /// # Errors
    /// [`GpuError::BufferTooLarge`], [`GpuError::OutOfMemory`], and [`GpuError::Rejected`] without pairs or positions.
    pub fn new(
        gpu: &Gpu,
        positions: usize,
        inv_freq_and_axis: &[(f64, u32)],
        style: RopeStyle,
    ) -> Result<Self, GpuError> {
        let axes: Vec<u32> = inv_freq_and_axis.iter().map(|&(_, axis)| axis).collect();
        Self::tabulated(gpu, positions, &axes, style, |position, pair| {
            let inv_freq = inv_freq_and_axis.get(pair).map_or(0.0, |&(inv_freq, _)| inv_freq);
            let angle = f64::from(position as f32 * inv_freq as f32);
            [angle.cos() as f32, angle.sin() as f32]
        })
    }

    /// The tables for positions below `positions`, with a coordinate for each pair, and for each position and pair what
    /// cosine and sine are taken for: those of an angle, perhaps times an amplitude.
    ///
    /// # Errors
    /// As [`Rope::new`].
    pub fn tabulated(
        gpu: &Gpu,
        positions: usize,
        axes: &[u32],
        style: RopeStyle,
        turn: impl Fn(usize, usize) -> [f32; 2],
    ) -> Result<Self, GpuError> {
        let axis_count = match axes.iter().max() {
            Some(&axis) if positions > 0 => axis as usize + 1,
            _ => return Err(GpuError::Rejected("rotary positions without pairs or positions".to_owned())),
        };
        // Before the table is made: the number of positions comes from a model's configuration.
        let bytes = [positions, axes.len(), 8].iter().fold(1u64, |bytes, &n| bytes.saturating_mul(n as u64));
        let limit = gpu.caps().max_binding.min(gpu.caps().max_buffer);
        if bytes > limit {
            return Err(GpuError::BufferTooLarge { what: "rotary table".to_owned(), bytes, limit });
        }
        let pairs = |position| (0..axes.len()).map(move |pair| (position, pair));
        let table: Vec<f32> =
            (0..positions).flat_map(pairs).flat_map(|(position, pair)| turn(position, pair)).collect();
        Ok(Self {
            table: gpu.upload("rotary table", &[positions, axes.len(), 2], &table)?,
            axes: gpu.upload("rotary axes", &[axes.len()], axes)?,
            style,
            axis_count,
        })
    }

    /// Coordinates of a position.
    pub fn axis_count(&self) -> usize {
        self.axis_count
    }

    fn positions(&self) -> usize {
        self.table.shape().first().copied().unwrap_or_default()
    }

    fn pairs(&self) -> usize {
        self.axes.len()
    }

    fn check(&self, check: Check, head_dim: usize, tokens: usize, positions: At<'_>) -> Result<(), OpError> {
        check.dtype("table", &self.table, DType::F32)?;
        check.dtype("axes", &self.axes, DType::U32)?;
        check.tensor("table", &self.table, &[self.positions(), self.pairs(), 2], DType::F32)?;
        let expected = format!("at least {}, the rotated part", 2 * self.pairs());
        check.value("head_dim", head_dim, head_dim >= 2 * self.pairs(), &expected)?;
        check.integers("positions", positions, tokens.saturating_mul(self.axis_count))
    }
}

/// The first row of a KV cache that is written.
#[derive(Clone, Copy, Debug)]
pub enum Slot<'a> {
    /// Known when the program is recorded.
    Fixed(usize),
    /// A u32 on the GPU, such as [`DecodeState::length_at`](super::DecodeState::length_at).
    From(At<'a>),
}

params! {
    struct Params for ROPE {
        count: u32,
        heads: u32,
        head_dim: u32,
        pairs: u32,
        width: u32,
        start: u32,
        interleaved: u32,
        axes: u32,
        first_position: u32,
        table_rows: u32,
    }
}

params! {
    struct KvParams for ROPE_KV {
        count: u32,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        pairs: u32,
        interleaved: u32,
        axes: u32,
        first_position: u32,
        table_rows: u32,
        slot_from: u32,
        slot: u32,
        capacity: u32,
    }
}

impl Recorder {
    /// Turns `heads` heads of `head_dim` elements in place, from column `x.start` on; the rest of `x` stays as it is.
    ///
    /// `positions` is `[tokens, rope.axis_count()]` u32 from its index on. Positions beyond the table are taken for its
    /// last. A head's elements beyond the pairs of `rope` are not turned.
    ///
    /// # Errors
    /// [`OpError::Shape`] if `x` is not as wide as the heads or `positions` is too short, [`OpError::Value`] if a head is
    /// smaller than its pairs, [`OpError::DType`].
    pub fn rope(
        &mut self,
        x: Columns<'_>,
        heads: usize,
        head_dim: usize,
        rope: &Rope,
        positions: At<'_>,
    ) -> Result<(), OpError> {
        let check = Check("rope");
        let tokens = check.columns("x", x)?;
        let wanted = heads.saturating_mul(head_dim);
        check.value("columns", x.width, wanted > 0 && x.width == wanted, &format!("{wanted}, all heads"))?;
        rope.check(check, head_dim, tokens, positions)?;

        let count = tokens * heads * rope.pairs();
        self.dispatch(Dispatch {
            op: "rope",
            kernel: kernels::ROPE.variant(),
            params: Params {
                count: count as u32,
                heads: heads as u32,
                head_dim: head_dim as u32,
                pairs: rope.pairs() as u32,
                width: x.tensor.rows_and_width().1 as u32,
                start: x.start as u32,
                interleaved: u32::from(rope.style == RopeStyle::Interleaved),
                axes: rope.axis_count as u32,
                first_position: positions.index as u32,
                table_rows: rope.positions() as u32,
            },
            bindings: &[&rope.table, &rope.axes, positions.tensor, x.tensor],
            workgroups: Workgroups::for_items(count, 128),
            cost: Cost::default().bytes(16 * count as u64).flops(6 * count as u64),
        })
    }

    /// Turns queries in place, and writes turned keys and plain values into a KV cache, in one dispatch.
    ///
    /// `qkv` is `[tokens, (heads + 2 * kv_heads) * head_dim]` f32, queries | keys | values; both caches are
    /// `[capacity, kv_heads * head_dim]` f32. Token t goes to cache row `slot + t`; rows beyond the capacity are not
    /// written. Positions are as in [`Recorder::rope`].
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`], and [`OpError::Value`] if a head is smaller than its pairs.
    #[allow(clippy::too_many_arguments)]
    pub fn rope_kv(
        &mut self,
        qkv: &Tensor,
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
        rope: &Rope,
        positions: At<'_>,
        cache_k: &Tensor,
        cache_v: &Tensor,
        slot: Slot<'_>,
    ) -> Result<(), OpError> {
        let check = Check("rope_kv");
        check.dtype("qkv", qkv, DType::F32)?;
        let (tokens, width) = qkv.rows_and_width();
        let all_heads = kv_heads.saturating_mul(2).saturating_add(heads);
        if heads == 0 || kv_heads == 0 || width != all_heads.saturating_mul(head_dim) {
            let expected = format!("[tokens, ({heads} + 2 * {kv_heads}) * {head_dim}]");
            return Err(check.shape("qkv", qkv, expected));
        }
        let capacity = cache_k.rows_and_width().0;
        check.tensor("cache_k", cache_k, &[capacity, kv_heads * head_dim], DType::F32)?;
        check.tensor("cache_v", cache_v, &[capacity, kv_heads * head_dim], DType::F32)?;
        rope.check(check, head_dim, tokens, positions)?;
        let (slot_from, slot, slots) = match slot {
            // The positions stand in for the tensor that is not read.
            Slot::Fixed(row) => (0, u32::try_from(row).unwrap_or(u32::MAX), positions.tensor),
            Slot::From(at) => {
                check.integers("slot", at, 1)?;
                (1, at.index as u32, at.tensor)
            }
        };

        let count = tokens * all_heads * (head_dim - rope.pairs());
        self.dispatch(Dispatch {
            op: "rope_kv",
            kernel: kernels::ROPE_KV.variant(),
            params: KvParams {
                count: count as u32,
                heads: heads as u32,
                kv_heads: kv_heads as u32,
                head_dim: head_dim as u32,
                pairs: rope.pairs() as u32,
                interleaved: u32::from(rope.style == RopeStyle::Interleaved),
                axes: rope.axis_count as u32,
                first_position: positions.index as u32,
                table_rows: rope.positions() as u32,
                slot_from,
                slot,
                capacity: capacity as u32,
            },
            bindings: &[&rope.table, &rope.axes, positions.tensor, slots, qkv, cache_k, cache_v],
            workgroups: Workgroups::for_items(count, 128),
            cost: Cost::default().bytes(2 * qkv.bytes()).flops(3 * (tokens * (heads + kv_heads) * head_dim) as u64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_nmse, block_on, on_every_gpu, random, reference};
    use proptest::prelude::*;

    /// Inverse frequencies as published, with the coordinate of each pair.
    fn frequencies(axes: &[u32]) -> Vec<(f64, u32)> {
        let pairs = axes.len() as f64;
        axes.iter().enumerate().map(|(i, &axis)| (1e4f64.powf(-(i as f64) / pairs), axis)).collect()
    }

    /// The layouts that models use: one axis, rows then columns (2-D), sections (M-RoPE), interleaved sections.
    fn layout(kind: usize, pairs: usize) -> Vec<u32> {
        let axis = |i: usize| match kind {
            0 => 0,
            1 => (2 * i / pairs) as u32,
            2 => [0, 1, 1, 2, 2][5 * i / pairs],
            _ => (i % 3) as u32,
        };
        (0..pairs).map(axis).collect()
    }

    proptest! {
        #![proptest_config(crate::testing::cases(12))]

        #[test]
        fn turns_as_the_reference(
            (tokens, heads, pairs, rest) in (1usize..20, 1usize..6, 1usize..70, 0usize..5),
            (before, after, skipped, kind) in (0usize..4, 0usize..4, 0usize..5, 0usize..4),
            interleaved: bool,
            seed: u64,
        ) {
            let style = if interleaved { RopeStyle::Interleaved } else { RopeStyle::Halves };
            let head_dim = 2 * pairs + rest;
            let width = before + heads * head_dim + after;
            let frequencies = frequencies(&layout(kind, pairs));
            let axes = 1 + frequencies.iter().map(|&(_, axis)| axis).max().unwrap_or(0) as usize;
            let values = random(tokens * width, seed);
            // Some lie beyond the table of 3000.
            let positions: Vec<u32> =
                random(skipped + tokens * axes, seed ^ 1).iter().map(|v| (v.abs() * 1500.0) as u32).collect();
            let clamped: Vec<u32> = positions[skipped..].iter().map(|&p| p.min(2999)).collect();
            let expected =
                reference::rope(&values, width, before, heads, head_dim, &frequencies, interleaved, &clamped);
            on_every_gpu(|gpu, run| {
                let rope = Rope::new(gpu, 3000, &frequencies, style)?;
                let x = gpu.upload("x", &[tokens, width], &values)?;
                let positions = gpu.upload("positions", &[positions.len()], &positions)?;
                let y = run.record(|rec| {
                    rec.rope(x.columns(before, heads * head_dim), heads, head_dim, &rope, positions.at(skipped))?;
                    Ok(x.clone())
                })?;
                assert_nmse(&y, &expected, 1e-12);
                Ok(())
            });
        }

        #[test]
        fn fills_the_cache(
            (tokens, heads, kv_heads, pairs, rest) in (1usize..12, 1usize..6, 1usize..4, 1usize..40, 0usize..90),
            (slot, kind) in (0usize..12, 0usize..4),
            (interleaved, fixed) in (any::<bool>(), any::<bool>()),
            seed: u64,
        ) {
            let style = if interleaved { RopeStyle::Interleaved } else { RopeStyle::Halves };
            let head_dim = 2 * pairs + rest;
            let (capacity, cache_width) = (16, kv_heads * head_dim);
            let width = (heads + 2 * kv_heads) * head_dim;
            let frequencies = frequencies(&layout(kind, pairs));
            let axes = 1 + frequencies.iter().map(|&(_, axis)| axis).max().unwrap_or(0) as usize;
            let values = random(tokens * width, seed);
            let positions: Vec<u32> = random(tokens * axes, seed ^ 1).iter().map(|v| (v.abs() * 500.0) as u32).collect();
            let turned = reference::rope(
                &values, width, 0, heads + kv_heads, head_dim, &frequencies, interleaved, &positions,
            );
            // Keys stay as they are in qkv; the caches keep what they hold in other rows.
            let mut expected_qkv: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
            let mut expected_k = vec![7.0f64; capacity * cache_width];
            let mut expected_v = vec![7.0f64; capacity * cache_width];
            for token in 0..tokens {
                let row = token * width;
                let keys = row + heads * head_dim;
                expected_qkv[row..keys].copy_from_slice(&turned[row..keys]);
                if slot + token < capacity {
                    let to = (slot + token) * cache_width..(slot + token + 1) * cache_width;
                    expected_k[to.clone()].copy_from_slice(&turned[keys..keys + cache_width]);
                    expected_v[to].copy_from_slice(&turned[keys + cache_width..keys + 2 * cache_width]);
                }
            }
            on_every_gpu(|gpu, run| {
                let rope = Rope::new(gpu, 5000, &frequencies, style)?;
                let qkv = gpu.upload("qkv", &[tokens, width], &values)?;
                let positions = gpu.upload("positions", &[tokens, axes], &positions)?;
                let slots = gpu.upload("slots", &[2], &[99, slot as u32])?;
                let sevens = vec![7.0f32; capacity * cache_width];
                let k = gpu.upload("k", &[capacity, cache_width], &sevens)?;
                let v = gpu.upload("v", &[capacity, cache_width], &sevens)?;
                let from = if fixed { Slot::Fixed(slot) } else { Slot::From(slots.at(1)) };
                run.record_all(|rec| {
                    rec.rope_kv(&qkv, heads, kv_heads, head_dim, &rope, (&positions).into(), &k, &v, from)?;
                    Ok(vec![])
                })?;
                assert_nmse(&block_on(gpu.read(&qkv))?, &expected_qkv, 1e-12);
                assert_nmse(&block_on(gpu.read(&k))?, &expected_k, 1e-12);
                assert_nmse(&block_on(gpu.read(&v))?, &expected_v, 1e-12);
                Ok(())
            });
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        on_every_gpu(|gpu, run| {
            let rope = Rope::new(gpu, 4, &frequencies(&[0, 1]), RopeStyle::Halves)?;
            let x = gpu.upload("x", &[2, 6], &[0.0f32; 12])?;
            let positions = gpu.upload("positions", &[3], &[0u32; 3])?;
            let wrong = |x: Columns<'_>, heads, head_dim| {
                let error = run.record_all(|rec| {
                    rec.rope(x, heads, head_dim, &rope, positions.at(0))?;
                    Ok(vec![])
                });
                error.unwrap_err().to_string()
            };
            assert_eq!(wrong(x.columns(0, 6), 1, 6), "rope: positions is [3], expected 4 elements from 0 on");
            assert_eq!(wrong(x.columns(0, 6), 2, 3), "rope: head_dim is 3, expected at least 4, the rotated part");
            assert_eq!(wrong(x.columns(0, 6), 2, 4), "rope: columns is 6, expected 8, all heads");
            assert_eq!(wrong(x.columns(4, 4), 1, 4), "rope: x is [2, 6], expected columns 4 .. +4 within each row");
            assert!(Rope::new(gpu, 4, &[], RopeStyle::Halves).is_err());
            let huge = Rope::new(gpu, usize::MAX, &frequencies(&[0, 1]), RopeStyle::Halves);
            assert!(matches!(huge, Err(GpuError::BufferTooLarge { .. })));
            Ok(())
        });
    }
}
