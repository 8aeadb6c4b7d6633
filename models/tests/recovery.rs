//! A session that was interrupted, or asked for something unusual, answers as a new one does.

mod common;

use std::sync::Arc;

use common::load;
use fovea_engine::{
    Gpu, GpuError,
    testing::{block_on, gpus, nmse, options},
    text::{Message, Part},
    weights::Format,
};
use fovea_models::{
    GenerateOptions, RunError, Session,
    image::{Picture, Size},
};

fn asked() -> Vec<Message> {
    vec![Message::user(vec![Part::text("Where is the red box?")])]
}

/// What the GPU could not hold is dropped; the next call starts anew, with the same answer.
#[test]
fn a_session_answers_again_after_the_gpu_ran_out_of_memory() {
    let gpu = block_on(Gpu::open(&options(&gpus()[0].name().name))).expect("opens");
    let system = load("qwen2_5_vl", &gpu, Format::F32).expect("the fixture");
    let mut session = Session::new(&system).expect("a session");
    let options = GenerateOptions { max_tokens: 4, ignore_stop: true, ..Default::default() };
    let prompt = session.prepare(&asked(), &[]).expect("a prompt");
    let answer = |session: &mut Session| block_on(session.generate(&prompt, &options, &|_| (), &mut |_| true));
    let first = answer(&mut session).expect("an answer");
    let mut reported = false;
    let interrupted = block_on(session.generate(&prompt, &options, &|_| (), &mut |_| {
        if !reported {
            gpu.report(GpuError::OutOfMemory { what: None, message: "of the test".to_owned() });
        }
        reported = true;
        true
    }));
    assert!(matches!(interrupted, Err(RunError::Gpu(GpuError::OutOfMemory { .. }))), "{interrupted:?}");
    assert_eq!(answer(&mut session).expect("an answer after it"), first);
}

/// One session's recovery is every session's: what the other keeps may be what is missing, and what it is at may come of it.
#[test]
fn what_one_session_recovers_another_drops() {
    let gpu = block_on(Gpu::open(&options(&gpus()[0].name().name))).expect("opens");
    let system = load("qwen2_5_vl", &gpu, Format::F32).expect("the fixture");
    let [mut one, mut other] = [(); 2].map(|()| Session::new(&system).expect("a session"));
    let options = GenerateOptions { max_tokens: 4, ignore_stop: true, ..Default::default() };
    let prompt = one.prepare(&asked(), &[]).expect("a prompt");
    let picture = Picture::from_rgb(Size::new(56, 56), vec![90; 56 * 56 * 3]).expect("a picture");
    let answer = |session: &mut Session| block_on(session.generate(&prompt, &options, &|_| (), &mut |_| true));
    let encode = |session: &mut Session| block_on(session.encode(&picture, &|_| ())).expect("encoded");
    let lose = || gpu.report(GpuError::OutOfMemory { what: None, message: "of the test".to_owned() });

    let (first, image) = (answer(&mut one).expect("an answer"), encode(&mut one));
    assert!(Arc::ptr_eq(&encode(&mut one), &image), "the same picture is encoded once");
    lose();
    assert_eq!(answer(&mut other).expect("the other recovers"), first);
    let own = encode(&mut other);
    assert!(!Arc::ptr_eq(&encode(&mut one), &image), "what may be missing is not handed out");
    assert_eq!(answer(&mut one).expect("an answer"), first);
    assert!(Arc::ptr_eq(&encode(&mut other), &own), "what came after it is kept");

    // The other recovers while this one answers.
    let mut heard = 0;
    let interrupted = block_on(one.generate(&prompt, &options, &|_| (), &mut |_| {
        heard += 1;
        if heard == 1 {
            lose();
            answer(&mut other).expect("the other recovers");
        }
        true
    }));
    assert!(matches!(interrupted, Err(RunError::Gpu(GpuError::OutOfMemory { .. }))), "{interrupted:?}");
    assert_eq!(answer(&mut one).expect("an answer after it"), first);
}

/// Rotary positions are relative: a prompt moved to positions beyond its number of rows, as a part of a picture at the
/// places of the whole has them, is answered as before.
#[test]
fn positions_beyond_the_rows_are_those_that_were_asked_for() {
    for gpu in gpus() {
        let system = load("qwen2_5_vl", gpu, Format::F32).expect("the fixture");
        let mut session = Session::new(&system).expect("a session");
        let options = GenerateOptions { max_tokens: 4, ignore_stop: true, ..Default::default() };
        let prompt = session.prepare(&asked(), &[]).expect("a prompt");
        let (ids, logits) = block_on(session.generate_stages(&prompt, &options)).expect("an answer");
        // The fixture's rotary base is published; a shift by 1021 costs f32 angles three digits.
        let mut moved = prompt.clone();
        moved.positions.axes.iter_mut().flatten().for_each(|position| *position += 1021);
        moved.positions.next += 1021;
        let mut session = Session::new(&system).expect("a session");
        let (moved_ids, moved_logits) = block_on(session.generate_stages(&moved, &options)).expect("an answer");
        assert_eq!(moved_ids, ids);
        let expected: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        // f32 angles up to 1100 are rounded by 6e-5: their products with unit vectors differ by about as much.
        let error = nmse(&moved_logits, &expected);
        assert!(error <= 1e-7, "normalised mean square error {error:e}");
    }
}
