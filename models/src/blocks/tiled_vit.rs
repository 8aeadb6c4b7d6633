//! Llama 3.2 Vision's tower: a vision transformer over the tiles of a picture at once.
//!
//! Each tile's patches get a row by its place on the canvas, a class token, and positions that belong to the canvas;
//! tiles that a canvas lacks are there all the same, as zeros. Rows of tiles that are there see all others, those of
//! missing tiles and of padding see only them (the reference's mask forbids only what is missing on both sides). Behind
//! the layers another row by place, then layers whose branches are gated; the features of some earlier layers are joined
//! to theirs, in turn. Source: `MllamaVisionModel` of `modeling_mllama.py`, transformers 4.57.1.

use fovea_engine::{
    OpError, Recorder, Tensor,
    op::{Activation, Mask, Placed, Ranges},
    weights::{Scope, TensorClass, WeightError},
};

use super::{
    LayerConfig, LayerNames, Norm, Pixels, Scales, Sizes,
    parts::{Linear, NormWeights},
    rows::{iota, join},
    sizes::full_score_flops,
    vit::{Layer, Surroundings},
};
use crate::image::Tiling;

/// Added to the variances of the norms around the layers: the reference's default, whatever the configuration says.
const OUTER_EPS: f32 = 1e-5;

/// The rows of a tile are padded to a multiple of this.
const ROWS_STEP: usize = 8;

/// Sizes of the tower.
#[derive(Clone, Debug, PartialEq)]
pub struct TiledVitConfig {
    /// What the layers have in common.
    pub layer: LayerConfig,
    /// Layers.
    pub depth: usize,
    /// Gated layers behind them.
    pub global: usize,
    /// The layers whose outputs are joined to the last one's.
    pub intermediate: Vec<usize>,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Patches of a side of a tile.
    pub side: usize,
    /// Most tiles.
    pub tiles: usize,
    /// Canvases by their rows and columns of tiles, in the order of the learned rows.
    pub canvases: Vec<[u32; 2]>,
}

impl TiledVitConfig {
    /// Width of the features: those of the last layer and of the intermediate ones.
    pub fn width(&self) -> usize {
        self.layer.hidden * (1 + self.intermediate.len())
    }

    /// Rows of a tile: its class token's and its patches'.
    pub fn tile_rows(&self) -> usize {
        1 + self.side * self.side
    }

    fn padding(&self) -> usize {
        self.tile_rows().next_multiple_of(ROWS_STEP) - self.tile_rows()
    }

    fn rows(&self) -> usize {
        self.tiles * (self.tile_rows() + self.padding())
    }

    fn gated(&self) -> LayerConfig {
        LayerConfig { scales: Scales::Gate, ..self.layer }
    }

    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        let (hidden, tables) = (self.layer.hidden, self.canvases.len() + 1);
        Sizes::default()
            .matrix(TensorClass::Vision, 1, hidden, 3 * self.patch * self.patch)
            .vector(1 + self.tile_rows() + tables * self.tiles * (2 + self.tile_rows()), hidden)
            .vector(3, 1)
            .and(Norm::Layer.sizes(2, hidden))
            .and(self.layer.sizes(self.depth))
            .and(self.gated().sizes(self.global))
    }

    /// Floating-point operations for one picture, a multiply-add counted as two: all tiles run, there or not.
    pub fn flops(&self) -> u64 {
        let layers = self.layer.sizes(self.depth + self.global).products();
        2 * self.rows() as u64 * layers + self.score_flops()
    }

    /// Those of them that are scores of attention and sums by them.
    pub fn score_flops(&self) -> u64 {
        full_score_flops(self.depth + self.global, self.layer.hidden, self.rows())
    }
}

/// What is added by a tile's place on a canvas.
struct Canvas {
    /// To patches, `[tiles, hidden]`.
    before: Tensor,
    /// To all rows of all tiles, `[tiles * tile_rows, hidden]`.
    positions: Tensor,
    /// Behind the layers, `[tiles, hidden]`.
    behind: Tensor,
}

/// The tower's weights.
pub struct TiledVit {
    config: TiledVitConfig,
    patch_embed: Linear,
    class_token: Tensor,
    canvases: Vec<Canvas>,
    pre_norm: NormWeights,
    layers: Vec<Layer>,
    post_norm: NormWeights,
    global: Vec<Layer>,
}

