//! CogAgent-9B's answers, which the default model writes too.
//!
//! ```text
//! Status: ...
//! Plan: ...
//! Action: ...
//! Grounded Operation: CLICK(box=[[352,102,786,139]], element_type='...', element_info='Search')
//! <<一般操作>>
//! ```
//! Only the requested lines, in this order. The last marks an operation as general (一般操作) or sensitive (敏感操作);
//! `<<END>>` stands behind the last operation of a task.

use std::{fmt, str::FromStr};

use super::{Action, Direction, GroundingError, Key, Normalised1000, Target, cursor::Cursor};

const OPERATION: &str = "Grounded Operation";
const GENERAL: &str = "一般操作";
const SENSITIVE: &str = "敏感操作";
const END: &str = "<<END>>";

/// Whether an operation should be confirmed by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sensitivity {
    /// 一般操作: it may be carried out.
    General,
    /// 敏感操作: it pays, deletes, sends or the like.
    Sensitive,
}

/// An answer taken apart; printed as the model prints it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CogAgentAnswer {
    /// What the screen shows and what has been done.
    pub status: Option<String>,
    /// What remains to be done.
    pub plan: Option<String>,
    /// The next step in words.
    pub action: Option<String>,
    /// The next step.
    pub operation: Action<Normalised1000>,
    /// Whether a person should confirm it, if the format asks for that.
    pub sensitivity: Option<Sensitivity>,
    /// Whether `<<END>>` follows.
    pub end: bool,
}

impl CogAgentAnswer {
    /// Whether the task is over after this operation.
    pub fn is_last(&self) -> bool {
        self.end || self.operation == Action::End
    }
}

impl fmt::Display for CogAgentAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [("Status", &self.status), ("Plan", &self.plan), ("Action", &self.action)];
        for (label, line) in lines {
            if let Some(line) = line {
                writeln!(f, "{label}: {line}")?;
            }
        }
        write!(f, "{OPERATION}: {}", self.operation)?;
        match self.sensitivity {
            Some(Sensitivity::General) => write!(f, "\n<<{GENERAL}>>")?,
            Some(Sensitivity::Sensitive) => write!(f, "\n<<{SENSITIVE}>>")?,
            None => {}
        }
        f.write_str(if self.end { "\n<<END>>" } else { "" })
    }
}

impl FromStr for CogAgentAnswer {
    type Err = GroundingError;

    fn from_str(text: &str) -> Result<Self, GroundingError> {
        let mut cursor = Cursor::new(text);
        let head = match operation_at(text) {
            Some((head, operation)) => {
                cursor.skip(operation);
                text.get(..head).unwrap_or_default()
            }
            None if text.contains(END) => {
                cursor.skip(text.find(END).unwrap_or_default());
                text
            }
            None => return Err(GroundingError::NoOperation { text: text.to_owned() }),
        };
        cursor.space();
        let operation = if cursor.rest().starts_with("<<") && cursor.rest().contains(END) {
            Action::End
        } else {
            operation(&mut cursor)?
        };
        let tail = cursor.rest();
        let sensitivity = if tail.contains(GENERAL) || tail.contains("非敏感") {
            Some(Sensitivity::General)
        } else {
            tail.contains(SENSITIVE).then_some(Sensitivity::Sensitive)
        };
        let [status, plan, action] = ["Status", "Plan", "Action"].map(|label| section(head, label));
        Ok(Self { status, plan, action, operation, sensitivity, end: tail.contains(END) })
    }
}

impl FromStr for Action<Normalised1000> {
    type Err = GroundingError;

    /// An operation on its own, nothing but space around it.
    fn from_str(text: &str) -> Result<Self, GroundingError> {
        let mut cursor = Cursor::new(text);
        let action = operation(&mut cursor)?;
        cursor.space();
        if cursor.rest().is_empty() { Ok(action) } else { Err(cursor.malformed("nothing more")) }
    }
}

