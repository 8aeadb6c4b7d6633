//! Vision-language systems for grounding instructions in page screenshots.
