// y[r] = table[ids[r]]: the rows of an embedding table, from whatever its storage to f32.
// A table in several parts runs once for each: every part writes the ids in its range, the first one also writes zeros
// where an id lies beyond the whole table.
// One thread for four elements of a row. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,          // rows of y times groups
    width: u32,          // of y, any size
    groups: u32,         // groups of four in a row of y
    padded: u32,         // groups of four in a row of the table
    first_id: u32,       // index of the first of the ids
    first_row: u32,      // of this part
    rows: u32,           // of this part
    skipped: u32,        // rows of the planes before them
    table_rows: u32,     // of all parts
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> ids: array<u32>;           // from first_id
@group(0) @binding(4) var<storage, read_write> y: array<f32>;       // [.., width]

@compute @workgroup_size(128)
fn embed(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    let k4 = i % params.groups;
    let id = ids[params.first_id + i / params.groups];
    let here = id >= params.first_row && id - params.first_row < params.rows;
    let nowhere = id >= params.table_rows && params.first_row == 0u;
    if !here && !nowhere {
        return;
    }
    var value = vec4f();
    if here {
        value = weight4((params.skipped + id - params.first_row) * params.padded + k4);
    }
    let start = (i / params.groups) * params.width;
    for (var k = 0u; k < 4u && 4u * k4 + k < params.width; k++) {
        y[start + 4u * k4 + k] = value[k];
    }
}
