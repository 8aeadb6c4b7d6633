// into[indices[r]] = x[r]; an index beyond the last row is ignored.
// One thread for each element. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,       // elements of x
    rows: u32,        // of into
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [count / width, width]
@group(0) @binding(2) var<storage, read> indices: array<u32>;       // [count / width]
@group(0) @binding(3) var<storage, read_write> into: array<f32>;    // [rows, width]

@compute @workgroup_size(128)
fn place_rows(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    let row = indices[i / params.width];
    if row < params.rows {
        into[row * params.width + i % params.width] = x[i];
    }
}
