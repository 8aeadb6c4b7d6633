// Rotary positions, in place: each pair (a, b) of a head becomes (a cos - b sin, b cos + a sin).
// Su et al., RoFormer, 2021; several axes as in Qwen2-VL's M-RoPE: each pair follows one coordinate of the position.
// cos and sin come from a table: WGSL promises too little of its own for angles of thousands.
// One thread for each pair of each head. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,               // tokens * heads * pairs
    heads: u32,
    head_dim: u32,
    pairs: u32,               // 2 * pairs <= head_dim; what is left of a head stays as it is
    width: u32,               // of a row of x
    start: u32,               // column of the first head
    interleaved: u32,         // 1: elements (2i, 2i + 1); 0: (i, i + pairs)
    axes: u32,                // coordinates of a position
    first_position: u32,      // index of the first token's first coordinate
    table_rows: u32,          // positions beyond the table are taken for its last
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<vec2f>;          // [table_rows, pairs] (cos, sin)
@group(0) @binding(2) var<storage, read> axis_of: array<u32>;          // [pairs]
@group(0) @binding(3) var<storage, read> positions: array<u32>;        // from first_position: [tokens, axes]
@group(0) @binding(4) var<storage, read_write> x: array<f32>;          // [tokens, width]

@compute @workgroup_size(128)
fn rope(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    let pair = i % params.pairs;
    let head = (i / params.pairs) % params.heads;
    let token = i / params.pairs / params.heads;

    let position = positions[params.first_position + token * params.axes + axis_of[pair]];
    let turn = table[min(position, params.table_rows - 1u) * params.pairs + pair];
    let origin = token * params.width + params.start + head * params.head_dim;
    let first = origin + select(pair, 2u * pair, params.interleaved == 1u);
    let second = first + select(params.pairs, 1u, params.interleaved == 1u);

    let a = x[first];
    let b = x[second];
    x[first] = a * turn.x - b * turn.y;
    x[second] = b * turn.x + a * turn.y;
}
