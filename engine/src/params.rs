//! Uniform parameters: Rust structs whose twins are the `Params` of kernels in WGSL.

use bytemuck::NoUninit;
use fovea_shaders::Kernel;

/// A member of uniform parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, the same in WGSL.
    pub name: &'static str,
    /// Its type as WGSL writes it.
    pub wgsl_type: &'static str,
    /// Bytes before it.
    pub offset: usize,
}

/// Uniform parameters, as a kernel reads them. `params!` implements it; `engine/src/op/params_tests.rs` compares the
/// members with those of every kernel that takes them.
pub trait Params: NoUninit {
    /// The kernels that take them.
    const KERNELS: &'static [&'static Kernel];
    /// The members in order.
    const MEMBERS: &'static [Member];
}

/// A type that members of uniform parameters have.
pub(crate) trait Scalar {
    const WGSL: &'static str;
}

impl Scalar for u32 {
    const WGSL: &'static str = "u32";
}

impl Scalar for f32 {
    const WGSL: &'static str = "f32";
}

/// Declares the uniform parameters of kernels: `params! { struct Params for GEMM, MATVEC { rows: u32, scale: f32 } }`.
macro_rules! params {
    (struct $name:ident for $($kernel:ident),+ { $($member:ident: $kind:ty),+ $(,)? }) => {
        #[derive(Clone, Copy, bytemuck::NoUninit)]
        #[repr(C)]
        pub(super) struct $name {
            $(pub(super) $member: $kind),+
        }

        impl crate::params::Params for $name {
            const KERNELS: &'static [&'static fovea_shaders::Kernel] = &[$(&fovea_shaders::$kernel),+];
            const MEMBERS: &'static [crate::params::Member] = &[$(crate::params::Member {
                name: stringify!($member),
                wgsl_type: <$kind as crate::params::Scalar>::WGSL,
                offset: std::mem::offset_of!($name, $member),
            }),+];
        }
    };
}

pub(crate) use params;
