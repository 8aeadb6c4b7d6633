//! Views of pictures of odd sizes against the reference's image processors.

use super::*;
use crate::image::Preprocessor;
use crate::image::testing::{fnv, noise};

fn views(rule: ViewRule, filter: Filter) -> ViewsConfig {
    let mean = [0.481_454_66, 0.457_827_5, 0.408_210_73];
    ViewsConfig { rule, filter, normalisation: Normalisation::of_unit(mean, [1.0; 3]), patch: 16 }
}

/// Size of the picture, number of views, size of a view, hash of the bytes of all views.
type Case = ((u32, u32), usize, (u32, u32), u64);

fn check(rule: ViewRule, filter: Filter, cases: &[Case]) {
    let config = views(rule, filter);
    for &((width, height), count, (view_width, view_height), hash) in cases {
        let size = Size::new(width, height);
        let picture = Picture::from_rgb(size, noise(size)).unwrap();
        let views = config.prepare(&picture).unwrap();
        let sizes: Vec<Size> = views.iter().map(Picture::size).collect();
        assert_eq!(sizes, vec![Size::new(view_width, view_height); count], "{width}x{height}");
        assert_eq!(sizes, config.plan(size).unwrap().views, "{width}x{height}");
        let bytes: Vec<u8> = views.iter().flat_map(|view| view.rgb().iter().copied()).collect();
        assert_eq!(fnv(&bytes), hash, "{width}x{height}");
    }
}

// Hashes (FNV-1a, 64 bits) of what the processors of transformers 4.57.1 with Pillow 11.3.0 make of the same noise, without
// rescaling and normalising.

/// `CLIPImageProcessor`.
#[test]
fn the_middle_equals_the_reference() {
    let rule = ViewRule::Middle { pad: None, shortest: 56, crop: Size::new(56, 56) };
    let cases = [
        ((1, 30), 1, (56, 56), 0xa6ae_e0e8_a893_3fb5),
        ((400, 5), 1, (56, 56), 0x727b_bba7_a6c4_56b7),
        ((4000, 30), 1, (56, 56), 0x4e26_97c3_ac2d_c160),
        ((97, 61), 1, (56, 56), 0xf496_2f69_b5b6_f3b7),
        ((61, 97), 1, (56, 56), 0xc1f0_0187_7a9c_57d8),
        ((200, 140), 1, (56, 56), 0x46a7_9922_88e6_53ce),
        ((56, 56), 1, (56, 56), 0x0f79_be1b_4c9a_8cb2),
        ((13, 13), 1, (56, 56), 0xdf03_2fca_0cb2_2503),
    ];
    check(rule, Filter::Bicubic, &cases);
}

/// `LlavaImageProcessor`.
#[test]
fn the_whole_in_a_square_equals_the_reference() {
    let rule = ViewRule::Middle { pad: Some([122, 116, 104]), shortest: 56, crop: Size::new(56, 56) };
    let cases = [
        ((1, 30), 1, (56, 56), 0xc483_f013_df99_3d05),
        ((400, 5), 1, (56, 56), 0xea6f_2d1a_f86e_8442),
        ((4000, 30), 1, (56, 56), 0xf92f_66f5_4b79_a0b5),
        ((97, 61), 1, (56, 56), 0x0084_f969_3301_3836),
        ((61, 97), 1, (56, 56), 0xaf6d_546a_bca1_4184),
        ((200, 140), 1, (56, 56), 0x7a15_01d9_f4a7_bb9a),
        ((56, 56), 1, (56, 56), 0x0f79_be1b_4c9a_8cb2),
        ((13, 13), 1, (56, 56), 0xdf03_2fca_0cb2_2503),
    ];
    check(rule, Filter::Bicubic, &cases);
}

