//! Opening the GPU and loading a model, as the command line's common options say.

use std::{
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use fovea_engine::{
    Gpu, GpuOptions, Kernels,
    weights::{Format, Policy, Progress},
};
use fovea_models::System;

use crate::{
    directory::{self, Model},
    failure::{Failure, Outcome},
    input, progress, prompt,
};

/// How weights are stored on the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantisation {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8 bits in blocks of 32.
    Q8,
    /// Decoder in 4 bits, everything else in 8.
    Q4,
}

impl Quantisation {
    pub(crate) const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Q8, Self::Q4];

    pub(crate) fn policy(self) -> Policy {
        match self {
            Self::F32 => Policy::uniform(Format::F32),
            Self::F16 => Policy::uniform(Format::F16),
            Self::Q8 => Policy::uniform(Format::Q8),
            Self::Q4 => Policy::q4(),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }
}

/// What `--quant` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// One format.
    One(Quantisation),
    /// Each in turn, for `eval`.
    All,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match Quantisation::ALL.into_iter().find(|quant| quant.name() == name) {
            Some(quant) => Ok(Self::One(quant)),
            None if name == "all" => Ok(Self::All),
            None => Err("one of f32, f16, q8, q4; for eval also all".to_owned()),
        }
    }
}

/// Which GPU to use.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "GPU")]
pub(crate) struct GpuArguments {
    /// Take the first adapter whose name, driver or backend contains this (see `fovea devices`).
    #[arg(long, value_name = "NAME", global = true, value_parser = input::text())]
    pub(crate) adapter: Option<String>,
    /// Do without 16-bit floats in shaders.
    #[arg(long, global = true)]
    no_f16: bool,
    /// Do without subgroup operations in shaders.
    #[arg(long, global = true)]
    no_subgroups: bool,
    /// Which kernels to run: those for GPUs, those for processors, or what suits the adapter: gpu, cpu or auto.
    #[arg(long, value_name = "FAMILY", global = true, default_value = "auto")]
    kernels: Kernels,
}

impl GpuArguments {
    pub(crate) fn open(&self) -> Outcome<Gpu> {
        let options = GpuOptions {
            adapter: self.adapter.clone(),
            without_f16: self.no_f16,
            without_subgroups: self.no_subgroups,
            kernels: self.kernels,
            wait: Some(wait),
            ..GpuOptions::default()
        };
        Ok(pollster::block_on(Gpu::open(&options))?)
    }
}

fn wait(device: &wgpu::Device, submission_index: Option<wgpu::SubmissionIndex>) {
    // A lost device is reported by the readback that waits.
    let _ = device.poll(wgpu::PollType::Wait { submission_index, timeout: None });
}

/// Which model to use.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArguments {
    /// Directory of a published model, or `nano`, which is in the program [default: $FOVEA_MODEL, else nano].
    #[arg(long, value_name = "DIR", global = true, value_parser = input::path())]
    pub(crate) model: Option<PathBuf>,
    /// How weights are stored on the GPU: f32, f16, q8 or q4; for eval also all [default: q4; dump: f32]. What layers keep
    /// of a picture that they attend to is f16 unless weights are f32.
    #[arg(long, value_name = "FORMAT", global = true, value_parser = Choice::from_str)]
    pub(crate) quant: Option<Choice>,
}

/// A model on a GPU.
pub(crate) struct Loaded {
    pub(crate) system: Arc<System>,
    pub(crate) model: Model,
    pub(crate) quant: Quantisation,
    /// Opening the GPU and loading the weights.
    pub(crate) took: Duration,
}

impl ModelArguments {
    pub(crate) fn find(&self) -> Outcome<Model> {
        directory::find(self.model.as_deref())
    }

    /// The format that was asked for.
    pub(crate) fn one_quant(&self, default: Quantisation) -> Outcome<Quantisation> {
        match self.quant {
            Some(Choice::One(quant)) => Ok(quant),
            Some(Choice::All) => Err(Failure::usage("--quant all is for eval")),
            None => Ok(default),
        }
    }

    /// Loads the model, with a progress bar.
    pub(crate) fn load(&self, gpu: &GpuArguments, default: Quantisation) -> Outcome<Loaded> {
        let start = Instant::now();
        let quant = self.one_quant(default)?;
        let model = self.find()?;
        let gpu = gpu.open()?;
        let system = load(&model, &gpu, quant)?;
        Ok(Loaded { system, model, quant, took: start.elapsed() })
    }
}

/// Loads a model onto a GPU, with a progress bar.
pub(crate) fn load(model: &Model, gpu: &Gpu, quant: Quantisation) -> Outcome<Arc<System>> {
    let checkpoint = directory::open(model)?;
    let bar = progress::loading();
    let hear = |progress: Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.bytes);
    };
    let system = pollster::block_on(System::load(&checkpoint, gpu, quant.policy(), &hear));
    bar.finish_and_clear();
    if let (Ok(system), Some(now)) = (&system, prompt::now()) {
        system.set_time(now);
    }
    system.map(Arc::new).map_err(|error| Failure::load(model, error))
}
