//! Patches of images: cut from bytes, merged, and given learned positions.
//!
//! The order of patches and of a patch's columns is that of Qwen2-VL's image processor (Wang et al., "Qwen2-VL", 2024);
//! with `merge` and `temporal` 1 it is the raster order of every other vision transformer.

use super::prelude::*;

/// How a [`Recorder::patchify`] cuts an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patchify {
    /// Pixels of a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Pixels of a side of a patch.
    pub patch: usize,
    /// How often the one frame is repeated within a patch.
    pub temporal: usize,
    /// Patches of a side of the blocks in which patches are ordered.
    pub merge: usize,
    /// What bytes are multiplied by first; 1/255 for values of 0 to 1.
    pub scale: f64,
    /// Mean of each channel, after that.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
}

impl Patchify {
    /// The normalised value of each byte of each channel, with the roundings of the reference: the product with `scale`
    /// in f64, rounded to f32; the rest in f32.
    fn values(&self) -> Vec<f32> {
        let value =
            |channel: usize, byte: u8| ((f64::from(byte) * self.scale) as f32 - self.mean[channel]) / self.std[channel];
        (0..3).flat_map(|channel| (0..=255).map(move |byte| value(channel, byte))).collect()
    }
}

params! {
    struct PatchifyParams for PATCHIFY {
        count: u32,
        width: u32,
        grid_w: u32,
        side: u32,
        temporal: u32,
        merge: u32,
    }
}

/// The order of the numbers of a merged token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MergeOrder {
    /// Token after token: top left | top right | bottom left | bottom right.
    ByToken,
    /// Channel after channel, the four tokens of each in that order: how the kernel of a 2x2 convolution, flattened, has
    /// its inputs, so that the convolution is a product with it.
    ByChannel,
}

params! {
    struct MergeParams for MERGE_2X2 {
        count: u32,
        grid_w: u32,
        width: u32,
        by_channel: u32,
    }
}

params! {
    struct InterpolateParams for INTERPOLATE_POSITIONS {
        count: u32,
        width: u32,
        grid_h: u32,
        grid_w: u32,
        side: u32,
        merge: u32,
    }
}

impl Recorder {
    /// Cuts an image into normalised patches: a new `[patches, 3 * temporal * patch * patch]` f32, exactly the
    /// reference's `pixel_values`.
    ///
    /// `image` holds RGB rows without padding, 3 bytes a pixel, 4 bytes a u32 in little-endian order; the last word may
    /// be partly unused.
    ///
    /// # Errors
    /// [`OpError::Shape`] if `image` has too few words, [`OpError::Value`] if sides are no multiples of
    /// `patch * merge` or a deviation is 0, [`OpError::DType`], [`OpError::Gpu`].
    pub fn patchify(&mut self, image: &Tensor, how: Patchify) -> Result<Tensor, OpError> {
        let check = Check("patchify");
        let Patchify { width, height, patch, temporal, merge, .. } = how;
        check.dtype("image", image, DType::U32)?;
        let side = patch.saturating_mul(merge);
        check.value("patch * merge", side, side > 0 && side < 1 << 15, "1 to 32767 pixels")?;
        check.value("temporal", temporal, (1..1 << 10).contains(&temporal), "1 to 1023 frames")?;
        let fits = |pixels: usize| pixels > 0 && pixels < 1 << 24 && pixels.is_multiple_of(side);
        let expected = format!("a multiple of {side} pixels");
        check.value("width", width, fits(width), &expected)?;
        check.value("height", height, fits(height), &expected)?;
        check.value("std", format!("{:?}", how.std), how.std.iter().all(|&std| std != 0.0), "no zeros")?;
        let words = (3 * width * height).div_ceil(4);
        if image.len() < words {
            return Err(check.shape("image", image, format!("{words} words for {width} x {height} pixels")));
        }
        let count = 3 * temporal * width * height;
        check.value("elements of patches", count, count <= i32::MAX as usize, "fewer than 2^31")?;

        let values = self.gpu().upload("pixel values", &[3, 256], &how.values())?;
        let patches = (width / patch) * (height / patch);
        let y = self.transient(&[patches, 3 * temporal * patch * patch], DType::F32);
        self.dispatch(Dispatch {
            op: "patchify",
            kernel: kernels::PATCHIFY.variant(),
            params: PatchifyParams {
                count: count as u32,
                width: width as u32,
                grid_w: (width / patch) as u32,
                side: patch as u32,
                temporal: temporal as u32,
                merge: merge as u32,
            },
            bindings: &[image, &values, &y],
            workgroups: Workgroups::for_items(count, 128),
            cost: Cost::moving(&[image, &y]),
        })?;
        Ok(y)
    }

