// Eight rows of a matrix product's input, each loaded by one lane in four and handed to the others. Any subgroup has
// four lanes at least; all must be active and want the same rows.

// The lane's number, counted round.
fn own_lane() -> u32 {
    return subgroupExclusiveAdd(1u) % 4u;
}

struct Rows {
    upper: u32,
    lower: u32,
}

// The rows from `first` on; those beyond `last` are `last` again.
fn rows_from(first: u32, last: u32, k: u32) -> Rows {
    let lane = own_lane();
    return Rows(
        input_start(min(first + lane, last), k),
        input_start(min(first + 4u + lane, last), k),
    );
}

fn rows8(rows: Rows, k4: u32, k: u32) -> array<vec4f, 8> {
    let upper = input4(rows.upper, k4, k);
    let lower = input4(rows.lower, k4, k);
    return array<vec4f, 8>(
        subgroupBroadcast(upper, 0u),
        subgroupBroadcast(upper, 1u),
        subgroupBroadcast(upper, 2u),
        subgroupBroadcast(upper, 3u),
        subgroupBroadcast(lower, 0u),
        subgroupBroadcast(lower, 1u),
        subgroupBroadcast(lower, 2u),
        subgroupBroadcast(lower, 3u),
    );
}

// The 32 elements of block `block` of the row that begins at `start`; `lane` is the own one.
fn block8(start: u32, block: u32, k: u32, lane: u32) -> array<vec4f, 8> {
    let first = input4(start, 8u * block + lane, k);
    let second = input4(start, 8u * block + 4u + lane, k);
    return array<vec4f, 8>(
        subgroupBroadcast(first, 0u),
        subgroupBroadcast(first, 1u),
        subgroupBroadcast(first, 2u),
        subgroupBroadcast(first, 3u),
        subgroupBroadcast(second, 0u),
        subgroupBroadcast(second, 1u),
        subgroupBroadcast(second, 2u),
        subgroupBroadcast(second, 3u),
    );
}

