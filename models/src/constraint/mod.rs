//! Answers that follow a grammar: at each step only tokens are allowed that can still become a whole answer.
//!
//! Grammars are data; llguidance turns them into token masks (<https://github.com/guidance-ai/llguidance>, a parser over
//! the trie of a vocabulary). Where a grammar leaves one choice, the forced tokens need no decoding at all.

mod quote;

use std::{fmt, sync::Arc};

use fovea_engine::text::{TokenBytes, Tokenizer};
use llguidance::{
    Matcher as Parser, ParserFactory,
    api::TopLevelGrammar,
    toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv},
};

use crate::{grounding::Grammar, prompt::AnswerFormat};

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// What [`crate::grounding::read_answer`] reads of a model that writes boxes so.
    Grounding(Grammar),
    /// The same, but what a CogAgent answer types is quoted from this instruction, letter by letter: what stands in
    /// quotation marks if something does, else any run of words.
    Quoting(Grammar, String),
    /// CogAgent-9B's lines for an answer format, all of them.
    CogAgent(AnswerFormat),
    /// JSON that a schema describes.
    JsonSchema(serde_json::Value),
    /// What a regular expression, in the syntax of Rust's `regex`, matches from beginning to end.
    Regex(String),
    /// A grammar in llguidance's dialect of Lark's EBNF, from the rule `start` on.
    Ebnf(String),
}

/// Why a constraint cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ConstraintError {
    /// The grammar makes no sense, or asks for tokens that the vocabulary does not have.
    #[error("the grammar cannot be followed: {0}")]
    Grammar(String),
    /// No token of the vocabulary goes on.
    #[error("no token of the vocabulary can go on after {0:?}")]
    DeadEnd(String),
    /// The vocabulary cannot be made a trie.
    #[error("the vocabulary cannot be constrained: {0}")]
    Vocabulary(String),
}

const COGAGENT: &str = include_str!("cogagent.lark");

const QWEN2: &str = r#"
start: (<|object_ref_start|> LABEL <|object_ref_end|>)? <|box_start|> "(" N "," N "),(" N "," N ")" <|box_end|>
LABEL: /[^\x00-\x1f<]{1,200}/
N: /0|[1-9][0-9]{0,2}|1000/
"#;

// An empty list says that nothing like it is there.
const QWEN2_5: &str = r#"
start: "```json\n[" (place | "]") "\n```"
place: "\n\t{\"bbox_2d\": [" N ", " N ", " N ", " N "], \"label\": \"" LABEL "\"}\n]"
LABEL: /([^"\\\x00-\x1f]|\\["\\\/bfnrt]){0,200}/
N: /0|[1-9][0-9]{0,4}/
"#;

// SentencePiece begins words with a space, GLM-4 its answers with a line break.
const COG_BOXES: &str = r#"
start: /[ \n]/? "[[" N "," N "," N "," N "]]"
N: /[0-9]{3}/
"#;

const INTERN: &str = r#"
start: (<ref> LABEL </ref>)? <box> "[[" N ", " N ", " N ", " N "]]" </box>
LABEL: /[^\x00-\x1f<]{1,200}/
N: /0|[1-9][0-9]{0,2}|1000/
"#;

const UNIT_BOXES: &str = r#"
start: "[" N ", " N ", " N ", " N "]"
N: /0\.[0-9]{1,3}|1\.0{1,3}/
"#;

/// Lazy rules end where what follows them first occurs.
const STEPS: &str = r#"
start: " "? ("Plan: " LINE "\n")? ("Next Action: " LINE "\n")? "Grounded Operation:" ("[" ROLE "] ")? (nameless | name) verb
nameless: "-> "
name[lazy]: /[^\s\x00-\x1f\[\]>-][^\x00-\x1f>]{0,100}/ " -> "
verb: ("CLICK" | "HOVER") " at the box [[" corners | ("TYPE: " | "SELECT: ") text corners
text[lazy]: /[^\s\x00-\x1f][^\x00-\x1f]{0,400}/ " at the box [["
corners: N "," N "," N "," N "]]"
ROLE: /[a-z][a-z ]{0,30}/
N: /[0-9]{3}/
LINE: /[^\s\x00-\x1f][^\x00-\x1f]{0,400}/
"#;

/// Kosmos-2's tags and cells are tokens: no text that looks like them would do.
fn kosmos2(tokenizer: &Tokenizer) -> Result<TopLevelGrammar, ConstraintError> {
    let id = |token| tokenizer.required_id(token).map_err(|error| ConstraintError::Grammar(error.to_string()));
    let [object, end, more, first, last] =
        ["<object>", "</object>", "</delimiter_of_multi_objects/>", "<patch_index_0000>", "<patch_index_1023>"].map(id);
    let (object, end, more, cells) = (object?, end?, more?, format!("<[{}-{}]>", first?, last?));
    Ok(TopLevelGrammar::from_lark(format!(
        "start: <[{object}]> pair (<[{more}]> pair){{0,3}} <[{end}]>\npair: {cells} {cells}\n"
    )))
}

