//! A model on a device, with one session.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::HashMap,
    sync::{Arc, Weak},
};

use fovea_engine::{
    text::{LocalTime, Message},
    weights::{Format, Policy, Progress},
};
use fovea_models::{
    EncodedImage, GenerateOptions, Prepared, RunError, Session, Stage, System,
    constraint::Constraint,
    image::{ImageError, Picture, Size},
};
use js_sys::{Float32Array, Function, Object, Reflect};
use serde_json::json;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use web_sys::AbortSignal;

use crate::{
    abort::until_abort,
    device::Device,
    error::{Failure, set},
    json::{from_js, to_js},
    source::{self, Source, Thrown},
};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    pub(crate) fn milliseconds() -> f64;
}

/// A loaded model. It does one thing at a time: a second call while one is pending fails.
#[wasm_bindgen]
pub struct Model {
    system: Arc<System>,
    session: RefCell<Session>,
    quantisation: String,
    /// The pictures that JavaScript holds, by key.
    images: RefCell<HashMap<u32, Weak<EncodedImage>>>,
    next_key: Cell<u32>,
}

/// A picture's embeddings on the GPU, until it is freed.
#[wasm_bindgen]
pub struct Image {
    encoded: Arc<EncodedImage>,
    key: u32,
    tokens: usize,
    milliseconds: f64,
}

#[wasm_bindgen]
extern "C" {
    /// An [`Image`] as an argument: borrowed for as long as a call needs its key.
    pub type ImageRef;

    #[wasm_bindgen(method, getter)]
    fn key(this: &ImageRef) -> u32;
}

#[wasm_bindgen]
impl Image {
    /// Its name within its model.
    #[wasm_bindgen(getter)]
    pub fn key(&self) -> u32 {
        self.key
    }

    /// Pixels of the picture that was handed over.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> u32 {
        self.encoded.original.width
    }

    /// Pixels of the picture that was handed over.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> u32 {
        self.encoded.original.height
    }

    /// Tokens of a prompt that it takes.
    #[wasm_bindgen(getter)]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// What encoding took.
    #[wasm_bindgen(getter)]
    pub fn milliseconds(&self) -> f64 {
        self.milliseconds
    }
}

impl Model {
    async fn see(
        &self,
        open: impl FnOnce() -> Result<Picture, ImageError>,
        on_stage: Option<Function>,
        signal: Option<AbortSignal>,
    ) -> Result<Image, JsValue> {
        until_abort(signal, async {
            let mut session = self.session()?;
            let told = RefCell::new(None);
            let fresh = Cell::new(false);
            let hear = |stage: Stage| {
                fresh.set(true);
                hear_stage(&told, on_stage.as_ref(), stage);
            };
            let start = milliseconds();
            let picture = open().map_err(|error| Failure::from(RunError::from(error)))?;
            let encoded = session.encode(&picture, &hear).await;
            told.take().map_or(Ok(()), Err)?;
            let encoded = encoded.map_err(Failure::from)?;
            Ok(self.hold(encoded, if fresh.get() { milliseconds() - start } else { 0.0 }))
        })
        .await
    }
}

#[wasm_bindgen]
extern "C" {
    /// `BridgeAnswer` of `web/js/src/bridge.ts`.
    pub type Answer;
}

/// Text and times of an answer.
struct Written {
    ids: Vec<u32>,
    /// How many of them a grammar forced.
    forced: usize,
    /// Whether the model ended it, and not the number of tokens.
    whole: bool,
    prefill: f64,
    decode: f64,
    prompt_tokens: usize,
}

