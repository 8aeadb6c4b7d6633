//! Checks of arguments: a wrong shape is an error that names op and tensor, never a panic.

use crate::{
    dtype::DType,
    error::OpError,
    tensor::{At, Columns, Tensor},
};

/// Checks for one op.
#[derive(Clone, Copy)]
pub(super) struct Check(pub(super) &'static str);

impl Check {
    /// `tensor` has exactly this shape and type.
    pub(super) fn tensor(
        self,
        name: &'static str,
        tensor: &Tensor,
        shape: &[usize],
        dtype: DType,
    ) -> Result<(), OpError> {
        self.dtype(name, tensor, dtype)?;
        if tensor.shape() == shape { Ok(()) } else { Err(self.shape(name, tensor, format!("{shape:?}"))) }
    }

    /// `tensor` has this type and at least one element, no more than a shader can count.
    pub(super) fn dtype(self, name: &'static str, tensor: &Tensor, dtype: DType) -> Result<(), OpError> {
        if tensor.dtype() != dtype {
            return Err(OpError::DType { op: self.0, tensor: name, got: tensor.dtype(), expected: dtype });
        }
        match tensor.len() {
            0 => Err(self.shape(name, tensor, "at least one element".to_owned())),
            len if len > i32::MAX as usize => Err(self.shape(name, tensor, "fewer than 2^31 elements".to_owned())),
            _ => Ok(()),
        }
    }

    /// The columns lie within an f32 tensor; returns its rows.
    pub(super) fn columns(self, name: &'static str, columns: Columns<'_>) -> Result<usize, OpError> {
        self.columns_of(name, columns, DType::F32)
    }

    /// The columns lie within a tensor of this type; returns its rows.
    pub(super) fn columns_of(self, name: &'static str, columns: Columns<'_>, dtype: DType) -> Result<usize, OpError> {
        self.dtype(name, columns.tensor, dtype)?;
        let (rows, width) = columns.tensor.rows_and_width();
        let end = columns.start.checked_add(columns.width);
        match end {
            Some(end) if end <= width && columns.width > 0 => Ok(rows),
            _ => {
                let expected = format!("columns {} .. +{} within each row", columns.start, columns.width);
                Err(self.shape(name, columns.tensor, expected))
            }
        }
    }

    /// `count` u32 lie at `at`.
    pub(super) fn integers(self, name: &'static str, at: At<'_>, count: usize) -> Result<(), OpError> {
        self.dtype(name, at.tensor, DType::U32)?;
        match at.index.checked_add(count) {
            Some(end) if end <= at.tensor.len() => Ok(()),
            _ => Err(self.shape(name, at.tensor, format!("{count} elements from {} on", at.index))),
        }
    }

    /// A condition on a number.
    pub(super) fn value(
        self,
        what: &'static str,
        got: impl ToString,
        holds: bool,
        expected: &str,
    ) -> Result<(), OpError> {
        if holds {
            return Ok(());
        }
        Err(OpError::Value { op: self.0, what, got: got.to_string(), expected: expected.to_owned() })
    }

    /// The error of a wrong shape.
    pub(super) fn shape(self, name: &'static str, tensor: &Tensor, expected: String) -> OpError {
        OpError::Shape { op: self.0, tensor: name, got: tensor.shape().to_vec(), expected }
    }
}
