//! The table of kernels: one line for each file under `wgsl/`.

use crate::{Access, Binding, Kernel, PartKind};

/// `bindings!(params read read write)` numbers the bindings of a kernel from 0; `_` leaves a number to a part.
macro_rules! bindings {
    (@ $index:expr, [$($done:expr,)*]) => { &[$($done,)*] };
    (@ $index:expr, [$($done:expr,)*] params $($rest:tt)*) => {
        bindings!(@ $index + 1, [$($done,)* Binding { index: $index, access: Access::Uniform },] $($rest)*)
    };
    (@ $index:expr, [$($done:expr,)*] read $($rest:tt)*) => {
        bindings!(@ $index + 1, [$($done,)* Binding { index: $index, access: Access::Read },] $($rest)*)
    };
    (@ $index:expr, [$($done:expr,)*] write $($rest:tt)*) => {
        bindings!(@ $index + 1, [$($done,)* Binding { index: $index, access: Access::ReadWrite },] $($rest)*)
    };
    (@ $index:expr, [$($done:expr,)*] _ $($rest:tt)*) => {
        bindings!(@ $index + 1, [$($done,)*] $($rest)*)
    };
    ($($kinds:tt)*) => { bindings!(@ 0, [] $($kinds)*) };
}

macro_rules! kernels {
    ($($(#[$doc:meta])* $id:ident = $name:literal, ($($binding:tt)*), [$($need:ident)*];)*) => {
        $(
            $(#[$doc])*
            pub static $id: Kernel = Kernel {
                name: $name,
                source: include_str!(concat!("../wgsl/", $name, ".wgsl")),
                bindings: bindings!($($binding)*),
                needs: &[$(PartKind::$need),*],
            };
        )*
        /// Every kernel.
        pub static KERNELS: &[&Kernel] = &[$(&$id),*];
    };
}

kernels! {
    /// Layer normalisation of each row.
    LAYER_NORM = "layer_norm", (params read read read write), [Reduce];
    /// Root-mean-square normalisation of each row.
    RMS_NORM = "rms_norm", (params read read write), [Reduce];
    /// An activation of each element.
    ACTIVATION_EACH = "activation", (params read write), [Activation];
    /// An activated gate times its value.
    GATE = "gate", (params read write), [Activation];
    /// Matrix product of many rows, straight from memory.
    GEMM = "gemm", (params _ _ _ _ _ _), [Weights Input Rows Activation Epilogue];
    /// Matrix product of many rows, through workgroup memory.
    GEMM_TILED = "gemm_tiled", (params _ _ _ _ _ _), [Weights Input Activation Epilogue];
    /// Matrix product of at most four rows, a column a thread.
    MATVEC_DIRECT = "matvec_direct", (params _ _ _ _ _ _), [Weights Input Rows Activation Epilogue];
    /// Matrix product of at most four rows, a few columns a workgroup.
    MATVEC = "matvec", (params _ _ _ _ _ _), [Weights Input Reduce Activation Epilogue];
    /// Attention of many queries.
    ATTENTION = "attention", (params _ _ _ _ read), [Heads Keys HeadDim Lines Cap];
    /// Attention of one query to a part of the keys.
    ATTENTION_SPLIT = "attention_split", (params read _ _ read write write), [Keys Reduce Cap];
    /// Attention of one query to a part of the keys, straight from memory.
    ATTENTION_SPLIT_DIRECT = "attention_split_direct", (params _ _ _ _ read write), [Heads Keys HeadDim Lines Cap];
    /// Puts the parts of an attention together.
    ATTENTION_MERGE = "attention_merge", (params read read write), [];
    /// Attention weights of one query, the mean over its heads.
    ATTENTION_WEIGHTS = "attention_weights", (params read read write), [Reduce Cap];
    /// Rotary positions in place.
    ROPE = "rope", (params read read read write), [];
    /// Rotary positions of fused queries, keys and values, the latter two into a cache.
    ROPE_KV = "rope_kv", (params read read read read write write write), [];
    /// A sum in a new tensor.
    ADD = "add", (params read read write), [];
    /// A sum in place.
    ADD_INTO = "add_into", (params read write), [];
    /// A product, element by element.
    MULTIPLY = "multiply", (params read read write), [];
    /// Columns in place.
    PLACE_COLUMNS = "place_columns", (params read write), [];
    /// A product with one number.
    SCALE = "scale", (params read write), [];
    /// A bound of each element.
    CAP_EACH = "cap", (params read write), [Cap];
    /// Numbers in f16, two in a word.
    TO_F16 = "to_f16", (params read write), [];
    /// A copy, to measure memory.
    COPY = "copy", (params read write), [];
    /// Multiply-adds without memory traffic.
    PEAK = "peak", (params write), [];
    /// Rows by index.
    GATHER_ROWS = "gather_rows", (params read read write), [];
    /// Rows to an index.
    PLACE_ROWS = "place_rows", (params read read write), [];
    /// Rows of an embedding table by id.
    EMBED = "embed", (params _ _ read write), [Weights];
    /// Patches of an image, normalised.
    PATCHIFY = "patchify", (params read read write), [];
    /// Blocks of 2 x 2 tokens to one wide token.
    MERGE_2X2 = "merge_2x2", (params read write), [];
    /// Interpolated learned positions in place.
    INTERPOLATE_POSITIONS = "interpolate_positions", (params read read write), [];
    /// The next token.
    SAMPLE = "sample", (params read read write write read), [];
}
