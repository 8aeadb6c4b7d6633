//! Whatever a model answers and whatever grammar is asked for: an answer or an error, soon, and never a panic.
//!
//! `FOVEA_FUZZ_CASES=1000000 cargo nextest run --release -p fovea-models --test fuzz` goes on for long.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use fovea_engine::{
    testing::golden,
    text::{ChatTemplate, Message, Part, Script, Tokenizer},
};
use fovea_models::{
    Grammar,
    constraint::{Constrainer, Constraint},
    grounding::{Action, CogAgentAnswer, Normalised1000, read_answer},
    image::Size,
};
use proptest::prelude::*;

/// Bytes of an answer that is longer than any model's.
const LONG: usize = 40_000;

/// Without `FOVEA_FUZZ_CASES`.
const CASES: u32 = 400;

fn cases(few: u32) -> ProptestConfig {
    let wanted = std::env::var("FOVEA_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: wanted.unwrap_or(few), failure_persistence: None, ..Default::default() }
}

/// Answers as models print them, of every protocol.
const ANSWERS: [&str; 16] = [
    "Status: The page [[ 1, 2, 3, 4 ]] is open.\nPlan: 1. Search.\n2. Open.\nAction: Click the box.\nGrounded Operation: \
        CLICK(box=[[352,102,786,139]], element_type='input', element_info='Search')\n<<一般操作>>",
    "Action: Type.\nGrounded Operation: TYPE(box=[[001,002,003,004]], text='it\\'s, \"well\"', element_info=\"a\")",
    "Grounded Operation: GESTURE(actions=[KEY_DOWN(key='Lcontrol'), KEY_PRESS(key='A'), KEY_UP(key='Lcontrol')])",
    "Grounded Operation:SCROLL_DOWN(box=[[1,2,3,4]], step_count=5)\n<<敏感操作>>\n<<END>>",
    "Plan: 1. Type.\nNext Action: Type.\nGrounded Operation:[combobox] Search -> TYPE: CogVLM at the box \
        [[212,498,787,564]]",
    "The button [[010,020,300,400]] is beside [[1,2,3,4;5,6,7,8]].",
    "<|object_ref_start|>the menu<|object_ref_end|><|box_start|>(250,250),(500,300)<|box_end|>",
    "```json\n[\n\t{\"bbox_2d\": [160, 100, 320, 120], \"label\": \"but\\\"ton\"}\n]\n```",
    "<phrase>a snowman</phrase><object><patch_index_0044><patch_index_0863></delimiter_of_multi_objects/>\
        <patch_index_0001><patch_index_0002></object>",
    "It is at [0.25, 0.25, 0.5, 0.3].",
    "<think>The logo is at [1, 2, 3, 4].</think>\n<answer>{'bbox': {'x1': 10, 'y1': 20, 'x2': '30', 'y2': 40.5}}</answer>",
    "Thought: see (1).\nAction: click(start_box='<|box_start|>(100,200)<|box_end|>')",
    "<tool_call>\n{\"name\": \"computer_use\", \"arguments\": {\"action\": \"left_click\", \"coordinate\": [10, 20]}}\n</tool_call>",
    "pyautogui.moveTo(x=0.1, y=0.4)\npyautogui.click()",
    "［10%，20%，30%，40%］ <points x1=\"10\" y1=\"20\" alt=\"a\">a</points>",
    "{\"name\": \"click\", \"arguments\": \"{\\\"x\\\": 10, \\\"y\\\": \\\"20\\\"}\", \"found\": false}",
];

fn read_by_all(text: &str) {
    let (original, resized) = (Size::new(1280, 800), Size::new(644, 392));
    for grammar in Grammar::ALL {
        match read_answer(grammar, text, original, resized) {
            Ok(action) => drop(action.to_json()),
            Err(error) => {
                assert_eq!(error.text(), text, "{grammar:?}");
                assert!(error.to_string().len() < 4000, "{grammar:?}: the message shows the beginning");
            }
        }
    }
    if let Ok(answer) = text.parse::<CogAgentAnswer>() {
        // What was read can be printed and read again.
        let printed = answer.operation.to_string();
        assert_eq!(printed.parse::<Action<Normalised1000>>().as_ref(), Ok(&answer.operation), "{printed}");
    }
}

/// One change of an answer's bytes.
#[derive(Clone, Debug)]
enum Edit {
    Delete(usize, usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize, usize),
    Truncate(usize),
}

fn edits() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>().prop_map(|index| index.index(4096));
    let syntax = prop::sample::select(vec![
        "[",
        "]",
        "(",
        ")",
        "'",
        "\"",
        "\\",
        ",",
        ";",
        "->",
        ":",
        "\n",
        "box=",
        "<object>",
        "</object>",
        "<patch_index_",
        "Grounded Operation:",
        "END",
        "<<",
        "KEY_UP(",
        "at the box",
        "1e999",
        "99999999999999999999",
        "\u{0}",
        "é",
        "［",
        "<think>",
        "</think>",
        "{\"",
        "\": ",
        "null",
        "bbox_",
        "-",
        "%",
        "</",
    ]);
    let bytes =
        prop_oneof![syntax.prop_map(|text| text.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..6),];
    prop_oneof![
        (at.clone(), 1usize..12).prop_map(|(at, count)| Edit::Delete(at, count)),
        (at.clone(), bytes).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at.clone(), 1usize..24, 2usize..40).prop_map(|(at, count, times)| Edit::Repeat(at, count, times)),
        at.prop_map(Edit::Truncate),
    ]
}

