//! Streams weights from a source to the GPU.

use std::cell::Cell;

use super::{
    Format, Upload, Weight,
    source::{TensorInfo, WeightError, WeightSource},
};
use crate::{gpu::Gpu, tensor::Tensor};

/// Bytes that are read at a time.
const CHUNK: usize = 4 << 20;

/// Bytes that are handed to the driver before it is waited for: what was written and not submitted lies in staging
/// memory, which has exhausted and corrupted memory in other runtimes.
const IN_FLIGHT: usize = 32 << 20;

/// What a weight matrix is for: decides its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TensorClass {
    /// Token embeddings.
    Embedding,
    /// The decoder's projections.
    Decoder,
    /// The output projection to the vocabulary.
    Head,
    /// The vision tower.
    Vision,
    /// What joins vision tower and decoder.
    Connector,
}

/// Which class of weight matrix is stored in which format. Norms, biases and position tables are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For [`TensorClass::Embedding`].
    pub embedding: Format,
    /// For [`TensorClass::Decoder`].
    pub decoder: Format,
    /// For [`TensorClass::Head`].
    pub head: Format,
    /// For [`TensorClass::Vision`].
    pub vision: Format,
    /// For [`TensorClass::Connector`].
    pub connector: Format,
}

impl Policy {
    /// The same format for every class.
    pub const fn uniform(format: Format) -> Self {
        Self { embedding: format, decoder: format, head: format, vision: format, connector: format }
    }

    /// 4-bit decoder, everything else in 8 bits: clicks go wrong first when the vision tower loses precision.
    pub const fn q4() -> Self {
        Self { decoder: Format::Q4, ..Self::uniform(Format::Q8) }
    }

    /// The format for a class.
    pub const fn format(&self, class: TensorClass) -> Format {
        match class {
            TensorClass::Embedding => self.embedding,
            TensorClass::Decoder => self.decoder,
            TensorClass::Head => self.head,
            TensorClass::Vision => self.vision,
            TensorClass::Connector => self.connector,
        }
    }
}

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes of all tensors of the source.
    pub total: u64,
}

/// Loads tensors of a source onto a GPU.
pub struct Loader<'a> {
    gpu: &'a Gpu,
    source: &'a dyn WeightSource,
    policy: Policy,
    progress: &'a dyn Fn(Progress),
    total: u64,
    bytes: Cell<u64>,
    in_flight: Cell<usize>,
}

impl<'a> Loader<'a> {
    /// A loader that tells `progress` how far it is.
    pub fn new(gpu: &'a Gpu, source: &'a dyn WeightSource, policy: Policy, progress: &'a dyn Fn(Progress)) -> Self {
        let sizes = source.names().into_iter().filter_map(|name| source.info(name));
        let total = sizes.map(|info| info.range.end - info.range.start).sum();
        Self { gpu, source, policy, progress, total, bytes: Cell::new(0), in_flight: Cell::new(0) }
    }

    /// The GPU that takes the weights.
    pub fn gpu(&self) -> &'a Gpu {
        self.gpu
    }

    /// The names that begin with `prefix`.
    pub fn at(&self, prefix: &str) -> Scope<'_> {
        Scope { loader: self, prefix: prefix.to_owned() }
    }

    fn info(&self, name: &str, shape: &[usize]) -> Result<&'a TensorInfo, WeightError> {
        let info = self.source.info(name).ok_or_else(|| self.source.missing(name))?;
        if info.shape != shape {
            return Err(WeightError::Shape {
                tensor: name.to_owned(),
                file: self.source.file(info.file).to_owned(),
                got: info.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        Ok(info)
    }

    /// Reads a tensor in chunks, checks each, and hands it to `take`.
    async fn stream(
        &self,
        name: &str,
        info: &TensorInfo,
        take: &mut dyn FnMut(&[f32]) -> Result<(), WeightError>,
    ) -> Result<(), WeightError> {
        let length = info.range.end - info.range.start;
        let mut start = 0;
        while start < length {
            let end = (start + CHUNK as u64).min(length);
            let bytes = self.source.read(info, start..end).await?;
            if bytes.len() as u64 != end - start {
                let file = self.source.file(info.file).to_owned();
                return Err(WeightError::Read { file, reason: format!("tensor {name} is truncated") });
            }
            let values = info.dtype.to_f32(&bytes);
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(WeightError::NotFinite {
                    tensor: name.to_owned(),
                    file: self.source.file(info.file).to_owned(),
                    index: start as usize / info.dtype.bytes() + index,
                    value: values[index],
                });
            }
            take(&values)?;
            self.bytes.set(self.bytes.get() + (end - start));
            (self.progress)(Progress { bytes: self.bytes.get(), total: self.total });
            self.in_flight.set(self.in_flight.get() + 4 * values.len());
            if self.in_flight.get() >= IN_FLIGHT {
                self.gpu.finished().await?;
                self.in_flight.set(0);
            }
            start = end;
        }
        Ok(())
    }
}

