//! Content of files, as compressible as that of real ones.

use crate::random::Random;

const WORDS: &[&str] = &[
    "the",
    "of",
    "and",
    "a",
    "to",
    "in",
    "is",
    "backup",
    "was",
    "restore",
    "for",
    "on",
    "with",
    "as",
    "database",
    "at",
    "by",
    "from",
    "volume",
    "are",
    "this",
    "that",
    "not",
    "have",
    "encrypted",
    "or",
    "had",
    "but",
    "one",
    "which",
    "were",
    "order",
    "customer",
    "invoice",
    "their",
    "said",
    "each",
    "time",
    "will",
    "about",
    "more",
    "other",
    "into",
    "container",
    "could",
    "message",
    "than",
    "first",
    "been",
    "event",
    "its",
    "who",
    "now",
    "server",
    "made",
    "over",
    "did",
    "down",
    "only",
    "way",
    "find",
    "use",
    "may",
    "water",
    "long",
    "little",
    "very",
    "after",
    "called",
    "just",
    "where",
    "most",
    "know",
    "archive",
    "through",
    "before",
    "line",
    "right",
    "too",
    "means",
    "old",
    "any",
    "same",
    "tell",
    "boy",
    "follow",
    "came",
    "want",
    "show",
    "also",
    "around",
    "form",
    "three",
    "small",
    "set",
    "put",
    "end",
    "does",
    "another",
    "well",
    "large",
    "must",
    "big",
    "even",
    "such",
    "because",
    "turn",
    "here",
    "why",
    "ask",
    "went",
    "men",
    "read",
    "need",
    "land",
    "different",
    "home",
    "us",
    "move",
    "try",
    "kind",
    "hand",
    "picture",
    "again",
];

/// The kinds of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Prose: compresses to about a third.
    Prose,
    /// Records of one shape with different values: compresses to about a quarter.
    Records,
    /// Log lines: compresses to about a sixth.
    Log,
    /// Data that is compressed already, such as pictures and archives.
    Noise,
}

impl Kind {
    /// Picks a kind in the proportions of a file server: a third of the files is compressed already.
    pub(super) fn any(random: &mut Random) -> Self {
        match random.below(12) {
            0..4 => Self::Prose,
            4..6 => Self::Records,
            6..8 => Self::Log,
            _ => Self::Noise,
        }
    }
}

/// Appends exactly `length` bytes of this kind to `buffer`.
pub(super) fn append(buffer: &mut Vec<u8>, kind: Kind, length: usize, random: &mut Random) {
    let end = buffer.len() + length;
    if kind == Kind::Noise {
        let start = buffer.len();
        buffer.resize(end, 0);
        random.fill(&mut buffer[start..]);
        return;
    }
    while buffer.len() < end {
        match kind {
            Kind::Prose => prose(buffer, random),
            Kind::Records => record(buffer, random),
            Kind::Log | Kind::Noise => log(buffer, random),
        }
    }
    buffer.truncate(end);
}

fn prose(buffer: &mut Vec<u8>, random: &mut Random) {
    // One number gives three words. Common words come more often.
    let number = random.number();
    for shift in [0, 20, 40] {
        let part = usize::try_from((number >> shift) & 0xf_ffff).unwrap_or(0);
        let reach = WORDS.len() >> ((part >> 16) & 3);
        buffer.extend_from_slice(WORDS[part % reach.max(1)].as_bytes());
        buffer.push(if part & 0xf00 == 0 { b'\n' } else { b' ' });
    }
}

fn record(buffer: &mut Vec<u8>, random: &mut Random) {
    let number = random.number();
    buffer.extend_from_slice(b"{\"id\":");
    digits(buffer, number >> 40);
    buffer.extend_from_slice(b",\"customer\":\"");
    buffer.extend_from_slice(random.pick(WORDS).as_bytes());
    buffer.extend_from_slice(b"\",\"amount\":");
    digits(buffer, (number >> 20) & 0xffff);
    buffer.extend_from_slice(b",\"state\":\"open\",\"note\":\"");
    buffer.extend_from_slice(random.pick(WORDS).as_bytes());
    buffer.extend_from_slice(b"\"}\n");
}

fn log(buffer: &mut Vec<u8>, random: &mut Random) {
    let number = random.number();
    buffer.extend_from_slice(b"2026-11-24T02:");
    digits(buffer, 10 + (number & 0x1f));
    buffer.extend_from_slice(b":00.");
    digits(buffer, 1000 + (number >> 54));
    buffer.extend_from_slice(b"Z INFO request served method=GET path=/orders/");
    digits(buffer, (number >> 20) & 0xfff);
    buffer.extend_from_slice(b" status=200 duration_ms=");
    digits(buffer, (number >> 8) & 0xff);
    buffer.push(b'\n');
}

fn digits(buffer: &mut Vec<u8>, mut number: u64) {
    let mut text = [0; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.extend_from_slice(&text[at..]);
}
