//! The decoder: norms before grouped-query attention with positions and a KV cache, and before the feedforward.
//!
//! Options: LayerNorm instead of RMSNorm, and further norms inside both branches (*sub-LN*, Wang et al., "MAGNETO", 2022);
//! positions of several kinds (see [`RotaryConfig`], [`AbsolutePositions`]); fused or separate projections, with biases
//! or without; a feedforward with a gate or without; a second set of projections for the rows of pictures (a *visual
//! expert*, Wang et al., "CogVLM", 2023); cross attention to a picture between attention and feedforward, or gated layers
//! that attend to it instead of the text; Gemma's norms and embeddings, the second Gemma's norms behind the branches and
//! bounds of scores and logits; layers whose rows see only the last ones (Beltagy et al., "Longformer", 2020; Jiang et al.,
//! "Mistral 7B", 2023); prompts whose rows see all of them. Sources, of transformers 4.57.1: `modeling_llama.py`,
//! `modeling_mistral.py`, `modeling_qwen2_vl.py`, `modeling_kosmos2.py`, `modeling_gemma.py`, `modeling_gemma2.py`,
//! `modeling_paligemma.py`, `modeling_mllama.py`; `modeling_chatglm.py` of `THUDM/glm-4v-9b`, `modeling_cogvlm.py` of
//! `THUDM/cogvlm2-llama3-chat-19B`, `modeling_cogagent.py` of `THUDM/cogagent-chat-hf`.

mod absolute;
mod angles;
mod config;
mod positions;

use std::{cell::RefCell, ops::Range};

use fovea_engine::{
    At, DType, Gpu, GpuError, OpError, Recorder, Tensor,
    op::{Activation, Ancestors, Attention, DecodeAttention, DecodeState, Epilogue, Mask, Slot},
    weights::{Scope, TensorClass, Weight, WeightError},
};

pub use absolute::AbsolutePositions;
pub use angles::Angles;
pub use config::{
    BranchNormNames, DecoderConfig, DecoderNames, DecoderOptions, ExpertConfig, ProjectionNames, RopeScaling,
    RotaryConfig, WindowConfig,
};
pub use positions::PositionTables;

use super::{
    CrossCache,
    cross_attention::CrossAttention,
    gated_cross::{CrossMask, CrossRange, GatedCross},
    mlp::Mlp,
    parts::{Linear, NormWeights},
    rows::iota,
};

/// Keys and values of every layer: `[capacity, kv_heads * head_dim]` f32 each.
pub struct KvCache {
    layers: Vec<(Tensor, Tensor)>,
    capacity: usize,
}

