//! How an answer is right or wrong.

use fovea_models::grounding::PixelBox;

use crate::commands::ground::Reply;

/// What an answer is, beside its question. In the order of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// In the target, or that it is not there where it is not.
    Right,
    /// At most a target's height beside it, and in no other target.
    Near,
    /// In the target of another question about the same screen.
    Other,
    /// Anywhere else.
    Elsewhere,
    /// That it is not there, though it is.
    None,
    /// A place, though the target is not there.
    Invented,
    /// It cannot be read, or has no place: neither right nor a refusal.
    Unreadable,
}

impl Kind {
    pub(super) const ALL: [Self; 7] =
        [Self::Right, Self::Near, Self::Other, Self::Elsewhere, Self::None, Self::Invented, Self::Unreadable];

    /// In words, for tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Near => "just beside the target",
            Self::Other => "in another target",
            Self::Elsewhere => "elsewhere",
            Self::None => "not found, though it is there",
            Self::Invented => "a place for what is not there",
            Self::Unreadable => "unreadable, or without a place",
        }
    }

    /// `others`: targets of other questions about the same screen.
    pub(super) fn of(target: Option<PixelBox>, others: &[PixelBox], reply: Reply) -> Self {
        match (target, reply) {
            (_, Reply::Unreadable | Reply::NoPlace) => Self::Unreadable,
            (None, Reply::Absent) => Self::Right,
            (None, Reply::Place(_)) => Self::Invented,
            (Some(_), Reply::Absent) => Self::None,
            (Some(target), Reply::Place(mark)) if target.contains(mark.click) => Self::Right,
            (Some(target), Reply::Place(mark)) => {
                let point = mark.click;
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
    use fovea_models::grounding::PixelPoint;

    use super::*;
    use crate::picture::Mark;

    #[test]
    fn answers_are_told_apart() {
        let (target, other) = (PixelBox::new(100.0, 100.0, 200.0, 120.0), PixelBox::new(205.0, 100.0, 300.0, 120.0));
        let at = |x, y| Reply::Place(Mark { region: other, click: PixelPoint { x, y } });
        for (target, reply, kind) in [
            (Some(target), at(150.0, 110.0), Kind::Right),
            (Some(target), at(150.0, 135.0), Kind::Near),
            (Some(target), at(210.0, 110.0), Kind::Other),
            (Some(target), at(150.0, 150.0), Kind::Elsewhere),
            (Some(target), Reply::Absent, Kind::None),
            (Some(target), Reply::NoPlace, Kind::Unreadable),
            (None, at(1.0, 1.0), Kind::Invented),
            (None, Reply::Absent, Kind::Right),
            // What cannot be read refuses nothing.
            (None, Reply::Unreadable, Kind::Unreadable),
            (None, Reply::NoPlace, Kind::Unreadable),
        ] {
            assert_eq!(Kind::of(target, &[other], reply), kind, "{reply:?}");
        }
    }
}
