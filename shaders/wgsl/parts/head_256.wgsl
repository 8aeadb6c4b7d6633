// Attention heads of up to 256 elements.

const MOST4 = 64u;    // groups of four elements that a thread keeps

