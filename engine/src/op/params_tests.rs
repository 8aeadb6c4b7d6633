//! The uniform parameters of every op beside those of the kernels that take them.

use crate::{
    op,
    params::{Member, Params},
    program::{Cost, Dispatch, Recorder, Workgroups},
    testing::gpus,
};
use fovea_shaders::{Compiler, KERNELS, Kernel, Variant};
use naga::{AddressSpace, ScalarKind, TypeInner};

/// Bytes and members of parameters, and what takes them.
type Declared = (usize, &'static [Member], &'static [&'static Kernel]);

fn declared<P: Params>() -> Declared {
    (size_of::<P>(), P::MEMBERS, P::KERNELS)
}

/// The parameters of every op. What is missing here leaves a kernel without parameters, which fails.
fn all() -> Vec<Declared> {
    vec![
        declared::<op::activation::ActivationParams>(),
        declared::<op::activation::GateParams>(),
        declared::<op::attention::Params>(),
        declared::<op::attention::SplitParams>(),
        declared::<op::attention::MergeParams>(),
        declared::<op::attention_weights::Params>(),
        declared::<op::cap::Params>(),
        declared::<op::columns::Params>(),
        declared::<op::elementwise::PairParams>(),
        declared::<op::elementwise::ScaleParams>(),
        declared::<op::embed::Params>(),
        declared::<op::matmul::Params>(),
        declared::<op::norm::Params>(),
        declared::<op::patch::PatchifyParams>(),
        declared::<op::patch::MergeParams>(),
        declared::<op::patch::InterpolateParams>(),
        declared::<op::peak::Params>(),
        declared::<op::peak::CopyParams>(),
        declared::<op::rope::Params>(),
        declared::<op::rope::KvParams>(),
        declared::<op::rows::GatherParams>(),
        declared::<op::rows::PlaceParams>(),
        declared::<op::sample::Params>(),
        declared::<op::to_f16::Params>(),
    ]
}

/// Bytes and members of the uniform struct in a variant's text.
fn in_wgsl(variant: &Variant) -> (usize, Vec<(String, String, usize)>) {
    let source = variant.source(Compiler::Naga);
    let module = naga::front::wgsl::parse_str(&source).expect("the shaders' own tests validate it");
    let (_, uniform) = module
        .global_variables
        .iter()
        .find(|(_, global)| global.space == AddressSpace::Uniform)
        .expect("every kernel has parameters");
    let TypeInner::Struct { members, span } = &module.types[uniform.ty].inner else {
        panic!("{}: no struct", variant.label());
    };
    let kind = |ty: naga::Handle<naga::Type>| match module.types[ty].inner {
        TypeInner::Scalar(naga::Scalar { kind: ScalarKind::Uint, width: 4 }) => "u32".to_owned(),
        TypeInner::Scalar(naga::Scalar { kind: ScalarKind::Float, width: 4 }) => "f32".to_owned(),
        ref other => format!("{other:?}"),
    };
    let member = |it: &naga::StructMember| (it.name.clone().unwrap_or_default(), kind(it.ty), it.offset as usize);
    (*span as usize, members.iter().map(member).collect())
}

#[test]
fn parameters_are_those_of_their_kernels() {
    for (bytes, members, kernels) in all() {
        let members: Vec<_> =
            members.iter().map(|it| (it.name.to_owned(), it.wgsl_type.to_owned(), it.offset)).collect();
        for variant in kernels.iter().flat_map(|kernel| kernel.variants()) {
            assert_eq!((bytes, &members), (in_wgsl(&variant).0, &in_wgsl(&variant).1), "{}", variant.label());
        }
    }
}

#[test]
fn every_kernel_has_the_parameters_of_one_op() {
    for kernel in KERNELS {
        let takers = all().iter().flat_map(|(_, _, kernels)| *kernels).filter(|it| it.name == kernel.name).count();
        assert_eq!(takers, 1, "{}", kernel.name);
    }
}

#[test]
fn parameters_of_another_kernel_are_refused() {
    let mut rec = Recorder::new(&gpus()[0]);
    let outcome = rec.dispatch(Dispatch {
        op: "scale",
        kernel: fovea_shaders::ADD.variant(),
        params: op::elementwise::ScaleParams { count: 1, factor: 2.0 },
        bindings: &[],
        workgroups: Workgroups::linear(1),
        cost: Cost::default(),
    });
    let error = outcome.unwrap_err().to_string();
    assert_eq!(error, "scale: kernel is add, expected one that takes these parameters");
}
