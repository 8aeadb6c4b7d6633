// Eight rows of a matrix product's input, each loaded by every lane.

// The lane's number, counted round.
fn own_lane() -> u32 {
    return 0u;
}

struct Rows {
    upper: vec4u,
    lower: vec4u,
}

// The rows from `first` on; those beyond `last` are `last` again.
fn rows_from(first: u32, last: u32, k: u32) -> Rows {
    let upper = min(first + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    let lower = min(first + vec4u(4u, 5u, 6u, 7u), vec4u(last));
    return Rows(
        vec4u(input_start(upper.x, k), input_start(upper.y, k), input_start(upper.z, k), input_start(upper.w, k)),
        vec4u(input_start(lower.x, k), input_start(lower.y, k), input_start(lower.z, k), input_start(lower.w, k)),
    );
}

fn rows8(rows: Rows, k4: u32, k: u32) -> array<vec4f, 8> {
    return array<vec4f, 8>(
        input4(rows.upper.x, k4, k),
        input4(rows.upper.y, k4, k),
        input4(rows.upper.z, k4, k),
        input4(rows.upper.w, k4, k),
        input4(rows.lower.x, k4, k),
        input4(rows.lower.y, k4, k),
        input4(rows.lower.z, k4, k),
        input4(rows.lower.w, k4, k),
    );
}

// The 32 elements of block `block` of the row that begins at `start`; `lane` is the own one.
fn block8(start: u32, block: u32, k: u32, lane: u32) -> array<vec4f, 8> {
    return array<vec4f, 8>(
        input4(start, 8u * block, k),
        input4(start, 8u * block + 1u, k),
        input4(start, 8u * block + 2u, k),
        input4(start, 8u * block + 3u, k),
        input4(start, 8u * block + 4u, k),
        input4(start, 8u * block + 5u, k),
        input4(start, 8u * block + 6u, k),
        input4(start, 8u * block + 7u, k),
    );
}

