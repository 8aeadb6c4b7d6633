//! A session: pictures encoded once, a KV cache that is reused while prompts grow, answers token by token.

mod ask;
mod beams;
mod closer;
mod encode;
mod encoded;
mod prepare;
mod prepared;
mod score;
mod within;

pub use ask::Asked;
pub use beams::{BeamOptions, Hypothesis};
pub use closer::Closer;
pub use encode::VisionStages;
pub(crate) use encode::patchify;
pub use encoded::EncodedImage;
pub use prepared::Prepared;
use prepared::Row;
pub use within::Answer;

use std::sync::Arc;

use fovea_engine::{
    DType, Gpu, GpuError, Program, Recorder, Tensor,
    op::{DecodeState, Sampling},
};

use crate::{
    blocks::{Context, CrossCache, KvCache, PositionTables, Rows, Tree},
    error::RunError,
    system::System,
};

/// Floating-point operations of one submission while a picture is encoded or a prompt prefilled: a fraction of a second
/// on a slow adapter of its kind, so that progress moves and no watchdog bites, and long beside the wait at its end.
fn pace(gpu: &Gpu) -> u64 {
    if gpu.caps().software { 1_000_000_000 } else { 50_000_000_000 }
}

/// Tokens that one submission decodes. The answer is read back while the next ones already run.
const STEPS: usize = 4;

/// A KV cache grows by this many tokens.
const CAPACITY_STEP: usize = 512;

/// How an answer is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// 0 takes the likeliest token always.
    pub temperature: f32,
    /// Only this many of the likeliest; 0: all.
    pub top_k: u32,
    /// Only the likeliest with this total probability; 1: all.
    pub top_p: f32,
    /// Seed of the draw.
    pub seed: u32,
    /// Go on after a stop token, for comparison with a reference.
    pub ignore_stop: bool,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: 128, temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0, ignore_stop: false }
    }
}

/// What a prefill that keeps everything yields.
pub struct PrefillStages {
    /// `[tokens, hidden]`, output of the first layer.
    pub hidden_first: Vec<f32>,
    /// `[tokens, hidden]`, output of the last layer.
    pub hidden_last: Vec<f32>,
    /// `[tokens, vocabulary]`.
    pub logits: Vec<f32>,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// A picture is being encoded: share done.
    Encode(f32),
    /// The prompt is being read: share done.
    Prefill(f32),
}

/// What a caller hears while it waits.
pub type OnStage<'a> = &'a dyn Fn(Stage);

/// Memory and programs that depend on the KV cache's capacity.
struct Memory {
    cache: KvCache,
    tables: PositionTables,
    /// Positions below this one are in the tables. A prompt about a part of a picture has few rows at the positions
    /// of the whole, so they may be beyond the capacity.
    positions: usize,
    state: DecodeState,
    step: Option<(Settings, Program, Tensor)>,
    /// The pictures that the rows of the cache have attended to, which the step goes on doing.
    cross: Option<Pictures>,
}

/// Pictures that the decoder attends to.
struct Pictures {
    hashes: Vec<[u8; 32]>,
    cache: Arc<CrossCache>,
}

/// How a token is chosen: what the recorded step depends on.
#[derive(Clone, Copy, PartialEq)]
struct Settings {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    ignore_stop: bool,
    /// Only among the tokens that [`Session::allowed`] has.
    masked: bool,
}

impl From<&GenerateOptions> for Settings {
    fn from(options: &GenerateOptions) -> Self {
        let GenerateOptions { temperature, top_k, top_p, ignore_stop, .. } = *options;
        Self { temperature, top_k, top_p, ignore_stop, masked: false }
    }
}

/// A KV cache and what it holds.
#[derive(Default)]
struct Kept {
    memory: Option<Memory>,
    rows: Vec<Row>,
    /// How many of these rows the last prompt had: the others were answered.
    read: usize,
}

/// Answers prompts with a [`System`].
pub struct Session {
    system: Arc<System>,
    /// What the last prompt was read into.
    now: Kept,
    /// What prompts of the other kind are read into: those with a part of a picture only have a cache of their own, so that
    /// the whole need not be read again behind them.
    aside: Kept,
    /// Whether the last prompt had a part only.
    part: bool,
    encoded: Vec<Arc<EncodedImage>>,
    /// [`Gpu::recoveries`] when all this was taken, or later.
    recoveries: u64,
    never: Tensor,
    /// The tokens that a grammar allows next: a bit each.
    allowed: Tensor,
}

