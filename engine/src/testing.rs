//! What tests of this and the higher crates share: every adapter at hand in every tier, random data, error measures.
//!
//! Every adapter that is found is tested, in both families of kernels. `FOVEA_TEST_ADAPTERS`, a comma-separated list of
//! parts of names, says which must be among them: a missing one fails the tests instead of thinning them out.
//! `FOVEA_TEST_ONLY`, another such list, leaves out all others, for work on one of them.

use std::{error::Error, ops::Range, sync::OnceLock};

use crate::{
    Caps, Gpu, GpuError, GpuOptions, KernelFamily, Kernels, Recorder, Tensor,
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

/// Every adapter, in every tier that it offers: both families of kernels, the adapter's own first, each with all features,
/// without shader-f16, without subgroups, with neither.
pub fn gpus() -> &'static [Gpu] {
    static GPUS: OnceLock<Vec<Gpu>> = OnceLock::new();
    GPUS.get_or_init(|| adapters().iter().flat_map(|name| tiers(name)).collect())
}

/// Of [`gpus`], those between which programs whose weights are f32 differ: shader-f16 only changes how f16 weights are
/// read.
pub fn f32_gpus() -> Vec<&'static Gpu> {
    distinct(|caps| Caps { f16: false, ..caps.clone() })
}

/// Of [`gpus`], every adapter in both families of kernels, with all its features.
pub fn families() -> Vec<&'static Gpu> {
    distinct(|caps| Caps { f16: false, subgroups: false, ..caps.clone() })
}

/// The first of [`gpus`] of each adapter and of each value that `what` makes of what it can do.
fn distinct(what: impl Fn(&Caps) -> Caps) -> Vec<&'static Gpu> {
    let mut distinct: Vec<&Gpu> = Vec::new();
    for gpu in gpus() {
        if !distinct.iter().any(|other| other.name() == gpu.name() && what(other.caps()) == what(gpu.caps())) {
            distinct.push(gpu);
        }
    }
    distinct
}

/// Each of [`families`], and the same with activations of at most `bytes`.
pub fn limited_gpus(bytes: u64) -> Vec<(&'static Gpu, Gpu)> {
    let limited = |gpu: &Gpu| {
        let kernels = Kernels::Always(gpu.caps().family);
        open(&GpuOptions { activation_limit: Some(bytes), kernels, ..options(&gpu.name().name) })
    };
    families().into_iter().map(|gpu| (gpu, limited(gpu))).collect()
}

/// What the tests print of a GPU: its name and its tier.
pub fn tier(gpu: &Gpu) -> String {
    let (name, caps) = (&gpu.name().name, gpu.caps());
    format!("{name} ({} kernels, f16 {}, subgroups {})", caps.family, caps.f16, caps.subgroups)
}

/// Names of the adapters that are tested: those that must be there, in their order, then the others.
///
/// # Panics
/// If one is missing, or none is left.
pub fn adapters() -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    // OpenGL lacks what the kernels need.
    for (adapter, _) in block_on(crate::adapters()).into_iter().filter(|(adapter, _)| adapter.backend != "Gl") {
        if !found.contains(&adapter.name) {
            found.push(adapter.name);
        }
    }
    let variable = |name| std::env::var(name).unwrap_or_default();
    chosen(found, &variable("FOVEA_TEST_ADAPTERS"), &variable("FOVEA_TEST_ONLY"))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Of the adapters `found`, those that are tested.
