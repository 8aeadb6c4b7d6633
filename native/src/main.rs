//! Grounds instructions in page screenshots with local vision-language models.

mod commands;
mod common;
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
mod standard_input;

use std::{env, io::Write, path::Path, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    common::Common,
    failure::{Failure, Kind, Outcome},
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
    let Cli { command, common } = match Cli::try_parse_from(input::arguments()) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let mut output = Output::new(common.json);
    let result = run(command, &common, &mut output);
    // What was printed before a failure arrives, too.
    let flushed = output.flush();
    let failure = match (result, flushed) {
        (Ok(()) | Err(Failure::Printed(_)), Err(failure)) | (Err(failure), _) => failure,
        (Ok(()), Ok(())) => return ExitCode::SUCCESS,
    };
    end(&failure)
}

fn end(failure: &Failure) -> ExitCode {
    if let Failure::Message { message, .. } = failure {
        output::error(message);
    }
    failure.exit_code()
}

/// Prints what clap says instead of arguments: help and the version on standard output, errors on standard error.
fn explain(error: &clap::Error) -> ExitCode {
    let text = input::unmarked(&error.render().ansi().to_string()).into_owned();
    if error.use_stderr() {
        // Nothing can be done where standard error is closed as well.
        let _ = write!(anstream::stderr(), "{text}");
        return ExitCode::from(Kind::Usage as u8);
    }
    Output::new(false).part(&text).map_or_else(|failure| end(&failure), |()| ExitCode::SUCCESS)
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
        Command::Completions(arguments) => commands::manual::completions(&arguments, Cli::command(), output),
        Command::Man(arguments) => commands::manual::man(&arguments, Cli::command(), output),
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
    use std::any::TypeId;

    use clap::{Arg, CommandFactory};

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    /// All arguments, with their commands' names.
    fn all_arguments() -> Vec<(String, Arg)> {
        let mut program = Cli::command();
        program.build();
        let of = |command: &clap::Command| {
            let name = command.get_name().to_owned();
            command.get_arguments().map(move |it| (format!("{name} {}", it.get_id()), it.clone())).collect::<Vec<_>>()
        };
        let commands = program.get_subcommands().filter(|it| it.get_name() != "help").flat_map(of).collect::<Vec<_>>();
        [of(&program), commands].concat()
    }

    /// An argument that begins with a dash and has a blank reaches clap with a mark before it, which must be taken away.
    #[test]
    fn texts_and_paths_are_taken_without_their_mark() {
        let mut seen = 0;
        let with_value = |(_, argument): &(String, Arg)| argument.get_action().takes_values();
        for (name, argument) in all_arguments().into_iter().filter(with_value) {
            let parser = format!("{:?}", argument.get_value_parser());
            let plain = ["string", "path_buf", "os_string"]
                .iter()
                .any(|kind| parser.starts_with(&format!("ValueParser::{kind}")));
            assert!(!plain, "{name}: {parser}");
            seen += usize::from(parser.starts_with("ValueParser::other"));
        }
        assert!(seen > 20);
    }

    /// `-1` is a number that is refused with the range, not an unknown option.
    #[test]
    fn numbers_may_be_negative_and_are_refused_by_their_range() {
        let mut seen = 0;
        for (name, argument) in all_arguments() {
            let kind = argument.get_value_parser().type_id();
            let numbers = [
                TypeId::of::<u32>(),
                TypeId::of::<u64>(),
                TypeId::of::<usize>(),
                TypeId::of::<f32>(),
                TypeId::of::<f64>(),
            ];
            if numbers.iter().any(|number| kind == *number) && argument.get_action().takes_values() {
                seen += 1;
                assert!(argument.is_allow_negative_numbers_set(), "{name}");
            }
        }
        assert!(seen > 8);
    }
}
