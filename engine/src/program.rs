//! Record, plan, replay: the engine's one idea.
//!
//! Ops append dispatches to a [`Recorder`]; nothing runs. [`Recorder::finish`] plans the transient tensors into few
//! buffers by lifetime, builds bind groups, and lays all parameters into one uniform arena. A [`Program`] runs as one
//! compute pass, any number of times.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fovea_shaders::{Access, Variant};

use crate::{
    buffer::Buffer,
    dtype::DType,
    error::{GpuError, OpError},
    gpu::{Element, Gpu, Pipeline},
    params::Params,
    tensor::{Place, Tensor, Transient, bytes_of},
};

/// Work and traffic of a dispatch: what a roofline is drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations, a multiply-add counted as two.
    pub flops: u64,
    /// Bytes that must be read and written at least.
    pub bytes: u64,
}

impl Cost {
    /// Each of these tensors moved once.
    pub fn moving(tensors: &[&Tensor]) -> Self {
        Self { flops: 0, bytes: tensors.iter().map(|tensor| tensor.bytes()).sum() }
    }

    /// Adds floating-point operations.
    #[must_use]
    pub fn flops(mut self, flops: u64) -> Self {
        self.flops += flops;
        self
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes += bytes;
        self
    }
}

/// A grid of workgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workgroups(pub [u32; 3]);

impl Workgroups {
    /// `count` workgroups; those beyond 65535 continue in y, where a few more than `count` may run.
    pub fn linear(count: usize) -> Self {
        let x = count.clamp(1, 65535);
        Self([x as u32, count.max(1).div_ceil(x) as u32, 1])
    }

    /// Enough workgroups of `threads` for `items` items.
    pub fn for_items(items: usize, threads: u32) -> Self {
        Self::linear(items.div_ceil(threads as usize))
    }
}

/// One kernel launch, as an op describes it.
pub struct Dispatch<'a, P> {
    /// Name of the op in listings.
    pub op: &'static str,
    /// What runs.
    pub kernel: Variant,
    /// Its uniform parameters.
    pub params: P,
    /// Its storage bindings, in ascending order of binding number.
    pub bindings: &'a [&'a Tensor],
    /// How many workgroups.
    pub workgroups: Workgroups,
    /// What it costs.
    pub cost: Cost,
}

struct Recorded {
    op: &'static str,
    pipeline: Arc<Pipeline>,
    arena_offset: u32,
    params_bytes: u64,
    bindings: Vec<Tensor>,
    workgroups: [u32; 3],
    cost: Cost,
}

/// What a recording knows of one of its transient tensors.
struct Planned {
    bytes: u64,
    kept: bool,
}

/// The next recording's number.
static RECORDINGS: AtomicU64 = AtomicU64::new(0);

/// Takes down what ops want to run.
pub struct Recorder {
    gpu: Gpu,
    /// This recording's number, which its transients carry.
    id: u64,
    dispatches: Vec<Recorded>,
    transients: Vec<Planned>,
    arena: Vec<u8>,
}

impl Recorder {
    /// An empty recording.
    pub fn new(gpu: &Gpu) -> Self {
        let id = RECORDINGS.fetch_add(1, Ordering::Relaxed);
        Self { gpu: gpu.clone(), id, dispatches: Vec::new(), transients: Vec::new(), arena: Vec::new() }
    }

    /// The GPU that will run it.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// What the GPU can do.
    pub fn caps(&self) -> &crate::Caps {
        self.gpu.caps()
    }

    /// A tensor that lives from its first to its last use in this program. The op that asks for it writes all of it.
    pub fn transient(&mut self, shape: &[usize], dtype: DType) -> Tensor {
        let index = self.transients.len();
        self.transients.push(Planned { bytes: bytes_of(shape, dtype), kept: false });
        Tensor::new(shape, dtype, Place::Transient(Transient { recording: self.id, index }))
    }

    /// Keeps a transient tensor until the program has run, so that it can be read back. Another recording's tensor is
    /// left as it is: reading it from this program is refused.
    pub fn keep(&mut self, tensor: &Tensor) {
        if let Place::Transient(Transient { recording, index }) = tensor.place
            && recording == self.id
            && let Some(planned) = self.transients.get_mut(index)
        {
            planned.kept = true;
        }
    }

