//! Checkpoints in the safetensors format, in one file or in shards.

use std::{collections::BTreeMap, ops::Range};

use safetensors::{Dtype, tensor::Metadata};

use super::source::{ByteSource, Bytes, StoredType, TensorInfo, WeightError, WeightSource};

/// Largest header that is read; published checkpoints have a few hundred KiB.
const LARGEST_HEADER: u64 = 64 << 20;

/// The tensors of one or more safetensors files.
pub struct Safetensors<S> {
    files: Vec<S>,
    tensors: BTreeMap<String, TensorInfo>,
    /// Tensors of types that weights do not have: an error only for who asks for them.
    others: BTreeMap<String, (usize, String)>,
}

impl<S: ByteSource> Safetensors<S> {
    /// Reads the headers of all files.
    ///
    /// # Errors
    /// [`WeightError::Header`] that names the file, if a header is no header, a tensor lies outside of its file, its
    /// bytes do not fit its shape, or two files hold the same tensor.
    pub async fn open(files: Vec<S>) -> Result<Self, WeightError> {
        let mut this = Self { files: Vec::new(), tensors: BTreeMap::new(), others: BTreeMap::new() };
        for (index, file) in files.iter().enumerate() {
            this.add(index, file).await?;
        }
        this.files = files;
        Ok(this)
    }

    async fn add(&mut self, index: usize, file: &S) -> Result<(), WeightError> {
        let wrong = |reason: String| WeightError::Header { file: file.name().to_owned(), reason };
        if file.len() < 8 {
            return Err(wrong(format!("{} bytes are too short for a safetensors file", file.len())));
        }
        let length = file.read(0..8).await?;
        let length = length.try_into().map(u64::from_le_bytes).map_err(|_| wrong("header is truncated".to_owned()))?;
        if length > LARGEST_HEADER {
            return Err(wrong(format!("the header claims {length} bytes: no safetensors file")));
        }
        let data = 8 + length;
        if data > file.len() {
            return Err(wrong(format!("the header claims {length} bytes, the file has {}", file.len())));
        }
        let header = file.read(8..data).await?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|e| wrong(format!("the header is not valid: {e}")))?;
        for (name, info) in metadata.tensors() {
            if self.tensors.contains_key(&name) || self.others.contains_key(&name) {
                return Err(wrong(format!("tensor {name} is in another file too")));
            }
            let (start, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
            let range = data.saturating_add(start)..data.saturating_add(end);
            if start > end || range.end > file.len() {
                let lack = range.end.saturating_sub(file.len());
                return Err(wrong(format!("truncated: tensor {name} ends {lack} bytes beyond the file")));
            }
            let dtype = match info.dtype {
                Dtype::F32 => StoredType::F32,
                Dtype::F16 => StoredType::F16,
                Dtype::BF16 => StoredType::BF16,
                other => {
                    self.others.insert(name, (index, format!("{other:?}")));
                    continue;
                }
            };
            let elements = info.shape.iter().try_fold(dtype.bytes() as u64, |n, &d| n.checked_mul(d as u64));
            if elements != Some(end - start) {
                let (shape, bytes) = (&info.shape, end - start);
                return Err(wrong(format!("tensor {name}: {bytes} bytes do not fit {shape:?} of {dtype:?}")));
            }
            self.tensors.insert(name, TensorInfo { file: index, shape: info.shape.clone(), dtype, range });
        }
        Ok(())
    }
}

impl<S: ByteSource> WeightSource for Safetensors<S> {
    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    fn missing(&self, name: &str) -> WeightError {
        match self.others.get(name) {
            Some((file, dtype)) => {
                let file = WeightSource::file(self, *file).to_owned();
                WeightError::DType { tensor: name.to_owned(), file, got: dtype.clone() }
            }
            None => WeightError::Missing { tensor: name.to_owned(), files: self.files() },
        }
    }

    fn file(&self, index: usize) -> &str {
        self.files.get(index).map_or("", ByteSource::name)
    }

    fn files(&self) -> String {
        self.files.iter().map(ByteSource::name).collect::<Vec<_>>().join(", ")
    }

    fn read<'a>(&'a self, info: &'a TensorInfo, range: Range<u64>) -> Bytes<'a> {
        let file = self.files.get(info.file);
        let start = info.range.start.saturating_add(range.start);
        let end = info.range.start.saturating_add(range.end).min(info.range.end);
        match file {
            Some(file) => file.read(start..end.max(start)),
            None => Box::pin(async { Err(WeightError::Missing { tensor: String::new(), files: self.files() }) }),
        }
    }
}
