//! Questions that models were trained to answer with boxes, as published: the Cog models' in the READMEs of
//! `zai-org/CogVLM` and `zai-org/CogAgent` (one of each kind's many wordings), Kosmos-2's in its own; and the question for
//! an instruction, by the grammar of the answer.

use fovea_engine::text::{Message, Part, PromptText};

use super::{AnswerFormat, CogAgentQuery, Platform};
use crate::grounding::{Grammar, Normalised1000};

/// What to do on a screenshot (CogAgent-18B): a plan, the next action and, with `boxes`, where it goes.
pub fn steps(task: &str, boxes: bool) -> String {
    let grounding = if boxes { "(with grounding)" } else { "" };
    format!("What steps do I need to take to \"{task}\"?{grounding}")
}

/// Where something is; the answer is a box.
pub fn where_is(expression: &str) -> String {
    format!("Where is {expression}? answer in [[x0,y0,x1,y1]] format.")
}

/// A description of the picture with a box for each thing.
pub fn describe() -> String {
    let wish = "and include the coordinates [[x0,y0,x1,y1]] for each mentioned object?";
    format!("Can you provide a description of the image {wish}")
}

/// What lies in a box.
pub fn describe_box(region: Normalised1000) -> String {
    let corners = region.corners().map(|corner| format!("{:03}", corner.min(999))).join(",");
    format!("Tell me what you see within the designated area [[{corners}]] in the picture.")
}

/// What Kosmos-2 is asked to point at, as published in the README of `microsoft/kosmos-2-patch14-224`: cells follow the
/// phrase.
pub fn kosmos2_find(expression: &str) -> PromptText {
    let mut question = PromptText::marks("<grounding><phrase>");
    question.push_words(expression.trim());
    question.push_marks("</phrase>");
    question
}

/// What Kosmos-2 is asked to describe in a few words, each thing with its cells.
pub fn kosmos2_brief() -> PromptText {
    PromptText::marks("<grounding>An image of")
}

/// What Kosmos-2 is asked to describe at length, each thing with its cells.
pub fn kosmos2_detailed() -> PromptText {
    PromptText::marks("<grounding>Describe this image in detail:")
}

/// A question that Kosmos-2 answers in words.
pub fn kosmos2_ask(question: &str) -> String {
    format!("Question: {question} Answer:")
}

/// As the questions that LLaVA and InternVL were trained on have it.
const WISH: &str = "Please provide the bounding box coordinate of the region this sentence describes";

/// Asks where to carry out `instruction` on one screenshot, which stands before the words. Marks of the question's own
/// count, those of the instruction are words.
pub fn question(grammar: Grammar, instruction: &str) -> Vec<Message> {
    let text = PromptText::words(match grammar {
        Grammar::CogAgent => CogAgentQuery {
            task: instruction,
            history: &[],
            platform: Platform::Windows,
            format: AnswerFormat::ActionOp,
            continues: false,
            final_newline: true,
        }
        .to_string(),
        Grammar::CogBoxes => where_is(&format!("the element to use for: {instruction}")),
        Grammar::UnitBoxes => format!("{WISH}: the element to use for: {instruction}"),
        Grammar::InternBoxes => {
            let mut text = PromptText::marks(format!("{WISH}: <ref>"));
            text.push_words(&format!("the element to use for: {instruction}"));
            text.push_marks("</ref>");
            return vec![Message::user(vec![Part::Image, Part::Text { text }])];
        }
        Grammar::PaliGemma => format!("detect the element to use for: {instruction}"),
        Grammar::Words => format!("Where is the element to use for: {instruction}?"),
        Grammar::CogAgentSteps => steps(instruction, true),
        Grammar::Kosmos2Cells => {
            let text = kosmos2_find(instruction);
            return vec![Message::user(vec![Part::Image, Part::Text { text }])];
        }
        Grammar::Qwen2Boxes => format!("Output the bounding box of the element to use for: {instruction}"),
        Grammar::Qwen2_5Json => {
            format!("Locate the element to use for: {instruction}. Output its bounding box in JSON format.")
        }
    });
    vec![Message::user(vec![Part::Image, Part::Text { text }])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grammar_asks_for_the_instruction() {
        for grammar in Grammar::ALL {
            let words = format!("{:?}", question(grammar, "click Sign in"));
            assert!(words.contains("click Sign in"), "{words}");
        }
    }

    #[test]
    fn questions_are_those_published() {
        let asked = "What steps do I need to take to \"Search for CogVLM\"?(with grounding)";
        assert_eq!(steps("Search for CogVLM", true), asked);
        assert_eq!(kosmos2_find(" the <image> box").as_str(), "<grounding><phrase>the <image> box</phrase>");
        assert_eq!(where_is("the menu"), "Where is the menu? answer in [[x0,y0,x1,y1]] format.");
        let region = Normalised1000::new(86, 540, 400, 760).unwrap();
        let asked = "Tell me what you see within the designated area [[086,540,400,760]] in the picture.";
        assert_eq!(describe_box(region), asked);
    }
}
