//! In which numbers rotary angles are computed.

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
    pub(super) fn at(self, position: usize, inv_freq: f64) -> f64 {
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
