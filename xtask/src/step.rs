//! Steps of a task: each prints its command, runs, and remembers how it ended and how long it took.

use std::process::Command;
use std::time::{Duration, Instant};

/// What a task ends with; the text is printed for the person who started it.
pub(crate) type Outcome = Result<(), String>;

/// The steps of one task so far. A failed step does not stop the later ones: one run shows everything.
pub(crate) struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: String,
    took: Duration,
    outcome: Outcome,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { done: Vec::new() }
    }

    /// Runs `body` under a heading.
    pub(crate) fn run(&mut self, name: &str, body: impl FnOnce() -> Outcome) {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = body();
        if let Err(message) = &outcome {
            println!("{name}: {message}");
        }
        self.done.push(Step { name: name.to_owned(), took: start.elapsed(), outcome });
    }

    /// Prints the table of steps; an error if any failed.
    pub(crate) fn finish(self) -> Outcome {
        println!("\n== steps");
        for step in &self.done {
            let state = if step.outcome.is_ok() { "ok" } else { "FAILED" };
            println!("{:<12} {state:<7} {:>7.1} s", step.name, step.took.as_secs_f64());
        }
        let failed: Vec<&str> =
            self.done.iter().filter(|step| step.outcome.is_err()).map(|step| step.name.as_str()).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
    }
}

/// Prints and runs a command; an error if it cannot start or ends with another code than 0.
pub(crate) fn command(command: &mut Command) -> Outcome {
    println!("$ {}", shown(command));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` ended with {status}", shown(command))),
        Err(error) => Err(format!("`{}` did not start: {error}", shown(command))),
    }
}

/// The command as one would type it, without the environment.
pub(crate) fn shown(command: &Command) -> String {
    let program = command.get_program();
    let name = std::path::Path::new(program).file_name().unwrap_or(program);
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
