// The input of a matrix product whose rows are a multiple of four wide.

@group(0) @binding(3) var<storage, read> input: array<vec4f>;    // [rows, k / 4]

// Where a row that is `k` wide begins, for `input4`.
fn input_start(row: u32, k: u32) -> u32 {
    return row * (k / 4u);
}

// Elements 4 * k4 .. 4 * k4 + 3 of the row that begins at `start`; zero beyond its end.
fn input4(start: u32, k4: u32, k: u32) -> vec4f {
    return select(vec4f(), input[start + k4], 4u * k4 < k);
}

