//! Matrix products with weights: `y = residual + activate(x w^T + bias)`.
//!
//! Four kernels: many rows or at most four, in the family for processors or that for GPUs. The former read straight from
//! memory, since workgroup memory is no faster there and loads are what costs: 16 rows by 4 columns in the registers of a
//! thread, and inputs that one lane loads for all, make ten times the speed of a plain 8 by 8 tile.
//! Every accumulator is f32; weights are unpacked to f32 on the way.

use super::{Activation, lanes_part, prelude::*, reduce_part};
use crate::weights::{Format, Weight, WeightPart};

/// What follows a product on its way to memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// `[n]` f32, or `n` columns of a longer vector, added to each row.
    pub bias: Option<Columns<'a>>,
    /// Applied after the bias.
    pub activation: Activation,
    /// `[rows, n]` f32, added last.
    pub residual: Option<&'a Tensor>,
}

/// Rows up to which a product is a mat-vec.
const FEW_ROWS: usize = 4;

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// At most four rows: a column a thread.
    FewDirect,
    /// At most four rows: the threads of a workgroup share four columns.
    FewShared,
    /// Many rows straight from memory.
    Direct,
    /// Many rows through workgroup memory.
    Tiled,
}

params! {
    struct Params for GEMM, GEMM_TILED, MATVEC, MATVEC_DIRECT {
        rows: u32,
        k: u32,
        columns: u32,
        skipped: u32,
        first_column: u32,
        width: u32,
        first_bias: u32,
    }
}

impl Recorder {
    /// The product of each row of `x`, `[.., k]` f32, with each row of `w`, `[n, k]`, in a new `[rows, n]`.
    ///
    /// # Errors
    /// [`OpError::Shape`] if `x` is not as wide as `w`, the bias is not `[n]` or the residual not `[rows, n]`;
    /// [`OpError::DType`] if any is not f32.
    pub fn matmul(&mut self, x: &Tensor, w: &Weight, epilogue: Epilogue<'_>) -> Result<Tensor, OpError> {
        let y = self.transient(&[x.rows_and_width().0, w.rows], DType::F32);
        self.matmul_into(x, w, epilogue, &y)?;
        Ok(y)
    }

    /// As [`Recorder::matmul`], into `y`, `[rows, n]` f32, such as that of a [`Chunk`](super::Chunk).
    ///
    /// # Errors
    /// As [`Recorder::matmul`], and if `y` does not have this shape.
    pub fn matmul_into(&mut self, x: &Tensor, w: &Weight, epilogue: Epilogue<'_>, y: &Tensor) -> Result<(), OpError> {
        let method = match (x.rows_and_width().0 <= FEW_ROWS, self.caps().family) {
            (true, KernelFamily::Cpu) => Method::FewDirect,
            (true, KernelFamily::Gpu) => Method::FewShared,
            (false, KernelFamily::Cpu) => Method::Direct,
            (false, KernelFamily::Gpu) => Method::Tiled,
        };
        self.matmul_by(method, x, w, epilogue, y)
    }

    fn matmul_by(
        &mut self,
        method: Method,
        x: &Tensor,
        w: &Weight,
        epilogue: Epilogue<'_>,
        y: &Tensor,
    ) -> Result<(), OpError> {
        let check = Check("matmul");
        let (rows, k) = x.rows_and_width();
        check.dtype("x", x, DType::F32)?;
        if k != w.width {
            return Err(check.shape("x", x, format!("rows of {} elements", w.width)));
        }
        if let Some(bias) = epilogue.bias
            && (check.columns("bias", bias)? != 1 || bias.width != w.rows)
        {
            return Err(check.shape("bias", bias.tensor, format!("[{}]", w.rows)));
        }
        if let Some(residual) = epilogue.residual {
            check.tensor("residual", residual, &[rows, w.rows], DType::F32)?;
        }
        check.tensor("y", y, &[rows, w.rows], DType::F32)?;
        for part in &w.parts {
            let kernel = self.matmul_kernel(method, rows, w, &epilogue);
            let mut bindings: Vec<&Tensor> = part.planes().collect();
            // What is absent needs a binding all the same: the input serves.
            bindings.extend([x, epilogue.bias.map_or(x, |bias| bias.tensor), epilogue.residual.unwrap_or(x), y]);
            self.dispatch(Dispatch {
                op: "matmul",
                workgroups: workgroups(method, rows, part.rows),
                kernel,
                params: Params {
                    rows: rows as u32,
                    k: k as u32,
                    columns: part.rows as u32,
                    skipped: part.skipped as u32,
                    first_column: part.first_row as u32,
                    width: w.rows as u32,
                    first_bias: epilogue.bias.map_or(0, |bias| bias.start as u32),
                },
                bindings: &bindings,
                cost: cost(x, w.format, part, &epilogue),
            })?;
        }
        Ok(())
    }