/// Where the lines before the operation end and where the operation begins, in bytes.
fn operation_at(text: &str) -> Option<(usize, usize)> {
    let labels = || {
        text.match_indices(OPERATION).filter_map(|(at, _)| {
            let behind = text.get(at + OPERATION.len()..)?;
            after_colon(behind).map(|rest| (at, text.len() - rest.len()))
        })
    };
    // The words of other lines may have the label too: one that begins a line is meant.
    let begins_line = |&(at, _): &(usize, usize)| {
        let before = text.get(..at).unwrap_or_default().trim_end_matches([' ', '\t']);
        before.is_empty() || before.ends_with('\n')
    };
    let labelled = labels().find(begins_line).or_else(|| labels().next());
    // Without its label an operation still begins a line.
    labelled.or_else(|| {
        let mut at = 0;
        text.split_inclusive('\n').find_map(|line| {
            let start = at + line.len() - line.trim_start().len();
            at += line.len();
            let mut cursor = Cursor::new(line.trim_start());
            let known = is_operation(&cursor.word().to_ascii_uppercase());
            (known && cursor.eat("(")).then_some((start, start))
        })
    })
}

fn after_colon(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix([':', '：'])
}

/// The text behind `label:` at the beginning of a line, up to the next label.
fn section(head: &str, label: &str) -> Option<String> {
    const LABELS: [&str; 3] = ["Status", "Plan", "Action"];
    let labelled = |line: &'_ str, label: &str| -> Option<usize> {
        let rest = after_colon(line.trim_start().strip_prefix(label)?)?;
        Some(line.len() - rest.len())
    };
    let mut found = String::new();
    let mut inside = false;
    for line in head.split_inclusive('\n') {
        if let Some(start) = labelled(line, label).filter(|_| found.is_empty()) {
            inside = true;
            found.push_str(line.get(start..).unwrap_or_default());
        } else if LABELS.iter().any(|it| labelled(line, it).is_some()) {
            inside = false;
        } else if inside {
            found.push_str(line);
        }
    }
    let found = found.trim();
    (!found.is_empty()).then(|| found.to_owned())
}

fn is_operation(name: &str) -> bool {
    matches!(
        name,
        "CLICK"
            | "DOUBLE_CLICK"
            | "RIGHT_CLICK"
            | "HOVER"
            | "TYPE"
            | "SELECT"
            | "SCROLL_UP"
            | "SCROLL_DOWN"
            | "SCROLL_LEFT"
            | "SCROLL_RIGHT"
            | "KEY_PRESS"
            | "GESTURE"
            | "LAUNCH"
            | "QUOTE_TEXT"
            | "QUOTE_CLIPBOARD"
            | "QUOTE_CLIPBORAD"
            | "LLM"
            | "END"
    )
}

/// What stands behind `name=`.
#[derive(Clone, Debug)]
enum Value {
    /// In quotes.
    Text(String),
    /// A number, `True` or words without quotes.
    Bare(String),
    Box(Normalised1000),
    Keys(Vec<Key>),
}

/// The arguments of one operation.
struct Call<'a> {
    name: String,
    arguments: Vec<(&'a str, Value)>,
    text: &'a str,
}

impl Call<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.arguments.iter().find(|(it, _)| *it == name).map(|(_, value)| value)
    }

    fn lacks(&self, argument: &'static str, expected: &'static str) -> GroundingError {
        let (operation, text) = (self.name.clone(), self.text.to_owned());
        GroundingError::Argument { operation, argument, expected, text }
    }

    fn optional(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::Text(text) => Some(text.clone()),
            Value::Bare(text) => (text != "None").then(|| text.clone()),
            Value::Box(_) | Value::Keys(_) => None,
        }
    }

    fn string(&self, name: &'static str) -> Result<String, GroundingError> {
        self.optional(name).ok_or_else(|| self.lacks(name, "a string"))
    }

    fn target(&self) -> Result<Target<Normalised1000>, GroundingError> {
        let Some(&Value::Box(region)) = self.get("box") else {
            return Err(self.lacks("box", "a box `[[a,b,c,d]]`"));
        };
        let (element_type, element_info) = (self.optional("element_type"), self.optional("element_info"));
        Ok(Target { region, element_type, element_info })
    }

    fn scroll(&self, direction: Direction) -> Result<Action<Normalised1000>, GroundingError> {
        const STEPS: &str = "step_count";
        let steps = self.optional(STEPS).and_then(|it| it.trim().parse().ok());
        let steps = steps.ok_or_else(|| self.lacks(STEPS, "a whole number"))?;
        Ok(Action::Scroll { target: self.target()?, direction, steps })
    }

    fn action(&self) -> Result<Action<Normalised1000>, GroundingError> {
        let or_none = |name| self.optional(name).filter(|it| it != "None");
        Ok(match self.name.as_str() {
            "CLICK" => Action::Click(self.target()?),
            "DOUBLE_CLICK" => Action::DoubleClick(self.target()?),
            "RIGHT_CLICK" => Action::RightClick(self.target()?),
            "HOVER" => Action::Hover(self.target()?),
            "TYPE" => Action::Type { target: self.target()?, text: self.string("text")? },
            "SELECT" => Action::Select { target: self.target()?, text: self.string("text")? },
            "SCROLL_UP" => self.scroll(Direction::Up)?,
            "SCROLL_DOWN" => self.scroll(Direction::Down)?,
            "SCROLL_LEFT" => self.scroll(Direction::Left)?,
            "SCROLL_RIGHT" => self.scroll(Direction::Right)?,
            "KEY_PRESS" => Action::KeyPress { key: self.string("key")? },
            "GESTURE" => match self.get("actions") {
                Some(Value::Keys(keys)) => Action::Gesture(keys.clone()),
                _ => return Err(self.lacks("actions", "a list of key operations")),
            },
            "LAUNCH" => Action::Launch { app: or_none("app"), url: or_none("url") },
            "QUOTE_TEXT" => Action::QuoteText {
                target: self.target()?,
                output: self.string("output")?,
                result: self.optional("result"),
                auto_scroll: self.optional("auto_scroll").map(|it| it.eq_ignore_ascii_case("true")),
            },
            // The published documentation misspells it once.
            "QUOTE_CLIPBOARD" | "QUOTE_CLIPBORAD" => {
                Action::QuoteClipboard { output: self.string("output")?, result: self.optional("result") }
            }
            "LLM" => Action::Llm {
                prompt: self.string("prompt")?,
                output: self.string("output")?,
                result: self.optional("result"),
            },
            "END" => Action::End,
            _ => {
                let (name, text) = (self.name.clone(), self.text.to_owned());
                return Err(GroundingError::UnknownOperation { name, text });
            }
        })
    }
}

