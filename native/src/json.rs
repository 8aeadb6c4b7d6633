//! What `--json` prints. The types are the documentation: a test makes `docs/json.md` of them.

use std::{collections::BTreeMap, path::Path};

use fovea_models::grounding::PixelBox;
use serde::Serialize;
use serde_json::Value;

/// The value of every object's `version`. It grows when a field goes or changes its meaning; a new field leaves it.
pub(crate) const VERSION: u32 = 1;

/// A path as JSON can carry it.
pub(crate) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `fovea ground --json`: one object for each instruction, each on a line of its own.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Grounding<'a> {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// As it was asked for.
    pub(crate) instruction: &'a str,
    /// Whether there is something to do: `false` for actions of the kinds `absent`, with the exit code 7, and `end`; `null`
    /// if there is no answer that can be read.
    pub(crate) found: Option<bool>,
    /// What to do, in pixels of the screenshot; `null` if there is no answer that can be read.
    #[cfg_attr(test, schemars(with = "Option<Action>"))]
    pub(crate) action: Option<Value>,
    /// Why there is no action; `null` if there is an answer.
    pub(crate) error: Option<String>,
    /// What the model wrote, as it stands. Coordinates in it are on the model's own scale, and of the part `looked_at`:
    /// pixels are in `action`. `null` if the model was not asked.
    pub(crate) answer: Option<String>,
    /// The part of the screenshot that the model looked at again, larger, in pixels of the screenshot; `null` if none.
    pub(crate) looked_at: Option<Box>,
    /// The file of `--out`, which is written after all answers, with their boxes; `null` without `--out` and for actions
    /// without a place. If it cannot be written, a warning on standard error says so.
    pub(crate) picture: Option<String>,
    /// The model's directory, or `nano` for the one in the program. In every path, what is not Unicode is U+FFFD.
    pub(crate) model: String,
    /// Format of the weights on the GPU: `f32`, `f16`, `q8` or `q4`.
    pub(crate) quant: &'static str,
    /// The GPU: name, backend and driver.
    pub(crate) adapter: String,
    /// Tokens of the screenshot.
    pub(crate) image_tokens: usize,
    /// Tokens of the prompt, the screenshot's included.
    pub(crate) prompt_tokens: usize,
    /// Tokens of the answer.
    pub(crate) answer_tokens: usize,
    /// Tokens of the answer that the grammar left no choice for.
    pub(crate) forced_tokens: usize,
    /// How long it took.
    pub(crate) seconds: Seconds,
}

/// What to do on the screen. Which fields an action has depends on its kind; others are left out.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[allow(dead_code, reason = "stands in for fovea_models' own JSON, in the documentation only")]
#[schemars(rename_all = "camelCase")]
pub(crate) struct Action {
    /// `click`, `double_click`, `right_click`, `hover`, `type`, `select`, `scroll`, `key_press`, `gesture`, `launch`,
    /// `quote_text`, `quote_clipboard`, `llm`, `end` (the task is done) or `absent` (nothing on the screen is what was
    /// asked for).
    pub(crate) kind: String,
    /// The target, in pixels of the screenshot; left out for actions without a place.
    pub(crate) r#box: Option<Box>,
    /// Where to click, in pixels of the screenshot; left out for actions without a place.
    pub(crate) point: Option<Point>,
    /// The target's kind, such as `button`, if the model says it.
    pub(crate) element_type: Option<String>,
    /// The target's words, such as `Search`, if the model says them.
    pub(crate) element_info: Option<String>,
    /// `type`: what to type; `select`: the option's words.
    pub(crate) text: Option<String>,
    /// `scroll`: `up`, `down`, `left` or `right`.
    pub(crate) direction: Option<String>,
    /// `scroll`: notches of the wheel.
    pub(crate) steps: Option<u32>,
    /// `key_press`: the key, by CogAgent's name.
    pub(crate) key: Option<String>,
    /// `gesture`: keys one after the other.
    pub(crate) keys: Option<Vec<Key>>,
    /// `launch`: name of a program.
    pub(crate) app: Option<String>,
    /// `launch`: address of a page.
    pub(crate) url: Option<String>,
    /// `llm`: the question.
    pub(crate) prompt: Option<String>,
    /// `quote_text`, `quote_clipboard`, `llm`: name of the variable that takes the text.
    pub(crate) output: Option<String>,
    /// `quote_text`, `quote_clipboard`, `llm`: the text, as far as the model knows it.
    pub(crate) result: Option<String>,
    /// `quote_text`: whether to scroll through the element.
    pub(crate) auto_scroll: Option<bool>,
}

