//! `fovea bench`: times of ops and of the model's stages, beside what the adapter can do.
//!
//! Runs are interleaved: each round runs every case once, so that a machine that slows down slows all of them; the
//! median of the rounds counts. A sample repeats its program until it lasts long enough for the clock.

use std::time::Instant;

use fovea_engine::{
    Cost, DType, Gpu, Program, Recorder, Tensor,
    op::{
        Activation, Attention, DecodeAttention, DecodeState, Epilogue, Heads, LayerNorm, Mask, Patchify, Ranges,
        RmsNorm, Rope, RopeStyle, Sampling,
    },
    weights::{Format, Weight},
};
use fovea_models::{
    Blueprint, GenerateOptions, Session,
    image::{Picture, Size},
    prompt::question,
};

use crate::{
    common::Common,
    directory::SmallFiles,
    failure::{Failure, Outcome},
    input,
    json::{self, VERSION},
    model::Quantisation,
    output::{BOLD, Output},
    progress::{self, Stages},
};

/// A sample lasts at least this long, in seconds.
const SAMPLE: f64 = 0.03;

const EXAMPLES: &str = "\
Examples:
  fovea bench
  fovea bench --filter matmul --json
  fovea bench --filter model --model ./Qwen2-VL-2B-Instruct --quant q8";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Only cases whose name contains this, such as "matmul", "attention" or "model".
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = input::text())]
    filter: String,
    /// Rounds of which the median counts.
    #[arg(long, value_name = "N", default_value_t = 5, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// A program to time.
struct Case {
    name: String,
    program: Program,
    repeats: usize,
    seconds: Vec<f64>,
}

/// A case's result.
struct Measured {
    name: String,
    seconds: f64,
    cost: Cost,
}

impl Measured {
    fn flops(&self) -> f64 {
        self.cost.flops as f64 / self.seconds
    }

    fn bandwidth(&self) -> f64 {
        self.cost.bytes as f64 / self.seconds
    }
}

pub(crate) fn run(arguments: &Arguments, common: &Common, output: &mut Output) -> Outcome {
    let rounds = arguments.rounds as usize;
    let stage_names = stage_names(common)?;
    let gpu = common.gpu.open()?;
    let mut cases = Cases { gpu: &gpu, filter: &arguments.filter, list: Vec::new(), names: Vec::new() };
    // The measures are needed whatever is asked for.
    cases.measures()?;
    cases.ops()?;
    let with_model = stage_names.iter().any(|name| name.contains(&arguments.filter));
    if cases.list.len() == MEASURES && !with_model {
        cases.names.extend(stage_names);
        let names = cases.names.join("\n  ");
        return Err(Failure::usage(format_args!("--filter {:?} is in no name of\n  {names}", arguments.filter)));
    }
    let mut measured = measure(&gpu, cases.list, rounds)?;
    let ops = measured.split_off(MEASURES);
    let copy = measured.first().map_or(0.0, Measured::bandwidth);
    let peak = measured.get(1).map_or(0.0, Measured::flops);
    let mut stages = if with_model { model_stages(&gpu, common, &stage_names, rounds)? } else { Vec::new() };
    stages.retain(|stage| stage.name.contains(&arguments.filter));

    if output.is_json() {
        let ops = ops.iter().map(|case| json::OpTime {
            name: case.name.clone(),
            seconds: case.seconds,
            flops: case.cost.flops,
            bytes: case.cost.bytes,
            flops_per_second: case.flops(),
            bytes_per_second: case.bandwidth(),
            share_of_peak: case.flops() / peak,
            share_of_copy: case.bandwidth() / copy,
        });
        let model = stages.iter().map(|stage| json::StageTime {
            name: stage.name.clone(),
            seconds: stage.seconds,
            flops: stage.flops,
            flops_per_second: stage.flops as f64 / stage.seconds,
            share_of_peak: stage.flops as f64 / stage.seconds / peak,
            tokens: stage.tokens,
        });
        return output.value(&json::Bench {
            version: VERSION,
            adapter: gpu.name().to_string(),
            kernels: gpu.caps().family.to_string(),
            rounds,
            copy_bytes_per_second: copy,
            peak_flops_per_second: peak,
            ops: ops.collect(),
            model: model.collect(),
        });
    }
    output.line(format_args!("{BOLD}{}{BOLD:#}", gpu.name()))?;
    output.line(format_args!("{} kernels", gpu.caps().family))?;
    output.line(format_args!("copy {:.2} GB/s, multiply-adds {:.2} GFLOP/s", copy / 1e9, peak / 1e9))?;
    if !ops.is_empty() {
        output.line("")?;
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let rows: Vec<_> = ops
            .iter()
            .map(|case| {
                vec![
                    case.name.clone(),
                    milliseconds(case.seconds),
                    format!("{:.2}", case.flops() / 1e9),
                    percent(case.flops() / peak),
                    format!("{:.2}", case.bandwidth() / 1e9),
                    percent(case.bandwidth() / copy),
                ]
            })
            .collect();
        output.table(&["op", "time", "GFLOP/s", "of peak", "GB/s", "of copy"], &rows)?;
    }
    if !stages.is_empty() {
        output.line("")?;
        let rows: Vec<_> = stages
            .iter()
            .map(|stage| {
                let rate = stage.flops as f64 / stage.seconds;
                vec![
                    stage.name.clone(),
                    milliseconds(stage.seconds),
                    stage.tokens.to_string(),
                    format!("{:.1}", stage.tokens as f64 / stage.seconds),
                    format!("{:.2}", rate / 1e9),
                    format!("{:.0} %", 100.0 * rate / peak),
                ]
            })
            .collect();
        output.table(&["stage", "time", "tokens", "tokens/s", "GFLOP/s", "of peak"], &rows)?;
    }
    Ok(())
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1e3)
}

