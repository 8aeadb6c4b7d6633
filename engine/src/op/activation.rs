//! Activations of single numbers, alone or as the gate of a gated unit.
//!
//! GELU: `x Φ(x)`, with erf, or by the tanh or the quick approximation (Hendrycks, Gimpel, "Gaussian Error Linear
//! Units", 2016); SiLU: `x / (1 + exp(-x))` (Elfwing, Uchibe, Doya, 2017). Gated: `activate(gate) * up` (Shazeer,
//! "GLU Variants Improve Transformer", 2020).

use super::prelude::*;

/// An activation of a single number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x`.
    #[default]
    None,
    /// `x / 2 (1 + erf(x / √2))`.
    GeluErf,
    /// `x / 2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// `x / (1 + exp(-1.702 x))`.
    QuickGelu,
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The value of the constant `ACTIVATION` of [`kernels::ACTIVATION`].
    pub const fn code(self) -> u32 {
        match self {
            Self::None => 0,
            Self::GeluErf => 1,
            Self::GeluTanh => 2,
            Self::QuickGelu => 3,
            Self::Silu => 4,
            Self::Relu => 5,
        }
    }

    /// About how many floating-point operations it takes.
    pub(super) const fn flops(self) -> u64 {
        match self {
            Self::None => 0,
            Self::GeluErf => 30,
            Self::GeluTanh => 10,
            Self::QuickGelu | Self::Silu => 5,
            Self::Relu => 1,
        }
    }
}

params! {
    struct ActivationParams for ACTIVATION_EACH {
        count: u32,
    }
}

params! {
    struct GateParams for GATE {
        count: u32,
        width: u32,
    }
}

impl Recorder {
    /// The activation of each element of `x`, any shape f32, in a new tensor.
    ///
    /// # Errors
    /// [`OpError::DType`] if `x` is not f32, [`OpError::Shape`] if it is empty.
    pub fn activation(&mut self, x: &Tensor, activation: Activation) -> Result<Tensor, OpError> {
        Check("activation").dtype("x", x, DType::F32)?;
        let y = self.transient(x.shape(), DType::F32);
        self.dispatch(Dispatch {
            op: "activation",
            kernel: activated(&kernels::ACTIVATION_EACH, activation),
            params: ActivationParams { count: x.len() as u32 },
            bindings: &[x, &y],
            workgroups: Workgroups::for_items(x.len(), 128),
            cost: Cost::moving(&[x, &y]).flops(activation.flops() * x.len() as u64),
        })?;
        Ok(y)
    }

    /// `activate(gate) * up`, where each row of `x`, `[rows, 2 * width]` f32, is gate | up; a new `[rows, width]`.
    ///
    /// # Errors
    /// [`OpError::Shape`] if the rows of `x` have no halves, [`OpError::DType`] if it is not f32.
    pub fn gate(&mut self, x: &Tensor, activation: Activation) -> Result<Tensor, OpError> {
        let check = Check("gate");
        check.dtype("x", x, DType::F32)?;
        let (rows, both) = x.rows_and_width();
        if !both.is_multiple_of(2) {
            return Err(check.shape("x", x, "rows of an even width".to_owned()));
        }
        let y = self.transient(&[rows, both / 2], DType::F32);
        self.dispatch(Dispatch {
            op: "gate",
            kernel: activated(&kernels::GATE, activation),
            params: GateParams { count: y.len() as u32, width: (both / 2) as u32 },
            bindings: &[x, &y],
            workgroups: Workgroups::for_items(y.len(), 128),
            cost: Cost::moving(&[x, &y]).flops((activation.flops() + 1) * y.len() as u64),
        })?;
        Ok(y)
    }
}

fn activated(kernel: &'static kernels::Kernel, activation: Activation) -> Variant {
    kernel.variant().part(&kernels::ACTIVATION).with("ACTIVATION", activation.code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_nmse, on_every_gpu, random, reference};
    use proptest::prelude::*;

    const ALL: [Activation; 6] = [
        Activation::None,
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Silu,
        Activation::Relu,
    ];

    proptest! {
        #![proptest_config(crate::testing::cases(6))]

        #[test]
        fn activations_equal_reference(count in 1usize..5000, spread in 0.01f32..1e3, seed: u64) {
            let values: Vec<f32> = random(count, seed).iter().map(|v| v * spread).collect();
            on_every_gpu(|gpu, run| {
                let x = gpu.upload("x", &[count], &values)?;
                for activation in ALL {
                    let expected: Vec<f64> =
                        values.iter().map(|&v| reference::activate(f64::from(v), activation)).collect();
                    let y = run.record(|rec| Ok(rec.activation(&x, activation)?))?;
                    assert_nmse(&y, &expected, 1e-12);
                }
                Ok(())
            });
        }

        #[test]
        fn gates_equal_reference(rows in 1usize..40, width in 1usize..300, spread in 0.01f32..1e2, seed: u64) {
            let values: Vec<f32> = random(rows * 2 * width, seed).iter().map(|v| v * spread).collect();
            on_every_gpu(|gpu, run| {
                let x = gpu.upload("x", &[rows, 2 * width], &values)?;
                for activation in ALL {
                    let y = run.record(|rec| Ok(rec.gate(&x, activation)?))?;
                    assert_nmse(&y, &reference::gate(&values, width, activation), 1e-12);
                }
                Ok(())
            });
        }
    }

    /// Every activation is smooth over its whole range: no overflow, no jump where polynomials meet. What differs from
    /// the reference is below 4 ulp of the larger of `x` and 1: two for erf, the rest for a driver's `exp`.
    #[test]
    fn every_argument_is_close() {
        let mut values: Vec<f32> = (-6000i16..=6000).map(|i| f32::from(i) / 1000.0).collect();
        values
            .extend([-3e38, -1e30, -1e10, -1e4, -89.0, -88.0, -50.0, -20.0, -16.0, 16.0, 20.0, 88.0, 1e4, 1e30, 3e38]);
        on_every_gpu(|gpu, run| {
            let x = gpu.upload("x", &[values.len()], &values)?;
            for activation in ALL {
                let y = run.record(|rec| Ok(rec.activation(&x, activation)?))?;
                for (&x, &y) in values.iter().zip(&y) {
                    let expected = reference::activate(f64::from(x), activation);
                    let allowed = 4.0 * f64::from(f32::EPSILON) * f64::from(x.abs().max(1.0));
                    assert!((f64::from(y) - expected).abs() <= allowed, "{activation:?}({x}) = {y}, not {expected}");
                }
            }
            Ok(())
        });
    }

    #[test]
    fn odd_rows_have_no_gate() {
        on_every_gpu(|gpu, run| {
            let x = gpu.upload("x", &[2, 3], &[0.0f32; 6])?;
            let error = run.record(|rec| Ok(rec.gate(&x, Activation::Silu)?)).unwrap_err();
            assert_eq!(error.to_string(), "gate: x is [2, 3], expected rows of an even width");
            Ok(())
        });
    }
}