/// A part of a gesture.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[allow(dead_code, reason = "as above")]
pub(crate) struct Key {
    /// `down`, `press` or `up`.
    pub(crate) kind: String,
    /// The key, by CogAgent's name.
    pub(crate) key: String,
}

/// A point.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[allow(dead_code, reason = "as above")]
pub(crate) struct Point {
    /// Pixels from the left edge.
    pub(crate) x: f32,
    /// Pixels from the upper edge.
    pub(crate) y: f32,
}

/// A box in pixels.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Box {
    /// Pixels from the left edge.
    pub(crate) left: f32,
    /// Pixels from the upper edge.
    pub(crate) top: f32,
    /// Pixels from the left edge.
    pub(crate) right: f32,
    /// Pixels from the upper edge.
    pub(crate) bottom: f32,
}

impl From<PixelBox> for Box {
    fn from(it: PixelBox) -> Self {
        Self { left: it.left(), top: it.top(), right: it.right(), bottom: it.bottom() }
    }
}

/// Times in seconds.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Seconds {
    /// Opening the GPU and loading the weights, once for all answers.
    pub(crate) load: f64,
    /// Decoding and resizing pictures.
    pub(crate) prepare: f64,
    /// The vision tower.
    pub(crate) encode: f64,
    /// Reading the prompt.
    pub(crate) prefill: f64,
    /// Writing the answer.
    pub(crate) decode: f64,
}

/// `fovea generate --json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Generation {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// Tokens of the prompt, those of pictures included.
    pub(crate) prompt_tokens: usize,
    /// The answers, the best first; without `--beams` one.
    pub(crate) answers: Vec<Written>,
    /// How long it took.
    pub(crate) seconds: Seconds,
}

/// A written answer.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Written {
    /// What the model wrote.
    pub(crate) text: String,
    /// Its token ids, without the one that ends it.
    pub(crate) ids: Vec<u32>,
    /// Whether the model ended it; if not, it has as many tokens as were allowed.
    pub(crate) whole: bool,
    /// With `--beams`: natural logarithm of its probability, the token that ends it included; else `null`.
    pub(crate) log_probability: Option<f64>,
    /// With `--beams`: what it is ranked by, its log-probability over its length to the power of `--length-penalty`; else
    /// `null`.
    pub(crate) score: Option<f64>,
}

/// `fovea score --json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Scores<'a> {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// Tokens of the prompt, those of pictures included.
    pub(crate) prompt_tokens: usize,
    /// In the order of the command line.
    pub(crate) continuations: Vec<Score<'a>>,
}

/// How likely a continuation is.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Score<'a> {
    /// Its text.
    pub(crate) continuation: &'a str,
    /// Natural logarithm of its probability after the prompt: the sum over its tokens.
    pub(crate) log_probability: f64,
    /// Its token ids.
    pub(crate) ids: Vec<u32>,
    /// Natural logarithm of each token's probability after those before it.
    pub(crate) token_log_probabilities: Vec<f64>,
}

/// `fovea eval --json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Evaluation<'a> {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// How the boxes of the annotations were read: `xywh`, `corners`, `fractions` or `fractions-xywh`.
    pub(crate) boxes: &'static str,
    /// By the group's name: `all`, and each type, role, source, language and width.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Questions that could not be asked, which no group counts. If there are any, the exit code is 3.
    pub(crate) not_asked: &'a [NotAsked],
    /// Mean time of a question, in seconds, loading included.
    pub(crate) seconds_per_question: f64,
}

