//! What tests of this and the higher crates share: every adapter at hand in every tier, random data, error measures.
//!
//! `FOVEA_TEST_ADAPTERS`, a comma-separated list of names, says which adapters must be there; a missing one fails the
//! tests instead of thinning them out. Without it, every adapter that is found is tested.

use std::{error::Error, ops::Range, sync::OnceLock};

use crate::{
    Gpu, GpuError, GpuOptions, Recorder, Tensor,
    weights::{ByteSource, Bytes, WeightError},
};

pub mod golden;
pub mod reference;

/// Blocks until the GPU has finished a submission.
pub fn wait(device: &wgpu::Device, submission: Option<wgpu::SubmissionIndex>) {
    device
        .poll(wgpu::PollType::Wait { submission_index: submission, timeout: None })
        .unwrap_or_else(|e| panic!("waiting for the GPU: {e}"));
}

/// Blocks until a future of the engine is ready.
pub fn block_on<F: Future>(future: F) -> F::Output {
    pollster::block_on(future)
}

/// A file in memory.
pub struct Memory {
    name: String,
    bytes: Vec<u8>,
}

impl Memory {
    /// The file `name` with these bytes.
    pub fn new(name: &str, bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), bytes }
    }
}

impl ByteSource for Memory {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Bytes<'_> {
        let found = self.bytes.get(range.start as usize..range.end as usize).map(<[u8]>::to_vec);
        let error = WeightError::Read { file: self.name.clone(), reason: "ends early".to_owned() };
        Box::pin(async move { found.ok_or(error) })
    }
}

/// Every adapter, in every tier of features that it offers: all, without shader-f16, without subgroups, with neither.
pub fn gpus() -> &'static [Gpu] {
    static GPUS: OnceLock<Vec<Gpu>> = OnceLock::new();
    GPUS.get_or_init(|| names().iter().flat_map(|name| tiers(name)).collect())
}

/// Every adapter with all its features, and the same with activations of at most `bytes`.
pub fn limited_gpus(bytes: u64) -> Vec<(&'static Gpu, Gpu)> {
    let mut limited: Vec<(&Gpu, Gpu)> = Vec::new();
    for gpu in gpus() {
        // The first of an adapter's tiers has all.
        if !limited.iter().any(|(other, _)| other.name() == gpu.name()) {
            let options = GpuOptions { activation_limit: Some(bytes), ..options(&gpu.name().name) };
            limited.push((gpu, open(&options)));
        }
    }
    limited
}

fn names() -> Vec<String> {
    let names: Vec<String> = match std::env::var("FOVEA_TEST_ADAPTERS") {
        Ok(list) => list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
        Err(_) => block_on(crate::adapters())
            .into_iter()
            .filter(|(name, _)| name.backend != "Gl")
            .map(|(name, _)| name.name)
            .collect(),
    };
    assert!(!names.is_empty(), "no GPU adapter: install a Vulkan driver such as mesa-vulkan-drivers");
    names
}

/// Opens this adapter with all it has.
pub fn options(adapter: &str) -> GpuOptions {
    GpuOptions { adapter: Some(adapter.to_owned()), wait: Some(wait), ..GpuOptions::default() }
}

fn open(options: &GpuOptions) -> Gpu {
    block_on(Gpu::open(options)).unwrap_or_else(|e| panic!("FOVEA_TEST_ADAPTERS: {e}"))
}

fn tiers(adapter: &str) -> Vec<Gpu> {
    let mut gpus: Vec<Gpu> = Vec::new();
    for (without_f16, without_subgroups) in [(false, false), (true, false), (false, true), (true, true)] {
        let gpu = open(&GpuOptions { without_f16, without_subgroups, ..options(adapter) });
        if !gpus.iter().any(|other| other.caps() == gpu.caps()) {
            gpus.push(gpu);
        }
    }
    gpus
}

/// Records and runs small programs on one GPU.
pub struct Run<'a>(&'a Gpu);

impl Run<'_> {
    /// Records ops, runs them, and reads back the f32 tensor that the closure returns.
    ///
    /// # Errors
    /// Those of the closure, and of running.
    pub fn record(
        &self,
        ops: impl FnOnce(&mut Recorder) -> Result<Tensor, Box<dyn Error>>,
    ) -> Result<Vec<f32>, Box<dyn Error>> {
        Ok(self.record_all(|rec| Ok(vec![ops(rec)?]))?.swap_remove(0))
    }

    /// As [`Run::record`], for several results.
    ///
    /// # Errors
    /// Those of the closure, and of running.
    pub fn record_all(
        &self,
        ops: impl FnOnce(&mut Recorder) -> Result<Vec<Tensor>, Box<dyn Error>>,
    ) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
        let mut recorder = Recorder::new(self.0);
        let results = ops(&mut recorder)?;
        results.iter().for_each(|tensor| recorder.keep(tensor));
        let program = recorder.finish()?;
        program.run()?;
        let read = |tensor| block_on(program.read::<f32>(tensor));
        Ok(results.iter().map(read).collect::<Result<_, GpuError>>()?)
    }
}

/// Runs a test on every GPU of [`gpus`]; a failure names the adapter and the tier.
///
/// # Panics
/// If the test fails.
pub fn on_every_gpu(test: impl Fn(&Gpu, &Run<'_>) -> Result<(), Box<dyn Error>>) {
    for gpu in gpus() {
        let caps = gpu.caps();
        let tier = format!("{} (f16 {}, subgroups {})", gpu.name().name, caps.f16, caps.subgroups);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(gpu, &Run(gpu))));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("on {tier}: {error}"),
            Err(panic) => {
                eprintln!("the failure above was on {tier}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// `count` numbers of about a standard normal distribution, the same for the same seed.
pub fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    };
    // The sum of twelve uniform numbers has variance one.
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

/// Normalised mean square error: `sum (a - b)^2 / sum b^2`.
///
/// # Panics
/// If the lengths differ.
pub fn nmse(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "length");
    let error: f64 = actual.iter().zip(expected).map(|(&a, &e)| (f64::from(a) - e).powi(2)).sum();
    let power: f64 = expected.iter().map(|e| e * e).sum();
    if error == 0.0 { 0.0 } else { error / power }
}

/// Fails if the normalised mean square error is above `limit`, or anything is not finite.
///
/// # Panics
/// If so.
#[track_caller]
pub fn assert_nmse(actual: &[f32], expected: &[f64], limit: f64) {
    let error = nmse(actual, expected);
    // Written so that a NaN fails.
    assert!(error <= limit, "normalised mean square error is {error:e}, allowed {limit:e}");
}

/// How many random cases a property test draws.
#[cfg(test)]
pub(crate) fn cases(count: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases: count, failure_persistence: None, ..Default::default() }
}
