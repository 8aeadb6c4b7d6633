//! Kosmos-2's connector: learned queries that look at the tower's features.
//!
//! `f = normalise(LN(features))`, each row to length 1; `x = dense(f)`; `out(attention(q(latents), k([x; latents]),
//! v([x; latents])))`, all projections with biases, no mask, no positions. The class token's row takes part. Source:
//! `Kosmos2ImageToTextProjection` and `get_image_features` of transformers 4.57.1; Peng et al., "Kosmos-2", 2023.

use fovea_engine::{
    OpError, Recorder, Tensor,
    op::{Activation, Attention, Heads, Mask, RmsNorm},
    weights::{Scope, TensorClass, WeightError},
};

use super::{
    Norm, Sizes,
    parts::{Linear, NormWeights},
    rows::join,
};

/// Length of a row below which it is not normalised, squared: the reference's default.
const SHORTEST: f32 = 1e-24;

/// Sizes of the connector.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentQueriesConfig {
    /// Width of the tower.
    pub width: usize,
    /// Added to the variance by the norm of its features.
    pub norm_eps: f32,
    /// Learned queries: rows of the decoder that a picture becomes.
    pub latents: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the decoder.
    pub out: usize,
}

impl LatentQueriesConfig {
    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        let (class, out) = (TensorClass::Connector, self.out);
        Sizes::default()
            .and(Norm::Layer.sizes(1, self.width))
            .matrix(class, 1, out, self.width)
            .matrix(class, 4, out, out)
            .vector(5 + self.latents, out)
    }

    /// Floating-point operations for one picture, a multiply-add counted as two.
    pub fn flops(&self, features: usize) -> u64 {
        let [width, out, latents, features] = [self.width, self.out, self.latents, features].map(|n| n as u64);
        let seen = features + latents;
        let products = features * width * out + 2 * seen * out * out + 2 * latents * out * out;
        2 * products + 4 * latents * seen * out
    }
}

/// The connector's weights.
pub struct LatentQueries {
    config: LatentQueriesConfig,
    norm: NormWeights,
    /// `[width]`, what makes the root mean square of a row its length.
    unit: Tensor,
    dense: Linear,
    latents: Tensor,
    query: Linear,
    key_value: Linear,
    out: Linear,
}

impl LatentQueries {
    /// Loads the connector from `image_to_text_projection` under `at`, and the norm of its input from `vision_model`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(at: &Scope<'_>, config: LatentQueriesConfig) -> Result<Self, WeightError> {
        let LatentQueriesConfig { width, norm_eps, latents, out, .. } = config;
        let class = TensorClass::Connector;
        let norm = at.at("vision_model.model.post_layernorm");
        let own = at.at("image_to_text_projection");
        let attention = own.at("x_attn");
        let unit = vec![(width as f32).sqrt().recip(); width];
        Ok(Self {
            norm: NormWeights::load(&norm, Norm::Layer, width, norm_eps).await?,
            unit: at.gpu().upload("unit length", &[width], &unit)?,
            dense: Linear::load(&own.at("dense"), out, width, class).await?,
            latents: own.tensor("latent_query", &[latents, out]).await?,
            query: Linear::load(&attention.at("q_proj"), out, out, class).await?,
            key_value: Linear::stacked(&attention, &["k_proj", "v_proj"], out, out, class).await?,
            out: Linear::load(&attention.at("out_proj"), out, out, class).await?,
            config,
        })
    }

    /// Records `[rows, width]` of features to `[latents, out]`.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn record(&self, rec: &mut Recorder, features: &Tensor) -> Result<Tensor, OpError> {
        let LatentQueriesConfig { width, heads, out, .. } = self.config;
        let x = self.norm.record(rec, features)?;
        let x = rec.rms_norm(&x, RmsNorm { scale: &self.unit, eps: SHORTEST / width as f32 })?;
        let x = self.dense.record(rec, &x, Activation::None, None)?;
        let seen = join(rec, &[&x, &self.latents])?;
        let query = self.query.record(rec, &self.latents, Activation::None, None)?;
        let both = self.key_value.record(rec, &seen, Activation::None, None)?;
        let (keys, values) = (both.columns(0, out), both.columns(out, out));
        let heads = Heads::new(heads, heads, out / heads);
        let attention = Attention { heads, kv_len: seen.rows_and_width().0, mask: Mask::Full };
        let attended = rec.attention((&query).into(), keys, values, attention)?;
        self.out.record(rec, &attended, Activation::None, None)
    }
}
