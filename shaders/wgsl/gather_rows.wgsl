// y[r] = x[indices[r]]; an index beyond the last row is taken for the last.
// One thread for each element. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,       // elements of y
    rows: u32,        // of x
    width: u32,
    first: u32,       // index of the first of the indices
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [rows, width]
@group(0) @binding(2) var<storage, read> indices: array<u32>;       // from first: [count / width]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [count / width, width]

@compute @workgroup_size(128)
fn gather_rows(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    let row = min(indices[params.first + i / params.width], params.rows - 1u);
    y[i] = x[row * params.width + i % params.width];
}
