//! Rows of a matrix by index: taken out, and put in place, such as the image's tokens among those of a prompt.

use super::prelude::*;

params! {
    struct GatherParams for GATHER_ROWS {
        count: u32,
        rows: u32,
        width: u32,
        first: u32,
    }
}

params! {
    struct PlaceParams for PLACE_ROWS {
        count: u32,
        rows: u32,
        width: u32,
    }
}

impl Recorder {
    /// Row `indices[r]` of `x`, `[n, width]` f32, as row r of a new `[count, width]`.
    ///
    /// `indices` are `count` u32 from their index on; those beyond the last row are taken for the last.
    ///
    /// # Errors
    /// [`OpError::Shape`] if there are fewer indices than `count`, [`OpError::Value`] if `count` is 0, [`OpError::DType`].
    pub fn gather_rows(&mut self, x: &Tensor, indices: At<'_>, count: usize) -> Result<Tensor, OpError> {
        let check = Check("gather_rows");
        check.dtype("x", x, DType::F32)?;
        check.value("count", count, count > 0, "at least one row")?;
        check.integers("indices", indices, count)?;
        let (rows, width) = x.rows_and_width();
        let fits = count.checked_mul(width).is_some_and(|elements| elements <= i32::MAX as usize);
        check.value("count", count, fits, "fewer than 2^31 elements in all rows")?;
        let y = self.transient(&[count, width], DType::F32);
        self.dispatch(Dispatch {
            op: "gather_rows",
            kernel: kernels::GATHER_ROWS.variant(),
            params: GatherParams {
                count: y.len() as u32,
                rows: rows as u32,
                width: width as u32,
                first: indices.index as u32,
            },
            bindings: &[x, indices.tensor, &y],
            workgroups: Workgroups::for_items(y.len(), 128),
            cost: Cost::moving(&[&y, &y]),
        })?;
        Ok(y)
    }

