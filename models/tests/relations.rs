//! Instructions that tell a place, asked in the part of the picture that it leaves.

mod common;
mod nano;

use std::{cell::Cell, sync::Arc};

use common::{Outcome, load};
use fovea_engine::{
    Gpu,
    testing::{block_on, gpus},
    weights::{Format, Policy},
};
use fovea_models::{
    Asked, EncodedImage, GenerateOptions, Session, Stage,
    grounding::{Action, PixelBox},
    image::{Picture, Size},
    prompt::question,
};

/// What the session would do, and how many tokens it was asked with.
fn act(session: &mut Session, image: &EncodedImage, asked: &Asked) -> Outcome<Action<PixelBox>> {
    let system = Arc::clone(session.system());
    let mut matcher = system.constrain(&system.grounding(&asked.instruction))?;
    let options = GenerateOptions::default();
    let on_token = &mut |_| true;
    let answer = block_on(session.generate_within(&asked.prompt, &mut matcher, &options, &|_| (), on_token))?;
    let text = system.decode_answer(&answer.ids)?;
    Ok(asked.read(system.blueprint().grammar, &text, answer.whole, image)?)
}

/// How many tokens a prompt about the whole picture has.
fn tokens_of_whole(session: &Session, instruction: &str, image: &Arc<EncodedImage>) -> Outcome<usize> {
    let grammar = session.system().blueprint().grammar;
    Ok(session.prepare(&question(grammar, instruction), std::slice::from_ref(image))?.ids.len())
}

/// The first adapter, with the kernels that suit it. These are whole screenshots: those for GPUs take minutes for one on a
/// processor, and SwiftShader takes as long with either. What the kernels compute is compared on the fixtures.
fn on_first(test: impl Fn(&Gpu) -> Outcome) -> Outcome {
    test(&gpus()[0])
}

#[test]
fn what_was_noticed_is_looked_at_again() -> Outcome {
    on_first(|gpu| {
        let mut session = Session::new(&nano::load(gpu, Policy::q4())?)?;
        let sample = nano::sample()?;
        let image = block_on(session.encode(&sample, &|_| ()))?;
        let said = "Click Sign in";
        let asked = block_on(session.ask(said, &image, &|_| ()))?;
        let (closer, tokens) =
            (asked.closer.as_ref().ok_or("no second look")?, tokens_of_whole(&session, said, &image)?);
        assert!(asked.prompt.part && asked.prompt.ids.len() < tokens / 8, "{} of {tokens}", asked.prompt.ids.len());
        assert_eq!(closer.looks.len(), image.grid.patches());
        let action = act(&mut session, &image, &asked)?;
        let click = action.click_point().ok_or("no click")?;
        assert!((943.0..1217.0).contains(&click.x) && (570.0..609.0).contains(&click.y), "{action:?}");

        let absent = block_on(session.ask("Click Quarterly wombat figures", &image, &|_| ()))?;
        assert_eq!(act(&mut session, &image, &absent)?, Action::Absent);

        // A picture smaller than the part that is looked at again, and one of a single pixel.
        for size in [Size::new(200, 39), Size::new(1, 1)] {
            let small = sample.placed(size, -980, -570, [0; 3])?;
            let image = block_on(session.encode(&small, &|_| ()))?;
            let asked = block_on(session.ask(said, &image, &|_| ()))?;
            let action = act(&mut session, &image, &asked)?;
            let region = action.target().map(|target| target.region);
            let (width, height) = (size.width as f32, size.height as f32);
            assert!(
                region.is_none_or(|it| it.left() >= 0.0 && it.right() <= width && it.bottom() <= height),
                "{region:?}"
            );
            assert!(size.width == 1 || region.is_some(), "{action:?}");
        }
        Ok(())
    })
}

#[test]
fn a_picture_stays_read_while_its_parts_are_asked_about() -> Outcome {
    on_first(|gpu| {
        let mut session = Session::new(&nano::load(gpu, Policy::q4())?)?;
        let image = block_on(session.encode(&nano::sample()?, &|_| ()))?;
        let mut steps = |instruction: &str| -> Outcome<u32> {
            let count = Cell::new(0);
            let hear = |stage| count.set(count.get() + u32::from(matches!(stage, Stage::Prefill(_))));
            let asked = block_on(session.ask(instruction, &image, &hear))?;
            act(&mut session, &image, &asked)?;
            Ok(count.get())
        };
        let first = steps("Click Sign in")?;
        // Text alone is read then, in one step each: of the look, and of what is answered without another.
        let (again, place) = (steps("Click Email")?, steps("Click Sign in below Remember me")?);
        let another = steps("Click Email")?;
        assert!(first > 4 || !gpu.caps().software, "{first}");
        assert!(again <= 4 && another <= 4, "{first}, {again}, {place}, {another}");
        Ok(())
    })
}

