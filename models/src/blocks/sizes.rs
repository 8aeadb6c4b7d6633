//! What weights amount to, from their sizes alone.

use fovea_engine::weights::{Policy, TensorClass};

/// Weight matrices of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrices {
    /// What they are for.
    pub class: TensorClass,
    /// How many there are.
    pub count: usize,
    /// Outputs of each.
    pub rows: usize,
    /// Inputs of each.
    pub width: usize,
}

impl Matrices {
    fn elements(&self) -> u64 {
        [self.rows, self.width].iter().fold(self.count as u64, |product, &n| product.saturating_mul(n as u64))
    }
}

/// The weights of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Matrices, which are stored in the format of their class.
    pub matrices: Vec<Matrices>,
    /// Numbers that are always stored in f32: norms, biases, tables of positions.
    pub vectors: u64,
}

impl Sizes {
    /// With `count` more matrices, `[rows, width]` each.
    #[must_use]
    pub fn matrix(mut self, class: TensorClass, count: usize, rows: usize, width: usize) -> Self {
        self.matrices.push(Matrices { class, count, rows, width });
        self
    }

    /// With `count` more vectors of `length` numbers.
    #[must_use]
    pub fn vector(mut self, count: usize, length: usize) -> Self {
        self.vectors = self.vectors.saturating_add((count as u64).saturating_mul(length as u64));
        self
    }

    /// Both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.matrices.extend(other.matrices);
        self.vectors = self.vectors.saturating_add(other.vectors);
        self
    }

    /// Elements of all matrices: multiply-adds for each row that passes through all of them.
    pub fn products(&self) -> u64 {
        self.matrices.iter().fold(0, |sum, matrices| sum.saturating_add(matrices.elements()))
    }

    /// Parameters.
    pub fn parameters(&self) -> u64 {
        self.products().saturating_add(self.vectors)
    }

    /// Bytes on the GPU: matrices with their padding and scales, vectors in f32.
    pub fn bytes(&self, policy: &Policy) -> u64 {
        let matrices = self.matrices.iter().map(|it| {
            let format = policy.format(it.class);
            (it.count as u64).saturating_mul(format.bytes(it.rows, it.width))
        });
        matrices.fold(self.vectors.saturating_mul(4), u64::saturating_add)
    }
}

/// Floating-point operations of scores and sums where `rows` attend to each other in full, in `layers` of this width.
pub(super) fn full_score_flops(layers: usize, width: usize, rows: usize) -> u64 {
    4 * (layers * width) as u64 * (rows as u64).pow(2)
}
