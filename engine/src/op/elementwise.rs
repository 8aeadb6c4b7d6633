//! Sums and products, element by element.

use super::prelude::*;

params! {
    struct PairParams for ADD, ADD_INTO, MULTIPLY {
        count: u32,
        period: u32,
    }
}

params! {
    struct ScaleParams for SCALE {
        count: u32,
        factor: f32,
    }
}

impl Recorder {
    /// `a + b` in a new tensor, all f32. `b` has the shape of `a`, or of its last axes, and is repeated over the others.
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`].
    pub fn add(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
        self.pair("add", &kernels::ADD, a, b)
    }

    /// `into += b`, both f32. `b` has the shape of `into`, or of its last axes, and is repeated over the others.
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`].
    pub fn add_into(&mut self, into: &Tensor, b: &Tensor) -> Result<(), OpError> {
        let params = pair_params(Check("add_into"), "into", into, b)?;
        self.dispatch(Dispatch {
            op: "add_into",
            kernel: kernels::ADD_INTO.variant(),
            params,
            bindings: &[b, into],
            workgroups: Workgroups::for_items(into.len(), 128),
            cost: Cost::moving(&[b, into, into]).flops(into.len() as u64),
        })
    }

    /// `a * b` in a new tensor, element by element, all f32. `b` is as in [`Recorder::add`].
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`].
    pub fn multiply(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
        self.pair("multiply", &kernels::MULTIPLY, a, b)
    }

    fn pair(
        &mut self,
        op: &'static str,
        kernel: &'static kernels::Kernel,
        a: &Tensor,
        b: &Tensor,
    ) -> Result<Tensor, OpError> {
        let params = pair_params(Check(op), "a", a, b)?;
        let y = self.transient(a.shape(), DType::F32);
        self.dispatch(Dispatch {
            op,
            kernel: kernel.variant(),
            params,
            bindings: &[a, b, &y],
            workgroups: Workgroups::for_items(a.len(), 128),
            cost: Cost::moving(&[a, b, &y]).flops(a.len() as u64),
        })?;
        Ok(y)
    }

    /// `x * factor` in a new tensor, f32.
    ///
    /// # Errors
    /// [`OpError::DType`], and [`OpError::Shape`] if `x` is empty.
    pub fn scale(&mut self, x: &Tensor, factor: f32) -> Result<Tensor, OpError> {
        Check("scale").dtype("x", x, DType::F32)?;
        let y = self.transient(x.shape(), DType::F32);
        self.dispatch(Dispatch {
            op: "scale",
            kernel: kernels::SCALE.variant(),
            params: ScaleParams { count: x.len() as u32, factor },
            bindings: &[x, &y],
            workgroups: Workgroups::for_items(x.len(), 128),
            cost: Cost::moving(&[x, &y]).flops(x.len() as u64),
        })?;
        Ok(y)
    }
}

fn pair_params(check: Check, name: &'static str, a: &Tensor, b: &Tensor) -> Result<PairParams, OpError> {
    check.dtype(name, a, DType::F32)?;
    check.dtype("b", b, DType::F32)?;
    if !a.shape().ends_with(b.shape()) {
        return Err(check.shape("b", b, format!("{:?} or its last axes", a.shape())));
    }
    Ok(PairParams { count: a.len() as u32, period: b.len() as u32 })
}

#[cfg(test)]
mod tests {
    use crate::testing::{on_every_gpu, random};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(6))]

        /// One rounding of the exact result, as IEEE 754 has it: equal to the processor's, bit by bit.
        #[test]
        fn sums_and_products_are_exact(rows in 1usize..40, width in 1usize..700, factor in -9f32..9.0, seed: u64) {
            let a = random(rows * width, seed);
            let (b, row) = (random(rows * width, seed ^ 1), random(width, seed ^ 2));
            on_every_gpu(|gpu, run| {
                let shape = [rows, width];
                let (x, into) = (gpu.upload("x", &shape, &a)?, gpu.upload("into", &shape, &a)?);
                let (y, z) = (gpu.upload("y", &shape, &b)?, gpu.upload("z", &[width], &row)?);
                let results = run.record_all(|rec| {
                    rec.add_into(&into, &y)?;
                    rec.add_into(&into, &z)?;
                    Ok(vec![rec.add(&x, &y)?, rec.add(&x, &z)?, rec.scale(&x, factor)?, into, rec.multiply(&x, &z)?])
                })?;
                for i in 0..a.len() {
                    assert_eq!(results[0][i], a[i] + b[i]);
                    assert_eq!(results[1][i], a[i] + row[i % width]);
                    assert_eq!(results[2][i], a[i] * factor);
                    assert_eq!(results[3][i], a[i] + b[i] + row[i % width]);
                    assert_eq!(results[4][i], a[i] * row[i % width]);
                }
                Ok(())
            });
        }
    }

    #[test]
    fn sums_of_other_shapes_are_refused() {
        on_every_gpu(|gpu, run| {
            let a = gpu.upload("a", &[2, 6], &[0.0f32; 12])?;
            let b = gpu.upload("b", &[3], &[0.0f32; 3])?;
            let error = run.record(|rec| Ok(rec.add(&a, &b)?)).unwrap_err();
            assert_eq!(error.to_string(), "add: b is [3], expected [2, 6] or its last axes");
            Ok(())
        });
    }
}
