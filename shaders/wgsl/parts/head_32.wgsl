// Attention heads of up to 32 elements.

const MOST4 = 8u;    // groups of four elements that a thread keeps

