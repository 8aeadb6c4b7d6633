// Rotary positions of fused queries, keys and values: queries in place, keys and values into rows of a KV cache.
// Each pair (a, b) of a head of q or k becomes (a cos - b sin, b cos + a sin); see rope.wgsl.
// One thread for each lane of each head: lane l < pairs holds a pair, the others hold element l + pairs, which does not
// turn. Dispatch: enough workgroups in x; those above 65535 continue in y.

struct Params {
    count: u32,               // tokens * (heads + 2 * kv_heads) * (head_dim - pairs)
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    pairs: u32,               // 2 * pairs <= head_dim
    interleaved: u32,         // 1: elements (2i, 2i + 1); 0: (i, i + pairs)
    axes: u32,                // coordinates of a position
    first_position: u32,      // index of the first token's first coordinate
    table_rows: u32,          // positions beyond the table are taken for its last
    slot_from: u32,           // 1: the first cache row is slots[slot]; 0: it is slot
    slot: u32,
    capacity: u32,            // rows of the cache; tokens beyond are not written
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<vec2f>;              // [table_rows, pairs] (cos, sin)
@group(0) @binding(2) var<storage, read> axis_of: array<u32>;              // [pairs]
@group(0) @binding(3) var<storage, read> positions: array<u32>;            // from first_position: [tokens, axes]
@group(0) @binding(4) var<storage, read> slots: array<u32>;
@group(0) @binding(5) var<storage, read_write> qkv: array<f32>;            // [tokens, (heads + 2 * kv_heads) * head_dim]
@group(0) @binding(6) var<storage, read_write> cache_k: array<f32>;        // [capacity, kv_heads * head_dim]
@group(0) @binding(7) var<storage, read_write> cache_v: array<f32>;        // [capacity, kv_heads * head_dim]

@compute @workgroup_size(128)
fn rope_kv(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * groups.x) * 128u + thread;
    if i >= params.count {
        return;
    }
    let all_heads = params.heads + 2u * params.kv_heads;
    let lanes = params.head_dim - params.pairs;
    let lane = i % lanes;
    let head = (i / lanes) % all_heads;
    let token = i / lanes / all_heads;
    let turns = lane < params.pairs;

    // Within the head.
    var first = lane + params.pairs;
    var second = first;
    if turns {
        first = select(lane, 2u * lane, params.interleaved == 1u);
        second = first + select(params.pairs, 1u, params.interleaved == 1u);
    }
    let source = (token * all_heads + head) * params.head_dim;
    var a = qkv[source + first];
    var b = qkv[source + second];

    if turns && head < params.heads + params.kv_heads {
        let position = positions[params.first_position + token * params.axes + axis_of[lane]];
        let turn = table[min(position, params.table_rows - 1u) * params.pairs + lane];
        let unturned = a;
        a = unturned * turn.x - b * turn.y;
        b = b * turn.x + unturned * turn.y;
    }

    if head < params.heads {
        if turns {
            qkv[source + first] = a;
            qkv[source + second] = b;
        }
        return;
    }
    var slot = params.slot;
    if params.slot_from == 1u {
        slot = slots[params.slot];
    }
    if slot >= params.capacity || token >= params.capacity - slot {
        return;
    }
    let kv_head = (head - params.heads) % params.kv_heads;
    let row = ((slot + token) * params.kv_heads + kv_head) * params.head_dim;
    if head < params.heads + params.kv_heads {
        cache_k[row + first] = a;
        cache_k[row + second] = b;
    } else {
        cache_v[row + first] = a;
        cache_v[row + second] = b;
    }
}