/// Programs on one GPU.
struct Cases<'a> {
    gpu: &'a Gpu,
    filter: &'a str,
    list: Vec<Case>,
    /// Of all ops, whether they are in the list or not.
    names: Vec<String>,
}

/// Cases that every result is compared with; the first of all.
const MEASURES: usize = 2;

impl Cases<'_> {
    fn add(&mut self, name: &str, record: impl FnOnce(&mut Recorder) -> Outcome) -> Outcome {
        if self.wants(name) { self.always(name, record) } else { Ok(()) }
    }

    /// Whether a case is asked for.
    fn wants(&mut self, name: &str) -> bool {
        if !self.names.iter().any(|it| it == name) {
            self.names.push(name.to_owned());
        }
        name.contains(self.filter)
    }

    fn always(&mut self, name: &str, record: impl FnOnce(&mut Recorder) -> Outcome) -> Outcome {
        let mut rec = Recorder::new(self.gpu);
        record(&mut rec)?;
        let program = rec.finish()?;
        self.list.push(Case { name: name.to_owned(), program, repeats: 1, seconds: Vec::new() });
        Ok(())
    }

    fn floats(&self, shape: &[usize]) -> Outcome<Tensor> {
        let data: Vec<f32> = (0..shape.iter().product()).map(noise).collect();
        Ok(self.gpu.upload("bench", shape, &data)?)
    }

    fn weight(&self, rows: usize, width: usize, format: Format) -> Outcome<Weight> {
        let data: Vec<f32> = (0..rows * width).map(noise).collect();
        Ok(Weight::from_f32(self.gpu, "bench", rows, width, &data, format)?)
    }

    fn measures(&mut self) -> Outcome {
        let software = self.gpu.caps().software;
        let x = self.gpu.tensor("copy", &[if software { 8 << 20 } else { 32 << 20 }], DType::F32)?;
        self.always("copy", |rec| Ok(rec.copy(&x).map(|_| ())?))?;
        let (threads, rounds) = if software { (1 << 12, 1 << 10) } else { (1 << 18, 1 << 10) };
        self.always("peak", |rec| Ok(rec.peak(threads, rounds).map(|_| ())?))
    }

    fn ops(&mut self) -> Outcome {
        let gpu = self.gpu;
        let software = gpu.caps().software;
        let (rows, width) = if software { (256, 1024) } else { (1024, 2048) };
        for format in Format::ALL {
            let name = format!("matmul {format} {rows}x{width}x{width}");
            if self.wants(&name) {
                let (x, w) = (self.floats(&[rows, width])?, self.weight(width, width, format)?);
                self.add(&name, |rec| Ok(rec.matmul(&x, &w, Epilogue::default()).map(|_| ())?))?;
            }
        }
        for format in Format::ALL {
            let wide = 2 * width;
            let name = format!("matmul {format} 1x{wide}x{wide}");
            if self.wants(&name) {
                let (x, w) = (self.floats(&[1, wide])?, self.weight(wide, wide, format)?);
                self.add(&name, |rec| Ok(rec.matmul(&x, &w, Epilogue::default()).map(|_| ())?))?;
            }
        }
        self.attention(if software { 1024 } else { 4096 })?;

        let rows = 4 * rows;
        let (x, y) = (self.floats(&[rows, width])?, self.floats(&[rows, width])?);
        let (scale, shift) = (self.floats(&[width])?, self.floats(&[width])?);
        let at = format!("{rows}x{width}");
        self.add(&format!("layer_norm {at}"), |rec| {
            Ok(rec.layer_norm(&x, LayerNorm { scale: &scale, shift: &shift, eps: 1e-6 }).map(|_| ())?)
        })?;
        self.add(&format!("rms_norm {at}"), |rec| {
            Ok(rec.rms_norm(&x, RmsNorm { scale: &scale, eps: 1e-6 }).map(|_| ())?)
        })?;
        self.add(&format!("gate silu {at}"), |rec| Ok(rec.gate(&x, Activation::Silu).map(|_| ())?))?;
        self.add(&format!("gelu {at}"), |rec| Ok(rec.activation(&x, Activation::GeluErf).map(|_| ())?))?;
        self.add(&format!("add {at}"), |rec| Ok(rec.add(&x, &y).map(|_| ())?))?;
        let order: Vec<u32> = (0..rows as u32).rev().collect();
        let order = gpu.upload("order", &[rows], &order)?;
        self.add(&format!("gather_rows {at}"), |rec| Ok(rec.gather_rows(&x, (&order).into(), rows).map(|_| ())?))?;
        let pairs: Vec<(f64, u32)> = (0..32).map(|i| (10_000f64.powf(-f64::from(i) / 32.0), 0)).collect();
        let rope = Rope::new(gpu, rows, &pairs, RopeStyle::Halves)?;
        self.add(&format!("rope {at}"), |rec| Ok(rec.rope((&x).into(), width / 64, 64, &rope, (&order).into())?))?;
        let ids: Vec<u32> = (0..rows as u32).map(|i| i * 7 % 4096).collect();
        let ids = gpu.upload("ids", &[rows], &ids)?;
        let embed = format!("embed q8 {at}");
        if self.wants(&embed) {
            let table = self.weight(4096, width, Format::Q8)?;
            self.add(&embed, |rec| Ok(rec.embed(&table, (&ids).into(), rows).map(|_| ())?))?;
        }
        let (wide, high) = (1288, 812);
        let image = gpu.upload("picture", &[wide * high * 3 / 4], &vec![0x8040_2010u32; wide * high * 3 / 4])?;
        let (mean, std) = (fovea_models::image::CLIP_MEAN, fovea_models::image::CLIP_STD);
        let patchify =
            Patchify { width: wide, height: high, patch: 14, temporal: 2, merge: 2, scale: 1.0 / 255.0, mean, std };
        self.add(&format!("patchify {wide}x{high}"), |rec| Ok(rec.patchify(&image, patchify).map(|_| ())?))?;
        let vocabulary = 151_936;
        let logits = self.floats(&[1, vocabulary])?;
        let never = gpu.upload("no stop token", &[1], &[u32::MAX])?;
        let state = DecodeState::new(gpu, 1 << 20)?;
        self.add(&format!("sample greedy {vocabulary}"), |rec| {
            Ok(rec.sample(&logits, Sampling::greedy(&never), &state)?)
        })
    }

    fn attention(&mut self, rows: usize) -> Outcome {
        let heads = Heads::new(16, 16, 64);
        let grouped = Heads { kv_heads: 2, ..heads };
        let width = heads.heads * heads.head_dim;
        let narrow = grouped.kv_heads * grouped.head_dim;
        let (q, k, v) = (self.floats(&[rows, width])?, self.floats(&[rows, width])?, self.floats(&[rows, width])?);
        let (gk, gv) = (self.floats(&[rows, narrow])?, self.floats(&[rows, narrow])?);
        let at = format!("{rows}x{}x{}", heads.heads, heads.head_dim);
        let windows: Vec<_> = (0..rows as u32).map(|row| row / 64 * 64..(row / 64 + 1) * 64).collect();
        let windows = Ranges::new(self.gpu, &windows)?;
        for (kind, mask) in [("full", Mask::Full), ("windows of 64", Mask::Ranges(&windows))] {
            let attention = Attention { heads, kv_len: rows, mask };
            self.add(&format!("attention {kind} {at}"), |rec| {
                Ok(rec.attention((&q).into(), (&k).into(), (&v).into(), attention).map(|_| ())?)
            })?;
        }
        let mask = Mask::Causal { past: 0, window: None };
        let attention = Attention { heads: grouped, kv_len: rows, mask };
        self.add(&format!("attention causal gqa {at}"), |rec| {
            Ok(rec.attention((&q).into(), (&gk).into(), (&gv).into(), attention).map(|_| ())?)
        })?;
        let one = self.floats(&[1, width])?;
        let length = self.gpu.upload("length", &[1], &[rows as u32 - 1])?;
        let decode = DecodeAttention { heads: grouped, length: (&length).into(), extra: 1, window: None };
        self.add(&format!("attention decode gqa {at}"), |rec| {
            Ok(rec.attention_decode((&one).into(), &gk, &gv, decode).map(|_| ())?)
        })
    }
}