    fn matmul_kernel(&self, method: Method, rows: usize, w: &Weight, epilogue: &Epilogue<'_>) -> Variant {
        let kernel = match method {
            Method::FewDirect => &kernels::MATVEC_DIRECT,
            Method::FewShared => &kernels::MATVEC,
            Method::Direct => &kernels::GEMM,
            Method::Tiled => &kernels::GEMM_TILED,
        };
        let mut variant = kernel.variant().part(match w.format {
            Format::F32 => &kernels::WEIGHTS_F32,
            Format::F16 if self.caps().f16 => &kernels::WEIGHTS_F16_NATIVE,
            Format::F16 => &kernels::WEIGHTS_F16,
            Format::Q8 => &kernels::WEIGHTS_Q8,
            Format::Q4 => &kernels::WEIGHTS_Q4,
        });
        variant = variant.part(if w.width.is_multiple_of(4) { &kernels::INPUT_VEC4 } else { &kernels::INPUT_SCALAR });
        if matches!(method, Method::Direct | Method::FewDirect) {
            let parts = [&kernels::ROWS_DIRECT, &kernels::ROWS_LANES4, &kernels::ROWS_LANES8];
            variant = variant.part(lanes_part(self.caps(), parts));
        }
        if method == Method::FewDirect {
            variant = variant.with("ROWS", rows as u32);
        }
        if method == Method::FewShared {
            variant =
                variant.part(reduce_part(self.caps())).with("THREADS", self.caps().reduction_threads(w.width / 2));
        }
        variant
            .part(&kernels::ACTIVATION)
            .part(&kernels::EPILOGUE)
            .with("ACTIVATION", epilogue.activation.code())
            .with("BIAS", epilogue.bias.is_some().into())
            .with("RESIDUAL", epilogue.residual.is_some().into())
    }
}

fn workgroups(method: Method, rows: usize, columns: usize) -> Workgroups {
    match method {
        Method::FewDirect => Workgroups::linear(columns.div_ceil(8)),
        Method::FewShared => Workgroups::linear(columns.div_ceil(4)),
        Method::Direct => Workgroups([columns.div_ceil(32) as u32, rows.div_ceil(16) as u32, 1]),
        Method::Tiled => Workgroups([columns.div_ceil(64) as u32, rows.div_ceil(64) as u32, 1]),
    }
}

