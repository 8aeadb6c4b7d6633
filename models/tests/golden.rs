//! Systems against the golden fixtures, stage by stage, on every adapter and tier.
//!
//! The fixtures are float32 results of the reference implementations; the limits come from their float64 runs
//! (`tests/golden/README.md`).

mod common;

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Instant};

use common::{Outcome, checkpoint, load, load_from};
use fovea_engine::{
    Gpu,
    testing::{Memory, block_on, f32_gpus, families, golden, golden::json, gpus, limited_gpus, nmse, tier},
    text::{Message, Part, TokenBytes},
    weights::{Bytes, CrossFormat, Format, Policy, Safetensors, TensorInfo, WeightError, WeightSource, quant::Packer},
};
use fovea_models::{
    Checkpoint, EncodedImage, GenerateOptions, Grammar, Prepared, Session, System,
    constraint::Constraint,
    grounding::read_answer,
    image::{Picture, View},
};

/// Normalised mean square error that a float32 implementation with its own order of summation stays below.
const LIMIT: f64 = 1e-10;

/// A case of a fixture.
struct Case {
    folder: String,
    expected: serde_json::Value,
    tensors: golden::Expected,
}

impl Case {
    fn open(model: &str, index: usize) -> Self {
        let folder = format!("{model}/cases/{index}");
        let expected = json(&format!("{folder}/expected.json"));
        Self { tensors: golden::Expected::open(&folder), expected, folder }
    }

    fn reference(&self, name: &str) -> golden::Reference {
        self.tensors.tensor(name).unwrap_or_else(|| panic!("{}: no {name}", self.folder))
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        serde_json::from_value(self.expected[name].clone()).expect("token ids")
    }

    fn messages(&self) -> Vec<Message> {
        let prompt = json(&format!("{}/prompt.json", self.folder));
        match prompt["prompt"].as_str() {
            // A text that is handed over with its pictures.
            Some(text) => {
                let pictures = self.pictures().into_iter().map(|_| Part::Image);
                vec![Message::user(pictures.chain([Part::marks(text)]).collect())]
            }
            None => serde_json::from_value(prompt["messages"].clone()).expect("messages"),
        }
    }

    fn pictures(&self) -> Vec<Picture> {
        (0..)
            .map(|n| if n == 0 { "image.png".to_owned() } else { format!("image{n}.png") })
            .map(|name| format!("{}/{name}", self.folder))
            .take_while(|path| golden::path(path).exists())
            .map(|path| Picture::decode(&golden::bytes(&path)).expect("a picture"))
            .collect()
    }

    #[track_caller]
    fn compare(&self, what: &str, actual: &[f32], limit: f64) {
        let what_of = format!("{}: {what}", self.folder);
        let error = self.reference(what).assert_near(actual, limit, &what_of);
        println!("{what_of} {error:.1e}");
    }

    /// The pixels of every view, where the case has them.
    fn pixels(&self) -> Option<Vec<f32>> {
        let first = self.tensors.whole("pixel_values")?;
        Some([first, self.tensors.whole("cross_pixel_values").unwrap_or_default()].concat())
    }

    /// Prepared pixels are the reference's: as the resize is bit exact, an 8-bit step (0.014) is a defect.
    fn compare_pixels(&self, what: &str, actual: &[f32], expected: &[f32]) {
        assert_eq!(actual.len(), expected.len(), "{}: length of {what}", self.folder);
        let far = actual.iter().zip(expected).filter(|(a, b)| a.is_nan() || (*a - *b).abs() > 1e-6).count();
        assert_eq!(far, 0, "{}: {far} of {} {what} differ", self.folder, expected.len());
    }

