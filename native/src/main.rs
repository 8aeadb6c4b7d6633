//! Grounds instructions in page screenshots with local vision-language models.

mod commands;
mod directory;
mod failure;
mod input;
mod json;
mod model;
mod output;
mod picture;
mod progress;
mod prompt;
mod room;

use std::{env, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    failure::{Failure, Outcome},
    model::{GpuArguments, ModelArguments},
    output::Output,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a defect of this program or its driver
  2  wrong usage
  3  an input or output file; a prompt that does not fit the model's context
  4  the model's files
  5  no GPU, or one that failed
  6  the model's answer cannot be read
  7  the model answers that what was asked for is not on the screen
With several instructions, 3 or 6 of the first that fails, else 7 if one is not found.";

const EXAMPLES: &str = "\
Examples:
  fovea ground page.png \"Click Sign in\"
  fovea ground --json page.png \"Click Sign in\" \"Type anna into User name\"
  fovea generate --model ./Qwen2-VL-2B-Instruct --image page.png \"What is this page about?\"
  fovea inspect ./Qwen2-VL-2B-Instruct
  fovea devices";

/// Grounds instructions in page screenshots with local vision-language models.
///
/// Results go to standard output, everything else to standard error. `-` in place of a file or a text reads standard
/// input.
#[derive(Parser)]
#[command(name = "fovea", version = env!("FOVEA_VERSION"), max_term_width = 100)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
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
    /// Print JSON, whose fields docs/json.md describes.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Find where to carry out instructions on a screenshot.
    Ground(commands::ground::Arguments),
    /// Answer a prompt, with or without pictures.
    Generate(commands::generate::Arguments),
    /// Print how likely given continuations of a prompt are.
    Score(commands::score::Arguments),
    /// Measure the accuracy on screenshots with known targets.
    Eval(commands::eval::Arguments),
    /// Show a model's sizes without loading its weights.
    Inspect(commands::inspect::Arguments),
    /// Time the engine's ops and the model's stages.
    Bench(commands::bench::Arguments),
    /// Write what every stage of a model computes, for comparison with a reference.
    Dump(commands::dump::Arguments),
    /// List the GPU adapters.
    Devices,
    /// Print a completion script for a shell.
    Completions(commands::manual::CompletionArguments),
    /// Print the manual page of a command, or write all of them.
    Man(commands::manual::ManArguments),
}

fn main() -> ExitCode {
    quiet_device_selection();
    let Cli { command, common } = Cli::parse_from(input::arguments());
    let mut output = Output::new(common.json);
    let result = run(command, &common, &mut output);
    // What was printed before a failure arrives, too.
    let flushed = output.flush();
    let failure = match (result, flushed) {
        (Ok(()) | Err(Failure::Printed(_)), Err(failure)) | (Err(failure), _) => failure,
        (Ok(()), Ok(())) => return ExitCode::SUCCESS,
    };
    if let Failure::Message { message, .. } = &failure {
        output::error(message);
    }
    failure.exit_code()
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
        Command::Completions(arguments) => commands::manual::completions(&arguments, output),
        Command::Man(arguments) => commands::manual::man(&arguments, output),
    }
}

/// Mesa's Vulkan layer that reorders devices asks the Wayland compositor for the screen's GPU. Without a session,
/// libwayland prints `error: XDG_RUNTIME_DIR is invalid or not set in the environment.` on standard error, once for each
/// instance. There is no screen then, so the layer is disabled, unless the user gives it an order by hand.
fn quiet_device_selection() {
    let absolute = |name: &str| env::var_os(name).is_some_and(|value| Path::new(&value).is_absolute());
    let by_hand = ["NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"];
    if absolute("XDG_RUNTIME_DIR") || absolute("WAYLAND_DISPLAY") || by_hand.iter().any(|it| env::var_os(it).is_some())
    {
        return;
    }
    // SAFETY: no other thread runs yet that could read the environment meanwhile.
    #[allow(unsafe_code)]
    unsafe {
        env::set_var("NODEVICE_SELECT", "1");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
