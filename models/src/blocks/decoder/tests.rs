use std::collections::BTreeMap;

use fovea_engine::{
    op::{DecodeState, RopeStyle},
    testing::{
        Memory, assert_nmse, block_on, on_every_gpu, random,
        reference::{activate, capped},
    },
    weights::{Format, Loader, Policy, Safetensors},
};
use safetensors::{Dtype, tensor::TensorView};

use super::*;
use crate::blocks::Norm;

const EPS: f32 = 1e-5;

const NAMES: DecoderNames = DecoderNames {
    at: "",
    embedding: "embed.weight",
    layers: "layers",
    input_norm: "norm1",
    post_norm: "norm2",
    sub_norms: Some(BranchNormNames { attention: "inner1", feedforward: "inner2" }),
    end_norms: None,
    projections: ProjectionNames { qkv: &["q", "k", "v"], out: "out", gate_up: &["fc1"], down: "fc2" },
    norm: "norm",
    head: "head",
};

/// Kosmos: sub-LN everywhere, biases everywhere, no gate.
fn config() -> DecoderConfig {
    DecoderConfig {
        names: NAMES,
        layers: 2,
        hidden: 24,
        heads: 3,
        kv_heads: 3,
        head_dim: 8,
        feedforward: 20,
        vocabulary: 13,
        eps: EPS,
        rotary: RotaryConfig::none(),
        qkv_bias: true,
        tied: true,
        expert: None,
        cross: None,
        gated: None,
        window: None,
        options: DecoderOptions {
            norm: Norm::Layer,
            out_bias: true,
            mlp_bias: true,
            activation: Activation::GeluErf,
            gate: false,
            ..DecoderOptions::default()
        },
    }
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Random weights by name.
fn weights(config: &DecoderConfig) -> Tensors {
    let (hidden, inner) = (config.hidden, config.feedforward);
    let mut tensors = Tensors::new();
    let mut put = |name: String, shape: &[usize], spread: f32, centre: f32| {
        let values = random(shape.iter().product(), tensors.len() as u64 + 1);
        tensors.insert(name, (shape.to_vec(), values.iter().map(|v| v * spread + centre).collect()));
    };
    put("embed.weight".to_owned(), &[config.vocabulary, hidden], 0.7, 0.0);
    let mut norms = vec![("norm".to_owned(), hidden)];
    for layer in 0..config.layers {
        let at = |name: &str| format!("layers.{layer}.{name}");
        norms.extend(
            [
                ("norm1", hidden),
                ("norm2", hidden),
                ("inner1", hidden),
                ("inner2", inner),
                ("end1", hidden),
                ("end2", hidden),
            ]
            .map(|(n, w)| (at(n), w)),
        );
        for (name, out, width) in [
            ("q", hidden, hidden),
            ("k", hidden, hidden),
            ("v", hidden, hidden),
            ("out", hidden, hidden),
            ("fc1", inner, hidden),
            ("fc2", hidden, inner),
        ] {
            put(at(&format!("{name}.weight")), &[out, width], 0.3, 0.0);
            put(at(&format!("{name}.bias")), &[out], 0.2, 0.0);
        }
    }
    for (name, width) in norms {
        put(format!("{name}.weight"), &[width], 0.2, 1.0);
        put(format!("{name}.bias"), &[width], 0.2, 0.0);
    }
    tensors
}

fn file(tensors: &Tensors) -> Vec<u8> {
    let bytes: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name.as_str(), (shape.clone(), values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, (shape, bytes))| (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor")));
    safetensors::serialize(views, None).expect("a file")
}

/// The same decoder in f64, as plainly as it can be written: logits of all rows.
struct Reference<'a> {
    config: &'a DecoderConfig,
    tensors: &'a Tensors,
}

type Rows64 = Vec<Vec<f64>>;

impl Reference<'_> {
    fn tensor(&self, name: &str) -> Vec<f64> {
        self.tensors[name].1.iter().map(|&v| f64::from(v)).collect()
    }

    fn linear(&self, x: &Rows64, name: &str) -> Rows64 {
        let (weight, bias) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let row = |x: &Vec<f64>| -> Vec<f64> {
            let rows = weight.chunks_exact(x.len()).zip(&bias);
            rows.map(|(w, b)| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b).collect()
        };
        x.iter().map(row).collect()
    }

    fn norm(&self, x: &Rows64, name: &str) -> Rows64 {
        let (scale, shift) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let row = |x: &Vec<f64>| -> Vec<f64> {
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let by = (var + f64::from(EPS)).sqrt();
            x.iter().zip(&scale).zip(&shift).map(|((x, a), b)| (x - mean) / by * a + b).collect()
        };
        x.iter().map(row).collect()
    }

    /// Row `m`'s pair `i` by the angle `m theta^(-i / pairs)`, its length by `zeta_i^(sign m / decay)`.
    fn turned(&self, x: &mut Rows64, sign: f64) {
        let (rotary, head_dim) = (&self.config.rotary, self.config.head_dim);
        let pairs: usize = rotary.sections.iter().sum();
        for (m, row) in x.iter_mut().enumerate() {
            for head in row.chunks_exact_mut(head_dim) {
                for i in 0..pairs {
                    let angle = m as f64 * rotary.theta.powf(-(i as f64) / pairs as f64);
                    let zeta = (2.0 * i as f64 + 0.4 * head_dim as f64) / (1.4 * head_dim as f64);
                    let length = rotary.decay.map_or(1.0, |decay| zeta.powf(sign * m as f64 / decay));
                    let (a, b) = (head[2 * i], head[2 * i + 1]);
                    head[2 * i] = length * (a * angle.cos() - b * angle.sin());
                    head[2 * i + 1] = length * (b * angle.cos() + a * angle.sin());
                }
            }
        }
    }

    fn attention(&self, layer: usize, q: &Rows64, k: &Rows64, v: &Rows64) -> Rows64 {
        let (head_dim, sizes) = (self.config.head_dim, self.config.head_sizes());
        let window = self.config.window.as_ref().filter(|it| it.layers.contains(&layer)).map_or(q.len(), |it| it.rows);
        let mut out = vec![vec![0.0; q[0].len()]; q.len()];
        for row in 0..q.len() {
            let seen = (row + 1).saturating_sub(window)..row + 1;
            for head in 0..self.config.heads {
                let at = head * head_dim..(head + 1) * head_dim;
                let dot = |k: &Vec<f64>| q[row][at.clone()].iter().zip(&k[at.clone()]).map(|(a, b)| a * b).sum::<f64>();
                let score = |k: &Vec<f64>| capped(dot(k) * f64::from(sizes.scale), sizes.cap).exp();
                let scores: Vec<f64> = k[seen.clone()].iter().map(score).collect();
                let total: f64 = scores.iter().sum();
                for (score, v) in scores.iter().zip(&v[seen.clone()]) {
                    for i in at.clone() {
                        out[row][i] += score / total * v[i];
                    }
                }
            }
        }
        out
    }

    fn logits(&self, ids: &[u32]) -> Vec<f64> {
        let (config, hidden) = (self.config, self.config.hidden);
        let add = |x: &Rows64, y: &Rows64| -> Rows64 {
            x.iter().zip(y).map(|(x, y)| x.iter().zip(y).map(|(x, y)| x + y).collect()).collect()
        };
        let end = |x: Rows64, name: &str| if config.names.end_norms.is_some() { self.norm(&x, name) } else { x };
        let table = self.tensor("embed.weight");
        let mut x: Rows64 = ids
            .iter()
            .enumerate()
            .map(|(row, &id)| {
                let own = &table[id as usize * hidden..(id as usize + 1) * hidden];
                let half = hidden / 2;
                let position = |i: usize| match config.options.absolute {
                    Some(AbsolutePositions::Sinusoidal { first }) => {
                        let angle = (row + first) as f64 * 1e4f64.powf(-((i % half) as f64) / (half - 1) as f64);
                        if i < half { angle.sin() } else { angle.cos() }
                    }
                    None => 0.0,
                };
                (0..hidden).map(|i| own[i] * f64::from(config.options.embedding_scale) + position(i)).collect()
            })
            .collect();
        for layer in 0..config.layers {
            let at = |name: &str| format!("layers.{layer}.{name}");
            let normed = self.norm(&x, &at("norm1"));
            let [mut q, mut k, v] = ["q", "k", "v"].map(|name| self.linear(&normed, &at(name)));
            self.turned(&mut q, 1.0);
            self.turned(&mut k, -1.0);
            let attended = self.norm(&self.attention(layer, &q, &k, &v), &at("inner1"));
            x = add(&x, &end(self.linear(&attended, &at("out")), &at("end1")));
            let mut inner = self.linear(&self.norm(&x, &at("norm2")), &at("fc1"));
            inner.iter_mut().flatten().for_each(|v| *v = activate(*v, config.options.activation));
            x = add(&x, &end(self.linear(&self.norm(&inner, &at("inner2")), &at("fc2")), &at("end2")));
        }
        let product = |x: &Vec<f64>| -> Vec<f64> {
            table.chunks_exact(hidden).map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
        };
        let logits = self.norm(&x, "norm").iter().flat_map(product).collect::<Vec<_>>();
        logits.into_iter().map(|logit| capped(logit, config.options.logit_cap)).collect()
    }
}