    /// Encodes the pictures from the fixture's own pixels where it has them, and compares tower and embeddings.
    fn encode(&self, session: &mut Session) -> Outcome<Vec<Arc<EncodedImage>>> {
        let pixels = self.pixels();
        let (mut images, mut tower, mut embeds, mut cross) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut used = 0;
        for picture in self.pictures() {
            let (image, stages) = match &pixels {
                Some(all) => {
                    let prepared = session.system().blueprint().image.prepare(&picture)?;
                    let count: usize = prepared.views.iter().map(View::values).sum();
                    used += count;
                    let own = &all[used - count..used];
                    let (_, prepared) = block_on(session.encode_stages(&picture, None))?;
                    self.compare_pixels("pixel_values", &prepared.pixel_values, own);
                    block_on(session.encode_stages(&picture, Some(own)))?
                }
                None => block_on(session.encode_stages(&picture, None))?,
            };
            tower.extend(stages.tower);
            embeds.extend(stages.embeds);
            cross.extend(stages.cross.unwrap_or_default());
            images.push(image);
        }
        if !images.is_empty() {
            // Without the fixture's pixels, a resize within one 8-bit step per value is allowed for.
            let limit = if pixels.is_some() { LIMIT } else { 1e-6 };
            self.compare("vision_tower", &tower, limit);
            self.compare("image_embeds", &embeds, limit);
            if !cross.is_empty() {
                self.compare("cross_vision", &cross, limit);
            }
        }
        Ok(images)
    }
}

impl Case {
    /// The system with the template that the case asks for.
    fn load(&self, model: &str, gpu: &Gpu) -> Outcome<Arc<System>> {
        let plain = checkpoint(model, golden::bytes(&format!("{model}/model.safetensors")))?;
        let mut files: BTreeMap<String, Vec<u8>> = plain.files().0.clone();
        if let Some(version) = json(&format!("{}/prompt.json", self.folder)).get("template_version") {
            let mut config = json(&format!("{model}/config.json"));
            config["template_version"] = version.clone();
            files.insert("config.json".to_owned(), config.to_string().into_bytes());
        }
        let name = "model.safetensors".to_owned();
        let weights = Memory::new(&name, golden::bytes(&format!("{model}/{name}")));
        let same = Checkpoint::new(files, Box::new(block_on(Safetensors::open(vec![weights]))?));
        Ok(Arc::new(block_on(System::load(&same, gpu, Policy::uniform(Format::F32), &|_| ()))?))
    }

    /// Every stage, and the answer.
    fn check_stages(&self, system: &Arc<System>) -> Outcome {
        let mut session = Session::new(system)?;
        let images = self.encode(&mut session)?;
        let limit = if images.is_empty() || self.pixels().is_some() { LIMIT } else { 1e-6 };
        let prompt = session.prepare(&self.messages(), &images)?;
        self.check_prompt(system, &prompt)?;
        let prefill = block_on(session.prefill_stages(&prompt))?;
        self.compare("hidden_first", &prefill.hidden_first, limit);
        self.compare("hidden_last", &prefill.hidden_last, limit);
        self.compare("logits_prompt", &prefill.logits, limit);

        let expected = self.ids("generated_ids");
        let options = GenerateOptions { max_tokens: expected.len(), ignore_stop: true, ..Default::default() };
        let (ids, logits) = block_on(session.generate_stages(&prompt, &options))?;
        assert_eq!(ids, expected, "{}", self.folder);
        self.compare("logits_steps", &logits, limit);
        let ids = block_on(session.generate(&prompt, &options, &|_| (), &mut |_| true))?;
        assert_eq!(ids, expected, "{}: the loop that reads while the next steps run", self.folder);
        Ok(())
    }

    /// Text, ids, positions and slots. The reference of some systems expands slots before it counts ids, of others
    /// behind.
    fn check_prompt(&self, system: &System, prompt: &Prepared) -> Outcome {
        // PaliGemma's pictures and its begin token are no text.
        let text = self.expected["prompt"].as_str().unwrap_or_default();
        let text = text.rsplit_once("<image><bos>").map_or(text, |(_, text)| text);
        assert_eq!(system.render(&self.messages())?, text, "{}", self.folder);
        let ids = self.ids("input_ids");
        if ids.len() == prompt.ids.len() {
            assert_eq!(prompt.ids, ids, "{}", self.folder);
        } else {
            assert_eq!(system.ids(&self.messages())?, ids, "{}", self.folder);
        }
        let positions = match prompt.positions.axes.as_slice() {
            [one] => serde_json::json!(one),
            all => serde_json::json!(all),
        };
        assert_eq!(positions, self.expected["position_ids"], "{}", self.folder);
        let next = self.expected["generated_position_ids"][0].as_u64();
        assert_eq!(Some(u64::from(prompt.positions.next)), next, "{}", self.folder);
        Ok(())
    }
}

