// Queries and results of attention whose heads begin and end at multiples of four elements.

@group(0) @binding(1) var<storage, read> queries: array<vec4f>;         // [query rows, stride / 4]
@group(0) @binding(4) var<storage, read_write> result: array<vec4f>;    // [query rows, heads * head_dim / 4]

// Elements 4 * i .. 4 * i + 3 of the head that begins at element `start`.
fn query4(start: u32, i: u32, head_dim: u32) -> vec4f {
    return queries[start / 4u + i];
}

fn store4(start: u32, i: u32, head_dim: u32, value: vec4f) {
    result[start / 4u + i] = value;
}

