//! From pixels to the rows that enter the decoder: a tower and a connector, whichever they are, and for systems that
//! look at a picture twice the tower of the second look.

use fovea_engine::{
    OpError, Recorder, Tensor,
    weights::{Scope, WeightError},
};

use super::{
    Eva, EvaConfig, EvaRope, EvaRopeConfig, GluAdapter, GluAdapterConfig, LatentQueries, LatentQueriesConfig,
    PatchMerger, PatchMergerConfig, Pixels, Projector, ProjectorConfig, QwenVit, QwenVitConfig, Sizes, TiledVit,
    TiledVitConfig, Vit, VitConfig,
    newline::lines,
    rows::{behind_first, join},
};
use crate::image::{PatchGrid, Tiling};

/// Sizes of a tower: what turns patches into features.
#[derive(Clone, Debug, PartialEq)]
pub enum TowerConfig {
    /// Qwen2-VL's and Qwen2.5-VL's.
    QwenVit(QwenVitConfig),
    /// EVA2-CLIP-E as CogVLM has it.
    Eva(EvaConfig),
    /// The pre-norm transformer: CLIP's, SigLIP's, InternViT, Pixtral's.
    Vit(Box<VitConfig>),
    /// Llama 3.2 Vision's, over all tiles of a picture at once.
    Tiled(Box<TiledVitConfig>),
}

impl TowerConfig {
    /// Width of its features.
    pub fn width(&self) -> usize {
        match self {
            Self::QwenVit(config) => config.hidden,
            Self::Eva(config) => config.hidden,
            Self::Vit(config) => config.layer.hidden,
            Self::Tiled(config) => config.width(),
        }
    }

    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        match self {
            Self::QwenVit(config) => config.sizes(),
            Self::Eva(config) => config.sizes(),
            Self::Vit(config) => config.sizes(),
            Self::Tiled(config) => config.sizes(),
        }
    }

    /// Tiles whose rows it yields, which may be more than there are.
    fn tiles(&self, tiling: &Tiling) -> usize {
        match self {
            Self::Tiled(config) => config.tiles,
            Self::QwenVit(_) | Self::Eva(_) | Self::Vit(_) => tiling.tiles(),
        }
    }

    /// Weights that are published and do not run.
    pub fn unused(&self) -> Sizes {
        match self {
            Self::QwenVit(_) | Self::Eva(_) | Self::Tiled(_) => Sizes::default(),
            Self::Vit(config) => config.unused(),
        }
    }

    fn flops(&self, views: &[PatchGrid]) -> u64 {
        let each = |of: &dyn Fn(PatchGrid) -> u64| views.iter().map(|&grid| of(grid)).sum();
        match self {
            Self::QwenVit(config) => each(&|grid| config.flops(grid)),
            Self::Eva(config) => each(&|grid| config.flops(grid)),
            Self::Vit(config) => each(&|grid| config.flops(grid)),
            Self::Tiled(config) => config.flops(),
        }
    }

    fn score_flops(&self, views: &[PatchGrid]) -> u64 {
        let each = |of: &dyn Fn(PatchGrid) -> u64| views.iter().map(|&grid| of(grid)).sum();
        match self {
            Self::QwenVit(config) => each(&|grid| config.score_flops(grid)),
            Self::Eva(config) => each(&|grid| config.score_flops(grid)),
            Self::Vit(config) => each(&|grid| config.score_flops(grid)),
            Self::Tiled(config) => config.score_flops(),
        }
    }
}

/// Sizes of a connector: what turns features into rows of the decoder.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectorConfig {
    /// Qwen's.
    PatchMerger(PatchMergerConfig),
    /// CogVLM's.
    GluAdapter(GluAdapterConfig),
    /// One or two projections.
    Projector(ProjectorConfig),
    /// Kosmos-2's.
    LatentQueries(LatentQueriesConfig),
}

