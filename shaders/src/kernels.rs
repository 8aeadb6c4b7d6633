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
}
