//! Key of all keyed hashes, in a file beside the store.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::OpenError;
use crate::engine::Digest;

/// Name of the file in the data directory.
const FILE: &str = "secret";

/// Key of every keyed hash of this server: 32 bytes, which are in no journal.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Reads `DIR/secret`, or creates it (mode 0600, synced together with its directory) if the
    /// directory has none.
    ///
    /// # Errors
    /// [`OpenError::File`]; [`OpenError::Refused`] when the file has another format, or others may
    /// read it.
    pub fn load_or_create(dir: &Path) -> Result<Self, OpenError> {
        if let Some(secret) = Self::load(dir)? {
            return Ok(secret);
        }
        let path = dir.join(FILE);
        let fail = |source| OpenError::File { path: path.display().to_string(), source };
        Self::create(dir, &path).map_err(fail)
    }

    /// Reads `DIR/secret`. Returns `None` if there is none.
    ///
    /// # Errors
    /// As [`Secret::load_or_create`].
    pub fn load(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(FILE);
        let fail = |source| OpenError::File { path: path.display().to_string(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let refuse = |what: &str| Err(OpenError::Refused(format!("{}: {what}", path.display())));
        if file.metadata().map_err(fail)?.permissions().mode() & 0o077 != 0 {
            return refuse("others may read it; make it 0600, and change it if they may have");
        }
        let mut bytes = Vec::new();
        file.take(33).read_to_end(&mut bytes).map_err(fail)?;
        match bytes.try_into() {
            Ok(bytes) => Ok(Some(Self(bytes))),
            Err(_) => refuse("it does not have 32 bytes; put the file of this data directory back"),
        }
    }

    fn create(dir: &Path, path: &Path) -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        // Under another name first: a crash in between leaves no partial secret.
        let fresh = dir.join("secret.new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        File::open(dir)?.sync_all()?;
        Ok(Self(bytes))
    }

    /// Returns the secret with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns a keyed hash of some parts for one purpose. Without the secret it can be neither
    /// computed nor checked. Different purposes and different divisions never collide.
    pub(super) fn digest(&self, purpose: &str, parts: &[&[u8]]) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn it_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = Secret::load_or_create(dir.path()).unwrap();
        let again = Secret::load_or_create(dir.path()).unwrap();
        assert_eq!(first.0, again.0);
        assert_ne!(first.0, [0; 32]);
        let mode = std::fs::metadata(dir.path().join("secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_it_did_not_make_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, [1; 31]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Secret::load_or_create(dir.path()).is_err());
        std::fs::write(&path, [1; 32]).unwrap();
        assert!(Secret::load_or_create(dir.path()).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Secret::load_or_create(dir.path()).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), [1; 32]);
    }

    #[test]
    fn purposes_and_divisions_keep_hashes_apart() {
        let secret = Secret::new([7; 32]);
        let digest = secret.digest("a", &[b"bc", b"d"]);
        assert_eq!(digest, secret.digest("a", &[b"bc", b"d"]));
        assert_ne!(digest, secret.digest("ab", &[b"c", b"d"]));
        assert_ne!(digest, secret.digest("a", &[b"b", b"cd"]));
        assert_ne!(digest, Secret::new([8; 32]).digest("a", &[b"bc", b"d"]));
    }
}
