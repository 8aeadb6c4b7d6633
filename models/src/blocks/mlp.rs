//! The feedforward of towers, connectors and decoders.

use fovea_engine::{OpError, Recorder, Tensor, op::Activation};

use super::parts::{Linear, NormWeights};

/// `residual + down(norm(activate(up x)))`.
pub(super) struct Mlp<'a> {
    /// The inner projection; that of a gated unit has the gate's outputs first, then those of its input.
    pub up: &'a Linear,
    /// Applied to the inner activation, or to its gate.
    pub activation: Activation,
    /// Whether there is a gate.
    pub gated: bool,
    /// A norm of what the activation leaves (sub-LN).
    pub norm: Option<&'a NormWeights>,
    /// The outer projection.
    pub down: &'a Linear,
}

impl Mlp<'_> {
    /// Records it for the rows of `x`, in chunks of them where the inner activation would be too large.
    pub(super) fn record(&self, rec: &mut Recorder, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor, OpError> {
        let &Self { up, activation, gated, norm, down } = self;
        rec.in_chunks(x, up.outputs(), down.outputs(), |rec, chunk| {
            let mut inner = if gated {
                let both = up.record(rec, &chunk.x, Activation::None, None)?;
                rec.gate(&both, activation)?
            } else {
                up.record(rec, &chunk.x, activation, None)?
            };
            if let Some(norm) = norm {
                inner = norm.record(rec, &inner)?;
            }
            let residual = residual.map(|residual| chunk.of(residual)).transpose()?;
            down.record_into(rec, &inner, residual.as_ref(), &chunk.y)
        })
    }
}
