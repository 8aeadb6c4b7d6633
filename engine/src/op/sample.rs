//! Sampling of the next token, and the state of a decode loop that stays on the GPU.
//!
//! Top-k keeps the k largest logits (Fan, Lewis, Dauphin, 2018), top-p the smallest set of the rest whose softmax mass
//! reaches p (Holtzman et al., 2020), in this order and at the given temperature, as transformers do. Logits that equal
//! the last one kept are kept too. The draw is an exponential race: the smallest `E / softmax` wins, `E` exponentially
//! distributed; that is one pass without a cumulative sum, and the same choice for the same seed and step.

use super::prelude::*;
use crate::{error::GpuError, gpu::Gpu};

/// Where a decode loop stands. Programs read and advance it; the processor only resets and reads it.
///
/// A decode step feeds `token` at `position` and puts its key and value into cache row `length`; then
/// [`Recorder::sample`] writes the next token and advances position and length by one. The prompt is fed by a program of
/// its own, with position and length already reset to those after the prompt; it ends with
/// [`Recorder::prefill_sampled`], which writes the first token and advances nothing but the step. So `length` is always
/// the number of cache rows before `token`.
///
/// Once `stopped` is not 0, sampling changes nothing, so that surplus steps are harmless: they feed the last token again,
/// into the same cache row.
#[derive(Clone, Debug)]
pub struct DecodeState {
    /// `[16]` u32:
    ///
    /// - 0, 1, 2: position of `token` (time, row, column; all the same for text)
    /// - 3: `token`, the id to feed next
    /// - 4: `length`, rows in the KV cache before `token`
    /// - 5: `step`, ids written
    /// - 6: `stopped`: 0 running, 1 after a stop token, 2 when `ids` is full
    /// - 7: `seed`
    /// - 8 to 15: reserved
    pub words: Tensor,
    /// `[max_new]` u32: the ids so far, a stop token included; valid up to `step`.
    pub ids: Tensor,
}

impl DecodeState {
    /// Number of [`DecodeState::words`].
    pub const WORDS: usize = 16;
    /// Index of the token.
    pub const TOKEN: usize = 3;
    /// Index of the length.
    pub const LENGTH: usize = 4;
    /// Index of the step.
    pub const STEP: usize = 5;
    /// Index of the reason to have stopped.
    pub const STOPPED: usize = 6;
    /// Index of the seed.
    pub const SEED: usize = 7;

    /// A state for at most `max_new` ids, at least one.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`], [`GpuError::BufferTooLarge`].
    pub fn new(gpu: &Gpu, max_new: usize) -> Result<Self, GpuError> {
        Ok(Self {
            words: gpu.tensor("decode state", &[Self::WORDS], DType::U32)?,
            ids: gpu.tensor("generated ids", &[max_new.max(1)], DType::U32)?,
        })
    }

    /// Begins a generation: the next token goes to `position` on every axis and to cache row `length`.
    ///
    /// # Errors
    /// [`GpuError::Lost`].
    pub fn reset(&self, gpu: &Gpu, position: u32, length: u32, seed: u32) -> Result<(), GpuError> {
        let mut words = [0u32; Self::WORDS];
        words[..3].fill(position);
        words[Self::LENGTH] = length;
        words[Self::SEED] = seed;
        gpu.write(&self.words, 0, &words)
    }

    /// The position of the next token, three coordinates.
    pub fn position_at(&self) -> At<'_> {
        self.words.at(0)
    }

    /// The next token.
    pub fn token_at(&self) -> At<'_> {
        self.words.at(Self::TOKEN)
    }

    /// Rows in the KV cache before the next token.
    pub fn length_at(&self) -> At<'_> {
        self.words.at(Self::LENGTH)
    }
}

/// How the next token is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Sampling<'a> {
    /// Divides the logits; 0 takes the largest.
    pub temperature: f32,
    /// Keeps the k largest logits; 0 keeps all.
    pub top_k: u32,
    /// Keeps the smallest set of the most likely tokens that has this mass; 1 keeps all.
    pub top_p: f32,
    /// `[n]` u32, ids that end the generation; n may be 0.
    pub stop: &'a Tensor,
    /// `[vocab / 32]` u32, rounded up: a bit for each token that may be chosen, the lowest bit first. At least one must
    /// be set; `None` allows all.
    pub allowed: Option<&'a Tensor>,
}

impl<'a> Sampling<'a> {
    /// The largest logit, always.
    pub fn greedy(stop: &'a Tensor) -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, stop, allowed: None }
    }
}

params! {
    struct Params for SAMPLE {
        vocab: u32,
        first: u32,
        temperature: f32,
        top_k: u32,
        top_p: f32,
        stops: u32,
        capacity: u32,
        advance: u32,
        masked: u32,
    }
}

