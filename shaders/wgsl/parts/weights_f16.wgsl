// f16 weights, unpacked without shader-f16. Rows are padded with zeros to a multiple of 32.

@group(0) @binding(1) var<storage, read> weights: array<vec2u>;    // [rows, padded_k / 4], four f16 each

// The four weights of group `group`, counted through all rows.
fn weight4(group: u32) -> vec4f {
    let packed = weights[group];
    return vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y));
}

