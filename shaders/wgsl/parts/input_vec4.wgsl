// The input of a matrix product whose rows are a multiple of four wide.

@group(0) @binding(3) var<storage, read> input: array<vec4f>;    // [rows, k / 4]

// Elements 4 * k4 .. 4 * k4 + 3 of a row that is `k` wide; zero beyond its end.
fn input4(row: u32, k4: u32, k: u32) -> vec4f {
    if 4u * k4 >= k {
        return vec4f();
    }
    return input[row * (k / 4u) + k4];
}

