//! Streams weights from a source to the GPU.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    ops::Range,
};

use super::{
    Format, Upload, Weight,
    source::{TensorInfo, WeightError, WeightSource},
};
use crate::{
    dtype::DType,
    error::GpuError,
    gpu::Gpu,
    tensor::{Tensor, bytes_of, elements},
};

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

/// How keys and values are kept that are computed once for a picture, as cross attention has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, where a head is a multiple of four wide.
    F16,
}

impl CrossFormat {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// The type of keys and values in heads of this width.
    pub const fn dtype(self, head_dim: usize) -> DType {
        match self {
            Self::F16 if head_dim.is_multiple_of(4) => DType::F16,
            _ => DType::F32,
        }
    }
}

/// Which class of weight matrix is stored in which format, and keys and values of pictures. Norms, biases, position tables
/// and the keys and values of text are always f32.
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
    /// For keys and values that are computed once for a picture.
    pub cross: CrossFormat,
}

impl Policy {
    /// The same format for every class. Keys and values of pictures are f32 with f32 weights, and f16 with any other: those
    /// that they are products of have no more digits then.
    pub const fn uniform(format: Format) -> Self {
        let cross = if matches!(format, Format::F32) { CrossFormat::F32 } else { CrossFormat::F16 };
        Self { embedding: format, decoder: format, head: format, vision: format, connector: format, cross }
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
    blank: bool,
    progress: &'a dyn Fn(Progress),
    total: u64,
    bytes: Cell<u64>,
    in_flight: Cell<usize>,
    spelling: &'a dyn Fn(&str) -> String,
    /// Names that were asked for.
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Loader<'a> {
    /// A loader that tells `progress` how far it is.
    pub fn new(gpu: &'a Gpu, source: &'a dyn WeightSource, policy: Policy, progress: &'a dyn Fn(Progress)) -> Self {
        let sizes = source.names().into_iter().filter_map(|name| source.info(name));
        let total = sizes.map(|info| info.range.end - info.range.start).sum();
        Self {
            gpu,
            source,
            policy,
            blank: false,
            progress,
            total,
            bytes: Cell::new(0),
            in_flight: Cell::new(0),
            spelling: &str::to_owned,
            asked: RefCell::default(),
        }
    }

    /// The same, asking the source for `spelling` of each name.
    #[must_use]
    pub fn spelled(self, spelling: &'a dyn Fn(&str) -> String) -> Self {
        Self { spelling, ..self }
    }

    /// Names of the source that nothing has asked for, sorted.
    pub fn unasked(&self) -> Vec<&'a str> {
        let asked = self.asked.borrow();
        let all = self.source.names().into_iter().chain(self.source.others());
        let mut rest: Vec<&str> = all.filter(|name| !asked.contains(*name)).collect();
        rest.sort_unstable();
        rest
    }