/// `NAME(argument, ...)`, or `END` alone.
fn operation(cursor: &mut Cursor<'_>) -> Result<Action<Normalised1000>, GroundingError> {
    cursor.space();
    let text = cursor.text();
    let name = cursor.word().to_ascii_uppercase();
    if name.is_empty() {
        return Err(GroundingError::NoOperation { text: text.to_owned() });
    }
    if !is_operation(&name) {
        return Err(GroundingError::UnknownOperation { name, text: text.to_owned() });
    }
    if name == "END" && !cursor.rest().trim_start().starts_with('(') {
        return Ok(Action::End);
    }
    let arguments = arguments(cursor, List::OfKeys)?;
    Call { name, arguments, text }.action()
}

/// What a list of an argument may be: the keys of a gesture have no lists of keys in turn, however deep an answer nests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    OfKeys,
    OfNumbers,
}

fn arguments<'a>(cursor: &mut Cursor<'a>, list: List) -> Result<Vec<(&'a str, Value)>, GroundingError> {
    if !cursor.eat("(") {
        return Err(cursor.malformed("`(`"));
    }
    let mut arguments = Vec::new();
    while !cursor.eat(")") {
        cursor.space();
        let mut ahead = *cursor;
        let name = ahead.word();
        if !name.is_empty() && ahead.eat("=") {
            *cursor = ahead;
            arguments.push((name, value(cursor, list)?));
        } else {
            // The box is the only argument that models leave nameless.
            arguments.push(("box", value(cursor, list)?));
        }
        if !cursor.eat(",") && !cursor.rest().trim_start().starts_with(')') {
            return Err(cursor.malformed("`,` or `)`"));
        }
    }
    Ok(arguments)
}

fn value(cursor: &mut Cursor<'_>, list: List) -> Result<Value, GroundingError> {
    cursor.space();
    match cursor.peek() {
        Some(quote @ ('\'' | '"')) => {
            cursor.next();
            string(cursor, quote).map(Value::Text)
        }
        Some('[') => {
            let mut ahead = *cursor;
            ahead.eat("[");
            ahead.space();
            if list == List::OfNumbers || matches!(ahead.peek(), Some('[' | '0'..='9')) {
                region(cursor).map(Value::Box)
            } else {
                *cursor = ahead;
                keys(cursor).map(Value::Keys)
            }
        }
        _ => {
            let end = cursor.rest().find([',', ')', '\n']).unwrap_or(cursor.rest().len());
            let bare = cursor.rest().get(..end).unwrap_or_default().trim().to_owned();
            if bare.is_empty() {
                return Err(cursor.malformed("a value"));
            }
            cursor.skip(end);
            Ok(Value::Bare(bare))
        }
    }
}