/// A group of questions.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Group {
    /// Questions that were asked.
    pub(crate) count: usize,
    /// The model's hits, by the format of its weights.
    pub(crate) model: BTreeMap<&'static str, Accuracy>,
    /// Answers of each kind, of all formats.
    pub(crate) answers: BTreeMap<&'static str, usize>,
    /// Share of questions that a random point hits, expected.
    pub(crate) random: f64,
    /// Hits of the picture's centre.
    pub(crate) centre: Accuracy,
    /// With `--ocr`: hits of the other method, among the questions that it answered; else `null`.
    pub(crate) ocr: Option<Accuracy>,
}

/// Hits among questions.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Accuracy {
    /// Right answers.
    pub(crate) hits: usize,
    /// All answers.
    pub(crate) count: usize,
    /// Share of right answers.
    pub(crate) accuracy: f64,
    /// Wilson's score interval of that share at 95 %: from, to.
    pub(crate) interval: (f64, f64),
}

/// A question that could not be asked.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct NotAsked {
    /// Its place in the annotations, from 0.
    pub(crate) index: usize,
    /// Its picture, as the annotation names it.
    pub(crate) img_filename: String,
    /// What is wrong.
    pub(crate) reason: String,
}

/// `fovea eval --predictions FILE`: one object for each answer, each on a line of its own.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Prediction<'a> {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// The question's place in the annotations, from 0.
    pub(crate) index: usize,
    /// Format of the weights on the GPU: `f32`, `f16`, `q8` or `q4`.
    pub(crate) quant: &'static str,
    /// The picture, as the annotation names it.
    pub(crate) img_filename: &'a str,
    /// What was asked.
    pub(crate) instruction: &'a str,
    /// From the annotation, for grouping; empty if it has none.
    pub(crate) data_type: &'a str,
    /// From the annotation, for grouping; empty if it has none.
    pub(crate) data_source: &'a str,
    /// From the annotation, for grouping; empty if it has none.
    pub(crate) role: &'a str,
    /// From the annotation, for grouping; empty if it has none.
    pub(crate) language: &'a str,
    /// Where it is: left, top, right, bottom in pixels; `null` if it is not on the screen.
    pub(crate) target: Option<[f32; 4]>,
    /// Where the model clicks: x, y in pixels; `null` if nowhere.
    pub(crate) point: Option<[f32; 2]>,
    /// The model's box: left, top, right, bottom in pixels; `null` if it has none.
    pub(crate) r#box: Option<[f32; 4]>,
    /// What the model wrote, as it stands, on its own scale.
    pub(crate) answer: &'a str,
    /// Whether the point lies in the target, or the model says of a target that is not there that it is not.
    pub(crate) correct: bool,
    /// In which way it is right or wrong.
    pub(crate) kind: &'static str,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// `fovea inspect --json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Inspection {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// The model's directory, or `nano` for the one in the program.
    pub(crate) model: String,
    /// Its architecture, such as `qwen2_5_vl`.
    pub(crate) system: &'static str,
    /// Parameters of each part.
    pub(crate) parameters: BTreeMap<&'static str, u64>,
    /// Parameters of all parts.
    pub(crate) total_parameters: u64,
    /// Bytes of the weights on the GPU, by their format.
    pub(crate) weight_bytes: BTreeMap<&'static str, u64>,
    /// The format that `--quant` names, for `cross_kv_bytes`.
    pub(crate) quant: &'static str,
    /// Bytes of keys and values for each token.
    pub(crate) kv_cache_bytes_per_token: u64,
    /// Tokens of the question that counts are given for, without the picture's.
    pub(crate) question_tokens: usize,
    /// For pictures of several sizes.
    pub(crate) images: Vec<Sized>,
}

