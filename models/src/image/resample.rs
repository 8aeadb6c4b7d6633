//! Pillow's antialiased resampling of 8-bit pictures, bit by bit.
//!
//! Separable convolution with a filter that is widened by the scale when shrinking; weights in 22-bit fixed point; along
//! the rows first, then along the columns, with the result rounded and clipped to 8 bits after each. (Pillow 13 takes the
//! columns first for some tall pictures; the releases before it, which the references were run with, never do.) Source:
//! Pillow, `src/libImaging/Resample.c`. Why not a library: fast_image_resize 6.1 goes along the columns first, so
//! overshoots are clipped elsewhere (on noise up to 31 % of the bytes differ, by up to 22 steps), and its 16-bit weights
//! alone put one byte of a thousand one step off.

use super::Size;

/// Bits behind the point of a weight: 32, less 8 for a channel and 2 for weights below 0 and above 1.
const PRECISION: u32 = 32 - 8 - 2;

/// How a pixel is made of those around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle.
    Bilinear,
    /// Keys' cubic, a = -0.5.
    Bicubic,
    /// A sinc under the first lobe of one three times as wide.
    Lanczos,
}

impl Filter {
    /// Half its width, in output pixels when shrinking.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => cubic(x),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

/// `rgb`: `[from.height, from.width, 3]`, no side zero; returns `[to.height, to.width, 3]`.
pub(super) fn resize(rgb: &[u8], from: Size, to: Size, filter: Filter) -> Vec<u8> {
    let (from_width, to_width) = (from.width as usize, to.width as usize);
    if from.width == to.width && from.height == to.height {
        return rgb.to_vec();
    }
    let columns;
    let narrowed: &[u8] = if from.width == to.width {
        rgb
    } else {
        columns = resize_columns(rgb, from_width, &taps(from.width, to.width, filter));
        &columns
    };
    if from.height == to.height {
        return narrowed.to_vec();
    }
    resize_rows(narrowed, to_width, &taps(from.height, to.height, filter))
}

/// The weights of one output pixel over input pixels `start..start + weights.len()`.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

fn taps(from: u32, to: u32, filter: Filter) -> Vec<Taps> {
    let scale = f64::from(from) / f64::from(to);
    let widening = scale.max(1.0);
    let support = filter.support() * widening;
    (0..to)
        .map(|pixel| {
            let centre = (f64::from(pixel) + 0.5) * scale;
            let start = ((centre - support + 0.5) as i64).max(0);
            let end = ((centre + support + 0.5) as i64).min(i64::from(from));
            // Pillow multiplies by the reciprocal; dividing would round some weights otherwise.
            let per_pixel = 1.0 / widening;
            let weights: Vec<f64> =
                (start..end).map(|x| filter.weight((x as f64 - centre + 0.5) * per_pixel)).collect();
            // One by one from the left, as the reference adds.
            let total = weights.iter().fold(0.0, |sum, weight| sum + weight);
            let weights = weights
                .iter()
                .map(|weight| {
                    let scaled = weight / total * f64::from(1u32 << PRECISION);
                    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
                })
                .collect();
            Taps { start: start as usize, weights }
        })
        .collect()
}

/// Keys' cubic convolution kernel.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// `sin(pi x) / (pi x)`.
fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

const HALF: i32 = 1 << (PRECISION - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn resize_columns(rgb: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let mut resized = Vec::with_capacity(rgb.len() / width.max(1) * taps.len());
    for row in rgb.chunks_exact(3 * width) {
        let (row, _) = row.as_chunks::<3>();
        for tap in taps {
            let mut sums = [HALF; 3];
            for (pixel, &weight) in row.iter().skip(tap.start).zip(&tap.weights) {
                for (sum, &channel) in sums.iter_mut().zip(pixel) {
                    *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(channel)));
                }
            }
            resized.extend(sums.map(to_byte));
        }
    }
    resized
}

fn resize_rows(rgb: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let mut resized = Vec::with_capacity(3 * width * taps.len());
    let mut sums = vec![HALF; 3 * width];
    for tap in taps {
        sums.fill(HALF);
        let rows = rgb.chunks_exact(3 * width).skip(tap.start);
        for (row, &weight) in rows.zip(&tap.weights) {
            for (sum, &channel) in sums.iter_mut().zip(row) {
                *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(channel)));
            }
        }
        resized.extend(sums.iter().map(|&sum| to_byte(sum)));
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::{fnv, noise};

    /// Hashes (FNV-1a, 64 bits) of what Pillow 13.0.0 makes of the same noise.
    #[test]
    fn equals_pillow() {
        let cases = [
            ((97, 61), (84, 56), 0x44a7_d203_ca9a_1f0b),
            ((200, 140), (196, 140), 0x58d4_0290_03b4_f85c),
            ((333, 250), (336, 252), 0xcc48_39df_c44c_b6a8),
            ((31, 17), (224, 112), 0x33d7_a0da_7321_b2a6),
            ((640, 400), (140, 84), 0x5371_5f70_f732_02ba),
            ((500, 3), (28, 84), 0x8e38_c472_33c1_1af1),
            ((2, 2), (56, 56), 0xc788_39f6_0d13_1bf7),
            ((1, 301), (28, 28), 0x1f39_1e84_7732_d119),
            ((333, 250), (333, 112), 0x7895_6524_acbf_d2de),
            ((613, 407), (1, 1), 0x2fbd_121a_e17f_4037),
        ];
        for ((from_width, from_height), (to_width, to_height), expected) in cases {
            let (from, to) = (Size::new(from_width, from_height), Size::new(to_width, to_height));
            assert_eq!(fnv(&resize(&noise(from), from, to, Filter::Bicubic)), expected, "{from:?} to {to:?}");
        }
    }

    /// Weights of a pixel sum to one, so a flat picture stays flat, whatever the sizes.
    #[test]
    fn flat_stays_flat() {
        for (from, to) in [((1, 1), (7, 5)), ((640, 3), (1, 9)), ((3, 3000), (28, 28))] {
            let (from, to) = (Size::new(from.0, from.1), Size::new(to.0, to.1));
            for value in [0, 1, 127, 255] {
                let flat = vec![value; 3 * from.pixels() as usize];
                for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
                    assert_eq!(resize(&flat, from, to, filter), vec![value; 3 * to.pixels() as usize]);
                }
            }
        }
    }
}