/// The tensors of a loader whose names share a prefix.
#[derive(Clone)]
pub struct Scope<'a> {
    loader: &'a Loader<'a>,
    prefix: String,
}

impl<'a> Scope<'a> {
    /// The names that begin with this prefix, a dot, and `name`.
    pub fn at(&self, name: &str) -> Scope<'a> {
        Scope { loader: self.loader, prefix: self.full(name) }
    }

    /// The GPU that takes the weights.
    pub fn gpu(&self) -> &'a Gpu {
        self.loader.gpu
    }

    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    /// Whether the source has this tensor.
    pub fn has(&self, name: &str) -> bool {
        self.loader.source.info(&self.full(name)).is_some()
    }

    /// A tensor in f32, whatever the policy: norms, biases, tables.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightError> {
        self.joined(&[(name, shape)]).await?.reshape(shape).ok_or_else(|| self.loader.source.missing(name))
    }

    /// Several tensors one after the other as one vector in f32: the biases of fused projections.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn joined(&self, parts: &[(&str, &[usize])]) -> Result<Tensor, WeightError> {
        let mut values = Vec::new();
        for (name, shape) in parts {
            let name = self.full(name);
            let info = self.loader.info(&name, shape)?;
            let append = &mut |chunk: &[f32]| {
                values.extend_from_slice(chunk);
                Ok(())
            };
            self.loader.stream(&name, info, append).await?;
        }
        if values.is_empty() {
            return Err(WeightError::Empty { tensor: self.prefix.clone() });
        }
        Ok(self.gpu().upload(&self.prefix, &[values.len()], &values)?)
    }

    /// A weight matrix in the format of its class. `shape[0]` are its rows; further axes are flattened into a row, as
    /// a convolution's kernel is.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn matrix(&self, name: &str, shape: &[usize], class: TensorClass) -> Result<Weight, WeightError> {
        self.stacked(&[(name, shape)], class).await
    }

    /// Several weight matrices of the same width as one, their rows one after the other: fused projections.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn stacked(&self, parts: &[(&str, &[usize])], class: TensorClass) -> Result<Weight, WeightError> {
        let flat = |shape: &[usize]| {
            let rows = shape.first().copied().unwrap_or(0);
            (rows, shape.iter().skip(1).product::<usize>())
        };
        let rows = parts.iter().map(|(_, shape)| flat(shape).0).sum();
        let width = parts.first().map_or(0, |(_, shape)| flat(shape).1);
        let label = self.full(parts.first().map_or("", |(name, _)| name));
        // Checked before any memory is taken for it.
        for (name, shape) in parts {
            self.loader.info(&self.full(name), shape)?;
        }
        let format = self.loader.policy.format(class);
        let mut upload = Upload::new(self.gpu(), &label, rows, width, format)?;
        for (name, shape) in parts {
            let name = self.full(name);
            let info = self.loader.info(&name, shape)?;
            self.loader.stream(&name, info, &mut |chunk| upload.push(chunk)).await?;
        }
        upload.finish()
    }
}
