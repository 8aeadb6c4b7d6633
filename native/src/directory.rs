//! A published model's directory, as downloaded from Hugging Face.

use std::{
    collections::BTreeMap,
    env, fs,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use fovea_engine::weights::{ByteSource, Bytes, Safetensors, WeightError, foreign};
use fovea_models::{Checkpoint, Files, LoadError, SMALL_FILES, WEIGHTS};
use memmap2::Mmap;

use crate::failure::{Failure, Kind, Outcome};

/// Largest of the small files that is read; a published `tokenizer.json` has about 10 MiB.
const LARGEST_SMALL_FILE: u64 = 64 << 20;

/// The directory of the model to use: the one asked for, else `FOVEA_MODEL`, else the default model, `models/nano`,
/// looked for upwards from the current directory and from the program.
pub(crate) fn find(asked: Option<&Path>) -> Outcome<PathBuf> {
    let directory = match (asked, env::var_os("FOVEA_MODEL")) {
        (Some(path), _) => path.to_owned(),
        (None, Some(path)) => path.into(),
        (None, None) => {
            let starts = [env::current_dir(), env::current_exe()];
            let mut above = starts.iter().flatten().flat_map(|start| start.ancestors());
            above.find_map(nano).ok_or_else(|| {
                Failure::new(Kind::Model, "the default model, models/nano, is not here: name one with --model DIR")
            })?
        }
    };
    match directory.is_dir() {
        true => Ok(directory),
        false => {
            Err(Failure::new(Kind::Model, format_args!("model {}: {}", directory.display(), no_directory(&directory))))
        }
    }
}

/// What a path is that is no directory.
fn no_directory(path: &Path) -> String {
    if !path.exists() {
        return "no such directory".to_owned();
    }
    let mut start = Vec::new();
    // What cannot be read is a file nevertheless.
    let _ = File::open(path).and_then(|file| file.take(512).read_to_end(&mut start));
    match foreign(&start) {
        Some(what) => what.to_owned(),
        None => "a file: name the directory that holds it, with config.json beside it".to_owned(),
    }
}

fn nano(root: &Path) -> Option<PathBuf> {
    let directory = root.join("models/nano");
    directory.join("config.json").is_file().then_some(directory)
}

/// The small files of a directory, by name.
pub(crate) struct SmallFiles(BTreeMap<String, Vec<u8>>);

impl SmallFiles {
    /// Reads those that exist.
    pub(crate) fn read(directory: &Path) -> Outcome<Self> {
        let mut files = BTreeMap::new();
        for name in SMALL_FILES {
            match read_bounded(&directory.join(name), LARGEST_SMALL_FILE) {
                Ok(bytes) => {
                    files.insert(name.to_owned(), bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let error = LoadError::File { file: name.to_owned(), reason: error.to_string() };
                    return Err(Failure::load(directory, error));
                }
            }
        }
        Ok(Self(files))
    }

    pub(crate) fn files(&self) -> Files<'_> {
        Files(&self.0)
    }
}

/// Opens a directory: small files read, weights mapped.
pub(crate) fn open(directory: &Path) -> Outcome<Checkpoint> {
    let SmallFiles(files) = SmallFiles::read(directory)?;
    let load = |error| Failure::load(directory, error);
    // An adapter has no configuration of its own, and other formats keep theirs in the weights.
    Files(&files).check().map_err(load)?;
    let weights = directory.join(WEIGHTS).exists();
    let missing = |file: &str| LoadError::MissingFile { file: file.to_owned() };
    // Without a configuration it is no model of this kind, whatever else is there.
    if !files.contains_key("config.json") {
        let other = if weights { None } else { other_format(directory) };
        return Err(load(other.unwrap_or_else(|| missing("config.json"))));
    }
    let names = Files(&files).weight_files(weights).map_err(load)?;
    if !weights && names == [WEIGHTS] {
        return Err(load(other_format(directory).unwrap_or_else(|| missing(WEIGHTS))));
    }
    let files_mapped = names.into_iter().map(|name| Mapped::open(directory, name)).collect::<Result<Vec<_>, _>>();
    let weights = files_mapped
        .and_then(|mapped| pollster::block_on(Safetensors::open(mapped)).map_err(LoadError::from))
        .map_err(load)?;
    Ok(Checkpoint::new(files, Box::new(weights)))
}

/// Why a directory has no weights: those that it has in another format or under another name.
fn other_format(directory: &Path) -> Option<LoadError> {
    const GGUF: &str =
        "a GGUF file, which is not read: use the original model, in safetensors; it is quantised on loading";
    const PICKLE: &str = "a PyTorch file (pickle), which is not read: convert it to safetensors, with \
                          `save_pretrained` of transformers for example";
    const NAME: &str = "weights under another name: model.safetensors is looked for, or the shards that \
                        model.safetensors.index.json lists";
    const KINDS: &[(&str, &str, &str)] = &[
        ("", ".gguf", GGUF),
        ("pytorch_model", ".bin", PICKLE),
        ("", ".pth", PICKLE),
        ("", ".pt", PICKLE),
        ("", ".onnx", "an ONNX file, which is not read: use the original model, in safetensors"),
        ("flax_model", ".msgpack", "a Flax file, which is not read: use the model's safetensors"),
        ("tf_model", ".h5", "a Keras file, which is not read: use the model's safetensors"),
        ("consolidated", ".safetensors", "Mistral's own layout, which is not read: use that of transformers"),
        ("adapter_model", ".safetensors", "a PEFT adapter, not a whole model: merge it into its base model"),
        ("", ".safetensors", NAME),
    ];
    let entries = fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    let found = |begin: &str, end: &str| names.iter().find(|name| name.starts_with(begin) && name.ends_with(end));
    let (file, reason) = KINDS.iter().find_map(|(begin, end, what)| Some((found(begin, end)?, *what)))?;
    Some(LoadError::File { file: file.clone(), reason: reason.to_owned() })
}

/// A file in memory pages that the system reads when they are used.
struct Mapped {
    name: String,
    pages: Mmap,
}

impl Mapped {
    fn open(directory: &Path, name: String) -> Result<Self, LoadError> {
        let path = directory.join(&name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LoadError::MissingFile { file: name });
            }
            Err(error) => return Err(LoadError::File { file: name, reason: error.to_string() }),
        };
        let wrong = |reason: String| LoadError::File { file: name.clone(), reason };
        let metadata = file.metadata().map_err(|error| wrong(error.to_string()))?;
        if !metadata.is_file() {
            return Err(wrong("not a regular file".to_owned()));
        }
        if metadata.len() == 0 {
            return Err(wrong("0 bytes are too short for a safetensors file".to_owned()));
        }
        // SAFETY: the map is read-only and private to this type, which hands out copies. Rust asks that nobody changes
        // the file meanwhile: a model that is overwritten while it loads gives wrong weights or a bus error here, as
        // it does in every program that maps its model.
        #[allow(unsafe_code)]
        let pages = unsafe { Mmap::map(&file) }.map_err(|error| wrong(error.to_string()))?;
        Ok(Self { name, pages })
    }
}

impl ByteSource for Mapped {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.pages.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Bytes<'_> {
        let bytes = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let bytes = bytes.and_then(|(start, end)| self.pages.get(start..end)).map(<[u8]>::to_vec);
        Box::pin(async move {
            bytes.ok_or_else(|| WeightError::Read {
                file: self.name.clone(),
                reason: format!("bytes {}..{} are beyond its end, {}", range.start, range.end, self.pages.len()),
            })
        })
    }
}

/// A file's bytes, if it has at most `limit` of them.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.is_dir() {
        return Err(io::Error::other("a directory"));
    }
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match read as u64 > limit {
        true => Err(io::Error::other(format!("more than {} MiB", limit >> 20))),
        false => Ok(bytes),
    }
}