#[test]
fn a_place_is_looked_at_alone() -> Outcome {
    on_first(|gpu| {
        let mut session = Session::new(&nano::load(gpu, Policy::q4())?)?;
        let image = block_on(session.encode(&nano::sample()?, &|_| ()))?;
        let whole = tokens_of_whole(&session, "Click Sign in", &image)?;
        let said = "Click Sign in below Remember me";
        let below = block_on(session.ask(said, &image, &|_| ()))?;
        assert!(below.prompt.part);
        assert_eq!(below.instruction, "Click Sign in");
        assert!(below.prompt.ids.len() < whole / 2);
        let action = act(&mut session, &image, &below)?;
        let click = action.click_point().ok_or("no click")?;
        assert!((943.0..1217.0).contains(&click.x) && (570.0..609.0).contains(&click.y), "{action:?}");

        // What it does not see it does not look at. "Remember me" is drawn at y 542, in rows of 25 pixels.
        let looks = &below.closer.as_ref().ok_or("no second look")?.looks;
        assert_eq!(looks.len(), image.grid.patches());
        let (above, rest) = looks.split_at(looks.len() * 500 / 800);
        assert!(above.iter().all(|&look| look == 0.0) && rest.iter().any(|&look| look > 0.1));

        // The button is in the lower half.
        let top = block_on(session.ask("Click Sign in at the top of the page", &image, &|_| ()))?;
        let action = act(&mut session, &image, &top)?;
        assert!(action.click_point().is_none_or(|click| click.y < 420.0), "{action:?}");

        // What is not there has no place: the whole may be a name.
        let said = "Click Sign in next to Quarterly wombat figures";
        let asked = block_on(session.ask(said, &image, &|_| ()))?;
        assert_eq!(asked.instruction, said);
        assert!(asked.closer.is_some());
        Ok(())
    })
}

/// Small words of a row, which one look at all of it does not find.
#[test]
fn a_row_is_looked_at_again() -> Outcome {
    on_first(|gpu| {
        let mut session = Session::new(&nano::load(gpu, Policy::q4())?)?;
        let image = block_on(session.encode(&nano::picture("eval/related/tables-01-00186.png")?, &|_| ()))?;
        // As in `eval/related/annotations.json`: 22 pixels high, 31 apart.
        for (row, top) in [("Zealand Edgar", 316.0), ("Freire Opening", 347.5), ("Xtramath Concentration", 379.0)] {
            let asked = block_on(session.ask(&format!("click View in the row of {row}"), &image, &|_| ()))?;
            assert!(asked.closer.is_some(), "{row}");
            let action = act(&mut session, &image, &asked)?;
            let click = action.click_point().ok_or_else(|| format!("{row}: no click"))?;
            let inside = (665.5..700.5).contains(&click.x) && (top..top + 22.0).contains(&click.y);
            assert!(inside, "{row}: {action:?}");
        }
        Ok(())
    })
}

#[test]
fn what_is_counted_is_looked_at_alone() -> Outcome {
    on_first(|gpu| {
        let mut session = Session::new(&nano::load(gpu, Policy::q4())?)?;
        let image = block_on(session.encode(&nano::picture("eval/related/tables-01-00186.png")?, &|_| ()))?;
        let whole = tokens_of_whole(&session, "press Manage", &image)?;
        let mut click = |said: &str| -> Outcome<_> {
            let asked = block_on(session.ask(said, &image, &|_| ()))?;
            Ok((act(&mut session, &image, &asked)?.click_point(), asked))
        };
        // As shown in `eval/related/annotations.json`.
        for (said, left, top, width, height) in [
            ("press the first Assign", 605.0, 316.0, 48.0, 22.0),
            ("click the fourth Manage", 807.0, 204.0, 74.0, 31.0),
        ] {
            let (point, asked) = click(said)?;
            let point = point.ok_or_else(|| format!("{said}: no click"))?;
            let inside = (left..left + width).contains(&point.x) && (top..top + height).contains(&point.y);
            assert!(inside && asked.prompt.part && asked.prompt.ids.len() < whole / 4, "{said}: {point:?}");
        }
        // Where there are fewer, those that were counted are not clicked.
        let (point, asked) = click("press the 10th Manage")?;
        assert_eq!((point, asked.instruction.as_str()), (None, "press the Manage"), "{point:?}");
        Ok(())
    })
}

/// A model that reads sentences is given them as they are.
#[test]
fn others_are_asked_as_it_was_said() -> Outcome {
    let mut session = Session::new(&load("qwen2_5_vl", &gpus()[0], Format::F32)?)?;
    let picture = Picture::from_rgba(Size::new(56, 56), &[200; 4 * 56 * 56])?;
    let image = block_on(session.encode(&picture, &|_| ()))?;
    let said = "click Edit in the row of Anna";
    let asked = block_on(session.ask(said, &image, &|_| ()))?;
    assert_eq!(asked.instruction, said);
    let places =
        asked.prompt.ids.iter().filter(|&&id| Some(id) == session.system().tokenizer().token_id("<|image_pad|>"));
    assert_eq!(places.count(), image.rows());
    Ok(())
}
