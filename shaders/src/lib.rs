//! WGSL compute kernels for vision-language models, and their descriptions.
//!
//! A kernel is one file under `wgsl/`, readable as it stands. What differs between adapters and weight formats
//! (element types, quantised accessors, reductions) comes from a [`Part`]: a short WGSL header put in front of the
//! kernel. Sizes of workgroups and tiles are `override` constants. This crate knows no GPU library: it only says
//! which text to compile, with which bindings.

mod kernels;
mod parts;

pub use kernels::*;
pub use parts::*;

/// What a shader does with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The uniform parameters of a dispatch, always binding 0.
    Uniform,
    /// A storage buffer that is only read.
    Read,
    /// A storage buffer that is read and written.
    ReadWrite,
}

/// One `@group(0) @binding(index)` of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The number in `@binding(..)`.
    pub index: u32,
    /// How the shader uses it.
    pub access: Access,
}

/// A compute kernel: one WGSL file with one entry point of the same name.
#[derive(Debug)]
pub struct Kernel {
    /// Name of the file, without extension, and of its entry point.
    pub name: &'static str,
    /// WGSL text.
    pub source: &'static str,
    /// Bindings that the file itself declares, in ascending order.
    pub bindings: &'static [Binding],
    /// Kinds of part that the file leans on; a variant names one part of each kind, in this order.
    pub needs: &'static [PartKind],
}

/// What will compile the WGSL text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compiler {
    /// naga, which knows the subgroup functions but rejects `enable subgroups` (gfx-rs/wgpu#5555).
    Naga,
    /// A browser, which demands every `enable` of the WGSL specification.
    Browser,
}

/// What a header part provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// `weight4(group)`, `scaled4(group, scale)`, `weight8(octet, scale)`: consecutive weights, whatever their storage.
    Weights,
    /// `input4(start, k4, k)`: four consecutive inputs of a matrix product.
    Input,
    /// `rows8(rows, k4, k)`, `block8(start, block, k, lane)`: inputs of eight rows, or a block of one.
    Rows,
    /// `workgroup_sum` and `workgroup_max`.
    Reduce,
    /// `activate(x)`: the activation that the constant `ACTIVATION` names.
    Activation,
    /// `finish(row, column, width, first_bias, sum)`: what follows a matrix product.
    Epilogue,
    /// `query4`, `store4`: four elements of an attention head's query or result.
    Heads,
    /// `key4`, `value4`, `key1`, `value1`: elements of its keys and values, whatever their storage.
    Keys,
    /// `MOST4`: groups of four elements of the widest head.
    HeadDim,
    /// `keys8`, `values8`: four elements of eight keys or values.
    Lines,
    /// `capped(x, cap)`, `capped4(x, cap)`: what bounds scores and logits, if the constant `CAPPED` is set.
    Cap,
}

/// A header put in front of a kernel.
#[derive(Debug)]
pub struct Part {
    /// Name of the file under `wgsl/parts/`, without extension.
    pub name: &'static str,
    /// What it provides.
    pub kind: PartKind,
    /// WGSL `enable` extensions that it needs.
    pub enables: &'static [&'static str],
    /// WGSL text.
    pub source: &'static str,
    /// Bindings that it declares.
    pub bindings: &'static [Binding],
}

/// A kernel with its parts and its `override` constants: what becomes one pipeline.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// One part for each of [`Kernel::needs`].
    pub parts: Vec<&'static Part>,
    /// Values of `override` constants, by name.
    pub constants: Vec<(&'static str, u32)>,
}

impl Kernel {
    /// This kernel without parts and with the default constants.
    pub fn variant(&'static self) -> Variant {
        Variant { kernel: self, parts: Vec::new(), constants: Vec::new() }
    }

    /// Every combination of parts of the kinds that it needs, with the default constants.
    pub fn variants(&'static self) -> Vec<Variant> {
        self.needs.iter().fold(vec![self.variant()], |found, &kind| {
            let parts: Vec<_> = PARTS.iter().filter(|part| part.kind == kind).collect();
            found.iter().flat_map(|variant| parts.iter().map(|part| variant.clone().part(part))).collect()
        })
    }
}