impl TiledVit {
    /// Loads the tower from the names under `at`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(at: &Scope<'_>, config: TiledVitConfig) -> Result<Self, WeightError> {
        let (hidden, patch) = (config.layer.hidden, config.patch);
        let norm = async |name: &str| NormWeights::load(&at.at(name), Norm::Layer, hidden, OUTER_EPS).await;
        let stack = async |prefix: &str, count: usize, config: &LayerConfig| {
            let mut layers = Vec::with_capacity(count.min(1024));
            for index in 0..count {
                layers.push(Layer::load(&at.at(&format!("{prefix}.{index}")), LayerNames::MLLAMA, config).await?);
            }
            Ok::<_, WeightError>(layers)
        };
        let shape = [hidden, 3, patch, patch];
        Ok(Self {
            patch_embed: Linear::shaped(at, &["patch_embedding"], &shape, false, TensorClass::Vision).await?,
            class_token: at.table("class_embedding", 1, hidden).await?,
            canvases: canvases(at, &config).await?,
            pre_norm: norm("layernorm_pre").await?,
            layers: stack("transformer.layers", config.depth, &config.layer).await?,
            post_norm: norm("layernorm_post").await?,
            global: stack("global_transformer.layers", config.global, &config.gated()).await?,
            config,
        })
    }

    /// Records the tower for the tiles of one picture, each `[patches, 3 * patch * patch]` in raster order, to
    /// `[tile_rows, width]` for each tile, missing ones too: the class token's row first.
    ///
    /// # Errors
    /// [`OpError::Value`] for a canvas that is not among the learned ones; [`OpError`] if tiles do not fit.
    pub fn record(&self, rec: &mut Recorder, views: &[Pixels], tiling: &Tiling) -> Result<Vec<Tensor>, OpError> {
        let config = &self.config;
        let wanted = [tiling.rows, tiling.columns];
        let place = config.canvases.iter().position(|&canvas| canvas == wanted);
        let canvas = place.and_then(|place| self.canvases.get(place)).filter(|_| views.len() == tiling.tiles());
        let Some(canvas) = canvas.filter(|_| (1..=config.tiles).contains(&views.len())) else {
            return Err(OpError::Value {
                op: "vision",
                what: "rows and columns of tiles",
                got: format!("{wanted:?}"),
                expected: format!("one of {:?}", config.canvases),
            });
        };
        let (tiles, each, padding) = (config.tiles, config.tile_rows(), config.padding());
        let x = self.record_rows(rec, views, canvas)?;
        let x = self.pre_norm.record(rec, &x)?;
        let gpu = rec.gpu().clone();
        let mut x = match tiles * padding {
            0 => x,
            rows => {
                let width = config.layer.hidden;
                let zeros = gpu.upload("padding", &[rows, width], &vec![0.0f32; rows * width])?;
                join(rec, &[&x, &zeros])?
            }
        };
        let (all, seen) = (config.rows(), views.len() * each);
        let ranges: Vec<_> = (0..all).map(|row| 0..if row < seen { all } else { seen } as u32).collect();
        let ranges = Ranges::new(&gpu, &ranges)?;
        let around = Surroundings { mask: Mask::Ranges(&ranges), rope: None };
        let mut kept = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.record(rec, &x, around)?;
            if config.intermediate.contains(&index) {
                kept.push(x.clone());
            }
        }
        x = self.post_norm.record(rec, &x)?;
        let owners =
            (0..tiles * each).map(|row| row / each).chain((0..tiles * padding).map(|row| row / padding.max(1)));
        let owners: Vec<u32> = owners.map(|tile| tile as u32).collect();
        let owners = gpu.upload("tiles of rows", &[all], &owners)?;
        let behind = rec.gather_rows(&canvas.behind, (&owners).into(), all)?;
        x = rec.add(&x, &behind)?;
        for layer in &self.global {
            x = layer.record(rec, &x, around)?;
        }
        (0..tiles).map(|tile| self.record_tile(rec, tile, &x, &kept)).collect()
    }

    /// The rows of all tiles before the first norm, `[tiles * tile_rows, hidden]`.
    fn record_rows(&self, rec: &mut Recorder, views: &[Pixels], canvas: &Canvas) -> Result<Tensor, OpError> {
        let (tiles, each) = (self.config.tiles, self.config.tile_rows());
        let patches = each - 1;
        let mut parts = Vec::with_capacity(tiles);
        for view in views {
            parts.push(self.patch_embed.record(rec, &view.values, Activation::None, None)?);
        }
        if let (Some(first), true) = (parts.first(), views.len() < tiles) {
            let missing = rec.scale(first, 0.0)?;
            parts.resize(tiles, missing);
        }
        let x = join(rec, &parts.iter().collect::<Vec<_>>())?;
        let gpu = rec.gpu().clone();
        let rows = |rows: Vec<u32>| gpu.upload("rows of tiles", &[rows.len()], &rows);
        let owners = rows((0..tiles * patches).map(|row| (row / patches) as u32).collect())?;
        let before = rec.gather_rows(&canvas.before, (&owners).into(), tiles * patches)?;
        let x = rec.add(&x, &before)?;
        let classes = rec.gather_rows(&self.class_token, (&rows(vec![0; tiles])?).into(), tiles)?;
        let class_places = rows((0..tiles).map(|tile| (tile * each) as u32).collect())?;
        let place = |row: usize| row / patches * each + 1 + row % patches;
        let patch_places = rows((0..tiles * patches).map(|row| place(row) as u32).collect())?;
        let x = rec.assemble_rows(&[(&classes, &class_places), (&x, &patch_places)])?;
        rec.add(&x, &canvas.positions)
    }

    /// A tile's features, `[tile_rows, width]`: the last layer's, then the kept ones' in turn.
    fn record_tile(&self, rec: &mut Recorder, tile: usize, x: &Tensor, kept: &[Tensor]) -> Result<Tensor, OpError> {
        let (each, hidden) = (self.config.tile_rows(), self.config.layer.hidden);
        let rows = iota(rec.gpu(), tile * each, each)?;
        let last = rec.gather_rows(x, (&rows).into(), each)?;
        let kept: Vec<Tensor> =
            kept.iter().map(|it| rec.gather_rows(it, (&rows).into(), each)).collect::<Result<_, _>>()?;
        let turns = kept.iter().enumerate().map(|(turn, x)| Placed { x, start: hidden + turn, step: kept.len() });
        rec.assemble_columns(&std::iter::once(Placed { x: &last, start: 0, step: 1 }).chain(turns).collect::<Vec<_>>())
    }
}

