// y = x, as fast as the adapter's memory allows.
// A thread copies four vec4, a workgroup 512 neighbouring ones. Dispatch: enough workgroups in x; those above 65535
// continue in y.

struct Params {
    count: u32,    // vec4s
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;          // [count]
@group(0) @binding(2) var<storage, read_write> y: array<vec4u>;    // [count]

@compute @workgroup_size(128)
fn copy(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = (group.x + group.y * groups.x) * 512u + thread;
    for (var step = 0u; step < 4u; step++) {
        let i = first + step * 128u;
        if i < params.count {
            y[i] = x[i];
        }
    }
}
