use std::collections::BTreeSet;

use fovea_engine::{testing::golden, text::Tokenizer};
use proptest::prelude::*;

use super::*;
use crate::{
    grounding::{Action, CogAgentAnswer, GroundingError, Normalised1000, PixelBox, testing::actions},
    image::Size,
};

/// A vocabulary of bytes with phrases, and one of real merges.
fn tokenizers() -> Vec<(&'static str, Arc<Tokenizer>, u32)> {
    let nano = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/nano/tokenizer.json")).unwrap();
    let files = [("nano", nano), ("qwen2_5_vl", golden::bytes("qwen2_5_vl/tokenizer.json"))];
    let opened = files.into_iter().map(|(name, file)| {
        let tokenizer = Tokenizer::from_tokenizer_json(&file).unwrap();
        let stop = tokenizer.required_id("<|im_end|>").unwrap();
        (name, Arc::new(tokenizer), stop)
    });
    opened.collect()
}

fn constrainer(tokenizer: &Arc<Tokenizer>, stop: u32) -> Constrainer {
    let size = tokenizer.token_bytes().len();
    Constrainer::new(tokenizer, size, &[stop]).unwrap()
}

fn is_set(words: &[u32], id: u32) -> bool {
    words[id as usize / 32] >> (id % 32) & 1 == 1
}

/// Whether every token of `text` is allowed where it stands, and the answer may end behind it.
fn follows(constrainer: &Constrainer, constraint: &Constraint, tokenizer: &Tokenizer, text: &str) -> bool {
    let mut matcher = constrainer.begin(constraint).unwrap();
    for id in tokenizer.encode(text).unwrap() {
        if matcher.is_finished() || !is_set(&matcher.allowed().unwrap(), id) {
            return false;
        }
        matcher.accept(id).unwrap();
    }
    matcher.may_end()
}

/// An answer of tokens that are drawn among those allowed, forced ones taken as they come.
fn drawn(constrainer: &Constrainer, constraint: &Constraint, tokenizer: &Tokenizer, stop: u32, seed: u64) -> String {
    drawn_behind("", constrainer, constraint, tokenizer, stop, seed)
}

/// The same behind a beginning.
fn drawn_behind(
    beginning: &str,
    constrainer: &Constrainer,
    constraint: &Constraint,
    tokenizer: &Tokenizer,
    stop: u32,
    seed: u64,
) -> String {
    let mut matcher = constrainer.begin(constraint).unwrap();
    let (mut ids, mut state) = (tokenizer.encode(beginning).unwrap(), seed | 1);
    for &id in &ids {
        matcher.accept(id).unwrap();
    }
    while ids.len() < 6000 {
        ids.extend(matcher.forced().unwrap());
        if matcher.is_finished() {
            break;
        }
        let words = matcher.allowed().unwrap();
        let allowed: Vec<u32> = (0..32 * words.len() as u32).filter(|&id| is_set(&words, id)).collect();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = allowed[(state >> 33) as usize % allowed.len()];
        // Words could go on for long: an end that is allowed is taken now and then.
        let id = if matcher.may_end() || id == stop { stop } else { id };
        matcher.accept(id).unwrap();
        if id == stop {
            break;
        }
        ids.push(id);
    }
    tokenizer.decode_with_special(&ids).unwrap()
}

