//! From pixels to the rows that enter the decoder: a tower and a connector, whichever they are, and for systems that
//! look at a picture twice the tower of the second look.

use fovea_engine::{
    OpError, Recorder, Tensor,
    weights::{Scope, WeightError},
};

use super::{
    Eva, EvaConfig, EvaRope, EvaRopeConfig, GluAdapter, GluAdapterConfig, PatchMerger, PatchMergerConfig, QwenVit,
    QwenVitConfig, Sizes,
};
use crate::image::PatchGrid;

/// Sizes of a tower: what turns patches into features.
#[derive(Clone, Debug, PartialEq)]
pub enum TowerConfig {
    /// Qwen2-VL's and Qwen2.5-VL's.
    QwenVit(QwenVitConfig),
    /// EVA2-CLIP-E as CogVLM has it.
    Eva(EvaConfig),
}

impl TowerConfig {
    /// Width of its features.
    pub fn width(&self) -> usize {
        match self {
            Self::QwenVit(config) => config.hidden,
            Self::Eva(config) => config.hidden,
        }
    }

    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        match self {
            Self::QwenVit(config) => config.sizes(),
            Self::Eva(config) => config.sizes(),
        }
    }

    fn flops(&self, grid: PatchGrid) -> u64 {
        match self {
            Self::QwenVit(config) => config.flops(grid),
            Self::Eva(config) => config.flops(grid),
        }
    }

    fn score_flops(&self, grid: PatchGrid) -> u64 {
        match self {
            Self::QwenVit(config) => config.score_flops(grid),
            Self::Eva(config) => config.score_flops(grid),
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
}

impl ConnectorConfig {
    /// Width of the decoder.
    pub fn out(&self) -> usize {
        match self {
            Self::PatchMerger(config) => config.out,
            Self::GluAdapter(config) => config.out,
        }
    }

    /// The grid of tokens that a grid of patches becomes.
    pub fn grid(&self, patches: PatchGrid) -> PatchGrid {
        match self {
            Self::PatchMerger(config) => patches.merged(config.merge as u32),
            Self::GluAdapter(config) => patches.merged(config.merge()),
        }
    }

    /// Rows before those of the grid, and behind them.
    pub fn edges(&self) -> (usize, usize) {
        match self {
            Self::PatchMerger(_) => (0, 0),
            Self::GluAdapter(_) => (1, 1),
        }
    }

    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        match self {
            Self::PatchMerger(config) => config.sizes(),
            Self::GluAdapter(config) => config.sizes(),
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
    /// From features to rows of the decoder.
    pub connector: ConnectorConfig,
    /// The prefix of the connector's tensors.
    pub connector_at: &'static str,
    /// The tower whose features every layer of the decoder attends to, and the prefix of its tensors.
    pub cross: Option<(EvaRopeConfig, &'static str)>,
}

impl VisionConfig {
    /// Rows of the decoder that a picture becomes, from the grid of its first view.
    pub fn tokens(&self, grid: PatchGrid) -> usize {
        let (before, behind) = self.connector.edges();
        before + self.connector.grid(grid).patches() + behind
    }

    /// Floating-point operations for one picture of these views, a multiply-add counted as two.
    pub fn flops(&self, grids: &[PatchGrid]) -> u64 {
        let (Some(&first), second) = (grids.first(), grids.get(1)) else { return 0 };
        let connector = 2 * self.connector.grid(first).patches() as u64 * self.connector.sizes().products();
        let cross = match (&self.cross, second) {
            (Some((config, _)), Some(&grid)) => config.flops(grid),
            _ => 0,
        };
        self.tower.flops(first) + connector + cross
    }

    /// Those of them that are scores of attention and sums by them.
    pub fn score_flops(&self, grids: &[PatchGrid]) -> u64 {
        let first = grids.first().map_or(0, |&grid| self.tower.score_flops(grid));
        let cross = self.cross.as_ref().zip(grids.get(1)).map_or(0, |((config, _), &grid)| config.score_flops(grid));
        first + cross
    }
}

enum Tower {
    QwenVit(QwenVit),
    Eva(Eva),
}

enum Connector {
    PatchMerger(Box<PatchMerger>),
    GluAdapter(Box<GluAdapter>),
}

/// One view of a picture on the GPU.
pub struct Pixels {
    /// `[patches, 3 * temporal * patch * patch]`.
    pub values: Tensor,
    /// Where the patches are.
    pub grid: PatchGrid,
}

/// What [`Vision::record`] yields.
pub struct VisionOutput {
    /// Features, `[patches, width]`.
    pub tower: Tensor,
    /// What enters the decoder, `[tokens, out]`.
    pub embeds: Tensor,
    /// What the decoder's layers attend to, `[patches of the second view, width of its tower]`.
    pub cross: Option<Tensor>,
}

/// Weights of tower and connector.
pub struct Vision {
    tower: Tower,
    connector: Connector,
    cross: Option<EvaRope>,
}

impl Vision {
    /// Loads both from their prefixes in `root`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(root: &Scope<'_>, config: VisionConfig) -> Result<Self, WeightError> {
        let (tower, connector) = (root.at(config.tower_at), root.at(config.connector_at));
        Ok(Self {
            tower: match config.tower {
                TowerConfig::QwenVit(config) => Tower::QwenVit(QwenVit::load(&tower, config).await?),
                TowerConfig::Eva(config) => Tower::Eva(Eva::load(&tower, config).await?),
            },
            connector: match config.connector {
                ConnectorConfig::PatchMerger(config) => {
                    Connector::PatchMerger(Box::new(PatchMerger::load(&connector, config).await?))
                }
                ConnectorConfig::GluAdapter(config) => {
                    Connector::GluAdapter(Box::new(GluAdapter::load(&connector, config).await?))
                }
            },
            cross: match config.cross {
                Some((config, at)) => Some(EvaRope::load(&root.at(at), config).await?),
                None => None,
            },
        })
    }

    /// Records what a picture becomes: its views, the first for the tower, the second for the cross tower if there is
    /// one.
    ///
    /// # Errors
    /// [`OpError`] if pixels do not fit their grid; [`OpError::Value`] if a view is missing.
    pub fn record(&self, rec: &mut Recorder, views: &[Pixels]) -> Result<VisionOutput, OpError> {
        let view = |index: usize| {
            views.get(index).ok_or_else(|| OpError::Value {
                op: "vision",
                what: "views of the picture",
                got: views.len().to_string(),
                expected: format!("at least {}", index + 1),
            })
        };
        let first = view(0)?;
        let tower = match &self.tower {
            Tower::QwenVit(tower) => tower.record(rec, &first.values, first.grid)?,
            Tower::Eva(tower) => tower.record(rec, &first.values)?,
        };
        let embeds = match &self.connector {
            Connector::PatchMerger(connector) => connector.record(rec, &tower)?,
            Connector::GluAdapter(connector) => connector.record(rec, &tower, first.grid)?,
        };
        let cross = match &self.cross {
            Some(tower) => Some(tower.record(rec, &view(1)?.values)?),
            None => None,
        };
        Ok(VisionOutput { tower, embeds, cross })
    }
}
