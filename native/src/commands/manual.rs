//! `fovea completions` and `fovea man`: made from the same description of the arguments as `--help`.

use std::{fs, path::PathBuf};

use clap::builder::PossibleValuesParser;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{
    failure::{Failure, Kind, Outcome},
    input,
    output::Output,
};

const COMPLETION_EXAMPLES: &str = "\
Examples:
  fovea completions bash > ~/.local/share/bash-completion/completions/fovea
  fovea completions zsh > ~/.zfunc/_fovea
  fovea completions fish > ~/.config/fish/completions/fovea.fish";

#[derive(clap::Args)]
#[command(after_help = COMPLETION_EXAMPLES)]
pub(crate) struct CompletionArguments {
    /// The shell.
    shell: Shell,
}

const MAN_EXAMPLES: &str = "\
Examples:
  fovea man ground | man -l -
  fovea man --out /usr/local/share/man/man1";

#[derive(clap::Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct ManArguments {
    /// The command [default: the page of fovea itself].
    #[arg(value_name = "COMMAND", value_parser = PossibleValuesParser::new(names()))]
    command: Option<String>,
    /// Write all pages to this directory: fovea.1, fovea-ground.1 and so on.
    #[arg(long, value_name = "DIR", value_parser = input::output_path(), conflicts_with = "command")]
    out: Option<PathBuf>,
}

/// Names that have a page.
fn names() -> [&'static str; 10] {
    ["ground", "generate", "score", "eval", "inspect", "bench", "dump", "devices", "completions", "man"]
}

/// `program`: all its arguments.
pub(crate) fn completions(arguments: &CompletionArguments, mut program: clap::Command, output: &mut Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, "fovea", &mut script);
    output.part(&String::from_utf8_lossy(&script))
}

/// `program`: all its arguments.
pub(crate) fn man(arguments: &ManArguments, program: clap::Command, output: &mut Output) -> Outcome {
    let pages = pages(program)?;
    let Some(folder) = &arguments.out else {
        let wanted = arguments.command.as_ref().map_or("fovea".to_owned(), |command| format!("fovea-{command}"));
        let page = pages.iter().find(|(name, _)| *name == wanted);
        return output.part(page.map(|(_, page)| page.as_str()).unwrap_or_default());
    };
    fs::create_dir_all(folder).map_err(|error| Failure::file(folder, error))?;
    for (name, page) in pages {
        let path = folder.join(format!("{name}.1"));
        fs::write(&path, page).map_err(|error| Failure::file(&path, error))?;
    }
    Ok(())
}

/// The page of the program, and those of its commands, by their names.
fn pages(program: clap::Command) -> Outcome<Vec<(String, String)>> {
    let mut program = program.disable_help_subcommand(true);
    // Gives commands the options that all share.
    program.build();
    let commands: Vec<_> = program.get_subcommands().cloned().collect();
    let mut pages = Vec::new();
    for (name, command) in [("fovea".to_owned(), program)]
        .into_iter()
        .chain(commands.into_iter().map(|it| (format!("fovea-{}", it.get_name()), it)))
    {
        let (mut page, version) = (Vec::new(), env!("FOVEA_VERSION"));
        let command = command.name(name.clone()).bin_name(name.replacen('-', " ", 1)).version(version);
        Man::new(command).render(&mut page).map_err(|error| Failure::new(Kind::Defect, error))?;
        pages.push((name, String::from_utf8_lossy(&page).into_owned()));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Cli;

    #[test]
    fn every_command_has_a_page() {
        let commands: Vec<String> = Cli::command().get_subcommands().map(|it| it.get_name().to_owned()).collect();
        let mut named = names().map(str::to_owned).to_vec();
        assert_eq!(commands.len(), named.len());
        named.retain(|name| !commands.contains(name));
        assert!(named.is_empty(), "{named:?}");
        let pages = pages(Cli::command()).unwrap();
        for (name, page) in &pages {
            assert!(page.contains(&format!(".TH {name} 1")) && page.contains(".SH SYNOPSIS"), "{page}");
        }
        assert_eq!(pages.len(), commands.len() + 1);
    }
}
