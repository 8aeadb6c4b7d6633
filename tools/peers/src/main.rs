//! Times `x w^T` in f32 by Fovea's engine and by burn, in turns, on one adapter.
//!
//! A round times ours, burn, ours again and burn with its own layout of weights, so that a machine that slows down
//! slows all of them. A ratio is the median of the rounds' ratios. The second of ours is the control: its ratio to the
//! first says what a ratio is worth. Beside the time stands the processor's time, of all threads of this process: on a
//! software adapter it is the work, whoever else uses the machine. A time starts before the submission and ends when the result is in the CPU's
//! memory. Both hand the driver WGSL; burn could hand it SPIR-V (its feature `vulkan`), which takes longer to build.

use std::{error::Error, time::Instant};

use burn_tensor::{Device, DeviceKind, Tensor, TensorData, wgpu::WgpuBackend};
use fovea_engine::{
    Gpu, GpuOptions, Recorder,
    op::Epilogue,
    testing::{block_on, nmse, random, wait},
    weights::{Format, Weight},
};
use serde_json::json;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Rows of `x`, their width, rows of `w`.
const SHAPES: [[usize; 3]; 4] = [[1, 1024, 1024], [256, 1024, 1024], [1, 4096, 4096], [1024, 1024, 1024]];

/// Seconds that the rounds of a shape take together, as far as [`ROUNDS`] allows.
const SECONDS: f64 = 15.0;

/// Fewest and most rounds.
const ROUNDS: (usize, usize) = (7, 301);

/// Entries of a result that are compared with f64 sums.
const CHECKED: usize = 200;

/// Sums of 4096 products in f32, in any order, stay well below.
const LIMIT: f64 = 1e-10;

fn main() -> Outcome {
    let as_json = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [only] if only == "--json" => true,
        _ => return Err("usage: fovea-peers [--json]".into()),
    };
    let gpu = block_on(Gpu::open(&GpuOptions { wait: Some(wait), ..GpuOptions::default() }))?;
    let device = burn_device(&gpu)?;
    let mut compared = SHAPES.into_iter().map(|shape| compare(&gpu, &device, shape));
    if as_json {
        let shapes = compared.map(|it| Ok(it?.json())).collect::<Outcome<Vec<_>>>()?;
        println!("{:#}", json!({ "adapter": gpu.name().to_string(), "shapes": shapes }));
        return Ok(());
    }
    println!("{}\n", gpu.name());
    println!("| m x k x n | by | time | Fovea over it | processor time | Fovea over it |");
    println!("| --- | --- | ---: | ---: | ---: | ---: |");
    compared.try_for_each(|it| {
        it?.print();
        Ok(())
    })
}

/// The device of burn on the adapter of `gpu`.
fn burn_device(gpu: &Gpu) -> Outcome<Device> {
    let kind = if gpu.caps().software { DeviceKind::Cpu } else { DeviceKind::DefaultDevice };
    let api = if gpu.name().backend == "Vulkan" { WgpuBackend::Vulkan } else { WgpuBackend::Auto };
    let (device, setup) = Device::wgpu_options().device_kind(kind).graphics_api(api).init_with_setup()?;
    let name = setup.adapter.get_info().name;
    if name != gpu.name().name {
        let ours = &gpu.name().name;
        return Err(format!("burn took {name}, Fovea {ours}: leave one driver in VK_DRIVER_FILES").into());
    }
    Ok(device)
}

/// One way to compute a product and to read it back.
struct Way<'a> {
    name: &'static str,
    run: Box<dyn Fn() -> Outcome<Vec<f32>> + 'a>,
    /// Of each round.
    seconds: Vec<f64>,
    /// Of the processor, of each round.
    busy: Vec<f64>,
}

impl<'a> Way<'a> {
    fn new(name: &'static str, run: impl Fn() -> Outcome<Vec<f32>> + 'a) -> Self {
        Self { name, run: Box::new(run), seconds: Vec::new(), busy: Vec::new() }
    }

    /// Seconds, and seconds of the processor.
    fn sample(&self) -> Outcome<(f64, f64)> {
        let (start, before) = (Instant::now(), processor()?);
        let result = (self.run)()?;
        let seconds = start.elapsed().as_secs_f64();
        std::hint::black_box(result);
        Ok((seconds, processor()? - before))
    }

    /// Its times, and those of `ours` over them.
    fn timed(&self, ours: &Self) -> Timed {
        let over = |ours: &[f64], own: &[f64]| quartiles(ours.iter().zip(own).map(|(ours, own)| ours / own).collect());
        Timed {
            name: self.name,
            seconds: quartiles(self.seconds.clone()),
            ratio: over(&ours.seconds, &self.seconds),
            busy: quartiles(self.busy.clone()),
            busy_ratio: over(&ours.busy, &self.busy),
        }
    }
}

/// Seconds that the threads of this process have run, as Linux counts them.
fn processor() -> Outcome<f64> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // One may just have ended.
        let Ok(counts) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanoseconds += counts.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// The values below which a quarter, half and three quarters of them lie.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|share| {
        let index = (share * values.len().saturating_sub(1) as f64).round() as usize;
        values.get(index).copied().unwrap_or(f64::NAN)
    })
}

