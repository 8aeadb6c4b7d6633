// Keys and values of attention whose heads lie anywhere and have any width.

@group(0) @binding(2) var<storage, read> keys: array<f32>;            // [key rows, stride]
@group(0) @binding(3) var<storage, read> values: array<f32>;          // [key rows, stride]

// Elements 4 * i .. 4 * i + 3 of the head that begins at element `start`; zero beyond its end.
fn key4(start: u32, i: u32, head_dim: u32) -> vec4f {
    var four = vec4f();
    for (var j = 0u; j < 4u && 4u * i + j < head_dim; j++) {
        four[j] = keys[start + 4u * i + j];
    }
    return four;
}

fn value4(start: u32, i: u32, head_dim: u32) -> vec4f {
    var four = vec4f();
    for (var j = 0u; j < 4u && 4u * i + j < head_dim; j++) {
        four[j] = values[start + 4u * i + j];
    }
    return four;
}

// A single element.
fn key1(index: u32) -> f32 {
    return keys[index];
}

fn value1(index: u32) -> f32 {
    return values[index];
}

