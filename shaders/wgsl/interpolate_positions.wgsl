// x += the learned positions of a square grid, bilinearly interpolated to another grid, corners aligned.
// Qwen3-VL's fast_pos_embed_interpolate; patches come in blocks of merge x merge, frames one after the other.
// One thread for each element. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,       // elements of x
    width: u32,       // of a patch
    grid_h: u32,
    grid_w: u32,
    side: u32,        // of the table's grid
    merge: u32,       // patches of a side of a block
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<f32>;       // [side * side, width]
@group(0) @binding(2) var<storage, read> places: array<f32>;      // [grid_h + grid_w]: row of each y, column of each x
@group(0) @binding(3) var<storage, read_write> x: array<f32>;     // [frames * grid_h * grid_w, width]

@compute @workgroup_size(128)
fn interpolate_positions(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    let column = i % params.width;
    let patch_index = (i / params.width) % (params.grid_h * params.grid_w);
    let block = patch_index / (params.merge * params.merge);
    let inner = patch_index % (params.merge * params.merge);
    let blocks_w = params.grid_w / params.merge;
    let place = vec2f(
        places[(block / blocks_w) * params.merge + inner / params.merge],
        places[params.grid_h + (block % blocks_w) * params.merge + inner % params.merge],
    );

    let low = vec2u(place);
    let high = min(low + 1u, vec2u(params.side - 1u));
    let part = place - vec2f(low);
    let rest = 1.0 - part;
    x[i] += table[(low.x * params.side + low.y) * params.width + column] * (rest.x * rest.y)
        + table[(low.x * params.side + high.y) * params.width + column] * (rest.x * part.y)
        + table[(high.x * params.side + low.y) * params.width + column] * (part.x * rest.y)
        + table[(high.x * params.side + high.y) * params.width + column] * (part.x * part.y);
}