impl Constraint {
    /// Whether its answers may have several lines.
    fn has_lines(&self) -> bool {
        matches!(
            self,
            Self::CogAgent(_)
                | Self::Grounding(Grammar::CogAgent | Grammar::CogAgentSteps)
                | Self::Quoting(Grammar::CogAgent | Grammar::CogAgentSteps, _)
        )
    }

    fn grammar(&self, tokenizer: &Tokenizer) -> Result<TopLevelGrammar, ConstraintError> {
        Ok(match self {
            Self::Grounding(Grammar::PaliGemma) => {
                let id = |token| tokenizer.required_id(token).map_err(|it| ConstraintError::Grammar(it.to_string()));
                let place = format!("<[{}-{}]>", id("<loc0000>")?, id("<loc1023>")?);
                let label = r"LABEL: / [^\x00-\x1f<;]{1,200}/";
                TopLevelGrammar::from_lark(format!("start: {place} {place} {place} {place} LABEL\n{label}\n"))
            }
            Self::Grounding(Grammar::InternBoxes) => TopLevelGrammar::from_lark(INTERN.to_owned()),
            Self::Grounding(Grammar::Words) => TopLevelGrammar::from_regex("(?s:.*)"),
            // Models that were trained on boxes alone write no lines before them.
            Self::Grounding(Grammar::CogAgent) => cogagent(PERHAPS_ACTION, false, "TEXT"),
            Self::Quoting(Grammar::CogAgent, instruction) => {
                cogagent(PERHAPS_ACTION, false, &quote::typed(instruction))
            }
            Self::Quoting(grammar, _) => return Self::Grounding(*grammar).grammar(tokenizer),
            Self::Grounding(Grammar::Qwen2Boxes) => TopLevelGrammar::from_lark(QWEN2.to_owned()),
            Self::Grounding(Grammar::Qwen2_5Json) => TopLevelGrammar::from_lark(QWEN2_5.to_owned()),
            Self::Grounding(Grammar::CogBoxes) => TopLevelGrammar::from_lark(COG_BOXES.to_owned()),
            Self::Grounding(Grammar::UnitBoxes) => TopLevelGrammar::from_lark(UNIT_BOXES.to_owned()),
            Self::Grounding(Grammar::CogAgentSteps) => TopLevelGrammar::from_lark(STEPS.to_owned()),
            Self::Grounding(Grammar::Kosmos2Cells) => kosmos2(tokenizer)?,
            Self::CogAgent(format) => {
                let [status, plan, sensitive] = format.lines();
                let line = |wanted: bool, label: &str| match wanted {
                    true => format!("\"{label}: \" LINE \"\\n\" "),
                    false => String::new(),
                };
                let lines = line(status, "Status") + &line(plan, "Plan") + &line(true, "Action");
                cogagent(&lines, sensitive, "TEXT")
            }
            Self::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
            Self::Regex(expression) => TopLevelGrammar::from_regex(expression),
            Self::Ebnf(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
        })
    }
}

const PERHAPS_ACTION: &str = r#"("Action: " LINE "\n")?"#;

fn cogagent(lines: &str, sensitive: bool, typed: &str) -> TopLevelGrammar {
    let mark = if sensitive { "\"\\n\" (\"<<一般操作>>\" | \"<<敏感操作>>\")" } else { "" };
    // GLM-4 begins its answers with a line break.
    let start = format!("start: \"\\n\"? {lines} \"Grounded Operation: \" operation {mark} (\"\\n<<END>>\")?\n");
    TopLevelGrammar::from_lark(format!("{start}TYPED: {typed}\n{COGAGENT}"))
}

/// A vocabulary made ready for grammars: costs a moment for a large one, so one serves all answers of a system.
pub struct Constrainer {
    factory: ParserFactory,
    tokenizer: Arc<Tokenizer>,
    vocabulary: usize,
    spells_line_breaks: bool,
}

impl fmt::Debug for Constrainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constrainer").field("vocabulary", &self.vocabulary).finish_non_exhaustive()
    }
}

struct Environment {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let text = std::str::from_utf8(bytes).ok();
        let is_whole = |ids: &Vec<u32>| self.trie.decode_raw(ids) == bytes;
        let plain = |text: &str| self.tokenizer.encode_answer(text).ok();
        // SentencePiece begins every text with a space, which what stands in the middle of an answer does not have.
        let behind_a_break = |text: &str| {
            let (all, before) = (plain(&format!("\n{text}"))?, plain("\n")?);
            all.strip_prefix(&before[..]).map(<[u32]>::to_vec)
        };
        let ids = text.and_then(|text| plain(text).filter(is_whole).or_else(|| behind_a_break(text).filter(is_whole)));
        ids.unwrap_or_else(|| self.trie.greedy_tokenize(bytes))
    }
}

