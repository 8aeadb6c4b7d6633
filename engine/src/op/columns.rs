//! Columns of several matrices in one, such as the features that different layers have of the same patches.

use super::prelude::*;

/// A matrix whose columns go into another.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// `[rows, width]` f32.
    pub x: &'a Tensor,
    /// Where its first column goes.
    pub start: usize,
    /// How far apart its columns are.
    pub step: usize,
}

params! {
    struct Params for PLACE_COLUMNS {
        count: u32,
        width: u32,
        out_width: u32,
        start: u32,
        step: u32,
    }
}

impl Recorder {
    /// A new `[rows, width]` f32 from parts of the same rows, as wide as all of them together. Every column must be named
    /// once: nothing else is written.
    ///
    /// # Errors
    /// [`OpError::Shape`] if the parts do not have the same rows, [`OpError::Value`] without parts, for a step of 0 or a
    /// column beyond the last; [`OpError::DType`].
    pub fn assemble_columns(&mut self, parts: &[Placed<'_>]) -> Result<Tensor, OpError> {
        let check = Check("assemble_columns");
        let rows = parts.first().map_or(0, |part| part.x.rows_and_width().0);
        let width: usize = parts.iter().map(|part| part.x.rows_and_width().1).sum();
        check.value("parts", parts.len(), rows > 0, "at least one")?;
        let fits = rows.checked_mul(width).is_some_and(|elements| elements <= i32::MAX as usize);
        check.value("rows", rows, fits, "fewer than 2^31 elements in all columns")?;
        let y = self.transient(&[rows, width], DType::F32);
        for &Placed { x, start, step } in parts {
            check.dtype("part", x, DType::F32)?;
            let (own_rows, own) = x.rows_and_width();
            if own_rows != rows {
                return Err(check.shape("part", x, format!("{rows} rows, as the first part has")));
            }
            let last = own.checked_sub(1).and_then(|columns| columns.checked_mul(step)?.checked_add(start));
            check.value("step", step, step > 0 && last.is_some_and(|last| last < width), "columns within all")?;
            self.dispatch(Dispatch {
                op: "place_columns",
                kernel: kernels::PLACE_COLUMNS.variant(),
                params: Params {
                    count: x.len() as u32,
                    width: own as u32,
                    out_width: width as u32,
                    start: start as u32,
                    step: step as u32,
                },
                bindings: &[x, &y],
                workgroups: Workgroups::for_items(x.len(), 128),
                cost: Cost::moving(&[x, x]),
            })?;
        }
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::Placed;
    use crate::testing::{on_every_gpu, random};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(6))]

        /// Equal bit by bit: there is nothing to round.
        #[test]
        fn columns_come_one_after_the_other_or_in_turn(
            (rows, first, width) in (1usize..40, 1usize..90, 1usize..50), seed: u64,
        ) {
            let values = random(rows * first, seed);
            let turns: Vec<Vec<f32>> = (1..4).map(|turn| random(rows * width, seed ^ turn)).collect();
            let mut expected = Vec::new();
            for row in 0..rows {
                expected.extend(&values[row * first..(row + 1) * first]);
                expected.extend((0..width).flat_map(|column| turns.iter().map(move |it| it[row * width + column])));
            }
            on_every_gpu(|gpu, run| {
                let x = gpu.upload("x", &[rows, first], &values)?;
                let upload = |values: &Vec<f32>| gpu.upload("turn", &[rows, width], values);
                let turns = turns.iter().map(upload).collect::<Result<Vec<_>, _>>()?;
                let y = run.record(|rec| {
                    let whole = Placed { x: &x, start: 0, step: 1 };
                    let part = |(turn, x)| Placed { x, start: first + turn, step: 3 };
                    let parts: Vec<_> = std::iter::once(whole).chain(turns.iter().enumerate().map(part)).collect();
                    Ok(rec.assemble_columns(&parts)?)
                })?;
                assert_eq!(y, expected);
                Ok(())
            });
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        on_every_gpu(|gpu, run| {
            let a = gpu.upload("a", &[2, 3], &[0.0f32; 6])?;
            let b = gpu.upload("b", &[3, 3], &[0.0f32; 9])?;
            let place = |x, start, step| Placed { x, start, step };
            let error = run.record(|rec| Ok(rec.assemble_columns(&[place(&a, 0, 1), place(&b, 3, 1)])?)).unwrap_err();
            assert_eq!(error.to_string(), "assemble_columns: part is [3, 3], expected 2 rows, as the first part has");
            let error = run.record(|rec| Ok(rec.assemble_columns(&[place(&a, 1, 1)])?)).unwrap_err();
            assert_eq!(error.to_string(), "assemble_columns: step is 1, expected columns within all");
            assert!(run.record(|rec| Ok(rec.assemble_columns(&[])?)).is_err());
            Ok(())
        });
    }
}
