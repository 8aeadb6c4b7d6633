//! A published checkpoint: its small files in memory, its weights behind a source.

use std::collections::{BTreeMap, BTreeSet};

use fovea_engine::weights::{WeightSource, foreign};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{error::LoadError, image::Preprocessor};

/// Small files of a checkpoint that any system may read; whoever opens a checkpoint hands over those that exist.
pub const SMALL_FILES: [&str; 16] = [
    "config.json",
    ADAPTER,
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.json",
    "chat_template.jinja",
    "additional_chat_templates/tool_use.jinja",
    "model.safetensors.index.json",
];

/// The weights of a checkpoint in one file.
pub const WEIGHTS: &str = "model.safetensors";

/// UTF-8's byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What makes a directory an adapter of a model that lies elsewhere.
const ADAPTER: &str = "adapter_config.json";

/// What to do about an adapter.
pub(crate) const MERGE: &str = "a PEFT adapter, not a whole model: merge it into its base model \
                                  (`merge_and_unload`, then `save_pretrained`) and use that";

const INDEX: &str = "model.safetensors.index.json";

/// A checkpoint's files.
pub struct Checkpoint {
    files: BTreeMap<String, Vec<u8>>,
    weights: Box<dyn WeightSource>,
}

impl Checkpoint {
    /// From the contents of [`SMALL_FILES`] that exist, by name, and the weights.
    pub fn new(files: BTreeMap<String, Vec<u8>>, weights: Box<dyn WeightSource>) -> Self {
        Self { files, weights }
    }

    /// The weights.
    pub fn weights(&self) -> &dyn WeightSource {
        &*self.weights
    }

    /// The small files.
    pub fn files(&self) -> Files<'_> {
        Files(&self.files)
    }
}

/// Small files by name.
#[derive(Clone, Copy)]
pub struct Files<'a>(pub &'a BTreeMap<String, Vec<u8>>);

