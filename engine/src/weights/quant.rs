//! Packing of rows into planes, and back: the processor's side of `shaders/wgsl/parts/weights_*.wgsl`.

use half::f16;

use super::format::{BLOCK, Format};

/// Packed rows: little-endian words of both planes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The weights.
    pub quants: Vec<u32>,
    /// The scales of quantised formats; empty otherwise.
    pub scales: Vec<u32>,
}

/// Packs rows of one matrix.
pub struct Packer {
    format: Format,
    width: usize,
}

impl Packer {
    /// A packer for rows of `width` weights.
    pub fn new(format: Format, width: usize) -> Self {
        Self { format, width }
    }

    /// Packs whole rows, each padded with zeros to a multiple of [`BLOCK`].
    ///
    /// # Errors
    /// The first number that the format cannot hold.
    pub fn pack(&self, rows: &[f32]) -> Result<Packed, f32> {
        let mut packed = Packed::default();
        let mut halves: Vec<u16> = Vec::new();
        let mut block = [0.0f32; BLOCK];
        for row in rows.chunks(self.width.max(1)) {
            for values in row.chunks(BLOCK) {
                block[..values.len()].copy_from_slice(values);
                block[values.len()..].fill(0.0);
                match self.format {
                    Format::F32 => packed.quants.extend(block.map(f32::to_bits)),
                    Format::F16 => pack_f16(&block, &mut packed.quants)?,
                    Format::Q8 => halves.push(pack_q8(&block, &mut packed.quants)?),
                    // Padding must not widen the range of a block: it multiplies zeros of the input.
                    Format::Q4 => packed.scales.push(pack_q4(&block, values.len(), &mut packed.quants)?),
                }
            }
        }
        if self.format == Format::Q8 {
            let pair = |pair: &[u16]| u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 16;
            packed.scales = halves.chunks(2).map(pair).collect();
        }
        Ok(packed)
    }

    /// The weights that the shaders see, without padding.
    pub fn unpack(&self, packed: &Packed) -> Vec<f32> {
        let padded = self.width.next_multiple_of(BLOCK);
        let half = |bits: u32| f16::from_bits(bits as u16).to_f32();
        let all: Vec<f32> = match self.format {
            Format::F32 => packed.quants.iter().map(|&bits| f32::from_bits(bits)).collect(),
            Format::F16 => packed.quants.iter().flat_map(|&word| [half(word), half(word >> 16)]).collect(),
            Format::Q8 => {
                let quants = packed.quants.iter().flat_map(|word| word.to_le_bytes());
                let scale = |block: usize| half(packed.scales[block / 2] >> (16 * (block % 2)));
                quants.enumerate().map(|(i, q)| scale(i / BLOCK) * f32::from(q as i8)).collect()
            }
            Format::Q4 => {
                let quants = packed.quants.iter().flat_map(|word| (0..8).map(move |i| word >> (4 * i) & 15));
                let value = |(i, q): (usize, u32)| {
                    let scales = packed.scales[i / BLOCK];
                    half(scales) * q as f32 + half(scales >> 16)
                };
                quants.enumerate().map(value).collect()
            }
        };
        all.chunks(padded).flat_map(|row| &row[..self.width]).copied().collect()
    }
}

fn pack_f16(block: &[f32; BLOCK], words: &mut Vec<u32>) -> Result<(), f32> {
    for pair in block.chunks_exact(2) {
        words.push(u32::from(finite_f16(pair[0])?) | u32::from(finite_f16(pair[1])?) << 16);
    }
    Ok(())
}

fn finite_f16(value: f32) -> Result<u16, f32> {
    let half = f16::from_f32(value);
    if half.is_finite() { Ok(half.to_bits()) } else { Err(value) }
}

/// Returns the scale's bits.
fn pack_q8(block: &[f32; BLOCK], words: &mut Vec<u32>) -> Result<u16, f32> {
    let largest = block.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
    let bits = finite_f16(largest / 127.0)?;
    let scale = f16::from_bits(bits).to_f32();
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for four in block.chunks_exact(4) {
        let quant = |i: usize| (four[i] * inverse).round().clamp(-127.0, 127.0) as i8 as u8;
        words.push(u32::from_le_bytes([quant(0), quant(1), quant(2), quant(3)]));
    }
    Ok(bits)
}

/// Returns the scale's bits below the minimum's.
fn pack_q4(block: &[f32; BLOCK], used: usize, words: &mut Vec<u32>) -> Result<u32, f32> {
    let used = &block[..used];
    let smallest = used.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = used.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let minimum_bits = finite_f16(smallest)?;
    let minimum = f16::from_bits(minimum_bits).to_f32();
    let scale_bits = finite_f16((largest - minimum).max(0.0) / 15.0)?;
    let scale = f16::from_bits(scale_bits).to_f32();
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for eight in block.chunks_exact(8) {
        let quant = |v: f32| ((v - minimum) * inverse).round().clamp(0.0, 15.0) as u32;
        words.push(eight.iter().enumerate().fold(0, |word, (i, &v)| word | quant(v) << (4 * i)));
    }
    Ok(u32::from(scale_bits) | u32::from(minimum_bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(64))]

        /// Every weight comes back within half a step of its block, plus the rounding of the f16 scale and minimum.
        #[test]
        fn error_is_within_half_a_step(rows in 1usize..5, width in 1usize..200, spread in 1e-2f32..1e2, seed: u64) {
            let data: Vec<f32> = random(rows * width, seed).iter().map(|v| v * spread).collect();
            for format in Format::ALL {
                let packer = Packer::new(format, width);
                let packed = packer.pack(&data).expect("in range");
                let (quants, scales) = format.row_bytes(width);
                prop_assert_eq!(packed.quants.len() * 4, rows * quants);
                prop_assert_eq!(packed.scales.len(), (rows * scales).div_ceil(4));
                for (row, back) in data.chunks(width).zip(packer.unpack(&packed).chunks(width)) {
                    for (block, back) in row.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                        let largest = block.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                        let low = block.iter().copied().fold(f32::INFINITY, f32::min);
                        let high = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        // f16 has 11 significant bits; a scale below its normal range keeps fewer.
                        let half = 2f32.powi(-11);
                        let limit = match format {
                            Format::F32 => 0.0,
                            Format::F16 => largest * half,
                            Format::Q8 => (0.5 + 127.0 * half) * largest / 127.0 + 127.0 * 6e-8,
                            Format::Q4 => (0.5 + 15.0 * half) * (high - low) / 15.0 + largest * 2.0 * half + 1e-6,
                        };
                        for (v, b) in block.iter().zip(back) {
                            prop_assert!((v - b).abs() <= limit, "{}: {} became {}, limit {}", format, v, b, limit);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_beyond_f16_are_refused() {
        let row = [1e6f32; 32];
        assert_eq!(Packer::new(Format::F16, 32).pack(&row), Err(1e6));
        assert!(Packer::new(Format::Q8, 32).pack(&row).is_ok());
        assert!(Packer::new(Format::Q8, 32).pack(&[1e8f32; 32]).is_err());
        assert!(Packer::new(Format::Q4, 32).pack(&row).is_err());
    }
}