    /// A loader that reads nothing: every tensor that the source has is there in the shape that is asked for, all
    /// zeros. What is recorded with them builds the same kernels as the real ones.
    pub fn blank(gpu: &'a Gpu, source: &'a dyn WeightSource, policy: Policy) -> Self {
        Self { blank: true, ..Self::new(gpu, source, policy, &|_| ()) }
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
        self.asked.borrow_mut().insert(name.to_owned());
        let info = self.source.info(name).ok_or_else(|| self.source.missing(name))?;
        if info.shape != shape && !self.blank {
            return Err(WeightError::Shape {
                tensor: name.to_owned(),
                file: self.source.file(info.file).to_owned(),
                got: info.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        Ok(info)
    }

    /// Reads these bytes of a tensor in chunks, checks each, and hands it to `take`.
    async fn stream(
        &self,
        name: &str,
        info: &TensorInfo,
        part: Range<u64>,
        take: &mut dyn FnMut(&[f32]) -> Result<(), WeightError>,
    ) -> Result<(), WeightError> {
        let Range { mut start, end: length } = part;
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
                    index: (start / info.dtype.bytes() as u64) as usize + index,
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
        Scope { loader: self.loader, prefix: self.join(name) }
    }

    /// The GPU that takes the weights.
    pub fn gpu(&self) -> &'a Gpu {
        self.loader.gpu
    }

    /// How what is loaded is stored.
    pub fn policy(&self) -> &Policy {
        &self.loader.policy
    }

    fn join(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    /// A name as the source spells it.
    fn full(&self, name: &str) -> String {
        (self.loader.spelling)(&self.join(name))
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
        self.joined(&[(name, shape)]).await?.reshape(shape).map_err(|_| self.loader.source.missing(name))
    }

    /// A tensor in f32 as a matrix of `rows` rows, whatever axes of length one the source has before or between: a class
    /// token, a table of positions.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn table(&self, name: &str, rows: usize, width: usize) -> Result<Tensor, WeightError> {
        let matrix = [rows, width];
        let bare = |shape: &[usize]| shape.iter().copied().filter(|&axis| axis != 1).collect::<Vec<_>>();
        let own = self.loader.source.info(&self.full(name)).map(|info| info.shape.as_slice());
        let shape = own.filter(|own| bare(own) == bare(&matrix)).unwrap_or(&matrix);
        self.joined(&[(name, shape)]).await?.reshape(&matrix).map_err(|_| self.loader.source.missing(name))
    }

    /// The numbers of a tensor in f32, on the processor: gates, which decide what is recorded.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightError> {
        let mut values = Vec::new();
        self.append(name, shape, &mut values).await?;
        Ok(values)
    }

    /// Row `row` of a tensor, `shape` being the whole, in f32 on the processor: one of many tables of which few are wanted.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor; [`WeightError::Empty`] for a row beyond its own.
    pub async fn row(&self, name: &str, shape: &[usize; 2], row: usize) -> Result<Vec<f32>, WeightError> {
        let name = self.full(name);
        let info = self.loader.info(&name, shape)?;
        let [rows, width] = *shape;
        if row >= rows {
            return Err(WeightError::Empty { tensor: name });
        }
        if self.loader.blank {
            return Ok(vec![0.0; width]);
        }
        let bytes = (width * info.dtype.bytes()) as u64;
        let mut values = Vec::with_capacity(width);
        let append = &mut |chunk: &[f32]| {
            values.extend_from_slice(chunk);
            Ok(())
        };
        self.loader.stream(&name, info, bytes * row as u64..bytes * (row as u64 + 1), append).await?;
        Ok(values)
    }

    /// Several tensors one after the other as one vector in f32: the biases of fused projections.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn joined(&self, parts: &[(&str, &[usize])]) -> Result<Tensor, WeightError> {
        let mut values = Vec::new();
        for (name, shape) in parts {
            self.append(name, shape, &mut values).await?;
        }
        if values.is_empty() {
            return Err(WeightError::Empty { tensor: self.prefix.clone() });
        }
        Ok(self.gpu().upload(&self.prefix, &[values.len()], &values)?)
    }