fn on_each<'a>(gpus: impl IntoIterator<Item = &'a Gpu>, test: impl Fn(&Gpu) -> Outcome) {
    for gpu in gpus {
        println!("on {}", tier(gpu));
        let start = Instant::now();
        if let Err(error) = test(gpu) {
            panic!("on {}: {error}", tier(gpu));
        }
        println!("{:.1} s", start.elapsed().as_secs_f64());
    }
}

/// Where weights are f32, in both families of kernels, with and without subgroups.
fn on_every_tier(test: impl Fn(&Gpu) -> Outcome) {
    on_each(f32_gpus(), test);
}

/// The cases of a system by what they ask, each on every tier. They are one test because building kernels takes most of
/// its time.
fn stages(model: &str, cases: &[&str]) {
    on_every_tier(|gpu| {
        for (index, what) in cases.iter().enumerate() {
            println!("{what}");
            let case = Case::open(model, index);
            case.check_stages(&case.load(model, gpu)?)?;
        }
        Ok(())
    });
}

#[test]
fn qwen2_vl() {
    stages("qwen2_vl", &["with a picture", "with two pictures", "without a picture"]);
}

#[test]
fn qwen2_5_vl() {
    stages("qwen2_5_vl", &["with a picture", "with two pictures", "without a picture"]);
}

#[test]
fn qwen2_5_vl_v5() {
    stages("qwen2_5_vl_v5", &["with a picture", "with two pictures", "without a picture"]);
}

#[test]
fn glm_4v_9b() {
    stages("glm_4v_9b", &["with a picture", "after earlier turns", "without a picture"]);
}

#[test]
fn cogagent_9b() {
    stages("cogagent_9b", &["with a picture", "after earlier steps", "without a picture"]);
}

#[test]
fn cogvlm_17b() {
    stages("cogvlm_17b", &["with a picture", "after earlier turns", "without a picture", "with a short answer"]);
}

#[test]
fn cogvlm2() {
    stages("cogvlm2", &["with a picture", "after earlier turns", "without a picture"]);
}

#[test]
fn cogagent_18b() {
    stages("cogagent_18b", &["with a picture", "after earlier turns", "with a short answer"]);
}

#[test]
fn kosmos2() {
    stages("kosmos2", &["with a short description", "with a phrase", "with a question"]);
}

#[test]
fn llava() {
    stages("llava", &["with a picture", "with two pictures", "without a picture"]);
}

#[test]
fn llava_v5() {
    stages("llava_v5", &["with a picture", "with two pictures", "without a picture"]);
}

#[test]
fn llava_next() {
    stages("llava_next", &["with a picture", "with a long picture", "without a picture"]);
}

#[test]
fn pixtral() {
    stages("pixtral", &["with a picture", "with two pictures", "without a picture"]);
}

#[test]
fn internvl() {
    stages("internvl", &["with a picture", "with a small picture", "without a picture"]);
}

/// InternViT-6B's options, and a norm after the tower.
#[test]
fn internvl_6b() {
    stages("internvl_6b", &["with a picture"]);
}

#[test]
fn idefics3() {
    stages("idefics3", &["with a picture", "with more tiles", "without a picture"]);
}

#[test]
fn smolvlm() {
    stages("smolvlm", &["with a picture"]);
}

#[test]
fn paligemma() {
    stages("paligemma", &["captions", "answers", "detects"]);
}

/// Gemma 2: norms around branches, capped scores and logits, and every other layer with a window that answers outgrow.
#[test]
fn paligemma2() {
    stages("paligemma2", &["detects"]);
}

/// Mistral with a window shorter than the prompt.
#[test]
fn pixtral_window() {
    stages("pixtral_window", &["with a window"]);
}

#[test]
fn mllama() {
    stages("mllama", &["with a picture", "after earlier turns", "without a picture"]);
}

#[test]
fn mllama_two() {
    stages("mllama_two", &["with two pictures", "with pictures side by side"]);
}

