//! Argon2id on a few threads of its own, behind a bounded queue.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use subtle::ConstantTimeEq as _;
use tokio::sync::oneshot;

use crate::engine::Refusal;
use crate::types::{Password, Span};

/// Maximum number of commands that wait for a hash. At 25 ms each the last one waits some seconds;
/// each holds no more than a password and a PHC string.
const QUEUE_MAX: usize = 256;

/// Bytes of a hash.
const HASH_BYTES: usize = 32;

/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// Maximum memory that a stored hash may need, in KiB: above any sane parameter.
const MEMORY_KIB_MAX: u32 = 256 * 1024;

/// Cost of one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    /// Returns the cost that OWASP recommends (Password Storage Cheat Sheet; ASVS 11.4.2): 19 MiB,
    /// 2 passes.
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

impl Cost {
    fn is_below(self, other: Self) -> bool {
        self.memory_kib < other.memory_kib || self.passes < other.passes
    }
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashMatch {
    pub(super) matched: bool,
    /// True if the hash has less than the present cost.
    pub(super) is_weak: bool,
}

enum HashWork {
    Check { phc: Option<Arc<str>>, reply: oneshot::Sender<HashMatch> },
    Hash { reply: oneshot::Sender<Option<Arc<str>>> },
}

struct HashTask {
    password: Password,
    work: HashWork,
}

/// The threads and their queue.
pub(super) struct Passwords {
    /// `None` once this is dropped.
    queue: Option<mpsc::SyncSender<HashTask>>,
    threads: Vec<JoinHandle<()>>,
}

impl Passwords {
    /// Starts the threads: half of the cores, so that many logins leave the other half to requests.
    pub(super) fn start(cost: Cost) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (queue, tasks) = mpsc::sync_channel(QUEUE_MAX);
        let tasks = Arc::new(Mutex::new(tasks));
        let threads = (0..(cores / 2).max(1))
            .map(|number| {
                let tasks = Arc::clone(&tasks);
                let name = format!("password-{number}");
                std::thread::Builder::new().name(name).spawn(move || Hasher::new(cost).run(&tasks))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { queue: Some(queue), threads })
    }

    /// Checks a password against a hash. Without a hash it does the same work and does not match.
    pub(super) async fn check(
        &self,
        password: Password,
        phc: Option<Arc<str>>,
    ) -> Result<HashMatch, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(HashTask { password, work: HashWork::Check { phc, reply } })?;
        answer.await.map_err(|_| Refusal::Stopping)
    }

    /// Hashes a password.
    pub(super) async fn hash(&self, password: Password) -> Result<Arc<str>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(HashTask { password, work: HashWork::Hash { reply } })?;
        answer.await.ok().flatten().ok_or(Refusal::Stopping)
    }

    fn enqueue(&self, task: HashTask) -> Result<(), Refusal> {
        let queue = self.queue.as_ref().ok_or(Refusal::Stopping)?;
        queue.try_send(task).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => Refusal::Busy { retry_after: Span::from_seconds(2) },
            mpsc::TrySendError::Disconnected(_) => Refusal::Stopping,
        })
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        // Without a queue the threads end after their present hash.
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("password thread panicked");
            }
        }
    }
}

/// A hash as it is stored: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH` (PHC string format).
struct Phc {
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Phc {
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('$');
        let (empty, algorithm, version) = (fields.next()?, fields.next()?, fields.next()?);
        if !empty.is_empty() || algorithm != "argon2id" || version != "v=19" {
            return None;
        }
        let mut cost = fields.next()?.split(',');
        let mut number = |name| cost.next()?.strip_prefix(name)?.parse().ok();
        let cost = Cost { memory_kib: number("m=")?, passes: number("t=")?, lanes: number("p=")? };
        let salt = BASE64.decode(fields.next()?).ok()?;
        let hash = BASE64.decode(fields.next()?).ok()?;
        Some(Self { cost, salt, hash }).filter(|phc| phc.cost.memory_kib <= MEMORY_KIB_MAX)
    }

    fn write(&self) -> Arc<str> {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let (salt, hash) = (BASE64.encode(&self.salt), BASE64.encode(&self.hash));
        format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}").into()
    }
}

/// One thread, which reuses its memory.
struct Hasher {
    cost: Cost,
    memory: Vec<Block>,
}

impl Hasher {
    const fn new(cost: Cost) -> Self {
        Self { cost, memory: Vec::new() }
    }

