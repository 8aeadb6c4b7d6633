//! `fovea devices`: the adapters and what they can do.

use serde_json::json;

use crate::{
    failure::Outcome,
    output::{BOLD, Output, bytes},
};

pub(crate) fn run(output: &mut Output) -> Outcome {
    let adapters = pollster::block_on(fovea_engine::adapters());
    if output.is_json() {
        let adapters: Vec<_> = adapters
            .iter()
            .map(|(name, caps)| {
                json!({
                    "name": name.name, "driver": name.driver, "backend": name.backend, "kind": name.kind,
                    "kernels": caps.family.to_string(), "f16": caps.f16, "subgroups": caps.subgroups,
                    "subgroup_sizes": [caps.subgroup_sizes.0, caps.subgroup_sizes.1],
                    "timestamps": caps.timestamps, "max_binding": caps.max_binding, "max_buffer": caps.max_buffer,
                    "max_threads": caps.max_threads, "workgroup_memory": caps.workgroup_memory,
                })
            })
            .collect();
        return output.value(&json!(adapters));
    }
    if adapters.is_empty() {
        return output.line("no GPU adapter; on Debian, apt-get install mesa-vulkan-drivers brings a software one");
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
