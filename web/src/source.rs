//! A model's files, which JavaScript fetches, caches and verifies.

use std::{collections::BTreeMap, ops::Range, rc::Rc};

use fovea_engine::weights::{ByteSource, Bytes, Safetensors, WeightError};
use fovea_models::{Checkpoint, Files, LoadError, SMALL_FILES, WEIGHTS};
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::error::{Failure, message};

#[wasm_bindgen]
extern "C" {
    /// `Source` of `web/js/src/bridge.ts`.
    pub type Source;

    #[wasm_bindgen(method, getter)]
    fn files(this: &Source) -> Vec<Listed>;

    #[wasm_bindgen(method, catch)]
    fn read(this: &Source, name: &str, start: f64, end: f64) -> Result<Promise, JsValue>;

    /// An entry of `files`.
    pub type Listed;

    #[wasm_bindgen(method, getter)]
    fn name(this: &Listed) -> String;

    #[wasm_bindgen(method, getter)]
    fn bytes(this: &Listed) -> f64;
}

/// Largest of the small files that is read.
const LARGEST_SMALL_FILE: u64 = 64 << 20;

/// One file of a source.
struct RemoteFile {
    source: Rc<Source>,
    name: String,
    len: u64,
    /// What JavaScript threw, which says more than this side can.
    thrown: Thrown,
}

/// The last exception of a read, so that its class survives the way through the engine.
pub(crate) type Thrown = Rc<std::cell::RefCell<Option<JsValue>>>;

impl ByteSource for RemoteFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Bytes<'_> {
        Box::pin(async move {
            let failed = |reason: String| WeightError::Read { file: self.name.clone(), reason };
            let read = async {
                let promise = self.source.read(&self.name, range.start as f64, range.end as f64)?;
                JsFuture::from(promise).await
            };
            let bytes = read.await.map_err(|thrown| {
                let reason = message(&thrown);
                *self.thrown.borrow_mut() = Some(thrown);
                failed(reason)
            })?;
            let bytes: Uint8Array = bytes.dyn_into().map_err(|_| failed("read gave no bytes".to_owned()))?;
            let wanted = range.end.saturating_sub(range.start);
            if u64::from(bytes.length()) != wanted {
                return Err(failed(format!("read gave {} bytes of {wanted}", bytes.length())));
            }
            Ok(bytes.to_vec())
        })
    }
}

/// Opens what a source lists: small files are read, of the weights only the headers.
pub(crate) async fn open(source: Source, thrown: &Thrown) -> Result<Checkpoint, Failure> {
    let source = Rc::new(source);
    let listed: BTreeMap<String, u64> =
        source.files().iter().map(|file| (file.name(), file.bytes().max(0.0) as u64)).collect();
    let file = |name: &str| {
        let missing = || LoadError::MissingFile { file: name.to_owned() };
        let len = *listed.get(name).ok_or_else(missing)?;
        let (source, thrown) = (Rc::clone(&source), Rc::clone(thrown));
        Ok::<_, LoadError>(RemoteFile { source, name: name.to_owned(), len, thrown })
    };
    let mut small = BTreeMap::new();
    for name in SMALL_FILES.into_iter().filter(|name| listed.contains_key(*name)) {
        let file = file(name)?;
        if file.len > LARGEST_SMALL_FILE {
            let reason = format!("more than {} MiB", LARGEST_SMALL_FILE >> 20);
            return Err(LoadError::File { file: name.to_owned(), reason }.into());
        }
        small.insert(name.to_owned(), file.read(0..file.len).await.map_err(LoadError::from)?);
    }
    // Without it, it is no model at all: that is told first.
    Files(&small).need("config.json")?;
    let names = Files(&small).weight_files(listed.contains_key(WEIGHTS))?;
    let weights = names.iter().map(|name| file(name)).collect::<Result<_, _>>()?;
    let weights = Safetensors::open(weights).await.map_err(LoadError::from)?;
    Ok(Checkpoint::new(small, Box::new(weights)))
}