    /// Whether a program of this recording can bind the tensor: persistent tensors, and its own transients.
    fn owns(&self, tensor: &Tensor) -> bool {
        match tensor.place {
            Place::Buffer(_) => true,
            Place::Transient(transient) => transient.recording == self.id && transient.index < self.transients.len(),
        }
    }

    /// The kernels so far, in order, each with its parts and constants.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.dispatches.iter().map(|dispatch| dispatch.pipeline.label.as_str())
    }

    /// Bytes of the largest binding so far: what an adapter must allow.
    pub fn largest_binding(&self) -> u64 {
        let bindings = self.dispatches.iter().flat_map(|dispatch| &dispatch.bindings);
        bindings.map(Tensor::bytes).max().unwrap_or_default()
    }

    /// Appends a kernel launch.
    ///
    /// # Errors
    /// [`OpError::Gpu`] if the kernel does not compile; [`OpError::Value`] if the bindings or parameters do not fit the
    /// kernel, or a binding is a transient tensor of another recording.
    pub fn dispatch<P: Params>(&mut self, dispatch: Dispatch<'_, P>) -> Result<(), OpError> {
        if !P::KERNELS.iter().any(|&kernel| std::ptr::eq(kernel, dispatch.kernel.kernel)) {
            return Err(OpError::Value {
                op: dispatch.op,
                what: "kernel",
                got: dispatch.kernel.kernel.name.to_owned(),
                expected: "one that takes these parameters".to_owned(),
            });
        }
        let pipeline = self.gpu.pipeline(&dispatch.kernel)?;
        let storage = pipeline.bindings.iter().filter(|binding| binding.access != Access::Uniform).count();
        if storage != dispatch.bindings.len() {
            return Err(OpError::Value {
                op: dispatch.op,
                what: "number of bindings",
                got: dispatch.bindings.len().to_string(),
                expected: storage.to_string(),
            });
        }
        if let Some(foreign) = dispatch.bindings.iter().find(|tensor| !self.owns(tensor)) {
            return Err(OpError::Value {
                op: dispatch.op,
                what: "binding",
                got: format!("a transient tensor {:?} of another recording", foreign.shape()),
                expected: "tensors of this recording, or persistent ones".to_owned(),
            });
        }
        let Workgroups(workgroups) = dispatch.workgroups;
        if workgroups.iter().any(|&count| count > self.caps().max_workgroups) {
            return Err(OpError::Value {
                op: dispatch.op,
                what: "workgroups",
                got: format!("{workgroups:?}"),
                expected: format!("at most {} in each dimension", self.caps().max_workgroups),
            });
        }
        let params = bytemuck::bytes_of(&dispatch.params);
        let params_bytes = params.len().next_multiple_of(16);
        let offset = self.arena.len();
        self.arena.extend_from_slice(params);
        let alignment = self.caps().uniform_alignment.max(16) as usize;
        self.arena.resize((offset + params_bytes).next_multiple_of(alignment), 0);
        self.dispatches.push(Recorded {
            op: dispatch.op,
            pipeline,
            arena_offset: offset as u32,
            params_bytes: params_bytes as u64,
            bindings: dispatch.bindings.iter().map(|&tensor| tensor.clone()).collect(),
            workgroups,
            cost: dispatch.cost,
        });
        Ok(())
    }

    /// Plans memory and builds everything that running needs.
    ///
    /// # Errors
    /// [`GpuError::BufferTooLarge`], [`GpuError::OutOfMemory`].
    pub fn finish(self) -> Result<Program, GpuError> {
        let Self { gpu, id, dispatches, transients, arena } = self;
        let (slot_of, slot_bytes) = plan(&dispatches, &transients);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let slots: Vec<Arc<Buffer>> = slot_bytes
            .iter()
            .map(|&bytes| gpu.buffer("transient tensors", bytes, usage).map(Arc::new))
            .collect::<Result<_, _>>()?;

        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniforms = gpu.buffer("parameters", arena.len() as u64, usage)?;
        if !arena.is_empty() {
            gpu.queue().write_buffer(&uniforms, 0, &arena);
        }

        let mut held = HashMap::new();
        let mut groups: HashMap<GroupKey, wgpu::BindGroup> = HashMap::new();
        let mut steps = Vec::with_capacity(dispatches.len());
        for dispatch in dispatches {
            let buffers: Vec<Bound> = dispatch
                .bindings
                .iter()
                .filter_map(|tensor| {
                    let buffer = match &tensor.place {
                        Place::Buffer(buffer) => {
                            held.insert(Arc::as_ptr(buffer), Arc::clone(buffer));
                            buffer
                        }
                        Place::Transient(transient) => slots.get((*slot_of.get(transient.index)?)?)?,
                    };
                    Some((wgpu::Buffer::clone(buffer), tensor.offset, tensor.bytes().next_multiple_of(4).max(4)))
                })
                .collect();
            let key = (dispatch.pipeline.layout.clone(), dispatch.params_bytes, buffers);
            let group = match groups.get(&key) {
                Some(group) => group.clone(),
                None => {
                    let group = bind(&gpu, &dispatch, &uniforms, &key.2);
                    groups.insert(key, group.clone());
                    group
                }
            };
            steps.push(Step {
                op: dispatch.op,
                shape: dispatch.bindings.last().map(|tensor| tensor.shape().to_vec()).unwrap_or_default(),
                pipeline: dispatch.pipeline,
                group,
                offset: dispatch.arena_offset,
                workgroups: dispatch.workgroups,
                cost: dispatch.cost,
            });
        }
        gpu.check()?;
        let bytes = slot_bytes.iter().sum();
        let held = held.into_values().chain([Arc::new(uniforms)]).collect();
        // What was not kept may share its slot with a later tensor: its numbers are gone once the program has run.
        let kept_slot_of =
            slot_of.iter().zip(&transients).map(|(slot, planned)| slot.filter(|_| planned.kept)).collect();
        Ok(Program { gpu, id, steps, slots, _held: held, kept_slot_of, bytes })
    }
}

