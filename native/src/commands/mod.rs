//! The commands, one file each.

pub(crate) mod bench;
pub(crate) mod devices;
pub(crate) mod dump;
pub(crate) mod eval;
pub(crate) mod generate;
pub(crate) mod ground;
pub(crate) mod inspect;
pub(crate) mod manual;
pub(crate) mod score;
