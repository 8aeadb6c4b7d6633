//! Checkpoints in the safetensors format, in one file or in shards.

use std::{collections::BTreeMap, ops::Range};

use safetensors::Dtype;
use serde::Deserialize;

use super::{
    foreign::foreign,
    source::{ByteSource, Bytes, StoredType, TensorInfo, WeightError, WeightSource},
};

/// Largest header that is read; published checkpoints have a few hundred KiB.
const LARGEST_HEADER: u64 = 64 << 20;

/// A tensor of a header. Offsets are 64 bits wide on wasm32 too, where published shards are larger than a `usize` counts.
#[derive(Deserialize)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

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
        let start = file.read(0..file.len().min(512)).await?;
        // What the first bytes of something else say of a header is absurd: only then are they looked at.
        let wrong_start = |reason: String| wrong(foreign(&start).map_or(reason, str::to_owned));
        let Some(length) = start.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
            return Err(wrong_start(format!("{} bytes are too short for a safetensors file", file.len())));
        };
        if length > LARGEST_HEADER {
            return Err(wrong_start(format!("the header claims {length} bytes: no safetensors file")));
        }
        let data = 8 + length;
        if data > file.len() {
            return Err(wrong_start(format!("the header claims {length} bytes, the file has {}", file.len())));
        }
        let header = file.read(8..data).await?;
        let entries: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&header).map_err(|e| wrong(format!("the header is not valid: {e}")))?;
        for (name, entry) in entries.into_iter().filter(|(name, _)| name != "__metadata__") {
            let info: Entry = serde_json::from_value(entry).map_err(|e| wrong(format!("tensor {name}: {e}")))?;
            if self.tensors.contains_key(&name) || self.others.contains_key(&name) {
                return Err(wrong(format!("tensor {name} is in another file too")));
            }
            let (start, end) = info.data_offsets;
            let range = data.saturating_add(start)..data.saturating_add(end);
            if start > end {
                return Err(wrong(format!(
                    "tensor {name}: data_offsets are [{start}, {end}], the end before the start"
                )));
            }
            if range.end > file.len() {
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

    fn others(&self) -> Vec<&str> {
        self.others.keys().map(String::as_str).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, block_on};

    fn memory(bytes: Vec<u8>) -> Memory {
        Memory::new("model.safetensors", bytes)
    }

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn error(files: Vec<Vec<u8>>) -> String {
        match block_on(Safetensors::open(files.into_iter().map(memory).collect())) {
            Ok(_) => panic!("opened"),
            Err(error) => error.to_string(),
        }
    }

    const ONE: &str = r#"{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;

    #[test]
    fn whole_files_open() {
        let source = block_on(Safetensors::open(vec![memory(file(ONE, 24))])).expect("a whole file");
        assert_eq!(source.names(), ["w"]);
        let info = source.info("w").expect("a tensor");
        assert_eq!((info.shape.as_slice(), info.dtype), (&[2, 3][..], StoredType::F32));
        assert_eq!(block_on(source.read(info, 4..12)).expect("bytes").len(), 8);
        assert_eq!(source.missing("v").to_string(), "tensor v is missing; looked in model.safetensors");
    }

    #[test]
    fn broken_files_are_named() {
        let cases: [(Vec<Vec<u8>>, &str); 8] = [
            (vec![vec![1, 2, 3]], "too short"),
            (vec![file(ONE, 24)[..20].to_vec()], "the file has 20"),
            (vec![u64::MAX.to_le_bytes().to_vec()], "no safetensors file"),
            (vec![file("{\"w\":", 0)], "not valid"),
            (vec![file(ONE, 23)], "truncated: tensor w ends 1 bytes beyond the file"),
            (
                vec![file(&ONE.replace("[0,24]", "[24,0]"), 24)],
                "tensor w: data_offsets are [24, 0], the end before the start",
            ),
            (vec![file(&ONE.replace("[2,3]", "[2,4]"), 24)], "tensor w"),
            (vec![file(ONE, 24), file(ONE, 24)], "tensor w is in another file too"),
        ];
        for (files, expected) in cases {
            let message = error(files);
            assert!(message.starts_with("model.safetensors: ") && message.contains(expected), "{message}");
        }
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
        let mut pickle = vec![0x80, 2, 0x8a, 10, b'l', 0xfc, 0x9c, 0x46, 0xf9];
        pickle.resize(1000, 0);
        for (bytes, expected) in [
            (pointer.as_bytes().to_vec(), "git lfs pull"),
            (b"<!DOCTYPE html><html lang=\"en\">".to_vec(), "web page"),
            (b"GGUF\x03\0\0\0\x01\0\0\0".to_vec(), "GGUF"),
            (b"PK\x03\x04\0\0\x08\x08\0\0".to_vec(), "safetensors"),
            (pickle, "safetensors"),
        ] {
            let message = error(vec![bytes]);
            assert!(message.starts_with("model.safetensors: ") && message.contains(expected), "{message}");
            assert!(!message.contains("header"), "{message}");
        }
    }

    #[test]
    fn shapes_that_overflow_are_refused() {
        let huge = ONE.replace("[2,3]", "[4294967296,4294967296,4294967296]");
        assert!(error(vec![file(&huge, 24)]).contains("tensor w"));
    }

    #[test]
    fn integer_tensors_are_an_error_only_for_who_asks() {
        let header = ONE.replace("F32", "I32");
        let source = block_on(Safetensors::open(vec![memory(file(&header, 24))])).expect("a whole file");
        assert_eq!((source.names().len(), source.others()), (0, vec!["w"]));
        let message = source.missing("w").to_string();
        let expected = "tensor w in model.safetensors: element type is I32, expected F32, F16 or BF16; ";
        assert!(message.starts_with(expected), "{message}");
    }
}
