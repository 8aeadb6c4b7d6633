//! A GPU of the page.

use fovea_engine::{Gpu, GpuError, GpuOptions, Kernels, UnknownKernels};
use js_sys::Reflect;
use serde_json::json;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};

use crate::{error::Failure, json::to_js};

/// A WebGPU device.
#[wasm_bindgen]
pub struct Device {
    gpu: Gpu,
}

impl Device {
    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }
}

#[wasm_bindgen]
impl Device {
    /// Opens the fastest adapter. `tier`: `{f16?: boolean, subgroups?: boolean, kernels?: 'auto' | 'gpu' | 'cpu'}`; `false`
    /// leaves a feature unused. `subgroups`: JavaScript sees to it that the device has them, as wgpu does not.
    ///
    /// # Errors
    /// `webgpu-unavailable`, `adapter-too-small`, `prompt` for other kernels.
    pub async fn open(tier: JsValue, subgroups: bool) -> Result<Device, JsValue> {
        let option = |name: &str| Reflect::get(&tier, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED);
        let off = |name: &str| option(name) == JsValue::FALSE;
        let kernels = match option("kernels") {
            value if value.is_undefined() => Kernels::Auto,
            value => {
                let name = value.as_string().unwrap_or_else(|| format!("{value:?}"));
                name.parse().map_err(|error: UnknownKernels| Failure::Argument(error.to_string()))?
            }
        };
        if !has_webgpu() {
            let found = "this browser has no WebGPU (navigator.gpu is missing)".to_owned();
            return Err(Failure::from(GpuError::NoAdapter { filter: None, found }).into());
        }
        let options = GpuOptions {
            without_f16: off("f16"),
            without_subgroups: off("subgroups"),
            granted_subgroups: subgroups,
            kernels,
            ..GpuOptions::default()
        };
        let gpu = Gpu::open(&options).await.map_err(Failure::from)?;
        Ok(Self { gpu })
    }

    /// `Capabilities` of `web/js/src/types.ts`.
    ///
    /// # Errors
    /// None: the value is plain data.
    pub fn capabilities(&self) -> Result<JsValue, JsValue> {
        let caps = self.gpu.caps();
        to_js(&json!({
            "supported": true,
            "adapter": self.gpu.name().name,
            "f16": caps.f16,
            "subgroups": caps.subgroups,
            "timestamps": caps.timestamps,
            "software": caps.software,
            "maxBufferSize": caps.max_buffer,
            "maxStorageBufferBindingSize": caps.max_binding,
        }))
    }

    /// Bytes of all buffers.
    pub fn gpu_bytes(&self) -> f64 {
        self.gpu.memory() as f64
    }

    /// The failure that the device has, if any; it stays failed.
    pub fn failure(&self) -> JsValue {
        self.gpu.check().map_or_else(|error| Failure::from(error).into(), |()| JsValue::UNDEFINED)
    }

    /// Gives the device back; other devices of the page stay.
    pub fn destroy(&self) {
        self.gpu.destroy();
    }
}

fn has_webgpu() -> bool {
    let get = |object: &JsValue, name: &str| Reflect::get(object, &JsValue::from_str(name)).ok();
    let gpu = get(&js_sys::global(), "navigator").and_then(|navigator| get(&navigator, "gpu"));
    gpu.is_some_and(|gpu| gpu.is_truthy())
}

/// Bytes of the module's linear memory.
#[wasm_bindgen]
pub fn wasm_bytes() -> f64 {
    let memory: Result<js_sys::WebAssembly::Memory, _> = wasm_bindgen::memory().dyn_into();
    let buffer = memory.map(|memory| memory.buffer());
    buffer
        .ok()
        .and_then(|buffer| buffer.dyn_into::<js_sys::ArrayBuffer>().ok())
        .map_or(0.0, |it| f64::from(it.byte_length()))
}
