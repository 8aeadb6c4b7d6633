//! A model's files: a directory as downloaded from Hugging Face, or the default model, which is in the program.

use std::{
    collections::BTreeMap,
    env, fmt,
    fs::{self, File},
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use fovea_engine::weights::{ByteSource, Bytes, Safetensors, WeightError, foreign};
use fovea_models::{Checkpoint, Files, LoadError, SMALL_FILES, WEIGHTS};
use memmap2::Mmap;

use crate::{
    failure::{Failure, Kind, Outcome},
    input::read_bounded,
};

/// Largest of the small files that is read; a published `tokenizer.json` has about 10 MiB.
const LARGEST_SMALL_FILE: u64 = 64 << 20;

/// The default model's files, inside the program.
#[cfg(feature = "nano")]
const NANO: Option<&[(&str, &[u8])]> = {
    macro_rules! files {
        ($($name:literal),*) => {
            &[$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/nano/", $name)))),*]
        };
    }
    Some(files![
        "chat_template.json",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json"
    ])
};
#[cfg(not(feature = "nano"))]
const NANO: Option<&[(&str, &[u8])]> = None;

/// Where a model's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// In the program: its name and files.
    Inside(&'static [(&'static str, &'static [u8])]),
    /// In a directory.
    Directory(PathBuf),
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inside(_) => f.write_str("nano"),
            Self::Directory(path) => path.display().fmt(f),
        }
    }
}

/// The model to use: the one asked for, else `FOVEA_MODEL`, else `nano`, which is in the program. A directory of the name
/// `nano` is `./nano`.
pub(crate) fn find(asked: Option<&Path>) -> Outcome<Model> {
    let asked = asked.map(Path::to_owned).or_else(|| env::var_os("FOVEA_MODEL").map(PathBuf::from));
    match (asked, NANO) {
        (None, Some(nano)) => Ok(Model::Inside(nano)),
        (Some(path), Some(nano)) if path.as_os_str() == "nano" => Ok(Model::Inside(nano)),
        (None, None) => {
            Err(Failure::new(Kind::Model, "this program was built without a model: name one with --model DIR"))
        }
        (Some(path), _) if path.is_dir() => Ok(Model::Directory(path)),
        (Some(path), _) => {
            Err(Failure::new(Kind::Model, format_args!("model {}: {}", path.display(), no_directory(&path))))
        }
    }
}

/// What a path is that is no directory.
fn no_directory(path: &Path) -> String {
    if !path.exists() {
        return "no such directory (a model is downloaded first, such as with `hf download`)".to_owned();
    }
    let mut start = Vec::new();
    // What cannot be read is a file nevertheless.
    let _ = File::open(path).and_then(|file| file.take(512).read_to_end(&mut start));
    match foreign(&start) {
        Some(what) => what.to_owned(),
        None => "a file: name the directory that holds it, with config.json beside it".to_owned(),
    }
}

/// The small files of a model, by name.
pub(crate) struct SmallFiles(BTreeMap<String, Vec<u8>>);

impl SmallFiles {
    /// Reads those that exist.
    pub(crate) fn read(model: &Model) -> Outcome<Self> {
        let mut files = BTreeMap::new();
        for name in SMALL_FILES {
            if let Some(bytes) = model.small_file(name)? {
                files.insert(name.to_owned(), bytes);
            }
        }
        Ok(Self(files))
    }

    pub(crate) fn files(&self) -> Files<'_> {
        Files(&self.0)
    }
}

impl Model {
    fn small_file(&self, name: &str) -> Outcome<Option<Vec<u8>>> {
        let directory = match self {
            Self::Inside(files) => {
                return Ok(files.iter().find(|(own, _)| *own == name).map(|(_, bytes)| bytes.to_vec()));
            }
            Self::Directory(directory) => directory,
        };
        match read_bounded(&directory.join(name), LARGEST_SMALL_FILE) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let error = LoadError::File { file: name.to_owned(), reason: error.to_string() };
                Err(Failure::load(self, error))
            }
        }
    }
}

/// What a model's weights are called, if it is a model that can be read: other formats and adapters are named for what
/// they are. No weight is read.
pub(crate) fn weight_files(model: &Model, files: Files<'_>) -> Outcome<Vec<String>> {
    let load = |error| Failure::load(model, error);
    let Model::Directory(directory) = model else { return Ok(vec![WEIGHTS.to_owned()]) };
    // An adapter has no configuration of its own, and other formats keep theirs in the weights.
    files.check().map_err(load)?;
    let weights = directory.join(WEIGHTS).exists();
    let missing = |file: &str| LoadError::MissingFile { file: file.to_owned() };
    // Without a configuration it is no model of this kind, whatever else is there.
    if files.get("config.json").is_none() {
        let other = if weights { None } else { other_format(directory) };
        return Err(load(other.unwrap_or_else(|| missing("config.json"))));
    }
    let names = files.weight_files(weights).map_err(load)?;
    if !weights && names == [WEIGHTS] {
        return Err(load(other_format(directory).unwrap_or_else(|| missing(WEIGHTS))));
    }
    Ok(names)
}

/// Opens a model: small files read, weights mapped.
pub(crate) fn open(model: &Model) -> Outcome<Checkpoint> {
    let SmallFiles(files) = SmallFiles::read(model)?;
    let load = |error| Failure::load(model, error);
    let names = weight_files(model, Files(&files))?;
    let sources = match model {
        Model::Inside(own) => Ok(own
            .iter()
            .filter(|(name, _)| names.iter().any(|it| it == name))
            .map(|&(name, bytes)| WeightFile { name: name.to_owned(), bytes: Contents::Inside(bytes) })
            .collect()),
        Model::Directory(directory) => {
            names.into_iter().map(|name| WeightFile::map(directory, name)).collect::<Result<Vec<_>, _>>()
        }
    };
    let weights = sources
        .and_then(|sources| pollster::block_on(Safetensors::open(sources)).map_err(LoadError::from))
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

/// A file of weights.
struct WeightFile {
    name: String,
    bytes: Contents,
}

enum Contents {
    /// In the program itself.
    Inside(&'static [u8]),
    /// In memory pages that the system reads when they are used.
    Mapped(Mmap),
}

impl WeightFile {
    fn map(directory: &Path, name: String) -> Result<Self, LoadError> {
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
        Ok(Self { name, bytes: Contents::Mapped(pages) })
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Contents::Inside(bytes) => bytes,
            Contents::Mapped(pages) => pages,
        }
    }
}

impl ByteSource for WeightFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read(&self, range: Range<u64>) -> Bytes<'_> {
        let ends = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let part = ends.and_then(|(start, end)| self.bytes().get(start..end)).map(<[u8]>::to_vec);
        Box::pin(async move {
            part.ok_or_else(|| WeightError::Read {
                file: self.name.clone(),
                reason: format!("bytes {}..{} are beyond its end, {}", range.start, range.end, self.len()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a directory of the model would give is in the program, byte for byte.
    #[cfg(feature = "nano")]
    #[test]
    fn the_default_model_is_whole() {
        let directory = Model::Directory(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/nano"));
        let inside = Model::Inside(NANO.unwrap());
        for name in SMALL_FILES {
            assert_eq!(inside.small_file(name).unwrap(), directory.small_file(name).unwrap(), "{name}");
        }
        let tensors = |model: &Model| open(model).unwrap().weights().names().join(" ");
        assert_eq!(tensors(&inside), tensors(&directory));
    }
}
