// Attention heads of up to 128 elements.

const MOST4 = 32u;    // groups of four elements that a thread keeps

