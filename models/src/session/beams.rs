//! Beam search: the likeliest answers, found side by side.
//!
//! The prompt's keys and values are shared by all beams, and those of a beam's tokens by all that descend from it: rows
//! stay where they were written, and each row sees the prompt and its own ancestors (see
//! [`fovea_engine::op::Ancestors`]). All beams run in one submission, each weight read once for all of them. Of the
//! logits, the processor finds the best. The rules are those of `transformers`' beam search (Graves, "Sequence
//! Transduction with Recurrent Neural Networks", 2012, with a length penalty as in Wu et al., "GNMT", 2016).

use fovea_engine::Recorder;

use super::{OnStage, Prepared, RunError, Session, score::LogSoftmax};
use crate::{
    blocks::{Context, Rows, Tree},
    constraint::Matcher,
};

/// How a beam search goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeamOptions {
    /// Answers that are followed side by side; 1 takes the likeliest token always.
    pub width: usize,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// What an answer is ranked by: its log-probability over its length to this power. 0 ranks by the probability alone,
    /// 1 by the mean of its tokens; more favours longer answers.
    pub length_penalty: f64,
}

impl Default for BeamOptions {
    fn default() -> Self {
        Self { width: 4, max_tokens: 128, length_penalty: 1.0 }
    }
}

/// An answer that a beam search has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, without the stop token.
    pub ids: Vec<u32>,
    /// Natural logarithm of the probability of its tokens, the stop token included. Under a grammar it is that of the
    /// free model: what the grammar forbids counts as well.
    pub log_probability: f64,
    /// What it is ranked by.
    pub score: f64,
    /// Whether it is whole; if not, it has as many tokens as were asked for.
    pub whole: bool,
}

/// An answer that goes on.
struct Beam {
    ids: Vec<u32>,
    log_probability: f64,
    /// Where its tokens' rows lie, counted behind the prompt; the last token has none yet.
    rows: Vec<usize>,
    matcher: Option<Matcher>,
}

/// A token that could follow a beam.
#[derive(Clone, Copy)]
struct Candidate {
    beam: usize,
    id: u32,
    log_probability: f64,
}

impl BeamOptions {
    fn score(&self, log_probability: f64, tokens: usize) -> f64 {
        log_probability / (tokens.max(1) as f64).powf(self.length_penalty)
    }
}

impl Session {
    /// The best answers to a prompt, the best first; at most as many as the search is wide. With a `matcher`, which
    /// stands at the beginning of its grammar, all of them keep to it.
    ///
    /// # Errors
    /// [`RunError::Constraint`] if no token of the vocabulary goes on; else as [`Session::generate`].
    pub async fn search(
        &mut self,
        prompt: &Prepared,
        matcher: Option<&Matcher>,
        options: &BeamOptions,
        on_stage: OnStage<'_>,
    ) -> Result<Vec<Hypothesis>, RunError> {
        let options = BeamOptions { width: options.width.max(1), ..*options };
        self.reserve_beams(prompt, options.max_tokens, options.width)?;
        let mut rec = Recorder::new(self.gpu());
        let (_, prefill) = self.record_prefill(&mut rec, prompt, Rows::Last)?;
        rec.keep(&prefill.logits);
        let program = rec.finish()?;
        self.read_rows(&program, prompt, on_stage).await?;
        let mut logits: Vec<f32> = program.read(&prefill.logits).await?;

        let first =
            Beam { ids: Vec::new(), log_probability: 0.0, rows: Vec::new(), matcher: matcher.map(Matcher::fork) };
        let (mut beams, mut found, mut used) = (vec![first], Vec::new(), 0);
        for tokens in 1..=options.max_tokens {
            let candidates = self.candidates(&mut beams, &logits, options.width)?;
            beams = self.advance(beams, &candidates, &options, &mut found)?;
            found.sort_by(|a: &Hypothesis, b| b.score.total_cmp(&a.score));
            found.truncate(options.width);
            let best = beams.iter().map(|beam| options.score(beam.log_probability, beam.ids.len()));
            let best = best.fold(f64::NEG_INFINITY, f64::max);
            // Judged by what the best beam has now, as transformers' `early_stopping=False` does: a length penalty may
            // raise it yet.
            let beaten = found.len() == options.width && found.last().is_some_and(|worst| worst.score >= best);
            if beams.is_empty() || beaten || tokens == options.max_tokens {
                break;
            }
            logits = self.step_beams(prompt, &mut beams, &mut used).await?;
        }
        let full = beams.into_iter().map(|beam| hypothesis(beam.ids, beam.log_probability, false, &options));
        // An answer that broke off counts only where there are not enough whole ones.
        let mut rest: Vec<Hypothesis> = full.collect();
        rest.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.extend(rest);
        found.truncate(options.width);
        Ok(found)
    }

