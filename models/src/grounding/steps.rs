//! CogAgent-18B's answers to `What steps do I need to take to ...?(with grounding)`.
//!
//! ```text
//! Plan: 1. Type 'CogVLM' into the search bar. 2. ...
//! Next Action: Move the cursor to the search bar, and type 'CogVLM' into it.
//! Grounded Operation:[combobox] Search -> TYPE: CogVLM at the box [[212,498,787,564]]
//! ```
//! Role, name and text may be missing. Source: the README of `THUDM/CogVLM`; the operations are Mind2Web's (Deng et al.,
//! 2023).

use std::{fmt, str::FromStr};

use super::{Action, GroundingError, Normalised1000, Target, cursor::Cursor};

const PLAN: &str = "Plan:";
const NEXT: &str = "Next Action:";
const OPERATION: &str = "Grounded Operation:";
const PLACE: &str = "at the box";

/// What to do with an element.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Click it.
    Click,
    /// Move the pointer there.
    Hover,
    /// Type this into it.
    Type(String),
    /// Choose its option of these words.
    Select(String),
}

/// One operation; printed as the model prints it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroundedOperation {
    /// The element: its role is the type, its name the info.
    pub target: Target<Normalised1000>,
    /// What to do with it.
    pub verb: Verb,
}

impl GroundedOperation {
    /// The same in the vocabulary of all models.
    pub fn into_action(self) -> Action<Normalised1000> {
        let Self { target, verb } = self;
        match verb {
            Verb::Click => Action::Click(target),
            Verb::Hover => Action::Hover(target),
            Verb::Type(text) => Action::Type { target, text },
            Verb::Select(text) => Action::Select { target, text },
        }
    }
}

/// An answer taken apart; printed as the model prints it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepsAnswer {
    /// All steps, in words.
    pub plan: Option<String>,
    /// The next step, in words.
    pub next: Option<String>,
    /// The next step.
    pub operation: GroundedOperation,
}

impl fmt::Display for GroundedOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { region, element_type, element_info } = &self.target;
        if let Some(role) = element_type {
            write!(f, "[{role}] ")?;
        }
        if let Some(name) = element_info {
            write!(f, "{name} ")?;
        }
        match &self.verb {
            Verb::Click => f.write_str("-> CLICK")?,
            Verb::Hover => f.write_str("-> HOVER")?,
            Verb::Type(text) => write!(f, "-> TYPE: {text}")?,
            Verb::Select(text) => write!(f, "-> SELECT: {text}")?,
        }
        write!(f, " {PLACE} [[{}]]", region.corners().map(|corner| format!("{corner:03}")).join(","))
    }
}

impl fmt::Display for StepsAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, words) in [(PLAN, &self.plan), (NEXT, &self.next)] {
            if let Some(words) = words {
                writeln!(f, "{label} {words}")?;
            }
        }
        write!(f, "{OPERATION}{}", self.operation)
    }
}

impl FromStr for StepsAnswer {
    type Err = GroundingError;

    fn from_str(text: &str) -> Result<Self, GroundingError> {
        let Some((words, operation)) = at_label(text, OPERATION).or_else(|| text.rsplit_once(OPERATION)) else {
            return Err(GroundingError::NoOperation { text: text.to_owned() });
        };
        let split = |text, label: &'static str| at_label(text, label).or_else(|| text.split_once(label));
        let (plan, next) = match split(words, NEXT) {
            Some((plan, next)) => (plan, Some(next)),
            None => (words, None),
        };
        let said = |words: &str| Some(words.trim().to_owned()).filter(|words| !words.is_empty());
        let plan = split(plan, PLAN).and_then(|(_, plan)| said(plan));
        Ok(Self { plan, next: next.and_then(said), operation: parse(operation, text)? })
    }
}

impl FromStr for GroundedOperation {
    type Err = GroundingError;

    /// What stands behind `Grounded Operation:`.
    fn from_str(text: &str) -> Result<Self, GroundingError> {
        parse(text, text)
    }
}

/// What stands before and behind a label that begins a line: words may have it, too.
fn at_label<'a>(text: &'a str, label: &str) -> Option<(&'a str, &'a str)> {
    text.match_indices(label).find_map(|(at, _)| {
        let (before, rest) = text.split_at_checked(at)?;
        let line = before.trim_end_matches([' ', '\t']);
        (line.is_empty() || line.ends_with('\n')).then_some((before, rest.get(label.len()..)?))
    })
}

/// The first `[[x0,y0,x1,y1]]`, also with single brackets.
fn region(place: &str) -> Result<Normalised1000, GroundingError> {
    let mut cursor = Cursor::new(place);
    while let Some(start) = cursor.rest().find('[') {
        cursor.skip(start + 1);
        let mut ahead = cursor;
        ahead.eat("[");
        let numbers = ahead.numbers();
        if matches!(numbers.len(), 2 | 4) && ahead.eat("]") {
            return ahead.region(&numbers);
        }
    }
    Err(GroundingError::NoBox { text: place.to_owned() })
}