impl ConnectorConfig {
    /// Width of the decoder.
    pub fn out(&self) -> usize {
        match self {
            Self::PatchMerger(config) => config.out,
            Self::GluAdapter(config) => config.out,
            Self::Projector(config) => config.out,
            Self::LatentQueries(config) => config.out,
        }
    }

    /// The grid of tokens that a grid of patches becomes; tokens that have no place are one row.
    pub fn grid(&self, patches: PatchGrid) -> PatchGrid {
        match self {
            Self::PatchMerger(config) => patches.merged(config.merge as u32),
            Self::GluAdapter(config) => patches.merged(config.merge()),
            Self::Projector(config) => patches.merged(config.merge as u32),
            Self::LatentQueries(config) => PatchGrid { time: 1, height: 1, width: config.latents as u32 },
        }
    }

    /// Rows before those of the grid, and behind them.
    pub fn edges(&self) -> (usize, usize) {
        match self {
            Self::PatchMerger(_) | Self::Projector(_) | Self::LatentQueries(_) => (0, 0),
            Self::GluAdapter(_) => (1, 1),
        }
    }

    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        match self {
            Self::PatchMerger(config) => config.sizes(),
            Self::GluAdapter(config) => config.sizes(),
            Self::Projector(config) => config.sizes(),
            Self::LatentQueries(config) => config.sizes(),
        }
    }
}

/// The part of a system that sees.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// From patches to features.
    pub tower: TowerConfig,
    /// The prefix of the tower's tensors.
    pub tower_at: &'static str,
    /// Whether the first row of each view, a class token's, does not go on to the connector.
    pub drop_class: bool,
    /// From features to rows of the decoder.
    pub connector: ConnectorConfig,
    /// The prefix of the connector's tensors.
    pub connector_at: &'static str,
    /// The learned row behind each line of tiles, where a picture is laid out so (LLaVA-NeXT).
    pub newline: Option<&'static str>,
    /// Whether layers of the decoder attend to the connector's rows, which do not enter it.
    pub apart: bool,
    /// The tower whose features every layer of the decoder attends to, and the prefix of its tensors.
    pub cross: Option<(EvaRopeConfig, &'static str)>,
}

