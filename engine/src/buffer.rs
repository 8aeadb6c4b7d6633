//! Memory on the GPU.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Memory on the GPU, given back as soon as nothing holds it.
pub(crate) struct Buffer {
    raw: wgpu::Buffer,
    memory: Arc<AtomicU64>,
}

impl Buffer {
    /// `memory` counts the bytes of all buffers of a device, this one's already.
    pub(crate) fn new(raw: wgpu::Buffer, memory: &Arc<AtomicU64>) -> Self {
        Self { raw, memory: Arc::clone(memory) }
    }
}

impl Deref for Buffer {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.raw
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.fetch_sub(self.raw.size(), Ordering::Relaxed);
        // A browser frees memory when it collects garbage, which may be long after the GPU has run out of it. What
        // was submitted still runs to its end.
        #[cfg(target_arch = "wasm32")]
        self.raw.destroy();
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}
