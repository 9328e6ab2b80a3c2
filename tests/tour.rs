//! The README's tour, run exactly as it is printed, against the real binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

use std::os::unix::fs::symlink;
use std::process::{Command, Output};

/// The lines between the mark and the end of its block.
fn block(readme: &str, mark: &str) -> String {
    let (_, rest) = readme.split_once(&format!("<!-- {mark} -->\n```sh\n")).expect("the mark");
    rest.split_once("```").expect("the end of the block").0.to_owned()
}

/// Runs the tour in an empty directory where `cargo build` has nothing left to do.
fn run(script: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let release = dir.path().join("target/release");
    std::fs::create_dir_all(&release).unwrap();
    symlink(env!("CARGO_BIN_EXE_abide"), release.join("abide")).unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("cargo"), "#!/bin/sh\n[ \"$*\" = 'build --release' ]\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("cargo"), executable).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // As at a prompt: job control, so that `%1` and `wait` mean what they say.
    let mut bash = Command::new("bash");
    bash.args(["-m", "-c", script]).current_dir(dir.path()).env("PATH", path);
    bash.output().unwrap()
}

#[test]
fn the_readme_does_what_it_says() {
    let tour = block(include_str!("../README.md"), "tour");
    let output = run(&tour);
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaint}");
    let once = |what: &str, times: usize| {
        assert_eq!(said.matches(what).count(), times, "{what}\n{said}\n{complaint}");
    };
    once("abide listening on http://127.0.0.1:8080", 2);
    once("\"token\":\"abs_", 1);
    once("HTTP/1.1 200 OK", 2);
    once("idempotency-replayed: true", 1);
    // Before the kill, replayed behind it, and read.
    once("{\"cart\":[\"tea\",\"milk\"]}", 3);
    once("data/tour: in order", 1);
}
