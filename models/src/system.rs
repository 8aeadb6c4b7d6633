//! A loaded system: weights on the GPU, tokenizer, template.

use std::sync::{Arc, OnceLock};

use fovea_engine::{
    Gpu, Tensor,
    text::{ChatTemplate, Message, TemplateFiles, Tokenizer},
    weights::{Loader, Policy, Progress},
};

use crate::{
    blocks::{Decoder, QwenVit},
    checkpoint::{Checkpoint, LoadError, RunError},
    constraint::{Constrainer, Constraint, ConstraintError, Matcher},
    systems::{Blueprint, Grammar},
};

/// Weights on the GPU with what it takes to write prompts and read answers. Answering is a
/// [`crate::Session`]'s work.
pub struct System {
    gpu: Gpu,
    blueprint: Blueprint,
    pub(crate) vision: QwenVit,
    pub(crate) decoder: Decoder,
    tokenizer: Arc<Tokenizer>,
    constrainer: OnceLock<Constrainer>,
    template: Option<ChatTemplate>,
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
        let blueprint = Blueprint::read(files)?;
        let tokenizer = Tokenizer::from_tokenizer_json(files.need("tokenizer.json")?)?;
        let template_files = TemplateFiles {
            jinja: files.get("chat_template.jinja"),
            json: files.get("chat_template.json"),
            tokenizer_config: files.get("tokenizer_config.json"),
        };
        // A base model has none; it is needed only by who hands over messages.
        let template = match ChatTemplate::from_files(template_files) {
            Ok(template) => Some(template),
            Err(fovea_engine::text::TextError::NoTemplate) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(token) = tokenizer.token(blueprint.image_token).is_none().then_some(blueprint.image_token) {
            return Err(LoadError::Field {
                file: "config.json",
                field: "image_token_id",
                got: token.to_string(),
                expected: "a token of tokenizer.json".to_owned(),
            });
        }
        let before = gpu.memory();
        let loader = Loader::new(gpu, checkpoint.weights(), policy, progress);
        let root = loader.at("");
        let vision = QwenVit::load(&root.at("visual"), blueprint.vision.clone()).await?;
        let decoder = Decoder::load(&root, blueprint.decoder.clone()).await?;
        gpu.finished().await?;
        // An empty list cannot be bound: an id that no vocabulary has stands for it.
        let stop = if blueprint.stop.is_empty() { vec![u32::MAX] } else { blueprint.stop.clone() };
        let stop = gpu.upload("stop tokens", &[stop.len()], &stop)?;
        Ok(Self {
            gpu: gpu.clone(),
            blueprint,
            vision,
            decoder,
            tokenizer: Arc::new(tokenizer),
            constrainer: OnceLock::new(),
            template,
            stop,
            bytes: gpu.memory() - before,
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
        &self.tokenizer
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
        let made = Constrainer::new(&self.tokenizer, vocabulary, &self.blueprint.stop)?;
        self.constrainer.get_or_init(|| made).begin(constraint)
    }

    /// A conversation as the model was trained to read it, up to where its answer begins.
    ///
    /// # Errors
    /// [`RunError::Text`] if the checkpoint has no chat template, or the template refuses.
    pub fn render(&self, messages: &[Message]) -> Result<String, RunError> {
        let template = self.template.as_ref().ok_or(fovea_engine::text::TextError::NoTemplate)?;
        Ok(template.render(messages, true)?)
    }

    /// An answer's text, as [`crate::grounding::read_answer`] takes it.
    ///
    /// # Errors
    /// [`RunError::Text`] for ids that the tokenizer does not have.
    pub fn decode_answer(&self, ids: &[u32]) -> Result<String, RunError> {
        Ok(match self.blueprint.grammar {
            // It names its boxes between special tokens.
            Grammar::Qwen2Boxes => self.tokenizer.decode_with_special(ids)?,
            Grammar::Qwen2_5Json | Grammar::CogAgent => self.tokenizer.decode(ids)?,
        })
    }
}