    async fn append(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<(), WeightError> {
        let name = self.full(name);
        let info = self.loader.info(&name, shape)?;
        if self.loader.blank {
            // No file bounds the configuration's shape here.
            let (bytes, limit) = (bytes_of(shape, DType::F32), self.gpu().caps().max_buffer);
            if bytes > limit {
                return Err(GpuError::BufferTooLarge { what: name, bytes, limit }.into());
            }
            values.resize(values.len().saturating_add(elements(shape)), 0.0);
            return Ok(());
        }
        let append = &mut |chunk: &[f32]| {
            values.extend_from_slice(chunk);
            Ok(())
        };
        self.loader.stream(&name, info, whole(info), append).await
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
            (rows, elements(shape.get(1..).unwrap_or_default()))
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
        if self.loader.blank {
            return Ok(upload.weight);
        }
        for (name, shape) in parts {
            let name = self.full(name);
            let info = self.loader.info(&name, shape)?;
            self.loader.stream(&name, info, whole(info), &mut |chunk| upload.push(chunk)).await?;
        }
        upload.finish()
    }

    /// Some rows of a weight matrix, `shape` being the whole: one of several projections that are published as one.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor; [`WeightError::Empty`] for rows beyond its own.
    pub async fn matrix_rows(
        &self,
        name: &str,
        shape: &[usize; 2],
        rows: Range<usize>,
        class: TensorClass,
    ) -> Result<Weight, WeightError> {
        let name = self.full(name);
        let info = self.loader.info(&name, shape)?;
        let [all, width] = *shape;
        if rows.is_empty() || rows.end > all {
            return Err(WeightError::Empty { tensor: name });
        }
        let mut upload = Upload::new(self.gpu(), &name, rows.len(), width, self.loader.policy.format(class))?;
        if self.loader.blank {
            return Ok(upload.weight);
        }
        let row = (width * info.dtype.bytes()) as u64;
        let part = row * rows.start as u64..row * rows.end as u64;
        self.loader.stream(&name, info, part, &mut |chunk| upload.push(chunk)).await?;
        upload.finish()
    }
}

fn whole(info: &TensorInfo) -> Range<u64> {
    0..info.range.end - info.range.start
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{
        testing::{block_on, gpus},
        weights::{Bytes, StoredType},
    };

    /// A source whose one tensor is made up while it is read; notes how much is asked for at a time.
    struct Made {
        info: TensorInfo,
        /// Value of each element by index.
        value: fn(usize) -> f32,
        asked: RefCell<Vec<u64>>,
    }

    impl Made {
        fn new(shape: &[usize], value: fn(usize) -> f32) -> Self {
            let bytes = 4 * shape.iter().product::<usize>() as u64;
            let info = TensorInfo { file: 0, shape: shape.to_vec(), dtype: StoredType::F32, range: 0..bytes };
            Self { info, value, asked: RefCell::default() }
        }
    }

    impl WeightSource for Made {
        fn names(&self) -> Vec<&str> {
            vec!["w"]
        }

        fn info(&self, name: &str) -> Option<&TensorInfo> {
            (name == "w").then_some(&self.info)
        }

        fn missing(&self, name: &str) -> WeightError {
            WeightError::Missing { tensor: name.to_owned(), files: self.files() }
        }

        fn file(&self, _: usize) -> &str {
            "made.safetensors"
        }

        fn files(&self) -> String {
            "made.safetensors".to_owned()
        }

        fn read<'a>(&'a self, _: &'a TensorInfo, range: Range<u64>) -> Bytes<'a> {
            self.asked.borrow_mut().push(range.end - range.start);
            let elements = range.start as usize / 4..range.end as usize / 4;
            let bytes = elements.flat_map(|index| (self.value)(index).to_le_bytes()).collect();
            Box::pin(async move { Ok(bytes) })
        }
    }

    fn load(source: &Made, shape: &[usize], format: Format) -> Result<Weight, WeightError> {
        let loader = Loader::new(&gpus()[0], source, Policy::uniform(format), &|_| ());
        block_on(loader.at("").matrix("w", shape, TensorClass::Decoder))
    }

    /// However large a tensor is, no more than a chunk of it is in memory at a time, and all of it arrives.
    #[test]
    fn large_tensors_stream_in_chunks() {
        let source = Made::new(&[5000, 1001], |index| (index % 1001) as f32);
        let told = RefCell::new(Vec::new());
        let note = |progress: Progress| told.borrow_mut().push(progress.bytes);
        let loader = Loader::new(&gpus()[0], &source, Policy::uniform(Format::F32), &note);
        let weight = block_on(loader.at("").matrix("w", &[5000, 1001], TensorClass::Decoder)).expect("loads");
        assert!(source.asked.borrow().iter().all(|&bytes| bytes <= CHUNK as u64));
        assert_eq!(told.borrow().last(), Some(&(5000 * 1001 * 4)));
        let words = block_on(gpus()[0].read::<u32>(&weight.parts[0].quants)).expect("reads");
        for (row, words) in words.chunks(weight.padded_width()).enumerate().step_by(997) {
            let values: Vec<f32> = words.iter().map(|&bits| f32::from_bits(bits)).collect();
            assert!(values[..1001].iter().enumerate().all(|(i, &v)| v == i as f32), "row {row}");
            assert!(values[1001..].iter().all(|&v| v == 0.0), "padding of row {row}");
        }
    }

    #[test]
    fn blank_tensors_have_any_shape_and_read_nothing() {
        let source = Made::new(&[4, 8], |_| 0.5);
        let loader = Loader::blank(&gpus()[0], &source, Policy::uniform(Format::Q8));
        let at = loader.at("");
        let matrix = block_on(at.matrix("w", &[6, 32], TensorClass::Decoder)).expect("a matrix");
        assert_eq!((matrix.rows, matrix.width, matrix.format), (6, 32, Format::Q8));
        let vector = block_on(at.tensor("w", &[5])).expect("a vector");
        assert_eq!(block_on(gpus()[0].read::<f32>(&vector)).expect("reads"), [0.0; 5]);
        assert!(source.asked.borrow().is_empty());
        assert!(block_on(at.tensor("v", &[5])).is_err());
        for absurd in [vec![1 << 40], vec![usize::MAX, 3], vec![1 << 33, 1 << 33]] {
            let refused = block_on(at.tensor("w", &absurd)).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.starts_with("w needs a buffer of "), "{absurd:?}: {refused:?}");
        }
    }