/// Three digits a coordinate and three for steps, at least one key: what models were trained on.
fn is_usual(action: &Action<Normalised1000>) -> bool {
    let usual = match action {
        Action::Scroll { steps, .. } => (1..1000).contains(steps),
        Action::Gesture(keys) => !keys.is_empty(),
        // CogAgent-18B's alone.
        Action::Select { .. } => false,
        _ => true,
    };
    usual && action.target().is_none_or(|target| target.region.corners().iter().all(|&corner| corner < 1000))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the printer prints is allowed.
    #[test]
    fn every_action_follows_the_grammar(action in actions().prop_filter("usual", is_usual), sensitive: bool) {
        let format = if sensitive { AnswerFormat::StatusActionOpSensitive } else { AnswerFormat::ActionOp };
        let answer = CogAgentAnswer {
            status: sensitive.then(|| "The page is open.".to_owned()),
            plan: None,
            action: Some("Do the next thing.".to_owned()),
            operation: action,
            sensitivity: sensitive.then_some(crate::grounding::Sensitivity::Sensitive),
            end: false,
        };
        for (name, tokenizer, stop) in tokenizers() {
            let constrainer = constrainer(&tokenizer, stop);
            let text = answer.to_string();
            prop_assert!(follows(&constrainer, &Constraint::CogAgent(format), &tokenizer, &text), "{name}: {text}");
            let alone = format!("Grounded Operation: {}", answer.operation);
            let grounding = Constraint::Grounding(Grammar::CogAgent);
            let follows = sensitive || follows(&constrainer, &grounding, &tokenizer, &alone);
            prop_assert!(follows, "{name}: {alone}");
        }
    }

}

