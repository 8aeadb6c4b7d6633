//! Activations, positions, gathers, patches and sampling.

use crate::op::{Activation, Patchify};

/// An activation of one number.
pub fn activate(x: f64, activation: Activation) -> f64 {
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    match activation {
        Activation::None => x,
        Activation::GeluErf => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Silu => x * sigmoid(x),
        Activation::Relu => x.max(0.0),
    }
}

/// The error function, to 1e-15: its series near zero, the continued fraction of its complement beyond.
pub fn erf(x: f64) -> f64 {
    let t = x.abs();
    let value = if t < 3.0 {
        let mut term = t;
        let mut sum = t;
        for n in 1..100 {
            term *= -t * t / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..=60).rev().fold(t, |tail, n| t + f64::from(n) / 2.0 / tail);
        1.0 - (-t * t).exp() / (std::f64::consts::PI.sqrt() * fraction)
    };
    value.copysign(x)
}

/// `[rows, 2 * width]`, gate | up: `activate(gate) * up`.
pub fn gate(x: &[f32], width: usize, activation: Activation) -> Vec<f64> {
    let row = |row: &[f32]| {
        let (gate, up) = row.split_at(width);
        let both = gate.iter().zip(up);
        both.map(|(&gate, &up)| activate(f64::from(gate), activation) * f64::from(up)).collect::<Vec<_>>()
    };
    x.chunks_exact(2 * width).flat_map(row).collect()
}

/// `[tokens, width]`: `heads` heads from column `start` on, each pair turned by its coordinate of the position.
#[allow(clippy::too_many_arguments)]
pub fn rope(
    x: &[f32],
    width: usize,
    start: usize,
    heads: usize,
    head_dim: usize,
    inv_freq_and_axis: &[(f64, u32)],
    interleaved: bool,
    positions: &[u32],
) -> Vec<f64> {
    let pairs = inv_freq_and_axis.len();
    let axes = positions.len() / (x.len() / width);
    let mut y: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    for (token, row) in y.chunks_exact_mut(width).enumerate() {
        for head in row[start..start + heads * head_dim].chunks_exact_mut(head_dim) {
            for (pair, &(inv_freq, axis)) in inv_freq_and_axis.iter().enumerate() {
                // An angle of thousands is what its f32 product is: part of what published models compute.
                let position = positions[token * axes + axis as usize];
                let (sin, cos) = f64::from(position as f32 * inv_freq as f32).sin_cos();
                let (i, j) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + pairs) };
                (head[i], head[j]) = (head[i] * cos - head[j] * sin, head[j] * cos + head[i] * sin);
            }
        }
    }
    y
}

/// `(y, x)` of each patch of a grid in blocks of `merge` x `merge`.
fn in_blocks(grid_h: usize, grid_w: usize, merge: usize) -> Vec<(usize, usize)> {
    let mut patches = Vec::new();
    for block_y in (0..grid_h).step_by(merge) {
        for block_x in (0..grid_w).step_by(merge) {
            for y in block_y..block_y + merge {
                patches.extend((block_x..block_x + merge).map(|x| (y, x)));
            }
        }
    }
    patches
}

/// `[patches, 3, temporal, patch, patch]` of an RGB image, with the reference's own roundings.
pub fn patchify(image: &[u8], how: &Patchify) -> Vec<f32> {
    let mut values = Vec::new();
    for (row, column) in in_blocks(how.height / how.patch, how.width / how.patch, how.merge) {
        for channel in 0..3 {
            for _ in 0..how.temporal {
                for y in row * how.patch..(row + 1) * how.patch {
                    for x in column * how.patch..(column + 1) * how.patch {
                        let byte = image[(y * how.width + x) * 3 + channel];
                        let value = (f64::from(byte) * how.scale) as f32;
                        values.push((value - how.mean[channel]) / how.std[channel]);
                    }
                }
            }
        }
    }
    values
}

/// `x`, `[frames * grid_h * grid_w, width]`, plus the interpolated positions of a `[side * side, width]` table.
pub fn interpolate_positions(
    x: &[f32],
    table: &[f32],
    width: usize,
    (grid_h, grid_w): (usize, usize),
    side: usize,
    merge: usize,
) -> Vec<f64> {
    let patches = in_blocks(grid_h, grid_w, merge);
    let place = |i: usize, count: usize| (side - 1) as f64 * i as f64 / (count - 1).max(1) as f64;
    let entry = |y: usize, x: usize, i: usize| f64::from(table[(y * side + x) * width + i]);
    let rows = x.chunks_exact(width).zip(patches.iter().cycle());
    let add = |(row, &(patch_y, patch_x)): (&[f32], &(usize, usize))| {
        let (y, x) = (place(patch_y, grid_h), place(patch_x, grid_w));
        let (top, left) = (y.floor() as usize, x.floor() as usize);
        let (bottom, right) = ((top + 1).min(side - 1), (left + 1).min(side - 1));
        let (dy, dx) = (y.fract(), x.fract());
        let interpolated = |i: usize| {
            (1.0 - dy) * ((1.0 - dx) * entry(top, left, i) + dx * entry(top, right, i))
                + dy * ((1.0 - dx) * entry(bottom, left, i) + dx * entry(bottom, right, i))
        };
        row.iter().enumerate().map(|(i, &v)| f64::from(v) + interpolated(i)).collect::<Vec<_>>()
    };
    rows.flat_map(add).collect()
}

/// The ids that sampling keeps, with their probabilities: top-k with ties, then top-p of the softmax with ties.
pub fn sampling(logits: &[f32], temperature: f32, top_k: u32, top_p: f32) -> Vec<(u32, f64)> {
    let mut all: Vec<(u32, f64)> =
        (0u32..).zip(logits).filter(|(_, logit)| !logit.is_nan()).map(|(id, &logit)| (id, f64::from(logit))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    if let Some(&(_, least)) = (top_k as usize).checked_sub(1).and_then(|last| all.get(last)) {
        all.retain(|&(_, logit)| logit >= least);
    }
    let largest = all.first().map_or(0.0, |&(_, logit)| logit);
    let weight = |logit: f64| ((logit - largest) / f64::from(temperature)).exp();
    let total: f64 = all.iter().map(|&(_, logit)| weight(logit)).sum();
    let mut least = f64::NEG_INFINITY;
    if top_p < 1.0 {
        let mut mass = 0.0;
        for &(_, logit) in &all {
            least = logit;
            mass += weight(logit) / total;
            if mass >= f64::from(top_p) {
                break;
            }
        }
    }
    all.retain(|&(_, logit)| logit >= least);
    let total: f64 = all.iter().map(|&(_, logit)| weight(logit)).sum();
    all.into_iter().map(|(id, logit)| (id, weight(logit) / total)).collect()
}
