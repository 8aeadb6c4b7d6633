//! Sizes of the published systems, from configurations that the specification gives (`configs`), without weights.

use std::collections::BTreeMap;

use fovea_models::{Blueprint, Files, image::Size};

const SCREEN: Size = Size::new(1280, 800);

fn blueprint(system: &str) -> Blueprint {
    let path = format!("{}/tests/configs/{system}.json", env!("CARGO_MANIFEST_DIR"));
    let config = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let files = BTreeMap::from([("config.json".to_owned(), config)]);
    let blueprint = Blueprint::read(Files(&files)).expect("a system");
    assert_eq!(blueprint.name, system);
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
}

#[test]
fn pictures_have_as_many_tokens_as_published() {
    for (system, tokens, cross) in [
        ("glm_4v_9b", 1602, 0),
        ("cogagent_9b", 1602, 0),
        ("cogvlm_17b", 1227, 0),
        ("cogvlm2", 2306, 0),
        ("cogagent_18b", 258, 6400),
    ] {
        let blueprint = blueprint(system);
        assert_eq!(blueprint.image_tokens(SCREEN).expect("a size"), tokens, "{system}");
        assert_eq!(blueprint.cross_tokens(SCREEN).expect("a size"), cross, "{system}");
    }
    // 839 MB in f16; here in f32.
    let agent = blueprint("cogagent_18b");
    assert_eq!(agent.decoder.cross_kv_bytes(6400), 2 * 838_860_800);
    assert_eq!(blueprint("cogagent_9b").decoder.kv_bytes(), 80 << 10);
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
