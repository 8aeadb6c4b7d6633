//! `fovea devices`: the adapters and what they can do.

use crate::{
    failure::{Failure, Kind, NO_GPU, Outcome},
    json::{Adapter, Devices, VERSION},
    output::{BOLD, Output, bytes},
};

pub(crate) fn run(output: &mut Output) -> Outcome {
    let adapters = pollster::block_on(fovea_engine::adapters());
    if adapters.is_empty() {
        return Err(Failure::new(Kind::Gpu, format_args!("no GPU adapter: {NO_GPU}")));
    }
    if output.is_json() {
        let adapters = adapters.into_iter().map(|(name, caps)| Adapter {
            name: name.name,
            driver: name.driver,
            backend: name.backend,
            kind: name.kind,
            kernels: caps.family.to_string(),
            f16: caps.f16,
            subgroups: caps.subgroups,
            subgroup_sizes: [caps.subgroup_sizes.0, caps.subgroup_sizes.1],
            timestamps: caps.timestamps,
            max_binding: caps.max_binding,
            max_buffer: caps.max_buffer,
            max_threads: caps.max_threads,
            workgroup_memory: caps.workgroup_memory,
        });
        return output.value(&Devices { version: VERSION, adapters: adapters.collect() });
    }
    for (name, caps) in &adapters {
        output.line(format_args!("{BOLD}{}{BOLD:#}", name.name))?;
        output.line(format_args!("  {}, {}, driver {}", name.backend, name.kind, name.driver))?;
        let yes = |has: bool| if has { "yes" } else { "no" };
        let (least, most) = caps.subgroup_sizes;
        output.line(format_args!(
            "  {} kernels, f16 {}, subgroups {} ({least} to {most}), timestamps {}, workgroups of {} threads and {}, \
             bindings of {}, buffers of {}",
            caps.family,
            yes(caps.f16),
            yes(caps.subgroups),
            yes(caps.timestamps),
            caps.max_threads,
            bytes(u64::from(caps.workgroup_memory)),
            bytes(caps.max_binding),
            bytes(caps.max_buffer),
        ))?;
    }
    Ok(())
}
