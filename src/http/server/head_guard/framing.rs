//! Finds the beginnings and ends of messages on a connection.

use super::super::rejection::Rejection;
use super::chunked::{ChunkProgress, Chunked};
use super::head::{self, BodyFraming, HeadCheck, HeadLimits};

/// First bytes of an HTTP/2 client (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Position of a connection in its stream of messages.
#[derive(Debug)]
pub(super) struct Framing {
    limits: HeadLimits,
    place: Place,
    heads: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing has come: HTTP/2 is possible.
    Start,
    /// Before or in a head. The first bytes of it, as many as are given here, hold no end.
    Head { searched: usize },
    /// In a body with so many bytes left.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunked),
    /// After a head that asked for another protocol: it depends on the answer.
    Undecided,
    /// Not HTTP/1: HTTP/2, or the protocol to which the connection was upgraded.
    Through,
}

/// Reason for which not all bytes could pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramingHalt {
    /// The rest is the beginning of a head.
    Incomplete,
    /// The rest begins with a head that may not pass.
    Refused(Rejection),
    /// The body is malformed, at the last byte that passes.
    BrokenBody,
    /// The meaning of the rest depends on the answer to the request before it.
    Undecided,
}

impl Framing {
    pub(super) const fn new(limits: HeadLimits) -> Self {
        Self { limits, place: Place::Start, heads: 0 }
    }

    /// Heads that have passed.
    pub(super) const fn heads(&self) -> u64 {
        self.heads
    }

    /// Returns whether a message has begun and not ended.
    pub(super) const fn inside_message(&self) -> bool {
        matches!(self.place, Place::Length(_) | Place::Chunked(_))
    }

    /// Returns whether the client requested an upgrade that is not answered yet.
    pub(super) const fn is_undecided(&self) -> bool {
        matches!(self.place, Place::Undecided)
    }

    /// Notes that the requested upgrade was answered.
    pub(super) const fn decided(&mut self, granted: bool) {
        self.place = if granted { Place::Through } else { Place::Head { searched: 0 } };
    }

    /// Continues over `bytes`. Returns how many of them may pass, and why not all. Bytes that did
    /// not pass must be given again, with more behind them.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> (usize, Option<FramingHalt>) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.place {
                Place::Start => {
                    let same = rest.iter().zip(HTTP2_PREFACE).take_while(|(a, b)| a == b).count();
                    if same == HTTP2_PREFACE.len() {
                        self.place = Place::Through;
                    } else if same == rest.len() {
                        return (at, Some(FramingHalt::Incomplete));
                    } else {
                        self.place = Place::Head { searched: 0 };
                    }
                }
                Place::Head { searched } => match head::check(rest, *searched, &self.limits) {
                    HeadCheck::Incomplete => {
                        *searched = rest.len();
                        return (at, Some(FramingHalt::Incomplete));
                    }
                    HeadCheck::Refused(rejection) => {
                        return (at, Some(FramingHalt::Refused(rejection)));
                    }
                    HeadCheck::Good { bytes, body } => {
                        self.heads += 1;
                        at += bytes;
                        self.place = match body {
                            BodyFraming::Length(0) => Place::Head { searched: 0 },
                            BodyFraming::Length(left) => Place::Length(left),
                            BodyFraming::Chunked => Place::Chunked(Chunked::new()),
                            BodyFraming::Upgrade => Place::Undecided,
                        };
                    }
                },
                Place::Length(left) => {
                    let here =
                        usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= here as u64;
                    at += here;
                    if *left == 0 {
                        self.place = Place::Head { searched: 0 };
                    }
                }
                Place::Chunked(chunked) => match chunked.advance(rest) {
                    ChunkProgress::More => at = bytes.len(),
                    ChunkProgress::Ended(here) => {
                        at += here;
                        self.place = Place::Head { searched: 0 };
                    }
                    ChunkProgress::Broken(here) => {
                        return (at + here, Some(FramingHalt::BrokenBody));
                    }
                },
                Place::Undecided => return (at, Some(FramingHalt::Undecided)),
                Place::Through => at = bytes.len(),
            }
        }
        (at, None)
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "hyper_tests.rs"]
mod hyper_tests;
