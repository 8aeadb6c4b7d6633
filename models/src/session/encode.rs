//! Pictures on their way to the decoder.

use std::{ops::Range, sync::Arc};

use fovea_engine::{OpError, Program, Recorder};
use sha2::{Digest, Sha256};

use super::{OnStage, Session, Stage, encoded::EncodedImage, pace};
use crate::{
    blocks::{CrossCache, Pixels, VisionOutput},
    error::RunError,
    image::{ImageConfig, PatchGrid, Picture, PreparedImage, Size, Tiling, View},
};

/// Pictures whose embeddings are kept.
const ENCODED: usize = 8;

/// Pictures that are kept if keys and values of every layer come with each.
const ENCODED_CROSS: usize = 1;

/// Everything that a picture's encoding yields, for comparison with a reference.
pub struct VisionStages {
    /// What the reference calls so: of every view, one after the other.
    pub pixel_values: Vec<f32>,
    /// `[rows, hidden]` of the tower, view after view.
    pub tower: Vec<f32>,
    /// `[rows, hidden]` of the decoder.
    pub embeds: Vec<f32>,
    /// `[patches, width]` of the tower that every layer attends to, if there is one.
    pub cross: Option<Vec<f32>>,
}

impl Session {
    /// Encodes a picture, or finds it among those encoded before: the same picture is computed once.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn encode(&mut self, picture: &Picture, on_stage: OnStage<'_>) -> Result<Arc<EncodedImage>, RunError> {
        self.recover_memory();
        let hash = hash(picture);
        if let Some(index) = self.encoded.iter().position(|image| image.hash == hash) {
            // The last used is the last to go.
            let image = self.encoded.remove(index);
            self.encoded.push(Arc::clone(&image));
            return Ok(image);
        }
        let system = Arc::clone(&self.system);
        let mut image = self.encode_by(&system.blueprint().image, picture, on_stage).await?;
        image.picture = system.blueprint().image.closer().map(|_| Arc::new(picture.clone()));
        let image = Arc::new(image);
        let most = if image.cross.is_some() { ENCODED_CROSS } else { ENCODED };
        if self.encoded.len() >= most {
            self.encoded.remove(0);
        }
        self.encoded.push(Arc::clone(&image));
        Ok(image)
    }

    /// Encodes a picture that is prepared in a way of its own.
    pub(super) async fn encode_by(
        &self,
        config: &ImageConfig,
        picture: &Picture,
        on_stage: OnStage<'_>,
    ) -> Result<EncodedImage, RunError> {
        let prepared = config.prepare(picture)?;
        on_stage(Stage::Encode(0.0));
        let mut rec = Recorder::new(self.gpu());
        let pixels = prepared.views.iter().map(|view| patchify(&mut rec, view)).collect::<Result<Vec<_>, _>>()?;
        let (output, cross) = self.record_encoding(&mut rec, &pixels, &prepared.tiling)?;
        let program = rec.finish()?;
        program.run_paced(pace(self.gpu()), &|done| on_stage(Stage::Encode(done))).await?;
        self.check_memory()?;
        self.encoded(&program, &output, cross.as_ref(), &prepared, picture.size(), hash(picture))
    }

    /// Records what a picture becomes, and keeps what an answer needs of it.
    fn record_encoding(
        &self,
        rec: &mut Recorder,
        pixels: &[Pixels],
        tiling: &Tiling,
    ) -> Result<(VisionOutput, Option<CrossCache>), RunError> {
        let output = self.system.vision.record(rec, pixels, tiling)?;
        let vision = &self.system.blueprint().vision;
        let cross = match vision.attended(&output, tiling) {
            Some((features, seen)) => Some(self.system.decoder.record_cross(rec, features, 0..seen)?),
            None => None,
        };
        rec.keep(&output.embeds);
        cross.iter().flat_map(CrossCache::tensors).for_each(|tensor| rec.keep(tensor));
        Ok((output, cross))
    }

    /// What a program has encoded.
    fn encoded(
        &self,
        program: &Program,
        output: &VisionOutput,
        cross: Option<&CrossCache>,
        prepared: &PreparedImage,
        original: Size,
        hash: [u8; 32],
    ) -> Result<EncodedImage, RunError> {
        let vision = &self.system.blueprint().vision;
        let views = vision.token_grids(&prepared.views.iter().map(View::grid).collect::<Vec<_>>());
        let (whole, nothing) = (prepared.tiling.whole(), PatchGrid { time: 0, height: 0, width: 0 });
        let earlier: usize = views.iter().take(whole).map(|grid| grid.patches()).sum();
        Ok(EncodedImage {
            embeds: program.detach(&output.embeds)?,
            grid: views.get(whole).copied().unwrap_or(nothing),
            views,
            tiling: prepared.tiling,
            original,
            resized: prepared.resized,
            picture: None,
            cross: cross.map(|cross| cross.map(|tensor| program.detach(tensor))).transpose()?.map(Arc::new),
            before: vision.connector.edges().0 + earlier,
            hash,
        })
    }

    /// The keys and values of several pictures together: first the features that show something, picture by picture. Rows
    /// behind the last picture see `seen` of them.
    pub(super) fn join_features(
        &self,
        images: &[Arc<EncodedImage>],
        seen: Range<usize>,
    ) -> Result<CrossCache, RunError> {
        let shown = |image: &EncodedImage| image.cross.as_ref().map_or(0, |cross| cross.seen().len());
        let (mut at, mut empty_at) = (0, images.iter().map(|image| shown(image)).sum::<usize>());
        let mut rec = Recorder::new(self.gpu());
        let mut parts = Vec::with_capacity(images.len());
        for image in images {
            let (shown, all) = (shown(image), image.rows());
            let to: Vec<u32> = (at..at + shown).chain(empty_at..empty_at + all - shown).map(|row| row as u32).collect();
            (at, empty_at) = (at + shown, empty_at + all - shown);
            parts.push((&image.embeds, self.gpu().upload("places of features", &[to.len()], &to)?));
        }
        let parts: Vec<_> = parts.iter().map(|(embeds, to)| (*embeds, to)).collect();
        let features = rec.assemble_rows(&parts)?;
        let cross = self.system.decoder.record_cross(&mut rec, &features, seen)?;
        cross.tensors().for_each(|tensor| rec.keep(tensor));
        let program = rec.finish()?;
        program.run()?;
        Ok(cross.map(|tensor| program.detach(tensor))?)
    }

    /// Encodes a picture and reads every stage back; with `pixels`, those are taken instead of the prepared ones, of every
    /// view, one after the other.
    ///
    /// # Errors
    /// [`RunError::Pixels`] if they are not as many as the picture's patches need.
    pub async fn encode_stages(
        &mut self,
        picture: &Picture,
        pixels: Option<&[f32]>,
    ) -> Result<(Arc<EncodedImage>, VisionStages), RunError> {
        let prepared = self.system.blueprint().image.prepare(picture)?;
        let needed = prepared.views.iter().map(View::values).sum();
        if let Some(pixels) = pixels.filter(|pixels| pixels.len() != needed) {
            return Err(RunError::Pixels { got: pixels.len(), expected: needed });
        }
        let mut rec = Recorder::new(self.gpu());
        let (mut views, mut given) = (Vec::new(), pixels);
        for view in &prepared.views {
            let (own, rest) = given.and_then(|given| given.split_at_checked(view.values())).unzip();
            given = rest;
            views.push(match own {
                Some(own) => {
                    let (grid, own) = (view.grid(), view.patches_of(own));
                    let values = self.gpu().upload("pixel values", &[grid.patches(), view.patch_width()], &own)?;
                    Pixels { values, grid }
                }
                None => patchify(&mut rec, view)?,
            });
        }
        let (output, cross) = self.record_encoding(&mut rec, &views, &prepared.tiling)?;
        let features = output.cross.as_ref();
        views.iter().map(|view| &view.values).chain(&output.tower).chain(features).for_each(|it| rec.keep(it));
        let program = rec.finish()?;
        program.run()?;
        let mut pixel_values = Vec::new();
        for (view, pixels) in prepared.views.iter().zip(&views) {
            pixel_values.extend(view.reference_of(program.read(&pixels.values).await?));
        }
        let mut tower = Vec::new();
        for rows in &output.tower {
            tower.extend(program.read::<f32>(rows).await?);
        }
        let stages = VisionStages {
            pixel_values,
            tower,
            embeds: program.read(&output.embeds).await?,
            cross: match features {
                Some(features) => Some(program.read(features).await?),
                None => None,
            },
        };
        // The hash covers what was encoded, so that foreign pixels are not taken for the picture's own.
        let mut digest = Sha256::new();
        digest.update(hash(picture));
        pixels.iter().flat_map(|pixels| pixels.iter()).for_each(|value| digest.update(value.to_le_bytes()));
        let hash = digest.finalize().into();
        let image = self.encoded(&program, &output, cross.as_ref(), &prepared, picture.size(), hash)?;
        Ok((Arc::new(image), stages))
    }
}

/// Hands a view's bytes to the GPU and records their patches.
pub(crate) fn patchify(rec: &mut Recorder, view: &View) -> Result<Pixels, OpError> {
    let mut bytes = view.picture.rgb().to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let words: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let image = rec.gpu().upload("picture", &[words.len()], &words)?;
    Ok(Pixels { values: rec.patchify(&image, view.cut)?, grid: view.grid() })
}

fn hash(picture: &Picture) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(picture.size().width.to_le_bytes());
    digest.update(picture.size().height.to_le_bytes());
    digest.update(picture.rgb());
    digest.finalize().into()
}
