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

/// The largest whole number that JavaScript counts to.
const LARGEST_FILE: f64 = 9_007_199_254_740_991.0;

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
    let mut listed = BTreeMap::new();
    for file in source.files() {
        let (name, bytes) = (file.name(), file.bytes());
        // Also false for what is no number.
        if !(0.0..=LARGEST_FILE).contains(&bytes) {
            return Err(LoadError::File { file: name, reason: format!("it is listed with {bytes} bytes") }.into());
        }
        listed.insert(name, bytes as u64);
    }
    let file = |name: &str| {
        let missing = || LoadError::MissingFile { file: name.to_owned() };
        let len = *listed.get(name).ok_or_else(missing)?;
        let (source, thrown) = (Rc::clone(&source), Rc::clone(thrown));
        Ok::<_, LoadError>(RemoteFile { source, name: name.to_owned(), len, thrown })
    };
    let mut small = BTreeMap::new();
    // What `tokenizer.json` is made of need not come where it is.
    let spare = |name: &str| {
        listed.contains_key("tokenizer.json") && ["vocab.json", "merges.txt", "tokenizer.model"].contains(&name)
    };
    for name in SMALL_FILES.into_iter().filter(|name| listed.contains_key(*name) && !spare(name)) {
        let file = file(name)?;
        if file.len > LARGEST_SMALL_FILE {
            let reason = format!("more than {} MiB", LARGEST_SMALL_FILE >> 20);
            return Err(LoadError::File { file: name.to_owned(), reason }.into());
        }
        small.insert(name.to_owned(), file.read(0..file.len).await.map_err(LoadError::from)?);
    }
    // An adapter has no configuration; without one, it is no model at all: that error comes first.
    Files(&small).check()?;
    Files(&small).need("config.json")?;
    let names = Files(&small).weight_files(listed.contains_key(WEIGHTS))?;
    let weights = names.iter().map(|name| file(name)).collect::<Result<_, _>>()?;
    let weights = Safetensors::open(weights).await.map_err(LoadError::from)?;
    Ok(Checkpoint::new(small, Box::new(weights)))
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use js_sys::{Array, Object};
    use wasm_bindgen::closure::Closure;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;
    use crate::error::set;

    /// A source of JavaScript's: files by name and listed length; `read` gives `bytes`, or throws.
    fn source(files: &[(&str, JsValue)], bytes: Result<&'static [u8], &'static str>) -> Source {
        let listed: Array = files
            .iter()
            .map(|(name, bytes)| {
                let file = Object::new();
                set(&file, "name", &JsValue::from_str(name));
                set(&file, "bytes", bytes);
                file
            })
            .collect();
        let read = Closure::<dyn Fn(JsValue, f64, f64) -> Promise>::new(move |_, start: f64, end: f64| match bytes {
            Ok(bytes) => {
                let (start, end) = (start as usize, (end as usize).min(bytes.len()));
                Promise::resolve(&JsValue::from(Uint8Array::from(bytes.get(start..end).unwrap_or_default())))
            }
            Err(reason) => Promise::reject(&js_sys::TypeError::new(reason)),
        });
        let it = Object::new();
        set(&it, "files", &listed);
        set(&it, "read", &read.into_js_value());
        it.unchecked_into()
    }

    async fn refused(source: Source) -> (String, Option<JsValue>) {
        let thrown = Thrown::default();
        let error = match open(source, &thrown).await {
            Ok(_) => panic!("it opened"),
            Err(error) => error.to_string(),
        };
        (error, thrown.take())
    }

    #[wasm_bindgen_test]
    async fn a_source_without_a_configuration_is_no_model() {
        let (error, thrown) = refused(source(&[], Ok(b""))).await;
        assert_eq!(error, "config.json is missing");
        assert!(thrown.is_none());
    }

    #[wasm_bindgen_test]
    async fn a_read_of_another_length_is_refused() {
        let (error, _) = refused(source(&[("config.json", JsValue::from(9))], Ok(b"{}"))).await;
        assert!(error.contains("config.json") && error.contains("2 bytes of 9"), "{error}");
    }

    #[wasm_bindgen_test]
    async fn what_a_read_throws_is_kept() {
        let (error, thrown) = refused(source(&[("config.json", JsValue::from(2))], Err("the connection broke"))).await;
        assert!(error.contains("config.json") && error.contains("the connection broke"), "{error}");
        assert!(thrown.is_some_and(|thrown| thrown.is_instance_of::<js_sys::TypeError>()));
    }

    #[wasm_bindgen_test]
    async fn absurd_lengths_are_refused() {
        for (length, told) in [
            (1e12, "more than 64 MiB"),
            (1e18, "1000000000000000000 bytes"),
            (f64::INFINITY, "inf bytes"),
            (-1.0, "-1 bytes"),
            (f64::NAN, "NaN bytes"),
        ] {
            let (error, _) = refused(source(&[("config.json", JsValue::from(length))], Ok(b"{}"))).await;
            assert!(error.starts_with("config.json: ") && error.contains(told), "{error}");
        }
    }

    #[wasm_bindgen_test]
    async fn weights_that_are_not_there_are_named() {
        let (error, _) = refused(source(&[("config.json", JsValue::from(2))], Ok(b"{}"))).await;
        assert!(error.contains("model.safetensors"), "{error}");
    }
}
