//! How many bytes a system's weights take, from its sizes alone.

use fovea_engine::weights::{Format, Policy, TensorClass};

use super::Blueprint;
use crate::blocks::Feedforward;

impl Blueprint {
    /// Bytes of all weights on the GPU under a policy: matrices with their padding and scales, vectors in f32.
    pub fn weight_bytes(&self, policy: &Policy) -> u64 {
        let (vision, decoder) = (&self.vision, &self.decoder);
        let of = |class: TensorClass| policy.format(class);
        let tower = of(TensorClass::Vision);
        let connector = of(TensorClass::Connector);
        let merged = vision.hidden * vision.merge * vision.merge;

        let feedforward = match vision.feedforward {
            Feedforward::QuickGelu { width } => tower.bytes(width, vision.hidden) + tower.bytes(vision.hidden, width),
            Feedforward::SiluGate { width } => {
                tower.bytes(2 * width, vision.hidden) + tower.bytes(vision.hidden, width)
            }
        };
        let block = tower.bytes(4 * vision.hidden, vision.hidden) + feedforward;
        let vision_matrices = vision.depth as u64 * block + tower.bytes(vision.hidden, vision.patch_width());
        let merger = connector.bytes(merged, merged) + connector.bytes(vision.out, merged);

        let (queries, keys) = (decoder.heads * decoder.head_dim, decoder.kv_heads * decoder.head_dim);
        let format = of(TensorClass::Decoder);
        let layer = format.bytes(queries + 2 * keys, decoder.hidden)
            + format.bytes(decoder.hidden, queries)
            + format.bytes(2 * decoder.feedforward, decoder.hidden)
            + format.bytes(decoder.hidden, decoder.feedforward);
        let table = |format: Format| format.bytes(decoder.vocabulary, decoder.hidden);
        let head = if decoder.tied { 0 } else { table(of(TensorClass::Head)) };

        vision_matrices
            + merger
            + decoder.layers as u64 * layer
            + table(of(TensorClass::Embedding))
            + head
            + 4 * self.vector_parameters()
    }

    /// Parameters that are no matrix: norms, biases, the learned grid of positions.
    fn vector_parameters(&self) -> u64 {
        let (vision, decoder) = (&self.vision, &self.decoder);
        let merged = vision.hidden * vision.merge * vision.merge;
        let inner = match vision.feedforward {
            Feedforward::QuickGelu { width } => 2 * vision.hidden * width,
            Feedforward::SiluGate { width } => 3 * vision.hidden * width,
        };
        let vision_matrices = vision.depth * (4 * vision.hidden * vision.hidden + inner)
            + vision.hidden * vision.patch_width()
            + merged * (merged + vision.out);
        let (queries, keys) = (decoder.heads * decoder.head_dim, decoder.kv_heads * decoder.head_dim);
        let layer = decoder.hidden * (2 * queries + 2 * keys + 3 * decoder.feedforward);
        let [tower, merger, layers, ..] = self.parameters().map(|(_, count)| count);
        (tower + merger + layers).saturating_sub((vision_matrices + decoder.layers * layer) as u64)
    }
}
