//! Tasks of the Fovea workspace, run by `./x TASK`, which first prepares the machine.

mod bench;
mod deny;
mod docs;
mod ground;
mod lint;
mod nano_report;
mod rooms;
mod sizes;
mod step;
mod test;
mod vulkan;
mod wasm;
mod web;
mod workspace;

use std::process::ExitCode;

use crate::step::Outcome;

struct Task {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Outcome,
}

const TASKS: &[Task] = &[
    Task {
        name: "ground",
        arguments: "[IMAGE INSTRUCTION]",
        about: "build Fovea and ground an instruction in a screenshot; the picture goes to target/ground.png",
        run: ground::run,
    },
    Task {
        name: "test",
        arguments: "[FILTER...]",
        about: "everything that must pass: lint, licences, all tests on both software adapters, wasm",
        run: test::run,
    },
    Task { name: "lint", arguments: "", about: "rustfmt, crate boundaries, licences, clippy", run: lint::run },
    Task {
        name: "wasm",
        arguments: "",
        about: "check that shaders, engine, models and web compile for wasm32-unknown-unknown",
        run: wasm::run,
    },
    Task {
        name: "web",
        arguments: "[--release] [--no-serve]",
        about: "build the npm package and the demo page, and serve the page on http://localhost:8080",
        run: web::run,
    },
    Task {
        name: "bench",
        arguments: "[ARGUMENTS...]",
        about: "time ops and the whole path on an adapter (arguments of `fovea bench`)",
        run: bench::run,
    },
    Task {
        name: "nano-report",
        arguments: "[ARGUMENTS...]",
        about: "ask nano the shipped questions; its answers go to target/nano-report/index.html (arguments of `fovea eval`)",
        run: nano_report::run,
    },
    Task {
        name: "licences",
        arguments: "",
        about: "check every dependency's licence and source against deny.toml",
        run: deny::licences,
    },
    Task {
        name: "audit",
        arguments: "",
        about: "check the dependencies for known vulnerabilities; needs github.com",
        run: deny::audit,
    },
    Task { name: "docs", arguments: "", about: "build the API documentation; warnings are errors", run: docs::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print_tasks();
        return ExitCode::SUCCESS;
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        print_tasks();
        return ExitCode::SUCCESS;
    }
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprintln!("x: there is no task {name:?}");
        print_tasks();
        return ExitCode::from(2);
    };
    match (task.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("x {name}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn print_tasks() {
    println!("usage: ./x TASK [ARGUMENTS]\n");
    for task in TASKS {
        println!("  {:<28} {}", format!("{} {}", task.name, task.arguments), task.about);
    }
}
