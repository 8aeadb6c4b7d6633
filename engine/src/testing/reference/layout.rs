//! Activations, positions, gathers, patches and sampling.

use crate::op::Activation;

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