impl VisionConfig {
    /// Of the views of a picture, those that the tower sees: all but what is for the cross tower.
    fn seen<'a, V>(&self, views: &'a [V]) -> &'a [V] {
        if self.cross.is_some() { views.get(..1).unwrap_or_default() } else { views }
    }

    /// The weights between tower and decoder.
    pub fn connector_sizes(&self) -> Sizes {
        self.connector.sizes().vector(usize::from(self.newline.is_some()), self.connector.out())
    }

    /// Rows of the prompt that a picture of these views becomes.
    pub fn tokens(&self, grids: &[PatchGrid], tiling: &Tiling) -> usize {
        if self.apart { 0 } else { self.rows(grids, tiling) }
    }

    /// Rows of the connector for these views.
    fn rows(&self, grids: &[PatchGrid], tiling: &Tiling) -> usize {
        let (before, behind) = self.connector.edges();
        match (self.newline, grids.first(), &self.tower) {
            (_, _, TowerConfig::Tiled(tower)) => tower.tiles * tower.tile_rows(),
            (Some(_), Some(&first), _) => lines(self.connector.grid(first), tiling).len(),
            _ => self.seen(grids).iter().map(|&grid| before + self.connector.grid(grid).patches() + behind).sum(),
        }
    }

    /// Rows that layers of the decoder attend to, for a picture of these views.
    pub fn cross_tokens(&self, grids: &[PatchGrid], tiling: &Tiling) -> usize {
        match &self.cross {
            Some(_) => grids.get(1).map_or(0, |grid| grid.patches()),
            None if self.apart => self.rows(grids, tiling),
            None => 0,
        }
    }

    /// What layers of the decoder attend to, and how many rows of it belong to tiles that show the picture.
    pub fn attended<'a>(&self, output: &'a VisionOutput, tiling: &Tiling) -> Option<(&'a Tensor, usize)> {
        match &output.cross {
            Some(features) => Some((features, features.rows_and_width().0)),
            None if self.apart => {
                let all = output.embeds.rows_and_width().0;
                Some((&output.embeds, all / self.tower.tiles(tiling) * tiling.tiles()))
            }
            None => None,
        }
    }

    /// The tokens of each view that the tower sees.
    pub fn token_grids(&self, grids: &[PatchGrid]) -> Vec<PatchGrid> {
        self.seen(grids).iter().map(|&grid| self.connector.grid(grid)).collect()
    }

    /// Floating-point operations for one picture of these views, a multiply-add counted as two.
    pub fn flops(&self, grids: &[PatchGrid]) -> u64 {
        let connector: u64 = match (&self.tower, &self.connector) {
            // The class token's features count as well.
            (_, ConnectorConfig::LatentQueries(config)) => {
                self.seen(grids).iter().map(|grid| config.flops(grid.patches() + 1)).sum()
            }
            (TowerConfig::Tiled(tower), config) => {
                2 * (tower.tiles * tower.tile_rows()) as u64 * config.sizes().products()
            }
            (_, config) => {
                let tokens: usize = self.token_grids(grids).iter().map(|grid| grid.patches()).sum();
                2 * tokens as u64 * config.sizes().products()
            }
        };
        let cross = self.cross.as_ref().zip(grids.get(1)).map_or(0, |((config, _), &grid)| config.flops(grid));
        self.tower.flops(self.seen(grids)) + connector + cross
    }

    /// Those of them that are scores of attention and sums by them.
    pub fn score_flops(&self, grids: &[PatchGrid]) -> u64 {
        let tower = self.tower.score_flops(self.seen(grids));
        tower + self.cross.as_ref().zip(grids.get(1)).map_or(0, |((config, _), &grid)| config.score_flops(grid))
    }
}

enum Tower {
    QwenVit(QwenVit),
    Eva(Eva),
    Vit(Box<Vit>),
    Tiled(Box<TiledVit>),
}

enum Connector {
    PatchMerger(Box<PatchMerger>),
    GluAdapter(Box<GluAdapter>),
    Projector(Box<Projector>),
    LatentQueries(Box<LatentQueries>),
}

/// What [`Vision::record`] yields.
pub struct VisionOutput {
    /// Features of each view, `[rows, width]`: a class token's first if the tower has one that goes so far.
    pub tower: Vec<Tensor>,
    /// What enters the decoder, `[tokens, out]`.
    pub embeds: Tensor,
    /// What the decoder's layers attend to, `[patches of the second view, width of its tower]`.
    pub cross: Option<Tensor>,
}

/// Weights of tower and connector.
pub struct Vision {
    config: VisionConfig,
    tower: Tower,
    connector: Connector,
    cross: Option<EvaRope>,
    newline: Option<Tensor>,
}

