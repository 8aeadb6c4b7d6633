//! Speed of matrix products and attention on every adapter: `cargo run --release -p fovea-engine --example tune`.
//!
//! Prints medians of the time on the wall, and of the processor time of this process per core, which on a software
//! adapter is what a machine without neighbours would take. Arguments choose adapters by a part of their name.

use std::{error::Error, time::Instant};

use fovea_engine::{
    Gpu, GpuOptions, Program, Recorder, Tensor,
    op::{Attention, DecodeAttention, Epilogue, Heads, Mask, Ranges},
    weights::{Format, Weight},
};

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, _) in pollster::block_on(fovea_engine::adapters()) {
        if name.backend == "Gl" || !(wanted.is_empty() || wanted.iter().any(|part| name.to_string().contains(part))) {
            continue;
        }
        println!("{name}");
        let options = GpuOptions { adapter: Some(name.name), wait: Some(wait), ..GpuOptions::default() };
        let gpu = pollster::block_on(Gpu::open(&options))?;
        products(&gpu)?;
        attentions(&gpu)?;
    }
    Ok(())
}

fn products(gpu: &Gpu) -> Result<(), Box<dyn Error>> {
    use Format::{F16, F32, Q4, Q8};
    let shapes = [
        (5336, 576, 192, [F32, Q8].as_slice()),
        (5336, 192, 512, &[Q8]),
        (1334, 768, 256, &[F32, Q4]),
        (1, 270, 256, &[F32, Q8]),
        (256, 1024, 1024, &[F32, F16, Q8, Q4]),
        (1024, 1024, 1024, &[F32]),
        (1, 1024, 1024, &[F32, Q8, Q4]),
        (1, 4096, 4096, &[F32, F16, Q8, Q4]),
        (4, 4096, 4096, &[Q4]),
    ];
    for (rows, n, k, formats) in shapes {
        let x = gpu.upload("x", &[rows, k], &numbers(rows * k))?;
        for &format in formats {
            let w = Weight::from_f32(gpu, "w", n, k, &numbers(n * k), format)?;
            measure(gpu, &format!("product {rows} x {n} x {k} {format}"), |rec| {
                Ok(rec.matmul(&x, &w, Epilogue::default())?)
            })?;
        }
    }
    Ok(())
}

fn attentions(gpu: &Gpu) -> Result<(), Box<dyn Error>> {
    let vision = Heads::new(6, 6, 32);
    let (rows, width) = (5336usize, 192);
    let qkv = gpu.upload("qkv", &[rows, 3 * width], &numbers(rows * 3 * width))?;
    let ranges: Vec<_> = (0..rows as u32).map(|row| row / 64 * 64..(row / 64 * 64 + 64).min(rows as u32)).collect();
    let ranges = Ranges::new(gpu, &ranges)?;
    measure(gpu, "attention 5336, 6 heads of 32, windows of 64", |rec| {
        let (q, k, v) = (qkv.columns(0, width), qkv.columns(width, width), qkv.columns(2 * width, width));
        Ok(rec.attention(q, k, v, Attention { heads: vision, kv_len: rows, mask: Mask::Ranges(&ranges) })?)
    })?;

    let decoder = Heads::new(8, 2, 32);
    let rows = 1334;
    let qkv = gpu.upload("qkv", &[rows, 384], &numbers(rows * 384))?;
    measure(gpu, "attention 1334, 8 heads of 32, causal", |rec| {
        let (q, k, v) = (qkv.columns(0, 256), qkv.columns(256, 64), qkv.columns(320, 64));
        let mask = Mask::Causal { past: 0, window: None };
        Ok(rec.attention(q, k, v, Attention { heads: decoder, kv_len: rows, mask })?)
    })?;

    let q = gpu.upload("q", &[1, 256], &numbers(256))?;
    let cache = gpu.upload("cache", &[1600, 64], &numbers(1600 * 64))?;
    let length = gpu.upload("length", &[1], &[1600u32])?;
    measure(gpu, "attention 1 to 1600 keys, 8 heads of 32", |rec| {
        let decode = DecodeAttention { heads: decoder, length: (&length).into(), extra: 0, window: None };
        Ok(rec.attention_decode((&q).into(), &cache, &cache, decode)?)
    })
}

fn measure(
    gpu: &Gpu,
    what: &str,
    record: impl FnOnce(&mut Recorder) -> Result<Tensor, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut recorder = Recorder::new(gpu);
    record(&mut recorder)?;
    let program = recorder.finish()?;
    run(gpu, &program)?;
    let (mut walls, mut cores) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while walls.len() < 3 || (walls.len() < 25 && start.elapsed().as_secs_f64() < 2.0) {
        let (begin, busy) = (Instant::now(), processor_seconds());
        run(gpu, &program)?;
        walls.push(begin.elapsed().as_secs_f64());
        cores.push((processor_seconds() - busy) / std::thread::available_parallelism()?.get() as f64);
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (wall, core, cost) = (median(&mut walls), median(&mut cores), program.cost());
    println!(
        "  {what:<48} {:>9.3} ms {:>8.2} GFLOP/s {:>7.2} GB/s; {:>9.3} ms {:>8.2} GFLOP/s of processor time",
        wall * 1e3,
        cost.flops as f64 / wall / 1e9,
        cost.bytes as f64 / wall / 1e9,
        core * 1e3,
        cost.flops as f64 / core / 1e9,
    );
    Ok(())
}

fn run(gpu: &Gpu, program: &Program) -> Result<(), Box<dyn Error>> {
    program.run()?;
    Ok(pollster::block_on(gpu.finished())?)
}

/// Seconds that the threads of this process have computed so far; zero where the system does not say.
fn processor_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanoseconds = |path: std::path::PathBuf| -> Option<f64> {
        std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    tasks.flatten().filter_map(|task| nanoseconds(task.path())).sum::<f64>() / 1e9
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 504.0).collect()
}

fn wait(device: &wgpu::Device, submission: Option<wgpu::SubmissionIndex>) {
    if let Err(error) = device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None }) {
        eprintln!("waiting for the GPU: {error}");
    }
}