impl Constrainer {
    /// For a tokenizer whose model has `vocabulary` logits and ends its answers with `stop`.
    ///
    /// # Errors
    /// [`ConstraintError::Vocabulary`] without a stop token within the vocabulary.
    pub fn new(tokenizer: &Arc<Tokenizer>, vocabulary: usize, stop: &[u32]) -> Result<Self, ConstraintError> {
        let unusable = |reason: String| ConstraintError::Vocabulary(reason);
        let end = stop.iter().copied().find(|&id| (id as usize) < vocabulary);
        let end = end.ok_or_else(|| unusable("no stop token".to_owned()))?;
        let mut words: Vec<Vec<u8>> = tokenizer.token_bytes().into_iter().map(word).collect();
        // A head may have more rows than the tokenizer has tokens, or fewer.
        words.resize(vocabulary, Vec::new());
        let spells_line_breaks = words.iter().any(|word| word.contains(&b'\n'));
        let size = u32::try_from(vocabulary).map_err(|_| unusable(format!("{vocabulary} tokens")))?;
        let trie = TokTrie::from(&TokRxInfo::new(size, end), &words);
        let environment: TokEnv = Arc::new(Environment { trie, tokenizer: Arc::clone(tokenizer) });
        let capabilities = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let mut factory =
            ParserFactory::new(&environment, capabilities, &[]).map_err(|error| unusable(error.to_string()))?;
        factory.quiet();
        Ok(Self { factory, tokenizer: Arc::clone(tokenizer), vocabulary, spells_line_breaks })
    }

    /// Begins an answer.
    ///
    /// # Errors
    /// [`ConstraintError::Grammar`], also for one whose answers begin with what the vocabulary cannot spell, or have
    /// lines that it cannot end.
    pub fn begin(&self, constraint: &Constraint) -> Result<Matcher, ConstraintError> {
        // Within a line all would go well, until it ends.
        if constraint.has_lines() && !self.spells_line_breaks {
            return Err(ConstraintError::Grammar("no token of the vocabulary has a line break".to_owned()));
        }
        let parser = Parser::new(self.factory.create_parser(constraint.grammar(&self.tokenizer)?));
        if let Some(error) = parser.get_error() {
            return Err(ConstraintError::Grammar(told(&error)));
        }
        let matcher = Matcher { parser, vocabulary: self.vocabulary };
        match matcher.fork().forced() {
            Ok(_) => Ok(matcher),
            Err(ConstraintError::DeadEnd(error)) => Err(ConstraintError::Grammar(error)),
            Err(other) => Err(other),
        }
    }
}

/// A token as the trie wants it: marks begin with a byte that no text has.
fn word(token: TokenBytes) -> Vec<u8> {
    match token {
        TokenBytes::Text(bytes) => bytes,
        TokenBytes::Special(name) => [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat(),
        TokenBytes::None => Vec::new(),
    }
}

/// An answer that follows its grammar so far.
pub struct Matcher {
    parser: Parser,
    vocabulary: usize,
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

impl Matcher {
    /// Takes the tokens that must come next, of which none is a choice; often none.
    ///
    /// # Errors
    /// [`ConstraintError::DeadEnd`].
    pub fn forced(&mut self) -> Result<Vec<u32>, ConstraintError> {
        if self.is_finished() {
            return Ok(Vec::new());
        }
        let forced = self.parser.consume_ff_tokens();
        self.check()?;
        Ok(forced)
    }

    /// The tokens that may come next: a bit each, the lowest of a word first; at least one is set.
    ///
    /// # Errors
    /// [`ConstraintError::DeadEnd`].
    pub fn allowed(&mut self) -> Result<Vec<u32>, ConstraintError> {
        let mask = self.parser.compute_mask_or_eos().map_err(dead_end)?;
        let mut words = mask.as_slice().to_vec();
        words.resize(self.vocabulary.div_ceil(32), 0);
        match words.iter().any(|&word| word != 0) {
            true => Ok(words),
            false => Err(ConstraintError::DeadEnd("this answer".to_owned())),
        }
    }

    /// Takes a token that was allowed.
    ///
    /// # Errors
    /// [`ConstraintError::DeadEnd`] for one that was not.
    pub fn accept(&mut self, id: u32) -> Result<(), ConstraintError> {
        self.parser.consume_token(id).map_err(dead_end)
    }

    /// The same answer so far, to go on in another way.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { parser: self.parser.deep_clone(), vocabulary: self.vocabulary }
    }

    /// Whether the answer is whole and nothing can follow.
    pub fn is_finished(&self) -> bool {
        self.parser.is_stopped()
    }

    /// Whether the answer may end here.
    pub fn may_end(&mut self) -> bool {
        self.is_finished() || self.parser.is_accepting().unwrap_or(false)
    }

    fn check(&self) -> Result<(), ConstraintError> {
        self.parser.get_error().map_or(Ok(()), |error| Err(dead_end(error)))
    }
}

fn dead_end(error: impl fmt::Display) -> ConstraintError {
    ConstraintError::DeadEnd(told(&error.to_string()))
}

/// What llguidance says of an error, without the parser's state that it appends.
fn told(error: &str) -> String {
    error.split("\n<state>").next().unwrap_or(error).trim_end().to_owned()
}

#[cfg(test)]
mod tests;
