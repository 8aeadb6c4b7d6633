//! Boxes on each scale that models write.

use crate::image::Size;

/// A place on the original screenshot, in pixels from its top left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelPoint {
    /// To the right.
    pub x: f32,
    /// Downwards.
    pub y: f32,
}

/// A box in pixels of the original screenshot, corners in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelBox {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

impl PixelBox {
    /// From two opposite corners, in any order.
    pub fn new(x0: f32, y0: f32, x1: f32, y1: f32) -> Self {
        Self { left: x0.min(x1), top: y0.min(y1), right: x0.max(x1), bottom: y0.max(y1) }
    }

    /// Left edge.
    pub fn left(&self) -> f32 {
        self.left
    }

    /// Upper edge.
    pub fn top(&self) -> f32 {
        self.top
    }

    /// Right edge.
    pub fn right(&self) -> f32 {
        self.right
    }

    /// Lower edge.
    pub fn bottom(&self) -> f32 {
        self.bottom
    }

    /// Horizontal extent; 0 for a point.
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    /// Vertical extent; 0 for a point.
    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    /// Where to click.
    pub fn centre(&self) -> PixelPoint {
        PixelPoint { x: f32::midpoint(self.left, self.right), y: f32::midpoint(self.top, self.bottom) }
    }

    /// Whether a point lies inside, edges included.
    pub fn contains(&self, point: PixelPoint) -> bool {
        (self.left..=self.right).contains(&point.x) && (self.top..=self.bottom).contains(&point.y)
    }
}

/// A box in thousandths of the width and of the height, as Qwen2-VL, the Cog family and the default model write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Normalised1000 {
    left: u16,
    top: u16,
    right: u16,
    bottom: u16,
}

impl Normalised1000 {
    /// From two opposite corners, in any order; `None` if a coordinate is above 1000.
    pub fn new(x0: u16, y0: u16, x1: u16, y1: u16) -> Option<Self> {
        [x0, y0, x1, y1].iter().all(|&it| it <= 1000).then(|| Self {
            left: x0.min(x1),
            top: y0.min(y1),
            right: x0.max(x1),
            bottom: y0.max(y1),
        })
    }

    /// The nearest box with coordinates 0 to 999, which three digits hold.
    pub fn nearest(pixels: PixelBox, original: Size) -> Self {
        let thousandth = |at: f32, side: u32| (at * 1000.0 / side.max(1) as f32).round().clamp(0.0, 999.0) as u16;
        Self {
            left: thousandth(pixels.left, original.width),
            top: thousandth(pixels.top, original.height),
            right: thousandth(pixels.right, original.width),
            bottom: thousandth(pixels.bottom, original.height),
        }
    }

    /// Left, top, right, bottom.
    pub fn corners(&self) -> [u16; 4] {
        [self.left, self.top, self.right, self.bottom]
    }

    /// On a screenshot of `original` pixels: `v / 1000 * side`, as the published clients compute.
    pub fn to_pixels(&self, original: Size) -> PixelBox {
        let x = |it: u16| f32::from(it) * original.width as f32 / 1000.0;
        let y = |it: u16| f32::from(it) * original.height as f32 / 1000.0;
        PixelBox::new(x(self.left), y(self.top), x(self.right), y(self.bottom))
    }
}

/// A box in fractions of the width and of the height, as LLaVA and PaliGemma write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitBox {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl UnitBox {
    /// From two opposite corners, in any order; `None` if a coordinate is not between 0 and 1.
    pub fn new(x0: f64, y0: f64, x1: f64, y1: f64) -> Option<Self> {
        [x0, y0, x1, y1].iter().all(|it| (0.0..=1.0).contains(it)).then(|| Self {
            left: x0.min(x1),
            top: y0.min(y1),
            right: x0.max(x1),
            bottom: y0.max(y1),
        })
    }

    /// Left, top, right, bottom.
    pub fn corners(&self) -> [f64; 4] {
        [self.left, self.top, self.right, self.bottom]
    }

    /// On a screenshot of `original` pixels.
    pub fn to_pixels(&self, original: Size) -> PixelBox {
        let x = |it: f64| (it * f64::from(original.width)) as f32;
        let y = |it: f64| (it * f64::from(original.height)) as f32;
        PixelBox::new(x(self.left), y(self.top), x(self.right), y(self.bottom))
    }
}

/// A box and what the model says it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled<B> {
    /// The box, on the scale that the model writes.
    pub region: B,
    /// Its name, if the model gave one.
    pub label: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCREEN: Size = Size::new(1280, 800);

    /// A button at (320, 200)-(640, 240) on a 1280x800 screen, in each convention.
    #[test]
    fn a_known_target_in_each_convention() {
        let button = PixelBox::new(320.0, 200.0, 640.0, 240.0);
        let thousandths = Normalised1000::new(250, 250, 500, 300).unwrap();
        assert_eq!(thousandths.to_pixels(SCREEN), button);
        assert_eq!(Normalised1000::nearest(button, SCREEN), thousandths);

        assert_eq!(UnitBox::new(0.5, 0.3, 0.25, 0.25).unwrap().to_pixels(SCREEN), button);
        assert_eq!(UnitBox::new(0.0, 0.0, 1.1, 0.0), None);

        assert_eq!(button.centre(), PixelPoint { x: 480.0, y: 220.0 });
        assert!(button.contains(button.centre()));
    }

    #[test]
    fn corners_come_in_any_order() {
        let swapped = Normalised1000::new(500, 300, 250, 250).unwrap();
        assert_eq!(swapped, Normalised1000::new(250, 250, 500, 300).unwrap());
        assert_eq!(PixelBox::new(9.0, 8.0, 1.0, 2.0), PixelBox::new(1.0, 2.0, 9.0, 8.0));
        assert_eq!(Normalised1000::new(0, 0, 1001, 0), None);
    }

    proptest! {
        /// Thousandths survive pixels, at any size that tells them apart.
        #[test]
        fn thousandths_survive(c in prop::array::uniform4(0u16..1000), width in 1000u32..8000, height in 1000u32..8000) {
            let size = Size::new(width, height);
            let region = Normalised1000::new(c[0], c[1], c[2], c[3]).unwrap();
            prop_assert_eq!(Normalised1000::nearest(region.to_pixels(size), size), region);
        }
    }
}