/// What a storage binding shows: a buffer from an offset on, so many bytes of it.
type Bound = (wgpu::Buffer, u64, u64);

/// Dispatches of one layout that bind the same buffers share a bind group: layout, bytes of parameters, buffers.
type GroupKey = (wgpu::BindGroupLayout, u64, Vec<Bound>);

fn bind(gpu: &Gpu, dispatch: &Recorded, uniforms: &wgpu::Buffer, buffers: &[Bound]) -> wgpu::BindGroup {
    let mut storage = buffers.iter();
    let entries: Vec<_> = dispatch
        .pipeline
        .bindings
        .iter()
        .filter_map(|binding| {
            let (buffer, offset, size) = match binding.access {
                Access::Uniform => (uniforms, 0, dispatch.params_bytes),
                _ => storage.next().map(|(buffer, offset, size)| (buffer, *offset, *size))?,
            };
            let size = wgpu::BufferSize::new(size);
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
            Some(wgpu::BindGroupEntry { binding: binding.index, resource })
        })
        .collect();
    gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(&dispatch.pipeline.label),
        layout: &dispatch.pipeline.layout,
        entries: &entries,
    })
}

/// Places transients into slots so that tensors alive at the same time never share one. A slot is a buffer of its own:
/// WebGPU forbids reading and writing one buffer in the same dispatch.
///
/// Returns the slot of each transient (`None` if nothing uses it) and the bytes of each slot.
fn plan(dispatches: &[Recorded], transients: &[Planned]) -> (Vec<Option<usize>>, Vec<u64>) {
    let mut last_use: Vec<Option<usize>> = vec![None; transients.len()];
    for (step, dispatch) in dispatches.iter().enumerate() {
        for tensor in &dispatch.bindings {
            if let Place::Transient(Transient { index, .. }) = tensor.place {
                last_use[index] = Some(if transients[index].kept { usize::MAX } else { step });
            }
        }
    }
    let mut slot_of: Vec<Option<usize>> = vec![None; transients.len()];
    let mut slot_bytes: Vec<u64> = Vec::new();
    let mut busy_until: Vec<usize> = Vec::new();
    for (step, dispatch) in dispatches.iter().enumerate() {
        for tensor in &dispatch.bindings {
            let Place::Transient(Transient { index, .. }) = tensor.place else { continue };
            if slot_of[index].is_some() {
                continue;
            }
            let bytes = transients[index].bytes;
            let free = (0..slot_bytes.len()).filter(|&slot| busy_until[slot] < step);
            // The smallest slot that fits; otherwise the largest, which then grows the least.
            let slot = free.min_by_key(|&slot| match slot_bytes[slot] >= bytes {
                true => (0, slot_bytes[slot]),
                false => (1, u64::MAX - slot_bytes[slot]),
            });
            let slot = slot.unwrap_or_else(|| {
                slot_bytes.push(0);
                busy_until.push(0);
                slot_bytes.len() - 1
            });
            slot_bytes[slot] = slot_bytes[slot].max(bytes);
            busy_until[slot] = last_use[index].unwrap_or(step);
            slot_of[index] = Some(slot);
        }
    }
    (slot_of, slot_bytes)
}