impl KvCache {
    /// Room for `capacity` tokens.
    ///
    /// # Errors
    /// [`GpuError::BufferTooLarge`], [`GpuError::OutOfMemory`].
    pub fn new(gpu: &Gpu, config: &DecoderConfig, capacity: usize) -> Result<Self, GpuError> {
        // Layers that attend to pictures keep nothing of the text.
        let rows = |layer: usize| if config.is_gated(layer) { 1 } else { capacity };
        let plane = |layer| gpu.tensor("KV cache", &[rows(layer), config.keys()], DType::F32);
        let layers = (0..config.layers).map(|it| Ok((plane(it)?, plane(it)?))).collect::<Result<_, GpuError>>()?;
        Ok(Self { layers, capacity })
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|(keys, values)| keys.bytes() + values.bytes()).sum()
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

struct Projections {
    qkv: Linear,
    out: Linear,
    gate_up: Linear,
    down: Linear,
}

impl Projections {
    async fn load(
        layer: &Scope<'_>,
        config: &DecoderConfig,
        names: &ProjectionNames,
        qkv_bias: bool,
        gated: bool,
    ) -> Result<Self, WeightError> {
        let (hidden, inner, class) = (config.hidden, config.feedforward, TensorClass::Decoder);
        let (queries, keys) = (config.queries(), config.keys());
        let DecoderOptions { out_bias, mlp_bias, .. } = config.options;
        let qkv =
            if gated { pieces(&[GatedCross::QUERY], &[queries]) } else { pieces(names.qkv, &[queries, keys, keys]) };
        let out = if gated { GatedCross::OUT } else { names.out };
        let gate_up = pieces(names.gate_up, &config.inner());
        Ok(Self {
            qkv: Linear::fused(layer, &qkv, hidden, qkv_bias, class).await?,
            out: Linear::fused(layer, &[(out, hidden)], queries, out_bias, class).await?,
            gate_up: Linear::fused(layer, &gate_up, hidden, mlp_bias, class).await?,
            down: Linear::fused(layer, &[(names.down, hidden)], inner, mlp_bias, class).await?,
        })
    }
}

/// Tensors by name with their rows: as many as there are names, or all in one.
fn pieces(names: &[&'static str], rows: &[usize]) -> Vec<(&'static str, usize)> {
    match names {
        [name] => vec![(name, rows.iter().sum())],
        _ => names.iter().copied().zip(rows.iter().copied()).collect(),
    }
}

/// A norm by its name.
async fn norm(at: &Scope<'_>, config: &DecoderConfig, name: &str, width: usize) -> Result<NormWeights, WeightError> {
    let eps = config.eps;
    if !config.options.norm_plus_one {
        return NormWeights::load(&at.at(name), config.options.norm, width, eps).await;
    }
    let scale = at.numbers(&format!("{name}.weight"), &[width]).await?;
    let scale: Vec<f32> = scale.iter().map(|it| 1.0 + it).collect();
    Ok(NormWeights::Rms { scale: at.gpu().upload(name, &[width], &scale)?, eps })
}

/// Norms of a layer's branches.
struct BranchNorms {
    attention: NormWeights,
    feedforward: NormWeights,
}

impl BranchNorms {
    /// Loads them, if there are names; `widths` are the attention's and the feedforward's.
    async fn load(
        at: &Scope<'_>,
        config: &DecoderConfig,
        names: Option<BranchNormNames>,
        widths: [usize; 2],
    ) -> Result<Option<Self>, WeightError> {
        let Some(names) = names else { return Ok(None) };
        Ok(Some(Self {
            attention: norm(at, config, names.attention, widths[0]).await?,
            feedforward: norm(at, config, names.feedforward, widths[1]).await?,
        }))
    }
}

struct Layer {
    input_norm: NormWeights,
    post_norm: NormWeights,
    sub_norms: Option<BranchNorms>,
    end_norms: Option<BranchNorms>,
    language: Projections,
    vision: Option<Projections>,
    cross: Option<CrossAttention>,
    /// For a layer that attends to a picture: its projections have queries alone.
    gated: Option<GatedCross>,
}

impl Layer {
    async fn load(at: &Scope<'_>, config: &DecoderConfig, gated: bool) -> Result<Self, WeightError> {
        let (names, hidden) = (&config.names, config.hidden);
        Ok(Self {
            input_norm: norm(at, config, names.input_norm, hidden).await?,
            post_norm: norm(at, config, names.post_norm, hidden).await?,
            sub_norms: {
                let widths = [config.queries(), config.feedforward];
                BranchNorms::load(at, config, names.sub_norms, widths).await?
            },
            end_norms: BranchNorms::load(at, config, names.end_norms, [hidden; 2]).await?,
            language: Projections::load(at, config, &names.projections, config.qkv_bias, gated).await?,
            vision: match &config.expert {
                Some(expert) => Some(Projections::load(at, config, &expert.names, expert.qkv_bias, false).await?),
                None => None,
            },
            gated: match gated {
                true => Some(GatedCross::load(at, hidden, config.head_sizes(), config.eps).await?),
                false => None,
            },
            cross: match config.cross {
                Some(cross) => Some(CrossAttention::load(at, cross, hidden).await?),
                None => None,
            },
        })
    }
}

/// A decoder's weights.
pub struct Decoder {
    config: DecoderConfig,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: NormWeights,
    /// `None`: tied to the embedding.
    head: Option<Weight>,
}

/// Which rows of the prompt need logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Only the last: what generation needs.
    Last,
    /// All: what scoring and comparison need.
    All,
    /// Those from this row of the prompt on, which must be among the ones that run: what continuations are scored by.
    From(usize),
    /// Only the last, which is the only one; where it looks is kept.
    Watched,
}

/// What a prefill stands on.
pub struct Context<'a> {
    /// Keys and values of the rows before, and room for these.
    pub cache: &'a KvCache,
    /// What positions become.
    pub tables: &'a PositionTables,
    /// Rows before.
    pub past: usize,
    /// For each row, whether the visual expert takes it; empty: none.
    pub visual: &'a [bool],
    /// Keys and values of the picture that layers attend to.
    pub cross: Option<&'a CrossCache>,
    /// What rows see of the pictures that layers attend to instead of the text, by rising rows.
    pub cross_ranges: &'a [CrossRange],
    /// For rows that lie side by side instead of following each other: what each descends from.
    pub tree: Option<Tree<'a>>,
}