/// `[[a,b,c,d]]` with one or two brackets on either side.
fn region(cursor: &mut Cursor<'_>) -> Result<Normalised1000, GroundingError> {
    cursor.eat("[");
    cursor.eat("[");
    let numbers = cursor.numbers();
    let region = cursor.region(&numbers)?;
    if !cursor.eat("]") {
        return Err(cursor.malformed("`]`"));
    }
    cursor.eat("]");
    Ok(region)
}

/// Key operations up to `]`.
fn keys(cursor: &mut Cursor<'_>) -> Result<Vec<Key>, GroundingError> {
    let mut keys = Vec::new();
    while !cursor.eat("]") {
        cursor.space();
        let name = cursor.word().to_ascii_uppercase();
        let key: fn(String) -> Key = match name.as_str() {
            "KEY_DOWN" => Key::Down,
            "KEY_PRESS" => Key::Press,
            "KEY_UP" => Key::Up,
            _ => return Err(cursor.malformed("KEY_DOWN, KEY_PRESS or KEY_UP")),
        };
        let text = cursor.text();
        let arguments = arguments(cursor, List::OfNumbers)?;
        keys.push(key(Call { name, arguments, text }.string("key")?));
        if !cursor.eat(",") && !cursor.rest().trim_start().starts_with(']') {
            return Err(cursor.malformed("`,` or `]`"));
        }
    }
    Ok(keys)
}

/// The rest of a string up to the quote that ends it: models leave apostrophes inside unescaped, so only a quote that
/// the grammar goes on after is the end.
fn string(cursor: &mut Cursor<'_>, quote: char) -> Result<String, GroundingError> {
    let mut string = String::new();
    while let Some(character) = cursor.next() {
        if character == quote && ends_value(cursor.rest()) {
            return Ok(string);
        }
        if character != '\\' {
            string.push(character);
            continue;
        }
        let escaped = match cursor.peek() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(same @ ('\\' | '\'' | '"')) => same,
            _ => {
                string.push('\\');
                continue;
            }
        };
        cursor.next();
        string.push(escaped);
    }
    Err(cursor.malformed("a closing quote"))
}

