//! Numbers in f16: half the memory for what is kept, such as the keys and values that a picture's layers see.

use super::prelude::*;

params! {
    struct Params for TO_F16 {
        count: u32,
    }
}

impl Recorder {
    /// `x`, any shape f32, in a new tensor of f16: to the nearest, ties to even, and the largest where `x` is beyond it.
    /// Below 2^-14 in magnitude a number may be off by 2^-24, above by 2^-11 of itself. Needs no shader-f16.
    ///
    /// # Errors
    /// [`OpError::DType`] if `x` is not f32, [`OpError::Shape`] if it is empty.
    pub fn to_f16(&mut self, x: &Tensor) -> Result<Tensor, OpError> {
        Check("to_f16").dtype("x", x, DType::F32)?;
        let y = self.transient(x.shape(), DType::F16);
        self.dispatch(Dispatch {
            op: "to_f16",
            kernel: kernels::TO_F16.variant(),
            params: Params { count: x.len() as u32 },
            bindings: &[x, &y],
            workgroups: Workgroups::for_items(x.len().div_ceil(2), 128),
            cost: Cost::moving(&[x, &y]),
        })?;
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use crate::testing::{block_on, on_every_gpu, random};

    proptest! {
        #![proptest_config(crate::testing::cases(6))]

        /// Equal to IEEE 754's rounding, bit by bit, where f16 has all its digits.
        #[test]
        fn numbers_become_the_nearest(count in 1usize..3000, spread in -3i32..4, seed: u64) {
            let mut values: Vec<f32> = random(count, seed).iter().map(|v| v * 10f32.powi(spread)).collect();
            // Ties: to the even neighbour, up and down. The last number that is not beyond the largest, and the next.
            let special = [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, -65504.0, 65519.0, 65520.0, -1e30, 0.0];
            for (value, special) in values.iter_mut().zip(special) {
                *value = special;
            }
            on_every_gpu(|gpu, _| {
                let x = gpu.upload("x", &[count], &values)?;
                let mut rec = crate::Recorder::new(gpu);
                let y = rec.to_f16(&x)?;
                rec.keep(&y);
                let program = rec.finish()?;
                program.run()?;
                let detached = program.detach(&y)?;
                let halves = block_on(program.read::<f16>(&y))?;
                assert_eq!(block_on(gpu.read::<f16>(&detached))?, halves);
                for (&value, half) in values.iter().zip(halves) {
                    if value.abs() >= f16::MIN_POSITIVE.to_f32() {
                        assert_eq!(half, f16::from_f32(value.clamp(-65504.0, 65504.0)), "{value}");
                    } else {
                        assert!((half.to_f32() - value).abs() <= 2f32.powi(-24), "{value} became {half}");
                    }
                }
                Ok(())
            });
        }
    }

    #[test]
    fn wrong_types_are_named() {
        on_every_gpu(|gpu, run| {
            let x = gpu.upload("x", &[2], &[0u32; 2])?;
            let error = run.record(|rec| Ok(rec.to_f16(&x)?)).unwrap_err().to_string();
            assert!(error.starts_with("to_f16: x is "), "{error}");
            Ok(())
        });
    }
}