/// A prompt in one go and its last row as a step of decoding, both against f64.
fn check(config: &DecoderConfig) {
    let tensors = weights(config);
    let ids: Vec<u32> = (0..37u32).map(|i| i * i * 7 % config.vocabulary as u32).collect();
    let expected = Reference { config, tensors: &tensors }.logits(&ids);
    let source = block_on(Safetensors::open(vec![Memory::new("weights", file(&tensors))])).expect("a file");
    on_every_gpu(|gpu, run| {
        let loader = Loader::new(gpu, &source, Policy::uniform(Format::F32), &|_| ());
        let decoder = block_on(Decoder::load(&loader.at(""), config.clone()))?;
        let tables = decoder.tables(gpu, 64)?;
        let first = match config.options.absolute {
            Some(AbsolutePositions::Sinusoidal { first }) => first as u32,
            None => 0,
        };
        let prefill = |rec: &mut Recorder,
                       cache: &KvCache,
                       ids: &[u32]|
         -> Result<Tensor, Box<dyn std::error::Error>> {
            let positions: Vec<u32> = (first..).take(ids.len()).collect();
            let positions = gpu.upload("positions", &[ids.len()], &positions)?;
            let tokens = gpu.upload("ids", &[ids.len()], ids)?;
            let x = decoder.record_embedding(rec, (&tokens).into(), ids.len())?;
            let context =
                Context { cache, tables: &tables, past: 0, visual: &[], cross: None, cross_ranges: &[], tree: None };
            Ok(decoder.record_prefill(rec, x, &positions, &context, Rows::All)?.logits)
        };
        let cache = KvCache::new(gpu, config, 64)?;
        assert_nmse(&run.record(|rec| prefill(rec, &cache, &ids))?, &expected, 1e-10);

        let (last, before) = ids.split_last().expect("ids");
        let cache = KvCache::new(gpu, config, 64)?;
        let state = DecodeState::new(gpu, 1)?;
        state.reset(gpu, first + before.len() as u32, before.len() as u32, 0)?;
        gpu.write(&state.words, DecodeState::TOKEN, &[*last])?;
        let step = run.record(|rec| {
            prefill(rec, &cache, before)?;
            Ok(decoder.record_step(rec, &state, &cache, &tables, None)?)
        })?;
        assert_nmse(&step, &expected[before.len() * config.vocabulary..], 1e-10);
        Ok(())
    });
}

