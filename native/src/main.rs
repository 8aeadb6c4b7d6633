//! Grounds instructions in page screenshots with local vision-language models.
fn main() {}