    /// Names are asked for in the source's spelling, errors name that, and what nobody asks for is known.
    #[test]
    fn names_are_spelled_as_the_source_does() {
        let source = Made::new(&[4, 8], |_| 0.5);
        let spelling = |name: &str| name.strip_prefix("old.").unwrap_or(name).to_owned();
        let loader = Loader::new(&gpus()[0], &source, Policy::uniform(Format::F32), &|_| ()).spelled(&spelling);
        assert_eq!(loader.unasked(), ["w"]);
        let at = loader.at("old");
        assert!(at.has("w") && loader.unasked() == ["w"], "looking is not asking");
        let message = block_on(at.matrix("w", &[8, 4], TensorClass::Decoder)).expect_err("refused").to_string();
        assert!(message.starts_with("tensor w in made.safetensors: shape"), "{message}");
        let message = block_on(at.matrix("v", &[4, 8], TensorClass::Decoder)).expect_err("refused").to_string();
        assert!(message.starts_with("tensor v is missing"), "{message}");
        block_on(at.matrix("w", &[4, 8], TensorClass::Decoder)).expect("loads");
        assert!(loader.unasked().is_empty());
    }

    #[test]
    fn numbers_that_are_not_finite_are_named() {
        let source = Made::new(&[4, 8], |index| if index == 13 { f32::NAN } else { 0.5 });
        let message = load(&source, &[4, 8], Format::Q4).expect_err("refused").to_string();
        assert_eq!(message, "tensor w in made.safetensors: element 13 is NaN");
    }

    #[test]
    fn other_shapes_are_named() {
        let source = Made::new(&[4, 8], |_| 0.5);
        let message = load(&source, &[8, 4], Format::F32).expect_err("refused").to_string();
        let expected = "tensor w in made.safetensors: shape is [4, 8], the configuration says [8, 4]";
        assert_eq!(message, expected);
    }

    #[test]
    fn numbers_that_do_not_fit_the_format_are_named() {
        let source = Made::new(&[2, 32], |_| 1e9);
        let message = load(&source, &[2, 32], Format::F16).expect_err("refused").to_string();
        assert_eq!(message, "tensor w: 1000000000 is too large for f16; choose another quantisation");
        assert!(load(&source, &[2, 32], Format::F32).is_ok());
    }
}
