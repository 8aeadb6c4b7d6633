// Keys and values of attention whose heads begin and end at multiples of four elements.

@group(0) @binding(2) var<storage, read> keys: array<vec4f>;            // [key rows, stride / 4]
@group(0) @binding(3) var<storage, read> values: array<vec4f>;          // [key rows, stride / 4]

// Elements 4 * i .. 4 * i + 3 of the head that begins at element `start`.
fn key4(start: u32, i: u32, head_dim: u32) -> vec4f {
    return keys[start / 4u + i];
}

fn value4(start: u32, i: u32, head_dim: u32) -> vec4f {
    return values[start / 4u + i];
}

// A single element.
fn key1(index: u32) -> f32 {
    return keys[index / 4u][index % 4u];
}

fn value1(index: u32) -> f32 {
    return values[index / 4u][index % 4u];
}