    /// Space to depth: each block of 2 x 2 tokens of `x`, `[h * w, width]` f32 in raster order, becomes one token of a
    /// new `[h / 2 * w / 2, 4 * width]`.
    ///
    /// # Errors
    /// [`OpError::Shape`] if `x` does not have `h * w` rows, [`OpError::Value`] if `h` or `w` is odd, [`OpError::DType`].
    pub fn merge_2x2(&mut self, x: &Tensor, h: usize, w: usize, order: MergeOrder) -> Result<Tensor, OpError> {
        let check = Check("merge_2x2");
        check.dtype("x", x, DType::F32)?;
        let (rows, width) = x.rows_and_width();
        check.value("h", h, h > 0 && h.is_multiple_of(2), "an even number")?;
        check.value("w", w, w > 0 && w.is_multiple_of(2), "an even number")?;
        if h.checked_mul(w) != Some(rows) {
            return Err(check.shape("x", x, format!("{h} x {w} rows")));
        }
        let y = self.transient(&[rows / 4, 4 * width], DType::F32);
        self.dispatch(Dispatch {
            op: "merge_2x2",
            kernel: kernels::MERGE_2X2.variant(),
            params: MergeParams {
                count: x.len() as u32,
                grid_w: w as u32,
                width: width as u32,
                by_channel: (order == MergeOrder::ByChannel).into(),
            },
            bindings: &[x, &y],
            workgroups: Workgroups::for_items(x.len(), 128),
            cost: Cost::moving(&[x, &y]),
        })?;
        Ok(y)
    }

