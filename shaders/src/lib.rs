//! WGSL compute kernels for vision-language models, and their descriptions.
