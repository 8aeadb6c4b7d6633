// Reductions over a workgroup of THREADS (a power of two) by a tree in workgroup memory.

override THREADS: u32 = 256u;

var<workgroup> partial: array<f32, THREADS>;

// Sum of `value` over the workgroup, the same in every thread.
fn workgroup_sum(value: f32, thread: u32) -> f32 {
    partial[thread] = value;
    for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if thread < stride {
            partial[thread] += partial[thread + stride];
        }
    }
    let sum = workgroupUniformLoad(&partial[0]);
    workgroupBarrier();
    return sum;
}

// Largest `value` of the workgroup, the same in every thread.
fn workgroup_max(value: f32, thread: u32) -> f32 {
    partial[thread] = value;
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