/// Numbers between -1 and 1 without a pattern that matters.
fn noise(index: usize) -> f32 {
    let mixed = (index as u32).wrapping_mul(2_654_435_761) ^ 0x9e37_79b9;
    (mixed >> 8) as f32 / (1u32 << 23) as f32 - 1.0
}

fn measure(gpu: &Gpu, mut cases: Vec<Case>, rounds: usize) -> Outcome<Vec<Measured>> {
    let bar = progress::steps(cases.len() * (rounds + 1));
    for case in &mut cases {
        bar.set_message(case.name.clone());
        // The first run compiles.
        sample(gpu, &case.program, 1)?;
        let once = sample(gpu, &case.program, 1)?;
        case.repeats = (SAMPLE / once.max(1e-7)).ceil().clamp(1.0, 10_000.0) as usize;
        bar.inc(1);
    }
    for _ in 0..rounds {
        for case in &mut cases {
            bar.set_message(case.name.clone());
            case.seconds.push(sample(gpu, &case.program, case.repeats)? / case.repeats as f64);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let measured = cases.into_iter().map(|case| Measured {
        name: case.name,
        cost: case.program.cost(),
        seconds: median(case.seconds),
    });
    Ok(measured.collect())
}

fn sample(gpu: &Gpu, program: &Program, repeats: usize) -> Outcome<f64> {
    let start = Instant::now();
    program.run_times(repeats)?;
    pollster::block_on(gpu.finished())?;
    Ok(start.elapsed().as_secs_f64())
}

/// The middle one; of two, the smaller.
fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN).max(1e-9)
}

