//! The question that each grammar's models were trained on, and the reading of their answers.

use fovea_engine::text::{Message, Part};

use super::{
    Action, CogAgentAnswer, GroundingError, PixelBox, StepsAnswer, Target, parse_boxes, parse_detections,
    parse_intern_boxes, parse_kosmos2_boxes, parse_qwen2_5_boxes, parse_qwen2_boxes, parse_unit_boxes,
};
use crate::{
    image::Size,
    prompt::{AnswerFormat, CogAgentQuery, Platform, questions},
    systems::Grammar,
};

/// As the questions that LLaVA and InternVL were trained on have it.
const WISH: &str = "Please provide the bounding box coordinate of the region this sentence describes";

/// Asks where to carry out `instruction` on one screenshot, which stands before the words.
pub fn question(grammar: Grammar, instruction: &str) -> Vec<Message> {
    let text = match grammar {
        Grammar::CogAgent => CogAgentQuery {
            task: instruction,
            history: &[],
            platform: Platform::Windows,
            format: AnswerFormat::ActionOp,
            continues: false,
            final_newline: true,
        }
        .to_string(),
        Grammar::CogBoxes => questions::where_is(&format!("the element to use for: {instruction}")),
        Grammar::UnitBoxes => format!("{WISH}: the element to use for: {instruction}"),
        Grammar::InternBoxes => format!("{WISH}: <ref>the element to use for: {instruction}</ref>"),
        Grammar::PaliGemma => format!("detect the element to use for: {instruction}"),
        Grammar::Words => format!("Where is the element to use for: {instruction}?"),
        Grammar::CogAgentSteps => questions::steps(instruction, true),
        Grammar::Kosmos2Cells => questions::kosmos2_find(instruction),
        Grammar::Qwen2Boxes => format!("Output the bounding box of the element to use for: {instruction}"),
        Grammar::Qwen2_5Json => {
            format!("Locate the element to use for: {instruction}. Output its bounding box in JSON format.")
        }
    };
    vec![Message::user(vec![Part::Image, Part::text(text)])]
}

/// What an answer tells to do on a screenshot of `original` pixels that the model saw as `resized`. A model that
/// answers with boxes alone tells to click into the first.
///
/// # Errors
/// [`GroundingError`] with the answer.
pub fn read_answer(
    grammar: Grammar,
    answer: &str,
    original: Size,
    resized: Size,
) -> Result<Action<PixelBox>, GroundingError> {
    let first = |found: Option<(PixelBox, Option<String>)>| match found {
        Some((region, element_info)) => Ok(Action::Click(Target { element_info, ..Target::at(region) })),
        None => Err(GroundingError::NoBox { text: answer.to_owned() }),
    };
    match grammar {
        Grammar::CogAgent => Ok(answer.parse::<CogAgentAnswer>()?.operation.map(|region| region.to_pixels(original))),
        Grammar::CogAgentSteps => {
            let operation = answer.parse::<StepsAnswer>()?.operation;
            Ok(operation.into_action().map(|region| region.to_pixels(original)))
        }
        Grammar::Kosmos2Cells => {
            let boxes = parse_kosmos2_boxes(answer)?;
            first(boxes.into_iter().next().map(|it| (it.region.to_pixels(original), it.label)))
        }
        Grammar::CogBoxes => first(parse_boxes(answer)?.first().map(|region| (region.to_pixels(original), None))),
        Grammar::InternBoxes => {
            let boxes = parse_intern_boxes(answer)?;
            first(boxes.into_iter().next().map(|it| (it.region.to_pixels(original), it.label)))
        }
        Grammar::PaliGemma => {
            let found = parse_detections(answer)?;
            first(found.into_iter().next().map(|it| (it.region.to_pixels(original), it.label)))
        }
        Grammar::Words => first(None),
        Grammar::UnitBoxes => first(parse_unit_boxes(answer)?.first().map(|region| (region.to_pixels(original), None))),
        Grammar::Qwen2Boxes => {
            let boxes = parse_qwen2_boxes(answer)?;
            first(boxes.into_iter().next().map(|it| (it.region.to_pixels(original), it.label)))
        }
        Grammar::Qwen2_5Json => {
            let boxes = parse_qwen2_5_boxes(answer)?;
            first(boxes.into_iter().next().map(|it| (it.region.to_pixels(original, resized), it.label)))
        }
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
            let words = format!("{:?}", question(grammar, "click Sign in"));
            assert!(words.contains("click Sign in"), "{words}");
        }
    }
}
