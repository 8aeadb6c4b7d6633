//! The GPU: adapter choice, capabilities, buffers, pipelines, reading back.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use fovea_shaders::{Access, Compiler, Variant};
use futures_channel::oneshot;

use crate::{
    buffer::Buffer,
    dtype::DType,
    error::GpuError,
    tensor::{Place, Tensor, bytes_of},
};

/// Blocks until a submission has finished. The engine itself never blocks: a native program hands this in, and a
/// browser has no need of it.
pub type Wait = fn(&wgpu::Device, Option<wgpu::SubmissionIndex>);

/// Which of its two families of kernels the engine runs: those for GPUs share what they read through workgroup memory,
/// those for processors read straight from memory. Both compute the same on every adapter, to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelFamily {
    /// Many threads that share workgroup memory.
    Gpu,
    /// Few threads with much in registers.
    Cpu,
}

impl KernelFamily {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Gpu, Self::Cpu];
}

impl fmt::Display for KernelFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
        })
    }
}

/// How a [`KernelFamily`] is chosen; `auto`, `gpu` or `cpu` in text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kernels {
    /// The faster one by the kind of adapter: [`KernelFamily::Cpu`] where a processor runs the shaders.
    #[default]
    Auto,
    /// This one, whatever the adapter.
    Always(KernelFamily),
}

impl Kernels {
    fn family(self, software: bool) -> KernelFamily {
        match self {
            Self::Always(family) => family,
            Self::Auto if software => KernelFamily::Cpu,
            Self::Auto => KernelFamily::Gpu,
        }
    }
}

impl FromStr for Kernels {
    type Err = UnknownKernels;

    fn from_str(name: &str) -> Result<Self, UnknownKernels> {
        if name == "auto" {
            return Ok(Self::Auto);
        }
        let found = KernelFamily::ALL.into_iter().find(|family| family.to_string() == name);
        found.map(Self::Always).ok_or_else(|| UnknownKernels(name.to_owned()))
    }
}

/// A name of kernels that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernels {0:?}: none of auto, gpu, cpu")]
pub struct UnknownKernels(String);

/// Which adapter to take, and what to leave unused of it.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Take the adapter with this name, else the first whose name, driver or backend contains this, ignoring case.
    pub adapter: Option<String>,
    /// Pretend that the adapter lacks shader-f16.
    pub without_f16: bool,
    /// Pretend that the adapter lacks subgroups.
    pub without_subgroups: bool,
    /// The device will have subgroups although wgpu does not know: in a browser, whoever opens it can ask for them.
    pub granted_subgroups: bool,
    /// Which family of kernels to run.
    pub kernels: Kernels,
    /// Bytes that an activation may take before it is computed in chunks, if less than a binding may have.
    pub activation_limit: Option<u64>,
    /// How to wait for the GPU; without it, futures rely on the environment to poll the device.
    pub wait: Option<Wait>,
}

/// What an adapter can do: probed once, read by every kernel choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Caps {
    /// f16 arithmetic and storage in shaders.
    pub f16: bool,
    /// Subgroup operations.
    pub subgroups: bool,
    /// Smallest and largest subgroup.
    pub subgroup_sizes: (u32, u32),
    /// Timestamps at the borders of passes.
    pub timestamps: bool,
    /// The family of kernels that runs. Every choice between kernels reads this, none the kind of adapter.
    pub family: KernelFamily,
    /// Whether a processor runs the shaders. It says how fast the adapter is, not which kernels run.
    pub software: bool,
    /// Bytes of the largest storage binding.
    pub max_binding: u64,
    /// Bytes of the largest buffer.
    pub max_buffer: u64,
    /// Bytes of the largest activation that is computed as a whole: what would be larger is computed in chunks.
    pub max_activation: u64,
    /// Alignment of uniform offsets.
    pub uniform_alignment: u32,
    /// Alignment of storage offsets.
    pub storage_alignment: u32,
    /// Threads of the largest workgroup.
    pub max_threads: u32,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Workgroups in one dimension of a dispatch.
    pub max_workgroups: u32,
    /// Storage buffers of one kernel.
    pub storage_buffers: u32,
}

