//! What a decoder makes of positions: rotations of queries and keys, vectors added to embeddings.

use fovea_engine::{
    At, Gpu, GpuError, OpError, Recorder, Tensor,
    op::{Heads, Rope, Slot},
};

use super::{DecoderConfig, RotaryConfig};

/// What positions become, on the GPU.
pub struct PositionTables {
    /// Turns queries, and keys unless they have their own.
    rope: Rope,
    /// Turns keys, whose amplitudes grow where those of queries fall.
    keys: Option<Rope>,
    /// Turns nothing.
    still: Rope,
    /// `[positions, hidden]`.
    absolute: Option<Tensor>,
}

impl PositionTables {
    /// For up to `capacity` tokens.
    pub(super) fn new(gpu: &Gpu, config: &DecoderConfig, capacity: usize) -> Result<Self, GpuError> {
        let rotary = &config.rotary;
        let &RotaryConfig { style, angles, decay, .. } = rotary;
        // A pair that turns by nothing keeps every kernel the same where there are no rotary positions.
        let still = Rope::new(gpu, 1, &[(0.0, 0)], style)?;
        let absolute = match config.options.absolute {
            Some(absolute) => {
                let (count, hidden) = (absolute.count(capacity), config.hidden);
                let (bytes, limit) = (count.saturating_mul(hidden).saturating_mul(4) as u64, gpu.caps().max_binding);
                if bytes > limit {
                    return Err(GpuError::BufferTooLarge { what: "table of positions".to_owned(), bytes, limit });
                }
                Some(gpu.upload("table of positions", &[count, hidden], &absolute.table(count, hidden))?)
            }
            None => None,
        };
        let pairs = rotary.pairs();
        if pairs.is_empty() {
            return Ok(Self { rope: still.clone(), keys: None, still, absolute });
        }
        let axes: Vec<u32> = pairs.iter().map(|&(_, axis)| axis).collect();
        let table = |sign: f64| {
            Rope::tabulated(gpu, capacity, &axes, style, |position, pair| {
                let angle = angles.at(position, pairs.get(pair).map_or(0.0, |&(inv_freq, _)| inv_freq));
                let amplitude = decay.map_or(1.0, |decay| {
                    let zeta = (pair as f64 / pairs.len() as f64 + 0.4) / 1.4;
                    zeta.powf(sign * position as f64 / decay)
                });
                [(amplitude * angle.cos()) as f32, (amplitude * angle.sin()) as f32]
            })
        };
        let keys = if decay.is_some() { Some(table(-1.0)?) } else { None };
        Ok(Self { rope: table(1.0)?, keys, still, absolute })
    }

    /// Embeddings with their positions.
    pub(super) fn add(&self, rec: &mut Recorder, x: Tensor, positions: At<'_>) -> Result<Tensor, OpError> {
        let Some(table) = &self.absolute else { return Ok(x) };
        let rows = rec.gather_rows(table, positions, x.rows_and_width().0)?;
        rec.add(&x, &rows)
    }

    /// Turns the queries of `qkv` in place, and writes turned keys and plain values into a cache from `slot` on.
    pub(super) fn turn(
        &self,
        rec: &mut Recorder,
        qkv: &Tensor,
        heads: Heads,
        positions: At<'_>,
        (keys, values): (&Tensor, &Tensor),
        slot: Slot<'_>,
    ) -> Result<(), OpError> {
        let Heads { heads, kv_heads, head_dim, .. } = heads;
        let mut rope = &self.rope;
        if let Some(own) = &self.keys {
            let (first, width) = (heads * head_dim, kv_heads * head_dim);
            rec.rope(qkv.columns(0, first), heads, head_dim, rope, positions)?;
            rec.rope(qkv.columns(first, width), kv_heads, head_dim, own, positions)?;
            rope = &self.still;
        }
        rec.rope_kv(qkv, heads, kv_heads, head_dim, rope, positions, keys, values, slot)
    }
}