impl Recorder {
    /// Chooses the next token from the last row of `logits`, `[.., vocab]` f32, and advances `state` by the token fed.
    ///
    /// NaN is never chosen, except that id 0 is where every logit is NaN; of equal largest logits, the lowest id is.
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`], [`OpError::Value`] for more than 2^24 logits, a temperature that is
    /// negative or not finite, or a `top_p` not within 0 and 1.
    pub fn sample(&mut self, logits: &Tensor, sampling: Sampling<'_>, state: &DecodeState) -> Result<(), OpError> {
        self.sample_and_advance(logits, sampling, state, 1)
    }

    /// As [`Recorder::sample`], after a prompt: `state` was reset to the position and length after it, which stay.
    ///
    /// # Errors
    /// As [`Recorder::sample`].
    pub fn prefill_sampled(
        &mut self,
        logits: &Tensor,
        sampling: Sampling<'_>,
        state: &DecodeState,
    ) -> Result<(), OpError> {
        self.sample_and_advance(logits, sampling, state, 0)
    }

    fn sample_and_advance(
        &mut self,
        logits: &Tensor,
        sampling: Sampling<'_>,
        state: &DecodeState,
        advance: u32,
    ) -> Result<(), OpError> {
        let check = Check("sample");
        let Sampling { temperature, top_k, top_p, stop, allowed } = sampling;
        check.dtype("logits", logits, DType::F32)?;
        let (rows, vocab) = logits.rows_and_width();
        check.value("vocabulary", vocab, vocab <= 1 << 24, "at most 2^24, which are counted in f32")?;
        let usable = temperature >= 0.0 && temperature.is_finite();
        check.value("temperature", temperature, usable, "a finite number from 0 on")?;
        check.value("top_p", top_p, (0.0..=1.0).contains(&top_p), "0 to 1")?;
        if !stop.is_empty() || stop.dtype() != DType::U32 {
            check.dtype("stop", stop, DType::U32)?;
        }
        if let Some(allowed) = allowed {
            check.tensor("allowed", allowed, &[vocab.div_ceil(32)], DType::U32)?;
        }
        check.tensor("words", &state.words, &[DecodeState::WORDS], DType::U32)?;
        check.dtype("ids", &state.ids, DType::U32)?;

        self.dispatch(Dispatch {
            op: "sample",
            kernel: kernels::SAMPLE.variant().with("THREADS", self.caps().reduction_threads(vocab)),
            params: Params {
                vocab: vocab as u32,
                first: ((rows - 1) * vocab) as u32,
                temperature,
                top_k,
                top_p,
                stops: stop.len() as u32,
                capacity: state.ids.len() as u32,
                advance,
                masked: u32::from(allowed.is_some()),
            },
            // Where all are allowed, the binding is unused: the stop ids serve.
            bindings: &[logits, stop, &state.words, &state.ids, allowed.unwrap_or(stop)],
            workgroups: Workgroups([1, 1, 1]),
            cost: Cost::default().bytes(4 * vocab as u64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{block_on, on_every_gpu, random, reference};
    use proptest::prelude::*;
    use std::{collections::BTreeSet, error::Error};

    /// The ids of `steps` draws from the same logits, and the state after them.
    fn draw(
        gpu: &Gpu,
        logits: &[f32],
        (temperature, top_k, top_p): (f32, u32, f32),
        steps: usize,
        seed: u32,
    ) -> Result<(Vec<u32>, Vec<u32>), Box<dyn Error>> {
        let state = DecodeState::new(gpu, steps)?;
        state.reset(gpu, 100, 50, seed)?;
        let stop = gpu.upload::<u32>("stop", &[0], &[])?;
        let logits = gpu.upload("logits", &[1, logits.len()], logits)?;
        let mut recorder = Recorder::new(gpu);
        recorder.sample(&logits, Sampling { temperature, top_k, top_p, stop: &stop, allowed: None }, &state)?;
        recorder.finish()?.run_times(steps)?;
        Ok((block_on(gpu.read(&state.ids))?, block_on(gpu.read(&state.words))?))
    }

    const GREEDY: (f32, u32, f32) = (0.0, 0, 1.0);

    #[test]
    fn arg_max_takes_the_lowest_of_the_largest() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let cases: [(&[f32], u32); 9] = [
            (&[3.0], 0),
            (&[1.0, 5.0, 5.0, 2.0], 1),
            (&[nan, -2.0, nan, -1.0, -1.0], 3),
            (&[nan, nan, nan], 0),
            (&[-inf, -inf], 0),
            (&[nan, -inf], 1),
            (&[-0.0, 0.0], 0),
            (&[1.0, inf, 2.0], 1),
            (&[-1e-40, -3e38, -1e-39], 0),
        ];
        on_every_gpu(|gpu, _| {
            for (logits, expected) in cases {
                // Denormal numbers may be taken for zeros, all of which are equal.
                assert_eq!(draw(gpu, logits, GREEDY, 1, 0)?.0, [expected], "{logits:?}");
            }
            Ok(())
        });
    }

    #[test]
    fn arg_max_of_every_vocabulary() {
        for vocab in [1, 2, 31, 300, 151_936] {
            let mut logits = random(vocab, vocab as u64);
            // The largest twice, the latter first in another thread's share.
            let largest = logits.iter().copied().fold(f32::MIN, f32::max) + 1.0;
            let (first, second) = (vocab / 3, vocab - 1);
            (logits[first], logits[second]) = (largest, largest);
            on_every_gpu(|gpu, _| {
                assert_eq!(draw(gpu, &logits, GREEDY, 1, 0)?.0, [first as u32], "vocabulary {vocab}");
                Ok(())
            });
        }
    }

    proptest! {
        #![proptest_config(crate::testing::cases(4))]

        /// Draws stay within the reference's set, and where the set is small, they reach all of it that is not unlikely.
        #[test]
        fn draws_come_from_the_set_kept(
            (vocab, top_k, top_p) in (1usize..400, 0u32..20, 0.0f32..1.1),
            (temperature, spread) in (0.3f32..2.0, 0.5f32..4.0),
            seed: u32,
        ) {
            let top_p = top_p.min(1.0);
            let mut logits: Vec<f32> = random(vocab, u64::from(seed)).iter().map(|v| v * spread).collect();
            if vocab > 3 {
                (logits[1], logits[2]) = (f32::NAN, f32::NEG_INFINITY);
            }
            let kept = reference::sampling(&logits, temperature, top_k, top_p);
            // Ids whose being kept hangs on a rounding.
            let (tight, loose) = (
                reference::sampling(&logits, temperature, top_k, top_p - 1e-4),
                reference::sampling(&logits, temperature, top_k, top_p + 1e-4),
            );
            let may: BTreeSet<u32> = loose.iter().map(|&(id, _)| id).collect();
            let draws = 120;
            let must: Vec<u32> = tight
                .iter()
                // Missed with a probability of at most 1e-9.
                .filter(|&&(id, _)| kept.iter().any(|&(other, mass)| other == id && mass > 0.16))
                .map(|&(id, _)| id)
                .collect();
            on_every_gpu(|gpu, _| {
                let (ids, _) = draw(gpu, &logits, (temperature, top_k, top_p), draws, seed)?;
                let drawn: BTreeSet<u32> = ids.iter().copied().collect();
                let outside: Vec<_> = drawn.difference(&may).collect();
                assert!(outside.is_empty(), "drawn beyond the set kept: {outside:?}");
                assert!(must.iter().all(|id| drawn.contains(id)), "{must:?} not all in {drawn:?}");
                Ok(())
            });
        }
    }

    /// Large vocabularies: exact counts, with ties at the threshold kept.
    #[test]
    fn top_k_is_exact_in_a_large_vocabulary() {
        let vocab = 151_936;
        let mut logits = random(vocab, 3);
        // Three large ones, then two equal ones: k = 4 keeps all five.
        for (id, logit) in [(7usize, 20.5f32), (70_000, 20.25), (151_935, 20.75), (12, 20.0), (99_999, 20.0)] {
            logits[id] = logit;
        }
        on_every_gpu(|gpu, _| {
            let (ids, _) = draw(gpu, &logits, (1.0, 4, 1.0), 60, 1)?;
            assert_eq!(ids.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([7, 12, 70_000, 99_999, 151_935]));
            Ok(())
        });
    }

    /// Pearson's statistic of many draws. With 9 degrees of freedom it exceeds 35 once in 17,000 seeds; the seed is fixed.
    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0f32, 1.0, -1.0, 2.0, 0.5, 0.5, -2.0, 1.5, 0.0, -0.5, f32::NAN];
        let draws = 4000;
        for seed in [1, 2, 0xffff_ffff] {
            let expected = reference::sampling(&logits, 0.8, 0, 1.0);
            on_every_gpu(|gpu, _| {
                let (ids, _) = draw(gpu, &logits, (0.8, 0, 1.0), draws, seed)?;
                let statistic: f64 = expected
                    .iter()
                    .map(|&(id, mass)| {
                        let wanted = mass * draws as f64;
                        let got = ids.iter().filter(|&&drawn| drawn == id).count() as f64;
                        (got - wanted).powi(2) / wanted
                    })
                    .sum();
                assert!(statistic < 35.0, "seed {seed}: {statistic}");
                Ok(())
            });
        }
    }

    /// What is not allowed is never chosen, greedily or drawn, and the draw among the others is theirs alone.
    #[test]
    fn only_what_is_allowed_is_chosen() {
        let vocab = 1000;
        let logits = random(vocab, 9);
        let allowed: BTreeSet<u32> = [31, 32, 63, 64, 500, 999].into();
        let mut bits = vec![0u32; vocab.div_ceil(32)];
        allowed.iter().for_each(|id| bits[*id as usize / 32] |= 1 << (id % 32));
        let best = allowed.iter().copied().max_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize])).unwrap();
        on_every_gpu(|gpu, _| {
            let stop = gpu.upload::<u32>("stop", &[0], &[])?;
            let (on_gpu, bits) =
                (gpu.upload("logits", &[1, vocab], &logits)?, gpu.upload("bits", &[bits.len()], &bits)?);
            for (temperature, top_k, expected) in [(0.0, 0, vec![best]), (1.0, 1, vec![best]), (5.0, 0, vec![])] {
                let state = DecodeState::new(gpu, 200)?;
                state.reset(gpu, 0, 0, 3)?;
                let mut recorder = Recorder::new(gpu);
                let sampling = Sampling { temperature, top_k, allowed: Some(&bits), ..Sampling::greedy(&stop) };
                recorder.sample(&on_gpu, sampling, &state)?;
                recorder.finish()?.run_times(200)?;
                let drawn: BTreeSet<u32> = block_on(gpu.read(&state.ids))?.into_iter().collect();
                // Nearly flat: 200 draws miss one of six with a probability below 1e-12.
                let expected = if expected.is_empty() { allowed.clone() } else { expected.into_iter().collect() };
                assert_eq!(drawn, expected, "temperature {temperature}, top_k {top_k}");
            }
            Ok(())
        });
    }

    #[test]
    fn state_advances_until_a_stop_token_or_the_end() {
        on_every_gpu(|gpu, _| {
            let state = DecodeState::new(gpu, 4)?;
            let stop = gpu.upload("stop", &[2], &[9u32, 2])?;
            let row = |largest: usize| (0..5).map(|id| if id == largest { 1.0f32 } else { 0.0 }).collect::<Vec<_>>();
            // Of two rows the last counts.
            let logits = gpu.upload("logits", &[2, 5], &[row(4), row(3)].concat())?;
            let mut prompt = Recorder::new(gpu);
            prompt.prefill_sampled(&logits, Sampling::greedy(&stop), &state)?;
            let prompt = prompt.finish()?;
            let mut step = Recorder::new(gpu);
            step.sample(&logits, Sampling::greedy(&stop), &state)?;
            let step = step.finish()?;
            let words = || block_on(gpu.read::<u32>(&state.words));

            state.reset(gpu, 30, 40, 5)?;
            prompt.run()?;
            assert_eq!(words()?[..8], [30, 30, 30, 3, 40, 1, 0, 5]);
            step.run()?;
            assert_eq!(words()?[..8], [31, 31, 31, 3, 41, 2, 0, 5]);
            gpu.write(&logits, 5, &row(2))?;
            step.run_times(3)?;
            assert_eq!(words()?[..8], [32, 32, 32, 2, 42, 3, 1, 5]);
            assert_eq!(block_on(gpu.read::<u32>(&state.ids))?, [3, 3, 2, 0]);

            state.reset(gpu, 0, 0, 0)?;
            gpu.write(&logits, 5, &row(1))?;
            prompt.run()?;
            step.run_times(9)?;
            assert_eq!(words()?[..8], [3, 3, 3, 1, 3, 4, 2, 0]);
            assert_eq!(block_on(gpu.read::<u32>(&state.ids))?, [1; 4]);
            Ok(())
        });
    }

    #[test]
    fn wrong_arguments_are_named() {
        on_every_gpu(|gpu, run| {
            let state = DecodeState::new(gpu, 1)?;
            let logits = gpu.upload("logits", &[1, 2], &[0.0f32; 2])?;
            let stop = gpu.upload::<u32>("stop", &[0], &[])?;
            let wrong = |sampling: Sampling<'_>| {
                let error = run.record_all(|rec| {
                    rec.sample(&logits, sampling, &state)?;
                    Ok(vec![])
                });
                error.unwrap_err().to_string()
            };
            let greedy = Sampling::greedy(&stop);
            let error = wrong(Sampling { temperature: f32::NAN, ..greedy });
            assert_eq!(error, "sample: temperature is NaN, expected a finite number from 0 on");
            assert_eq!(wrong(Sampling { top_p: 1.5, ..greedy }), "sample: top_p is 1.5, expected 0 to 1");
            assert_eq!(wrong(Sampling { stop: &logits, ..greedy }), "sample: stop is F32, expected U32");
            let short = gpu.upload("allowed", &[2], &[u32::MAX; 2])?;
            let error = wrong(Sampling { allowed: Some(&short), ..greedy });
            assert_eq!(error, "sample: allowed is [2], expected [1]");
            Ok(())
        });
    }
}
