// Attention heads of up to 64 elements.

const MOST4 = 16u;    // groups of four elements that a thread keeps

