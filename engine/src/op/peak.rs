//! What an adapter can do at most, for rooflines: multiply-adds without memory traffic, and a copy without arithmetic.

use super::prelude::*;

/// Floating-point operations of a thread in one round: eight chains of four multiply-adds.
const FLOPS_PER_ROUND: u64 = 64;

params! {
    struct Params for PEAK {
        count: u32,
        rounds: u32,
        factor: f32,
        term: f32,
    }
}

params! {
    struct CopyParams for COPY {
        count: u32,
    }
}

impl Recorder {
    /// A copy of `x`, whose number of elements is a multiple of four, in a new tensor of the same shape and type.
    ///
    /// # Errors
    /// [`OpError::Value`] for another number of elements.
    pub fn copy(&mut self, x: &Tensor) -> Result<Tensor, OpError> {
        let whole = !x.is_empty() && x.len().is_multiple_of(4);
        Check("copy").value("elements", x.len(), whole, "a positive multiple of four")?;
        let y = self.transient(x.shape(), x.dtype());
        self.dispatch(Dispatch {
            op: "copy",
            kernel: kernels::COPY.variant(),
            params: CopyParams { count: (x.len() / 4) as u32 },
            bindings: &[x, &y],
            workgroups: Workgroups::for_items(x.len() / 4, 512),
            cost: Cost::moving(&[x, &y]),
        })?;
        Ok(y)
    }

    /// `threads` numbers, each from `rounds` rounds of 32 multiply-adds, in a new `[threads]`.
    ///
    /// # Errors
    /// [`OpError::Value`] without threads.
    pub fn peak(&mut self, threads: usize, rounds: u32) -> Result<Tensor, OpError> {
        Check("peak").value("threads", threads, threads > 0, "at least one")?;
        let y = self.transient(&[threads], DType::F32);
        self.dispatch(Dispatch {
            op: "peak",
            kernel: kernels::PEAK.variant(),
            params: Params { count: threads as u32, rounds, factor: 0.5, term: 1.0 },
            bindings: &[&y],
            workgroups: Workgroups::for_items(threads, 128),
            cost: Cost::moving(&[&y]).flops(threads as u64 * u64::from(rounds) * FLOPS_PER_ROUND),
        })?;
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{on_every_gpu, random};

    #[test]
    fn copies_are_equal() {
        for elements in [4, 2044, 2048, 2052, 100_000] {
            let x = random(elements, 7);
            on_every_gpu(|gpu, run| {
                let tensor = gpu.upload("x", &[elements], &x)?;
                assert_eq!(run.record_all(|rec| Ok(vec![rec.copy(&tensor)?]))?[0], x);
                Ok(())
            });
        }
    }

    /// Each of the 32 chains of `x = x / 2 + 1` ends at 2.
    #[test]
    fn chains_end_where_they_must() {
        on_every_gpu(|_, run| {
            let y = run.record_all(|rec| Ok(vec![rec.peak(300, 64)?]))?;
            assert!(y[0].iter().all(|&sum| sum == 64.0), "{:?}", y[0]);
            Ok(())
        });
    }
}