impl Vision {
    /// Loads both from their prefixes in `root`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(root: &Scope<'_>, config: VisionConfig) -> Result<Self, WeightError> {
        let (tower, connector) = (root.at(config.tower_at), root.at(config.connector_at));
        let out = config.connector.out();
        Ok(Self {
            config: config.clone(),
            tower: match config.tower {
                TowerConfig::QwenVit(config) => Tower::QwenVit(QwenVit::load(&tower, config).await?),
                TowerConfig::Eva(config) => Tower::Eva(Eva::load(&tower, config).await?),
                TowerConfig::Vit(config) => Tower::Vit(Box::new(Vit::load(&tower, *config).await?)),
                TowerConfig::Tiled(config) => Tower::Tiled(Box::new(TiledVit::load(&tower, *config).await?)),
            },
            connector: match config.connector {
                ConnectorConfig::PatchMerger(config) => {
                    Connector::PatchMerger(Box::new(PatchMerger::load(&connector, config).await?))
                }
                ConnectorConfig::GluAdapter(config) => {
                    Connector::GluAdapter(Box::new(GluAdapter::load(&connector, config).await?))
                }
                ConnectorConfig::Projector(config) => {
                    Connector::Projector(Box::new(Projector::load(&connector, config).await?))
                }
                ConnectorConfig::LatentQueries(config) => {
                    Connector::LatentQueries(Box::new(LatentQueries::load(&connector, config).await?))
                }
            },
            cross: match config.cross {
                Some((config, at)) => Some(EvaRope::load(&root.at(at), config).await?),
                None => None,
            },
            newline: match config.newline {
                Some(name) => Some(root.table(name, 1, out).await?),
                None => None,
            },
        })
    }

    /// Records what a picture becomes. All views are for the tower, each on its own, their rows one after the other; if
    /// there is a cross tower, the first is for the tower and the second for that one.
    ///
    /// # Errors
    /// [`OpError`] if pixels do not fit their grid; [`OpError::Value`] if a view is missing.
    pub fn record(&self, rec: &mut Recorder, views: &[Pixels], tiling: &Tiling) -> Result<VisionOutput, OpError> {
        let view = |index: usize| {
            views.get(index).ok_or_else(|| OpError::Value {
                op: "vision",
                what: "views of the picture",
                got: views.len().to_string(),
                expected: format!("at least {}", index + 1),
            })
        };
        let first = view(0)?;
        let seen = self.config.seen(views);
        let tower = match &self.tower {
            Tower::Tiled(tower) => tower.record(rec, seen, tiling)?,
            _ => seen.iter().map(|view| self.record_tower(rec, view)).collect::<Result<_, _>>()?,
        };
        let mut embeds = Vec::with_capacity(tower.len());
        for (index, features) in tower.iter().enumerate() {
            // Missing tiles are like the first.
            let grid = seen.get(index).unwrap_or(first).grid;
            let patches = if self.config.drop_class { behind_first(rec, features)? } else { features.clone() };
            embeds.push(match &self.connector {
                Connector::PatchMerger(connector) => connector.record(rec, &patches)?,
                Connector::GluAdapter(connector) => connector.record(rec, &patches, grid)?,
                Connector::Projector(connector) => connector.record(rec, &patches, grid)?,
                Connector::LatentQueries(connector) => connector.record(rec, &patches)?,
            });
        }
        let parts: Vec<&Tensor> = embeds.iter().chain(&self.newline).collect();
        let mut embeds = match parts.as_slice() {
            &[one] => one.clone(),
            several => join(rec, several)?,
        };
        if self.newline.is_some() {
            let learned = embeds.rows_and_width().0 - 1;
            let order = lines(self.config.connector.grid(first.grid), tiling);
            let order: Vec<u32> = order.iter().map(|row| row.unwrap_or(learned) as u32).collect();
            let rows = rec.gpu().upload("rows in lines", &[order.len()], &order)?;
            embeds = rec.gather_rows(&embeds, (&rows).into(), order.len())?;
        }
        let cross = match &self.cross {
            Some(tower) => Some(tower.record(rec, &view(1)?.values)?),
            None => None,
        };
        Ok(VisionOutput { tower, embeds, cross })
    }

    fn record_tower(&self, rec: &mut Recorder, view: &Pixels) -> Result<Tensor, OpError> {
        match &self.tower {
            Tower::QwenVit(tower) => tower.record(rec, &view.values, view.grid),
            Tower::Eva(tower) => tower.record(rec, &view.values),
            Tower::Vit(tower) => tower.record(rec, &view.values, view.grid),
            Tower::Tiled(_) => Err(OpError::Value {
                op: "vision",
                what: "views",
                got: "one".to_owned(),
                expected: "all tiles at once".to_owned(),
            }),
        }
    }
}
