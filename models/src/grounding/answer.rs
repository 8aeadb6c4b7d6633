//! What answers say to do, by the grammar that a system writes.

use super::{
    Action, CogAgentAnswer, Grammar, GroundingError, PixelBox, StepsAnswer, Target, parse_detections,
    parse_kosmos2_boxes,
    reader::{self, Scale},
};
use crate::image::Size;

/// What an answer says to do on a screenshot of `original` pixels that the model saw as `resized`. A model that answers with a
/// place alone says to click there. What it thinks before it answers is no answer; the last whole place counts, of a list the
/// first. [`Action::Absent`] if it says that nothing like it is there.
///
/// # Errors
/// [`GroundingError`] with the answer.
pub fn read_answer(
    grammar: Grammar,
    answer: &str,
    original: Size,
    resized: Size,
) -> Result<Action<PixelBox>, GroundingError> {
    let thousandths = Scale::Thousandths { original };
    let named = |region, element_info| Action::Click(Target { element_info, ..Target::at(region) });
    // What a protocol cannot read may be written as other models write, or say in words that nothing is there.
    let or_read = |error: GroundingError, scale| reader::read(answer, scale).map_err(|_| error.about(answer));
    match grammar {
        Grammar::CogAgent => match reader::without_tags(answer).parse::<CogAgentAnswer>() {
            Ok(read) => Ok(read.operation.map(|region| region.to_pixels(original))),
            Err(error @ GroundingError::UnknownOperation { .. }) => Err(error.about(answer)),
            Err(error) => or_read(error, thousandths),
        },
        Grammar::CogAgentSteps => match reader::without_tags(answer).parse::<StepsAnswer>() {
            Ok(read) => Ok(read.operation.into_action().map(|region| region.to_pixels(original))),
            Err(error @ GroundingError::UnknownOperation { .. }) => Err(error.about(answer)),
            Err(error) => or_read(error, thousandths),
        },
        Grammar::Kosmos2Cells => match parse_kosmos2_boxes(&reader::without_tags(answer)) {
            Ok(boxes) => {
                let first = boxes.into_iter().next().map(|it| named(it.region.to_pixels(original), it.label));
                first.ok_or_else(|| GroundingError::NoBox { text: answer.to_owned() })
            }
            Err(error) => or_read(error, Scale::None),
        },
        Grammar::PaliGemma => match parse_detections(&reader::without_tags(answer)) {
            Ok(found) => {
                let first = found.into_iter().next().map(|it| named(it.region.to_pixels(original), it.label));
                first.ok_or_else(|| GroundingError::NoBox { text: answer.to_owned() })
            }
            Err(error) => or_read(error, Scale::None),
        },
        Grammar::CogBoxes | Grammar::InternBoxes | Grammar::Qwen2Boxes => reader::read(answer, thousandths),
        Grammar::UnitBoxes => reader::read(answer, Scale::Fractions { original }),
        Grammar::Qwen2_5Json => reader::read(answer, Scale::Pixels { original, resized }),
        Grammar::Words => reader::read(answer, Scale::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINAL: Size = Size::new(1280, 800);

    #[test]
    fn each_grammar_leads_to_the_same_click() {
        let answers = [
            (Grammar::CogAgent, "Action: Click.\nGrounded Operation: CLICK(box=[[250,250,500,300]])"),
            (Grammar::CogBoxes, "[[250,250,500,300]]"),
            (Grammar::InternBoxes, "<ref>button</ref><box>[[250, 250, 500, 300]]</box>"),
            (Grammar::UnitBoxes, "It is at [0.25, 0.25, 0.5, 0.3]."),
            (Grammar::CogAgentSteps, "Plan: 1.\nGrounded Operation:[link] -> CLICK at the box [[250,250,500,300]]"),
            (Grammar::Qwen2Boxes, "<|box_start|>(250,250),(500,300)<|box_end|>"),
            (Grammar::Qwen2_5Json, r#"```json [{"bbox_2d": [160, 100, 320, 120], "label": "button"}] ```"#),
        ];
        for (grammar, answer) in answers {
            let action = read_answer(grammar, answer, ORIGINAL, Size::new(640, 400)).unwrap();
            let region = action.target().unwrap().region;
            assert_eq!(region, PixelBox::new(320.0, 200.0, 640.0, 240.0), "{grammar:?}");
        }
    }

    #[test]
    fn a_malformed_answer_is_carried() {
        for grammar in Grammar::ALL {
            assert_eq!(read_answer(grammar, "noise", ORIGINAL, ORIGINAL).unwrap_err().text(), "noise");
        }
    }
}