#[wasm_bindgen]
impl Model {
    /// Loads a model. `on_progress` hears the bytes of tensors that are loaded, and of all.
    ///
    /// # Errors
    /// `model` that names the file, the tensor or the field; whatever `source.read` throws; the device's failures.
    pub async fn load(
        device: &Device,
        source: Source,
        quantisation: String,
        on_progress: Option<Function>,
        signal: Option<AbortSignal>,
    ) -> Result<Model, JsValue> {
        let policy = match quantisation.as_str() {
            "f32" => Policy::uniform(Format::F32),
            "f16" => Policy::uniform(Format::F16),
            "q8" => Policy::uniform(Format::Q8),
            "q4" => Policy::q4(),
            other => return Err(Failure::Argument(format!("quantisation {other:?}: none of f32, f16, q8, q4")).into()),
        };
        let gpu = device.gpu().clone();
        let work = async {
            let thrown = Thrown::default();
            let told = RefCell::new(None);
            let hear = |progress: Progress| {
                let (bytes, total) = (progress.bytes as f64, progress.total as f64);
                call(&told, on_progress.as_ref(), &[bytes.into(), total.into()]);
            };
            let load = async {
                let checkpoint = source::open(source, &thrown).await?;
                // The browser compiles while bytes arrive: the source reads ahead.
                fovea_models::warm(&checkpoint, &gpu, policy).await?;
                Ok::<_, Failure>(System::load(&checkpoint, &gpu, policy, &hear).await?)
            };
            let loaded = load.await;
            told.take().map_or(Ok(()), Err)?;
            // What JavaScript threw says more than what the engine made of it.
            let system = loaded.map_err(|error| thrown.take().unwrap_or_else(|| error.into()))?;
            let system = Arc::new(system);
            let session = RefCell::new(Session::new(&system).map_err(Failure::from)?);
            Ok(Self { system, session, quantisation, images: RefCell::default(), next_key: Cell::new(0) })
        };
        until_abort(signal, work).await
    }

    /// `ModelInfo` of `web/js/src/types.ts`.
    ///
    /// # Errors
    /// None: the value is plain data.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let (gpu, blueprint) = (self.system.gpu(), self.system.blueprint());
        to_js(&json!({
            "architecture": blueprint.name,
            "parameters": blueprint.parameters().iter().map(|(_, count)| count).sum::<u64>(),
            "quantisation": self.quantisation,
            "adapter": gpu.name().name,
            "software": gpu.caps().software,
            "kernels": gpu.caps().family.to_string(),
            "f16": gpu.caps().f16,
            "subgroups": gpu.caps().subgroups,
        }))
    }

    /// Bytes of the weights on the GPU.
    pub fn weight_bytes(&self) -> f64 {
        self.system.weight_bytes() as f64
    }

    /// Bytes of the KV cache.
    pub fn kv_bytes(&self) -> f64 {
        self.session.try_borrow().map_or(0.0, |session| session.kv_bytes() as f64)
    }

    /// Encodes a picture of RGBA pixels, row by row, or finds it among the last ones.
    ///
    /// # Errors
    /// `image`, the device's failures, the signal's reason.
    pub async fn encode(
        &self,
        rgba: &[u8],
        width: u32,
        height: u32,
        on_stage: Option<Function>,
        signal: Option<AbortSignal>,
    ) -> Result<Image, JsValue> {
        self.see(|| Picture::from_rgba(Size::new(width, height), rgba), on_stage, signal).await
    }

    /// Encodes a picture from an encoded file (PNG, JPEG, WebP, GIF, BMP), as [`Model::encode`].
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub async fn encode_file(
        &self,
        file: &[u8],
        on_stage: Option<Function>,
        signal: Option<AbortSignal>,
    ) -> Result<Image, JsValue> {
        self.see(|| Picture::decode(file), on_stage, signal).await
    }

    /// Says where to carry out an instruction on a picture. `options`: `{max_tokens: number, heat: boolean, free:
    /// boolean, time: number[]}` (year, month, day, hour, minute, second); unless it is free, the answer keeps to the model's grammar.
    ///
    /// # Errors
    /// `answer` if it cannot be read; `prompt`; the device's failures; the signal's reason.
    pub async fn ground(
        &self,
        image: &ImageRef,
        instruction: String,
        options: JsValue,
        on_stage: Option<Function>,
        on_token: Option<Function>,
        signal: Option<AbortSignal>,
    ) -> Result<Answer, JsValue> {
        let max_tokens = number(&options, "max_tokens")?;
        let encoded = self.image(image)?;
        self.system.set_time(time(&options)?);
        until_abort(signal, async {
            let mut session = self.session()?;
            let grammar = self.system.blueprint().grammar;
            let told = RefCell::new(None);
            let hear = |stage: Stage| hear_stage(&told, on_stage.as_ref(), stage);
            let asking = milliseconds();
            let asked = session.ask(&instruction, &encoded, &hear).await;
            told.take().map_or(Ok(()), Err)?;
            let asked = asked.map_err(Failure::from)?;
            let asking = milliseconds() - asking;
            let generate = GenerateOptions { max_tokens, ..GenerateOptions::default() };
            let constraint = (!truthy(&options, "free")).then(|| self.system.grounding(&asked.instruction));
            let mut written =
                self.write(&mut session, &asked.prompt, &generate, constraint, on_stage, on_token).await?;
            written.prefill += asking;
            let text = self.system.decode_answer(&written.ids).map_err(Failure::from)?;
            let answer = written.object(&text);
            let action = asked.read(grammar, &text, written.whole, &encoded).map_err(Failure::from)?;
            set(&answer, "found", &JsValue::from_bool(action.is_found()));
            set(&answer, "action", &to_js(&action.to_json())?);
            if truthy(&options, "heat") {
                let looks = match asked.closer {
                    Some(closer) => closer.looks,
                    None => session.look(&asked.prompt, &encoded).await.map_err(Failure::from)?,
                };
                set(&answer, "heat", &heat_map(&looks, &encoded));
            }
            Ok(JsValue::from(answer).into())
        })
        .await
    }

    /// Answers a conversation, whose `image` parts the pictures belong to in order. `options`: `{max_tokens,
    /// temperature, top_k, top_p, seed}`, all numbers, `time` as for [`Model::ground`], and perhaps `grammar`: `{jsonSchema}`,
    /// `{regex}` or `{ebnf}`.
    ///
    /// # Errors
    /// `prompt`; `model` without a chat template, or if the model only grounds; the device's failures; the signal's reason.
    pub async fn generate(
        &self,
        messages: JsValue,
        images: Vec<ImageRef>,
        options: JsValue,
        on_stage: Option<Function>,
        on_token: Option<Function>,
        signal: Option<AbortSignal>,
    ) -> Result<Answer, JsValue> {
        self.system.require_words().map_err(Failure::from)?;
        let messages = conversation(&messages)?;
        let constraint = grammar(&options)?;
        self.system.set_time(time(&options)?);
        let options = GenerateOptions {
            max_tokens: number(&options, "max_tokens")?,
            temperature: number::<f32>(&options, "temperature")?,
            top_k: number(&options, "top_k")?,
            top_p: number::<f32>(&options, "top_p")?,
            seed: number(&options, "seed")?,
            ignore_stop: false,
        };
        let encoded = images.iter().map(|image| self.image(image)).collect::<Result<Vec<_>, _>>()?;
        until_abort(signal, async {
            let mut session = self.session()?;
            let prompt = session.prepare(&messages, &encoded).map_err(Failure::from)?;
            let written = self.write(&mut session, &prompt, &options, constraint, on_stage, on_token).await?;
            let text = self.system.tokenizer().decode(&written.ids).map_err(RunError::from);
            Ok(JsValue::from(written.object(&text.map_err(Failure::from)?)).into())
        })
        .await
    }
}

