//! Answers within a grammar.

use super::{GenerateOptions, OnStage, Prepared, Row, RunError, Session, Settings};
use crate::constraint::Matcher;

/// An answer that follows its grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its tokens, without the stop token.
    pub ids: Vec<u32>,
    /// How many of them the grammar left no choice for: they were read with the prompt, or in one go, and cost no step
    /// of decoding.
    pub forced: usize,
    /// Whether the answer is whole; if not, it has as many tokens as were asked for, or the caller ended it.
    pub whole: bool,
}

impl Prepared {
    /// The same prompt with text tokens behind it.
    #[must_use]
    pub fn followed_by(&self, ids: &[u32]) -> Self {
        let mut whole = self.clone();
        ids.iter().for_each(|&id| whole.push(id));
        whole
    }

    /// A text token behind all others.
    fn push(&mut self, id: u32) {
        self.ids.push(id);
        self.rows.push(Row::Token(id));
        if !self.visual.is_empty() {
            self.visual.push(false);
        }
        self.positions.axes.iter_mut().for_each(|axis| axis.push(self.positions.next));
        self.positions.next += 1;
    }
}

impl Session {
    /// Answers a prompt within a grammar, of which `matcher` is at the beginning. What the grammar forces is appended in
    /// one prefill, unless rows of a prefill would see those behind them; where it leaves a choice, a step draws among
    /// the tokens that it allows. `on_token` hears each id, and ends the answer by returning `false`.
    ///
    /// # Errors
    /// [`RunError::Constraint`] if no token of the vocabulary goes on; else as [`Session::generate`].
    pub async fn generate_within(
        &mut self,
        prompt: &Prepared,
        matcher: &mut Matcher,
        options: &GenerateOptions,
        on_stage: OnStage<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Answer, RunError> {
        self.reserve(prompt, options.max_tokens)?;
        let settings = Settings { masked: true, ..Settings::from(options) };
        self.look_at(prompt)?;
        self.record_step(settings)?;
        let whole_prompt = self.system.blueprint().decoder.options.whole_prompt;
        let mut so_far = prompt.clone();
        let mut answer = Answer { ids: Vec::new(), forced: 0, whole: false };
        // Steps since the state was last reset: where the next id lies.
        let mut steps = 0;
        let (mut fresh, mut prompt_read) = (true, false);
        loop {
            let forced = if whole_prompt { Vec::new() } else { matcher.forced()? };
            for id in forced {
                if answer.ids.len() >= options.max_tokens {
                    return Ok(answer);
                }
                answer.ids.push(id);
                answer.forced += 1;
                so_far.push(id);
                fresh = true;
                if !on_token(id) {
                    return Ok(answer);
                }
            }
            if matcher.is_finished() {
                answer.whole = true;
                return Ok(answer);
            }
            if answer.ids.len() >= options.max_tokens {
                return Ok(answer);
            }
            self.gpu().write(&self.allowed, 0, &matcher.allowed()?)?;
            if fresh {
                // Another seed each time: the step that the draw depends on begins anew.
                let seed = options.seed.wrapping_add(answer.ids.len() as u32);
                let hear: OnStage<'_> = if prompt_read { &|_| () } else { on_stage };
                self.prefill(&so_far, settings, seed, hear).await?;
                (steps, fresh, prompt_read) = (0, false, true);
            } else if let Some(memory) = &self.now.memory
                && let Some((_, step, _)) = &memory.step
            {
                step.run()?;
                // The step fed the last token, whose row the cache now has.
                self.now.rows.clone_from(&so_far.rows);
                steps += 1;
            }
            let Some(memory) = &self.now.memory else { return Ok(answer) };
            let read = self.gpu().read_later::<u32>(&memory.state.ids, steps, 1)?.await?;
            self.check_memory()?;
            let Some(&id) = read.first() else { return Ok(answer) };
            matcher.accept(id)?;
            if self.system.blueprint().stop.contains(&id) {
                answer.whole = true;
                return Ok(answer);
            }
            answer.ids.push(id);
            so_far.push(id);
            if !on_token(id) {
                return Ok(answer);
            }
        }
    }
}