/// Rows that continue one prompt in several ways.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    /// Rows of the prompt.
    pub prompt: usize,
    /// Which of those behind them each row sees, rising, its own among them; none for rows of the prompt.
    pub ancestors: &'a [Vec<usize>],
}

/// What each row sees, in layers of both kinds.
struct Sight {
    past: usize,
    rows: usize,
    /// Rows of the prompt, and what is seen of the others: everything, and through a window.
    tree: Option<(usize, Ancestors, Option<Ancestors>)>,
    whole: bool,
}

impl Sight {
    /// For `rows` rows behind `past` others.
    fn new(
        gpu: &Gpu,
        config: &DecoderConfig,
        past: usize,
        rows: usize,
        tree: Option<Tree<'_>>,
    ) -> Result<Self, GpuError> {
        let tree = match tree {
            Some(Tree { prompt, ancestors }) => {
                let behind = (past + rows).saturating_sub(prompt);
                let all = Ancestors::new(gpu, behind, ancestors)?;
                let near = match &config.window {
                    Some(window) => Some(Ancestors::last(gpu, (prompt, window.rows), behind, ancestors)?),
                    None => None,
                };
                Some((prompt, all, near))
            }
            None => None,
        };
        Ok(Self { past, rows, tree, whole: config.options.whole_prompt })
    }

    /// Through `window` rows, or all.
    fn mask(&self, window: Option<usize>) -> Mask<'_> {
        match &self.tree {
            Some((past, all, near)) => {
                let ancestors = near.as_ref().filter(|_| window.is_some()).unwrap_or(all);
                Mask::Tree { past: *past, ancestors }
            }
            // Here transformers 4.57.1 gives all layers the same mask; 4.49.0 kept the windows of some, which prompts
            // with a picture of 896 x 896 outgrow.
            None if self.whole => Mask::Full,
            None => Mask::Causal { past: self.past, window },
        }
    }

    /// What the last row sees without a tree.
    fn of_last(&self, window: Option<usize>) -> Range<usize> {
        let all = self.past + self.rows;
        let seen = window.filter(|_| !self.whole).unwrap_or(all);
        all.saturating_sub(seen)..all
    }
}

/// What [`Decoder::record_prefill`] yields.
pub struct Prefill {
    /// Output of the first layer, `[tokens, hidden]`.
    pub hidden_first: Tensor,
    /// Output of the last layer before the final norm, `[tokens, hidden]`.
    pub hidden_last: Tensor,
    /// `[1 or tokens, vocabulary]`.
    pub logits: Tensor,
    /// Where the last row looked in each layer, `[past + tokens]`, for [`Rows::Watched`].
    pub looks: Vec<Tensor>,
}

/// The rows of each expert, so that each runs once, over its own.
struct Routes {
    language: Tensor,
    vision: Tensor,
}

impl Routes {
    /// `None` if all rows are the language's.
    fn new(gpu: &Gpu, visual: &[bool]) -> Result<Option<Self>, GpuError> {
        let of = |wanted: bool| -> Vec<u32> {
            (0u32..).zip(visual).filter(|&(_, &is)| is == wanted).map(|(row, _)| row).collect()
        };
        let (language, vision) = (of(false), of(true));
        if vision.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            language: gpu.upload("rows of the language", &[language.len()], &language)?,
            vision: gpu.upload("rows of pictures", &[vision.len()], &vision)?,
        }))
    }
}

