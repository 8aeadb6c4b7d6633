// Column c of each row of x goes to column start + c * step of the same row of y.
// One thread for each element of x. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,       // elements of x
    width: u32,       // columns of x
    out_width: u32,   // columns of y
    start: u32,
    step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [rows, out_width]

@compute @workgroup_size(128)
fn place_columns(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    let row = i / params.width;
    let column = params.start + (i % params.width) * params.step;
    y[row * params.out_width + column] = x[i];
}
