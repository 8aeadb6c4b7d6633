//! What a decoder makes of positions: rotations of queries and keys, vectors added to embeddings.

use std::iter::repeat_n;

use fovea_engine::{
    At, Gpu, GpuError, OpError, Recorder, Tensor,
    op::{Heads, Rope, Slot},
};

use super::{DecoderConfig, RotaryConfig};

/// In which numbers a position times a frequency is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Angles {
    /// f32.
    #[default]
    F32,
    /// Position, frequency and product each rounded to bf16: what CogVLM2's published bf16 weights were trained with.
    Bf16,
}

impl Angles {
    /// A position times an inverse frequency.
    fn at(self, position: usize, inv_freq: f64) -> f64 {
        let (position, inv_freq) = (position as f32, inv_freq as f32);
        f64::from(match self {
            Self::F32 => position * inv_freq,
            Self::Bf16 => bf16(bf16(position) * bf16(inv_freq)),
        })
    }
}

/// The nearest bf16, ties to even.
fn bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.saturating_add(0x7fff + ((bits >> 16) & 1));
    f32::from_bits(rounded & 0xffff_0000)
}

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
    fn count(self, capacity: usize) -> usize {
        let Self::Sinusoidal { first } = self;
        capacity.saturating_add(first)
    }

    /// `[count, hidden]`. As in the reference, frequencies and angles are f32.
    fn table(self, count: usize, hidden: usize) -> Vec<f32> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_in_bf16_are_rounded_three_times() {
        let of = |position: usize, inv_freq: f64| Angles::Bf16.at(position, inv_freq);
        // 257 lies between two neighbours, 256 and 258, and goes to the even one; 259 goes up.
        assert_eq!([of(255, 1.0), of(257, 1.0), of(259, 1.0)], [255.0, 256.0, 260.0]);
        // 0.1 is 0x3dcccccd, rounded 0x3dcd: 0.10009765625; times 3 is 0.30029296875, rounded 0x3e9a.
        assert_eq!([of(1, 0.1), of(3, 0.1)], [0.100_097_656_25, 0.300_781_25]);
        assert_eq!(Angles::F32.at(257, 1.0), 257.0);
    }
}