impl<'a> Files<'a> {
    /// A file's bytes, if it is there, without a byte order mark.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        // Editors of one system put a mark before the text.
        self.0.get(name).map(|bytes| bytes.strip_prefix(MARK).unwrap_or(bytes))
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// [`LoadError::MissingFile`].
    pub fn need(self, name: &str) -> Result<&'a [u8], LoadError> {
        self.get(name).ok_or_else(|| LoadError::MissingFile { file: name.to_owned() })
    }

    /// A JSON file as a type.
    ///
    /// # Errors
    /// [`LoadError::MissingFile`], [`LoadError::File`] with the field that serde names.
    pub fn json<T: DeserializeOwned>(self, name: &str) -> Result<T, LoadError> {
        let wrong = |reason: String| LoadError::File { file: name.to_owned(), reason };
        let json: Value = serde_json::from_slice(self.need(name)?).map_err(|error| wrong(error.to_string()))?;
        serde_path_to_error::deserialize(json).map_err(|error| {
            let path = error.path().to_string();
            let reason = error.into_inner().to_string();
            wrong(if path == "." { reason } else { format!("{path}: {reason}") })
        })
    }

    /// Refuses files that are something else than their names say, JSON files that hold no object, and adapters.
    ///
    /// # Errors
    /// [`LoadError::File`] that names the file, what it is, and what to do.
    pub fn check(self) -> Result<(), LoadError> {
        let wrong = |name: &str, reason: String| Err(LoadError::File { file: name.to_owned(), reason });
        for (name, bytes) in self.0 {
            if name.ends_with(".json") {
                match json_text(bytes).map(<[u8]>::trim_ascii_start) {
                    Ok([b'{', ..]) => {}
                    Ok(text) => {
                        return wrong(name, format!("no JSON object; the file begins with {}", beginning(text)));
                    }
                    Err(reason) => return wrong(name, reason),
                }
            } else if let Some(what) = foreign(bytes.get(..512).unwrap_or(bytes)) {
                return wrong(name, what.to_owned());
            }
        }
        #[derive(Deserialize)]
        struct Adapter {
            base_model_name_or_path: Option<String>,
        }
        if self.get(ADAPTER).is_none() {
            return Ok(());
        }
        let base = self.json::<Adapter>(ADAPTER).ok().and_then(|it| it.base_model_name_or_path);
        let base = base.map(|base| format!(" of {base:?}")).unwrap_or_default();
        wrong(ADAPTER, format!("{}{base}", MERGE))
    }

    /// How pictures are prepared: `image_processor` of `processor_config.json`, or `preprocessor_config.json`.
    ///
    /// # Errors
    /// [`LoadError::MissingFile`] if neither says so, [`LoadError::Image`].
    pub fn preprocessor(self) -> Result<Preprocessor, LoadError> {
        let found = self.find_preprocessor()?;
        let file = "preprocessor_config.json, or `image_processor` in processor_config.json,";
        found.ok_or_else(|| LoadError::MissingFile { file: file.to_owned() })
    }

    /// As [`Self::preprocessor`], if a file describes one.
    ///
    /// # Errors
    /// [`LoadError::Image`].
    pub fn find_preprocessor(self) -> Result<Option<Preprocessor>, LoadError> {
        Ok(Preprocessor::find(self.get("preprocessor_config.json"), self.get("processor_config.json"))?)
    }

    /// Names of the files that hold the weights: [`WEIGHTS`] if it is there or there is no index, else the shards that
    /// the index lists.
    ///
    /// # Errors
    /// [`LoadError::File`] if the index lists none, or one that is no plain file name.
    pub fn weight_files(self, whole: bool) -> Result<Vec<String>, LoadError> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        if whole || self.get(INDEX).is_none() {
            return Ok(vec![WEIGHTS.to_owned()]);
        }
        let Index { weight_map } = self.json(INDEX)?;
        let shards: BTreeSet<String> = weight_map.into_values().collect();
        let wrong = |reason| Err(LoadError::File { file: INDEX.to_owned(), reason });
        if shards.is_empty() {
            return wrong("`weight_map` is empty".to_owned());
        }
        match shards.iter().find(|name| !is_plain(name)) {
            Some(name) => wrong(format!("`weight_map` names {name:?}, which is no plain file name")),
            None => Ok(shards.into_iter().collect()),
        }
    }
}

/// The text of a JSON file, without a byte order mark.
///
/// # Errors
/// What the file is, and what to do, if it is something else: empty, text in UTF-16, a web page, a Git LFS pointer.
pub fn json_text(bytes: &[u8]) -> Result<&[u8], String> {
    if let Some(what) = foreign(bytes.get(..512).unwrap_or(bytes)) {
        return Err(what.to_owned());
    }
    let text = bytes.strip_prefix(MARK).unwrap_or(bytes);
    match text.trim_ascii().is_empty() {
        true => Err("the file is empty: download or write it again".to_owned()),
        false => Ok(text),
    }
}

/// A JSON file as a type, wherever it comes from.
///
/// # Errors
/// As [`json_text`]; else what is wrong with the JSON, and how the file begins if it does not begin as JSON does.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let text = json_text(bytes)?;
    serde_json::from_slice(text).map_err(|error| match text.trim_ascii_start() {
        [b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n', ..] => error.to_string(),
        text => format!("no JSON; the file begins with {}", beginning(text)),
    })
}

/// How a file begins, for an error.
fn beginning(text: &[u8]) -> String {
    let start = String::from_utf8_lossy(text.get(..256).unwrap_or(text));
    let start: String = start.chars().take(40).collect();
    format!("{start:?}")
}

/// Whether a name stays in its directory on every system.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.') && !name.is_empty() && !name.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_stay_in_their_directory() {
        for name in ["model-00001-of-00002.safetensors", "a"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", "..", "../x", "/etc/x", "a/b", "a\\b", "c:x", ".hidden"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
