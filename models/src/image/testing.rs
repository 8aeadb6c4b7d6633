//! How pixels are compared with the golden fixtures, and pictures to be compared.

use fovea_engine::testing::golden;

use super::Size;

/// Values of a tensor that a fixture's case has whole, if it has one of that name.
pub(crate) fn tensor(folder: &str, name: &str) -> Option<Vec<f32>> {
    golden::Expected::open(folder).whole(name)
}

/// Every value equal to float rounding: as the resize is bit exact, an 8-bit step (0.014) is a defect.
pub(crate) fn assert_pixels(actual: &[f32], expected: &[f32], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of values");
    let far = actual.iter().zip(expected).filter(|(a, b)| a.is_nan() || (*a - *b).abs() > 1e-6).count();
    assert_eq!(far, 0, "{what}: {far} of {} values differ", expected.len());
}

/// Bytes of a fixed linear congruential generator, smoothed in runs so that edges and flats both occur.
pub(crate) fn noise(size: Size) -> Vec<u8> {
    let mut state = 12_345u32;
    let mut value = 0u8;
    (0..3 * size.pixels())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 30 == 0 {
                value = (state >> 16) as u8;
            }
            value
        })
        .collect()
}

/// A hash: FNV-1a, 64 bits.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
