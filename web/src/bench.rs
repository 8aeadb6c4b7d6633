//! Products and attention on their own, for comparison with other engines in the same page.

use fovea_engine::{
    DType, OpError, Recorder,
    op::{Attention, Epilogue, Heads, Mask},
    weights::{Format, Weight, WeightError},
};
use fovea_models::LoadError;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use crate::{device::Device, error::Failure, model::milliseconds};

#[wasm_bindgen]
impl Device {
    /// Milliseconds of a product `[rows, width] x [outputs, width]^T` in f32, the mean of `times` in one submission.
    ///
    /// # Errors
    /// The device's failures; `prompt` for shapes that make no sense.
    pub async fn time_matmul(&self, rows: usize, width: usize, outputs: usize, times: usize) -> Result<f64, JsValue> {
        let gpu = self.gpu();
        let weights = vec![0.5; outputs.saturating_mul(width)];
        let weight = Weight::from_f32(gpu, "bench", outputs, width, &weights, Format::F32).map_err(load)?;
        let x = gpu.tensor("bench", &[rows, width], DType::F32).map_err(Failure::from)?;
        self.time(times, |rec| rec.matmul(&x, &weight, Epilogue::default()).map(|_| ())).await
    }

    /// Milliseconds of attention of `rows` queries to as many keys, all heads, in f32, the mean of `times`.
    ///
    /// # Errors
    /// As [`Device::time_matmul`].
    pub async fn time_attention(
        &self,
        rows: usize,
        heads: usize,
        head_dim: usize,
        times: usize,
    ) -> Result<f64, JsValue> {
        let all = heads.saturating_mul(head_dim);
        let gpu = self.gpu();
        let qkv = gpu.tensor("bench", &[rows, all.saturating_mul(3)], DType::F32).map_err(Failure::from)?;
        let attention = Attention { heads: Heads::new(heads, heads, head_dim), kv_len: rows, mask: Mask::Full };
        self.time(times, |rec| {
            rec.attention(qkv.columns(0, all), qkv.columns(all, all), qkv.columns(2 * all, all), attention).map(|_| ())
        })
        .await
    }
}

impl Device {
    async fn time(
        &self,
        times: usize,
        record: impl FnOnce(&mut Recorder) -> Result<(), OpError>,
    ) -> Result<f64, JsValue> {
        let mut rec = Recorder::new(self.gpu());
        record(&mut rec).map_err(|error| Failure::from(fovea_models::RunError::from(error)))?;
        let program = rec.finish().map_err(Failure::from)?;
        // The first run compiles.
        program.run().map_err(Failure::from)?;
        self.gpu().finished().await.map_err(Failure::from)?;
        let start = milliseconds();
        program.run_times(times).map_err(Failure::from)?;
        self.gpu().finished().await.map_err(Failure::from)?;
        Ok((milliseconds() - start) / times.max(1) as f64)
    }
}

fn load(error: WeightError) -> Failure {
    LoadError::from(error).into()
}
