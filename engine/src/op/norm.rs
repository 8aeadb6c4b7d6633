//! Normalisation over the last axis.
//!
//! LayerNorm: `y = (x - mean(x)) / sqrt(var(x) + eps) * scale + shift`, biased variance, per row (Ba, Kiros, Hinton,
//! "Layer Normalization", 2016). RMSNorm: `y = x / sqrt(mean(x^2) + eps) * scale` (Zhang, Sennrich, "Root Mean Square
//! Layer Normalization", 2019). Both in f32 throughout.

use super::{prelude::*, reduce_part};

/// What a [`Recorder::layer_norm`] needs besides its input.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// `[width]`, f32.
    pub scale: &'a Tensor,
    /// `[width]`, f32.
    pub shift: &'a Tensor,
    /// Added to the variance; 1e-5 or 1e-6 in published vision towers.
    pub eps: f32,
}

/// What a [`Recorder::rms_norm`] needs besides its input.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm<'a> {
    /// `[width]`, f32.
    pub scale: &'a Tensor,
    /// Added to the mean square.
    pub eps: f32,
}

params! {
    struct Params for LAYER_NORM, RMS_NORM {
        rows: u32,
        width: u32,
        eps: f32,
    }
}

impl Recorder {
    /// Normalises each row of `x`, `[.., width]` f32, into a new tensor of the same shape.
    ///
    /// # Errors
    /// [`OpError::Shape`] if `scale` or `shift` is not `[width]`, [`OpError::DType`] if any is not f32.
    pub fn layer_norm(&mut self, x: &Tensor, norm: LayerNorm<'_>) -> Result<Tensor, OpError> {
        let check = Check("layer_norm");
        let (rows, width) = x.rows_and_width();
        check.dtype("x", x, DType::F32)?;
        check.tensor("scale", norm.scale, &[width], DType::F32)?;
        check.tensor("shift", norm.shift, &[width], DType::F32)?;

        let y = self.transient(x.shape(), DType::F32);
        self.dispatch(Dispatch {
            op: "layer_norm",
            kernel: self.norm_kernel(&kernels::LAYER_NORM, width),
            params: Params { rows: rows as u32, width: width as u32, eps: norm.eps },
            bindings: &[x, norm.scale, norm.shift, &y],
            workgroups: Workgroups::linear(rows),
            cost: Cost::moving(&[x, &y]).flops(8 * x.len() as u64),
        })?;
        Ok(y)
    }

    /// Normalises each row of `x`, `[.., width]` f32, into a new tensor of the same shape.
    ///
    /// # Errors
    /// [`OpError::Shape`] if `scale` is not `[width]`, [`OpError::DType`] if any is not f32.
    pub fn rms_norm(&mut self, x: &Tensor, norm: RmsNorm<'_>) -> Result<Tensor, OpError> {
        let check = Check("rms_norm");
        let (rows, width) = x.rows_and_width();
        check.dtype("x", x, DType::F32)?;
        check.tensor("scale", norm.scale, &[width], DType::F32)?;

        let y = self.transient(x.shape(), DType::F32);
        self.dispatch(Dispatch {
            op: "rms_norm",
            kernel: self.norm_kernel(&kernels::RMS_NORM, width),
            params: Params { rows: rows as u32, width: width as u32, eps: norm.eps },
            bindings: &[x, norm.scale, &y],
            workgroups: Workgroups::linear(rows),
            cost: Cost::moving(&[x, &y]).flops(4 * x.len() as u64),
        })?;
        Ok(y)
    }

    fn norm_kernel(&self, kernel: &'static kernels::Kernel, width: usize) -> Variant {
        kernel.variant().part(reduce_part(self.caps())).with("THREADS", self.caps().reduction_threads(width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_nmse, on_every_gpu, random, reference};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(12))]

        #[test]
        fn layer_norm_equals_reference(rows in 1usize..70, width in 1usize..3000, spread in 0.1f32..1e3, seed: u64) {
            let x: Vec<f32> = random(rows * width, seed).iter().map(|v| v * spread).collect();
            let (scale, shift) = (random(width, seed ^ 1), random(width, seed ^ 2));
            let expected = reference::layer_norm(&x, width, &scale, &shift, 1e-6);
            on_every_gpu(|gpu, run| {
                let x = gpu.upload("x", &[rows, width], &x)?;
                let (scale, shift) = (gpu.upload("scale", &[width], &scale)?, gpu.upload("shift", &[width], &shift)?);
                let y = run.record(|rec| {
                    Ok(rec.layer_norm(&x, LayerNorm { scale: &scale, shift: &shift, eps: 1e-6 })?)
                })?;
                assert_nmse(&y, &expected, 1e-11);
                Ok(())
            });
        }

        #[test]
        fn rms_norm_equals_reference(rows in 1usize..70, width in 1usize..3000, spread in 0.1f32..1e3, seed: u64) {
            let x: Vec<f32> = random(rows * width, seed).iter().map(|v| v * spread).collect();
            let scale = random(width, seed ^ 1);
            let expected = reference::rms_norm(&x, width, &scale, 1e-6);
            on_every_gpu(|gpu, run| {
                let x = gpu.upload("x", &[rows, width], &x)?;
                let scale = gpu.upload("scale", &[width], &scale)?;
                let y = run.record(|rec| Ok(rec.rms_norm(&x, RmsNorm { scale: &scale, eps: 1e-6 })?))?;
                assert_nmse(&y, &expected, 1e-12);
                Ok(())
            });
        }
    }

    /// More rows than one dimension of a dispatch has workgroups, and rows of one value, whose variance is zero.
    #[test]
    fn many_rows_of_one_value() {
        let (rows, width) = (70_000, 3);
        let x: Vec<f32> = (0..rows * width).map(|i| (i / width % 7) as f32).collect();
        let ones = vec![1.0f32; width];
        on_every_gpu(|gpu, run| {
            let x = gpu.upload("x", &[rows, width], &x)?;
            let ones = gpu.upload("ones", &[width], &ones)?;
            let y = run.record(|rec| Ok(rec.layer_norm(&x, LayerNorm { scale: &ones, shift: &ones, eps: 1e-6 })?))?;
            assert!(y.iter().all(|&v| v == 1.0));
            Ok(())
        });
    }

    #[test]
    fn wrong_shapes_are_named() {
        on_every_gpu(|gpu, run| {
            let x = gpu.upload("x", &[2, 3], &[0.0f32; 6])?;
            let scale = gpu.upload("scale", &[4], &[0.0f32; 4])?;
            let error = run.record(|rec| Ok(rec.rms_norm(&x, RmsNorm { scale: &scale, eps: 1e-6 })?)).unwrap_err();
            assert_eq!(error.to_string(), "rms_norm: scale is [4], expected [3]");
            Ok(())
        });
    }
}
