//! Every op in f64 on the CPU, written for plainness: what the kernels are measured against.

mod layout;
mod product;

pub use layout::*;
pub use product::*;

/// `[rows, width]`: LayerNorm of each row.
pub fn layer_norm(x: &[f32], width: usize, scale: &[f32], shift: &[f32], eps: f64) -> Vec<f64> {
    let row = |row: &[f32]| {
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64;
        let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / width as f64;
        let normalise = |(i, &v): (usize, &f32)| {
            (f64::from(v) - mean) / (variance + eps).sqrt() * f64::from(scale[i]) + f64::from(shift[i])
        };
        row.iter().enumerate().map(normalise).collect::<Vec<_>>()
    };
    x.chunks_exact(width).flat_map(row).collect()
}

/// `[rows, width]`: RMSNorm of each row.
pub fn rms_norm(x: &[f32], width: usize, scale: &[f32], eps: f64) -> Vec<f64> {
    let row = |row: &[f32]| {
        let mean_square = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / width as f64;
        let inv_rms = 1.0 / (mean_square + eps).sqrt();
        row.iter().zip(scale).map(|(&v, &s)| f64::from(v) * inv_rms * f64::from(s)).collect::<Vec<_>>()
    };
    x.chunks_exact(width).flat_map(row).collect()
}
