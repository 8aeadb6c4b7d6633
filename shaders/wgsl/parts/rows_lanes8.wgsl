// Eight rows of a matrix product's input, each loaded by one lane in eight and handed to the others, for subgroups of
// eight lanes or more; all must be active and want the same rows.

// The lane's number, counted round.
fn own_lane() -> u32 {
    return subgroupExclusiveAdd(1u) % 8u;
}

struct Rows {
    start: u32,
}

// The rows from `first` on; those beyond `last` are `last` again.
fn rows_from(first: u32, last: u32, k: u32) -> Rows {
    let lane = own_lane();
    return Rows(input_start(min(first + lane, last), k));
}

fn rows8(rows: Rows, k4: u32, k: u32) -> array<vec4f, 8> {
    let own = input4(rows.start, k4, k);
    return array<vec4f, 8>(
        subgroupBroadcast(own, 0u),
        subgroupBroadcast(own, 1u),
        subgroupBroadcast(own, 2u),
        subgroupBroadcast(own, 3u),
        subgroupBroadcast(own, 4u),
        subgroupBroadcast(own, 5u),
        subgroupBroadcast(own, 6u),
        subgroupBroadcast(own, 7u),
    );
}

// The 32 elements of block `block` of the row that begins at `start`; `lane` is the own one.
fn block8(start: u32, block: u32, k: u32, lane: u32) -> array<vec4f, 8> {
    let own = input4(start, 8u * block + lane, k);
    return array<vec4f, 8>(
        subgroupBroadcast(own, 0u),
        subgroupBroadcast(own, 1u),
        subgroupBroadcast(own, 2u),
        subgroupBroadcast(own, 3u),
        subgroupBroadcast(own, 4u),
        subgroupBroadcast(own, 5u),
        subgroupBroadcast(own, 6u),
        subgroupBroadcast(own, 7u),
    );
}

