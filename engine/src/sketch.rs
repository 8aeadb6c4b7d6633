//! Sketches of tensors: 256 random +-1 projections, from which the distance to another tensor follows.
//!
//! A reference tensor `b` is stored as its shape and the 256 numbers `S b`. `S` has a row of signs for each projection,
//! and the normalised mean square error `|a - b|^2 / |b|^2` of a tensor `a` is estimated by `|S a - S b|^2 / |S b|^2`.
//!
//! # Signs
//! One stream of bits serves all tensors. Word `k` (from 0) is output `k` of splitmix64 from the state [`SEED`], modulo
//! 2^64:
//!
//! ```text
//! z = SEED + (k + 1) * 0x9e3779b97f4a7c15
//! z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
//! z = (z ^ (z >> 27)) * 0x94d049bb133111eb
//! z =  z ^ (z >> 31)
//! ```
//!
//! Element `i` (row-major) enters projection `j` with the sign of bit `j % 64`, counted from the least significant one, of
//! word `4 * i + j / 64`: plus where it is 1. Sums are float64, in the order of the elements. `tests/golden/sketch.py`
//! and `tests/browser/pages/sketch.js` are the same in Python and JavaScript, and `tests/golden/sketch.json` holds all
//! three to the same numbers.
//!
//! # How far the estimate is off
//! For independent signs and a vector `x`, `X = |S x|^2 / (256 |x|^2)` has the mean 1 and the variance
//! `2 (1 - |x|_4^4 / |x|_2^4) / 256`, so its standard deviation is at most `sqrt(2 / 256)`, 8.8 %. Its tails are
//! `P(X > 1 + e), P(X < 1 - e) <= exp(-128 (e^2 / 2 - e^3 / 3))` (Achlioptas, Database-friendly random projections, 2003,
//! section 5): 2.4e-5 for `e = 1/2`. The estimate is the quotient of two such `X`, of `a - b` and of `b`. Its relative
//! standard deviation is about 12.5 % (17.7 % if the two were opposed), and it lies between a third and three times
//! the true error with a probability above 1 - 1e-4. So an error above a limit is refused, with that probability, if
//! the estimate may be [a third of the limit](Sketch::limit).
//!
//! The estimate is never small by rounding: sums of float64 are off by at most 1e-16 per element of `|b|_1`, which for a
//! million elements is 1e-10 of the projections, an error of 1e-20. Stored as float32 they would add 1e-15.

use thiserror::Error;

/// Number of projections.
pub const PROJECTIONS: usize = 256;

/// State of the generator before its first output: `sketch-1` in ASCII.
pub const SEED: u64 = 0x736b_6574_6368_2d31;

/// The estimate of an error may be off by this factor, either way, with a probability below 1e-4.
pub const FACTOR: f64 = 3.0;

/// What is wrong with a sketch or with what is compared with it.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SketchError {
    /// As many numbers as the shape does not have.
    #[error("{given} numbers, the shape {shape:?} has {}", count(.shape).map_or("too many".to_owned(), |it| it.to_string()))]
    Count {
        /// The numbers.
        given: usize,
        /// The shape.
        shape: Vec<usize>,
    },
    /// Stored projections that are not [`PROJECTIONS`].
    #[error("{0} projections, a sketch has {PROJECTIONS}")]
    Projections(usize),
}

/// Shape and projections of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Sketch {
    /// The sketch of a tensor in row-major order.
    ///
    /// # Errors
    /// If the shape has another number of elements.
    pub fn of(shape: &[usize], data: &[f32]) -> Result<Self, SketchError> {
        if count(shape) != Some(data.len()) {
            return Err(SketchError::Count { given: data.len(), shape: shape.to_vec() });
        }
        Ok(Self { shape: shape.to_vec(), values: project(0, data) })
    }

    /// A stored sketch.
    ///
    /// # Errors
    /// If there are not [`PROJECTIONS`] values.
    pub fn from_parts(shape: Vec<usize>, values: Vec<f64>) -> Result<Self, SketchError> {
        if values.len() != PROJECTIONS {
            return Err(SketchError::Projections(values.len()));
        }
        Ok(Self { shape, values })
    }

    /// Shape of the tensor.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The projections.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Estimated normalised mean square error of `actual`, with this sketch's tensor as the reference. Not finite if
    /// either has numbers that are not, or if the reference is zero and `actual` is not.
    ///
    /// # Errors
    /// If `actual` has another number of elements.
    pub fn nmse(&self, actual: &[f32]) -> Result<f64, SketchError> {
        let actual = Self::of(&self.shape, actual)?;
        let error: f64 = actual.values.iter().zip(&self.values).map(|(a, b)| (a - b).powi(2)).sum();
        let power: f64 = self.values.iter().map(|b| b * b).sum();
        Ok(if error == 0.0 { 0.0 } else { error / power })
    }

    /// What an estimate may be, where the error itself may be `limit`.
    pub fn limit(limit: f64) -> f64 {
        limit / FACTOR
    }
}

fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side))
}

/// Projections of elements from `first` on.
fn project(first: usize, data: &[f32]) -> Vec<f64> {
    let mut words = Words::from(4 * first as u64);
    let mut sums = vec![0.0; PROJECTIONS];
    for &value in data {
        let bits = f64::from(value).to_bits();
        for sums in sums.as_chunks_mut::<64>().0 {
            // The sign bit is set where the sign is minus.
            let mut minus = !words.next();
            for sum in sums {
                *sum += f64::from_bits(bits ^ (minus << 63));
                minus >>= 1;
            }
        }
    }
    sums
}

/// splitmix64.
struct Words(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Words {
    /// From output `index` on.
    fn from(index: u64) -> Self {
        Self(SEED.wrapping_add(index.wrapping_mul(STEP)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{golden, nmse, random};

    fn wide(values: &[f32]) -> Vec<f64> {
        values.iter().map(|&value| f64::from(value)).collect()
    }

    /// Estimate and true error of `a` with `b` as the reference.
    fn errors(a: &[f32], b: &[f32]) -> (f64, f64) {
        (Sketch::of(&[b.len()], b).unwrap().nmse(a).unwrap(), nmse(a, &wide(b)))
    }

    fn assert_seen(what: &str, a: &[f32], b: &[f32]) {
        let (estimate, error) = errors(a, b);
        assert!(error > 0.0, "{what}: nothing is wrong");
        assert!(estimate >= error / FACTOR && estimate <= error * FACTOR, "{what}: {estimate:e} for {error:e}");
    }

    /// The numbers of `sketch.json` are eighths: every order of summation gives these very sums.
    #[test]
    fn equals_python_and_javascript() {
        let stored = golden::json("sketch.json");
        let data: Vec<f32> = serde_json::from_value(stored["data"].clone()).unwrap();
        let sums: Vec<f64> = serde_json::from_value(stored["sums"].clone()).unwrap();
        assert!(data.len() > 300 && sums.iter().any(|&sum| sum != 0.0));
        assert_eq!(Sketch::of(&[data.len()], &data).unwrap().values(), sums);
        let seed = stored["seed"].as_str().unwrap();
        assert_eq!(format!("{SEED:#018x}"), seed);
    }

    #[test]
    fn splitmix64_is_the_published_one() {
        // From the state 1234567: Rosetta Code's and the generator's own C source's outputs.
        let mut words = Words(1_234_567);
        assert_eq!([words.next(), words.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    /// Mean 1, and the standard deviation of the derivation. Each trial has elements, and so signs, of its own.
    #[test]
    fn the_estimate_of_a_norm_is_unbiased_and_as_wide_as_derived() {
        const TRIALS: usize = 400;
        const LENGTH: usize = 50;
        let mut squares = Vec::new();
        for trial in 0..TRIALS {
            let own = random(LENGTH, trial as u64);
            let sums = project(trial * LENGTH, &own);
            let power: f64 = own.iter().map(|&x| f64::from(x).powi(2)).sum();
            squares.push(sums.iter().map(|sum| sum * sum).sum::<f64>() / (PROJECTIONS as f64 * power));
        }
        let mean = squares.iter().sum::<f64>() / TRIALS as f64;
        let deviation = (squares.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / TRIALS as f64).sqrt();
        // The mean of 400 is off by 8.8 % / 20 = 0.44 %, a deviation by 1 / sqrt(800) = 3.5 % of itself: four of each.
        // Fifty normal numbers have |x|_4^4 / |x|_2^4 of about 3 / 50, which narrows the deviation by 3 %.
        let derived = (2.0 / PROJECTIONS as f64 * (1.0 - 3.0 / LENGTH as f64)).sqrt();
        assert!((mean - 1.0).abs() < 4.0 * derived / (TRIALS as f64).sqrt(), "mean {mean}");
        assert!((deviation / derived - 1.0).abs() < 4.0 * 0.0354, "deviation {deviation}, derived {derived}");
        let worst = squares.iter().fold(0.0f64, |worst, x| worst.max((x - 1.0).abs()));
        assert!(worst < 0.5, "{worst}");
    }

    /// Signs of any two projections, and of any two elements, are as often equal as not.
    #[test]
    fn projections_and_elements_are_independent() {
        const ELEMENTS: usize = PROJECTIONS;
        let mut words = Words::from(0);
        let rows: Vec<Vec<u64>> = (0..ELEMENTS).map(|_| (0..4).map(|_| words.next()).collect()).collect();
        let sign = |i: usize, j: usize| rows[i][j / 64] >> (j % 64) & 1;
        let word = |j: usize, at: usize| (0..64).fold(0, |word, i| word | sign(64 * at + i, j) << i);
        let columns: Vec<Vec<u64>> = (0..PROJECTIONS).map(|j| (0..4).map(|at| word(j, at)).collect()).collect();
        // Of 256 signs 128 +- 8 are equal: six deviations for 32,640 pairs each.
        for (what, signs) in [("element", rows), ("projection", columns)] {
            for (at, a) in signs.iter().enumerate() {
                for b in &signs[..at] {
                    let equal: u32 = a.iter().zip(b).map(|(a, b)| (!(a ^ b)).count_ones()).sum();
                    assert!(equal.abs_diff(128) < 48, "{what} {at}: {equal}");
                }
            }
        }
    }

    /// Elements later in the stream have the signs that they have in a whole tensor.
    #[test]
    fn parts_add_up() {
        let data = random(100, 5);
        let parts = project(0, &data[..33]).into_iter().zip(project(33, &data[33..])).map(|(a, b)| a + b);
        let whole = project(0, &data);
        assert!(parts.zip(&whole).all(|(parts, whole)| (parts - whole).abs() < 1e-9));
    }

    #[test]
    fn small_errors_are_estimated_like_large_ones() {
        let b = random(5000, 1);
        for exponent in [-2, -4, -6] {
            let by = 10f32.powi(exponent);
            let a: Vec<f32> = b.iter().zip(random(5000, 2)).map(|(b, noise)| b + by * noise).collect();
            assert_seen(&format!("noise of {by:e}"), &a, &b);
        }
    }

    #[test]
    fn what_a_defect_changes_is_seen() {
        let (rows, width) = (40, 64);
        let b = random(rows * width, 3);
        let mut a = b.clone();
        a[777] += 0.014;
        assert_seen("one wrong element", &a, &b);
        let mut a = b.clone();
        a.swap(5, 6);
        assert_seen("two neighbours swapped", &a, &b);
        let mut a = b.clone();
        let (first, second) = a.split_at_mut(8 * width);
        first[3 * width..4 * width].swap_with_slice(&mut second[..width]);
        assert_seen("two rows swapped", &a, &b);
        let a: Vec<f32> = b.iter().map(|b| b * 1.001).collect();
        assert_seen("scaled", &a, &b);
        let a: Vec<f32> = b.iter().map(|b| -b).collect();
        assert_seen("negated", &a, &b);
        let a: Vec<f32> = (0..rows * width).map(|i| b[i % rows * width + i / rows]).collect();
        assert_seen("transposed", &a, &b);
        let mut a = b.clone();
        a.rotate_right(1);
        assert_seen("shifted by one", &a, &b);
        let a = vec![0.0; b.len()];
        assert_seen("nothing", &a, &b);
    }

    #[test]
    fn equal_is_zero_and_odd_numbers_never_pass() {
        let b = random(300, 4);
        assert_eq!(errors(&b, &b), (0.0, 0.0));
        let mut a = b.clone();
        a[0] = f32::NAN;
        assert!(errors(&a, &b).0.is_nan());
        a[0] = f32::INFINITY;
        assert!(!errors(&a, &b).0.is_finite());
        let zero = Sketch::of(&[2, 2], &[0.0; 4]).unwrap();
        assert_eq!(zero.nmse(&[0.0; 4]).unwrap(), 0.0);
        assert_eq!(zero.nmse(&[1.0, 0.0, 0.0, 0.0]).unwrap(), f64::INFINITY);
    }

    #[test]
    fn other_sizes_are_refused() {
        let sketch = Sketch::of(&[2, 3], &[1.0; 6]).unwrap();
        assert_eq!(sketch.nmse(&[1.0; 5]).unwrap_err().to_string(), "5 numbers, the shape [2, 3] has 6");
        assert!(matches!(Sketch::of(&[7], &[1.0; 6]), Err(SketchError::Count { given: 6, .. })));
        let beyond = Sketch::of(&[usize::MAX, 2], &[]).unwrap_err().to_string();
        assert!(beyond.ends_with("has too many"), "{beyond}");
        let short = Sketch::from_parts(vec![1], vec![0.0; 255]).unwrap_err();
        assert_eq!(short.to_string(), "255 projections, a sketch has 256");
    }
}
