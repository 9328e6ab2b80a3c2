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
    let workflows = concat!(env!("CARGO_MANIFEST_DIR"), "/data/workflows");
    std::fs::create_dir(dir.path().join("data")).unwrap();
    symlink(workflows, dir.path().join("data/workflows")).unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("cargo"), "#!/bin/sh\n[ \"$*\" = 'build --release' ]\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("cargo"), executable).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // In a group of its own with an end: a tour that is stuck leaves no server behind.
    let mut bash = Command::new("timeout");
    bash.args(["--kill-after=5", "50", "bash", "-c", script]).current_dir(dir.path());
    bash.env("PATH", path).output().unwrap()
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
    once("abide listening on http://127.0.0.1:8080", 3);
    // Money is held before the kill, and still held behind it.
    let held = "\"account\":\"alice:main\",\"amount\":\"12060.00\",\"captured\":\"0.00\",\"status\":\"held\"";
    once(held, 4);
    once("\"step\":\"confirm\"", 2);
    // The code's answer, and the same again behind the second kill.
    once("\"step\":\"approve\"", 2);
    // A server that starts writes behind the answer, or on its own line: they are two processes.
    let apart = said.replace("abide listening", "\nabide listening");
    let answers: Vec<_> = apart.lines().filter(|line| line.contains("\"approve\",")).collect();
    assert_eq!(answers[answers.len() - 2], answers[answers.len() - 1]);
    once("\"status\":\"completed\",\"outcome\":\"settled\"", 1);
    once("\"posted\":\"7940.00\",\"held\":\"0.00\"", 1);
    once("\"asset\":\"EUR\",\"posted\":\"0.00\",\"held\":\"0.00\"", 1);
    once("data/tour: in order", 1);
}
