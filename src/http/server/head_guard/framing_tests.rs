//! Tests of the framing: where a message ends, however its bytes are cut.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, target_bytes: 1024 };

/// Returns all bytes that pass of `bytes` when they come in pieces, and why it ended.
fn follow(pieces: &[&[u8]]) -> (Vec<u8>, u64, Option<FramingHalt>) {
    let mut framing = Framing::new(LIMITS);
    let (mut held, mut passed, mut last) = (Vec::new(), Vec::new(), None);
    for piece in pieces {
        held.extend_from_slice(piece);
        let (count, halt) = framing.advance(&held);
        passed.extend(held.drain(..count));
        last = halt;
        if matches!(halt, Some(FramingHalt::Refused(_) | FramingHalt::BrokenBody)) {
            break;
        }
    }
    (passed, framing.heads(), last)
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..200);
    let chunks = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..4);
    prop_oneof![
        Just(b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        Just(b"\r\nGET / HTTP/1.1\r\nHost: a:1\r\nAccept: */*\r\n\r\n".to_vec()),
        body.prop_map(|body| {
            let head =
                format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), &body].concat()
        }),
        chunks.prop_map(|chunks| {
            let mut bytes =
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in &chunks {
                bytes.extend(format!("{:X};x\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\nT: 1\r\n\r\n");
            bytes
        }),
    ]
}

proptest! {
    #[test]
    fn good_messages_pass_whole_however_they_are_cut(
        messages in prop::collection::vec(message(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let all = messages.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(all.len())).collect();
        cuts.extend([0, all.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &all[cut[0]..cut[1]]).collect();
        let (passed, heads, halt) = follow(&pieces);
        prop_assert_eq!(passed, all);
        prop_assert_eq!(heads, messages.len() as u64);
        prop_assert_eq!(halt, None);
    }

    #[test]
    fn what_passes_does_not_depend_on_how_it_comes(
        bytes in prop::collection::vec(
            prop::sample::select(b"GET /POS HTTP/1.1\r\n\r\nHost: a\n;0123chunked".to_vec()), 0..300),
        messages in prop::collection::vec(message(), 0..3),
    ) {
        let all = [messages.concat(), bytes].concat();
        let whole = follow(&[&all]);
        let single: Vec<&[u8]> = all.chunks(1).collect();
        let (passed, heads, _) = follow(&single);
        prop_assert_eq!((&passed, heads), (&whole.0, whole.1));
    }
}

#[test]
fn a_smuggled_request_does_not_pass() {
    let all = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let (passed, heads, halt) = follow(&[all]);
    assert!(passed.ends_with(b"\r\n\r\nbody"));
    assert_eq!((heads, halt), (1, Some(FramingHalt::Refused(Rejection::LengthAndEncoding))));
}

#[test]
fn http2_passes_and_only_at_the_start() {
    let preface = [HTTP2_PREFACE, &[0, 0, 0, 4]].concat();
    let pieces: Vec<&[u8]> = preface.chunks(5).collect();
    assert_eq!(follow(&pieces).0, preface);
    let (passed, _, halt) = follow(&[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP2_PREFACE]);
    assert!(passed.ends_with(b"\r\n\r\n"));
    assert_eq!(halt, Some(FramingHalt::Refused(Rejection::Malformed)));
}

#[test]
fn after_an_upgrade_it_depends_on_the_answer() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let mut framing = Framing::new(LIMITS);
    assert_eq!(
        framing.advance(&[&head[..], b"\x81\x00"].concat()),
        (head.len(), Some(FramingHalt::Undecided))
    );
    framing.decided(true);
    assert_eq!(framing.advance(b"\x81\x00"), (2, None));
    let mut framing = Framing::new(LIMITS);
    assert_eq!(framing.advance(head), (head.len(), None));
    assert!(framing.is_undecided());
    framing.decided(false);
    assert_eq!(framing.advance(b"\x81\x00"), (0, Some(FramingHalt::Refused(Rejection::Malformed))));
}