struct Step {
    op: &'static str,
    shape: Vec<usize>,
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    offset: u32,
    workgroups: [u32; 3],
    cost: Cost,
}

/// A finished recording: runs any number of times.
pub struct Program {
    gpu: Gpu,
    /// The number of its recording.
    id: u64,
    steps: Vec<Step>,
    slots: Vec<Arc<Buffer>>,
    /// Everything else that the bind groups point at, which a browser would otherwise take back.
    _held: Vec<Arc<Buffer>>,
    /// The slot of each transient that was kept.
    kept_slot_of: Vec<Option<usize>>,
    bytes: u64,
}

/// Time that one dispatch took.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The op.
    pub op: &'static str,
    /// The kernel with its parts and constants.
    pub kernel: String,
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// What it costs at least.
    pub cost: Cost,
    /// Nanoseconds on the GPU's own clock.
    pub nanoseconds: f64,
}

impl Program {
    /// Submits the program once, as one compute pass.
    ///
    /// # Errors
    /// A failure that the driver reported so far.
    pub fn run(&self) -> Result<(), GpuError> {
        self.run_times(1)
    }

    /// Submits the program several times in one go, for a decode loop that advances by itself.
    ///
    /// # Errors
    /// A failure that the driver reported so far.
    pub fn run_times(&self, times: usize) -> Result<(), GpuError> {
        self.submit(&self.steps, times)
    }

