//! Records, plans and replays vision-language model programs on WebGPU.