fn cost(x: &Tensor, format: Format, part: &WeightPart, epilogue: &Epilogue<'_>) -> Cost {
    let results = (x.rows_and_width().0 * part.rows) as u64;
    let moved = format.bytes(part.rows, x.rows_and_width().1);
    let each = 1 + u64::from(epilogue.residual.is_some());
    let after =
        epilogue.activation.flops() + u64::from(epilogue.bias.is_some()) + u64::from(epilogue.residual.is_some());
    let k = x.rows_and_width().1 as u64;
    Cost::moving(&[x]).bytes(moved + 4 * each * results).flops((2 * k + after) * results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_nmse, on_every_gpu, random, reference};
    use crate::weights::quant::Packer;
    use proptest::prelude::*;
    use std::{cell::RefCell, collections::HashSet};

    /// What the kernels see of weights in a format.
    fn rounded(data: &[f32], k: usize, format: Format) -> Vec<f32> {
        let packer = Packer::new(format, k);
        packer.unpack(&packer.pack(data).expect("small numbers"))
    }

    fn equals_reference(methods: &[Method], formats: &[Format], rows: usize, k: usize, n: usize, seed: u64) {
        let (x, weights) = (random(rows * k, seed), random(n * k, seed ^ 1));
        let (bias, residual) = (random(n, seed ^ 2), random(rows * n, seed ^ 3));
        for (&format, activation) in formats.iter().zip([Activation::None, Activation::Silu].into_iter().cycle()) {
            let product = reference::matmul(&x, &rounded(&weights, k, format), k);
            let finished = |(i, sum): (usize, &f64)| {
                f64::from(residual[i]) + reference::activate(sum + f64::from(bias[i % n]), activation)
            };
            let expected: Vec<f64> = product.iter().enumerate().map(finished).collect();
            // Most tiers of an adapter choose the same kernels.
            let tried = RefCell::new(HashSet::new());
            on_every_gpu(|gpu, run| {
                let w = Weight::from_f32(gpu, "w", n, k, &weights, format)?;
                let x = gpu.upload("x", &[rows, k], &x)?;
                let bias = gpu.upload("bias", &[n], &bias)?;
                let residual = gpu.upload("residual", &[rows, n], &residual)?;
                let epilogue = Epilogue { bias: Some((&bias).into()), activation, residual: Some(&residual) };
                for &method in methods {
                    let kernel = Recorder::new(gpu).matmul_kernel(method, rows, &w, &epilogue).label();
                    if tried.borrow_mut().insert((gpu.name().name.clone(), kernel)) {
                        let y = run.record(|rec| {
                            let y = rec.transient(&[rows, n], DType::F32);
                            rec.matmul_by(method, &x, &w, epilogue, &y)?;
                            Ok(y)
                        })?;
                        assert_nmse(&y, &expected, LIMIT);
                    }
                }
                Ok(())
            });
        }
    }

    const ALL: [Method; 4] = [Method::FewDirect, Method::FewShared, Method::Direct, Method::Tiled];

    /// Sums of four products added one after the other: each of the k / 4 additions rounds by at most 2^-24 of a sum
    /// that grows like the square root, so the square error stays below (k / 4) 2^-48 / 3 even at k = 5000.
    const LIMIT: f64 = 2e-12;

    proptest! {
        #![proptest_config(crate::testing::cases(3))]

        #[test]
        fn few_rows_equal_reference(rows in 1usize..=4, k in 1usize..5000, n in 1usize..200, seed: u64) {
            equals_reference(&[Method::FewDirect, Method::FewShared], &Format::ALL, rows, k, n, seed);
        }

        #[test]
        fn many_rows_equal_reference(rows in 5usize..150, k in 1usize..700, n in 1usize..150, seed: u64) {
            equals_reference(&[Method::Direct, Method::Tiled], &Format::ALL, rows, k, n, seed);
        }
    }

    /// Nothing but the product.
    #[test]
    fn without_epilogue() {
        let (x, weights) = (random(6 * 40, 1), random(50 * 40, 2));
        let expected = reference::matmul(&x, &weights, 40);
        on_every_gpu(|gpu, run| {
            let w = Weight::from_f32(gpu, "w", 50, 40, &weights, Format::F32)?;
            for rows in [1, 6] {
                let x = gpu.upload("x", &[rows, 40], &x[..rows * 40])?;
                let y = run.record(|rec| Ok(rec.matmul(&x, &w, Epilogue::default())?))?;
                assert_nmse(&y, &expected[..rows * 50], LIMIT);
            }
            Ok(())
        });
    }

    /// Widths of published models that are no multiple of a tile, a block, or four, where padding is not zero.
    #[test]
    fn awkward_widths() {
        for k in [17, 588, 1176, 2730, 3420, 4304] {
            equals_reference(&ALL, &[Format::Q4], 3, k, 70, k as u64);
        }
    }

    /// Some rows of a matrix, and of its biases, give the same as the whole does in their columns: bit by bit, as each
    /// column is summed up for itself.
    #[test]
    fn slices_are_columns_of_the_whole() {
        let (k, n, rows) = (70, 45, 9);
        let (x, weights, bias) = (random(rows * k, 1), random(n * k, 2), random(n, 3));
        on_every_gpu(|gpu, run| {
            let bias = gpu.upload("bias", &[n], &bias)?;
            for format in Format::ALL {
                let w = Weight::from_f32(gpu, "w", n, k, &weights, format)?;
                for rows in [2, rows] {
                    let x = gpu.upload("x", &[rows, k], &x[..rows * k])?;
                    let product = |rec: &mut Recorder, w: &Weight, bias| {
                        rec.matmul(&x, w, Epilogue { bias: Some(bias), ..Epilogue::default() })
                    };
                    let pieces = [0..7, 7..8, 8..45];
                    let results = run.record_all(|rec| {
                        let mut results = vec![product(rec, &w, (&bias).into())?];
                        for piece in &pieces {
                            // A slice of a slice, so that both count.
                            let slice = w.slice(piece.start..n).slice(0..piece.len());
                            results.push(product(rec, &slice, bias.columns(piece.start, piece.len()))?);
                        }
                        Ok(results)
                    })?;
                    for (piece, part) in pieces.iter().zip(&results[1..]) {
                        let whole = results[0].chunks(n).flat_map(|row| &row[piece.clone()]).copied();
                        assert_eq!(*part, whole.collect::<Vec<_>>(), "{format}, {rows} rows, columns {piece:?}");
                    }
                }
            }
            Ok(())
        });
    }

    #[test]
    fn wrong_shapes_are_named() {
        on_every_gpu(|gpu, run| {
            let w = Weight::from_f32(gpu, "w", 2, 3, &[0.0; 6], Format::F32)?;
            let x = gpu.upload("x", &[1, 4], &[0.0f32; 4])?;
            let error = run.record(|rec| Ok(rec.matmul(&x, &w, Epilogue::default())?)).unwrap_err();
            assert_eq!(error.to_string(), "matmul: x is [1, 4], expected rows of 3 elements");
            let right = gpu.upload("x", &[1, 3], &[0.0f32; 3])?;
            let bias = Epilogue { bias: Some((&x).into()), ..Epilogue::default() };
            let error = run.record(|rec| Ok(rec.matmul(&right, &w, bias)?)).unwrap_err();
            assert_eq!(error.to_string(), "matmul: bias is [1, 4], expected [2]");
            Ok(())
        });
    }
}