fn ends_value(rest: &str) -> bool {
    let rest = rest.trim_start();
    match rest.strip_prefix(',') {
        Some(next) => {
            let mut next = Cursor::new(next.trim_start());
            !next.word().is_empty() && (next.eat("=") || next.eat("("))
        }
        None => rest.is_empty() || rest.starts_with([')', ']']),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{grounding::testing::actions, image::Size};

    fn action(text: &str) -> Action<Normalised1000> {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn target(corners: [u16; 4]) -> Target<Normalised1000> {
        let [x0, y0, x1, y1] = corners;
        Target::at(Normalised1000::new(x0, y0, x1, y1).unwrap())
    }

    fn described(corners: [u16; 4], kind: &str, info: &str) -> Target<Normalised1000> {
        Target { element_type: Some(kind.into()), element_info: Some(info.into()), ..target(corners) }
    }

    const FULL: &str = "Status: The page [[ 1, 2, 3, 4 ]] is open.\nPlan: 1. Search.\n2. Open.\nAction: Click the box.\n\
        Grounded Operation: CLICK(box=[[352,102,786,139]], element_type='input', element_info='Search')\n<<一般操作>>";

    #[test]
    fn reads_a_full_answer() {
        let answer: CogAgentAnswer = FULL.parse().unwrap();
        assert_eq!(answer.status.as_deref(), Some("The page [[ 1, 2, 3, 4 ]] is open."));
        assert_eq!(answer.plan.as_deref(), Some("1. Search.\n2. Open."));
        assert_eq!(answer.action.as_deref(), Some("Click the box."));
        assert_eq!(answer.operation, Action::Click(described([352, 102, 786, 139], "input", "Search")));
        assert_eq!(answer.sensitivity, Some(Sensitivity::General));
        assert!(!answer.is_last());
        assert_eq!(answer.to_string(), FULL);
    }

    /// The search box in the README's example, on a screen of 1000x2000.
    #[test]
    fn a_known_target() {
        let answer: CogAgentAnswer = FULL.parse().unwrap();
        let on_screen = answer.operation.map(|it| it.to_pixels(Size::new(1000, 2000)));
        let point = on_screen.click_point().unwrap();
        assert_eq!((point.x, point.y), (569.0, 241.0));
    }

    #[test]
    fn reads_marks_and_ends() {
        let answer: CogAgentAnswer = "Grounded Operation:END()\n<<END>>".parse().unwrap();
        assert!(answer.operation == Action::End && answer.end && answer.is_last());
        let answer: CogAgentAnswer = "Action: done\nGrounded Operation: END\n<<敏感操作>>".parse().unwrap();
        assert_eq!((answer.operation, answer.sensitivity), (Action::End, Some(Sensitivity::Sensitive)));
        let answer: CogAgentAnswer = "Status: all done\n<<END>>".parse().unwrap();
        assert_eq!((answer.operation, answer.status.as_deref()), (Action::End, Some("all done\n<<END>>")));
        let answer: CogAgentAnswer = "Grounded Operation: <<END>>".parse().unwrap();
        assert_eq!(answer.operation, Action::End);
        let answer: CogAgentAnswer = "Grounded Operation:CLICK(box=[[1,2,3,4]])敏感操作<<END>>".parse().unwrap();
        assert_eq!((answer.sensitivity, answer.is_last()), (Some(Sensitivity::Sensitive), true));
        let quoted = "Grounded Operation: TYPE(box=[[1,2,3,4]], text='<<END>> 敏感操作')\n<<一般操作>>";
        let answer: CogAgentAnswer = quoted.parse().unwrap();
        assert_eq!((answer.sensitivity, answer.end), (Some(Sensitivity::General), false));
    }

    #[test]
    fn reads_answers_without_their_labels() {
        let answer: CogAgentAnswer = "  CLICK(box=[[1,2,3,4]])\n<<一般操作>>".parse().unwrap();
        assert_eq!(answer.operation, Action::Click(target([1, 2, 3, 4])));
        let answer: CogAgentAnswer = "Action: Click it. Grounded Operation : click( [1, 2, 3, 4] )".parse().unwrap();
        assert_eq!(answer.operation, Action::Click(target([1, 2, 3, 4])));
        assert_eq!(answer.action.as_deref(), Some("Click it."));
    }

    #[test]
    fn reads_every_operation() {
        for (text, expected) in [
            ("DOUBLE_CLICK(box=[[1,2,3,4]])", Action::DoubleClick(target([1, 2, 3, 4]))),
            ("RIGHT_CLICK(box=[[1,2,3,4]])", Action::RightClick(target([1, 2, 3, 4]))),
            ("HOVER(box=[[001,002,003,004]])", Action::Hover(target([1, 2, 3, 4]))),
            (
                "SCROLL_LEFT(box=[[1,2,3,4]], step_count=5, element_type='list', element_info='a')",
                Action::Scroll { target: described([1, 2, 3, 4], "list", "a"), direction: Direction::Left, steps: 5 },
            ),
            ("KEY_PRESS(key='F11')", Action::KeyPress { key: "F11".into() }),
            (
                "GESTURE(actions=[KEY_DOWN(key='Lcontrol'), KEY_PRESS(key='A'), KEY_UP(key='Lcontrol')])",
                Action::Gesture(vec![Key::Down("Lcontrol".into()), Key::Press("A".into()), Key::Up("Lcontrol".into())]),
            ),
            ("LAUNCH(app='Settings', url='None')", Action::Launch { app: Some("Settings".into()), url: None }),
            ("LAUNCH(app=None, url='baidu.com')", Action::Launch { app: None, url: Some("baidu.com".into()) }),
            (
                "QUOTE_TEXT(box=[[1,2,3,4]], output='__CogName_x__', auto_scroll=True)",
                Action::QuoteText {
                    target: target([1, 2, 3, 4]),
                    output: "__CogName_x__".into(),
                    result: None,
                    auto_scroll: Some(true),
                },
            ),
            (
                "QUOTE_CLIPBORAD(output='a', result=\"b\")",
                Action::QuoteClipboard { output: "a".into(), result: Some("b".into()) },
            ),
            (
                "LLM(prompt='sum __CogName_x__', output='y')",
                Action::Llm { prompt: "sum __CogName_x__".into(), output: "y".into(), result: None },
            ),
            ("END()", Action::End),
        ] {
            assert_eq!(action(text), expected, "{text}");
        }
    }

    #[test]
    fn reads_quotes_as_models_write_them() {
        let text = |call: &str| match action(call) {
            Action::Type { text, .. } => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text("TYPE(box=[[1,2,3,4]], text='a, b) [c] = (d')"), "a, b) [c] = (d");
        assert_eq!(text("TYPE(box=[[1,2,3,4]], text='it's, well, 'fine'')"), "it's, well, 'fine'");
        assert_eq!(text(r"TYPE(box=[[1,2,3,4]], text='it\'s \\ \q', element_info='x')"), r"it's \ \q");
        assert_eq!(text("TYPE(box=[[1,2,3,4]],text=\"say \\\"hi\\\"\")"), "say \"hi\"");
        assert_eq!(text("TYPE(text='', box=[[1,2,3,4]])"), "");
        assert_eq!(text("TYPE(box=[[1,2,3,4]], text=doors)"), "doors");
    }

    #[test]
    fn tolerates_brackets_digits_and_corners() {
        for call in [
            "CLICK(box=[9,8,1,2])",
            "CLICK(box = [[ 9, 8, 1, 2 ]])",
            "CLICK(box=[[009,008,001,002])",
            "CLICK(box=[[9.2,8,1,2]],)",
        ] {
            assert_eq!(action(call), Action::Click(target([1, 2, 9, 8])), "{call}");
        }
    }

    #[test]
    fn errors_carry_the_text() {
        let error = |text: &str| {
            let error = text.parse::<CogAgentAnswer>().unwrap_err();
            assert_eq!(error.text(), text);
            error
        };
        assert!(matches!(error(""), GroundingError::NoOperation { .. }));
        assert!(matches!(error("I cannot do that."), GroundingError::NoOperation { .. }));
        assert!(matches!(error("Grounded Operation:  "), GroundingError::NoOperation { .. }));
        let unknown = error("Grounded Operation: JUMP(box=[[1,2,3,4]])");
        assert!(matches!(unknown, GroundingError::UnknownOperation { ref name, .. } if name == "JUMP"));
        let argument = |text| match error(text) {
            GroundingError::Argument { argument, .. } => argument,
            other => panic!("{other}"),
        };
        assert_eq!(argument("Grounded Operation: CLICK()"), "box");
        assert_eq!(argument("Grounded Operation: CLICK(box='here')"), "box");
        assert_eq!(argument("Grounded Operation: TYPE(box=[[1,2,3,4]])"), "text");
        assert_eq!(argument("Grounded Operation: SCROLL_UP(box=[[1,2,3,4]], step_count=many)"), "step_count");
        assert_eq!(argument("Grounded Operation: GESTURE()"), "actions");
        let range = error("Grounded Operation: CLICK(box=[[1,2,3,1200]])");
        assert!(matches!(range, GroundingError::OutOfRange { .. }));
        for text in [
            "Grounded Operation: CLICK",
            "Grounded Operation: CLICK(box=[[1,2,3,4]]",
            "Grounded Operation: CLICK(box=[[1,2,3]])",
            "Grounded Operation: CLICK(box=[[1,2,3,4)",
            "Grounded Operation: TYPE(box=[[1,2,3,4]], text='doo",
            "Grounded Operation: GESTURE(actions=[CLICK(key='a')])",
            "Grounded Operation: CLICK(box=)",
        ] {
            assert!(matches!(error(text), GroundingError::Malformed { .. }), "{text}");
        }
        assert!("END() now".parse::<Action<Normalised1000>>().is_err());
    }

    proptest! {
        #[test]
        fn printed_operations_come_back(action in actions()) {
            prop_assert_eq!(action.to_string().parse::<Action<Normalised1000>>(), Ok(action));
        }

        #[test]
        fn printed_answers_come_back(
            lines in prop::array::uniform3(prop::option::of("[A-Z][a-z0-9 ,]{0,30}[.]")),
            operation in actions(),
            sensitive in any::<Option<bool>>(),
            end in any::<bool>(),
        ) {
            let [status, plan, action] = lines;
            let sensitivity = sensitive.map(|it| if it { Sensitivity::Sensitive } else { Sensitivity::General });
            let answer = CogAgentAnswer { status, plan, action, operation, sensitivity, end };
            prop_assert_eq!(answer.to_string().parse::<CogAgentAnswer>(), Ok(answer));
        }

        #[test]
        fn any_text_is_handled(
            text in "(Grounded Operation:|CLICK|TYPE|GESTURE|KEY_UP|END|box=|text=|actions=|<<|\\[|\\]|\\(|\\)|'|\\\\|,|[0-9]{1,4}|\n|\\PC){0,40}",
        ) {
            let _ = text.parse::<CogAgentAnswer>();
            let _ = text.parse::<Action<Normalised1000>>();
        }
    }
}
