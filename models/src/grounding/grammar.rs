//! The forms of answers, by name: a system has one, and whoever reads or constrains its answers takes it.

/// What the model writes boxes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// Qwen2-VL: `<|box_start|>(x1,y1),(x2,y2)<|box_end|>`, thousandths of the picture.
    Qwen2Boxes,
    /// Qwen2.5-VL: JSON with `bbox_2d`, pixels of the resized picture.
    Qwen2_5Json,
    /// CogAgent-9B's action lines, thousandths of the picture.
    CogAgent,
    /// CogVLM, GLM-4V: `[[x0,y0,x1,y1]]` in running text, thousandths of the picture.
    CogBoxes,
    /// LLaVA: `[x0, y0, x1, y1]` in running text, fractions of the picture's sides.
    UnitBoxes,
    /// InternVL: `<ref>name</ref><box>[[x0, y0, x1, y1]]</box>`, thousandths of the picture.
    InternBoxes,
    /// PaliGemma: four tokens `<loc0000>` for top, left, bottom, right, then the name.
    PaliGemma,
    /// None that is published: words.
    Words,
    /// CogAgent-18B's plan, next action and grounded operation, thousandths of the picture.
    CogAgentSteps,
    /// Kosmos-2: two of 32 x 32 cells, each a token.
    Kosmos2Cells,
}

impl Grammar {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Qwen2Boxes,
        Self::Qwen2_5Json,
        Self::CogAgent,
        Self::CogBoxes,
        Self::UnitBoxes,
        Self::InternBoxes,
        Self::PaliGemma,
        Self::Words,
        Self::CogAgentSteps,
        Self::Kosmos2Cells,
    ];
}
