// y = cap tanh(x / cap), element by element, with CAPPED set.
// One thread for each element. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,
    cap: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [count]

@compute @workgroup_size(128)
fn cap(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i < params.count {
        y[i] = capped(x[i], params.cap);
    }
}