    /// Row r of `rows`, `[m, width]` f32, to row `indices[r]` of `into`, `[n, width]` f32, in place.
    ///
    /// `indices` is `[m]` u32; those beyond the last row of `into` are ignored. Of equal ones, any may win.
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`].
    pub fn place_rows(&mut self, into: &Tensor, rows: &Tensor, indices: &Tensor) -> Result<(), OpError> {
        let check = Check("place_rows");
        check.dtype("into", into, DType::F32)?;
        check.dtype("rows", rows, DType::F32)?;
        let (count, width) = into.rows_and_width();
        let (placed, placed_width) = rows.rows_and_width();
        if placed_width != width {
            return Err(check.shape("rows", rows, format!("rows of {width}, as into has")));
        }
        check.tensor("indices", indices, &[placed], DType::U32)?;
        self.dispatch(Dispatch {
            op: "place_rows",
            kernel: kernels::PLACE_ROWS.variant(),
            params: PlaceParams { count: rows.len() as u32, rows: count as u32, width: width as u32 },
            bindings: &[rows, indices, into],
            workgroups: Workgroups::for_items(rows.len(), 128),
            cost: Cost::moving(&[rows, rows]),
        })
    }

    /// A new `[rows, width]` f32 from parts, each `[m, width]` f32 with the places of its rows, `[m]` u32: tokens that
    /// went through different weights, or rows put before and behind others. It has as many rows as all parts together,
    /// and every place below that must be named once: nothing else is written.
    ///
    /// # Errors
    /// [`OpError::Value`] without rows; as [`Recorder::place_rows`].
    pub fn assemble_rows(&mut self, parts: &[(&Tensor, &Tensor)]) -> Result<Tensor, OpError> {
        let check = Check("assemble_rows");
        let width = parts.first().map_or(0, |(part, _)| part.rows_and_width().1);
        let rows: usize = parts.iter().map(|(part, _)| part.rows_and_width().0).sum();
        check.value("parts", parts.len(), rows > 0, "at least one row in all")?;
        let fits = rows.checked_mul(width).is_some_and(|elements| elements <= i32::MAX as usize);
        check.value("rows", rows, fits, "fewer than 2^31 elements in all rows")?;
        let y = self.transient(&[rows, width], DType::F32);
        for (part, places) in parts {
            self.place_rows(&y, part, places)?;
        }
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{on_every_gpu, random};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(6))]

        #[test]
        fn rows_are_taken_and_placed(n in 1usize..60, count in 1usize..80, width in 1usize..200, first in 0usize..4, seed: u64) {
            let x = random(n * width, seed);
            let indices: Vec<u32> =
                random(first + count, seed ^ 1).iter().map(|v| (v.abs() * n as f32 * 0.7) as u32).collect();
            // Places without repetition, some of them beyond the end.
            let places: Vec<u32> = (0..count as u32).map(|i| i * 2 + 1).collect();
            let taken: Vec<f32> = indices[first..]
                .iter()
                .flat_map(|&index| x.chunks_exact(width).nth((index as usize).min(n - 1)).unwrap_or_default().to_vec())
                .collect();
            let mut placed = x.clone();
            for (row, &place) in taken.chunks_exact(width).zip(&places) {
                if let Some(into) = placed.chunks_exact_mut(width).nth(place as usize) {
                    into.copy_from_slice(row);
                }
            }
            on_every_gpu(|gpu, run| {
                let (x, into) = (gpu.upload("x", &[n, width], &x)?, gpu.upload("into", &[n, width], &x)?);
                let indices = gpu.upload("indices", &[indices.len()], &indices)?;
                let places = gpu.upload("places", &[count], &places)?;
                // The same rows in two parts, every other one of each.
                let even: Vec<u32> = (0..count as u32).filter(|i| i % 2 == 0).collect();
                let odd: Vec<u32> = (0..count as u32).filter(|i| i % 2 == 1).collect();
                let results = run.record_all(|rec| {
                    let y = rec.gather_rows(&x, indices.at(first), count)?;
                    rec.place_rows(&into, &y, &places)?;
                    let mut parts = Vec::new();
                    for own in [&even, &odd].into_iter().filter(|own| !own.is_empty()) {
                        let own = gpu.upload("own", &[own.len()], own)?;
                        parts.push((rec.gather_rows(&y, (&own).into(), own.len())?, own));
                    }
                    let parts: Vec<_> = parts.iter().map(|(part, own)| (part, own)).collect();
                    let assembled = rec.assemble_rows(&parts)?;
                    Ok(vec![y, into, assembled])
                })?;
                assert_eq!(results[0], taken);
                assert_eq!(results[1], placed);
                assert_eq!(results[2], taken);
                Ok(())
            });
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        on_every_gpu(|gpu, run| {
            let x = gpu.upload("x", &[2, 3], &[0.0f32; 6])?;
            let narrow = gpu.upload("narrow", &[3, 2], &[0.0f32; 6])?;
            let indices = gpu.upload("indices", &[2], &[0u32; 2])?;
            let error = run.record(|rec| Ok(rec.gather_rows(&x, indices.at(1), 2)?)).unwrap_err();
            assert_eq!(error.to_string(), "gather_rows: indices is [2], expected 2 elements from 1 on");
            let error = run.record(|rec| Ok(rec.gather_rows(&x, indices.at(0), 0)?)).unwrap_err();
            assert_eq!(error.to_string(), "gather_rows: count is 0, expected at least one row");
            let error = run.record_all(|rec| {
                rec.place_rows(&x, &narrow, &indices)?;
                Ok(vec![])
            });
            let error = error.unwrap_err().to_string();
            assert_eq!(error, "place_rows: rows is [3, 2], expected rows of 3, as into has");
            let error = run.record(|rec| Ok(rec.assemble_rows(&[])?)).unwrap_err().to_string();
            assert_eq!(error, "assemble_rows: parts is 0, expected at least one row in all");
            Ok(())
        });
    }
}