    fn submit(&self, steps: &[Step], times: usize) -> Result<(), GpuError> {
        self.gpu.check()?;
        let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for _ in 0..times {
                steps.iter().for_each(|step| step.encode(&mut pass));
            }
        }
        self.gpu.queue().submit([encoder.finish()]);
        self.gpu.check()
    }

    /// Runs the program once in several submissions of about `flops` each and waits for each, so that neither a
    /// driver's watchdog nor a page's frames suffer; `progress` hears the share that is done.
    ///
    /// # Errors
    /// A failure that the driver reported.
    pub async fn run_paced(&self, flops: u64, progress: &dyn Fn(f32)) -> Result<(), GpuError> {
        let total = self.cost().flops.max(1) as f32;
        let (mut start, mut pending, mut done) = (0, 0, 0);
        for (index, step) in self.steps.iter().enumerate() {
            pending += step.cost.flops;
            if pending < flops && index + 1 < self.steps.len() {
                continue;
            }
            self.submit(&self.steps[start..=index], 1)?;
            self.gpu.finished().await?;
            done += pending;
            (start, pending) = (index + 1, 0);
            progress(done as f32 / total);
        }
        Ok(())
    }

    /// Runs every dispatch in a pass of its own, with timestamps around it.
    ///
    /// # Errors
    /// [`GpuError::TooSmall`] if the adapter has no timestamps; a failure that the driver reported.
    pub async fn profile(&self) -> Result<Vec<Timing>, GpuError> {
        if !self.gpu.caps().timestamps {
            let adapter = self.gpu.name().to_string();
            return Err(GpuError::TooSmall { adapter, what: "timestamp-query", has: 0, needs: 1 });
        }
        // A query set holds at most 4096 timestamps.
        let mut timings = Vec::with_capacity(self.steps.len());
        for steps in self.steps.chunks(2048) {
            let count = 2 * steps.len() as u32;
            let queries = self.gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            let resolved = self.gpu.buffer("timestamps", u64::from(count) * 8, usage)?;
            let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for (index, step) in steps.iter().enumerate() {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(step.op),
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(2 * index as u32),
                        end_of_pass_write_index: Some(2 * index as u32 + 1),
                    }),
                });
                step.encode(&mut pass);
            }
            encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
            self.gpu.queue().submit([encoder.finish()]);
            let bytes = self.gpu.read_buffer(&resolved, 0, u64::from(count) * 8).await?;
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
            let period = f64::from(self.gpu.queue().get_timestamp_period());
            timings.extend(steps.iter().zip(ticks.chunks_exact(2)).map(|(step, ticks)| Timing {
                op: step.op,
                kernel: step.pipeline.label.clone(),
                shape: step.shape.clone(),
                cost: step.cost,
                nanoseconds: ticks[1].saturating_sub(ticks[0]) as f64 * period,
            }));
        }
        Ok(timings)
    }

    /// Copies a tensor back: a persistent one, or a transient that [`Recorder::keep`] kept.
    ///
    /// # Errors
    /// [`GpuError::Rejected`] for another element type, a tensor of another program, or one that was not kept;
    /// [`GpuError::Lost`].
    pub async fn read<T: Element>(&self, tensor: &Tensor) -> Result<Vec<T>, GpuError> {
        let Place::Transient(transient) = tensor.place else { return self.gpu.read(tensor).await };
        match self.kept(transient) {
            Some(buffer) if tensor.dtype() == T::DTYPE => {
                let bytes = self.gpu.read_buffer(buffer, tensor.offset, tensor.bytes()).await?;
                Ok(bytemuck::pod_collect_to_vec(&bytes))
            }
            _ => Err(GpuError::Rejected(format!("read of {tensor:?}"))),
        }
    }

    /// Where a transient of this program lies that was kept.
    fn kept(&self, transient: Transient) -> Option<&Arc<Buffer>> {
        let Transient { recording, index } = transient;
        let slot = self.kept_slot_of.get(index).copied().flatten().filter(|_| recording == self.id)?;
        self.slots.get(slot)
    }

    /// Makes a kept transient a tensor of its own that outlives the program, by a copy on the GPU.
    ///
    /// # Errors
    /// [`GpuError::Rejected`] for a tensor of another program, or one that was not kept; [`GpuError::OutOfMemory`].
    pub fn detach(&self, tensor: &Tensor) -> Result<Tensor, GpuError> {
        let Place::Transient(transient) = tensor.place else { return Ok(tensor.clone()) };
        let Some(slot) = self.kept(transient) else { return Err(GpuError::Rejected(format!("detach of {tensor:?}"))) };
        let copy = self.gpu.tensor("detached tensor", tensor.shape(), tensor.dtype())?;
        if let Place::Buffer(buffer) = &copy.place {
            let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(slot, tensor.offset, buffer, 0, tensor.bytes().next_multiple_of(4));
            self.gpu.queue().submit([encoder.finish()]);
        }
        self.gpu.check()?;
        Ok(copy)
    }

    /// Sum of the costs of all dispatches.
    pub fn cost(&self) -> Cost {
        self.steps.iter().fold(Cost::default(), |sum, step| sum.flops(step.cost.flops).bytes(step.cost.bytes))
    }

    /// Bytes of planned memory.
    pub fn transient_bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of kernel launches.
    pub fn dispatches(&self) -> usize {
        self.steps.len()
    }
}