/// A stage of the model.
struct StageTime {
    name: String,
    seconds: f64,
    tokens: usize,
    flops: u64,
}

const STAGES: [&str; 3] = ["encode", "prefill", "decode"];

fn quant(common: &Common) -> Outcome<Quantisation> {
    common.model.one_quant(Quantisation::Q4)
}

/// What the model's stages are called, from its configuration.
fn stage_names(common: &Common) -> Outcome<[String; 3]> {
    let (model, quant) = (common.model.find()?, quant(common)?);
    let files = SmallFiles::read(&model)?;
    let blueprint = Blueprint::read(files.files()).map_err(|error| Failure::load(&model, error))?;
    Ok(STAGES.map(|stage| format!("model {} {} {stage}", blueprint.name, quant.name())))
}

/// Encoding and asking about a screenshot of 1280x800, and 64 tokens of answer.
fn model_stages(gpu: &Gpu, common: &Common, names: &[String; 3], rounds: usize) -> Outcome<Vec<StageTime>> {
    const ANSWER: usize = 64;
    let size = Size::new(1280, 800);
    let (model, quant) = (common.model.find()?, quant(common)?);
    let system = crate::model::load(&model, gpu, quant)?;
    let blueprint = system.blueprint();
    let mut session = Session::new(&system)?;
    let options = GenerateOptions { max_tokens: ANSWER, ignore_stop: true, ..GenerateOptions::default() };
    let messages = question(blueprint.grammar, "click Sign in");
    let (mut encode, mut prefill, mut decode) = (Vec::new(), Vec::new(), Vec::new());
    let (mut image_tokens, mut prompt_tokens) = (0, 0);
    // The first round compiles and is not counted.
    for round in 0..=rounds {
        // Another picture each time: none is encoded twice, and the cache holds nothing of it.
        let rgb = (0..size.pixels() * 3).map(|i| (i as usize * (round + 3) % 251) as u8).collect();
        let picture =
            Picture::from_rgb(size, rgb).map_err(|error| Failure::new(crate::failure::Kind::Defect, error))?;
        let stages = Stages::new();
        let hear = |stage| stages.hear(stage);
        let image = pollster::block_on(session.encode(&picture, &hear))?;
        let prompt = session.prepare(&messages, std::slice::from_ref(&image))?;
        pollster::block_on(session.generate(&prompt, &options, &hear, &mut |_| true))?;
        let times = stages.finish();
        image_tokens = image.rows();
        prompt_tokens = prompt.ids.len();
        if round > 0 {
            encode.push(times.encode.as_secs_f64());
            prefill.push(times.prefill.as_secs_f64());
            decode.push(times.decode.as_secs_f64());
        }
    }
    let load = |error| Failure::load(&model, error);
    let (encode_flops, prefill_flops) =
        blueprint.flops(size, prompt_tokens.saturating_sub(image_tokens)).map_err(load)?;
    let step = 2 * blueprint.step_products();
    let [encode_name, prefill_name, decode_name] = names.clone();
    Ok(vec![
        StageTime { name: encode_name, seconds: median(encode), tokens: image_tokens, flops: encode_flops },
        StageTime { name: prefill_name, seconds: median(prefill), tokens: prompt_tokens, flops: prefill_flops },
        StageTime { name: decode_name, seconds: median(decode), tokens: ANSWER, flops: step * ANSWER as u64 },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 1.0);
    }

    #[test]
    fn noise_stays_within_one() {
        assert!((0..10_000).map(noise).all(|value| (-1.0..1.0).contains(&value)));
    }
}
