//! How an answer is right or wrong.

use fovea_models::grounding::{PixelBox, PixelPoint};

/// What an answer is, beside its question. In the order of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// In the target, or no place where there is no target.
    Right,
    /// At most a target's height beside it, and in no other target.
    Near,
    /// In the target of another question about the same screen.
    Other,
    /// Anywhere else.
    Elsewhere,
    /// No place, though the target is there.
    None,
    /// A place, though the target is not there.
    Invented,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Right, Self::Near, Self::Other, Self::Elsewhere, Self::None, Self::Invented];

    /// In words, for tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Near => "just beside the target",
            Self::Other => "in another target",
            Self::Elsewhere => "elsewhere",
            Self::None => "no place",
            Self::Invented => "a place for what is not there",
        }
    }

    /// `others`: targets of other questions about the same screen.
    pub(super) fn of(target: Option<PixelBox>, others: &[PixelBox], point: Option<PixelPoint>) -> Self {
        match (target, point) {
            (target, point) if super::is_right(target, point) => Self::Right,
            (None, _) => Self::Invented,
            (_, None) => Self::None,
            (Some(target), Some(point)) => {
                let margin = target.height();
                let around = PixelBox::new(
                    target.left() - margin,
                    target.top() - margin,
                    target.right() + margin,
                    target.bottom() + margin,
                );
                if others.iter().any(|other| other.contains(point)) {
                    Self::Other
                } else if around.contains(point) {
                    Self::Near
                } else {
                    Self::Elsewhere
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let (target, other) = (PixelBox::new(100.0, 100.0, 200.0, 120.0), PixelBox::new(205.0, 100.0, 300.0, 120.0));
        let at = |x, y| Some(PixelPoint { x, y });
        for (target, point, kind) in [
            (Some(target), at(150.0, 110.0), Kind::Right),
            (Some(target), at(150.0, 135.0), Kind::Near),
            (Some(target), at(210.0, 110.0), Kind::Other),
            (Some(target), at(150.0, 150.0), Kind::Elsewhere),
            (Some(target), None, Kind::None),
            (None, at(1.0, 1.0), Kind::Invented),
            (None, None, Kind::Right),
        ] {
            assert_eq!(Kind::of(target, &[other], point), kind, "{point:?}");
        }
    }
}
