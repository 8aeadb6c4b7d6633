// Reductions over a workgroup of THREADS (a power of two): subgroups first, then a tree over what each thread holds.
// Every thread stores its subgroup's result, and the tree steps over one slot in each run of equal ones: WGSL
// promises no relation of subgroup ids to thread indices, so the slots of a subgroup are found by its smallest index.

override THREADS: u32 = 256u;

var<workgroup> partial: array<f32, THREADS>;

// Sum of `value` over the workgroup, the same in every thread.
fn workgroup_sum(value: f32, thread: u32) -> f32 {
    let sum = subgroupAdd(value);
    let first = subgroupMin(thread);
    partial[thread] = select(0.0, sum, thread == first);
    for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if thread < stride {
            partial[thread] += partial[thread + stride];
        }
    }
    let total = workgroupUniformLoad(&partial[0]);
    workgroupBarrier();
    return total;
}

// Largest `value` of the workgroup, the same in every thread.
fn workgroup_max(value: f32, thread: u32) -> f32 {
    partial[thread] = subgroupMax(value);
    for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if thread < stride {
            partial[thread] = max(partial[thread], partial[thread + stride]);
        }
    }
    let largest = workgroupUniformLoad(&partial[0]);
    workgroupBarrier();
    return largest;
}

