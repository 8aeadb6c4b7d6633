//! How weights are stored on the GPU.

/// Weights are padded with zeros to rows of a multiple of this many elements: one quantisation block.
pub const BLOCK: usize = 32;

/// How a weight matrix is stored on the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Blocks of 32 along a row: 8-bit integers with an f16 scale. 8.5 bits a weight.
    Q8,
    /// Blocks of 32 along a row: 4-bit integers with an f16 scale and an f16 minimum. 5 bits a weight.
    Q4,
}

impl Format {
    /// Every format, the most exact first.
    pub const ALL: [Format; 4] = [Format::F32, Format::F16, Format::Q8, Format::Q4];

    /// Bytes that `rows` rows of `width` weights take on the GPU, padding and scales included.
    pub fn bytes(self, rows: usize, width: usize) -> u64 {
        let (quants, scales) = self.row_bytes(width);
        rows as u64 * (quants + scales) as u64
    }

    /// Bytes of a row's quants, and of its scales.
    pub(crate) fn row_bytes(self, width: usize) -> (usize, usize) {
        let padded = width.next_multiple_of(BLOCK);
        match self {
            Format::F32 => (padded * 4, 0),
            Format::F16 => (padded * 2, 0),
            Format::Q8 => (padded, padded / BLOCK * 2),
            Format::Q4 => (padded / 2, padded / BLOCK * 4),
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::Q8 => "q8",
            Format::Q4 => "q4",
        })
    }
}