/// What the rows of a layer need besides its weights.
struct LayerContext<'a> {
    index: usize,
    positions: At<'a>,
    tables: &'a PositionTables,
    slot: Slot<'a>,
    routes: Option<&'a Routes>,
    cross: Option<&'a CrossCache>,
    /// What rows see of that picture.
    cross_mask: Option<&'a CrossMask>,
}

impl Decoder {
    /// Loads a decoder by its names under `root`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(root: &Scope<'_>, config: DecoderConfig) -> Result<Self, WeightError> {
        let (hidden, names) = (config.hidden, &config.names);
        let root = &root.at(names.at);
        let rows = [config.embedding_rows(), hidden];
        let embedding = root.matrix(names.embedding, &rows, TensorClass::Embedding).await?;
        let mut layers = Vec::with_capacity(config.layers.min(1024));
        for index in 0..config.layers {
            let (at, gated) = (root.at(&format!("{}.{index}", names.layers)), config.is_gated(index));
            layers.push(Layer::load(&at, &config, gated).await?);
        }
        let norm = norm(root, &config, names.norm, hidden).await?;
        let table = [config.vocabulary, hidden];
        let head = if config.tied { None } else { Some(root.matrix(names.head, &table, TensorClass::Head).await?) };
        Ok(Self { config, embedding, layers, norm, head })
    }

    /// Sizes.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// What positions become, for up to `capacity` tokens.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn tables(&self, gpu: &Gpu, capacity: usize) -> Result<PositionTables, GpuError> {
        PositionTables::new(gpu, &self.config, capacity)
    }

    /// Records the embedding of tokens, neither scaled nor with positions.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn record_embedding(&self, rec: &mut Recorder, ids: At<'_>, count: usize) -> Result<Tensor, OpError> {
        rec.embed(&self.embedding, ids, count)
    }

    /// Records the keys and values of pictures' features for every layer that attends to them. Rows that stand behind
    /// the last picture see `seen` of them.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn record_cross(
        &self,
        rec: &mut Recorder,
        features: &Tensor,
        seen: Range<usize>,
    ) -> Result<CrossCache, OpError> {
        let mut layers = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            if let Some(cross) = &layer.cross {
                layers.push((index, cross.record_keys(rec, features)?));
            }
            if let Some(gated) = &layer.gated {
                layers.push((index, gated.record_keys(rec, features)?));
            }
        }
        CrossCache::new(rec, layers, seen)
    }

    /// Records scale and positions of embeddings, and the layers, for the rows `x`, `[tokens, hidden]`, that follow those
    /// of the context.
    ///
    /// # Errors
    /// [`OpError`], also if the cache is too small.
    pub fn record_prefill(
        &self,
        rec: &mut Recorder,
        x: Tensor,
        positions: &Tensor,
        context: &Context<'_>,
        rows: Rows,
    ) -> Result<Prefill, OpError> {
        let &Context { cache, tables, past, visual, cross, cross_ranges, tree } = context;
        let tokens = x.rows_and_width().0;
        let heads = self.config.head_sizes();
        let looks = RefCell::new(Vec::new());
        let sight = Sight::new(rec.gpu(), &self.config, past, tokens, tree)?;
        let attend = |rec: &mut Recorder, qkv: &Tensor, keys: &Tensor, values: &Tensor, window: Option<usize>| {
            let query = qkv.columns(0, self.config.queries());
            if rows == Rows::Watched {
                looks.borrow_mut().push(rec.attention_weights(query, keys, heads, sight.of_last(window))?);
            }
            let attention = Attention { heads, kv_len: past + tokens, mask: sight.mask(window) };
            rec.attention(query, keys.into(), values.into(), attention)
        };
        let routes = if self.config.expert.is_some() { Routes::new(rec.gpu(), visual)? } else { None };
        let cross_mask = match cross.filter(|_| self.config.gated.is_some()) {
            Some(cross) => Some(CrossMask::new(rec.gpu(), cross, past, tokens, cross_ranges)?),
            None => None,
        };
        let mut x = self.record_start(rec, x, positions.into(), tables)?;
        let mut hidden_first = x.clone();
        for (index, (layer, cache)) in self.layers.iter().zip(&cache.layers).enumerate() {
            let (positions, slot, routes) = (positions.into(), Slot::Fixed(past), routes.as_ref());
            let cross_mask = cross_mask.as_ref();
            let context = LayerContext { index, positions, tables, slot, routes, cross, cross_mask };
            x = self.record_layer(rec, layer, &x, cache, &context, attend)?;
            if index == 0 {
                hidden_first = x.clone();
            }
        }
        let hidden_last = x.clone();
        let first = match rows {
            Rows::Last => tokens - 1,
            Rows::From(row) => row.saturating_sub(past).min(tokens - 1),
            Rows::All | Rows::Watched => 0,
        };
        if first > 0 {
            let wanted = iota(rec.gpu(), first, tokens - first)?;
            x = rec.gather_rows(&x, (&wanted).into(), tokens - first)?;
        }
        let logits = self.record_head(rec, &x)?;
        Ok(Prefill { hidden_first, hidden_last, logits, looks: looks.into_inner() })
    }

    /// Records one step of decoding: feeds the token of `state`, yields its logits, `[1, vocabulary]`.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn record_step(
        &self,
        rec: &mut Recorder,
        state: &DecodeState,
        cache: &KvCache,
        tables: &PositionTables,
        cross: Option<&CrossCache>,
    ) -> Result<Tensor, OpError> {
        let attend = |rec: &mut Recorder, qkv: &Tensor, keys: &Tensor, values: &Tensor, window: Option<usize>| {
            let heads = self.config.head_sizes();
            let attention = DecodeAttention { heads, length: state.length_at(), extra: 1, window };
            rec.attention_decode(qkv.columns(0, self.config.queries()), keys, values, attention)
        };
        let x = self.record_embedding(rec, state.token_at(), 1)?;
        let mut x = self.record_start(rec, x, state.position_at(), tables)?;
        for (index, (layer, cache)) in self.layers.iter().zip(&cache.layers).enumerate() {
            let (positions, slot) = (state.position_at(), Slot::From(state.length_at()));
            let context = LayerContext { index, positions, tables, slot, routes: None, cross, cross_mask: None };
            x = self.record_layer(rec, layer, &x, cache, &context, attend)?;
        }
        self.record_head(rec, &x)
    }

    fn record_layer(
        &self,
        rec: &mut Recorder,
        layer: &Layer,
        x: &Tensor,
        (keys, values): &(Tensor, Tensor),
        context: &LayerContext<'_>,
        attend: impl Fn(&mut Recorder, &Tensor, &Tensor, &Tensor, Option<usize>) -> Result<Tensor, OpError>,
    ) -> Result<Tensor, OpError> {
        let eps = self.config.eps;
        let &LayerContext { index, positions, tables, slot, routes, cross, cross_mask } = context;
        if let Some(gated) = &layer.gated {
            let Some(cache) = cross else { return Ok(x.clone()) };
            return self.record_gated(rec, layer, gated, x, (cache, index, cross_mask));
        }
        let sub_norms = layer.sub_norms.as_ref();
        let normed = layer.input_norm.record(rec, x)?;
        let qkv =
            routed(rec, layer, routes, &normed, None, |rec, by, x, _| by.qkv.record(rec, x, Activation::None, None))?;
        tables.turn(rec, &qkv, self.config.head_sizes(), positions, (keys, values), slot)?;
        let mut attended = attend(rec, &qkv, keys, values, self.config.window(index))?;
        if let Some(norms) = sub_norms {
            attended = norms.attention.record(rec, &attended)?;
        }
        let mut x = routed(rec, layer, routes, &attended, Some(x), |rec, by, x, residual| {
            let end = layer.end_norms.as_ref().map(|norms| &norms.attention);
            record_end(rec, end, residual, |rec, residual| by.out.record(rec, x, Activation::None, residual))
        })?;
        if let (Some(layer), Some(cache)) = (&layer.cross, cross) {
            x = layer.record(rec, &x, eps, cache, index)?;
        }
        let normed = layer.post_norm.record(rec, &x)?;
        routed(rec, layer, routes, &normed, Some(&x), |rec, by, x, residual| {
            self.record_feedforward(rec, layer, by, x, residual)
        })
    }

    fn record_feedforward(
        &self,
        rec: &mut Recorder,
        layer: &Layer,
        by: &Projections,
        x: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor, OpError> {
        let DecoderOptions { activation, gate: gated, .. } = self.config.options;
        let norm = layer.sub_norms.as_ref().map(|norms| &norms.feedforward);
        let mlp = Mlp { up: &by.gate_up, activation, gated, norm, down: &by.down };
        let end = layer.end_norms.as_ref().map(|norms| &norms.feedforward);
        record_end(rec, end, residual, |rec, residual| mlp.record(rec, x, residual))
    }

    /// A layer that attends to a picture: `h = x + tanh(a) attention(norm(x))`, `y = h + tanh(b) mlp(norm(h))`, the latter
    /// for rows from the picture on.
    fn record_gated(
        &self,
        rec: &mut Recorder,
        layer: &Layer,
        gated: &GatedCross,
        x: &Tensor,
        (cache, index, cross_mask): (&CrossCache, usize, Option<&CrossMask>),
    ) -> Result<Tensor, OpError> {
        let normed = layer.input_norm.record(rec, x)?;
        let query = layer.language.qkv.record(rec, &normed, Activation::None, None)?;
        let attended = gated.attend(rec, &query, cache, index, cross_mask)?;
        let attended = layer.language.out.record(rec, &attended, Activation::None, None)?;
        let x = gated.add_attended(rec, x, &attended)?;
        gated.add_inner(rec, &x, cross_mask, |rec, x| {
            let normed = layer.post_norm.record(rec, x)?;
            self.record_feedforward(rec, layer, &layer.language, &normed, None)
        })
    }

    /// What enters the first layer.
    fn record_start(
        &self,
        rec: &mut Recorder,
        x: Tensor,
        positions: At<'_>,
        tables: &PositionTables,
    ) -> Result<Tensor, OpError> {
        let factor = self.config.options.embedding_scale;
        let x = if factor == 1.0 { x } else { rec.scale(&x, factor)? };
        tables.add(rec, x, positions)
    }

    fn record_head(&self, rec: &mut Recorder, x: &Tensor) -> Result<Tensor, OpError> {
        let normed = self.norm.record(rec, x)?;
        let logits = rec.matmul(&normed, self.head.as_ref().unwrap_or(&self.embedding), Epilogue::default())?;
        match self.config.options.logit_cap {
            Some(cap) => rec.cap(&logits, cap),
            None => Ok(logits),
        }
    }
}

