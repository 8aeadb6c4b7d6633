//! A bound of scores and logits that is smooth: `cap tanh(x / cap)` (Bello et al., "Neural Combinatorial Optimization
//! with Reinforcement Learning", 2016; Gemma Team, "Gemma 2", 2024). Attention applies it to its scores itself.

use super::prelude::*;

params! {
    struct Params for CAP_EACH {
        count: u32,
        cap: f32,
    }
}

impl Recorder {
    /// `cap tanh(x / cap)` of each element of `x`, any shape f32, in a new tensor.
    ///
    /// # Errors
    /// [`OpError::Value`] if `cap` is no positive number, [`OpError::DType`], and [`OpError::Shape`] if `x` is empty.
    pub fn cap(&mut self, x: &Tensor, cap: f32) -> Result<Tensor, OpError> {
        let check = Check("cap");
        check_cap(check, Some(cap))?;
        check.dtype("x", x, DType::F32)?;
        let y = self.transient(x.shape(), DType::F32);
        self.dispatch(Dispatch {
            op: "cap",
            kernel: with_cap(kernels::CAP_EACH.variant(), Some(cap)),
            params: Params { count: x.len() as u32, cap },
            bindings: &[x, &y],
            workgroups: Workgroups::for_items(x.len(), 128),
            cost: Cost::moving(&[x, &y]).flops(10 * x.len() as u64),
        })?;
        Ok(y)
    }
}

/// The part that bounds, set or not.
pub(super) fn with_cap(variant: Variant, cap: Option<f32>) -> Variant {
    variant.part(&kernels::CAP).with("CAPPED", cap.is_some().into())
}

pub(super) fn check_cap(check: Check, cap: Option<f32>) -> Result<(), OpError> {
    let holds = cap.is_none_or(|cap| cap.is_finite() && cap > 0.0);
    check.value("cap", cap.unwrap_or_default(), holds, "a positive number")
}

#[cfg(test)]
mod tests {
    use crate::testing::{assert_nmse, on_every_gpu, random, reference};

    /// Four roundings of f32 and a tanh within 2e-7, relative: each case on its own, so that large results hide no small
    /// ones.
    const LIMIT: f64 = 1e-13;

    #[test]
    fn equals_reference() {
        for (cap, spread) in [(30.0, 1e-3), (30.0, 20.0), (50.0, 200.0), (0.5, 1e30), (1e-30, 1.0)] {
            let x: Vec<f32> = random(1003, 7).iter().map(|v| v * spread).collect();
            let expected: Vec<f64> = x.iter().map(|&v| reference::capped(f64::from(v), Some(cap))).collect();
            on_every_gpu(|gpu, run| {
                let x = gpu.upload("x", &[17, 59], &x)?;
                assert_nmse(&run.record(|rec| Ok(rec.cap(&x, cap)?))?, &expected, LIMIT);
                Ok(())
            });
        }
    }

    #[test]
    fn caps_that_bound_nothing_are_refused() {
        on_every_gpu(|gpu, run| {
            let x = gpu.upload("x", &[1], &[1.0f32])?;
            for (cap, text) in [(0.0, "0"), (-1.0, "-1"), (f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
                let error = run.record(|rec| Ok(rec.cap(&x, cap)?)).unwrap_err().to_string();
                assert_eq!(error, format!("cap: cap is {text}, expected a positive number"));
            }
            Ok(())
        });
    }
}
