//! Answers within every grammar, by models that know nothing and by the default model: each can be read.
//!
//! `FOVEA_GROUNDED_STEPS=1000 cargo test --release -p fovea-models --test grounded -- --nocapture` draws so many answers
//! of each model and prints what they cost. Each model is held to its own grammar; with `FOVEA_GROUNDED_ALL=1` to every
//! one that its vocabulary can follow and its positions hold. `FOVEA_GROUNDED_MODELS=nano,kosmos2` draws of these alone,
//! `FOVEA_GROUNDED_SECONDS=60` lets each model draw no longer than that within each grammar, and tells how many it drew.
//!
//! What a random model draws among the tokens that a mask allows is nearly uniform. So of every vocabulary and every
//! grammar, as many answers are drawn without the model, too: evenly among what the mask allows.

mod common;
mod nano;

use std::{error::Error, sync::Arc, time::Instant};

use common::{Outcome, load};
use fovea_engine::{
    testing::{block_on, families, golden, gpus, tier},
    weights::{Format, Policy},
};
use fovea_models::{
    GenerateOptions, Grammar, Session, System,
    constraint::{Constraint, ConstraintError, Matcher},
    grounding::{CogAgentAnswer, read_answer},
    image::{Picture, Size},
    prompt::AnswerFormat,
    prompt::question,
    systems,
};

/// The smallest screenshot that makes sense.
const SCREEN: Size = Size::new(56, 56);

/// About as many tokens as the longest answer that a grammar allows can have, if each were one character.
fn longest(constraint: &Constraint) -> usize {
    match constraint {
        Constraint::CogAgent(format) => 4000 + 2000 * format.lines().iter().take(2).filter(|&&wanted| wanted).count(),
        Constraint::Grounding(Grammar::CogAgent) => 4000,
        _ => 1600,
    }
}

/// Every constraint with a name, and how its answers are read.
fn constraints() -> Vec<(String, Constraint)> {
    let grammars = Grammar::ALL.map(|grammar| (format!("{grammar:?}"), Constraint::Grounding(grammar)));
    let formats = AnswerFormat::ALL.map(|format| (format.key().to_owned(), Constraint::CogAgent(format)));
    grammars.into_iter().chain(formats).collect()
}

fn read(constraint: &Constraint, system: &System, ids: &[u32]) -> Outcome {
    let (grammar, text) = match constraint {
        Constraint::CogAgent(_) => {
            system.tokenizer().decode(ids)?.parse::<CogAgentAnswer>()?;
            return Ok(());
        }
        Constraint::Grounding(grammar @ (Grammar::Kosmos2Cells | Grammar::Qwen2Boxes)) => {
            (*grammar, system.tokenizer().decode_with_special(ids)?)
        }
        Constraint::Grounding(grammar) => (*grammar, system.tokenizer().decode(ids)?),
        other => return Err(format!("{other:?} is no protocol").into()),
    };
    match read_answer(grammar, &text, SCREEN, SCREEN) {
        // Random numbers are seldom about this picture: these are read, and refused.
        Err(error) if !error.is_refusal() => Err(error.into()),
        _ => Ok(()),
    }
}

