//! What ends the program early, and with which exit code.

use std::{fmt, io, path::Path, process::ExitCode};

use fovea_engine::{GpuError, OpError, text::TextError, weights::WeightError};
use fovea_models::{LoadError, RunError, grounding::GroundingError, image::ImageError};

use crate::standard_input::is_standard_input;

/// A command's result.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Whose fault it was; the discriminant is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A defect of this program.
    Defect = 1,
    /// How it was called.
    Usage = 2,
    /// A file that it was to read or write.
    Input = 3,
    /// The model's files.
    Model = 4,
    /// The GPU.
    Gpu = 5,
    /// What the model answered cannot be read.
    Answer = 6,
    /// The model answered that what the instruction names is not on the screen.
    NotFound = 7,
}

/// Why a command did not finish.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads the output any more.
    BrokenPipe,
    /// The output says it already.
    Printed(Kind),
    /// An error message.
    Message {
        /// Decides the exit code.
        kind: Kind,
        /// Names the file, the tensor or the field.
        message: String,
    },
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self::Message { kind, message: message.to_string() }
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A file that was handed over, and what is wrong with it.
    pub(crate) fn file(path: &Path, reason: impl fmt::Display) -> Self {
        match is_standard_input(path) {
            true => Self::new(Kind::Input, format_args!("standard input: {reason}")),
            false => Self::new(Kind::Input, format_args!("{}: {reason}", path.display())),
        }
    }

    /// A checkpoint that cannot be loaded.
    pub(crate) fn load(model: &impl fmt::Display, error: LoadError) -> Self {
        let kind = match &error {
            LoadError::Gpu(_) | LoadError::Weight(WeightError::Gpu(_)) => Kind::Gpu,
            _ => Kind::Model,
        };
        Self::new(kind, format_args!("model {model}: {error}"))
    }

    /// A picture that cannot be read or does not suit the model.
    pub(crate) fn picture(path: &Path, error: &ImageError) -> Self {
        Self::file(path, error)
    }

    /// What it is about; a closed pipe is no failure.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Self::BrokenPipe => None,
            Self::Printed(kind) | Self::Message { kind, .. } => Some(*kind),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        self.kind().map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind as u8))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenPipe => f.write_str("nobody reads the output"),
            Self::Printed(kind) => write!(f, "{kind:?}"),
            Self::Message { message, .. } => f.write_str(message),
        }
    }
}

impl From<io::Error> for Failure {
    /// An error of standard output: everything else names its file.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::new(Kind::Input, format_args!("standard output: {error}")),
        }
    }
}

/// What to do where there is no GPU.
pub(crate) const NO_GPU: &str = "a driver for Vulkan, Metal or DX12 is needed; on Debian and Ubuntu, `apt-get install \
                                 mesa-vulkan-drivers` installs one for GPUs and one that runs on the processor";

impl From<GpuError> for Failure {
    fn from(error: GpuError) -> Self {
        match &error {
            // An adapter that was asked for by name may be misspelt: the message lists those there are.
            GpuError::NoAdapter { found, .. } if found == "none" => {
                Self::new(Kind::Gpu, format_args!("no GPU adapter: {NO_GPU}"))
            }
            _ => Self::new(Kind::Gpu, error),
        }
    }
}

impl From<OpError> for Failure {
    fn from(error: OpError) -> Self {
        let kind = if matches!(error, OpError::Gpu(_)) { Kind::Gpu } else { Kind::Defect };
        Self::new(kind, error)
    }
}

impl From<WeightError> for Failure {
    fn from(error: WeightError) -> Self {
        let kind = if matches!(error, WeightError::Gpu(_)) { Kind::Gpu } else { Kind::Model };
        Self::new(kind, error)
    }
}

impl From<TextError> for Failure {
    fn from(error: TextError) -> Self {
        let kind = if matches!(error, TextError::Message { .. }) { Kind::Input } else { Kind::Model };
        Self::new(kind, error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let kind = match &error {
            RunError::Image(_)
            | RunError::Prompt(_)
            | RunError::Text(TextError::Message { .. })
            | RunError::TooLong { .. }
            | RunError::Pixels { .. } => Kind::Input,
            RunError::GroundsOnly => Kind::Usage,
            RunError::Text(_) | RunError::Token { .. } | RunError::Constraint(_) => Kind::Model,
            RunError::Gpu(_) | RunError::Op(OpError::Gpu(_)) => Kind::Gpu,
            _ => Kind::Defect,
        };
        Self::new(kind, error)
    }
}

impl From<GroundingError> for Failure {
    /// The error itself shows the beginning of the answer; a long one is shown whole.
    fn from(error: GroundingError) -> Self {
        let whole = match error.text().chars().nth(200) {
            Some(_) => format!("\nthe whole answer: {:?}", error.text()),
            None => String::new(),
        };
        let advice = match error {
            GroundingError::Unfinished { .. } => " (--max-tokens)",
            _ => "",
        };
        Self::new(Kind::Answer, format_args!("{error}{advice}{whole}"))
    }
}