/// Kosmos-2: positions are added to scaled embeddings.
#[test]
fn sub_norms_and_sinusoidal_positions_equal_f64() {
    let absolute = Some(AbsolutePositions::Sinusoidal { first: 2 });
    let options = DecoderOptions { absolute, embedding_scale: 24f32.sqrt(), ..config().options };
    check(&DecoderConfig { options, ..config() });
}

/// Kosmos-1: queries and keys turn, and what they say of each other fades with the distance. Here within few positions,
/// so that it shows.
#[test]
fn xpos_equals_f64() {
    let rotary = RotaryConfig { style: RopeStyle::Interleaved, decay: Some(16.0), ..RotaryConfig::plain(1e4, 8) };
    check(&DecoderConfig { rotary, ..config() });
}

/// Gemma 2: norms behind the branches, a scale of its own, bounds, and a window in the second layer, which a prompt and
/// the step behind it outgrow.
#[test]
fn end_norms_caps_and_windows_equal_f64() {
    let end_norms = Some(BranchNormNames { attention: "end1", feedforward: "end2" });
    let options =
        DecoderOptions { score_scale: Some(0.9), score_cap: Some(1.5), logit_cap: Some(2.0), ..config().options };
    for rows in [1, 5, 36, 37, 99] {
        let window = Some(WindowConfig { rows, layers: vec![1] });
        check(&DecoderConfig { names: DecoderNames { end_norms, ..NAMES }, window, options, ..config() });
    }
}
