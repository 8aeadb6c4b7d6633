// Queries and results of attention whose heads lie anywhere and have any width.

@group(0) @binding(1) var<storage, read> queries: array<f32>;         // [query rows, stride]
@group(0) @binding(4) var<storage, read_write> result: array<f32>;    // [query rows, heads * head_dim]

// Elements 4 * i .. 4 * i + 3 of the head that begins at element `start`; zero beyond its end.
fn query4(start: u32, i: u32, head_dim: u32) -> vec4f {
    var four = vec4f();
    for (var j = 0u; j < 4u && 4u * i + j < head_dim; j++) {
        four[j] = queries[start + 4u * i + j];
    }
    return four;
}

fn store4(start: u32, i: u32, head_dim: u32, value: vec4f) {
    for (var j = 0u; j < 4u && 4u * i + j < head_dim; j++) {
        result[start + 4u * i + j] = value[j];
    }
}

