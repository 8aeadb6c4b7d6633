use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    grounding::{Grammar, read_answer},
    image::Size,
};

fn grammar(system: &str) -> Grammar {
    match system {
        "qwen2_vl" => Grammar::Qwen2Boxes,
        "qwen2_5_vl" => Grammar::Qwen2_5Json,
        "internvl" => Grammar::InternBoxes,
        "llava" => Grammar::UnitBoxes,
        other => panic!("{other} has no answers"),
    }
}

/// What the message of an error says of each reason.
fn says(reason: &str) -> Vec<&str> {
    match reason {
        "fractions on a scale of 1000, unless the profile says so" => vec!["fractions on a scale of 1000"],
        other => vec![other],
    }
}

/// Every answer of the list, as a user expects it.
#[test]
fn answers_come_out_as_stated() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../../../tests/cases/answers.json")).unwrap();
    assert_eq!(cases.len(), 60);
    let mut wrong = Vec::new();
    for case in &cases {
        let side = |at: usize| case["picture"][at].as_u64().unwrap() as u32;
        let size = Size::new(side(0), side(1));
        let answer = case["answer"].as_str().unwrap();
        let read = read_answer(grammar(case["system"].as_str().unwrap()), answer, size, size);
        let expected = &case["expected"];
        let corners = |action: &Action<PixelBox>| {
            let it = action.target()?.region;
            let is_click = matches!(action, Action::Click(_));
            is_click.then(|| [it.left(), it.top(), it.right(), it.bottom()])
        };
        let is_near = |found: Option<[f32; 4]>, wanted: Vec<f64>| {
            found.is_some_and(|found| found.iter().zip(&wanted).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-3))
        };
        let numbers =
            |value: &Value| value.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect::<Vec<_>>();
        let right = match (&read, expected) {
            (Ok(action), Value::Array(_)) => is_near(corners(action), numbers(expected)),
            (Ok(action), Value::Object(object)) if object.contains_key("point") => {
                let point = numbers(&object["point"]);
                is_near(corners(action), [point.clone(), point].concat())
            }
            (Ok(action), Value::Object(object)) if object.contains_key("clamped") => {
                is_near(corners(action), numbers(&object["clamped"]))
            }
            (Ok(action), Value::Object(object)) if object.contains_key("absent") => *action == Action::Absent,
            (Err(error), Value::Object(object)) if object.contains_key("error") => {
                let told = error.to_string();
                says(object["error"].as_str().unwrap()).into_iter().all(|word| told.contains(word))
            }
            _ => false,
        };
        if !right {
            wrong.push(format!("{}: {read:?}, not {expected}", case["name"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

const SCREEN: Size = Size::new(1000, 500);

/// One line for what was read: the action's kind with the box, or the error's variant.
fn shown(grammar: Grammar, answer: &str) -> String {
    match read_answer(grammar, answer, SCREEN, SCREEN) {
        Ok(action) => {
            let region = action.target().map(|it| it.region);
            let region = region.map(|it| format!(" {} {} {} {}", it.left(), it.top(), it.right(), it.bottom()));
            format!("{}{}", action.kind(), region.unwrap_or_default())
        }
        Err(error) => {
            assert_eq!(error.text(), answer);
            let name = format!("{error:?}");
            name.split([' ', '{']).next().unwrap_or_default().to_owned()
        }
    }
}

fn check(cases: &[(Grammar, &str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(grammar, answer, expected)| shown(*grammar, answer) != *expected)
        .map(|(grammar, answer, expected)| format!("{answer:?}: {}, not {expected}", shown(*grammar, answer)))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

const PIXELS: Grammar = Grammar::Qwen2_5Json;
const THOUSANDTHS: Grammar = Grammar::Qwen2Boxes;

/// Malformed answers that users of others' programs report.
#[test]
fn reported_answers_are_read() {
    check(&[
        // An object that begins as a list.
        (PIXELS, "```json\n[\n  \"bbox\": [345, 29, 391, 65],\n  \"errors\": []\n}\n```", "click 345 29 391 65"),
        // Quotes that are not escaped, before the box.
        (
            PIXELS,
            "{\"locate\": {\"prompt\": \"field \"by no./name/item\"\", \"bbox\": [\n 630,\n 312,\n 750,\n 342\n ]}}",
            "click 630 312 750 342",
        ),
        (PIXELS, "bbox_630_312_750_342 ", "click 630 312 750 342"),
        (PIXELS, "{\"description\": \"at position (50,100)\", \"bbox\": [1, 2, 3, 4]}", "click 1 2 3 4"),
        (PIXELS, "{\"description\": \"at position (50,100)\"}", "NoBox"),
        (PIXELS, "{\"bbox\": [10 20 30 40]}", "click 10 20 30 40"),
        (PIXELS, "{\"bbox\": [[10, 20], [30, 40]]}", "click 10 20 30 40"),
        (PIXELS, "{\"bbox\": [[10, 20, 30, 40]]}", "click 10 20 30 40"),
        (PIXELS, "click(start_box='[348, 333, 928, 365]')", "click 348 333 928 365"),
        (PIXELS, "click(point='<point>100 200</point>')", "click 100 200 100 200"),
        (PIXELS, "Action: click(start_box=NULL)", "absent"),
        (PIXELS, "Action: click(start_box='header')", "NoCoordinates"),
        (PIXELS, "Action: click(start_box='__import__(1)')", "NoCoordinates"),
        (PIXELS, "Action: drag(start_box='(1,2)', end_box='(3,4)')", "UnknownOperation"),
        (PIXELS, "Action: scroll(start_box='(10,20)', direction='down')", "scroll 10 20 10 20"),
        (PIXELS, "Action: left_double(start_box='(10,20)')", "double_click 10 20 10 20"),
        (PIXELS, "Action: hotkey(key='ctrl c')", "NoPlace"),
        (PIXELS, "Action: finished(content='it is done')", "end"),
        (
            THOUSANDTHS,
            "The element is located at the position (852, 92), with a bounding box of (852, 92, 981, 132).",
            "click 852 46 981 66",
        ),
        (
            THOUSANDTHS,
            "At the top right. The bounding box (bbox) is:\n\n- Top-left corner: (916, 16)\n- Bottom-right corner: (964, 44)",
            "click 916 8 964 22",
        ),
        (THOUSANDTHS, "Thoughts:\nRow (3, 4)\nActions:\nCLICK <point>[[493,544]]</point>", "click 493 272 493 272"),
        (THOUSANDTHS, "{'action': 'CLICK', 'value': None, 'position': [100, 200]}", "click 100 100 100 100"),
        // What the tokens that end an answer do not end.
        (THOUSANDTHS, "(100,200),(300,400)<|im_end|>\n<|im_start|>user\n(1,2),(3,4)", "click 100 100 300 200"),
        (THOUSANDTHS, "the save button(536,510),(588,602)", "click 536 255 588 301"),
        (PIXELS, "{\"name\": \"click\", \"arguments\": \"{\\\"x\\\": 10, \\\"y\\\": 20}\"}", "click 10 20 10 20"),
        (PIXELS, "{\\\"bbox_2d\\\": [10, 20, 30, 40]}", "click 10 20 30 40"),
    ]);
}

#[test]
fn thinking_is_not_read() {
    let boxed = "click 10 20 30 40";
    check(&[
        (PIXELS, "maybe [1, 2, 3, 4]</think>[10, 20, 30, 40]", boxed),
        (PIXELS, "<think>[1, 2, 3, 4]", "NoBox"),
        (PIXELS, "[10, 20, 30, 40]<think>or [1, 2, 3, 4]", boxed),
        (PIXELS, "Thought: [1, 2, 3, 4]", "NoBox"),
        (PIXELS, "Thought: [1, 2, 3, 4]\n[10, 20, 30, 40]", boxed),
        (PIXELS, "<thinking>\n{\"bbox_2d\": [1, 2, 3, 4]}\n</thinking>\n\n{\"bbox_2d\": [10, 20, 30, 40]}", boxed),
        (PIXELS, "{\"thought\": \"[1, 2, 3, 4]\", \"bbox_2d\": [10, 20, 30, 40]}", boxed),
        (PIXELS, "{\"reasoning\": [1, 2, 3, 4], \"bbox_2d\": [10, 20, 30, 40]}", boxed),
        (
            Grammar::CogAgent,
            "<think>CLICK(box=[[1,2,3,4]])</think>Grounded Operation: CLICK(box=[[100,200,300,400]])",
            "click 100 100 300 200",
        ),
        (Grammar::Kosmos2Cells, "<think><object><patch_index_0001><patch_index_0002></object>", "NoBox"),
        (
            Grammar::PaliGemma,
            "<loc0001><loc0002><loc0003><loc0004></think><loc0512><loc0512><loc0512><loc0512> x",
            "click 500 250 500 250",
        ),
    ]);
}

#[test]
fn the_last_place_counts_and_of_a_list_the_first() {
    check(&[
        (PIXELS, "Not [1, 2, 3, 4] but [10, 20, 30, 40].", "click 10 20 30 40"),
        (PIXELS, "[{\"bbox_2d\": [10, 20, 30, 40]}, {\"bbox_2d\": [1, 2, 3, 4]}]", "click 10 20 30 40"),
        (
            PIXELS,
            "```json\n[{\"bbox_2d\": [1, 2, 3, 4]}]\n```\nNo:\n```json\n[{\"bbox_2d\": [10, 20, 30, 40]}]\n```",
            "click 10 20 30 40",
        ),
        (PIXELS, "{\"bbox_2d\": [10, 20, 30, 40]} in row (1, 2)", "click 10 20 30 40"),
        (PIXELS, "{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"row [1, 2, 3, 4]\"}", "click 10 20 30 40"),
        (PIXELS, "{\"size\": [280, 280], \"bbox_2d\": [10, 20, 30, 40]}", "click 10 20 30 40"),
        (PIXELS, "[{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"a\"}, {\"bbox_2d\": [1, 2", "click 10 20 30 40"),
        (Grammar::InternBoxes, "<box>[[100, 200, 300, 400], [1, 2, 3, 4]]</box>", "click 100 100 300 200"),
        (Grammar::CogBoxes, "[[100,200,300,400;001,002,003,004]]", "click 100 100 300 200"),
    ]);
}

#[test]
fn answers_that_break_off_are_used_up_to_a_whole_place() {
    check(&[
        (PIXELS, "{\"bbox_2d\": [10, 20, 30, 4", "Cut"),
        (PIXELS, "[10, 20, 30, 4", "Cut"),
        (PIXELS, "{\"bbox_2d\": [10, 20], \"label\": \"a", "click 10 20 10 20"),
        (PIXELS, "{\"x\": 10, \"y\": 2", "NoBox"),
        (PIXELS, "click(start_box='(10,20)'", "click 10 20 10 20"),
        (PIXELS, "click(start_box='(10,2", "NoBox"),
        (THOUSANDTHS, "<|box_start|>(100,200),(300,400)", "click 100 100 300 200"),
        // Half a box is no point.
        (THOUSANDTHS, "<|box_start|>(100,200),(300,4", "Cut"),
        (THOUSANDTHS, "(100,200),(300,4", "Cut"),
        (
            Grammar::CogAgent,
            "Grounded Operation: CLICK(box=[[100,200,300,400]], element_type='bu",
            "click 100 100 300 200",
        ),
        // Half a text is not typed.
        (Grammar::CogAgent, "Grounded Operation: TYPE(box=[[100,200,300,400]], text='hal", "Malformed"),
        (Grammar::InternBoxes, "<ref>x</ref><box>[[100, 200, 300, 400", "Cut"),
    ]);
}

#[test]
fn what_is_not_there_is_an_answer_in_every_system() {
    for grammar in Grammar::ALL {
        for answer in [
            "There is no such button.",
            "I cannot find it: not found.",
            "The element doesn't exist on this page.",
            "None",
            "[]",
            "```json\n[]\n```",
            "{\"bbox\": null}",
            "{\"found\": false}",
            "<think>[[1,2,3,4]] is another</think>It is not visible.",
        ] {
            assert_eq!(shown(grammar, answer), "absent", "{grammar:?} {answer:?}");
        }
        for answer in ["", "noise", "Yes.", "```json\n```"] {
            let read = read_answer(grammar, answer, SCREEN, SCREEN);
            assert!(read.is_err(), "{grammar:?} {answer:?}: {read:?}");
        }
    }
    check(&[
        (PIXELS, "[-1, -1]", "absent"),
        (PIXELS, "{\"bbox_2d\": [0, 0, 0, 0]}", "absent"),
        (PIXELS, "{\"x\": null, \"y\": null}", "absent"),
        (PIXELS, "{\"bbox_2d\": \"not found\"}", "absent"),
        (PIXELS, "{\"coordinate\": [null, null]}", "absent"),
        (PIXELS, "{\"action\": \"terminate\", \"status\": \"failure\"}", "absent"),
        (PIXELS, "There is no such button in row (1, 2).", "absent"),
        (PIXELS, "It is not in the header, but at [10, 20, 30, 40].", "click 10 20 30 40"),
    ]);
}

#[test]
fn other_scales_and_other_places_are_refused() {
    let (unit, intern) = (Grammar::UnitBoxes, Grammar::InternBoxes);
    check(&[
        (THOUSANDTHS, "[100, 200, 300, 1001]", "OutOfRange"),
        (THOUSANDTHS, "(1e999, 4)", "OutOfRange"),
        (THOUSANDTHS, "(1e2, 400)", "click 100 200 100 200"),
        (THOUSANDTHS, "[0.5, 0.5]", "Fractions"),
        (THOUSANDTHS, "[-500, 20, 300, 400]", "OutOfRange"),
        (THOUSANDTHS, "[0, 0, 1, 1]", "Fractions"),
        (intern, "[-5, 20, 300, 400]", "click 0 10 300 200"),
        (PIXELS, "[0.1, 0.4, 0.3, 0.6]", "Fractions"),
        (PIXELS, "{\"bbox_2d\": [10%, 40%, 30%, 60%]}", "click 100 200 300 300"),
        (PIXELS, "[10%, 40, 30, 60]", "Mixed"),
        (PIXELS, "[10, 20, 1028, 40]", "click 10 20 1000 40"),
        (PIXELS, "[10, 20, 1029, 40]", "Outside"),
        (PIXELS, "[1001, 20, 1020, 40]", "Outside"),
        (PIXELS, "[10, 20, 30, 99999999999999999999]", "Outside"),
        (PIXELS, "{\"bbox_2d\": [NaN, 20, 30, 40]}", "NoCoordinates"),
        (PIXELS, "{\"bbox_2d\": [10, 20, 30, 40, 50]}", "Count"),
        (PIXELS, "(995987)", "NoBox"),
        (unit, "[100, 200, 300, 400]", "OutOfRange"),
        (unit, "[0.1, 0.2, 0.3, 1.5]", "OutOfRange"),
        (unit, "[10%, 40%, 30%, 160%]", "OutOfRange"),
        (unit, "see [1], [1, 2] and [0.5, 0.5, 1, 1]", "click 500 250 1000 500"),
        // Without a scale numbers are no place.
        (Grammar::Words, "[0.1, 0.4, 0.3, 0.6]", "NoBox"),
        (Grammar::PaliGemma, "[100, 200, 300, 400]", "NoBox"),
        (Grammar::Kosmos2Cells, "[100, 200, 300, 400]", "NoBox"),
    ]);
}

#[test]
fn other_forms_are_read() {
    let boxed = "click 10 20 30 40";
    check(&[
        (PIXELS, "{\"left\": 10, \"top\": 20, \"right\": 30, \"bottom\": 40}", boxed),
        (PIXELS, "{\"x\": 10, \"y\": 20, \"width\": 20, \"height\": 20}", boxed),
        (PIXELS, "{\"x0\": 10, \"y0\": 20, \"x1\": 30, \"y1\": 40}", boxed),
        (PIXELS, "{'bbox_2d': (10, 20, 30, 40)}", boxed),
        (PIXELS, "{bbox_2d: [10, 20, 30, 40]}", boxed),
        (PIXELS, "{“bbox_2d”: [10, 20, 30, 40]}", boxed),
        (PIXELS, "{\"bbox_2d\": [10px, 20px, 30px, 40px]}", boxed),
        (PIXELS, "{\"bbox_2d\": [+10, 20., 30, 40.0]}", boxed),
        (PIXELS, "{\"bbox_2d\": [１０， ２０， ３０， ４０]}", boxed),
        (PIXELS, "bbox_2d: [10, 20, 30, 40]", boxed),
        (PIXELS, "10, 20, 30, 40", boxed),
        (PIXELS, "<box>10 20 30 40</box>", boxed),
        (PIXELS, "{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"a\",}", boxed),
        (PIXELS, "{\"bbox_2d\": [10, 20, 30, 40] \"label\": \"a\"}", boxed),
        (PIXELS, "{\"bbox_2d\": [10, 20, 30, 40]", boxed),
        (PIXELS, "{\"elements\": [{\"name\": \"a\", \"bbox_2d\": [10, 20, 30, 40]}]}", boxed),
        (PIXELS, "from (10, 20) to (30, 40)", boxed),
        (PIXELS, "左上角(10,20)，右下角(30,40)", boxed),
        (PIXELS, "x1: 10, y1: 20, x2: 30, y2: 40", boxed),
        (PIXELS, "<box><x1>10</x1><y1>20</y1><x2>30</x2><y2>40</y2></box>", boxed),
        (PIXELS, "{\"answer\": [10, 20, 30, 40]}", boxed),
        (PIXELS, "{\"label\": \"Save, \"bbox_2d\": [10, 20, 30, 40]}", boxed),
        (PIXELS, "Thought: it is there. Action: click(start_box='(10,20)')", "click 10 20 10 20"),
        (
            PIXELS,
            "<tool_call>\n<function=click>\n<parameter=x>10</parameter>\n<parameter=y>20</parameter>\n</function>",
            "click 10 20 10 20",
        ),
        (PIXELS, "x=10, y=20", "click 10 20 10 20"),
        (PIXELS, "{\"point\": {\"x\": 10, \"y\": 20}}", "click 10 20 10 20"),
        (PIXELS, "{\"point_2d\": [10, 20]}", "click 10 20 10 20"),
        (PIXELS, "pyautogui.moveTo(10, 20)\npyautogui.click()", "click 10 20 10 20"),
        (PIXELS, "pyautogui.rightClick(10, 20)", "right_click 10 20 10 20"),
        (PIXELS, "pyautogui.click(x=0.5, y=0.5)", "click 500 250 500 250"),
        (PIXELS, "{\"action\": \"type\", \"text\": \"a\", \"coordinate\": [10, 20]}", "type 10 20 10 20"),
        (PIXELS, "{\"action\": \"type\", \"coordinate\": [10, 20]}", "Argument"),
        (PIXELS, "{\"action\": \"mouse_move\", \"coordinate\": [10, 20]}", "hover 10 20 10 20"),
        (PIXELS, "{\"action\": \"Click the button\", \"bbox\": [10, 20, 30, 40]}", boxed),
        (PIXELS, "{\"action\": \"left_click_drag\", \"coordinate\": [10, 20]}", "UnknownOperation"),
        (PIXELS, "{\"action\": \"key\", \"keys\": [\"ctrl\"]}", "NoPlace"),
        (Grammar::CogAgent, "[[100,200,300,400]]", "click 100 100 300 200"),
        (Grammar::CogAgentSteps, "[[100,200,300,400]]", "click 100 100 300 200"),
    ]);
}

#[test]
fn names_are_kept() {
    let named = |grammar, answer: &str| {
        let action = read_answer(grammar, answer, SCREEN, SCREEN).unwrap();
        action.target().and_then(|target| target.element_info.clone()).unwrap_or_default()
    };
    assert_eq!(named(PIXELS, "[{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"Save \\\"it\\\"\"}]"), "Save \"it\"");
    assert_eq!(named(Grammar::InternBoxes, "<ref>Save</ref><box>[[1,2,3,4]]</box>"), "Save");
    let qwen = "<|object_ref_start|>Save<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>";
    assert_eq!(named(THOUSANDTHS, qwen), "Save");
}

/// The middle of a 1920x1080 screen, which the tower saw as 1932x1092.
#[test]
fn a_known_target() {
    let (original, resized) = (Size::new(1920, 1080), Size::new(1932, 1092));
    for (grammar, answer) in [
        (PIXELS, "[{\"bbox_2d\": [483, 273, 1449, 819]}]"),
        (THOUSANDTHS, "(250,250),(750,750)"),
        (Grammar::UnitBoxes, "[0.25, 0.25, 0.75, 0.75]"),
        (Grammar::InternBoxes, "<box>[[250, 250, 750, 750]]</box>"),
        (Grammar::CogBoxes, "[[250,250,750,750]]"),
    ] {
        let centre = read_answer(grammar, answer, original, resized).unwrap().click_point().unwrap();
        assert_eq!((centre.x, centre.y), (960.0, 540.0), "{answer}");
    }
}

proptest! {
    #[test]
    fn printed_boxes_come_back(c in prop::array::uniform4(2u16..1000), label in "\\PC{0,12}") {
        let size = Size::new(1000, 1000);
        let [x0, y0, x1, y1] = c.map(f32::from);
        let expected = PixelBox::new(x0, y0, x1, y1);
        let answer = json!([{ "bbox_2d": c, "label": label }]);
        let list = format!("[{}, {}, {}, {}]", c[0], c[1], c[2], c[3]);
        let [a, b, c, d] = c;
        let tags = format!("<|box_start|>({a},{b}),({c},{d})<|box_end|>");
        for text in [format!("```json\n{answer}\n```"), answer.to_string(), list.clone(), tags, format!("at {list}.")] {
            let action = read_answer(PIXELS, &text, size, size).map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
            prop_assert_eq!(action.target().unwrap().region, expected, "{}", text);
        }
    }
}
