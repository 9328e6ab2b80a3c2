//! `abide tail URL`, from end to end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::live::{SOON, all, publish, start, step};
use crate::server::{dev, program};

/// An address that stays, in front of a server whose own changes with each start.
async fn door(address: Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            let address = address.lock().unwrap().clone();
            tokio::spawn(async move {
                // If the server does not answer, the client is cut off.
                if let Ok(mut inside) = TcpStream::connect(address).await {
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await.ok();
                }
            });
        }
    });
    url
}

struct Tail {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Tail {
    fn start(arguments: &[&str], token: &str) -> Self {
        let mut tail = program(["tail"]);
        tail.args(arguments).env("ABIDE_TOKEN", token);
        let mut child = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let pipe = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::sync_channel(64);
        // Ends with the program, or with the reader.
        std::thread::spawn(move || {
            pipe.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Self { child, lines }
    }

    /// The lines up to one that holds these words.
    fn until(&self, words: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(SOON) else {
                panic!("{words} does not come: {lines:?}");
            };
            let found = line.contains(words);
            lines.push(line);
            if found {
                return lines;
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// It resumes over kill -9, each event once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_follows_over_kill_9_without_a_gap_or_a_double() {
    let mut server = dev();
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    publish(&admin).await;
    let address = Arc::new(Mutex::new(server.address()));
    let url = door(Arc::clone(&address)).await;
    let tail = Tail::start(&[&url, "--json", "--after", &"0".repeat(20)], alice.token());
    let mut seen = Vec::new();
    for round in 0..3 {
        let id = start(&alice).await;
        alice.post(&step(&id, "ask"), json!({"note": format!("heard {round}")})).await.ok();
        seen.extend(tokio::task::block_in_place(|| tail.until(&format!("heard {round}"))));
        server.crash_and_restart();
        // While it is not there yet.
        let id = start(&alice).await;
        alice.post(&step(&id, "ask"), json!({"note": format!("unheard {round}")})).await.ok();
        *address.lock().unwrap() = server.address();
        seen.extend(tokio::task::block_in_place(|| tail.until(&format!("unheard {round}"))));
    }
    alice.put_data(json!({"the": "end"})).await.ok();
    seen.extend(tokio::task::block_in_place(|| tail.until("data_written")));
    let seen: Vec<Value> = seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(seen, all(&alice).await);
}

/// One transaction, as lines for people, this many of them; and URLs that cannot be followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_shows_what_was_asked_for_and_says_what_it_cannot() {
    let server = dev();
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    publish(&admin).await;
    let (id, other) = (start(&alice).await, start(&alice).await);
    let run = |arguments: &[&str], token: &str| {
        let output =
            program(["tail", &server.base()]).args(arguments).args(["--token", token]).output();
        let output = output.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = run(&["--transaction", &id, "--count", "2"], alice.token());
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("  abide.transaction.started  alice  "), "{said}");
    assert!(lines.iter().all(|line| line.contains(&id)) && !said.contains(&other), "{said}");
    let (code, said) = run(&[], "abs_x");
    assert_eq!(code, Some(1));
    assert!(said.contains("the token is not valid"), "{said}");
    let (code, said) = run(&["--transaction", "tx_00000000000000000000000001"], alice.token());
    assert_eq!(code, Some(1));
    assert!(said.contains("no such transaction"), "{said}");
}