impl Model {
    pub(crate) fn system(&self) -> &System {
        &self.system
    }

    /// The session, if no other call has it.
    pub(crate) fn session(&self) -> Result<RefMut<'_, Session>, Failure> {
        self.session.try_borrow_mut().map_err(|_| Failure::Busy)
    }

    /// A picture for JavaScript to hold.
    pub(crate) fn hold(&self, encoded: Arc<EncodedImage>, milliseconds: f64) -> Image {
        let tokens = encoded.rows();
        let key = self.next_key.replace(self.next_key.get().wrapping_add(1));
        let mut images = self.images.borrow_mut();
        images.retain(|_, image| image.strong_count() > 0);
        images.insert(key, Arc::downgrade(&encoded));
        Image { encoded, key, tokens, milliseconds }
    }

    pub(crate) fn image(&self, image: &ImageRef) -> Result<Arc<EncodedImage>, Failure> {
        let found = self.images.borrow().get(&image.key()).and_then(Weak::upgrade);
        found.ok_or_else(|| Failure::Argument("the picture is not one of this model's, or was freed".to_owned()))
    }

    /// Answers a prompt, and tells the callbacks how far it is.
    async fn write(
        &self,
        session: &mut Session,
        prompt: &Prepared,
        options: &GenerateOptions,
        constraint: Option<Constraint>,
        on_stage: Option<Function>,
        on_token: Option<Function>,
    ) -> Result<Written, JsValue> {
        let told = RefCell::new(None);
        let start = milliseconds();
        let prefilled = Cell::new(start);
        let hear = |stage: Stage| {
            prefilled.set(milliseconds());
            hear_stage(&told, on_stage.as_ref(), stage);
        };
        let mut stream = self.system.tokenizer().stream();
        let mut take = |id: u32| {
            let text = stream.push(id).unwrap_or_default();
            call(&told, on_token.as_ref(), &[id.into(), JsValue::from_str(&text)]);
            told.borrow().is_none()
        };
        let answer = match constraint {
            None => session.generate(prompt, options, &hear, &mut take).await.map(|ids| {
                let whole = ids.len() < options.max_tokens;
                (ids, 0, whole)
            }),
            Some(constraint) => {
                let matcher = self.system.constrain(&constraint);
                let mut matcher = matcher.map_err(|error| Failure::from(RunError::from(error)))?;
                let answer = session.generate_within(prompt, &mut matcher, options, &hear, &mut take).await;
                answer.map(|answer| (answer.ids, answer.forced, answer.whole))
            }
        };
        told.take().map_or(Ok(()), Err)?;
        let (ids, forced, whole) = answer.map_err(Failure::from)?;
        let (prefill, decode) = (prefilled.get() - start, milliseconds() - prefilled.get());
        Ok(Written { ids, forced, whole, prefill, decode, prompt_tokens: prompt.ids.len() })
    }
}