impl Session {
    /// A session without memory; the first prompt decides how much is taken.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn new(system: &Arc<System>) -> Result<Self, GpuError> {
        let never = system.gpu().upload("no stop token", &[1], &[u32::MAX])?;
        let words = system.blueprint().decoder.vocabulary.div_ceil(32);
        let allowed = system.gpu().tensor("allowed tokens", &[words], DType::U32)?;
        Ok(Self {
            system: Arc::clone(system),
            now: Kept::default(),
            aside: Kept::default(),
            part: false,
            encoded: Vec::new(),
            recoveries: system.gpu().recoveries(),
            never,
            allowed,
        })
    }

    /// The system that answers.
    pub fn system(&self) -> &Arc<System> {
        &self.system
    }

    fn gpu(&self) -> &Gpu {
        self.system.gpu()
    }

    /// Rows of the last prompt and answer that the KV cache holds.
    pub fn cached_rows(&self) -> usize {
        self.now.rows.len()
    }

    /// After the GPU ran out of memory, whoever noticed it first, drops all that may be missing, so that the next call starts
    /// anew instead of failing for good.
    fn recover_memory(&mut self) {
        if matches!(self.gpu().check(), Err(GpuError::OutOfMemory { .. })) {
            self.gpu().recover_memory();
        }
        if self.recoveries != self.gpu().recoveries() {
            (self.now, self.aside) = (Kept::default(), Kept::default());
            self.encoded.clear();
            self.recoveries = self.gpu().recoveries();
        }
    }

    /// That nobody has recovered the GPU since this call began: what the call has read may be of memory that does not exist.
    fn check_memory(&self) -> Result<(), GpuError> {
        match self.recoveries == self.gpu().recoveries() {
            true => Ok(()),
            false => Err(GpuError::OutOfMemory {
                what: None,
                message: "meanwhile, as another session on this device found".to_owned(),
            }),
        }
    }

    /// Turns to the cache that a prompt is read into, and takes memory for it and its answer, unless there is enough.
    fn reserve(&mut self, prompt: &Prepared, answer: usize) -> Result<(), RunError> {
        self.reserve_beams(prompt, answer, 1)
    }

    /// As [`Session::reserve`], for several answers side by side.
    fn reserve_beams(&mut self, prompt: &Prepared, answer: usize, beams: usize) -> Result<(), RunError> {
        self.recover_memory();
        if prompt.part != self.part {
            std::mem::swap(&mut self.now, &mut self.aside);
            self.part = prompt.part;
        }
        let positions = prompt.positions.end(answer);
        let prompt = prompt.ids.len();
        let most = self.system.blueprint().max_positions;
        if prompt.saturating_add(answer) > most {
            return Err(RunError::TooLong { prompt, answer, capacity: most });
        }
        let needed = prompt.saturating_add(answer.saturating_mul(beams));
        let most = most.max(needed);
        let fits = |memory: &Memory| memory.cache.capacity() >= needed && memory.positions >= positions;
        if self.now.memory.as_ref().is_some_and(fits) {
            return Ok(());
        }
        // Freed before the larger one is taken.
        self.now.memory = None;
        self.now.rows.clear();
        let capacity = needed.next_multiple_of(CAPACITY_STEP).min(most);
        let positions = capacity.max(positions.next_multiple_of(CAPACITY_STEP));
        let gpu = self.gpu();
        let decoder = &self.system.decoder;
        self.now.memory = Some(Memory {
            cache: KvCache::new(gpu, decoder.config(), capacity)?,
            tables: decoder.tables(gpu, positions)?,
            positions,
            state: DecodeState::new(gpu, capacity)?,
            step: None,
            cross: None,
        });
        Ok(())
    }

    /// Turns to the pictures that the decoder attends to while it reads `prompt`; what was read with others is forgotten.
    fn look_at(&mut self, prompt: &Prepared) -> Result<(), RunError> {
        let wanted = prompt.attended().map(|seen| (prompt.images.iter().map(|it| it.hash).collect::<Vec<_>>(), seen));
        let Some(memory) = &self.now.memory else { return Ok(()) };
        let looked = memory.cross.as_ref().map(|cross| (cross.hashes.clone(), cross.cache.seen()));
        if looked == wanted {
            return Ok(());
        }
        let cross = match (wanted, prompt.images.as_slice()) {
            (None, _) | (_, []) => None,
            // Layers that look besides reading the text look at the first picture.
            (Some((hashes, _)), [one, rest @ ..]) if rest.is_empty() || prompt.cross_ranges.is_empty() => {
                one.cross.clone().map(|cache| Pictures { hashes, cache })
            }
            (Some((hashes, seen)), several) => {
                Some(Pictures { hashes, cache: Arc::new(self.join_features(several, seen)?) })
            }
        };
        self.now.rows.clear();
        if let Some(memory) = &mut self.now.memory {
            (memory.cross, memory.step) = (cross, None);
        }
        Ok(())
    }

    /// Records the prefill of the rows that the cache does not hold yet; returns how many it does.
    fn record_prefill(
        &mut self,
        rec: &mut Recorder,
        prompt: &Prepared,
        rows: Rows,
    ) -> Result<(usize, crate::blocks::Prefill), RunError> {
        self.look_at(prompt)?;
        let system = Arc::clone(&self.system);
        let Some(memory) = &self.now.memory else {
            return Err(RunError::TooLong { prompt: prompt.ids.len(), answer: 0, capacity: 0 });
        };
        let shared = self.now.rows.iter().zip(&prompt.rows).take_while(|(a, b)| a == b).count();
        // Where rows see those behind them, only the very same prompt is worth anything.
        let whole = system.decoder.config().options.whole_prompt;
        let same = self.now.read == prompt.rows.len() && shared == self.now.read;
        let shared = if whole && !same { 0 } else { shared };
        // At least one row must run: its logits choose the answer's first token.
        let past = match rows {
            Rows::Last | Rows::Watched => shared.min(prompt.rows.len().saturating_sub(1)),
            // The row before the first that is asked about tells of that one.
            Rows::From(row) if !whole => shared.min(row),
            Rows::From(_) | Rows::All => 0,
        };
        let gpu = rec.gpu().clone();
        // What continues a prompt that sees all of itself is not seen by it, and follows one by one.
        let ancestors = match rows {
            Rows::From(row) if whole => {
                let continued = |at: usize| (0..(at + 1).saturating_sub(row + 1)).collect::<Vec<_>>();
                Some((row + 1, (0..prompt.rows.len()).map(continued).collect::<Vec<_>>()))
            }
            _ => None,
        };
        let fresh = &prompt.rows[past..];
        let ids: Vec<u32> = prompt.ids[past..].to_vec();
        let ids = gpu.upload("prompt", &[ids.len()], &ids)?;
        let x = system.decoder.record_embedding(rec, (&ids).into(), fresh.len())?;
        for image in &prompt.images {
            let places: Vec<(u32, u32)> = fresh
                .iter()
                .enumerate()
                .filter_map(|(place, row)| match row {
                    Row::Image { hash, row } if *hash == image.hash => Some((place as u32, *row as u32)),
                    _ => None,
                })
                .collect();
            if places.is_empty() {
                continue;
            }
            let (to, from): (Vec<u32>, Vec<u32>) = places.into_iter().unzip();
            let from = gpu.upload("picture rows", &[from.len()], &from)?;
            let to = gpu.upload("picture places", &[to.len()], &to)?;
            let embeds = rec.gather_rows(&image.embeds, (&from).into(), from.len())?;
            rec.place_rows(&x, &embeds, &to)?;
        }
        let axes = &prompt.positions.axes;
        let positions: Vec<u32> =
            (past..prompt.ids.len()).flat_map(|row| axes.iter().map(move |axis| axis[row])).collect();
        let positions = gpu.upload("positions", &[positions.len()], &positions)?;
        let context = Context {
            cache: &memory.cache,
            tables: &memory.tables,
            past,
            visual: prompt.visual.get(past..).unwrap_or_default(),
            cross: memory.cross.as_ref().map(|cross| &*cross.cache),
            cross_ranges: &prompt.cross_ranges,
            tree: ancestors.as_ref().map(|(prompt, ancestors)| Tree { prompt: *prompt, ancestors }),
        };
        let prefill = system.decoder.record_prefill(rec, x, &positions, &context, rows)?;
        Ok((past, prefill))
    }

    /// Reads a prompt without answering, and every stage back. The whole prompt runs, whatever the cache holds.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn prefill_stages(&mut self, prompt: &Prepared) -> Result<PrefillStages, RunError> {
        self.reserve(prompt, 1)?;
        let mut rec = Recorder::new(self.gpu());
        let (_, prefill) = self.record_prefill(&mut rec, prompt, Rows::All)?;
        for tensor in [&prefill.hidden_first, &prefill.hidden_last, &prefill.logits] {
            rec.keep(tensor);
        }
        let program = rec.finish()?;
        self.read_rows(&program, prompt, &|_| ()).await?;
        Ok(PrefillStages {
            hidden_first: program.read(&prefill.hidden_first).await?,
            hidden_last: program.read(&prefill.hidden_last).await?,
            logits: program.read(&prefill.logits).await?,
        })
    }

    /// Where the prompt's last token looks in a picture: one number for each of its image tokens, row by row, the mean
    /// over the heads of the layer that the blueprint names, or of all layers; 0 for those that the prompt leaves out.
    /// Costs one row if the prompt was just answered.
    ///
    /// # Errors
    /// [`RunError`]; [`RunError::NotInPrompt`] for a picture that the prompt does not have.
    pub async fn look(&mut self, prompt: &Prepared, image: &EncodedImage) -> Result<Vec<f32>, RunError> {
        self.look_heard(prompt, image, &|_| ()).await
    }

    async fn look_heard(
        &mut self,
        prompt: &Prepared,
        image: &EncodedImage,
        on_stage: OnStage<'_>,
    ) -> Result<Vec<f32>, RunError> {
        let places: Vec<(usize, usize)> =
            (0..).zip(&prompt.rows).filter_map(|(at, row)| Some((at, row.token_of(image)?))).collect();
        if places.is_empty() {
            return Err(RunError::NotInPrompt);
        }
        self.reserve(prompt, 1)?;
        let before = &prompt.rows[..prompt.rows.len() - 1];
        if self.system.blueprint().decoder.options.whole_prompt || !self.now.rows.starts_with(before) {
            let mut rec = Recorder::new(self.gpu());
            self.record_prefill(&mut rec, prompt, Rows::Last)?;
            let program = rec.finish()?;
            self.read_rows(&program, prompt, on_stage).await?;
        }
        let mut rec = Recorder::new(self.gpu());
        let (_, prefill) = self.record_prefill(&mut rec, prompt, Rows::Watched)?;
        prefill.looks.iter().for_each(|look| rec.keep(look));
        let program = rec.finish()?;
        self.read_rows(&program, prompt, &|_| ()).await?;
        let wanted = match self.system.blueprint().heat_layer {
            Some(layer) => prefill.looks.get(layer..=layer).unwrap_or_default(),
            None => &prefill.looks,
        };
        let mut sums = vec![0.0; image.grid.patches()];
        for look in wanted {
            let weights: Vec<f32> = program.read(look).await?;
            places.iter().for_each(|&(at, token)| sums[token] += weights[at] / wanted.len() as f32);
        }
        Ok(sums)
    }

    /// Bytes of the KV cache, and of the one for parts of a picture.
    pub fn kv_bytes(&self) -> u64 {
        [&self.now, &self.aside].iter().filter_map(|kept| kept.memory.as_ref()).map(|memory| memory.cache.bytes()).sum()
    }

    /// Answers a prompt. `on_token` hears each id as it is read back and ends the answer by returning `false`.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn generate(
        &mut self,
        prompt: &Prepared,
        options: &GenerateOptions,
        on_stage: OnStage<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>, RunError> {
        self.start(prompt, options, on_stage).await?;
        let mut ids: Vec<u32> = Vec::new();
        let mut submitted = 1.min(options.max_tokens);
        let mut ended = options.max_tokens == 0;
        while !ended {
            let (Some(memory), start) = (&self.now.memory, ids.len()) else { break };
            let arriving = self.gpu().read_later::<u32>(&memory.state.ids, start, submitted - start)?;
            // The next tokens run while these are on their way; behind a stop token a step changes nothing.
            let ahead = STEPS.min(options.max_tokens - submitted);
            if let (true, Some((_, step, _))) = (ahead > 0, &memory.step) {
                step.run_times(ahead)?;
            }
            let arrived = arriving.await?;
            self.check_memory()?;
            for id in arrived {
                let stop = !options.ignore_stop && self.system.blueprint().stop.contains(&id);
                if stop {
                    ended = true;
                    break;
                }
                ids.push(id);
                if !on_token(id) {
                    ended = true;
                    break;
                }
            }
            ended |= ids.len() >= options.max_tokens;
            submitted += ahead;
        }
        // Each token but the last was fed, and its row is in the cache.
        self.now.rows.extend(ids.iter().take(ids.len().saturating_sub(1)).map(|&id| Row::Token(id)));
        Ok(ids)
    }

    /// Answers a prompt step by step and reads the logits that chose each token, for comparison with a reference.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn generate_stages(
        &mut self,
        prompt: &Prepared,
        options: &GenerateOptions,
    ) -> Result<(Vec<u32>, Vec<f32>), RunError> {
        let mut logits = self.start(prompt, options, &|_| ()).await?;
        let Some(memory) = &self.now.memory else { return Ok((Vec::new(), logits)) };
        if let Some((_, step, step_logits)) = &memory.step {
            for _ in 1..options.max_tokens {
                step.run()?;
                logits.extend(step.read::<f32>(step_logits).await?);
            }
        }
        let ids: Vec<u32> = match options.max_tokens {
            0 => Vec::new(),
            count => self.gpu().read_later(&memory.state.ids, 0, count)?.await?,
        };
        self.now.rows.extend(ids.iter().take(ids.len().saturating_sub(1)).map(|&id| Row::Token(id)));
        Ok((ids, logits))
    }

    /// Prefills a prompt, draws the first token, and records the step that draws the others. Returns the logits of
    /// the prompt's last row.
    async fn start(
        &mut self,
        prompt: &Prepared,
        options: &GenerateOptions,
        on_stage: OnStage<'_>,
    ) -> Result<Vec<f32>, RunError> {
        self.reserve(prompt, options.max_tokens)?;
        let settings = Settings::from(options);
        self.look_at(prompt)?;
        self.record_step(settings)?;
        let (program, logits) = self.prefill(prompt, settings, options.seed, on_stage).await?;
        Ok(program.read(&logits).await?)
    }

    /// Prefills what the cache does not hold of a prompt and draws the token that follows it. Memory is reserved.
    async fn prefill(
        &mut self,
        prompt: &Prepared,
        settings: Settings,
        seed: u32,
        on_stage: OnStage<'_>,
    ) -> Result<(Program, Tensor), RunError> {
        let mut rec = Recorder::new(self.gpu());
        let (_, prefill) = self.record_prefill(&mut rec, prompt, Rows::Last)?;
        if let Some(memory) = &self.now.memory {
            memory.state.reset(self.gpu(), prompt.positions.next, prompt.ids.len() as u32, seed)?;
            rec.prefill_sampled(&prefill.logits, self.sampling(settings), &memory.state)?;
        }
        rec.keep(&prefill.logits);
        let program = rec.finish()?;
        self.read_rows(&program, prompt, on_stage).await?;
        Ok((program, prefill.logits))
    }

    /// Runs a recorded prefill, behind which the cache holds the prompt. Should it fail or be dropped half way, the cache
    /// holds nothing that can be relied on.
    async fn read_rows(&mut self, program: &Program, prompt: &Prepared, on_stage: OnStage<'_>) -> Result<(), GpuError> {
        self.now.rows.clear();
        program.run_paced(pace(self.gpu()), &|done| on_stage(Stage::Prefill(done))).await?;
        self.check_memory()?;
        self.now.rows.clone_from(&prompt.rows);
        self.now.read = prompt.rows.len();
        Ok(())
    }

    /// Records the step that feeds the last token and draws the next, unless it is recorded already.
    fn record_step(&mut self, settings: Settings) -> Result<(), RunError> {
        let Some(memory) = &self.now.memory else { return Ok(()) };
        if memory.step.as_ref().is_some_and(|(recorded, ..)| *recorded == settings) {
            return Ok(());
        }
        let mut rec = Recorder::new(self.gpu());
        let cross = memory.cross.as_ref().map(|cross| &*cross.cache);
        let decoder = &self.system.decoder;
        let logits = decoder.record_step(&mut rec, &memory.state, &memory.cache, &memory.tables, cross)?;
        rec.sample(&logits, self.sampling(settings), &memory.state)?;
        rec.keep(&logits);
        let step = (settings, rec.finish()?, logits);
        if let Some(memory) = &mut self.now.memory {
            memory.step = Some(step);
        }
        Ok(())
    }

    fn sampling(&self, settings: Settings) -> Sampling<'_> {
        let Settings { temperature, top_k, top_p, ignore_stop, masked } = settings;
        let stop = if ignore_stop { &self.never } else { &self.system.stop };
        Sampling { temperature, top_k, top_p, stop, allowed: masked.then_some(&self.allowed) }
    }
}
