//! The table of header parts: one line for each file under `wgsl/parts/`.

use crate::{Access, Binding, Part, PartKind};

const fn read(index: u32) -> Binding {
    Binding { index, access: Access::Read }
}

const fn write(index: u32) -> Binding {
    Binding { index, access: Access::ReadWrite }
}

macro_rules! parts {
    ($($(#[$doc:meta])* $id:ident = $kind:ident $name:literal, [$($binding:expr),*], [$($enable:literal),*];)*) => {
        $(
            $(#[$doc])*
            pub static $id: Part = Part {
                name: $name,
                kind: PartKind::$kind,
                enables: &[$($enable),*],
                source: include_str!(concat!("../wgsl/parts/", $name, ".wgsl")),
                bindings: &[$($binding),*],
            };
        )*
        /// Every part.
        pub static PARTS: &[&Part] = &[$(&$id),*];
    };
}

parts! {
    /// f32 weights.
    WEIGHTS_F32 = Weights "weights_f32", [read(1)], [];
    /// f16 weights, read without shader-f16.
    WEIGHTS_F16 = Weights "weights_f16", [read(1)], [];
    /// f16 weights, read with shader-f16.
    WEIGHTS_F16_NATIVE = Weights "weights_f16_native", [read(1)], ["f16"];
    /// 8-bit weights in blocks of 32.
    WEIGHTS_Q8 = Weights "weights_q8", [read(1), read(2)], [];
    /// 4-bit weights in blocks of 32 with minima.
    WEIGHTS_Q4 = Weights "weights_q4", [read(1), read(2)], [];
    /// Inputs whose rows are a multiple of four wide.
    INPUT_VEC4 = Input "input_vec4", [read(3)], [];
    /// Inputs of any width.
    INPUT_SCALAR = Input "input_scalar", [read(3)], [];
    /// Input rows that every lane loads.
    ROWS_DIRECT = Rows "rows_direct", [], [];
    /// Input rows that the lanes of subgroups load for each other, four at a time.
    ROWS_LANES4 = Rows "rows_lanes4", [], ["subgroups"];
    /// Input rows that the lanes of subgroups of eight or more load for each other.
    ROWS_LANES8 = Rows "rows_lanes8", [], ["subgroups"];
    /// Reductions by a tree in workgroup memory.
    REDUCE_TREE = Reduce "reduce_tree", [], [];
    /// Reductions by subgroups, then by a tree over subgroups.
    REDUCE_SUBGROUP = Reduce "reduce_subgroup", [], ["subgroups"];
    /// Activations of a single number.
    ACTIVATION = Activation "activation", [], [];
    /// Bias, activation and residual of a matrix product.
    EPILOGUE = Epilogue "epilogue", [read(4), read(5), write(6)], [];
    /// Attention heads that begin and end at multiples of four.
    HEADS_VEC4 = Heads "heads_vec4", [read(1), write(4)], [];
    /// Attention heads anywhere.
    HEADS_SCALAR = Heads "heads_scalar", [read(1), write(4)], [];
    /// Keys and values of such heads.
    KEYS_VEC4 = Keys "keys_vec4", [read(2), read(3)], [];
    /// Keys and values anywhere.
    KEYS_SCALAR = Keys "keys_scalar", [read(2), read(3)], [];
    /// Keys and values in f16, whose heads begin and end at multiples of four.
    KEYS_F16 = Keys "keys_f16", [read(2), read(3)], [];
    /// Keys and values that every lane loads.
    LINES_DIRECT = Lines "lines_direct", [], [];
    /// Keys and values that the lanes of subgroups load for each other, four at a time.
    LINES_LANES4 = Lines "lines_lanes4", [], ["subgroups"];
    /// Keys and values that the lanes of subgroups of eight or more load for each other.
    LINES_LANES8 = Lines "lines_lanes8", [], ["subgroups"];
    /// Attention heads of up to 32 elements.
    HEAD_32 = HeadDim "head_32", [], [];
    /// Attention heads of up to 64 elements.
    HEAD_64 = HeadDim "head_64", [], [];
    /// Attention heads of up to 128 elements.
    HEAD_128 = HeadDim "head_128", [], [];
    /// Attention heads of up to 256 elements.
    HEAD_256 = HeadDim "head_256", [], [];
    /// A bound of scores and logits.
    CAP = Cap "cap", [], [];
}
