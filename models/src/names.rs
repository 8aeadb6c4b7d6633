//! Tensors by name: how files spell what systems ask for.
//!
//! `transformers` has moved the parts of its models twice, and writes either names whatever version the configuration is
//! of. So the names that are stored decide, part by part.

use fovea_engine::weights::WeightSource;

/// Begins of names as systems ask for them, each with the spellings that files have, the longest first where one is the
/// begin of another.
const SPELLINGS: &[(&str, &[&str])] = &[
    (
        "vision_tower.vision_model.",
        &["model.vision_tower.vision_model.", "model.vision_tower.", "vision_tower.vision_model.", "vision_tower."],
    ),
    ("vision_tower.", &["model.vision_tower.", "vision_tower."]),
    ("language_model.model.", &["model.language_model.", "language_model.model."]),
    ("language_model.lm_head.", &["language_model.lm_head.", "lm_head."]),
    ("multi_modal_projector.", &["model.multi_modal_projector.", "multi_modal_projector."]),
    ("image_newline", &["model.image_newline", "image_newline"]),
    ("vision_model.", &["model.vision_model.", "vision_model."]),
    ("visual.", &["model.visual.", "visual."]),
    ("model.", &["model.language_model.", "model."]),
];

/// How a source spells names.
pub(crate) struct Spelling(Vec<(&'static str, &'static str)>);

impl Spelling {
    /// By what it has stored.
    pub(crate) fn of(weights: &dyn WeightSource) -> Self {
        let names = weights.names();
        let stored = |begin: &&&str| names.iter().any(|name| name.starts_with(**begin));
        Self(SPELLINGS.iter().map(|(own, all)| (*own, all.iter().find(stored).copied().unwrap_or(own))).collect())
    }

    /// A name, or the begin of names, as the source has it.
    pub(crate) fn spell(&self, name: &str) -> String {
        let spelled = self.0.iter().find_map(|(own, stored)| Some((stored, name.strip_prefix(own)?)));
        spelled.map_or_else(|| name.to_owned(), |(stored, rest)| format!("{stored}{rest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelling(stored: &[&'static str]) -> Spelling {
        let stored = |begin: &&&str| stored.iter().any(|name| name.starts_with(**begin));
        Spelling(SPELLINGS.iter().map(|(own, all)| (*own, all.iter().find(stored).copied().unwrap_or(own))).collect())
    }

    #[test]
    fn parts_are_spelled_as_they_are_stored() {
        let old = spelling(&["language_model.model.norm.weight", "vision_tower.vision_model.x", "model.norm.weight"]);
        for name in ["language_model.model.norm.weight", "vision_tower.vision_model.x", "model.norm.weight", "other"] {
            assert_eq!(old.spell(name), name);
        }
        let new =
            spelling(&["model.language_model.norm.weight", "model.vision_tower.x", "model.visual.x", "lm_head.weight"]);
        for (name, stored) in [
            ("language_model.model.norm.weight", "model.language_model.norm.weight"),
            ("language_model.lm_head.weight", "lm_head.weight"),
            ("vision_tower.vision_model.x", "model.vision_tower.x"),
            ("vision_tower.x", "model.vision_tower.x"),
            ("visual.x", "model.visual.x"),
            ("model.norm.weight", "model.language_model.norm.weight"),
            ("lm_head.weight", "lm_head.weight"),
        ] {
            assert_eq!(new.spell(name), stored);
        }
        let mixed = spelling(&["language_model.model.norm.weight", "vision_tower.x"]);
        assert_eq!(mixed.spell("language_model.model.norm.weight"), "language_model.model.norm.weight");
        assert_eq!(mixed.spell("vision_tower.vision_model.x"), "vision_tower.x");
    }
}