fn edited(answer: &str, edits: &[Edit]) -> String {
    let mut bytes = answer.as_bytes().to_vec();
    for edit in edits {
        let place = |at: usize| at % (bytes.len() + 1);
        match edit {
            Edit::Delete(at, count) => {
                let at = place(*at);
                bytes.drain(at..(at + count).min(bytes.len()));
            }
            Edit::Insert(at, more) => {
                let at = place(*at);
                bytes.splice(at..at, more.iter().copied());
            }
            Edit::Repeat(at, count, times) => {
                let at = place(*at);
                let again = bytes[at..(at + count).min(bytes.len())].repeat(*times);
                bytes.splice(at..at, again);
            }
            Edit::Truncate(at) => {
                let at = place(*at);
                bytes.truncate(at);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #![proptest_config(cases(CASES))]

    #[test]
    fn arbitrary_bytes_are_handled(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_by_all(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn changed_answers_are_handled(answer in prop::sample::select(&ANSWERS[..]), edits in prop::collection::vec(edits(), 1..8)) {
        read_by_all(&edited(answer, &edits));
    }
}

/// Long answers of one piece over and over: neither deep recursion nor time that grows with the square of the length.
#[test]
fn long_answers_are_read_soon() {
    let pieces = [
        "[",
        "[[",
        "[[1,",
        "(",
        "'",
        "\"",
        "\\",
        " ",
        "\n",
        ",",
        "->",
        "{",
        "[{",
        "{\"a\":",
        "Grounded Operation:",
        "END",
        "Status:",
        "GESTURE(actions=[",
        "KEY_UP(key=[",
        "KEY_UP(x=[KEY_UP(",
        "CLICK(box=[[1,2,3,4]], ",
        "a=",
        "at the box",
        "<object>",
        "<phrase>",
        "<patch_index_0001>",
        "<object><patch_index_0001>",
        "<|box_start|>",
        "(1,2),",
        "```json",
        "\u{feff}",
        "9",
        "0.",
        "<<",
        "敏感操作",
        "1;",
        "<think>",
        "</think>",
        "<a",
        "</box>",
        "<box>",
        "</x>1",
        "\"\n",
        "{\"a\":\"",
        "\":\"",
        "\\\"",
        "f(",
        "f(1,",
        "click(x=",
        "[1,2],",
        "[1,2] ",
        "Thought: ",
        "Action:",
        "-",
        "%",
        "1 ",
        "a:",
        "null,",
        "not found ",
        "［",
        "bbox_1_2_3_4 ",
    ];
    let befores = [
        "{\"bbox\": [1, ",
        "Grounded Operation: ",
        "Grounded Operation: GESTURE(actions=[",
        "Grounded Operation: TYPE(text='",
    ];
    for (at, piece) in pieces.into_iter().enumerate() {
        for before in ["", befores[at % befores.len()]] {
            let text = before.to_owned() + &piece.repeat(LONG / piece.len());
            let start = Instant::now();
            read_by_all(&text);
            let took = start.elapsed();
            assert!(took < Duration::from_secs(20), "{before:?} and then {piece:?} without end: {took:?}");
        }
    }
}

fn constrainer() -> &'static Constrainer {
    static CONSTRAINER: OnceLock<Constrainer> = OnceLock::new();
    CONSTRAINER.get_or_init(|| {
        let file = golden::bytes("qwen2_5_vl/tokenizer.json");
        let tokenizer = Arc::new(Tokenizer::from_tokenizer_json(&file).expect("a tokenizer"));
        let stop = tokenizer.required_id("<|im_end|>").expect("a stop token");
        Constrainer::new(&tokenizer, tokenizer.token_bytes().len(), &[stop]).expect("a constrainer")
    })
}

/// Begins an answer and goes on for a few tokens, the first that is allowed each time.
fn follow(constraint: &Constraint) {
    let Ok(mut matcher) = constrainer().begin(constraint) else { return };
    for _ in 0..6 {
        if matcher.is_finished() || matcher.forced().is_err() || matcher.is_finished() {
            return;
        }
        let Ok(words) = matcher.allowed() else { return };
        let first = words.iter().position(|&word| word != 0).expect("a token");
        let id = 32 * first as u32 + words[first].trailing_zeros();
        if matcher.accept(id).is_err() {
            return;
        }
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let words =
        prop::sample::select(vec!["string", "object", "integer", "array", "null", "a", "^a+$", "#", "#/$defs/a"]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        words.prop_map(Into::into),
    ];
    let keys = prop::sample::select(vec![
        "type",
        "properties",
        "items",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "minimum",
        "maxLength",
        "minItems",
        "pattern",
        "required",
        "additionalProperties",
        "format",
        "multipleOf",
        "not",
        "prefixItems",
        "a",
    ]);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((keys.clone(), inner), 0..4).prop_map(|fields| {
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(cases(CASES / 4))]

    #[test]
    fn arbitrary_expressions_are_followed_or_refused(
        text in prop_oneof!["(\\(|\\)|\\[|\\]|\\{[0-9]{1,6},?\\}|\\*|\\+|\\?|\\||\\\\[a-zA-Z]|[a-c]|\\.|\\^|\\$|-){0,16}", "\\PC{0,30}"],
    ) {
        follow(&Constraint::Regex(text));
    }

    #[test]
    fn arbitrary_grammars_are_followed_or_refused(
        text in "(start: |a: |A: |\"[a-c]{0,3}\"|/[a-c.*+]{0,4}/|\\(|\\)|\\||\\?|\\*|\\+|\\{[0-9]{1,3}\\}|\n|%json \\{\\}|\\[lazy\\]|<[0-9]{1,4}>| ){0,16}",
    ) {
        follow(&Constraint::Ebnf(text));
    }

    #[test]
    fn arbitrary_schemas_are_followed_or_refused(schema in json()) {
        follow(&Constraint::JsonSchema(schema));
    }
}

/// JSON whose keys and words are those of conversations.
fn json_of_messages() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let words = prop::sample::select(vec![
        "role",
        "content",
        "type",
        "text",
        "image",
        "image_url",
        "url",
        "user",
        "assistant",
        "tool",
        "tool_calls",
        "function",
        "name",
        "marks",
        "data:image/png;base64,AQI=",
        "data:,",
        "https://a",
        "<|im_end|>",
        "<box>",
    ]);
    let words = words.prop_map(str::to_owned).boxed();
    let leaf = prop_oneof![
        3 => words.clone().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<i64>().prop_map(Value::from),
        1 => ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((words.clone(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(cases(CASES))]

    /// Any JSON is a conversation or an error that names a field.
    #[test]
    fn any_json_is_messages_or_an_error(mut value in json_of_messages(), as_turn in any::<bool>()) {
        if as_turn {
            value = serde_json::json!([{"role": "user", "content": value}]);
        }
        match Message::read_all("messages", &value) {
            Ok(messages) => prop_assert!(!messages.is_empty()),
            Err(error) => {
                let text = error.to_string();
                prop_assert!(text.starts_with("messages") && text.len() < 500, "{}", text);
            }
        }
    }

    /// Any template is an error or writes something, soon, of which words are known.
    #[test]
    fn any_template_ends(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{%", "%}", "{{", "}}", "-", " for m in messages ", " endfor ", " if m ", " else ", " endif ", " set x = ",
            " x ", "m.content", "m['role']", "messages", " + ", " ~ ", " * ", "[", "]", "'<|im_end|>'", "99999", " | ",
            "join", "replace('a', 'b')", "list", "tojson", "range(99999)", ".split('<')", "namespace(a=x)", " macro f(x) ",
            " endmacro ", "f(x)", "(", ")", ",", "loop.index0", "\n", "text",
        ]), 0..25),
        words in "[<>|a-z\u{100000}]{0,12}",
    ) {
        let start = Instant::now();
        let Ok(template) = ChatTemplate::new(pieces.concat(), Default::default()) else { return Ok(()) };
        let asked = [Message::user(vec![Part::text(words)])];
        let script = Script { edges: vec!['<', '>', '|'], picture: None };
        let _ = template.render(&asked, &script, true);
        prop_assert!(start.elapsed() < Duration::from_secs(60), "{:?}", pieces.concat());
    }
}
