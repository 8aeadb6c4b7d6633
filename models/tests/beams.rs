//! Scores and beams on the fixtures' small models, on every adapter in both families of kernels.

mod common;

use common::{Outcome, load};
use fovea_engine::{
    Gpu,
    testing::{block_on, families, golden, golden::json, gpus, tier},
    text::{Message, Part},
    weights::Format,
};
use fovea_models::{
    BeamOptions, GenerateOptions, Grammar, Prepared, RunError, Session,
    constraint::{Constraint, Matcher},
    grounding::read_answer,
    image::Picture,
};

/// How far a log-probability may be off: logits of these models reach 13, and f32 sums are off by 1e-5 of them.
const NEAR: f64 = 2e-4;

/// One position for all patches; attention to the picture in every layer; three axes; sub-LN; prompts that see all of
/// themselves; attention to the picture in some layers.
const MODELS: [&str; 8] =
    ["cogvlm_17b", "cogagent_18b", "qwen2_5_vl", "kosmos2", "paligemma", "paligemma2", "pixtral_window", "mllama"];

fn on_every_gpu(test: impl Fn(&Gpu) -> Outcome) {
    for gpu in families() {
        if let Err(error) = test(gpu) {
            panic!("on {}: {error}", tier(gpu));
        }
    }
}

/// A fixture's first case, read by a session.
fn prompt(model: &str, session: &mut Session) -> Outcome<Prepared> {
    let folder = format!("{model}/cases/0");
    let picture = Picture::decode(&golden::bytes(&format!("{folder}/image.png")))?;
    let image = block_on(session.encode(&picture, &|_| ()))?;
    let request = json(&format!("{folder}/prompt.json"));
    let messages = match request["prompt"].as_str() {
        Some(text) => vec![Message::user(vec![Part::Image, Part::marks(text)])],
        None => serde_json::from_value(request["messages"].clone())?,
    };
    Ok(session.prepare(&messages, &[image])?)
}

fn log_softmax(logits: &[f32], id: u32) -> f64 {
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    f64::from(logits[id as usize]) - sum.ln()
}

/// The fixture's own ids, and the logarithm of each one's probability by the fixture's own logits.
fn published(model: &str) -> (Vec<u32>, Vec<f64>) {
    let folder = format!("{model}/cases/0");
    let ids: Vec<u32> =
        serde_json::from_value(json(&format!("{folder}/expected.json"))["generated_ids"].clone()).expect("ids");
    let logits = golden::Expected::open(&folder).whole("logits_steps").expect("logits");
    let rows = logits.chunks_exact(logits.len() / ids.len());
    let each = rows.zip(&ids).map(|(logits, &id)| log_softmax(logits, id)).collect();
    (ids, each)
}

#[test]
fn scores_are_sums_of_log_softmax() {
    for model in MODELS {
        let (ids, expected) = published(model);
        on_every_gpu(|gpu| {
            let system = load(model, gpu, Format::F32)?;
            let mut session = Session::new(&system)?;
            let prompt = prompt(model, &mut session)?;
            let scores = block_on(session.score(&prompt, &ids))?;
            assert_eq!(scores.len(), ids.len());
            for (score, expected) in scores.iter().zip(&expected) {
                assert!((score - expected).abs() < NEAR, "{model}: {score} for {expected}");
            }
            // Another candidate in between: the prompt stays, and so does what both begin with.
            let mut other = ids.clone();
            other[3] = (other[3] + 1) % 300;
            let others = block_on(session.score(&prompt, &other))?;
            assert!(others[..3].iter().zip(&scores).all(|(a, b)| (a - b).abs() < NEAR) && others[3] < scores[3]);
            let again = block_on(session.score(&prompt, &ids))?;
            assert!(again.iter().zip(&scores).all(|(a, b)| (a - b).abs() < NEAR), "{model}: {again:?}");
            assert_eq!(block_on(session.score(&prompt, &[]))?, [] as [f64; 0]);
            let beyond = block_on(session.score(&prompt, &[u32::MAX])).unwrap_err();
            assert!(matches!(beyond, RunError::Token { id: u32::MAX, .. }), "{beyond}");
            Ok(())
        });
    }
}