/// `residual + norm(branch)`; without a norm, the branch adds the residual itself.
fn record_end(
    rec: &mut Recorder,
    norm: Option<&NormWeights>,
    residual: Option<&Tensor>,
    branch: impl FnOnce(&mut Recorder, Option<&Tensor>) -> Result<Tensor, OpError>,
) -> Result<Tensor, OpError> {
    let Some(norm) = norm else { return branch(rec, residual) };
    let y = branch(rec, None)?;
    let y = norm.record(rec, &y)?;
    match residual {
        Some(residual) => rec.add(residual, &y),
        None => Ok(y),
    }
}

/// What `work` makes of the rows of `x` and their residual, each row with the projections of its own expert.
fn routed(
    rec: &mut Recorder,
    layer: &Layer,
    routes: Option<&Routes>,
    x: &Tensor,
    residual: Option<&Tensor>,
    work: impl Fn(&mut Recorder, &Projections, &Tensor, Option<&Tensor>) -> Result<Tensor, OpError>,
) -> Result<Tensor, OpError> {
    let (Some(routes), Some(vision)) = (routes, &layer.vision) else {
        return work(rec, &layer.language, x, residual);
    };
    let mut part = |projections: &Projections, rows: &Tensor| {
        let own = rec.gather_rows(x, rows.into(), rows.len())?;
        let residual = match residual {
            Some(residual) => Some(rec.gather_rows(residual, rows.into(), rows.len())?),
            None => None,
        };
        work(rec, projections, &own, residual.as_ref())
    };
    let (seen, said) = (part(vision, &routes.vision)?, part(&layer.language, &routes.language)?);
    rec.assemble_rows(&[(&seen, &routes.vision), (&said, &routes.language)])
}

#[cfg(test)]
mod tests;
