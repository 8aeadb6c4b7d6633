// f16 weights on adapters with shader-f16. Rows are padded with zeros to a multiple of 32.

@group(0) @binding(1) var<storage, read> weights: array<vec4<f16>>;    // [rows, padded_k / 4]

// Scale and minimum of a block of 32, counted through all rows: nothing to scale here.
fn weight_scale(block: u32) -> vec2f {
    return vec2f(1.0, 0.0);
}

// The eight weights of octet `octet`, counted through all rows, with the scale of their block.
fn weight8(octet: u32, scale: vec2f) -> mat2x4f {
    return mat2x4f(scaled4(2u * octet, scale), scaled4(2u * octet + 1u, scale));
}

// The four weights of group `group`, counted through all rows, with the scale of their block.
fn scaled4(group: u32, scale: vec2f) -> vec4f {
    return vec4f(weights[group]);
}

// The same, when the scale is not at hand.
fn weight4(group: u32) -> vec4f {
    return scaled4(group, weight_scale(group / 8u));
}