/// `SiglipImageProcessor`.
#[test]
fn the_whole_equals_the_reference() {
    let rule = ViewRule::Whole(Size::new(56, 56));
    let cases = [
        ((1, 30), 1, (56, 56), 0xbce0_67a9_907d_5575),
        ((400, 5), 1, (56, 56), 0x6e69_0aef_1ace_de55),
        ((4000, 30), 1, (56, 56), 0x3344_8050_445b_4bae),
        ((97, 61), 1, (56, 56), 0xacb7_9813_c93a_6645),
        ((61, 97), 1, (56, 56), 0x78a2_1bc2_c6eb_aab9),
        ((200, 140), 1, (56, 56), 0x85b7_e0a7_d7f9_b0a3),
        ((56, 56), 1, (56, 56), 0x0f79_be1b_4c9a_8cb2),
        ((13, 13), 1, (56, 56), 0xdf03_2fca_0cb2_2503),
    ];
    check(rule, Filter::Bicubic, &cases);
}

/// `PixtralImageProcessor`.
#[test]
fn whole_patches_equals_the_reference() {
    let rule = ViewRule::Native { longest: 64 };
    let cases = [
        ((1, 30), 1, (16, 32), 0xa0ac_1dbd_a62b_a3d5),
        ((97, 61), 1, (64, 48), 0x74f5_183f_3c0d_5792),
        ((61, 97), 1, (48, 64), 0xa26a_62b5_9deb_23da),
        ((200, 140), 1, (64, 48), 0x3007_c54b_7a05_e026),
        ((56, 56), 1, (64, 64), 0xf4a1_d0d0_a979_7520),
        ((13, 13), 1, (16, 16), 0x3320_994a_fa83_ac60),
    ];
    check(rule, Filter::Bicubic, &cases);
}

/// `LlavaNextImageProcessor`; not for 4000 x 30, where it takes a copy one pixel high for one of one channel.
#[test]
fn tiles_of_the_best_canvas_equals_the_reference() {
    let rule = ViewRule::Anyres {
        canvases: [(84, 42), (42, 84), (84, 84), (42, 126), (126, 42)]
            .map(|(width, height)| Size::new(width, height))
            .to_vec(),
        tile: 42,
    };
    let cases = [
        ((1, 30), 3, (42, 42), 0x97b0_d12f_56c2_f3ed),
        ((400, 5), 4, (42, 42), 0xc359_8cf9_8416_d2f4),
        ((97, 61), 5, (42, 42), 0x758e_8030_8117_a1c8),
        ((61, 97), 5, (42, 42), 0xcb28_2e27_9023_a9e1),
        ((200, 140), 5, (42, 42), 0x67f2_4185_1692_87d5),
        ((56, 56), 5, (42, 42), 0x39a3_c4ae_f716_801c),
        ((13, 13), 3, (42, 42), 0x4cef_581a_fc9d_14c5),
    ];
    check(rule, Filter::Bicubic, &cases);
}

/// `GotOcr2ImageProcessor`.
#[test]
fn tiles_of_the_nearest_grid_equals_the_reference() {
    let rule = ViewRule::Grid { tile: Size::new(28, 28), least: 1, most: 12 };
    let cases = [
        ((1, 30), 13, (28, 28), 0x330b_bac0_cf64_ff15),
        ((400, 5), 13, (28, 28), 0xfad2_9c86_8fd1_3bc1),
        ((4000, 30), 13, (28, 28), 0x8b0c_2636_290b_304b),
        ((97, 61), 7, (28, 28), 0xb4be_e8e8_9a37_dad0),
        ((61, 97), 7, (28, 28), 0x55f3_154d_a0ea_8329),
        ((200, 140), 7, (28, 28), 0x8f34_e23c_997d_b3b1),
        ((56, 56), 5, (28, 28), 0x11a3_bf15_c0be_687b),
        ((13, 13), 1, (28, 28), 0xee7b_c9b3_8d73_9bb8),
    ];
    check(rule, Filter::Bicubic, &cases);
}

