// Keys and values of attention in f16, read without shader-f16, whose heads begin and end at multiples of four elements.

@group(0) @binding(2) var<storage, read> keys: array<vec2u>;            // [key rows, stride / 4], four f16 each
@group(0) @binding(3) var<storage, read> values: array<vec2u>;          // [key rows, stride / 4], four f16 each

fn unpacked4(words: vec2u) -> vec4f {
    return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

// Elements 4 * i .. 4 * i + 3 of the head that begins at element `start`.
fn key4(start: u32, i: u32, head_dim: u32) -> vec4f {
    return unpacked4(keys[start / 4u + i]);
}

fn value4(start: u32, i: u32, head_dim: u32) -> vec4f {
    return unpacked4(values[start / 4u + i]);
}

// A single element.
fn key1(index: u32) -> f32 {
    return unpack2x16float(keys[index / 4u][(index / 2u) % 2u])[index % 2u];
}

fn value1(index: u32) -> f32 {
    return unpack2x16float(values[index / 4u][(index / 2u) % 2u])[index % 2u];
}

