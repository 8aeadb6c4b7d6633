//! Answers within every grammar, by models that know nothing and by the default model: each can be read.
//!
//! `FOVEA_GROUNDED_STEPS=1000 cargo test --release -p fovea-models --test grounded -- --nocapture` draws so many answers
//! of each model and prints what they cost. Each model is held to its own grammar; with `FOVEA_GROUNDED_ALL=1` to every
//! one that its vocabulary can follow and its positions hold. `FOVEA_GROUNDED_MODELS=nano,kosmos2` draws of these alone.

mod common;

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Instant};

use common::{Outcome, load};
use fovea_engine::{
    Gpu,
    testing::{Memory, block_on, golden, gpus},
    weights::{Format, Policy, Safetensors},
};
use fovea_models::{
    Checkpoint, GenerateOptions, Grammar, SMALL_FILES, Session, System,
    constraint::{Constraint, ConstraintError},
    grounding::{CogAgentAnswer, question, read_answer},
    image::{Picture, Size},
    prompt::AnswerFormat,
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

fn nano(gpu: &Gpu) -> Outcome<Arc<System>> {
    let at = |file: &str| std::fs::read(format!("{}/nano/{file}", env!("CARGO_MANIFEST_DIR")));
    let files: BTreeMap<_, _> =
        SMALL_FILES.iter().filter_map(|file| Some(((*file).to_owned(), at(file).ok()?))).collect();
    let weights = block_on(Safetensors::open(vec![Memory::new("model.safetensors", at("model.safetensors")?)]))?;
    let checkpoint = Checkpoint::new(files, Box::new(weights));
    Ok(Arc::new(block_on(System::load(&checkpoint, gpu, Policy::uniform(Format::F16), &|_| ()))?))
}

/// Every constraint with a name, and how its answers are read.
fn constraints() -> Vec<(String, Constraint)> {
    let grammars = Grammar::ALL.map(|grammar| (format!("{grammar:?}"), Constraint::Grounding(grammar)));
    let formats = AnswerFormat::ALL.map(|format| (format.key().to_owned(), Constraint::CogAgent(format)));
    grammars.into_iter().chain(formats).collect()
}

fn read(constraint: &Constraint, system: &System, ids: &[u32]) -> Outcome {
    match constraint {
        Constraint::CogAgent(_) => {
            system.tokenizer().decode(ids)?.parse::<CogAgentAnswer>()?;
        }
        Constraint::Grounding(Grammar::Kosmos2Cells | Grammar::Qwen2Boxes) => {
            let Constraint::Grounding(grammar) = constraint else { return Ok(()) };
            read_answer(*grammar, &system.tokenizer().decode_with_special(ids)?, SCREEN, SCREEN)?;
        }
        Constraint::Grounding(grammar) => {
            read_answer(*grammar, &system.tokenizer().decode(ids)?, SCREEN, SCREEN)?;
        }
        other => return Err(format!("{other:?} is no protocol").into()),
    }
    Ok(())
}

/// Draws `count` answers of one model under each grammar that is `wanted` and that its vocabulary can follow.
fn steps(name: &str, system: &Arc<System>, count: usize, wanted: impl Fn(&Constraint) -> bool) -> Outcome<usize> {
    let mut session = Session::new(system)?;
    let picture = Picture::from_rgb(SCREEN, vec![200; 3 * SCREEN.pixels() as usize])?;
    let image = block_on(session.encode(&picture, &|_| ()))?;
    let grammar = system.blueprint().grammar;
    let prompt = session.prepare(&question(grammar, "click Sign in"), &[image])?;
    let room = system.blueprint().max_positions - prompt.ids.len();
    let mut all = 0;
    for (key, constraint) in constraints().into_iter().filter(|(_, constraint)| wanted(constraint)) {
        match system.constrain(&constraint) {
            Ok(_) => {}
            // Marks that this vocabulary does not have.
            Err(ConstraintError::Grammar(_)) => continue,
            Err(other) => return Err(other.into()),
        }
        let max_tokens = longest(&constraint);
        if max_tokens > room {
            println!("{name} {key}: answers may have {max_tokens} tokens, the model has room for {room}");
            continue;
        }
        let (mut tokens, mut forced, start) = (0, 0, Instant::now());
        for seed in 0..count as u32 {
            let options = GenerateOptions { max_tokens, temperature: 1.0, seed, ..Default::default() };
            let mut matcher = system.constrain(&constraint)?;
            let answer = block_on(session.generate_within(&prompt, &mut matcher, &options, &|_| (), &mut |_| true))?;
            let told = |error: &dyn Error| format!("{name} {key} seed {seed}: {error}");
            if !answer.whole {
                return Err(format!("{name} {key} seed {seed}: {} tokens and no end", answer.ids.len()).into());
            }
            read(&constraint, system, &answer.ids).map_err(|error| told(&*error))?;
            tokens += answer.ids.len();
            forced += answer.forced;
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

/// The default model's answers with forced tokens and without: what is printed stands in `docs/accuracy.md`.
#[test]
fn forced_tokens_save_steps() {
    let system = nano(&gpus()[0]).expect("the default model");
    let mut session = Session::new(&system).expect("a session");
    let picture = Picture::from_rgb(SCREEN, vec![200; 3 * SCREEN.pixels() as usize]).expect("a picture");
    let image = block_on(session.encode(&picture, &|_| ())).expect("an image");
    let messages = question(system.blueprint().grammar, "click Sign in");
    let prompt = session.prepare(&messages, &[image]).expect("a prompt");
    let options = GenerateOptions { max_tokens: 40, ..Default::default() };
    let (mut with, mut without, mut tokens, mut forced) = (0.0, 0.0, 0, 0);
    let rounds = 20;
    // The first round builds kernels.
    for round in 0..=rounds {
        let start = Instant::now();
        let mut matcher = system.constrain(&Constraint::Grounding(system.blueprint().grammar)).expect("a grammar");
        let heard = &mut |_| true;
        let bound = block_on(session.generate_within(&prompt, &mut matcher, &options, &|_| (), heard));
        let bound = bound.expect("an answer");
        let bound_time = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let free = block_on(session.generate(&prompt, &options, &|_| (), &mut |_| true)).expect("an answer");
        let free_time = start.elapsed().as_secs_f64();
        assert!(bound.whole && bound.forced > 0 && bound.ids == free, "{bound:?} {free:?}");
        if round > 0 {
            (with, without) = (with + bound_time, without + free_time);
            (tokens, forced) = (bound.ids.len(), bound.forced);
        }
    }
    let each = |sum: f64| 1e3 * sum / f64::from(rounds);
    println!(
        "{tokens} tokens, {forced} of them forced: {:.1} ms an answer within its grammar, {:.1} ms without",
        each(with),
        each(without)
    );
}

#[test]
fn every_answer_is_read() {
    let count = std::env::var("FOVEA_GROUNDED_STEPS").ok().and_then(|count| count.parse().ok()).unwrap_or(2);
    let every = std::env::var_os("FOVEA_GROUNDED_ALL").is_some();
    let only = std::env::var("FOVEA_GROUNDED_MODELS").ok();
    let gpu = &gpus()[0];
    let models = golden::models("model.safetensors");
    let fixtures = systems::names().filter(|name| models.iter().any(|model| model == name));
    let mut all = 0;
    for name in fixtures.chain(["nano"]) {
        if only.as_ref().is_some_and(|only| !only.split(',').any(|it| it == name)) {
            continue;
        }
        let system = if name == "nano" { nano(gpu) } else { load(name, gpu, Format::F32) };
        let system = system.unwrap_or_else(|error| panic!("{name}: {error}"));
        let own = Constraint::Grounding(system.blueprint().grammar);
        // Words are no protocol: nothing of them is read.
        let wanted = |constraint: &Constraint| {
            (every || *constraint == own) && *constraint != Constraint::Grounding(Grammar::Words)
        };
        match steps(name, &system, count, wanted) {
            Ok(drawn) => all += drawn,
            Err(error) => panic!("{error}"),
        }
    }
    println!("{all} answers, all of them read");
}