impl Caps {
    /// Threads of a workgroup that reduces rows of `width` elements: a power of two.
    pub fn reduction_threads(&self, width: usize) -> u32 {
        let wanted = (width / 4).max(1).next_power_of_two() as u32;
        let most = 1 << self.max_threads.clamp(1, 256).ilog2();
        wanted.clamp(32.min(most), most)
    }
}

/// Name and kind of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterName {
    /// As the driver says, such as `llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub name: String,
    /// Driver and its version.
    pub driver: String,
    /// Vulkan, Metal, DX12, WebGPU.
    pub backend: String,
    /// Discrete, integrated, CPU.
    pub kind: String,
}

impl AdapterName {
    fn of(info: &wgpu::AdapterInfo) -> Self {
        Self {
            name: info.name.clone(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            backend: format!("{:?}", info.backend),
            kind: format!("{:?}", info.device_type),
        }
    }

    fn matches(&self, filter: &str) -> bool {
        let filter = filter.to_lowercase();
        [&self.name, &self.driver, &self.backend].iter().any(|text| text.to_lowercase().contains(&filter))
    }
}

impl fmt::Display for AdapterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, {}, {}]", self.name, self.backend, self.kind, self.driver)
    }
}

/// A compiled kernel.
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    pub(crate) bindings: Vec<fovea_shaders::Binding>,
    pub(crate) label: String,
}

/// First failure that the driver reported outside of any call.
type Failure = Arc<Mutex<Option<GpuError>>>;

/// A device with its queue and its compiled kernels. Cloning it clones the handle.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    name: AdapterName,
    caps: Caps,
    wait: Option<Wait>,
    pipelines: Mutex<HashMap<String, Arc<Pipeline>>>,
    failure: Failure,
    /// See [`Gpu::recoveries`].
    recoveries: AtomicU64,
    /// Bytes of all buffers.
    memory: Arc<AtomicU64>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("name", &self.inner.name).field("caps", &self.inner.caps).finish()
    }
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

/// Every adapter at hand, with what it can do.
pub async fn adapters() -> Vec<(AdapterName, Caps)> {
    let found = instance().enumerate_adapters(wgpu::Backends::all()).await;
    found.iter().map(|adapter| (AdapterName::of(&adapter.get_info()), probe(adapter, &GpuOptions::default()))).collect()
}

fn probe(adapter: &wgpu::Adapter, options: &GpuOptions) -> Caps {
    let (features, limits, info) = (adapter.features(), adapter.limits(), adapter.get_info());
    let largest = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    let software = info.device_type == wgpu::DeviceType::Cpu;
    Caps {
        f16: features.contains(wgpu::Features::SHADER_F16) && !options.without_f16,
        subgroups: (features.contains(wgpu::Features::SUBGROUP) || options.granted_subgroups)
            && !options.without_subgroups,
        subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        family: options.kernels.family(software),
        software,
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        max_activation: options.activation_limit.unwrap_or(largest).min(largest),
        uniform_alignment: limits.min_uniform_buffer_offset_alignment,
        storage_alignment: limits.min_storage_buffer_offset_alignment,
        max_threads: limits.max_compute_invocations_per_workgroup,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
    }
}

