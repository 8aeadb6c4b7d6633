//! From numbers as written to pixels of the screenshot, or why they cannot be that.

use super::tree::Number;
use crate::{
    grounding::{GroundingError, PixelBox},
    image::Size,
};

/// How far outside the picture a pixel may lie that is taken for one at its edge: an image token of Qwen2.5-VL, 28 pixels of
/// what the model sees. Nothing finer is seen at once, so that a model that keeps to the scale misses an edge by less. What lies
/// further out is on another scale: there nothing is clicked.
const MARGIN: f64 = 28.0;

/// What a system counts in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::grounding) enum Scale {
    /// Pixels of the picture as the model saw it.
    Pixels { original: Size, resized: Size },
    /// Thousandths of the sides.
    Thousandths { original: Size },
    /// Fractions of the sides.
    Fractions { original: Size },
    /// It has tokens for places, or none: numbers are none.
    None,
}

impl Scale {
    /// The place of two or four numbers; `None` for numbers that stand for no place: all -1, or all 0.
    ///
    /// # Errors
    /// [`GroundingError::NoBox`], [`GroundingError::OutOfRange`], [`GroundingError::Fractions`],
    /// [`GroundingError::Outside`].
    pub(super) fn place(
        self,
        numbers: &[Number],
        fractions: bool,
        answer: &str,
    ) -> Result<Option<PixelBox>, GroundingError> {
        let text = || answer.to_owned();
        let all = |test: fn(&Number) -> bool| numbers.iter().all(test);
        let (original, mut scale) = match self {
            Self::None => return Err(GroundingError::NoBox { text: text() }),
            Self::Pixels { original, .. } | Self::Thousandths { original } | Self::Fractions { original } => {
                (original, self)
            }
        };
        if all(|it| it.value == -1.0) || all(|it| it.value == 0.0) {
            return Ok(None);
        }
        let beyond = |number: &Number, scale: &'static str| {
            let sign = if number.percent { "%" } else { "" };
            GroundingError::OutOfRange { value: format!("{}{sign}", number.written), scale, text: text() }
        };
        let percent = numbers.iter().any(|it| it.percent);
        if percent && !all(|it| it.percent) {
            return Err(GroundingError::Mixed { text: text() });
        }
        let small = all(|it| (0.0..=1.0).contains(&it.value))
            && (numbers.len() == 4 || numbers.iter().any(|it| it.written.contains('.')));
        let mut of = 1.0;
        if percent {
            (scale, of) = (Self::Fractions { original }, 100.0);
        } else if fractions && small {
            scale = Self::Fractions { original };
        }
        let name = match scale {
            Self::Thousandths { .. } => "1000",
            Self::Pixels { .. } => "pixels",
            _ if percent => "100 %",
            _ => "1",
        };
        if small && matches!(scale, Self::Thousandths { .. } | Self::Pixels { .. }) {
            return Err(GroundingError::Fractions { scale: name, text: text() });
        }
        // Sides in the unit of the numbers, and how far a number may lie outside.
        let ((width, height), margin) = match scale {
            Self::Pixels { resized, .. } => {
                ((f64::from(resized.width.max(1)), f64::from(resized.height.max(1))), (MARGIN, MARGIN))
            }
            Self::Thousandths { .. } => (
                (1000.0, 1000.0),
                (
                    1000.0 * MARGIN / f64::from(original.width.max(1)),
                    1000.0 * MARGIN / f64::from(original.height.max(1)),
                ),
            ),
            _ => (
                (of, of),
                (of * MARGIN / f64::from(original.width.max(1)), of * MARGIN / f64::from(original.height.max(1))),
            ),
        };
        let bounded = !matches!(scale, Self::Pixels { .. });
        let mut values = Vec::with_capacity(4);
        for (at, number) in numbers.iter().enumerate() {
            let (side, margin) = if at % 2 == 0 { (width, margin.0) } else { (height, margin.1) };
            // No model that keeps to a scale writes what is beyond its end; below 0 every scale has the same edge.
            if bounded && !(-margin..=side).contains(&number.value) {
                return Err(beyond(number, name));
            }
            if !number.value.is_finite() || number.value < -margin || number.value > side + margin {
                return Err(GroundingError::Outside {
                    value: number.written.clone(),
                    side: if at % 2 == 0 { "wide" } else { "high" },
                    extent: side as u32,
                    text: text(),
                });
            }
            values.push(number.value / side);
        }
        let [x0, y0, x1, y1] = match values[..] {
            [x, y] => [x, y, x, y],
            [x0, y0, x1, y1] => [x0, y0, x1, y1],
            _ => return Err(GroundingError::NoBox { text: text() }),
        };
        // A box must have a part within; of a point nothing is known but that it is near.
        let misses = |a: f64, b: f64| a.max(b) < 0.0 || a.min(b) > 1.0;
        if numbers.len() == 4 && (misses(x0, x1) || misses(y0, y1)) {
            let (at, wide) = if misses(x0, x1) { (0, "wide") } else { (1, "high") };
            let (value, extent) = (numbers[at].written.clone(), if at == 0 { width } else { height } as u32);
            return Err(GroundingError::Outside { value, side: wide, extent, text: text() });
        }
        let x = |it: f64| (it.clamp(0.0, 1.0) * f64::from(original.width)) as f32;
        let y = |it: f64| (it.clamp(0.0, 1.0) * f64::from(original.height)) as f32;
        Ok(Some(PixelBox::new(x(x0), y(y0), x(x1), y(y1))))
    }
}