fn chosen(mut found: Vec<String>, required: &str, only: &str) -> Result<Vec<String>, String> {
    let list = |text: &str| -> Vec<String> {
        text.split(',').map(|part| part.trim().to_lowercase()).filter(|part| !part.is_empty()).collect()
    };
    let (required, only) = (list(required), list(only));
    let has = |name: &str, part: &String| name.to_lowercase().contains(part);
    let all = found.join("; ");
    for part in if only.is_empty() { &required } else { &only } {
        if !found.iter().any(|name| has(name, part)) {
            let variable = if only.is_empty() { "FOVEA_TEST_ADAPTERS" } else { "FOVEA_TEST_ONLY" };
            return Err(format!("{variable}: no adapter's name contains {part:?}; there are: {all}"));
        }
    }
    found.retain(|name| only.is_empty() || only.iter().any(|part| has(name, part)));
    if found.is_empty() {
        return Err("no GPU adapter: install a Vulkan driver such as mesa-vulkan-drivers".to_owned());
    }
    found.sort_by_key(|name| required.iter().position(|part| has(name, part)).unwrap_or(required.len()));
    Ok(found)
}

/// Opens this adapter with all it has.
pub fn options(adapter: &str) -> GpuOptions {
    GpuOptions { adapter: Some(adapter.to_owned()), wait: Some(wait), ..GpuOptions::default() }
}

fn open(options: &GpuOptions) -> Gpu {
    block_on(Gpu::open(options)).unwrap_or_else(|e| panic!("an adapter at hand cannot be tested: {e}"))
}

fn tiers(adapter: &str) -> Vec<Gpu> {
    let mut gpus: Vec<Gpu> = Vec::new();
    let own = open(&options(adapter)).caps().family;
    let [one, other] = KernelFamily::ALL;
    for family in [own, if own == one { other } else { one }] {
        for (without_f16, without_subgroups) in [(false, false), (true, false), (false, true), (true, true)] {
            let kernels = Kernels::Always(family);
            let gpu = open(&GpuOptions { without_f16, without_subgroups, kernels, ..options(adapter) });
            if !gpus.iter().any(|other| other.caps() == gpu.caps()) {
                gpus.push(gpu);
            }
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
        let tier = tier(gpu);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_at_hand_are_tested_beside_those_that_must_be_there() {
        let found = || ["NVIDIA H200", "SwiftShader Device", "llvmpipe (LLVM 19)"].map(str::to_owned).to_vec();
        let chosen = |required, only| chosen(found(), required, only);
        let all = ["llvmpipe (LLVM 19)", "SwiftShader Device", "NVIDIA H200"];
        assert_eq!(chosen("llvmpipe, swiftshader", "").expect("all are there"), all);
        assert_eq!(chosen("", "").expect("any"), found());
        assert_eq!(chosen("llvmpipe,SwiftShader", "nvidia").expect("it is there"), ["NVIDIA H200"]);
        let missing = chosen("llvmpipe,Radeon", "").unwrap_err();
        assert!(missing.starts_with("FOVEA_TEST_ADAPTERS: no adapter's name contains \"radeon\""), "{missing}");
        let missing = chosen("llvmpipe", "Radeon").unwrap_err();
        assert!(missing.starts_with("FOVEA_TEST_ONLY: "), "{missing}");
        assert!(super::chosen(Vec::new(), "", "").is_err());
    }

    /// Every adapter runs in both families, first in its own, and no two tiers are the same.
    #[test]
    fn every_adapter_runs_in_both_families() {
        for name in adapters() {
            let of =
                |gpus: Vec<&'static Gpu>| gpus.into_iter().filter(|gpu| gpu.name().name == name).collect::<Vec<_>>();
            let all = of(gpus().iter().collect());
            assert!(
                of(families())
                    .iter()
                    .map(|gpu| gpu.caps().family)
                    .eq([all[0], all[all.len() - 1]].map(|gpu| gpu.caps().family))
            );
            assert_eq!(all[0].caps().family == KernelFamily::Cpu, all[0].caps().software);
            assert_eq!(of(families()).len(), 2);
            assert!(
                all.iter().enumerate().all(|(index, gpu)| all[..index].iter().all(|other| other.caps() != gpu.caps()))
            );
            let without_f16 = all.iter().filter(|gpu| !gpu.caps().f16).count();
            assert_eq!(of(f32_gpus()).len(), without_f16, "{name}");
        }
    }
}
