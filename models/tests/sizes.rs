//! Sizes of the published systems, from configurations that the specification gives (`configs`), without weights.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
};

use fovea_engine::weights::{Format, Policy};
use fovea_models::{Blueprint, Files, blocks::Angles, image::Size};

const SCREEN: Size = Size::new(1280, 800);

const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/configs");

fn config(system: &str) -> String {
    format!("{CONFIGS}/{system}.json")
}

/// The configurations: each system's own, and behind it those of other sizes, named `system-size`.
fn configs() -> Vec<String> {
    let files = std::fs::read_dir(CONFIGS).expect("the configurations").filter_map(Result::ok);
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    let all: BTreeSet<String> =
        names.filter_map(|name| name.strip_suffix(".json").filter(|it| !it.contains('.')).map(str::to_owned)).collect();
    let of = |system: &'static str| all.iter().filter(move |name| name.split('-').next() == Some(system));
    fovea_models::systems::names().flat_map(of).cloned().collect()
}

fn blueprint(system: &str) -> Blueprint {
    let path = config(system);
    let config = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut files = BTreeMap::from([("config.json".to_owned(), config)]);
    if let Ok(preprocessor) = std::fs::read(path.replace(".json", ".preprocessor.json")) {
        files.insert("preprocessor_config.json".to_owned(), preprocessor);
    }
    let blueprint = Blueprint::read(Files(&files)).expect("a system");
    assert_eq!(Some(blueprint.name), system.split('-').next());
    blueprint
}

fn parameters(system: &str) -> (u64, BTreeMap<&'static str, u64>) {
    let parts = blueprint(system).parameters();
    (parts.iter().map(|(_, count)| count).sum(), parts.into_iter().collect())
}

#[test]
fn parameters_are_those_of_the_published_checkpoints() {
    let (total, parts) = parameters("cogagent_9b");
    assert_eq!(total, 13_906_320_896);
    assert_eq!(parts["decoder"], 8_158_437_376);
    assert_eq!((parts["embedding"], parts["head"]), (620_756_992, 620_756_992));
    assert_eq!(parts["vision tower"] + parts["connector"], 4_506_369_536);
    assert_eq!(parameters("glm_4v_9b").0, 13_906_320_896);
    assert_eq!(parameters("cogvlm_17b").0, 17_639_685_376);

    let (total, parts) = parameters("cogvlm2");
    assert_eq!(total, 19_503_105_280);
    assert_eq!(parts["vision tower"] + parts["connector"], 4_493_325_568);
    assert_eq!(parts["visual experts"], 6_979_518_464);

    let (total, parts) = parameters("cogagent_18b");
    assert_eq!(total, 18_291_033_280);
    assert_eq!(parts["vision tower"] + parts["connector"], 4_423_986_688);
    assert_eq!(parts["cross tower"] + parts["unused"], 316_950_208);
    assert_eq!(parts["visual experts"], 6_476_005_376);
    // The specification counts the cross attention's norms with the language.
    assert_eq!(parts["cross attention"], 335_544_320 + 32 * 4096);

    let (total, parts) = parameters("kosmos2");
    assert_eq!(total, 1_664_485_376);
    assert_eq!(parts["decoder"] + parts["embedding"], 1_342_289_920);
    // The specification counts the norm behind the tower with it.
    assert_eq!((parts["vision tower"], parts["connector"]), (303_179_776 - 2048, 19_015_680 + 2048));
}

/// Counted by the reference: the elements of all parameters of the class of transformers 4.57.1 that the configuration
/// names, built without weights. Hugging Face shows 3.03, 12.7, 0.94, 7.94, 38.4, 8.46, 2.25 and 0.256 * 10^9 for those from
/// PaliGemma 2 on.
#[test]
fn parameters_of_the_second_wave() {
    for (system, total) in [
        ("llava", 7_063_427_072u64),
        ("llava_next", 7_566_747_648),
        ("mllama", 10_670_220_835),
        ("paligemma", 2_924_351_216),
        ("qwen2_vl", 2_208_985_600),
        ("qwen2_5_vl", 3_754_622_976),
        ("paligemma-2", 3_033_127_152),
        ("pixtral", 12_682_739_712),
        ("internvl", 938_193_024),
        ("internvl-8b", 7_944_373_760),
        ("internvl-38b", 38_388_164_992),
        ("idefics3", 8_462_086_384),
        ("idefics3-smolvlm", 2_246_272_880),
        ("idefics3-smolvlm-256m", 256_484_928),
    ] {
        assert_eq!(parameters(system).0, total, "{system}");
    }
}