/// `operation` is a part of `answer`.
fn parse(operation: &str, answer: &str) -> Result<GroundedOperation, GroundingError> {
    let text = || answer.to_owned();
    let (said, place) = operation.rsplit_once(PLACE).unwrap_or((operation, operation));
    let region = region(place).map_err(|error| error.about(answer))?;
    let Some((element, verb)) = said.split_once("->") else {
        return Err(GroundingError::NoOperation { text: text() });
    };
    let (name, argument) = verb.split_once(':').unwrap_or((verb, ""));
    let name = name.trim().to_ascii_uppercase();
    let argument = argument.trim().to_owned();
    let verb = match name.as_str() {
        "CLICK" => Verb::Click,
        "HOVER" => Verb::Hover,
        "TYPE" => Verb::Type(argument),
        "SELECT" => Verb::Select(argument),
        _ => return Err(GroundingError::UnknownOperation { name, text: text() }),
    };
    let (role, words) = match element.trim().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((role, words)) => (role, words),
        None => ("", element),
    };
    let said = |words: &str| Some(words.trim().to_owned()).filter(|words| !words.is_empty());
    Ok(GroundedOperation { target: Target { region, element_type: said(role), element_info: said(words) }, verb })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: &str = "Plan: 1. Type 'CogVLM' into the search bar. 2. Press it.\nNext Action: Type 'CogVLM'.\n\
        Grounded Operation:[combobox] Search -> TYPE: CogVLM at the box [[212,498,787,564]]";

    fn target(role: Option<&str>, name: Option<&str>) -> Target<Normalised1000> {
        let region = Normalised1000::new(212, 498, 787, 564).unwrap();
        Target { region, element_type: role.map(Into::into), element_info: name.map(Into::into) }
    }

    #[test]
    fn reads_the_published_answer() {
        let answer: StepsAnswer = FULL.parse().unwrap();
        assert_eq!(answer.plan.as_deref(), Some("1. Type 'CogVLM' into the search bar. 2. Press it."));
        assert_eq!(answer.next.as_deref(), Some("Type 'CogVLM'."));
        assert_eq!(answer.operation.target, target(Some("combobox"), Some("Search")));
        assert_eq!(answer.operation.verb, Verb::Type("CogVLM".to_owned()));
        assert_eq!(answer.to_string(), FULL);
        let Action::Type { text, .. } = answer.operation.into_action() else { panic!("another action") };
        assert_eq!(text, "CogVLM");
    }

    #[test]
    fn reads_what_models_leave_out() {
        let read = |operation: &str| operation.parse::<GroundedOperation>().unwrap();
        let click = read("[link]  -> CLICK at the box [[212,498,787,564]]");
        assert_eq!(click, GroundedOperation { target: target(Some("link"), None), verb: Verb::Click });
        let bare = read(" Sign in -> click at the box [212, 498, 787, 564]\n");
        assert_eq!(bare, GroundedOperation { target: target(None, Some("Sign in")), verb: Verb::Click });
        let select = read("[combobox] Size -> SELECT: a -> b: c at the box [[212,498,787,564]]");
        assert_eq!(select.verb, Verb::Select("a -> b: c".to_owned()));
        let alone: StepsAnswer = "Grounded Operation: -> HOVER at the box [[212,498,787,564]]".parse().unwrap();
        assert_eq!((alone.plan, alone.next, alone.operation.verb), (None, None, Verb::Hover));
    }

    #[test]
    fn errors_carry_the_text() {
        let error = |text: &str| {
            let error = text.parse::<StepsAnswer>().unwrap_err();
            assert_eq!(error.text(), text);
            error
        };
        assert!(matches!(error(""), GroundingError::NoOperation { .. }));
        assert!(matches!(error("Plan: none"), GroundingError::NoOperation { .. }));
        assert!(matches!(error("Grounded Operation:[a] b -> CLICK"), GroundingError::NoBox { .. }));
        assert!(matches!(error("Grounded Operation:b at the box [[1,2,3,4]]"), GroundingError::NoOperation { .. }));
        let unknown = error("Grounded Operation:[a] b -> JUMP at the box [[1,2,3,4]]");
        assert!(matches!(unknown, GroundingError::UnknownOperation { ref name, .. } if name == "JUMP"));
        let far = error("Grounded Operation:[a] b -> CLICK at the box [[1,2,3,1200]]");
        assert!(matches!(far, GroundingError::OutOfRange { .. }));
    }

    fn words() -> impl Strategy<Value = Option<String>> {
        prop::option::of("[a-z][a-z0-9 ,.'()]{0,20}[a-z]( Grounded Operation:[a-z])?")
    }

    proptest! {
        #[test]
        fn printed_answers_come_back(
            (plan, next, role, name) in (words(), words(), words(), words()),
            text in "[a-z\\[][a-z0-9 >:,\\[\\]-]{0,20}[a-z\\]]( (Plan|Next Action|Grounded Operation): [a-z])?",
            corners in prop::array::uniform4(0u16..1000),
            verb in 0..4,
        ) {
            let [a, b, c, d] = corners;
            let verb = match verb {
                0 => Verb::Click,
                1 => Verb::Hover,
                2 => Verb::Type(text),
                _ => Verb::Select(text),
            };
            let region = Normalised1000::new(a, b, c, d).unwrap();
            let target = Target { region, element_type: role, element_info: name };
            let answer = StepsAnswer { plan, next, operation: GroundedOperation { target, verb } };
            prop_assert_eq!(answer.to_string().parse::<StepsAnswer>(), Ok(answer));
        }

        #[test]
        fn any_text_is_handled(text in "(Plan:|Next Action:|Grounded Operation:|->|CLICK|TYPE:|at the box|\\[|\\]|,|[0-9]{1,4}|\n|\\PC){0,40}") {
            let _ = text.parse::<StepsAnswer>();
        }
    }
}