impl Variant {
    /// Adds a header part.
    #[must_use]
    pub fn part(mut self, part: &'static Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Sets an `override` constant.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: u32) -> Self {
        self.constants.push((name, value));
        self
    }

    /// The WGSL text for a compiler: `enable` directives, parts, kernel.
    pub fn source(&self, compiler: Compiler) -> String {
        let mut enables: Vec<&str> = self.parts.iter().flat_map(|part| part.enables).copied().collect();
        if compiler == Compiler::Naga {
            enables.retain(|&extension| extension != "subgroups");
        }
        enables.sort_unstable();
        enables.dedup();
        let mut source = String::new();
        for enable in enables {
            source.push_str(&format!("enable {enable};\n"));
        }
        for part in &self.parts {
            source.push_str(part.source);
        }
        source.push_str(self.kernel.source);
        source
    }

    /// Every binding of the parts and the kernel, in ascending order.
    pub fn bindings(&self) -> Vec<Binding> {
        let parts = self.parts.iter().flat_map(|part| part.bindings);
        let mut bindings: Vec<Binding> = parts.chain(self.kernel.bindings).copied().collect();
        bindings.sort_unstable_by_key(|binding| binding.index);
        bindings
    }

    /// A short name for listings: `gemm[q4 vec4] TILE=8`.
    pub fn label(&self) -> String {
        let mut label = self.kernel.name.to_owned();
        if !self.parts.is_empty() {
            let names: Vec<_> = self.parts.iter().map(|part| part.name).collect();
            label.push_str(&format!("[{}]", names.join(" ")));
        }
        for (name, value) in &self.constants {
            label.push_str(&format!(" {name}={value}"));
        }
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    fn variants() -> impl Iterator<Item = Variant> {
        KERNELS.iter().flat_map(|kernel| kernel.variants())
    }

    #[test]
    fn every_kernel_has_variants() {
        KERNELS.iter().for_each(|kernel| assert!(!kernel.variants().is_empty(), "{}", kernel.name));
    }

    #[test]
    fn every_variant_is_valid() {
        for variant in variants() {
            let source = variant.source(Compiler::Naga);
            let module = naga::front::wgsl::parse_str(&source)
                .unwrap_or_else(|e| panic!("{}: {}", variant.label(), e.emit_to_string(&source)));
            let result = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
            if let Err(e) = result {
                panic!("{}: {}", variant.label(), e.emit_to_string(&source));
            }
        }
    }

    /// WGSL sets a variable without a value to zero each time its declaration runs; within a loop, Chromium 156 does so
    /// once only, and sums of earlier rounds stay in it.
    #[test]
    fn variables_begin_with_a_value() {
        let sources = KERNELS.iter().map(|kernel| kernel.source).chain(PARTS.iter().map(|part| part.source));
        for line in sources.flat_map(str::lines) {
            // Those of a module begin at the margin.
            let local = line.starts_with(' ') && line.trim_start().starts_with("var ");
            assert!(!local || line.contains('='), "{line}");
        }
    }

    #[test]
    fn declared_bindings_are_those_of_the_text() {
        for variant in variants() {
            let module = naga::front::wgsl::parse_str(&variant.source(Compiler::Naga))
                .expect("checked by every_variant_is_valid");
            let mut in_text: Vec<Binding> = module
                .global_variables
                .iter()
                .filter_map(|(_, global)| {
                    let index = global.binding.as_ref()?.binding;
                    let access = match global.space {
                        naga::AddressSpace::Uniform => Access::Uniform,
                        naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => {
                            Access::ReadWrite
                        }
                        _ => Access::Read,
                    };
                    Some(Binding { index, access })
                })
                .collect();
            in_text.sort_unstable_by_key(|binding| binding.index);
            assert_eq!(in_text, variant.bindings(), "{}", variant.label());
            let entries: Vec<_> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(entries, [variant.kernel.name]);
        }
    }
}