/// Keys and values of pictures in f16, all else in f32. Each is off by at most 2^-11 of itself: that of a value passes
/// through a mean, that of a key changes a score, of order one here, and with it the weights of that mean by as much. So
/// what attention adds to a row is off by about 2 * 2^-11 of itself at most, and the row and what follows by no more, as
/// norms keep ratios.
#[test]
fn pictures_in_f16_are_close() {
    let limit = (2.0 * 2f64.powi(-11)).powi(2);
    for model in ["cogagent_18b", "mllama"] {
        let case = Case::open(model, 0);
        let weights = golden::bytes(&format!("{model}/model.safetensors"));
        on_every_tier(|gpu| {
            let policy = Policy { cross: CrossFormat::F16, ..Policy::uniform(Format::F32) };
            let system = load_from(model, weights.clone(), gpu, policy)?;
            let mut session = Session::new(&system)?;
            let (blueprint, picture) = (system.blueprint(), &case.pictures()[0]);
            let before = gpu.memory();
            // Some fixtures have the pixels of tiles that are not there, too.
            let count = blueprint.image.prepare(picture)?.views.iter().map(View::values).sum();
            let pixels = case.pixels().map(|pixels| pixels[..count].to_vec());
            let (image, _) = block_on(session.encode_stages(picture, pixels.as_deref()))?;
            let features = blueprint.cross_tokens(picture.size())?;
            let (kept, promised) = (gpu.memory() - before, blueprint.decoder.cross_kv_bytes(features, policy.cross));
            let embeds = image.embeds.bytes() + 4;
            assert_eq!(kept, promised + embeds, "{model}");

            let prompt = session.prepare(&case.messages(), &[image])?;
            let prefill = block_on(session.prefill_stages(&prompt))?;
            case.compare("hidden_last", &prefill.hidden_last, limit);
            case.compare("logits_prompt", &prefill.logits, limit);
            let expected = case.ids("generated_ids");
            let options = GenerateOptions { max_tokens: expected.len(), ignore_stop: true, ..Default::default() };
            let (ids, logits) = block_on(session.generate_stages(&prompt, &options))?;
            assert_eq!(ids, expected);
            case.compare("logits_steps", &logits, limit);
            Ok(())
        });
    }
}

/// Activations of at most 4 KiB: feedforwards of towers, connectors and decoders run in chunks of rows, and queries, keys
/// and values lie in tensors of their own, as at full size where a binding may have 128 MiB.
#[test]
fn activations_beyond_a_limit_change_nothing() {
    for (_, gpu) in limited_gpus(4 << 10) {
        for model in ["cogagent_9b", "cogagent_18b", "cogvlm2", "kosmos2", "paligemma", "qwen2_5_vl", "internvl"] {
            let case = Case::open(model, 0);
            let outcome = case.load(model, &gpu).and_then(|system| case.check_stages(&system));
            outcome.unwrap_or_else(|error| panic!("{model} on {}: {error}", gpu.name().name));
        }
    }
}

fn last_row<'a>(logits: &'a [f32], prompt: &Prepared) -> &'a [f32] {
    &logits[logits.len() / prompt.ids.len() * (prompt.ids.len() - 1)..]
}

/// A prompt that extends the last one reuses its rows, and answers as a fresh session does.
#[test]
fn the_cache_is_reused_while_a_prompt_grows() {
    let case = Case::open("qwen2_5_vl", 1);
    on_each(families(), |gpu| {
        let system = load("qwen2_5_vl", gpu, Format::F32)?;
        let options = GenerateOptions { max_tokens: 4, ignore_stop: true, ..Default::default() };
        let (messages, pictures) = (case.messages(), case.pictures());

        let mut session = Session::new(&system)?;
        let first = block_on(session.encode(&pictures[0], &|_| ()))?;
        let again = block_on(session.encode(&pictures[0], &|_| panic!("a known picture is not encoded again")))?;
        assert!(Arc::ptr_eq(&first, &again));
        let second = block_on(session.encode(&pictures[1], &|_| ()))?;
        let prompt = session.prepare(&messages[..1], &[Arc::clone(&first)])?;
        block_on(session.generate(&prompt, &options, &|_| (), &mut |_| true))?;
        assert_eq!(session.cached_rows(), prompt.ids.len() + 3);

        let longer = session.prepare(&messages, &[Arc::clone(&first), Arc::clone(&second)])?;
        let shared = prompt.ids.iter().zip(&longer.ids).take_while(|(a, b)| a == b).count();
        assert!(shared + 1 >= prompt.ids.len(), "the longer prompt begins with the shorter one");
        let (ids, logits) = block_on(session.generate_stages(&longer, &options))?;

        let mut fresh = Session::new(&system)?;
        let all = block_on(fresh.prefill_stages(&longer))?.logits;
        let expected: Vec<f64> = last_row(&all, &longer).iter().map(|&v| f64::from(v)).collect();
        let error = nmse(&logits[..expected.len()], &expected);
        assert!(error <= LIMIT, "normalised mean square error {error:e}");
        assert_eq!(ids, block_on(fresh.generate(&longer, &options, &|_| (), &mut |_| true))?);
        Ok(())
    });
}