impl Gpu {
    /// Opens an adapter with all the limits it has.
    ///
    /// Without [`GpuOptions::adapter`], `WGPU_ADAPTER_NAME` decides, then the fastest kind of adapter.
    ///
    /// # Errors
    /// [`GpuError::NoAdapter`], [`GpuError::TooSmall`], [`GpuError::NoDevice`].
    pub async fn open(options: &GpuOptions) -> Result<Self, GpuError> {
        let instance = instance();
        let filter = options.adapter.clone().or_else(adapter_from_environment);
        let adapter = choose(&instance, filter.as_deref()).await?;
        let name = AdapterName::of(&adapter.get_info());
        let caps = probe(&adapter, options);
        for (what, has, needs) in [
            ("max_storage_buffers_per_shader_stage", u64::from(caps.storage_buffers), 8),
            ("max_compute_invocations_per_workgroup", u64::from(caps.max_threads), 128),
            ("max_compute_workgroup_storage_size", u64::from(caps.workgroup_memory), 16384),
        ] {
            if has < needs {
                return Err(GpuError::TooSmall { adapter: name.to_string(), what, has, needs });
            }
        }

        let mut features = wgpu::Features::empty();
        features.set(wgpu::Features::SHADER_F16, caps.f16);
        features.set(wgpu::Features::SUBGROUP, caps.subgroups && !options.granted_subgroups);
        features.set(wgpu::Features::TIMESTAMP_QUERY, caps.timestamps);
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("fovea"),
                required_features: features,
                required_limits: adapter.limits(),
                ..Default::default()
            })
            .await
            .map_err(|e| GpuError::NoDevice { adapter: name.to_string(), reason: e.to_string() })?;

        let failure = Failure::default();
        let seen = Arc::clone(&failure);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            record(
                &seen,
                match error {
                    wgpu::Error::OutOfMemory { source } => {
                        GpuError::OutOfMemory { what: None, message: source.to_string() }
                    }
                    other => GpuError::Rejected(other.to_string()),
                },
            );
        }));
        let seen = Arc::clone(&failure);
        device.set_device_lost_callback(move |reason, message| {
            record(&seen, GpuError::Lost(format!("{reason:?} {message}").trim().to_owned()));
        });
        let inner = Inner {
            device,
            queue,
            name,
            caps,
            wait: options.wait,
            pipelines: Mutex::default(),
            failure,
            recoveries: AtomicU64::new(0),
            memory: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the adapter can do.
    pub fn caps(&self) -> &Caps {
        &self.inner.caps
    }

    /// Which adapter this is.
    pub fn name(&self) -> &AdapterName {
        &self.inner.name
    }

    pub(crate) fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Destroys the device, as a driver reset would; every later call fails with [`GpuError::Lost`].
    pub fn destroy(&self) {
        self.inner.device.destroy();
        record(&self.inner.failure, GpuError::Lost("destroyed by the program".to_owned()));
    }

    /// Fails as if the driver had reported this.
    #[cfg(any(test, feature = "testing"))]
    pub fn report(&self, error: GpuError) {
        record(&self.inner.failure, error);
    }

    /// The first failure that the driver reported, if any; a failed device stays failed, except for
    /// [`Gpu::recover_memory`].
    ///
    /// # Errors
    /// That failure.
    pub fn check(&self) -> Result<(), GpuError> {
        match &*self.inner.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// Bytes of all buffers that exist now.
    pub fn memory(&self) -> u64 {
        self.inner.memory.load(Ordering::Relaxed)
    }

    /// Forgets an out-of-memory failure, after the caller has dropped what did not fit. Natively an allocation that fails
    /// is reported by the call that asked for it and needs no such recovery; a browser reports it after that call.
    ///
    /// The memory that is missing may be another's on this device: whoever keeps memory between calls compares
    /// [`Gpu::recoveries`].
    pub fn recover_memory(&self) {
        if self.forget_out_of_memory() {
            self.inner.recoveries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often [`Gpu::recover_memory`] forgot a failure: memory that was taken before the last time may not exist.
    pub fn recoveries(&self) -> u64 {
        self.inner.recoveries.load(Ordering::Relaxed)
    }

    fn forget_out_of_memory(&self) -> bool {
        let mut failure = self.inner.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let forgets = matches!(*failure, Some(GpuError::OutOfMemory { .. }));
        if forgets {
            *failure = None;
        }
        forgets
    }

    pub(crate) fn buffer(&self, what: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer, GpuError> {
        let limit = match usage.contains(wgpu::BufferUsages::STORAGE) {
            true => self.caps().max_binding.min(self.caps().max_buffer),
            false => self.caps().max_buffer,
        };
        if bytes > limit {
            return Err(GpuError::BufferTooLarge { what: what.to_owned(), bytes, limit });
        }
        let size = bytes.max(4).next_multiple_of(4);
        self.check()?;
        let raw = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size,
            usage,
            mapped_at_creation: false,
        });
        self.inner.memory.fetch_add(size, Ordering::Relaxed);
        let buffer = Buffer::new(raw, &self.inner.memory);
        match self.check() {
            Ok(()) => Ok(buffer),
            Err(GpuError::OutOfMemory { message, .. }) => {
                // Nothing holds the buffer that does not exist: the device is as good as before.
                drop(buffer);
                self.forget_out_of_memory();
                Err(GpuError::OutOfMemory { what: Some(what.to_owned()), message })
            }
            Err(other) => Err(other),
        }
    }

    /// A tensor that outlives programs, all zeros.
    ///
    /// # Errors
    /// [`GpuError::BufferTooLarge`], [`GpuError::OutOfMemory`].
    pub fn tensor(&self, what: &str, shape: &[usize], dtype: DType) -> Result<Tensor, GpuError> {
        let bytes = bytes_of(shape, dtype);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = self.buffer(what, bytes, usage)?;
        Ok(Tensor::new(shape, dtype, Place::Buffer(Arc::new(buffer))))
    }

    /// A tensor that outlives programs, from its elements in row-major order.
    ///
    /// # Errors
    /// As [`Gpu::tensor`]; [`GpuError::Rejected`] if `data` does not have as many elements as `shape`.
    pub fn upload<T: Element>(&self, what: &str, shape: &[usize], data: &[T]) -> Result<Tensor, GpuError> {
        let tensor = self.tensor(what, shape, T::DTYPE)?;
        self.write(&tensor, 0, data)?;
        Ok(tensor)
    }

    /// Overwrites elements of a persistent tensor, beginning with element `start`.
    ///
    /// # Errors
    /// [`GpuError::Rejected`] if they do not fit, or the tensor belongs to a program.
    pub fn write<T: Element>(&self, tensor: &Tensor, start: usize, data: &[T]) -> Result<(), GpuError> {
        let fits = start.checked_add(data.len()).is_some_and(|end| end <= tensor.len());
        // Whole words: what lies beside the elements must stay.
        let start = start.saturating_mul(T::DTYPE.bytes());
        let fits = fits && start.is_multiple_of(4) && size_of_val(data).is_multiple_of(4);
        match &tensor.place {
            Place::Buffer(buffer) if fits && tensor.dtype() == T::DTYPE => {
                if !data.is_empty() {
                    self.queue().write_buffer(buffer, tensor.offset + start as u64, bytemuck::cast_slice(data));
                }
                self.check()
            }
            _ => Err(GpuError::Rejected(format!("write of {} elements to {tensor:?}", data.len()))),
        }
    }

    /// Copies a persistent tensor back.
    ///
    /// # Errors
    /// [`GpuError::Rejected`] if the tensor belongs to a program or has another element type; [`GpuError::Lost`].
    pub async fn read<T: Element>(&self, tensor: &Tensor) -> Result<Vec<T>, GpuError> {
        match &tensor.place {
            Place::Buffer(buffer) if tensor.dtype() == T::DTYPE => {
                let bytes = self.read_buffer(buffer, tensor.offset, tensor.bytes()).await?;
                Ok(bytemuck::pod_collect_to_vec(&bytes))
            }
            _ => Err(GpuError::Rejected(format!("read of {tensor:?}"))),
        }
    }

    /// Starts to copy elements of a persistent tensor back, after everything submitted so far; the future waits for
    /// them while later submissions already run.
    ///
    /// # Errors
    /// [`GpuError::Rejected`] if the tensor belongs to a program, has another element type or is too short.
    pub fn read_later<T: Element>(
        &self,
        tensor: &Tensor,
        start: usize,
        count: usize,
    ) -> Result<impl Future<Output = Result<Vec<T>, GpuError>> + use<T>, GpuError> {
        let fits = start.checked_add(count).is_some_and(|end| end <= tensor.len());
        let readback = match &tensor.place {
            Place::Buffer(buffer) if fits && count > 0 && tensor.dtype() == T::DTYPE => {
                let each = T::DTYPE.bytes();
                self.start_read(buffer, tensor.offset + (each * start) as u64, (each * count) as u64)?
            }
            _ => return Err(GpuError::Rejected(format!("read of {count} elements of {tensor:?}"))),
        };
        Ok(async move { Ok(bytemuck::pod_collect_to_vec(&readback.await?)) })
    }

    pub(crate) async fn read_buffer(&self, buffer: &wgpu::Buffer, start: u64, bytes: u64) -> Result<Vec<u8>, GpuError> {
        self.start_read(buffer, start, bytes)?.await
    }

    /// Submits the copy at once; the future waits for it.
    pub(crate) fn start_read(&self, buffer: &wgpu::Buffer, start: u64, bytes: u64) -> Result<Readback, GpuError> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        // Whole words, of which every buffer is made.
        let size = bytes.next_multiple_of(4);
        let staging = self.buffer("readback", size, usage)?;
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, start, &staging, 0, size);
        let submission = self.queue().submit([encoder.finish()]);
        let (sender, receiver) = oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone when nobody waits any more.
            let _ = sender.send(result.map_err(|e| e.to_string()));
        });
        Ok(Readback { gpu: self.clone(), staging, submission: Some(submission), receiver, bytes })
    }

    /// Resolves when everything submitted so far has finished.
    ///
    /// # Errors
    /// [`GpuError::Lost`], or the first failure that the driver reported.
    pub async fn finished(&self) -> Result<(), GpuError> {
        self.check()?;
        let submission = self.queue().submit([]);
        let (sender, receiver) = oneshot::channel();
        self.queue().on_submitted_work_done(move || {
            let _ = sender.send(());
        });
        Waiting { gpu: self.clone(), submission: Some(submission), receiver }.await;
        self.check()
    }

    pub(crate) fn pipeline(&self, variant: &Variant) -> Result<Arc<Pipeline>, GpuError> {
        let label = variant.label();
        let mut pipelines = self.inner.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = pipelines.get(&label) {
            return Ok(Arc::clone(pipeline));
        }
        let pipeline = Arc::new(self.compile(variant, label.clone())?);
        pipelines.insert(label, Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn compile(&self, variant: &Variant, label: String) -> Result<Pipeline, GpuError> {
        let compiler = if cfg!(target_arch = "wasm32") { Compiler::Browser } else { Compiler::Naga };
        let module = self.device().create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source: wgpu::ShaderSource::Wgsl(Cow::Owned(variant.source(compiler))),
        });
        let bindings = variant.bindings();
        let entries: Vec<_> = bindings
            .iter()
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding: binding.index,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match binding.access {
                        Access::Uniform => wgpu::BufferBindingType::Uniform,
                        Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
                        Access::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                    has_dynamic_offset: binding.access == Access::Uniform,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = self
            .device()
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
        let pipeline_layout = self.device().create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let constants: Vec<_> = variant.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
        let pipeline = self.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(variant.kernel.name),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Every kernel writes workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        self.check()?;
        Ok(Pipeline { pipeline, layout, bindings, label })
    }
}