/// `constraint`'s beginning, or `None` if the vocabulary has no such marks.
fn begin(system: &System, constraint: &Constraint) -> Outcome<Option<Matcher>> {
    match system.constrain(constraint) {
        Ok(matcher) => Ok(Some(matcher)),
        Err(ConstraintError::Grammar(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// How many answers are drawn of each model and grammar, and for how long at most.
#[derive(Clone, Copy)]
struct Limits {
    count: usize,
    seconds: f64,
}

impl Limits {
    fn from_environment() -> Self {
        let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<f64>().ok());
        Self {
            count: number("FOVEA_GROUNDED_STEPS").map_or(2, |count| count as usize),
            seconds: number("FOVEA_GROUNDED_SECONDS").unwrap_or(f64::INFINITY),
        }
    }

    /// Of what the model draws, which takes far longer than its vocabulary alone.
    fn are_reached(self, drawn: usize, start: Instant) -> bool {
        drawn >= self.count || drawn > 0 && start.elapsed().as_secs_f64() > self.seconds
    }
}

/// Draws answers of one model under each grammar that is `wanted` and that its vocabulary can follow.
fn steps(name: &str, system: &Arc<System>, limits: Limits, wanted: impl Fn(&Constraint) -> bool) -> Outcome<usize> {
    let mut session = Session::new(system)?;
    let picture = Picture::from_rgb(SCREEN, vec![200; 3 * SCREEN.pixels() as usize])?;
    let image = block_on(session.encode(&picture, &|_| ()))?;
    let grammar = system.blueprint().grammar;
    let prompt = session.prepare(&question(grammar, "click Sign in"), &[image])?;
    let room = system.blueprint().max_positions - prompt.ids.len();
    let mut all = 0;
    for (key, constraint) in constraints().into_iter().filter(|(_, constraint)| wanted(constraint)) {
        let Some(beginning) = begin(system, &constraint)? else { continue };
        let max_tokens = longest(&constraint);
        if max_tokens > room {
            println!("{name} {key}: answers may have {max_tokens} tokens, the model has room for {room}");
            continue;
        }
        let (mut tokens, mut forced, mut count, start) = (0, 0, 0, Instant::now());
        while !limits.are_reached(count, start) {
            let seed = count as u32;
            let options = GenerateOptions { max_tokens, temperature: 1.0, seed, ..Default::default() };
            let answer =
                block_on(session.generate_within(&prompt, &mut beginning.fork(), &options, &|_| (), &mut |_| true))?;
            let told = |error: &dyn Error| format!("{name} {key} seed {seed}: {error}");
            if !answer.whole {
                return Err(format!("{name} {key} seed {seed}: {} tokens and no end", answer.ids.len()).into());
            }
            read(&constraint, system, &answer.ids).map_err(|error| told(&*error))?;
            tokens += answer.ids.len();
            forced += answer.forced;
            count += 1;
        }
        all += count;
        let each = |sum: usize| sum as f64 / count as f64;
        let time = start.elapsed().as_secs_f64() / count as f64;
        println!(
            "{name} {key}: {count} answers read, {:.1} tokens of which {:.1} forced, {time:.3} s each",
            each(tokens),
            each(forced)
        );
    }
    Ok(all)
}

/// Numbers that look random (Steele et al., "Fast Splittable Pseudorandom Number Generators", 2014).
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// An answer drawn evenly among the tokens that are allowed.
fn spelled(system: &System, mut matcher: Matcher, draws: &mut Draws, max_tokens: usize) -> Outcome<Vec<u32>> {
    let mut ids = Vec::new();
    while !matcher.is_finished() {
        if ids.len() > max_tokens {
            return Err(format!("{} tokens and no end", ids.len()).into());
        }
        let words = matcher.allowed()?;
        let bit = |id: &u32| words[*id as usize / 32] >> (id % 32) & 1 == 1;
        let allowed: Vec<u32> = (0..32 * words.len() as u32).filter(bit).collect();
        assert!(!allowed.is_empty(), "a mask without a token after {ids:?}");
        let id = allowed[draws.below(allowed.len())];
        if system.blueprint().stop.contains(&id) {
            break;
        }
        matcher.accept(id)?;
        ids.push(id);
    }
    Ok(ids)
}

/// Draws answers of one vocabulary under every grammar that it can follow.
fn spellings(name: &str, system: &System, count: usize) -> Outcome<usize> {
    let mut all = 0;
    for (key, constraint) in constraints() {
        if constraint == Constraint::Grounding(Grammar::Words) {
            continue;
        }
        let Some(beginning) = begin(system, &constraint)? else { continue };
        let (mut tokens, start) = (0, Instant::now());
        for draw in 0..count {
            let told = |error: &dyn Error| format!("{name} {key} draw {draw}: {error}");
            let answer = spelled(system, beginning.fork(), &mut Draws(draw as u64), longest(&constraint))
                .map_err(|error| told(&*error))?;
            read(&constraint, system, &answer).map_err(|error| told(&*error))?;
            tokens += answer.len();
        }
        all += count;
        let (tokens, time) = (tokens as f64 / count as f64, start.elapsed().as_secs_f64() / count as f64);
        println!("{name} {key}: {count} spellings read, {tokens:.1} tokens, {time:.4} s each");
    }
    Ok(all)
}

/// As long as a typical click of CogAgent's, where what is free is any text of its length.
const CLICK: &str = r"Action: [A-Za-z .]{13}\nGrounded Operation: CLICK\(box=\[\[[0-9]{3},[0-9]{3},[0-9]{3},[0-9]{3}\]\], element_type='[a-z]{6}', element_info='[A-Za-z]{6}'\)";

/// The default model's answer within its grammar is the one that it gives freely. What forced tokens save: a short answer
/// and a typical one, beside as many tokens under a mask that forces none. What is printed of `FOVEA_GROUNDED_STEPS=20`
/// stands in `docs/accuracy.md`.
#[test]
fn forced_tokens_save_steps() {
    let system = nano::load(&gpus()[0], Policy::uniform(Format::F16)).expect("the default model");
    let mut session = Session::new(&system).expect("a session");
    // With the button on it: of an empty screen the answer is one token, that it is not there.
    let picture = nano::sample().expect("the sample");
    let image = block_on(session.encode(&picture, &|_| ())).expect("an image");
    let grammar = system.blueprint().grammar;
    let prompt = session.prepare(&question(grammar, "click Sign in"), &[image]).expect("a prompt");
    let greedy = GenerateOptions { max_tokens: 40, ..Default::default() };
    let mut matcher = system.constrain(&Constraint::Grounding(grammar)).expect("a grammar");
    let bound = block_on(session.generate_within(&prompt, &mut matcher, &greedy, &|_| (), &mut |_| true));
    let bound = bound.expect("an answer");
    let free = block_on(session.generate(&prompt, &greedy, &|_| (), &mut |_| true)).expect("an answer");
    assert!(bound.whole && bound.forced > 0 && bound.ids == free, "{bound:?} {free:?}");
    let mut within = |constraint: &Constraint, seed: u32| {
        let options = GenerateOptions { max_tokens: 200, temperature: 1.0, seed, ..Default::default() };
        let start = Instant::now();
        let mut matcher = system.constrain(constraint).expect("a grammar");
        let answer = block_on(session.generate_within(&prompt, &mut matcher, &options, &|_| (), &mut |_| true));
        let answer = answer.expect("an answer");
        assert!(answer.whole, "{answer:?}");
        (answer, 1e3 * start.elapsed().as_secs_f64())
    };
    let rounds = Limits::from_environment().count as u32;
    for constraint in [Constraint::Grounding(grammar), Constraint::Regex(CLICK.to_owned())] {
        let (mut forced, mut masked) = (0.0, 0.0);
        let (mut tokens, mut saved) = (0, 0);
        // The first round builds kernels.
        for round in 0..=rounds {
            let (answer, time) = within(&constraint, round);
            let as_long = Constraint::Regex(format!("[a-z]{{{}}}", answer.ids.len()));
            let (other, other_time) = within(&as_long, round);
            assert_eq!((other.ids.len(), other.forced), (answer.ids.len(), 0));
            if round > 0 {
                (forced, masked) = (forced + time, masked + other_time);
                (tokens, saved) = (tokens + answer.ids.len(), saved + answer.forced);
            }
        }
        assert!(saved > 0, "nothing was forced");
        let each = |sum: f64| sum / f64::from(rounds);
        println!(
            "{:.1} tokens, {:.1} of them forced: {:.1} ms an answer, {:.1} ms with as many tokens and none forced",
            each(tokens as f64),
            each(saved as f64),
            each(forced),
            each(masked)
        );
    }
}

#[test]
fn every_answer_is_read() {
    let limits = Limits::from_environment();
    let every = std::env::var_os("FOVEA_GROUNDED_ALL").is_some();
    let only = std::env::var("FOVEA_GROUNDED_MODELS").ok();
    let models = golden::models("model.safetensors");
    let fixtures = systems::names().filter(|name| models.iter().any(|model| model == name));
    let mut all = 0;
    for name in fixtures.chain(["nano"]) {
        if only.as_ref().is_some_and(|only| !only.split(',').any(|it| it == name)) {
            continue;
        }
        // What a mask allows does not depend on the kernels: one system draws with all of them.
        let gpus = if name == "qwen2_5_vl" { families() } else { vec![&gpus()[0]] };
        for (index, gpu) in gpus.into_iter().enumerate() {
            println!("on {}", tier(gpu));
            let system = match name {
                "nano" => nano::load(gpu, Policy::uniform(Format::F16)),
                other => load(other, gpu, Format::F32),
            };
            let system = system.unwrap_or_else(|error| panic!("{name}: {error}"));
            let own = Constraint::Grounding(system.blueprint().grammar);
            // Words are no protocol: nothing of them is read.
            let wanted = |constraint: &Constraint| {
                (every || *constraint == own) && *constraint != Constraint::Grounding(Grammar::Words)
            };
            all += steps(name, &system, limits, wanted).unwrap_or_else(|error| panic!("on {}: {error}", tier(gpu)));
            // No GPU takes part in these.
            if index == 0 {
                all += spellings(name, &system, limits.count).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }
    println!("{all} answers, all of them read");
}