/// Weights that know nothing still give an answer that is read; a grammar that allows all changes nothing.
#[test]
fn answers_within_a_grammar_are_read() {
    let case = Case::open("qwen2_5_vl", 0);
    on_each(families(), |gpu| {
        let system = load("qwen2_5_vl", gpu, Format::F32)?;
        let mut session = Session::new(&system)?;
        let picture = case.pictures().remove(0);
        let size = picture.size();
        let image = block_on(session.encode(&picture, &|_| ()))?;
        let prompt = session.prepare(&case.messages(), &[image])?;

        // Thousands of tokens: what a grammar allows does not depend on the kernels, so one GPU draws most of them.
        let drawn = [(Grammar::Qwen2_5Json, 7), (Grammar::Qwen2_5Json, 0), (Grammar::CogAgent, 1)];
        let count = if std::ptr::eq(gpu, &gpus()[0]) { drawn.len() } else { 1 };
        for (grammar, seed) in drawn.into_iter().take(count) {
            // Drawn with care, for greedy answers of such weights go round in circles.
            let options = GenerateOptions { max_tokens: 4000, temperature: 1.0, seed, ..Default::default() };
            let mut matcher = system.constrain(&Constraint::Grounding(grammar))?;
            let mut heard = Vec::new();
            let hear = &mut |id| {
                heard.push(id);
                true
            };
            let answer = block_on(session.generate_within(&prompt, &mut matcher, &options, &|_| (), hear))?;
            let text = system.tokenizer().decode(&answer.ids)?;
            assert_eq!(heard, answer.ids);
            assert!(answer.whole && answer.forced > 0 && answer.forced < answer.ids.len(), "{answer:?}: {text:?}");
            // A model that knows nothing may write of places outside the picture.
            if let Err(error) = read_answer(grammar, &text, size, size) {
                assert!(error.is_refusal(), "{error}: {text:?}");
            }
        }

        let options = GenerateOptions { max_tokens: 12, ..Default::default() };
        let free = block_on(session.generate(&prompt, &options, &|_| (), &mut |_| true))?;
        let stopped = GenerateOptions { max_tokens: free.len(), ..options };
        let mut all = system.constrain(&Constraint::Regex("(?s:.*)".to_owned()))?;
        let bound = block_on(session.generate_within(&prompt, &mut all, &stopped, &|_| (), &mut |_| true))?;
        // Marks and broken characters are no text: up to the first one, both say the same.
        let tokens = system.tokenizer().token_bytes();
        let mut bytes = Vec::new();
        let is_text = |id: &&u32| {
            let TokenBytes::Text(more) = &tokens[**id as usize] else { return false };
            bytes.extend_from_slice(more);
            std::str::from_utf8(&bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
        };
        let text = free.iter().take_while(is_text).count();
        assert!(text > 2, "{free:?}");
        assert_eq!(bound.ids[..text], free[..text]);
        assert_eq!(bound.forced, 0);
        Ok(())
    });
}

/// The heat map is the same whether the prompt was just answered or has to be read first, and names the picture asked
/// about. What it shows is the op's own test.
#[test]
fn a_look_costs_one_row_and_tells_the_same() {
    let case = Case::open("qwen2_5_vl", 1);
    on_each(families(), |gpu| {
        let system = load("qwen2_5_vl", gpu, Format::F32)?;
        let options = GenerateOptions { max_tokens: 3, ignore_stop: true, ..Default::default() };
        let (messages, pictures) = (case.messages(), case.pictures());
        let mut session = Session::new(&system)?;
        let first = block_on(session.encode(&pictures[0], &|_| ()))?;
        let second = block_on(session.encode(&pictures[1], &|_| ()))?;
        let prompt = session.prepare(&messages, &[Arc::clone(&first), Arc::clone(&second)])?;
        let ids = block_on(session.generate(&prompt, &options, &|_| (), &mut |_| true))?;
        let looks = block_on(session.look(&prompt, &second))?;
        assert_eq!(looks.len(), second.grid.patches());
        let sum: f32 = looks.iter().sum();
        assert!(sum > 0.0 && sum < 1.0 && looks.iter().all(|&look| look >= 0.0), "{sum}");

        let mut fresh = Session::new(&system)?;
        let expected: Vec<f64> = block_on(fresh.look(&prompt, &second))?.iter().map(|&v| f64::from(v)).collect();
        let error = nmse(&looks, &expected);
        assert!(error <= LIMIT, "normalised mean square error {error:e}");
        assert_ne!(block_on(fresh.look(&prompt, &first))?, looks);
        // The answer after a look is the one before.
        assert_eq!(block_on(session.generate(&prompt, &options, &|_| (), &mut |_| true))?, ids);

        let alone = session.prepare(&messages[..1], std::slice::from_ref(&first))?;
        let error = block_on(session.look(&alone, &second)).unwrap_err().to_string();
        assert_eq!(error, "the prompt does not have this picture");
        Ok(())
    });
}

/// Where every layer attends to the picture, another picture changes every row: nothing of the last one is reused, and
/// going back gives what the first answer was. Visual experts take the same rows whether a prompt is new or grows.
#[test]
fn another_picture_is_another_prompt() {
    for model in ["cogagent_18b", "cogvlm_17b", "mllama"] {
        let (case, other) = (Case::open(model, 0), Case::open(model, 1));
        on_each(families(), |gpu| {
            let system = load(model, gpu, Format::F32)?;
            let options = GenerateOptions { max_tokens: 6, ignore_stop: true, ..Default::default() };
            let mut session = Session::new(&system)?;
            let mut answer = |case: &Case, messages: &[Message]| -> Outcome<(Vec<u32>, Vec<f32>)> {
                let image = block_on(session.encode(&case.pictures()[0], &|_| ()))?;
                let prompt = session.prepare(messages, &[image])?;
                Ok(block_on(session.generate_stages(&prompt, &options))?)
            };
            let messages = other.messages();
            let first = answer(&other, &messages[..1])?;
            let changed = answer(&case, &messages[..1])?;
            assert_ne!(first.1, changed.1);
            assert_eq!(answer(&other, &messages[..1])?.0, first.0);
            // Now what was read before is reused.
            let grown = answer(&other, &messages)?;
            let mut session = Session::new(&system)?;
            let image = block_on(session.encode(&other.pictures()[0], &|_| ()))?;
            let prompt = session.prepare(&messages, &[image])?;
            let fresh = block_on(session.generate_stages(&prompt, &options))?;
            assert_eq!(grown.0, fresh.0);
            let expected: Vec<f64> = fresh.1.iter().map(|&v| f64::from(v)).collect();
            let error = nmse(&grown.1, &expected);
            assert!(error <= LIMIT, "normalised mean square error {error:e}");
            Ok(())
        });
    }
}

/// Where rows see those behind them, a prompt that grows is read again from its first row; the very same one is not.
#[test]
fn a_prompt_whose_rows_see_all_is_read_again_when_it_grows() {
    let case = Case::open("paligemma", 0);
    on_every_tier(|gpu| {
        let system = load("paligemma", gpu, Format::F32)?;
        let options = GenerateOptions { max_tokens: 4, ignore_stop: true, ..Default::default() };
        let answer = |session: &mut Session, text: &str| -> Outcome<Vec<f32>> {
            let image = block_on(session.encode(&case.pictures()[0], &|_| ()))?;
            let asked = Message::user(vec![Part::Image, Part::text(text)]);
            let prompt = session.prepare(&[asked], &[image])?;
            Ok(block_on(session.generate_stages(&prompt, &options))?.1)
        };
        let (mut grown, mut fresh) = (Session::new(&system)?, Session::new(&system)?);
        let first = answer(&mut grown, "detect")?;
        for (text, expected) in [("detect", first), ("detect the red box", answer(&mut fresh, "detect the red box")?)] {
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            let error = nmse(&answer(&mut grown, text)?, &expected);
            assert!(error <= LIMIT, "{text}: normalised mean square error {error:e}");
        }
        Ok(())
    });
}

/// Every system can be recorded without its weights.
#[test]
fn kernels_are_built_before_the_weights_are_there() {
    for model in golden::models("model.safetensors") {
        let model = model.as_str();
        let plain = checkpoint(model, golden::bytes(&format!("{model}/model.safetensors"))).expect("the fixture");
        let warmed = block_on(fovea_models::warm(&plain, &gpus()[0], Policy::uniform(Format::Q4)));
        assert!(warmed.is_ok(), "{model}: {}", warmed.err().map(|error| error.to_string()).unwrap_or_default());
    }
}

#[test]
fn a_system_that_attends_to_its_picture_needs_one() {
    let gpu = &gpus()[0];
    let system = load("cogagent_18b", gpu, Format::F32).expect("the fixture");
    let session = Session::new(&system).expect("a session");
    let asked = Message::user(vec![Part::text("Where?")]);
    let error = session.prepare(&[asked], &[]).err().expect("refused").to_string();
    assert_eq!(error, "the system needs a picture, the prompt has none");
}

/// A checkpoint whose embedding and head have zeros for rows beyond their own.
struct Widened {
    inner: Safetensors<Memory>,
    tables: BTreeMap<&'static str, TensorInfo>,
}

impl Widened {
    fn new(inner: Safetensors<Memory>, rows: usize) -> Self {
        let widen = |name| {
            let mut info = inner.info(name).expect("a table").clone();
            info.shape[0] = rows;
            info.range.end = info.range.start + (rows * info.shape[1] * info.dtype.bytes()) as u64;
            (name, info)
        };
        let tables = ["model.embed_tokens.weight", "lm_head.weight"].into_iter().map(widen).collect();
        Self { inner, tables }
    }
}

impl WeightSource for Widened {
    fn names(&self) -> Vec<&str> {
        self.inner.names()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tables.get(name).or_else(|| self.inner.info(name))
    }

    fn missing(&self, name: &str) -> WeightError {
        self.inner.missing(name)
    }

    fn file(&self, index: usize) -> &str {
        self.inner.file(index)
    }

    fn files(&self) -> String {
        self.inner.files()
    }

    fn read<'a>(&'a self, info: &'a TensorInfo, range: Range<u64>) -> Bytes<'a> {
        let Some((name, _)) = self.tables.iter().find(|(_, table)| *table == info) else {
            return self.inner.read(info, range);
        };
        let own = self.inner.info(name).expect("a table");
        let length = own.range.end - own.range.start;
        Box::pin(async move {
            let mut bytes = match range.start < length {
                true => self.inner.read(own, range.start..range.end.min(length)).await?,
                false => Vec::new(),
            };
            bytes.resize((range.end - range.start) as usize, 0);
            Ok(bytes)
        })
    }
}

/// A table larger than one binding may be is split, and nothing but the added zeros changes. Only adapters with a small
/// limit take part, Mesa's 128 MiB among them: beyond 256 MiB the table would not fit a test machine.
#[test]
fn a_tensor_larger_than_the_binding_limit_loads_and_matches() {
    let case = Case::open("qwen2_5_vl", 2);
    for gpu in families() {
        let row = 64 * size_of::<f32>() as u64;
        let rows = (gpu.caps().max_binding.min(gpu.caps().max_buffer) / row) as usize + 10_000;
        if rows as u64 * row > 256 << 20 {
            println!("{}: bindings of {} bytes", tier(gpu), gpu.caps().max_binding);
            continue;
        }
        let plain = checkpoint("qwen2_5_vl", golden::bytes("qwen2_5_vl/model.safetensors")).expect("the fixture");
        let mut files: BTreeMap<String, Vec<u8>> = plain.files().0.clone();
        let mut config = json("qwen2_5_vl/config.json");
        config["vocab_size"] = rows.into();
        files.insert("config.json".to_owned(), config.to_string().into_bytes());
        let name = "model.safetensors".to_owned();
        let weights = Memory::new(&name, golden::bytes(&format!("qwen2_5_vl/{name}")));
        let inner = block_on(Safetensors::open(vec![weights])).expect("the fixture");
        let wide = Checkpoint::new(files, Box::new(Widened::new(inner, rows)));
        let system = block_on(System::load(&wide, gpu, Policy::uniform(Format::F32), &|_| ())).expect("loads");
        let system = Arc::new(system);
        let mut session = Session::new(&system).expect("a session");
        let prompt = session.prepare(&case.messages(), &[]).expect("a prompt");
        let expected = case.ids("generated_ids");
        let options = GenerateOptions { max_tokens: expected.len(), ignore_stop: true, ..Default::default() };
        let (ids, logits) = block_on(session.generate_stages(&prompt, &options)).expect("an answer");
        assert_eq!(ids, expected);
        let own: Vec<f32> = logits.chunks(rows).flat_map(|row| &row[..400]).copied().collect();
        case.compare("logits_steps", &own, LIMIT);
        assert!(logits.chunks(rows).all(|row| row[400..].iter().all(|&logit| logit == 0.0)));
    }
}

/// The fixture's file with every weight matrix replaced by what remains of it after packing.
fn dequantised(model: &str, format: Format) -> Vec<u8> {
    let mut file = golden::bytes(&format!("{model}/model.safetensors"));
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&file).expect("a safetensors file");
    for info in metadata.tensors().values().filter(|info| info.shape.len() > 1) {
        let (start, end) = (8 + header + info.data_offsets.0, 8 + header + info.data_offsets.1);
        let data: Vec<f32> = file[start..end].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let packer = Packer::new(format, data.len() / info.shape[0]);
        let data = packer.unpack(&packer.pack(&data).expect("in range"));
        let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        file[start..end].copy_from_slice(&bytes);
    }
    file
}

