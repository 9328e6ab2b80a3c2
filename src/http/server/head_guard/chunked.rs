//! Finds the end of a chunked body (RFC 9112, 7.1), byte for byte as hyper reads it.

/// Maximum number of bytes of chunk extensions in one body, as in hyper: nobody uses them.
const EXTENSION_BYTES_MAX: u64 = 16 * 1024;

/// Within a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    place: Place,
    /// The chunk's size while its line is read, then what is left of its data.
    left: u64,
    extension_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first digit of a size.
    Start,
    Size,
    /// White space after a size.
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    LineStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// Extent of a body in the given bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkProgress {
    /// All bytes belong to it, and more are to come.
    More,
    /// It ended after this many bytes.
    Ended(usize),
    /// It is malformed, at the last of this many bytes.
    Broken(usize),
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self { place: Place::Start, left: 0, extension_bytes: 0 }
    }

    /// Continues over `bytes`.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> ChunkProgress {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.place == Place::Data {
                let here = bytes.len() - at;
                let data = usize::try_from(self.left).map_or(here, |left| left.min(here));
                self.left -= data as u64;
                at += data;
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            at += 1;
            match self.step(*byte) {
                None => return ChunkProgress::Broken(at),
                Some(Place::End) => return ChunkProgress::Ended(at),
                Some(place) => self.place = place,
            }
        }
        ChunkProgress::More
    }

    /// Returns the state after `byte`; `None`: the body is malformed.
    fn step(&mut self, byte: u8) -> Option<Place> {
        let place = match (self.place, byte) {
            (Place::Start, _) => {
                self.left = 0;
                self.digit(byte)?
            }
            (Place::Size | Place::SizeSpace, b'\t' | b' ') => Place::SizeSpace,
            (Place::Size | Place::SizeSpace, b';') => Place::Extension,
            (Place::Size | Place::SizeSpace | Place::Extension, b'\r') => Place::SizeLf,
            (Place::Size, _) => self.digit(byte)?,
            (Place::Extension, _) if byte != b'\n' => {
                self.extension_bytes += 1;
                if self.extension_bytes >= EXTENSION_BYTES_MAX {
                    return None;
                }
                Place::Extension
            }
            (Place::SizeLf, b'\n') if self.left == 0 => Place::LineStart,
            (Place::SizeLf, b'\n') => Place::Data,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Start,
            (Place::LineStart, b'\r') => Place::EndLf,
            (Place::Trailer, b'\r') => Place::TrailerLf,
            (Place::LineStart | Place::Trailer, _) => Place::Trailer,
            (Place::TrailerLf, b'\n') => Place::LineStart,
            (Place::EndLf, b'\n') => Place::End,
            _ => return None,
        };
        Some(place)
    }

    fn digit(&mut self, byte: u8) -> Option<Place> {
        let digit = char::from(byte).to_digit(16)?;
        self.left = self.left.checked_mul(16)?.checked_add(u64::from(digit))?;
        Some(Place::Size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_where_it_ends_however_it_is_cut() {
        let bodies: [&[u8]; 5] = [
            b"0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"A ;x=\"y\"\r\n0123456789\r\n00\t\r\nTrailer: 1\r\nOther: 2\r\n\r\n",
            b"2\r\n\r\n\r\n0\r\n\r\n",
            b"1\r\n0\r\n1;a\r\n\n\r\n0;last\r\n\r\n",
        ];
        for body in bodies {
            let more = [body, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(Chunked::new().advance(&more), ChunkProgress::Ended(body.len()));
            for cut in 0..body.len() {
                let mut chunked = Chunked::new();
                assert_eq!(chunked.advance(&more[..cut]), ChunkProgress::More, "cut at {cut}");
                assert_eq!(chunked.advance(&more[cut..]), ChunkProgress::Ended(body.len() - cut));
            }
        }
    }

    #[test]
    fn what_another_reader_could_read_otherwise_is_refused() {
        let bodies: [&[u8]; 11] = [
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"0x5\r\n",
            b" 5\r\n",
            b"5\nhello",
            b"5 5\r\n",
            b"5;a\nb\r\n",
            b"2\r\nabX",
            b"2\r\nab\rX",
            b"10000000000000000\r\n",
        ];
        for body in bodies {
            let progress = Chunked::new().advance(body);
            assert!(matches!(progress, ChunkProgress::Broken(_)), "{}", body.escape_ascii());
        }
    }
}
