//! Whether prompts fit a model's context, before its weights are loaded and pictures encoded.

use fovea_models::{
    Blueprint, RunError, Text,
    constraint::{Constrainer, Constraint},
    image::{Picture, Size},
    prompt::question,
};

use crate::{
    directory::{Model, SmallFiles, weight_files},
    failure::{Failure, Kind, Outcome},
    prompt::{self, Prompt},
};

/// What of a model tells how long a prompt is.
pub(crate) struct Room {
    blueprint: Blueprint,
    text: Text,
}

impl Room {
    /// Reads a model's small files.
    pub(crate) fn open(model: &Model) -> Outcome<Self> {
        let load = |error| Failure::load(model, error);
        let files = SmallFiles::read(model)?;
        weight_files(model, files.files())?;
        let blueprint = Blueprint::read(files.files()).map_err(load)?;
        let text = Text::open(files.files(), &blueprint).map_err(load)?;
        // As the loaded model has it: a template may write the date.
        if let Some(now) = prompt::now() {
            text.set_time(now);
        }
        Ok(Self { blueprint, text })
    }

    /// Refuses a model that cannot answer in words.
    pub(crate) fn words(&self) -> Outcome {
        Ok(self.blueprint.require_words()?)
    }

    /// Refuses an instruction that does not fit beside its picture and an answer of `answer` tokens.
    pub(crate) fn instruction(&self, instruction: &str, picture: &Picture, answer: usize) -> Outcome {
        let ids = self.text.ids(&question(self.blueprint.grammar, instruction))?;
        self.check(ids.len(), &[picture.size()], answer)
    }

    /// Refuses a prompt that does not fit beside its pictures and an answer of `answer` tokens.
    pub(crate) fn prompt(&self, prompt: &Prompt, pictures: &[Picture], answer: usize) -> Outcome {
        let sizes: Vec<Size> = pictures.iter().map(Picture::size).collect();
        match prompt {
            // These may have the rows of pictures already.
            Prompt::Ids(ids) => self.check(ids.len(), &[], answer),
            Prompt::Messages(messages) => self.check(self.text.ids(messages)?.len(), &sizes, answer),
            Prompt::Text(text) => self.check(self.text.tokenizer().encode(text)?.len(), &sizes, answer),
        }
    }

    /// Refuses a grammar that cannot be followed in the model's vocabulary.
    pub(crate) fn constraint(&self, constraint: Option<&Constraint>) -> Outcome {
        let Some(constraint) = constraint else { return Ok(()) };
        let Blueprint { decoder, stop, .. } = &self.blueprint;
        let constrainer = Constrainer::new(self.text.tokenizer(), decoder.vocabulary, stop).map_err(RunError::from)?;
        constrainer.begin(constraint).map_err(RunError::from)?;
        Ok(())
    }

    /// Tokens of a text.
    pub(crate) fn tokens(&self, text: &str) -> Outcome<usize> {
        Ok(self.text.tokenizer().encode(text)?.len())
    }

    /// `ids`: tokens of the prompt with its placeholders.
    fn check(&self, ids: usize, pictures: &[Size], answer: usize) -> Outcome {
        let slots = pictures.len().saturating_mul(self.blueprint.slot.width());
        let mut prompt = ids.saturating_sub(slots);
        for &size in pictures {
            // A picture that does not suit the model is an error of its own, which names the file.
            let tokens = self.blueprint.image_tokens(size).unwrap_or_default();
            prompt = prompt.saturating_add(tokens);
        }
        let capacity = self.blueprint.max_positions;
        if prompt.saturating_add(answer) <= capacity {
            return Ok(());
        }
        let error = RunError::TooLong { prompt, answer, capacity };
        let advice = match prompt < capacity {
            true => format!("ask for at most {} tokens", capacity - prompt),
            false => "shorten the prompt, or take a smaller picture".to_owned(),
        };
        Err(Failure::new(Kind::Input, format_args!("{error}: {advice}")))
    }
}
