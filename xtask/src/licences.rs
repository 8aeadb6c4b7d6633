//! `./x licences`: every dependency's licence is on the allowed list.
//!
//! Licences are SPDX expressions in the crates' manifests: identifiers joined by `AND`, `OR` and brackets, an
//! exception by `WITH`; old manifests write `/` for `OR`.

use std::collections::BTreeMap;

use crate::Outcome;
use crate::workspace::metadata;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(crate) fn run(_: &[String]) -> Outcome {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let mut faults = Vec::new();
    let mut used = BTreeMap::<&str, usize>::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or("a package without a name");
        let version = package["version"].as_str().unwrap_or("?");
        match package["license"].as_str() {
            None => faults.push(format!("{name} {version}: no licence in its manifest")),
            Some(licence) => match is_allowed(licence) {
                Ok(true) => *used.entry(licence).or_default() += 1,
                Ok(false) => faults.push(format!("{name} {version}: {licence} is not allowed")),
                Err(fault) => faults.push(format!("{name} {version}: {licence}: {fault}")),
            },
        }
    }
    for (licence, count) in used {
        println!("{count:>4} {licence}");
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("licences that are not on the list in xtask/src/licences.rs\n{}", faults.join("\n")))
}

/// Whether a choice among the expression's licences is all allowed.
fn is_allowed(expression: &str) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = Words { rest: spaced.split_whitespace().collect::<Vec<_>>().into_iter().peekable() };
    let allowed = words.any()?;
    match words.rest.next() {
        None => Ok(allowed),
        Some(word) => Err(format!("unexpected {word:?}")),
    }
}

struct Words<'a> {
    rest: std::iter::Peekable<std::vec::IntoIter<&'a str>>,
}

impl Words<'_> {
    fn take(&mut self, word: &str) -> bool {
        self.rest.next_if(|next| *next == word).is_some()
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut allowed = self.all()?;
        while self.take("OR") {
            allowed |= self.all()?;
        }
        Ok(allowed)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut allowed = self.one()?;
        while self.take("AND") {
            allowed &= self.one()?;
        }
        Ok(allowed)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let allowed = self.any()?;
            return if self.take(")") { Ok(allowed) } else { Err("a bracket is not closed".to_owned()) };
        }
        let licence = self.rest.next().ok_or("ends where a licence should stand")?;
        if self.take("WITH") {
            let exception = self.rest.next().ok_or("ends where an exception should stand")?;
            return Ok(ALLOWED.contains(&format!("{licence} WITH {exception}").as_str()));
        }
        Ok(ALLOWED.contains(&licence))
    }
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        for allowed in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "GPL-3.0 AND GPL-2.0 OR MIT AND Zlib",
        ] {
            assert_eq!(is_allowed(allowed), Ok(true), "{allowed}");
        }
        for refused in ["GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR LGPL-3.0)", "GPL-2.0 WITH LLVM-exception"] {
            assert_eq!(is_allowed(refused), Ok(false), "{refused}");
        }
    }

    #[test]
    fn broken_expressions_are_errors() {
        for broken in ["", "MIT OR", "(MIT", "MIT MIT", "MIT WITH"] {
            assert!(is_allowed(broken).is_err(), "{broken:?}");
        }
    }
}
