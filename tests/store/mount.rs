//! A small ext4 of its own, on a loop device, for tests that need a real disk to fill or to cut.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::room;

/// A mounted file system; unmounted when it is dropped.
pub(crate) struct Mount {
    room: TempDir,
    mounted: bool,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

impl Mount {
    /// Creates a fresh file system; or returns why this machine cannot have one.
    pub(crate) fn new(mib: u64) -> Result<Self, String> {
        let room = room();
        File::create(room.path().join("image")).unwrap().set_len(mib << 20).unwrap();
        fs::create_dir(room.path().join("mount")).unwrap();
        let image = room.path().join("image");
        run("mkfs.ext4", &["-q", "-F", "-m", "0", image.to_str().unwrap()])?;
        let mut mount = Self { room, mounted: false };
        mount.mount()?;
        Ok(mount)
    }

    /// Returns the mount point.
    pub(crate) fn path(&self) -> PathBuf {
        self.room.path().join("mount")
    }

    fn mount(&mut self) -> Result<(), String> {
        let image = self.room.path().join("image");
        let paths = [image.to_str().unwrap(), self.path().to_str().unwrap().to_owned().leak()];
        run("mount", &["-o", "loop", paths[0], paths[1]])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        let since = Instant::now();
        loop {
            match run("umount", &[self.path().to_str().unwrap()]) {
                // A thread may be just about to close its last file.
                Err(_) if since.elapsed() < Duration::from_secs(5) => std::thread::yield_now(),
                Err(error) => return Err(error),
                Ok(()) => {
                    self.mounted = false;
                    return Ok(());
                }
            }
        }
    }

    /// Cuts the power: data that is not on the disk yet is lost.
    pub(crate) fn cut(path: &Path) -> Result<(), String> {
        run("xfs_io", &["-x", "-c", "shutdown", path.to_str().unwrap()])
    }

    /// After [`Mount::cut`]: switches it on again.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        self.unmount()?;
        self.mount()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("{error}");
        }
    }
}