/// What a drawn answer types.
fn typed(constrainer: &Constrainer, instruction: &str, tokenizer: &Tokenizer, stop: u32, seed: u64) -> String {
    let constraint = Constraint::Quoting(Grammar::CogAgent, instruction.to_owned());
    let beginning = "Grounded Operation: TYPE(box=[[001,002,003,004]], text='";
    let text = drawn_behind(beginning, constrainer, &constraint, tokenizer, stop, seed);
    match text.parse::<CogAgentAnswer>().unwrap_or_else(|error| panic!("{error}: {text:?}")).operation {
        Action::Type { text, .. } => text,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_typed_is_quoted_from_the_instruction() {
    let cases: [(&str, &[&str], &[&str]); 8] = [
        ("anna@example.org goes to Email", &["anna@example.org", "goes", "example", ""], &["ann", "to  Email", "x"]),
        ("type anna smith into Email", &["anna smith"], &["anna", "smith", "Email", ""]),
        ("fill Note with it's 5.", &[r"it\'s 5.", r"it\'s 5"], &[r"it\'s", "Note", ""]),
        (r#"type "see you at 5" into Note"#, &["see you at 5"], &["see you", "Note", ""]),
        ("type don't into Note", &[r"don\'t"], &["dont"]),
        ("don't into Note", &["don't"], &["dont"]),
        (r#"type "don't \ do" into Note"#, &[r"don\'t \\ do"], &["do"]),
        ("", &[""], &["a"]),
    ];
    for (name, tokenizer, stop) in tokenizers() {
        let constrainer = constrainer(&tokenizer, stop);
        for (instruction, may, may_not) in cases {
            let constraint = Constraint::Quoting(Grammar::CogAgent, instruction.to_owned());
            let follows = |text: &&str| {
                let answer = format!("Grounded Operation: TYPE(box=[[001,002,003,004]], text='{text}')");
                follows(&constrainer, &constraint, &tokenizer, &answer)
            };
            assert_eq!(may.iter().copied().filter(follows).collect::<Vec<_>>(), may, "{name}: {instruction}");
            assert_eq!(may_not.iter().copied().find(follows), None, "{name}: {instruction}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever the instruction, what is typed is a part of it.
    #[test]
    fn any_instruction_can_be_quoted(instruction in "[a-z'\"\\\\“” ,)(%{}\n0-9é]{0,60}", seed: u64) {
        for (name, tokenizer, stop) in tokenizers() {
            let constrainer = constrainer(&tokenizer, stop);
            let text = typed(&constrainer, &instruction, &tokenizer, stop, seed);
            prop_assert!(instruction.contains(&text), "{name}: {text:?} of {instruction:?}");
        }
    }
}

proptest! {
    // Each draws some thousand tokens, whose masks take a while without optimisation.
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Whatever the grammar allows, the parser reads, if it is about this picture.
    #[test]
    fn every_answer_is_read(seed: u64) {
        let size = Size::new(1280, 800);
        for (name, tokenizer, stop) in tokenizers() {
            let constrainer = constrainer(&tokenizer, stop);
            for format in AnswerFormat::ALL {
                let text = drawn(&constrainer, &Constraint::CogAgent(format), &tokenizer, stop, seed);
                let answer: CogAgentAnswer = text.parse().map_err(|e| TestCaseError::fail(format!("{name}: {e}: {text:?}")))?;
                let [status, plan, sensitive] = format.lines();
                let lines = [answer.status.is_some(), answer.plan.is_some(), answer.sensitivity.is_some()];
                prop_assert_eq!(lines, [status, plan, sensitive], "{}: {}", name, text);
            }
            for grammar in [Grammar::CogAgent, Grammar::CogAgentSteps, Grammar::CogBoxes, Grammar::Qwen2_5Json] {
                let text = drawn(&constrainer, &Constraint::Grounding(grammar), &tokenizer, stop, seed);
                let read = crate::grounding::read_answer(grammar, &text, size, size);
                prop_assert!(is_read(&read), "{name}: {grammar:?}: {text:?}: {read:?}");
            }
        }
    }
}

/// Whether an answer is well-formed: what lies outside the picture is refused, whatever it is written in, and so is what is
/// smaller than its scale.
fn is_read(read: &Result<Action<PixelBox>, GroundingError>) -> bool {
    read.as_ref().err().is_none_or(GroundingError::is_refusal)
}

/// The tokenizers of the fixtures, for grammars that ask for marks of their own.
fn of_fixture(model: &str, end: &str) -> (Arc<Tokenizer>, u32) {
    let file = golden::bytes(&format!("{model}/tokenizer.json"));
    let tokenizer = Tokenizer::from_tokenizer_json(&file).unwrap();
    let stop = tokenizer.required_id(end).unwrap();
    (Arc::new(tokenizer), stop)
}

#[test]
fn boxes_between_marks_are_followed_and_read() {
    let size = Size::new(1280, 800);
    let cases = [
        (Grammar::InternBoxes, "internvl", "<|im_end|>", "<ref>the button</ref><box>[[1, 20, 300, 1000]]</box>"),
        (Grammar::PaliGemma, "paligemma", "<eos>", "<loc0001><loc0200><loc0300><loc1023> the button"),
        (Grammar::UnitBoxes, "llava", "</s>", "[0.12, 0.3, 0.5, 1.0]"),
    ];
    for (grammar, model, end, text) in cases {
        let (tokenizer, stop) = of_fixture(model, end);
        let constrainer = constrainer(&tokenizer, stop);
        let constraint = Constraint::Grounding(grammar);
        assert!(grammar == Grammar::UnitBoxes || follows(&constrainer, &constraint, &tokenizer, text), "{text}");
        for seed in 0..6 {
            let text = drawn(&constrainer, &constraint, &tokenizer, stop, seed);
            let read = crate::grounding::read_answer(grammar, &text, size, size);
            assert!(is_read(&read), "{grammar:?}: {text:?}: {read:?}");
        }
    }
    // A vocabulary without such tokens.
    let (tokenizer, stop) = of_fixture("llava", "</s>");
    for grammar in [Grammar::InternBoxes, Grammar::PaliGemma] {
        let refused = constrainer(&tokenizer, stop).begin(&Constraint::Grounding(grammar));
        assert!(matches!(refused, Err(ConstraintError::Grammar(_))), "{grammar:?}");
    }
    // The tokenizer of Kosmos-2's fixture has no backtick, with which Qwen2.5-VL's answers begin.
    let (tokenizer, stop) = of_fixture("kosmos2", "</s>");
    let refused = constrainer(&tokenizer, stop).begin(&Constraint::Grounding(Grammar::Qwen2_5Json));
    let Err(ConstraintError::Grammar(told)) = refused else { panic!("{refused:?}") };
    assert!(told.contains('`') && !told.contains("state"), "{told}");
    // Nor has it line breaks, which come late in the Cog models' answers.
    for grammar in [Grammar::CogAgent, Grammar::CogAgentSteps] {
        let refused = constrainer(&tokenizer, stop).begin(&Constraint::Grounding(grammar));
        assert!(matches!(&refused, Err(ConstraintError::Grammar(told)) if told.contains("line break")), "{refused:?}");
    }
}

/// A model may say that what it is asked for is not there: nobody makes it invent a place.
#[test]
fn qwen_s_lists_have_one_place_or_none() {
    let size = Size::new(1280, 800);
    for (name, tokenizer, stop) in tokenizers() {
        let constrainer = constrainer(&tokenizer, stop);
        let constraint = Constraint::Grounding(Grammar::Qwen2_5Json);
        let none = "```json\n[]\n```";
        let one = "```json\n[\n\t{\"bbox_2d\": [1, 20, 300, 400], \"label\": \"Save\"}\n]\n```";
        for text in [none, one] {
            assert!(follows(&constrainer, &constraint, &tokenizer, text), "{name}: {text}");
        }
        let read = crate::grounding::read_answer(Grammar::Qwen2_5Json, none, size, size);
        assert_eq!(read, Ok(Action::Absent));
        for text in ["```json\n[\n]\n```", "```json\n[]", "[]", "```json\n[]\n```\n```json", "```json\n[[]]\n```"] {
            assert!(!follows(&constrainer, &constraint, &tokenizer, text), "{name}: {text}");
        }
    }
}

#[test]
fn steps_follow_their_grammar() {
    for (name, tokenizer, stop) in tokenizers() {
        let constrainer = constrainer(&tokenizer, stop);
        for answer in [
            "Plan: 1. Type 'CogVLM' into the bar. 2. Press it.\nNext Action: Type 'CogVLM'.\n\
                Grounded Operation:[combobox] Search -> TYPE: CogVLM at the box [[212,498,787,564]]",
            "Grounded Operation:-> CLICK at the box [[001,002,003,004]]",
            "Grounded Operation:[link] Sign in -> CLICK at the box [[001,002,003,004]]",
            "Next Action: Choose.\nGrounded Operation:Size -> SELECT: a, at the [b] at the box [[001,002,003,004]]",
        ] {
            let steps = Constraint::Grounding(Grammar::CogAgentSteps);
            assert!(follows(&constrainer, &steps, &tokenizer, answer), "{name}: {answer}");
        }
    }
}

#[test]
fn cells_are_tokens() {
    let file = golden::bytes("kosmos2/tokenizer.json");
    let tokenizer = Arc::new(Tokenizer::from_tokenizer_json(&file).unwrap());
    let stop = tokenizer.required_id("</s>").unwrap();
    let constrainer = constrainer(&tokenizer, stop);
    let cells = Constraint::Grounding(Grammar::Kosmos2Cells);
    let size = Size::new(1280, 800);
    for seed in 0..40 {
        let text = drawn(&constrainer, &cells, &tokenizer, stop, seed);
        let read = crate::grounding::read_answer(Grammar::Kosmos2Cells, &text, size, size);
        assert!(read.is_ok(), "{text:?}: {read:?}");
    }
    let one = "<object><patch_index_0044><patch_index_0863></object>";
    let several = "<object><patch_index_0044><patch_index_0863></delimiter_of_multi_objects/><patch_index_0001>\
        <patch_index_0002></object>";
    assert!(follows(&constrainer, &cells, &tokenizer, one) && follows(&constrainer, &cells, &tokenizer, several));
    assert!(!follows(&constrainer, &cells, &tokenizer, "<object><patch_index_0044></object>"));
}

/// The tokens of an answer and how many of them are forced, if the model writes just this.
fn cost(constrainer: &Constrainer, constraint: &Constraint, tokenizer: &Tokenizer, text: &str) -> (usize, usize) {
    let mut matcher = constrainer.begin(constraint).unwrap();
    let (mut ids, mut forced) = (Vec::new(), 0);
    loop {
        let more = matcher.forced().unwrap();
        forced += more.len();
        ids.extend(more);
        let so_far = tokenizer.decode(&ids).unwrap();
        let rest = text.strip_prefix(&so_far).unwrap_or_else(|| panic!("{so_far:?} is forced, not {text:?}"));
        if matcher.is_finished() || rest.is_empty() {
            return (ids.len(), forced);
        }
        let id = tokenizer.encode(rest).unwrap()[0];
        matcher.accept(id).unwrap();
        ids.push(id);
    }
}

/// What a typical answer costs: the words are the model's, the protocol around them is not.
#[test]
fn a_click_takes_fewer_steps_than_it_has_tokens() {
    let click = "CLICK(box=[[352,102,786,139]], element_type='button', element_info='Search')";
    for (name, tokenizer, stop) in tokenizers() {
        let constrainer = constrainer(&tokenizer, stop);
        for (format, text, most) in [
            (AnswerFormat::ActionOp, format!("Action: Click Search.\nGrounded Operation: {click}"), 0.8),
            (
                AnswerFormat::StatusPlanActionOpSensitive,
                format!(
                    "Status: The page is open.\nPlan: Search.\nAction: Click Search.\nGrounded Operation: {click}\n\
                        <<一般操作>>"
                ),
                0.8,
            ),
        ] {
            let (tokens, forced) = cost(&constrainer, &Constraint::CogAgent(format), &tokenizer, &text);
            println!("{name} {}: {tokens} tokens, {forced} of them forced", format.key());
            assert!(((tokens - forced) as f64) < most * tokens as f64, "{name}: {forced} of {tokens}");
        }
    }
}

#[test]
fn forced_tokens_are_those_of_the_tokenizer() {
    for (name, tokenizer, stop) in tokenizers() {
        let constrainer = constrainer(&tokenizer, stop);
        let mut matcher = constrainer
            .begin(&Constraint::Ebnf("start: \"Grounded Operation: CLICK(\" /[0-9]/ \")\"".to_owned()))
            .unwrap();
        let forced = matcher.forced().unwrap();
        let text = tokenizer.decode(&forced).unwrap();
        // The last ones may be held back, for a longer token could take their place.
        assert!("Grounded Operation: CLICK(".starts_with(&text) && text.len() > 12, "{name}: {text:?}");
        assert_eq!(forced, tokenizer.encode(&text).unwrap(), "{name}");
    }
}

#[test]
fn schemas_and_expressions_are_followed() {
    for (name, tokenizer, stop) in tokenizers() {
        let constrainer = constrainer(&tokenizer, stop);
        let schema = serde_json::json!({
            "type": "object",
            "properties": { "x": { "type": "integer", "minimum": 0, "maximum": 9 }, "ok": { "type": "boolean" } },
            "required": ["x", "ok"],
            "additionalProperties": false,
        });
        let mut seen = BTreeSet::new();
        for seed in 0..8 {
            let text = drawn(&constrainer, &Constraint::JsonSchema(schema.clone()), &tokenizer, stop, seed);
            let value: serde_json::Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}: {text}"));
            assert!(value["x"].as_u64().is_some_and(|x| x < 10) && value["ok"].is_boolean(), "{name}: {text}");
            seen.insert(text);
        }
        assert!(seen.len() > 1, "{name}: {seen:?}");
        let text = drawn(&constrainer, &Constraint::Regex("(ab|cd){3}".to_owned()), &tokenizer, stop, 5);
        assert!(text.len() == 6 && text.trim_start_matches(['a', 'b', 'c', 'd']).is_empty(), "{name}: {text}");
    }
}

#[test]
fn grammars_that_make_no_sense_are_refused() {
    let (_, tokenizer, stop) = tokenizers().remove(0);
    let constrainer = constrainer(&tokenizer, stop);
    for constraint in [
        Constraint::Regex("(".to_owned()),
        Constraint::Ebnf("start: nothing_there".to_owned()),
        Constraint::JsonSchema(serde_json::json!({ "type": "no type" })),
        // nano has no such marks.
        Constraint::Grounding(Grammar::Qwen2Boxes),
        Constraint::Grounding(Grammar::Kosmos2Cells),
    ] {
        let error = constrainer.begin(&constraint).map(|_| ()).unwrap_err();
        assert!(matches!(error, ConstraintError::Grammar(_)), "{constraint:?}: {error}");
    }
    assert!(Constrainer::new(&tokenizer, 8, &[stop]).is_err());
}
