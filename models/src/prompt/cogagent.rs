//! CogAgent-9B's prompt, as published in the README of `zai-org/CogAgent`.
//!
//! `Task: {task}\nHistory steps: {\n{i}. {grounded operation}\t{action}}\n(Platform: {platform})\n{format}`, where the
//! answer format is one of six sentences with keys of their own.

use std::{fmt, str::FromStr};

/// Where the screenshot was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Platform {
    /// macOS.
    Mac,
    /// Windows.
    #[default]
    Windows,
    /// A phone.
    Mobile,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mac, Self::Windows, Self::Mobile];

    /// The name the model was trained on, in its exact letters.
    pub fn key(self) -> &'static str {
        match self {
            Self::Mac => "Mac",
            Self::Windows => "WIN",
            Self::Mobile => "Mobile",
        }
    }
}

/// Which lines the model's answer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AnswerFormat {
    /// Action, operation, sensitivity.
    ActionOpSensitive,
    /// Status, plan, action, operation.
    StatusPlanActionOp,
    /// Status, action, operation, sensitivity.
    StatusActionOpSensitive,
    /// Status, action, operation.
    StatusActionOp,
    /// Action and operation.
    #[default]
    ActionOp,
    /// All of them; only the published client uses it.
    StatusPlanActionOpSensitive,
}

impl AnswerFormat {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ActionOpSensitive,
        Self::StatusPlanActionOp,
        Self::StatusActionOpSensitive,
        Self::StatusActionOp,
        Self::ActionOp,
        Self::StatusPlanActionOpSensitive,
    ];

    /// The key of the published demos' `--format_key`.
    pub fn key(self) -> &'static str {
        match self {
            Self::ActionOpSensitive => "action_op_sensitive",
            Self::StatusPlanActionOp => "status_plan_action_op",
            Self::StatusActionOpSensitive => "status_action_op_sensitive",
            Self::StatusActionOp => "status_action_op",
            Self::ActionOp => "action_op",
            Self::StatusPlanActionOpSensitive => "status_plan_action_op_sensitive",
        }
    }

    /// Whether an answer has a status, a plan, and a mark of sensitivity; action and operation it always has.
    pub fn lines(self) -> [bool; 3] {
        match self {
            Self::ActionOpSensitive => [false, false, true],
            Self::StatusPlanActionOp => [true, true, false],
            Self::StatusActionOpSensitive => [true, false, true],
            Self::StatusActionOp => [true, false, false],
            Self::ActionOp => [false, false, false],
            Self::StatusPlanActionOpSensitive => [true, true, true],
        }
    }

    /// The sentence in the prompt.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::ActionOpSensitive => "(Answer in Action-Operation-Sensitive format.)",
            Self::StatusPlanActionOp => "(Answer in Status-Plan-Action-Operation format.)",
            Self::StatusActionOpSensitive => "(Answer in Status-Action-Operation-Sensitive format.)",
            Self::StatusActionOp => "(Answer in Status-Action-Operation format.)",
            Self::ActionOp => "(Answer in Action-Operation format.)",
            Self::StatusPlanActionOpSensitive => "(Answer in Status-Plan-Action-Operation-Sensitive format.)",
        }
    }
}

/// A platform or answer format of another name than the published ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{key}`: one of {known}")]
pub struct UnknownKey {
    /// "platform" or "answer format".
    pub what: &'static str,
    /// What was asked for.
    pub key: String,
    /// The published names.
    pub known: String,
}

fn known<T: Copy>(what: &'static str, key: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, UnknownKey> {
    all.iter().copied().find(|&it| name(it) == key).ok_or_else(|| UnknownKey {
        what,
        key: key.to_owned(),
        known: all.iter().map(|&it| name(it)).collect::<Vec<_>>().join(", "),
    })
}

impl FromStr for Platform {
    type Err = UnknownKey;

    fn from_str(key: &str) -> Result<Self, UnknownKey> {
        known("platform", key, &Self::ALL, Self::key)
    }
}

impl FromStr for AnswerFormat {
    type Err = UnknownKey;

    fn from_str(key: &str) -> Result<Self, UnknownKey> {
        known("answer format", key, &Self::ALL, Self::key)
    }
}

/// A step taken before, in the model's own words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// What stood behind `Grounded Operation:`.
    pub grounded_op: String,
    /// What stood behind `Action:`.
    pub action: String,
}

/// What CogAgent is asked about one screenshot; `to_string` is the text of the user's message.
#[derive(Clone, Copy, Debug)]
pub struct CogAgentQuery<'a> {
    /// What to do, in the user's words.
    pub task: &'a str,
    /// Steps taken for this task, oldest first.
    pub history: &'a [Step],
    /// Where the screenshot was taken.
    pub platform: Platform,
    /// Which lines to answer.
    pub format: AnswerFormat,
    /// Take up a task that was left: `[Continue]` and a line break right behind it.
    pub continues: bool,
    /// End with a line break, as the README and the published client do and the two demos do not.
    pub final_newline: bool,
}

impl fmt::Display for CogAgentQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.continues { "[Continue]\n" } else { "" };
        write!(f, "Task: {}{mark}\nHistory steps: ", self.task)?;
        for (index, step) in self.history.iter().enumerate() {
            write!(f, "\n{index}. {}\t{}", step.grounded_op, step.action)?;
        }
        write!(f, "\n(Platform: {})\n{}", self.platform.key(), self.format.sentence())?;
        f.write_str(if self.final_newline { "\n" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_engine::testing::golden::json;

    #[test]
    fn queries_equal_the_reference() {
        for case in 0..3 {
            let request = json(&format!("cogagent_9b/cases/{case}/prompt.json"));
            let agent = &request["agent"];
            let history: Vec<Step> = agent["history"]
                .as_array()
                .unwrap()
                .iter()
                .map(|step| Step {
                    grounded_op: step["grounded_op"].as_str().unwrap().to_owned(),
                    action: step["action"].as_str().unwrap().to_owned(),
                })
                .collect();
            let sentence = agent["format"].as_str().unwrap();
            let query = CogAgentQuery {
                task: agent["task"].as_str().unwrap(),
                history: &history,
                platform: agent["platform"].as_str().unwrap().parse().unwrap(),
                format: AnswerFormat::ALL.into_iter().find(|it| it.sentence() == sentence.trim()).unwrap(),
                continues: false,
                final_newline: sentence.ends_with('\n'),
            };
            let content = request["messages"][0]["content"].as_array().unwrap();
            assert_eq!(query.to_string(), content.last().unwrap()["text"], "case {case}");
        }
    }

    #[test]
    fn a_task_is_taken_up_again() {
        let query = CogAgentQuery {
            task: "Search for doors.",
            history: &[Step { grounded_op: "END()".into(), action: "Done.".into() }],
            platform: Platform::Mac,
            format: AnswerFormat::ActionOp,
            continues: true,
            final_newline: false,
        };
        let expected = "Task: Search for doors.[Continue]\n\nHistory steps: \n0. END()\tDone.\n(Platform: Mac)\n\
            (Answer in Action-Operation format.)";
        assert_eq!(query.to_string(), expected);
    }

    #[test]
    fn keys_come_back() {
        for format in AnswerFormat::ALL {
            assert_eq!(format.key().parse(), Ok(format));
        }
        for platform in Platform::ALL {
            assert_eq!(platform.key().parse(), Ok(platform));
        }
        let error = "win".parse::<Platform>().unwrap_err();
        assert_eq!(error.to_string(), "unknown platform `win`: one of Mac, WIN, Mobile");
        assert!("op".parse::<AnswerFormat>().is_err());
    }
}