fn record(failure: &Failure, error: GpuError) {
    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

fn adapter_from_environment() -> Option<String> {
    if cfg!(target_arch = "wasm32") { None } else { std::env::var("WGPU_ADAPTER_NAME").ok() }
}

async fn choose(instance: &wgpu::Instance, filter: Option<&str>) -> Result<wgpu::Adapter, GpuError> {
    if cfg!(target_arch = "wasm32") {
        let request = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        return instance
            .request_adapter(&request)
            .await
            .map_err(|e| GpuError::NoAdapter { filter: None, found: e.to_string() });
    }
    let mut found = instance.enumerate_adapters(wgpu::Backends::all()).await;
    // OpenGL lacks what the kernels need; a discrete GPU is taken before an integrated one, a processor last.
    found.retain(|adapter| adapter.get_info().backend != wgpu::Backend::Gl);
    found.sort_by_key(|adapter| {
        let info = adapter.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        // Of two of a kind, the one with wider subgroups: on processors that is how wide their vectors are.
        (kind, std::cmp::Reverse(info.subgroup_max_size))
    });
    let names: Vec<_> = found.iter().map(|adapter| AdapterName::of(&adapter.get_info())).collect();
    let exact = names.iter().position(|name| filter.is_some_and(|filter| name.name.eq_ignore_ascii_case(filter)));
    let index = exact.or_else(|| names.iter().position(|name| filter.is_none_or(|filter| name.matches(filter))));
    match index {
        Some(index) => Ok(found.swap_remove(index)),
        None => {
            let found = match names.is_empty() {
                true => "none".to_owned(),
                false => names.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            };
            Err(GpuError::NoAdapter { filter: filter.map(str::to_owned), found })
        }
    }
}

/// A Rust type that a tensor's elements can be.
pub trait Element: bytemuck::Pod {
    /// The element type on the GPU.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for u32 {
    const DTYPE: DType = DType::U32;
}

impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
}