    /// The best tokens to follow any of the beams, the best first: enough that `width` beams go on even if all stop
    /// tokens are among them.
    fn candidates(&self, beams: &mut [Beam], logits: &[f32], width: usize) -> Result<Vec<Candidate>, RunError> {
        let blueprint = self.system.blueprint();
        let vocabulary = blueprint.decoder.vocabulary;
        let most = width + blueprint.stop.len();
        let mut all = Vec::new();
        for (beam, logits) in logits.chunks_exact(vocabulary).enumerate().take(beams.len()) {
            let Some(own) = beams.get_mut(beam) else { continue };
            let allowed = own.matcher.as_mut().map(Matcher::allowed).transpose()?;
            let is_allowed = |id: usize| match &allowed {
                Some(words) => words.get(id / 32).is_some_and(|word| word >> (id % 32) & 1 == 1),
                None => true,
            };
            let softmax = LogSoftmax::of(logits);
            // NaN is never chosen.
            let mut best: Vec<(u32, f32)> = (0u32..)
                .zip(logits.iter().copied())
                .filter(|&(id, logit)| !logit.is_nan() && is_allowed(id as usize))
                .collect();
            let by_logit = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            if best.len() > most {
                best.select_nth_unstable_by(most, by_logit);
                best.truncate(most);
            }
            all.extend(best.into_iter().map(|(id, _)| Candidate {
                beam,
                id,
                log_probability: own.log_probability + softmax.at(logits, id),
            }));
        }
        all.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability).then((a.beam, a.id).cmp(&(b.beam, b.id))));
        Ok(all)
    }

    /// The beams that go on; those that end are `found`.
    fn advance(
        &self,
        beams: Vec<Beam>,
        candidates: &[Candidate],
        options: &BeamOptions,
        found: &mut Vec<Hypothesis>,
    ) -> Result<Vec<Beam>, RunError> {
        let mut next = Vec::with_capacity(options.width);
        for (rank, &Candidate { beam, id, log_probability }) in candidates.iter().enumerate() {
            if next.len() == options.width {
                break;
            }
            let Some(from) = beams.get(beam) else { continue };
            let stops = self.system.blueprint().stop.contains(&id);
            if stops {
                // A beam that ends takes the place of one that would have gone on.
                if rank < options.width {
                    let mut ended = hypothesis(from.ids.clone(), log_probability, true, options);
                    ended.score = options.score(log_probability, from.ids.len() + 1);
                    found.push(ended);
                }
                continue;
            }
            let mut matcher = from.matcher.as_ref().map(Matcher::fork);
            if let Some(matcher) = &mut matcher {
                matcher.accept(id)?;
            }
            let ids = from.ids.iter().copied().chain([id]).collect();
            if matcher.as_ref().is_some_and(Matcher::is_finished) {
                found.push(hypothesis(ids, log_probability, true, options));
                continue;
            }
            next.push(Beam { ids, log_probability, rows: from.rows.clone(), matcher });
        }
        Ok(next)
    }

    /// Feeds the last token of each beam; yields `[beams, vocabulary]`. `used` rows behind the prompt are taken.
    async fn step_beams(
        &mut self,
        prompt: &Prepared,
        beams: &mut [Beam],
        used: &mut usize,
    ) -> Result<Vec<f32>, RunError> {
        let past = prompt.ids.len() + *used;
        let ids: Vec<u32> = beams.iter().filter_map(|beam| beam.ids.last().copied()).collect();
        let count = ids.len();
        for beam in beams.iter_mut() {
            beam.rows.push(*used);
            *used += 1;
        }
        let Some(memory) = &self.now.memory else { return Ok(Vec::new()) };
        let gpu = self.gpu().clone();
        let mut rec = Recorder::new(&gpu);
        let ids = gpu.upload("last tokens", &[count], &ids)?;
        let fed = beams.first().map_or(0, |beam| beam.ids.len().saturating_sub(1));
        let axes = prompt.positions.axes.len();
        let positions = vec![prompt.positions.next + fed as u32; count * axes];
        let positions = gpu.upload("positions", &[positions.len()], &positions)?;
        let ancestors: Vec<_> = beams.iter().map(|beam| beam.rows.clone()).collect();
        let decoder = &self.system.decoder;
        let x = decoder.record_embedding(&mut rec, (&ids).into(), count)?;
        let context = Context {
            cache: &memory.cache,
            tables: &memory.tables,
            past,
            visual: &[],
            cross: memory.cross.as_ref().map(|cross| &*cross.cache),
            cross_ranges: &prompt.cross_ranges,
            tree: Some(Tree { prompt: prompt.ids.len(), ancestors: &ancestors }),
        };
        let logits = decoder.record_prefill(&mut rec, x, &positions, &context, Rows::All)?.logits;
        rec.keep(&logits);
        let program = rec.finish()?;
        program.run()?;
        let logits = program.read(&logits).await?;
        self.check_memory()?;
        Ok(logits)
    }
}

fn hypothesis(ids: Vec<u32>, log_probability: f64, whole: bool, options: &BeamOptions) -> Hypothesis {
    let score = options.score(log_probability, ids.len());
    Hypothesis { ids, log_probability, score, whole }
}
