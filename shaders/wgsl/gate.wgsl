// y = activate(gate) * up, where each row of x is gate | up: SwiGLU, GeGLU (Shazeer 2020).
// One thread for each element of y. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,    // rows * width
    width: u32,    // of y, half of x
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, 2 * width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [rows, width]

@compute @workgroup_size(128)
fn gate(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i < params.count {
        let start = (i / params.width) * params.width + i;    // row * 2 * width + column
        y[i] = activate(x[start]) * x[start + params.width];
    }
}