/// The quartiles of a way over all rounds.
struct Timed {
    name: &'static str,
    seconds: [f64; 3],
    /// The time of ours in the same round over this one.
    ratio: [f64; 3],
    busy: [f64; 3],
    busy_ratio: [f64; 3],
}

/// What became of a shape.
struct Compared {
    shape: [usize; 3],
    rounds: usize,
    ways: Vec<Timed>,
}

impl Compared {
    fn flops_per_second(&self, seconds: f64) -> f64 {
        2.0 * self.shape.iter().product::<usize>() as f64 / seconds
    }

    fn print(&self) {
        let [m, k, n] = self.shape;
        let ratio = |[low, median, high]: [f64; 3]| format!("{median:.2} ({low:.2} to {high:.2})");
        for way in &self.ways {
            let ([_, seconds, _], [_, busy, _]) = (way.seconds, way.busy);
            let (over, busy_over) = (ratio(way.ratio), ratio(way.busy_ratio));
            println!(
                "| {m}x{k}x{n} | {} | {:.2} ms | {over} | {:.2} ms | {busy_over} |",
                way.name,
                seconds * 1e3,
                busy * 1e3,
            );
        }
    }

    fn json(&self) -> serde_json::Value {
        let way = |way: &Timed| {
            json!({
                "name": way.name,
                "seconds": way.seconds,
                "ratio": way.ratio,
                "processor_seconds": way.busy,
                "processor_ratio": way.busy_ratio,
                "flops_per_second": self.flops_per_second(way.seconds[1]),
            })
        };
        let ways: Vec<_> = self.ways.iter().map(way).collect();
        json!({ "shape": self.shape, "rounds": self.rounds, "ways": ways })
    }
}

fn compare(gpu: &Gpu, device: &Device, shape: [usize; 3]) -> Outcome<Compared> {
    let [m, k, n] = shape;
    let (x, w) = (random(m * k, 1), random(n * k, 2));

    let (program, y) = {
        let x = gpu.upload("x", &[m, k], &x)?;
        let w = Weight::from_f32(gpu, "w", n, k, &w, Format::F32)?;
        let mut recorder = Recorder::new(gpu);
        let y = recorder.matmul(&x, &w, Epilogue::default())?;
        recorder.keep(&y);
        (recorder.finish()?, y)
    };
    let ours = || -> Outcome<Vec<f32>> {
        program.run()?;
        Ok(block_on(program.read::<f32>(&y))?)
    };

    let burn_x = Tensor::<2>::from_data(TensorData::new(x.clone(), [m, k]), device);
    let burn_w = Tensor::<2>::from_data(TensorData::new(w.clone(), [n, k]), device);
    let columns: Vec<f32> = (0..k * n).map(|i| w[i % n * k + i / n]).collect();
    let burn_columns = Tensor::<2>::from_data(TensorData::new(columns, [k, n]), device);
    let read = |y: Tensor<2>| -> Outcome<Vec<f32>> { Ok(y.try_into_data()?.try_into_vec::<f32>()?) };

    let mut ways = [
        Way::new("Fovea", ours),
        Way::new("burn, w as [n, k]", || read(burn_x.clone().matmul(burn_w.clone().transpose()))),
        Way::new("Fovea again", ours),
        Way::new("burn, w as [k, n]", || read(burn_x.clone().matmul(burn_columns.clone()))),
    ];
    for way in &ways {
        eprint!("{m}x{k}x{n} {}: ", way.name);
        // Compiles, and tunes where there is something to choose.
        let (first, _) = way.sample()?;
        let error = error_of(&(way.run)()?, &x, &w, shape)?;
        eprintln!("first run {first:.2} s, normalised mean square error {error:.1e}");
    }
    // Once more, now that nothing is left to compile.
    let round = ways.iter().map(|way| Ok(way.sample()?.0)).sum::<Outcome<f64>>()?;
    let rounds = ((SECONDS / round) as usize).clamp(ROUNDS.0, ROUNDS.1);
    for _ in 0..rounds {
        for way in &mut ways {
            let (seconds, busy) = way.sample()?;
            way.seconds.push(seconds);
            way.busy.push(busy);
        }
    }
    Ok(Compared { shape, rounds, ways: ways.iter().map(|way| way.timed(&ways[0])).collect() })
}

/// The normalised mean square error of entries all over a result.
fn error_of(y: &[f32], x: &[f32], w: &[f32], [m, k, n]: [usize; 3]) -> Outcome<f64> {
    if y.len() != m * n {
        return Err(format!("a result of {} elements, expected {m}x{n}", y.len()).into());
    }
    let step = (m * n / CHECKED).max(1);
    // Not a multiple of the width, so that the columns differ.
    let places = (0..m * n).step_by(step | 1);
    let exact = |place: usize| {
        let (row, column) = (&x[place / n * k..][..k], &w[place % n * k..][..k]);
        row.iter().zip(column).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let expected: Vec<f64> = places.clone().map(exact).collect();
    let actual: Vec<f32> = places.map(|place| y[place]).collect();
    let error = nmse(&actual, &expected);
    // Written so that a NaN fails.
    if error <= LIMIT { Ok(error) } else { Err(format!("normalised mean square error {error:e}").into()) }
}
