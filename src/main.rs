//! The binary; [`abide::cli`] is where it begins.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    abide::cli::run(std::env::args_os())
}