    /// Adds learned positions to `x`, `[frames * grid_h * grid_w, width]` f32, in place: those of `table`,
    /// `[side * side, width]` f32, interpolated bilinearly with aligned corners, in the order of [`Recorder::patchify`].
    ///
    /// Source: `fast_pos_embed_interpolate` of transformers' Qwen3-VL.
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::Value`] if a side of the grid is no multiple of `merge`, [`OpError::DType`],
    /// [`OpError::Gpu`].
    pub fn interpolate_positions(
        &mut self,
        x: &Tensor,
        table: &Tensor,
        grid_h: usize,
        grid_w: usize,
        side: usize,
        merge: usize,
    ) -> Result<(), OpError> {
        let check = Check("interpolate_positions");
        check.dtype("x", x, DType::F32)?;
        check.dtype("table", table, DType::F32)?;
        let (rows, width) = x.rows_and_width();
        check.value("merge", merge, merge > 0, "at least 1")?;
        let fits = |patches: usize| patches > 0 && patches.is_multiple_of(merge);
        let expected = format!("a multiple of {merge}");
        check.value("grid_h", grid_h, fits(grid_h), &expected)?;
        check.value("grid_w", grid_w, fits(grid_w), &expected)?;
        if grid_h.checked_mul(grid_w).is_none_or(|patches| !rows.is_multiple_of(patches)) {
            return Err(check.shape("x", x, format!("frames of {grid_h} x {grid_w} rows")));
        }
        check.value("side", side, side > 0 && side < 1 << 15, "1 to 32767")?;
        check.tensor("table", table, &[side * side, width], DType::F32)?;

        let places: Vec<f32> = linspace(side, grid_h).chain(linspace(side, grid_w)).collect();
        let places = self.gpu().upload("places of positions", &[places.len()], &places)?;
        self.dispatch(Dispatch {
            op: "interpolate_positions",
            kernel: kernels::INTERPOLATE_POSITIONS.variant(),
            params: InterpolateParams {
                count: x.len() as u32,
                width: width as u32,
                grid_h: grid_h as u32,
                grid_w: grid_w as u32,
                side: side as u32,
                merge: merge as u32,
            },
            bindings: &[table, &places, x],
            workgroups: Workgroups::for_items(x.len(), 128),
            cost: Cost::moving(&[table, x, x]).flops(8 * x.len() as u64),
        })
    }
}

/// `torch.linspace(0, side - 1, count)` in f32, to one rounding, which torch's vector code does otherwise: steps from the
/// start in the first half, from the end in the second.
fn linspace(side: usize, count: usize) -> impl Iterator<Item = f32> {
    let end = side.saturating_sub(1) as f32;
    let step = end / count.saturating_sub(1).max(1) as f32;
    (0..count).map(move |i| {
        let place = if i < count / 2 || count == 1 { step * i as f32 } else { end - step * (count - 1 - i) as f32 };
        place.clamp(0.0, end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_nmse, on_every_gpu, random, reference};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(8))]

        /// Equal bit by bit: there is nothing to round.
        #[test]
        fn patches_are_those_of_the_reference(
            (blocks_h, blocks_w, patch) in (1usize..5, 1usize..5, 1usize..15),
            (temporal, merge) in (1usize..3, 1usize..4),
            scale in prop::sample::select(vec![1.0 / 255.0, 1.0 / 127.5, 1.0]),
            seed: u64,
        ) {
            let (height, width) = (blocks_h * merge * patch, blocks_w * merge * patch);
            let bytes: Vec<u8> =
                random(3 * width * height, seed).iter().map(|v| (v * 60.0 + 128.0).clamp(0.0, 255.0) as u8).collect();
            let words: Vec<u32> = bytes
                .chunks(4)
                .map(|word| word.iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte)))
                .collect();
            let (mean, std) = ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);
            let how = Patchify { width, height, patch, temporal, merge, scale, mean, std };
            let expected = reference::patchify(&bytes, &how);
            on_every_gpu(|gpu, run| {
                let image = gpu.upload("image", &[words.len()], &words)?;
                let y = run.record(|rec| Ok(rec.patchify(&image, how)?))?;
                assert_eq!(y, expected);
                Ok(())
            });
        }

        #[test]
        fn blocks_become_tokens(half_h in 1usize..12, half_w in 1usize..12, width in 1usize..50, seed: u64) {
            let (h, w) = (2 * half_h, 2 * half_w);
            let values = random(h * w * width, seed);
            let token = |y: usize, x: usize| &values[(y * w + x) * width..][..width];
            let (mut by_token, mut by_channel) = (Vec::new(), Vec::new());
            for (y, x) in (0..half_h).flat_map(|y| (0..half_w).map(move |x| (2 * y, 2 * x))) {
                let four = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| token(y + dy, x + dx));
                by_token.extend(four.concat());
                by_channel.extend((0..width).flat_map(|channel| four.map(|token| token[channel])));
            }
            on_every_gpu(|gpu, run| {
                let x = gpu.upload("x", &[h * w, width], &values)?;
                let merged = run.record_all(|rec| {
                    Ok(vec![
                        rec.merge_2x2(&x, h, w, MergeOrder::ByToken)?,
                        rec.merge_2x2(&x, h, w, MergeOrder::ByChannel)?,
                    ])
                })?;
                assert_eq!(merged, [by_token.clone(), by_channel.clone()]);
                Ok(())
            });
        }

        #[test]
        fn positions_equal_reference(
            (blocks_h, blocks_w, merge, frames) in (1usize..9, 1usize..9, 1usize..4, 1usize..3),
            (side, width) in (1usize..20, 1usize..40),
            seed: u64,
        ) {
            let (grid_h, grid_w) = (blocks_h * merge, blocks_w * merge);
            let values = random(frames * grid_h * grid_w * width, seed);
            let table = random(side * side * width, seed ^ 1);
            let expected = reference::interpolate_positions(&values, &table, width, (grid_h, grid_w), side, merge);
            on_every_gpu(|gpu, run| {
                let x = gpu.upload("x", &[frames * grid_h * grid_w, width], &values)?;
                let table = gpu.upload("table", &[side * side, width], &table)?;
                let y = run.record(|rec| {
                    rec.interpolate_positions(&x, &table, grid_h, grid_w, side, merge)?;
                    Ok(x.clone())
                })?;
                // A place rounds to 1e-7 of up to 20, and moves the result by as much of a table entry.
                assert_nmse(&y, &expected, 1e-11);
                Ok(())
            });
        }
    }

    #[test]
    fn places_are_those_of_torch() {
        // torch.linspace(0, 47, 5).tolist(), torch.linspace(0, 47, 1).tolist()
        assert_eq!(linspace(48, 5).collect::<Vec<_>>(), [0.0, 11.75, 23.5, 35.25, 47.0]);
        assert_eq!(linspace(48, 1).collect::<Vec<_>>(), [0.0]);
        assert_eq!(linspace(1, 3).collect::<Vec<_>>(), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn wrong_arguments_are_named() {
        on_every_gpu(|gpu, run| {
            let image = gpu.upload("image", &[100], &[0u32; 100])?;
            let how = Patchify {
                width: 28,
                height: 28,
                patch: 14,
                temporal: 2,
                merge: 2,
                scale: 1.0,
                mean: [0.0; 3],
                std: [1.0; 3],
            };
            let wrong = |how| run.record(|rec| Ok(rec.patchify(&image, how)?)).unwrap_err().to_string();
            assert_eq!(wrong(how), "patchify: image is [100], expected 588 words for 28 x 28 pixels");
            assert_eq!(wrong(Patchify { width: 30, ..how }), "patchify: width is 30, expected a multiple of 28 pixels");
            assert_eq!(wrong(Patchify { patch: 0, ..how }), "patchify: patch * merge is 0, expected 1 to 32767 pixels");
            let x = gpu.upload("x", &[6, 1], &[0.0f32; 6])?;
            let error = run.record(|rec| Ok(rec.merge_2x2(&x, 2, 3, MergeOrder::ByToken)?)).unwrap_err();
            assert_eq!(error.to_string(), "merge_2x2: w is 3, expected an even number");
            Ok(())
        });
    }
}