/// `Idefics3ImageProcessor`.
#[test]
fn tiles_of_the_enlarged_picture_equals_the_reference() {
    let rule = ViewRule::Split { longest: 96, tile: 32 };
    let cases = [
        ((1, 30), 4, (32, 32), 0x87eb_3f2e_a73c_ee85),
        ((400, 5), 4, (32, 32), 0x4501_9db4_ac16_5651),
        ((4000, 30), 4, (32, 32), 0xd482_9541_bd75_e3a5),
        ((97, 61), 7, (32, 32), 0x7661_7057_5b50_abdd),
        ((61, 97), 7, (32, 32), 0x3016_5ff2_c8f3_db01),
        ((200, 140), 10, (32, 32), 0xa454_af71_de41_7b0f),
        ((56, 56), 10, (32, 32), 0x623d_f492_0059_3542),
        ((13, 13), 10, (32, 32), 0x1c00_ed44_e8ec_dbd7),
    ];
    check(rule, Filter::Lanczos, &cases);
}

/// `MllamaImageProcessor`.
#[test]
fn tiles_of_the_scaling_canvas_equals_the_reference() {
    let rule = ViewRule::Canvas { tile: 42, most: 4 };
    let cases = [
        ((1, 30), 1, (42, 42), 0x612f_f7b2_3100_d6dd),
        ((400, 5), 4, (42, 42), 0x3acf_4b71_203b_21db),
        ((4000, 30), 4, (42, 42), 0x602e_b060_c3dc_3066),
        ((97, 61), 4, (42, 42), 0xf5cc_00ac_ff8f_38a1),
        ((61, 97), 4, (42, 42), 0x198b_71d7_c53a_63fa),
        ((200, 140), 4, (42, 42), 0xd9f1_c5fe_ccf8_32bc),
        ((56, 56), 4, (42, 42), 0xdc2d_c84e_4222_ea7a),
        ((13, 13), 1, (42, 42), 0xf824_890b_869b_1a52),
    ];
    check(rule, Filter::Bilinear, &cases);
}

#[test]
fn slivers_are_refused_where_their_copies_would_be_huge() {
    let config = views(ViewRule::Middle { pad: None, shortest: 336, crop: Size::new(336, 336) }, Filter::Bicubic);
    assert!(matches!(config.plan(Size::new(1, 1 << 20)), Err(ImageError::TooLarge { .. })));
    assert!(matches!(config.plan(Size::new(0, 3)), Err(ImageError::Empty { .. })));
    // The reference fails where a side vanishes; it gets one patch.
    let native = views(ViewRule::Native { longest: 64 }, Filter::Bicubic);
    assert_eq!(native.plan(Size::new(4000, 30)).unwrap().views, [Size::new(64, 16)]);
}

#[test]
fn impossible_preparations_are_named() {
    type Read = fn(&Preprocessor, u32) -> Result<ViewsConfig, ImageError>;
    let cases: [(&str, Read, &str); 6] = [
        ("{}", ViewsConfig::middle, "size"),
        (r#"{"size": 9}"#, ViewsConfig::middle, "crop_size"),
        (
            r#"{"size": 9, "crop_size": 9, "image_grid_pinpoints": [[9, 10]]}"#,
            ViewsConfig::anyres,
            "image_grid_pinpoints",
        ),
        (r#"{"size": 9, "min_patches": 9, "max_patches": 2}"#, ViewsConfig::grid, "min_patches"),
        (
            r#"{"size": {"longest_edge": 9999}, "max_image_size": {"longest_edge": 1}}"#,
            ViewsConfig::split,
            "max_image_size",
        ),
        (r#"{"size": {"height": 4, "width": 5}}"#, ViewsConfig::canvas, "size"),
    ];
    for (json, read, name) in cases {
        let error = read(&Preprocessor::from_json(json.as_bytes()).unwrap(), 14).unwrap_err();
        assert!(matches!(error, ImageError::Field { field, .. } if field == name), "{json}: {error}");
    }
}