/// What a picture of a size costs.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Sized {
    /// Width and height in pixels.
    pub(crate) size: [u32; 2],
    /// Width and height in pixels after resizing.
    pub(crate) resized: [u32; 2],
    /// Tokens of the picture.
    pub(crate) image_tokens: usize,
    /// Tokens of picture and question.
    pub(crate) prompt_tokens: usize,
    /// Floating-point operations of the vision tower and connector.
    pub(crate) encode_flops: u64,
    /// Floating-point operations of reading the prompt.
    pub(crate) prefill_flops: u64,
    /// Those of both that are scores of attention and sums by them.
    pub(crate) score_flops: u64,
    /// Features that layers of the decoder attend to.
    pub(crate) cross_tokens: usize,
    /// Bytes of their keys and values.
    pub(crate) cross_kv_bytes: u64,
    /// Bytes of all keys and values.
    pub(crate) kv_cache_bytes: u64,
}

/// `fovea bench --json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Bench {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// The GPU: name, backend and driver.
    pub(crate) adapter: String,
    /// The family of kernels that ran: `gpu` or `cpu`.
    pub(crate) kernels: String,
    /// Runs of which the median counts.
    pub(crate) rounds: usize,
    /// What copying a large buffer reaches, in bytes read and written each second.
    pub(crate) copy_bytes_per_second: f64,
    /// What multiply-adds in registers reach, in operations each second.
    pub(crate) peak_flops_per_second: f64,
    /// Ops.
    pub(crate) ops: Vec<OpTime>,
    /// Stages of the model.
    pub(crate) model: Vec<StageTime>,
}

/// An op's time.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct OpTime {
    /// Op and shape.
    pub(crate) name: String,
    /// Median time.
    pub(crate) seconds: f64,
    /// Floating-point operations.
    pub(crate) flops: u64,
    /// Bytes read and written, each once.
    pub(crate) bytes: u64,
    /// Operations each second.
    pub(crate) flops_per_second: f64,
    /// Bytes each second.
    pub(crate) bytes_per_second: f64,
    /// Of `peak_flops_per_second`.
    pub(crate) share_of_peak: f64,
    /// Of `copy_bytes_per_second`.
    pub(crate) share_of_copy: f64,
}

/// A stage's time.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct StageTime {
    /// System, format of the weights, and stage.
    pub(crate) name: String,
    /// Median time.
    pub(crate) seconds: f64,
    /// Floating-point operations.
    pub(crate) flops: u64,
    /// Operations each second.
    pub(crate) flops_per_second: f64,
    /// Of `peak_flops_per_second`.
    pub(crate) share_of_peak: f64,
    /// Tokens that it makes or reads.
    pub(crate) tokens: usize,
}

/// `fovea dump --json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Dump {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// The file that was written.
    pub(crate) out: String,
    /// Shape of each tensor in it.
    pub(crate) tensors: BTreeMap<String, Vec<usize>>,
}

/// `fovea devices --json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Devices {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// At least one: without any, the exit code is 5.
    pub(crate) adapters: Vec<Adapter>,
}

/// A GPU, or a processor that does its work.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Adapter {
    /// Its name, of which `--adapter` takes a part.
    pub(crate) name: String,
    /// Its driver.
    pub(crate) driver: String,
    /// `Vulkan`, `Metal` or `Dx12`.
    pub(crate) backend: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu`, `Cpu` or `Other`.
    pub(crate) kind: String,
    /// The family of kernels that suits it: `gpu` or `cpu`.
    pub(crate) kernels: String,
    /// Whether shaders have 16-bit floats.
    pub(crate) f16: bool,
    /// Whether shaders have subgroup operations.
    pub(crate) subgroups: bool,
    /// Fewest and most threads of a subgroup.
    pub(crate) subgroup_sizes: [u32; 2],
    /// Whether it can time what it runs.
    pub(crate) timestamps: bool,
    /// Bytes of the largest binding.
    pub(crate) max_binding: u64,
    /// Bytes of the largest buffer.
    pub(crate) max_buffer: u64,
    /// Threads of the largest workgroup.
    pub(crate) max_threads: u32,
    /// Bytes of a workgroup's memory.
    pub(crate) workgroup_memory: u32,
}

#[cfg(test)]
mod tests;