#[test]
fn pictures_have_as_many_tokens_as_published() {
    for (system, tokens, cross) in [
        ("glm_4v_9b", 1602, 0),
        ("cogagent_9b", 1602, 0),
        ("cogvlm_17b", 1227, 0),
        ("cogvlm2", 2306, 0),
        ("cogagent_18b", 258, 6400),
        ("kosmos2", 64, 0),
    ] {
        let blueprint = blueprint(system);
        assert_eq!(blueprint.image_tokens(SCREEN).expect("a size"), tokens, "{system}");
        assert_eq!(blueprint.cross_tokens(SCREEN).expect("a size"), cross, "{system}");
    }
    let tokens =
        |system: &str, width, height| blueprint(system).image_tokens(Size::new(width, height)).expect("a size");
    assert_eq!(tokens("llava", 1280, 800), 576);
    // The whole, and four tiles with a learned row behind each line.
    assert_eq!(tokens("llava_next", 672, 672), 576 + 2304 + 48);
    // Without the tokens behind lines.
    assert_eq!(tokens("pixtral", 1024, 1024), 4096);
    assert_eq!((tokens("internvl", 448, 448), tokens("internvl", 4000, 3000)), (256, 13 * 256));
    assert_eq!(tokens("idefics3", 1456, 1456), 17 * 169);
    assert_eq!(tokens("paligemma", 1280, 800), 1024);
    let llama = blueprint("mllama");
    assert_eq!((llama.image_tokens(SCREEN).expect("a size"), llama.cross_tokens(SCREEN).expect("a size")), (0, 6404));
    let agent = blueprint("cogagent_18b").decoder;
    assert_eq!(agent.cross_kv_bytes(6400, Policy::q4().cross), 838_860_800);
    assert_eq!(agent.cross_kv_bytes(6400, Policy::uniform(Format::F32).cross), 2 * 838_860_800);
    assert_eq!(blueprint("cogagent_9b").decoder.kv_bytes(), 80 << 10);
}

/// Not by default: the reference's own f32 run is what is compared with.
#[test]
fn rotary_angles_may_be_those_of_bf16() {
    let angles = |wanted: Option<&str>| {
        let path = format!("{}/tests/configs/cogvlm2.json", env!("CARGO_MANIFEST_DIR"));
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
        if let Some(wanted) = wanted {
            config["fovea_rotary_angles"] = wanted.into();
        }
        let files = BTreeMap::from([("config.json".to_owned(), config.to_string().into_bytes())]);
        Blueprint::read(Files(&files)).map(|blueprint| blueprint.decoder.rotary.angles)
    };
    assert_eq!(angles(None).expect("a system"), Angles::F32);
    assert_eq!(angles(Some("bf16")).expect("a system"), Angles::Bf16);
    let error = angles(Some("f8")).expect_err("no such numbers").to_string();
    assert!(error.contains("config.json") && error.contains("f8"), "{error}");
}

/// "Less than half of CogVLM-17B's", says CogAgent's paper: without the attention's scores.
#[test]
fn cogagent_at_1120_costs_half_of_cogvlm_at_490() {
    let cost = |system: &str, text: usize| {
        let blueprint = blueprint(system);
        let (encode, prefill) = blueprint.flops(SCREEN, text).expect("a size");
        let scores = blueprint.score_flops(SCREEN, text).expect("a size");
        ((encode + prefill) as f64, (encode + prefill - scores) as f64)
    };
    for (text, with, without) in [(0, 0.513, 0.386), (64, 0.529, 0.406)] {
        let (agent, vlm) = (cost("cogagent_18b", text), cost("cogvlm_17b", text));
        assert!((agent.0 / vlm.0 - with).abs() < 0.01, "{text}: {} with scores", agent.0 / vlm.0);
        assert!((agent.1 / vlm.1 - without).abs() < 0.01, "{text}: {} without", agent.1 / vlm.1);
    }
}

/// Pictures whose tokens the table tells.
const PICTURES: [Size; 4] = [Size::new(336, 336), Size::new(1280, 800), Size::new(1920, 1080), Size::new(800, 3000)];

/// A system's row: parameters, and tokens of a prompt for each picture; behind a plus sign, features that layers attend
/// to.
fn row(system: &str) -> String {
    let blueprint = blueprint(system);
    let billions = parameters(system).0 as f64 / 1e9;
    let tokens = PICTURES.map(|size| match (blueprint.image_tokens(size), blueprint.cross_tokens(size)) {
        (Ok(tokens), Ok(0)) => tokens.to_string(),
        (Ok(tokens), Ok(cross)) => format!("{tokens} + {cross}"),
        _ => "-".to_owned(),
    });
    format!("| `{system}` | {billions:.2} | {} |", tokens.join(" | "))
}

/// `docs/systems.md` is what this test makes of the configurations; with `FOVEA_WRITE_DOCS` set it writes the file.
#[test]
fn the_table_of_systems_is_current() {
    let mut text = String::from(
        "# Systems\n\n\
         What runs, and how many tokens of a prompt a picture of each size takes; behind a plus sign, features that layers of\n\
         the decoder attend to besides. Parameters are those of the configurations in `models/tests/configs`, in 10^9; behind\n\
         a hyphen, another size of the same system. Every system is compared, stage by stage, with a fixture: a small\n\
         checkpoint with random weights in the published format and what the reference implementation makes of it, on Mesa's\n\
         lavapipe and on SwiftShader (`models/tests/golden.rs`).\n\n\
         This file is written by `FOVEA_WRITE_DOCS=1 cargo test -p fovea-models --test sizes`.\n\n",
    );
    let heads: Vec<String> = PICTURES.iter().map(|size| format!("{} x {}", size.width, size.height)).collect();
    let _ = writeln!(text, "| system | parameters | {} |", heads.join(" | "));
    let _ = writeln!(text, "| --- | {}", "---: | ".repeat(1 + PICTURES.len()).trim_end());
    for name in configs() {
        let _ = writeln!(text, "{}", row(&name));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/systems.md");
    if std::env::var_os("FOVEA_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).expect("the file can be written");
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == text, "docs/systems.md is not current: set FOVEA_WRITE_DOCS=1 and run this test");
}