/// Bytes on their way back from the GPU.
pub(crate) struct Readback {
    gpu: Gpu,
    staging: Buffer,
    submission: Option<wgpu::SubmissionIndex>,
    receiver: oneshot::Receiver<Result<(), String>>,
    bytes: u64,
}

impl Future for Readback {
    type Output = Result<Vec<u8>, GpuError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Poll::Ready(mapped) = poll_or_wait(&this.gpu, &mut this.submission, &mut this.receiver, context) else {
            return Poll::Pending;
        };
        let view = match mapped {
            Some(Ok(())) => this.staging.get_mapped_range(..).map_err(|e| e.to_string()),
            Some(Err(message)) => Err(message),
            None => Err("the device went away".to_owned()),
        };
        Poll::Ready(match view {
            Ok(view) => {
                let bytes = view.iter().copied().take(this.bytes as usize).collect();
                drop(view);
                this.staging.unmap();
                Ok(bytes)
            }
            Err(message) => Err(this.gpu.check().err().unwrap_or(GpuError::Lost(message))),
        })
    }
}

struct Waiting {
    gpu: Gpu,
    submission: Option<wgpu::SubmissionIndex>,
    receiver: oneshot::Receiver<()>,
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        poll_or_wait(&this.gpu, &mut this.submission, &mut this.receiver, context).map(|_| ())
    }
}

