//! Embeddings: rows of a weight matrix by id.

use super::prelude::*;
use crate::weights::{Format, Weight};

params! {
    struct Params for EMBED {
        count: u32,
        width: u32,
        groups: u32,
        padded: u32,
        first_id: u32,
        first_row: u32,
        rows: u32,
        skipped: u32,
        table_rows: u32,
    }
}

impl Recorder {
    /// Row `ids[r]` of `table`, whatever its format, as row r of a new `[count, table.width]` f32.
    ///
    /// `ids` are `count` u32 from their index on; an id beyond the table gives zeros.
    ///
    /// # Errors
    /// [`OpError::Shape`] if there are fewer ids than `count`, [`OpError::Value`] if `count` is 0 or the table is empty,
    /// [`OpError::DType`].
    pub fn embed(&mut self, table: &Weight, ids: At<'_>, count: usize) -> Result<Tensor, OpError> {
        let check = Check("embed");
        check.value("count", count, count > 0, "at least one row")?;
        check.integers("ids", ids, count)?;
        check.value("parts of the table", table.parts.len(), !table.parts.is_empty(), "at least one")?;
        let fits = count.checked_mul(table.width).is_some_and(|elements| elements <= i32::MAX as usize);
        check.value("count", count, fits, "fewer than 2^31 elements in all rows")?;

        let y = self.transient(&[count, table.width], DType::F32);
        let weights = match table.format {
            Format::F32 => &kernels::WEIGHTS_F32,
            Format::F16 if self.caps().f16 => &kernels::WEIGHTS_F16_NATIVE,
            Format::F16 => &kernels::WEIGHTS_F16,
            Format::Q8 => &kernels::WEIGHTS_Q8,
            Format::Q4 => &kernels::WEIGHTS_Q4,
        };
        let groups = table.width.div_ceil(4);
        for part in &table.parts {
            let bindings: Vec<&Tensor> = part.planes().chain([ids.tensor, &y]).collect();
            self.dispatch(Dispatch {
                op: "embed",
                kernel: kernels::EMBED.variant().part(weights),
                params: Params {
                    count: (count * groups) as u32,
                    width: table.width as u32,
                    groups: groups as u32,
                    padded: (table.padded_width() / 4) as u32,
                    first_id: ids.index as u32,
                    first_row: part.first_row as u32,
                    rows: part.rows as u32,
                    skipped: part.skipped as u32,
                    table_rows: table.rows as u32,
                },
                bindings: &bindings,
                workgroups: Workgroups::for_items(count * groups, 128),
                // The rows are counted with the first part, whichever parts they lie in.
                cost: match part.first_row {
                    0 => Cost::moving(&[&y]).bytes(table.format.bytes(count, table.width)),
                    _ => Cost::default(),
                },
            })?;
        }
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_nmse, on_every_gpu, random};
    use crate::weights::quant::Packer;
    use proptest::prelude::*;

    /// One matrix from the rows of several, as the loader splits what exceeds the binding limit.
    fn joined(weights: Vec<Weight>) -> Weight {
        let (width, format) = (weights[0].width, weights[0].format);
        let mut all = Weight { rows: 0, width, format, parts: Vec::new() };
        for weight in weights {
            all.parts.extend(weight.parts.into_iter().map(|mut part| {
                part.first_row += all.rows;
                part
            }));
            all.rows += weight.rows;
        }
        all
    }

    proptest! {
        #![proptest_config(crate::testing::cases(4))]

        /// Any width, any split, ids beyond the table; the only roundings are those of a product and a sum.
        #[test]
        fn rows_equal_those_of_the_table(
            (split, rest, width) in (1usize..30, 1usize..30, 1usize..200),
            (count, first) in (1usize..40, 0usize..3),
            seed: u64,
        ) {
            let rows = split + rest;
            let values = random(rows * width, seed);
            let ids: Vec<u32> =
                random(first + count, seed ^ 1).iter().map(|v| (v.abs() * rows as f32) as u32).collect();
            on_every_gpu(|gpu, run| {
                let buffer = gpu.upload("ids", &[ids.len()], &ids)?;
                for format in Format::ALL {
                    let packer = Packer::new(format, width);
                    let stored = packer.unpack(&packer.pack(&values).expect("small numbers"));
                    let row = |&id: &u32| match stored.chunks_exact(width).nth(id as usize) {
                        Some(row) => row.iter().map(|&v| f64::from(v)).collect(),
                        None => vec![0.0; width],
                    };
                    let expected: Vec<f64> = ids[first..].iter().flat_map(row).collect();
                    let (upper, lower) = values.split_at(split * width);
                    let table = joined(vec![
                        Weight::from_f32(gpu, "upper", split, width, upper, format)?,
                        Weight::from_f32(gpu, "lower", rest, width, lower, format)?,
                    ]);
                    let y = run.record(|rec| Ok(rec.embed(&table, buffer.at(first), count)?))?;
                    assert_nmse(&y, &expected, 1e-13);
                }
                Ok(())
            });
        }
    }

    #[test]
    fn too_few_ids_are_named() {
        on_every_gpu(|gpu, run| {
            let table = Weight::from_f32(gpu, "table", 2, 2, &[0.0; 4], Format::F32)?;
            let ids = gpu.upload("ids", &[2], &[0u32; 2])?;
            let error = run.record(|rec| Ok(rec.embed(&table, ids.at(1), 2)?)).unwrap_err();
            assert_eq!(error.to_string(), "embed: ids is [2], expected 2 elements from 1 on");
            Ok(())
        });
    }
}