    fn run(mut self, tasks: &Mutex<mpsc::Receiver<HashTask>>) {
        loop {
            let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(HashTask { password, work }) = task else { return };
            // If the caller is gone, nothing is computed.
            match work {
                HashWork::Check { phc, reply } if !reply.is_closed() => {
                    reply.send(self.check(&password, phc.as_deref())).ok();
                }
                HashWork::Hash { reply } if !reply.is_closed() => {
                    reply.send(self.hash(&password)).ok();
                }
                HashWork::Check { .. } | HashWork::Hash { .. } => {}
            }
        }
    }

    fn check(&mut self, password: &Password, phc: Option<&str>) -> HashMatch {
        let known = phc.and_then(Phc::parse);
        let is_known = known.is_some();
        let phc = known.unwrap_or_else(|| Phc {
            cost: self.cost,
            salt: vec![0; SALT_BYTES],
            hash: vec![0; HASH_BYTES],
        });
        let mut found = vec![0; phc.hash.len()];
        let done = self.compute(phc.cost, password, &phc.salt, &mut found);
        let matched = is_known && done && bool::from(found.ct_eq(&phc.hash));
        HashMatch { matched, is_weak: phc.cost.is_below(self.cost) }
    }

    fn hash(&mut self, password: &Password) -> Option<Arc<str>> {
        let mut salt = vec![0; SALT_BYTES];
        getrandom::fill(&mut salt).ok()?;
        let mut hash = vec![0; HASH_BYTES];
        let done = self.compute(self.cost, password, &salt, &mut hash);
        done.then(|| Phc { cost: self.cost, salt, hash }.write())
    }

    /// Computes a hash. Returns whether Argon2 accepts the parameters.
    fn compute(&mut self, cost: Cost, password: &Password, salt: &[u8], out: &mut [u8]) -> bool {
        let Cost { memory_kib, passes, lanes } = cost;
        let Ok(params) = Params::new(memory_kib, passes, lanes, Some(out.len())) else {
            return false;
        };
        self.memory.resize(params.block_count().max(self.memory.len()), Block::default());
        let blocks = &mut self.memory[..params.block_count()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let password = password.reveal().as_bytes();
        argon2.hash_password_into_with_memory(password, salt, out, blocks).is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 32, passes: 1, lanes: 1 };

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[test]
    fn a_hash_matches_its_password_alone_to_the_last_character() {
        let mut hasher = Hasher::new(CHEAP);
        let long = "x".repeat(99);
        let phc = hasher.hash(&password(&format!("{long}a"))).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=32,t=1,p=1$"));
        assert!(hasher.check(&password(&format!("{long}a")), Some(&phc)).matched);
        assert!(!hasher.check(&password(&format!("{long}b")), Some(&phc)).matched);
        assert!(!hasher.check(&password(""), None).matched);
        assert_ne!(hasher.hash(&password("a")), hasher.hash(&password("a")));
    }

    #[test]
    fn a_hash_of_less_cost_still_matches_and_is_told() {
        let phc = Hasher::new(CHEAP).hash(&password("correct horse")).unwrap();
        let mut dearer = Hasher::new(Cost { passes: 2, ..CHEAP });
        let checked = dearer.check(&password("correct horse"), Some(&phc));
        assert_eq!(checked, HashMatch { matched: true, is_weak: true });
        let phc = dearer.hash(&password("correct horse")).unwrap();
        assert!(!dearer.check(&password("correct horse"), Some(&phc)).is_weak);
    }

    #[test]
    fn what_is_no_hash_matches_nothing() {
        let mut hasher = Hasher::new(CHEAP);
        for phc in [
            "",
            "$",
            "plain",
            "$argon2i$v=19$m=32,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA",
            "$argon2id$v=19$m=0,t=0,p=0$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAA",
            "$argon2id$v=19$m=4294967295,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAA",
            "$argon2id$v=19$m=32,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$",
        ] {
            assert!(!hasher.check(&password(""), Some(phc)).matched, "{phc}");
        }
    }

    /// The reference implementation's own vector: `argon2 somesalt -id -t 2 -m 16 -p 1 -l 32`,
    /// as its README prints hashes of `password`.
    #[test]
    fn it_is_argon2id_as_others_have_it() {
        let phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ\
                   $CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(Hasher::new(CHEAP).check(&password("password"), Some(phc)).matched);
    }
}
