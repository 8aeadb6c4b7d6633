//! Grounds instructions in page screenshots with local vision-language models.

mod commands;
mod directory;
mod failure;
mod model;
mod output;
mod picture;
mod progress;
mod prompt;

use std::{io::Write, process::ExitCode};

use anstyle::{AnsiColor, Style};
use clap::{Parser, Subcommand};

use crate::{
    failure::{Failure, Outcome},
    model::{GpuArguments, ModelArguments},
    output::Output,
};

/// Grounds instructions in page screenshots with local vision-language models.
///
/// Exit codes: 0 done, 1 defect, 2 wrong usage, 3 input or output file, 4 model files, 5 GPU, 6 malformed answer.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// What all commands share.
#[derive(clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) gpu: GpuArguments,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Find where to carry out an instruction on a screenshot.
    Ground(commands::ground::Arguments),
    /// Answer a prompt, with or without pictures.
    Generate(commands::generate::Arguments),
    /// Write what every stage of a model computes, for comparison with a reference.
    Dump(commands::dump::Arguments),
    /// Tell how likely given continuations of a prompt are.
    Score(commands::score::Arguments),
    /// Measure the accuracy on screenshots with known targets.
    Eval(commands::eval::Arguments),
    /// Show a model's sizes without loading its weights.
    Inspect(commands::inspect::Arguments),
    /// Time the engine's ops and the model's stages.
    Bench(commands::bench::Arguments),
    /// List the GPU adapters.
    Devices,
}

fn main() -> ExitCode {
    let Cli { command, common } = Cli::parse();
    let mut output = Output::new(common.json);
    match run(command, &common, &mut output).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            failure.exit_code()
        }
    }
}

fn run(command: Command, common: &Common, output: &mut Output) -> Outcome {
    match command {
        Command::Ground(arguments) => commands::ground::run(&arguments, common, output),
        Command::Generate(arguments) => commands::generate::run(&arguments, common, output),
        Command::Dump(arguments) => commands::dump::run(&arguments, common, output),
        Command::Score(arguments) => commands::score::run(&arguments, common, output),
        Command::Eval(arguments) => commands::eval::run(&arguments, common, output),
        Command::Inspect(arguments) => commands::inspect::run(&arguments, common, output),
        Command::Bench(arguments) => commands::bench::run(&arguments, common, output),
        Command::Devices => commands::devices::run(output),
    }
}

fn report(failure: &Failure) {
    if let Failure::Told { message, .. } = failure {
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        // Nothing can be done where standard error is closed as well.
        let _ = writeln!(anstream::stderr(), "{red}error:{red:#} {message}");
    }
}
