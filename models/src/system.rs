//! A loaded system: weights on the GPU, tokenizer, template.

use std::sync::OnceLock;

use fovea_engine::{
    Gpu, Tensor,
    text::{Conversation, LocalTime, Tokenizer},
    weights::{Loader, Policy, Progress},
};

use crate::{
    blocks::{Decoder, Vision},
    checkpoint::Checkpoint,
    constraint::{Constrainer, Constraint, ConstraintError, Matcher},
    error::{LoadError, RunError},
    grounding::Grammar,
    names::Spelling,
    prompt::ChatFormat,
    stops::stops,
    systems::Blueprint,
    tensor_check,
    text::Text,
};

/// Weights on the GPU with what it takes to write prompts and read answers. Answering is a
/// [`crate::Session`]'s work.
pub struct System {
    gpu: Gpu,
    blueprint: Blueprint,
    pub(crate) vision: Vision,
    pub(crate) decoder: Decoder,
    text: Text,
    constrainer: OnceLock<Constrainer>,
    pub(crate) stop: Tensor,
    bytes: u64,
}

impl System {
    /// Loads a checkpoint; `progress` hears how far it is.
    ///
    /// # Errors
    /// [`LoadError`] that names the file, the tensor or the field.
    pub async fn load(
        checkpoint: &Checkpoint,
        gpu: &Gpu,
        policy: Policy,
        progress: &dyn Fn(Progress),
    ) -> Result<Self, LoadError> {
        let files = checkpoint.files();
        let weights = checkpoint.weights();
        let mut blueprint = Blueprint::read(files)?.fit(weights);
        tensor_check::check_kind(weights)?;
        let text = Text::open(files, &blueprint)?;
        let token = blueprint.slot.token;
        if text.tokenizer().token(token).is_none() {
            return Err(LoadError::Field {
                file: "config.json",
                field: match blueprint.chat {
                    ChatFormat::Template | ChatFormat::Prefix { .. } => "image_token_id",
                    ChatFormat::Glm4 | ChatFormat::Cog { .. } => "pad_token_id",
                    ChatFormat::Kosmos2 { .. } => "text_config.vocab_size",
                },
                got: token.to_string(),
                expected: "a token of the tokenizer".to_owned(),
            });
        }
        // An earlier load that did not fit has freed what it took.
        gpu.recover_memory();
        let before = gpu.memory();
        blueprint.stop = stops(files, &blueprint, &text)?;
        let spelling = Spelling::of(weights);
        let spell = |name: &str| spelling.spell(name);
        tensor_check::check_head(weights, &blueprint, &spelling).await?;
        let loader = Loader::new(gpu, weights, policy, progress).spelled(&spell);
        let root = loader.at("");
        let vision = Vision::load(&root, blueprint.vision.clone()).await?;
        let decoder = Decoder::load(&root, blueprint.decoder.clone()).await?;
        tensor_check::all_used(&loader.unasked(), weights, &blueprint, &spelling)?;
        gpu.finished().await?;
        let stop = gpu.upload("stop tokens", &[blueprint.stop.len()], &blueprint.stop)?;
        Ok(Self {
            gpu: gpu.clone(),
            blueprint,
            vision,
            decoder,
            text,
            constrainer: OnceLock::new(),
            stop,
            // Something else on this GPU may be freed while this loads.
            bytes: gpu.memory().saturating_sub(before),
        })
    }

    /// The GPU that holds it.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Bytes that its weights take on the GPU.
    pub fn weight_bytes(&self) -> u64 {
        self.bytes
    }

    /// Its sizes and conventions.
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.text.tokenizer()
    }

    /// That it answers questions in words, which a model that only grounds instructions does not. Whoever lets it write
    /// freely asks this first.
    ///
    /// # Errors
    /// [`RunError::GroundsOnly`].
    pub fn require_words(&self) -> Result<(), RunError> {
        self.blueprint.require_words()
    }

    /// What its answer to `instruction` must look like, so that [`crate::grounding::read_answer`] reads it.
    pub fn grounding(&self, instruction: &str) -> Constraint {
        match self.blueprint.quotes {
            true => Constraint::Quoting(self.blueprint.grammar, instruction.to_owned()),
            false => Constraint::Grounding(self.blueprint.grammar),
        }
    }

    /// Begins an answer within a grammar. The first call makes the vocabulary ready, which takes a moment for a large
    /// one.
    ///
    /// # Errors
    /// [`ConstraintError`].
    pub fn constrain(&self, constraint: &Constraint) -> Result<Matcher, ConstraintError> {
        if let Some(constrainer) = self.constrainer.get() {
            return constrainer.begin(constraint);
        }
        let vocabulary = self.blueprint.decoder.vocabulary;
        let made = Constrainer::new(self.text.tokenizer(), vocabulary, &self.blueprint.stop)?;
        self.constrainer.get_or_init(|| made).begin(constraint)
    }

    /// A conversation as the model was trained to read it, up to where its answer begins.
    ///
    /// # Errors
    /// As [`Text::render`].
    pub fn render<'a>(&self, conversation: impl Into<Conversation<'a>>) -> Result<String, RunError> {
        self.text.render(conversation)
    }

    /// A conversation's ids, slots of pictures not expanded.
    ///
    /// # Errors
    /// As [`Text::render`].
    pub fn ids<'a>(&self, conversation: impl Into<Conversation<'a>>) -> Result<Vec<u32>, RunError> {
        self.text.ids(conversation)
    }

    /// As [`Text::set_time`].
    pub fn set_time(&self, time: LocalTime) {
        self.text.set_time(time);
    }

    /// An answer's text, as [`crate::grounding::read_answer`] takes it.
    ///
    /// # Errors
    /// [`RunError::Text`] for ids that the tokenizer does not have.
    pub fn decode_answer(&self, ids: &[u32]) -> Result<String, RunError> {
        Ok(match self.blueprint.grammar {
            // They name their boxes between special tokens, or by them.
            Grammar::Qwen2Boxes | Grammar::InternBoxes | Grammar::Kosmos2Cells => {
                self.tokenizer().decode_with_special(ids)?
            }
            Grammar::Qwen2_5Json
            | Grammar::CogAgent
            | Grammar::CogAgentSteps
            | Grammar::CogBoxes
            | Grammar::UnitBoxes
            | Grammar::PaliGemma
            | Grammar::Words => self.tokenizer().decode(ids)?,
        })
    }
}