/// `HeatMap` of `web/js/src/types.ts`.
fn heat_map(looks: &[f32], image: &EncodedImage) -> JsValue {
    let largest = looks.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let values: Vec<f32> = looks.iter().map(|look| look / largest).collect();
    let map = Object::new();
    set(&map, "columns", &image.grid.width.into());
    set(&map, "rows", &image.grid.height.into());
    set(&map, "values", &Float32Array::from(values.as_slice()));
    map.into()
}

impl Written {
    fn object(&self, text: &str) -> Object {
        let answer = Object::new();
        set(&answer, "text", &JsValue::from_str(text));
        let numbers = [
            ("prefill", self.prefill),
            ("decode", self.decode),
            ("prompt_tokens", self.prompt_tokens as f64),
            ("answer_tokens", self.ids.len() as f64),
            ("forced_tokens", self.forced as f64),
        ];
        numbers.iter().for_each(|&(name, value)| set(&answer, name, &JsValue::from_f64(value)));
        answer
    }
}

/// Calls back; the first exception is kept for the end of the call.
fn call(told: &RefCell<Option<JsValue>>, function: Option<&Function>, arguments: &[JsValue]) {
    if let (Some(function), true) = (function, told.borrow().is_none()) {
        let arguments: js_sys::Array = arguments.iter().collect();
        if let Err(thrown) = function.apply(&JsValue::UNDEFINED, &arguments) {
            *told.borrow_mut() = Some(thrown);
        }
    }
}

fn hear_stage(told: &RefCell<Option<JsValue>>, function: Option<&Function>, stage: Stage) {
    let (name, done) = match stage {
        Stage::Encode(done) => ("encode", done),
        Stage::Prefill(done) => ("prefill", done),
    };
    call(told, function, &[JsValue::from_str(name), f64::from(done).into()]);
}

/// What `options.grammar` asks for: `{jsonSchema}`, `{regex}` or `{ebnf}`.
fn grammar(options: &JsValue) -> Result<Option<Constraint>, JsValue> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    enum Asked {
        JsonSchema(serde_json::Value),
        Regex(String),
        Ebnf(String),
    }
    let asked = Reflect::get(options, &JsValue::from_str("grammar"))?;
    if asked.is_falsy() {
        return Ok(None);
    }
    Ok(Some(match from_js("grammar", &asked)? {
        Asked::JsonSchema(schema) => Constraint::JsonSchema(schema),
        Asked::Regex(expression) => Constraint::Regex(expression),
        Asked::Ebnf(grammar) => Constraint::Ebnf(grammar),
    }))
}

/// Messages as `web/js/src/types.ts` has them.
pub(crate) fn conversation(messages: &JsValue) -> Result<Vec<Message>, JsValue> {
    let value: serde_json::Value = from_js("messages", messages)?;
    Ok(Message::read_all("messages", &value).map_err(|error| Failure::from(RunError::from(error)))?)
}

/// `options.time`: the time where the page is, which some chat templates write.
fn time(options: &JsValue) -> Result<LocalTime, JsValue> {
    let [year, month, day, hour, minute, second]: [i16; 6] = number(options, "time")?;
    let small = |number: i16| i8::try_from(number).unwrap_or(-1);
    let time = LocalTime::new(year, [month, day].map(small), [hour, minute, second].map(small));
    time.ok_or_else(|| Failure::Argument("time: no date and time".to_owned()).into())
}

/// A field that must be a number of type `T`, or several.
fn number<T: serde::de::DeserializeOwned>(options: &JsValue, name: &str) -> Result<T, JsValue> {
    from_js(name, &Reflect::get(options, &JsValue::from_str(name))?)
}

fn truthy(options: &JsValue, name: &str) -> bool {
    Reflect::get(options, &JsValue::from_str(name)).is_ok_and(|value| value.is_truthy())
}
