// y = a * b, where b is repeated as often as it fits into a.
// One thread for each element. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,       // elements of a
    period: u32,      // elements of b
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // [count]
@group(0) @binding(2) var<storage, read> b: array<f32>;          // [period]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // [count]

@compute @workgroup_size(128)
fn multiply(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    y[i] = a[i] * b[i % params.period];
}