/// Polls the channel; if nothing is there yet and the program can wait for the GPU, waits once and polls again.
fn poll_or_wait<T>(
    gpu: &Gpu,
    submission: &mut Option<wgpu::SubmissionIndex>,
    receiver: &mut oneshot::Receiver<T>,
    context: &mut Context<'_>,
) -> Poll<Option<T>> {
    let polled = Pin::new(&mut *receiver).poll(context);
    if let (Poll::Pending, Some(wait)) = (&polled, gpu.inner.wait) {
        wait(gpu.device(), submission.take());
        let polled = Pin::new(receiver).poll(context).map(Result::ok);
        if polled.is_pending() {
            // Nobody else wakes the caller: it must come back by itself.
            context.waker().wake_by_ref();
        }
        return polled;
    }
    polled.map(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{block_on, gpus, options};

    /// As a browser reports it: after the call that asked for the memory.
    #[test]
    fn a_device_that_ran_out_of_memory_works_again_after_recovery() {
        let gpu = block_on(Gpu::open(&options(&gpus()[0].name().name))).expect("opens");
        gpu.report(GpuError::OutOfMemory { what: None, message: "of the test".to_owned() });
        assert!(matches!(gpu.tensor("x", &[4], DType::F32), Err(GpuError::OutOfMemory { .. })));
        assert!(matches!(gpu.check(), Err(GpuError::OutOfMemory { .. })));
        assert_eq!(gpu.recoveries(), 0);
        gpu.recover_memory();
        assert!(gpu.tensor("x", &[4], DType::F32).is_ok());
        gpu.recover_memory();
        assert_eq!(gpu.recoveries(), 1);
        // What else went wrong stays.
        gpu.report(GpuError::Rejected("by the test".to_owned()));
        gpu.recover_memory();
        assert!(matches!(gpu.tensor("x", &[4], DType::F32), Err(GpuError::Rejected(_))));
    }
}
