//! Archives as each version of the format has them. Those of real programs are in the end-to-end tests.

use super::*;

fn number(out: &mut Vec<u8>, value: i32) {
    out.push(u8::from(value < 0));
    out.extend(value.unsigned_abs().to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: Option<&str>) {
    number(out, text.map_or(-1, |text| i32::try_from(text.len()).unwrap()));
    out.extend(text.unwrap_or_default().bytes());
}

fn entry(out: &mut Vec<u8>, minor: u8, id: i32, has_data: bool) {
    number(out, id);
    number(out, has_data.into());
    for part in ["1259", "16385", "a tag", "TABLE DATA"] {
        text(out, Some(part));
    }
    number(out, 3);
    for part in ["CREATE TABLE t (a int)", "", "COPY t FROM stdin", "public", ""] {
        text(out, (part != "public").then_some(part));
    }
    if minor >= 14 {
        text(out, Some("heap"));
    }
    if minor >= 16 {
        number(out, 114);
    }
    text(out, Some("postgres"));
    text(out, Some("false"));
    for dependency in [Some("7"), Some("12"), None] {
        text(out, dependency);
    }
    out.push(2);
    out.extend([0; 8]);
}

fn pieces(out: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        text(out, Some(piece));
    }
    number(out, 0);
}

/// An archive with one entry without data, two tables of which one is empty, and three large objects.
fn archive(minor: u8) -> Vec<u8> {
    let mut out = b"PGDMP".to_vec();
    out.extend([1, minor, 0, 4, 8, CUSTOM]);
    match minor {
        15.. => out.push(0),
        _ => number(&mut out, 0),
    }
    for part in [1, 2, 3, 4, 5, 126, 0] {
        number(&mut out, part);
    }
    for part in [Some("a database"), Some("15.1"), None] {
        text(&mut out, part);
    }
    number(&mut out, 4);
    for (id, has_data) in [(5, false), (300, true), (70_000, true), (8, true)] {
        entry(&mut out, minor, id, has_data);
    }
    for (id, rows) in [(300, &["1\n", "2\n"][..]), (70_000, &[])] {
        out.push(TABLE);
        number(&mut out, id);
        pieces(&mut out, rows);
    }
    out.push(OBJECTS);
    number(&mut out, 8);
    for (object, data) in [(16_400, &["large", "r"][..]), (16_401, &[]), (16_402, &["x"])] {
        number(&mut out, object);
        pieces(&mut out, data);
    }
    number(&mut out, 0);
    out
}

fn judge(bytes: &[u8], step: usize) -> Result<Option<String>, String> {
    let mut archive = Archive::default();
    bytes.chunks(step).for_each(|chunk| archive.take(chunk));
    archive.end()
}

#[test]
fn a_whole_archive_is_whole_and_every_shorter_one_is_not() {
    for minor in KNOWN {
        let whole = archive(minor);
        for step in [1, 3, 64, whole.len()] {
            assert_eq!(judge(&whole, step), Ok(None), "1.{minor} by {step}");
        }
        for length in 0..whole.len() {
            assert!(judge(&whole[..length], 50).is_err(), "{length} of 1.{minor}");
        }
    }
}

#[test]
fn what_is_wrong_is_told() {
    let whole = archive(14);
    let told = |bytes: &[u8], what: &str| {
        let problem = judge(bytes, 9).unwrap_err();
        assert!(problem.contains(what), "{problem}");
    };
    told(b"", "table of contents, after 0 bytes");
    told(b"-- PostgreSQL database dump", "no dump in the custom format");
    told(&whole[..300], "table of contents, after 300 bytes");
    let first = whole
        .windows(7)
        .position(|part| part == [1, 0, 44, 1, 0, 0, 0])
        .unwrap();
    told(&whole[..first], "the data of 3 entries");
    told(&whole[..first + 8], "in the middle of data");
    told(&[&whole[..], b"more"].concat(), "makes no sense");
    let twice = [&whole[..], &whole[first..]].concat();
    told(&twice, "makes no sense");
}

#[test]
fn an_unknown_version_is_not_judged() {
    let mut newer = archive(16);
    newer[6] = 17;
    let told = judge(&newer[..100], 10).unwrap().unwrap();
    assert!(told.contains("1.17"), "{told}");
}