impl Step {
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[self.offset]);
        let [x, y, z] = self.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>4}  {:<18} {:<20} {:<44} {:>12} {:>12}", "#", "op", "shape", "kernel", "MFLOP", "KiB")?;
        for (index, step) in self.steps.iter().enumerate() {
            let (flops, bytes) = (step.cost.flops as f64 / 1e6, step.cost.bytes as f64 / 1024.0);
            let (shape, kernel) = (format!("{:?}", step.shape), &step.pipeline.label);
            writeln!(f, "{index:>4}  {:<18} {shape:<20} {kernel:<44} {flops:>12.3} {bytes:>12.1}", step.op)?;
        }
        let cost = self.cost();
        write!(
            f,
            "{} dispatches, {:.3} GFLOP, {:.1} MiB moved, {:.1} MiB of transient tensors in {} buffers",
            self.steps.len(),
            cost.flops as f64 / 1e9,
            cost.bytes as f64 / (1 << 20) as f64,
            self.bytes as f64 / (1 << 20) as f64,
            self.slots.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{block_on, gpus};

    /// Two recordings number their transients alike: only the recording's own number keeps them from being mistaken.
    #[test]
    fn tensors_of_another_recording_are_refused() {
        let gpu = &gpus()[0];
        let x = gpu.upload("x", &[4], &[1.0f32, 2.0, 3.0, 4.0]).expect("a tensor");
        let (mut first, mut second) = (Recorder::new(gpu), Recorder::new(gpu));
        let doubled = first.scale(&x, 2.0).expect("recorded");
        let tripled = second.scale(&x, 3.0).expect("recorded");
        assert_eq!((doubled.shape(), doubled.dtype()), (tripled.shape(), tripled.dtype()));
        let refused = second.add(&tripled, &doubled).expect_err("refused").to_string();
        assert!(refused.contains("a transient tensor [4] of another recording"), "{refused}");
        // Nor does keeping another's tensor keep the one of the same number.
        second.keep(&doubled);
        second.keep(&tripled);
        first.keep(&doubled);
        let (first, second) = (first.finish().expect("a program"), second.finish().expect("a program"));
        first.run().and_then(|()| second.run()).expect("runs");
        assert_eq!(block_on(first.read::<f32>(&doubled)).expect("its own"), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(block_on(second.read::<f32>(&tripled)).expect("its own"), [3.0, 6.0, 9.0, 12.0]);
        assert!(matches!(block_on(second.read::<f32>(&doubled)), Err(GpuError::Rejected(_))));
        assert!(matches!(second.detach(&doubled), Err(GpuError::Rejected(_))));
    }

    /// The slot of a tensor that was not kept holds a later one's numbers by the end of the program.
    #[test]
    fn tensors_that_were_not_kept_are_not_read() {
        let gpu = &gpus()[0];
        let x = gpu.upload("x", &[4], &[1.0f32; 4]).expect("a tensor");
        let mut rec = Recorder::new(gpu);
        let inner = rec.scale(&x, 2.0).expect("recorded");
        let outer = rec.scale(&inner, 2.0).expect("recorded");
        rec.keep(&outer);
        let program = rec.finish().expect("a program");
        program.run().expect("runs");
        assert_eq!(block_on(program.read::<f32>(&outer)).expect("kept"), [4.0; 4]);
        assert!(matches!(block_on(program.read::<f32>(&inner)), Err(GpuError::Rejected(_))));
        assert!(matches!(program.detach(&inner), Err(GpuError::Rejected(_))));
    }

    /// A product that wraps around, as 2^16 times 2^16 does on wasm32, would plan a buffer of the wrong size.
    #[test]
    fn shapes_beyond_any_memory_are_refused_before_it_is_planned() {
        let gpu = &gpus()[0];
        let half = 1usize << (usize::BITS / 2);
        assert!(matches!(gpu.tensor("x", &[half, half], DType::F32), Err(GpuError::BufferTooLarge { .. })));
        assert!(matches!(gpu.tensor("x", &[usize::MAX, 4], DType::F32), Err(GpuError::BufferTooLarge { .. })));
        let x = gpu.tensor("x", &[4], DType::F32).expect("a tensor");
        assert!(x.reshape(&[half, half]).is_err() && x.reshape(&[half, half, 4]).is_err());
        assert!(x.reshape(&[usize::MAX, 0]).is_err() && x.reshape(&[2, 2]).is_ok());
        let mut rec = Recorder::new(gpu);
        let huge = rec.transient(&[half, half, 4], DType::F32);
        assert_eq!((huge.len(), huge.bytes()), (usize::MAX, u64::MAX));
        assert!(rec.scale(&huge, 1.0).is_err());
    }
}