/// Everything that a case yields from the fixture's pixels: tower, embeddings, last hidden states, logits.
fn outputs(case: &Case, system: &Arc<System>) -> Outcome<[Vec<f32>; 4]> {
    let mut session = Session::new(system)?;
    let pixels = case.pixels();
    let (image, stages) = block_on(session.encode_stages(&case.pictures()[0], pixels.as_deref()))?;
    let prompt = session.prepare(&case.messages(), &[image])?;
    let prefill = block_on(session.prefill_stages(&prompt))?;
    Ok([stages.tower, stages.embeds, prefill.hidden_last, prefill.logits])
}

/// Packed weights compute what the numbers they stand for compute. How far those are from the originals is printed: it
/// is a property of the format and of these weights, and the documentation's table is made from it.
#[test]
fn packed_weights_equal_the_numbers_they_stand_for() {
    for model in ["qwen2_vl", "qwen2_5_vl"] {
        let case = Case::open(model, 0);
        for format in [Format::F16, Format::Q8, Format::Q4] {
            let file = dequantised(model, format);
            on_each(gpus(), |gpu| {
                let policy = Policy::uniform(Format::F32);
                let expected = outputs(&case, &load_from(model, file.clone(), gpu, policy)?)?;
                let actual = outputs(&case, &load(model, gpu, format)?)?;
                for (name, (actual, expected)) in ["vision_tower", "image_embeds", "hidden_last", "logits_prompt"]
                    .iter()
                    .zip(actual.iter().zip(&expected))
                {
                    let expected: Vec<f64> = expected.iter().map(|&value| f64::from(value)).collect();
                    let error = nmse(actual, &expected);
                    assert!(error <= LIMIT, "{model} {format} {name}: normalised mean square error {error:e}");
                    println!("{model} {format} {name}: {:.1e} of the original", case.reference(name).nmse(actual));
                }
                Ok(())
            });
        }
    }
}