/// The learned rows of every canvas, times their gates. The first row of each table is for no picture.
async fn canvases(at: &Scope<'_>, config: &TiledVitConfig) -> Result<Vec<Canvas>, WeightError> {
    let (hidden, tiles, rows) = (config.layer.hidden, config.tiles, config.tile_rows());
    let positions = at.at("gated_positional_embedding");
    let places = [at.at("pre_tile_positional_embedding"), at.at("post_tile_positional_embedding")];
    let gate = async |at: &Scope<'_>| {
        Ok::<f32, WeightError>(at.numbers("gate", &[1]).await?.first().map_or(0.0, |gate| gate.tanh()))
    };
    let own = positions.numbers("embedding", &[rows, hidden]).await?;
    let own_gate = gate(&positions).await?;
    let tables = config.canvases.len() + 1;
    let mut canvases = Vec::with_capacity(config.canvases.len());
    for index in 1..tables {
        let mut table = positions.row("tile_embedding.weight", &[tables, tiles * rows * hidden], index).await?;
        for (value, own) in table.iter_mut().zip(own.iter().cycle()) {
            *value = (1.0 - own_gate) * own + own_gate * *value;
        }
        let mut by_place = Vec::with_capacity(2);
        for at in &places {
            let gate = gate(at).await?;
            let row = at.row("embedding.weight", &[tables, tiles * hidden], index).await?;
            let row: Vec<f32> = row.into_iter().map(|value| gate * value).collect();
            by_place.push(at.gpu().upload("rows by place", &[tiles, hidden], &row)?);
        }
        let positions = at.gpu().upload("positions of tiles", &[tiles * rows, hidden], &table)?;
        if let Ok([before, behind]) = <[Tensor; 2]>::try_from(by_place) {
            canvases.push(Canvas { before, positions, behind });
        }
    }
    Ok(canvases)
}