#[test]
fn a_single_beam_is_greedy() {
    for model in MODELS {
        let (ids, expected) = published(model);
        on_every_gpu(|gpu| {
            let system = load(model, gpu, Format::F32)?;
            let mut session = Session::new(&system)?;
            let prompt = prompt(model, &mut session)?;
            let options = BeamOptions { width: 1, max_tokens: ids.len(), length_penalty: 0.0 };
            let found = block_on(session.search(&prompt, None, &options, &|_| ()))?;
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].ids, ids, "{model}");
            assert!((found[0].log_probability - expected.iter().sum::<f64>()).abs() < NEAR * ids.len() as f64);
            // What the cache holds of the prompt is still good.
            let free = GenerateOptions { max_tokens: ids.len(), ..Default::default() };
            assert_eq!(block_on(session.generate(&prompt, &free, &|_| (), &mut |_| true))?, ids);
            Ok(())
        });
    }
}

/// Every beam read anew from its first row, as a search without any sharing would.
fn naive(session: &mut Session, prompt: &Prepared, width: usize, tokens: usize) -> Outcome<Vec<(Vec<u32>, f64)>> {
    let vocabulary = session.system().blueprint().decoder.vocabulary as u32;
    let stop = session.system().blueprint().stop.clone();
    let mut beams = vec![(Vec::new(), 0.0)];
    for _ in 0..tokens {
        let mut scored = Vec::new();
        for (ids, so_far) in &beams {
            let mut fresh = Session::new(session.system())?;
            let whole = prompt.followed_by(ids);
            let logits = block_on(fresh.prefill_stages(&whole))?.logits;
            let last = &logits[logits.len() - vocabulary as usize..];
            for id in (0..vocabulary).filter(|id| !stop.contains(id)) {
                scored.push(([&ids[..], &[id]].concat(), so_far + log_softmax(last, id)));
            }
        }
        scored.sort_by(|a, b| b.1.total_cmp(&a.1));
        scored.truncate(width);
        beams = scored;
    }
    Ok(beams)
}

#[test]
fn beams_equal_a_search_without_sharing() {
    // A prompt that sees all of itself would see an answer that is read with it.
    for model in MODELS.into_iter().filter(|model| !model.starts_with("paligemma")) {
        on_every_gpu(|gpu| {
            let system = load(model, gpu, Format::F32)?;
            let mut session = Session::new(&system)?;
            let prompt = prompt(model, &mut session)?;
            let options = BeamOptions { width: 3, max_tokens: 4, length_penalty: 1.0 };
            let found = block_on(session.search(&prompt, None, &options, &|_| ()))?;
            let expected = naive(&mut session, &prompt, 3, 4)?;
            assert_eq!(found.iter().filter(|it| it.whole).count(), 0, "{model}: no stop token is likely");
            for (found, (ids, log_probability)) in found.iter().zip(&expected) {
                assert_eq!(&found.ids, ids, "{model}");
                assert!((found.log_probability - log_probability).abs() < 4.0 * NEAR, "{model}: {found:?}");
                assert!((found.score - found.log_probability / 4.0).abs() < 1e-12);
            }
            Ok(())
        });
    }
}

/// All token sequences that a grammar allows.
fn sequences(matcher: &Matcher, so_far: &[u32], all: &mut Vec<Vec<u32>>) -> Outcome {
    let words = matcher.fork().allowed()?;
    for id in (0..32 * words.len() as u32).filter(|&id| words[id as usize / 32] >> (id % 32) & 1 == 1) {
        let mut next = matcher.fork();
        next.accept(id)?;
        let ids = [so_far, &[id]].concat();
        if next.is_finished() {
            all.push(ids);
        } else {
            sequences(&next, &ids, all)?;
        }
    }
    Ok(())
}

/// A search as wide as there are answers finds them all, in the order of their probabilities.
#[test]
fn a_wide_search_is_an_enumeration() {
    let model = "qwen2_5_vl";
    on_every_gpu(|gpu| {
        let system = load(model, gpu, Format::F32)?;
        let mut session = Session::new(&system)?;
        let prompt = prompt(model, &mut session)?;
        let matcher = system.constrain(&Constraint::Regex("(a|the|in){2}".to_owned()))?;
        let mut all = Vec::new();
        sequences(&matcher, &[], &mut all)?;
        assert!(all.len() > 8, "{all:?}");
        let mut expected = Vec::new();
        for ids in all {
            expected.push((block_on(session.score(&prompt, &ids))?.iter().sum::<f64>(), ids));
        }
        expected.sort_by(|a, b| b.0.total_cmp(&a.0));
        let options = BeamOptions { width: expected.len(), max_tokens: 12, length_penalty: 0.0 };
        let found = block_on(session.search(&prompt, Some(&matcher), &options, &|_| ()))?;
        assert_eq!(found.len(), expected.len());
        for (found, (log_probability, ids)) in found.iter().zip(&expected) {
            assert!(found.whole && &found.ids == ids, "{found:?} for {ids:?}");
            assert!((found.log_probability - log_probability).abs() < 6.0 * NEAR, "{found:?}");
        }
        Ok(())
    });
}

#[test]
fn beams_within_a_grammar_are_read() {
    for (model, grammar) in [("kosmos2", Grammar::Kosmos2Cells), ("cogvlm_17b", Grammar::CogBoxes)] {
        on_every_gpu(|gpu| {
            let system = load(model, gpu, Format::F32)?;
            let mut session = Session::new(&system)?;
            let prompt = prompt(model, &mut session)?;
            let size = fovea_models::image::Size::new(1280, 800);
            let matcher = system.constrain(&Constraint::Grounding(grammar))?;
            let options = BeamOptions { width: 3, max_tokens: 40, length_penalty: 1.0 };
            let found = block_on(session.search(&prompt, Some(&matcher), &options, &|_| ()))?;
            assert_eq!(found.len(), 3);
            for found in found {
                let text = system.decode_answer(&found.ids)?;
                assert!(found.whole, "{model}: {text:?}");
                // A model that knows nothing may write of places outside the picture.
                if let Err(error) = read_answer(grammar, &text, size, size) {
                    assert!(error.is_refusal(), "{model}: {error}");
                }
            }
            Ok(())
        });
    }
}

/// A search that does not fit is told before anything runs.
#[test]
fn a_search_that_is_too_long_is_told() {
    let gpu = &gpus()[0];
    let system = load("kosmos2", gpu, Format::F32).expect("the fixture");
    let mut session = Session::new(&system).expect("a session");
    let prompt = prompt("kosmos2", &mut session).expect("a prompt");
    let options = BeamOptions { width: 2, max_tokens: usize::MAX, length_penalty: 1.0 };
    let error = block_on(session.search(&prompt, None, &options, &|_| ())).unwrap_err();
    assert!(matches!(error, RunError::TooLong { .. }), "{error}");
    let none = BeamOptions { width: 0, max_tokens: 0, length_penalty: 1.0 };
    assert_eq!(block_on(session.search(&prompt, None, &none, &|_| ())).expect("nothing").len(), 1);
}

/// Forced tokens are no part of a prompt that sees all of itself: they see what is before them only, as in a search.
#[test]
fn forced_tokens_see_what_is_before_them() {
    for (model, forces) in [("paligemma", false), ("kosmos2", true)] {
        on_every_gpu(|gpu| {
            let system = load(model, gpu, Format::F32)?;
            let mut session = Session::new(&system)?;
            let prompt = prompt(model, &mut session)?;
            let grammar = Constraint::Regex("in the (a|b|in|the) of the (a|b|in|the) at the (a|b|in|the)".to_owned());
            let options = BeamOptions { width: 1, max_tokens: 60, length_penalty: 0.0 };
            let found = block_on(session.search(&prompt, Some(&system.constrain(&grammar)?), &options, &|_| ()))?;
            let options = GenerateOptions { max_tokens: 60, ..Default::default() };
            let mut matcher = system.constrain(&grammar)?;
            let answer = block_on(session.generate_within(&prompt, &mut matcher, &options, &|_| (), &mut |_| true))?;
            assert!(answer.whole && answer.ids == found[0].ids, "{model}: {answer:?} {found:?}");
            assert_eq!(answer.forced > 0, forces, "{model}: {answer:?}");
            Ok(())
        });
    }
}
