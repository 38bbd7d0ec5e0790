#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn member(path: &[u8]) -> Member<'_> {
    Member {
        kind: EntryKind::File,
        path,
        link: b"",
        mode: 0o4755,
        uid: 1000,
        gid: 100,
        stored: 5,
        mtime: Stamp {
            seconds: 1_700_000_000,
            nanoseconds: 0,
        },
        device: (0, 0),
        xattrs: &[],
        sparse: None,
    }
}

fn encoded(member: &Member<'_>) -> Vec<u8> {
    let mut out = b"what was there before".to_vec();
    encode(member, &mut out);
    assert_eq!(out.len() % BLOCK, 0);
    out
}

/// The records of the PAX header before an entry, as text.
fn records_of(bytes: &[u8]) -> String {
    assert_eq!(bytes[156], b'x');
    let size = std::str::from_utf8(&bytes[124..135]).unwrap();
    let size = usize::from_str_radix(size, 8).unwrap();
    String::from_utf8(bytes[BLOCK..BLOCK + size].to_vec()).unwrap()
}

#[test]
fn a_plain_file_is_one_documented_block() {
    let bytes = encoded(&member(b"dir/file"));
    let mut expected = b"dir/file".to_vec();
    expected.resize(100, 0);
    expected.extend_from_slice(b"0004755\x000001750\x000000144\x0000000000005\x0014524770400\x00");
    expected.extend_from_slice(b"010717\x00 0");
    expected.resize(257, 0);
    expected.extend_from_slice(b"ustar\x0000");
    expected.resize(329, 0);
    expected.extend_from_slice(b"0000000\x000000000\x00");
    expected.resize(512, 0);
    let text = |b: &[u8]| b.escape_ascii().to_string();
    assert_eq!(text(&bytes), text(&expected));
}

#[test]
fn records_say_what_fields_cannot() {
    let long = [b"d/".as_slice(), &[b'n'; 200]].concat();
    let mut m = member(&long);
    m.link = "é".as_bytes();
    m.stored = 1 << 33;
    m.uid = 2_097_152;
    m.gid = u32::MAX;
    m.mtime = Stamp {
        seconds: -2,
        nanoseconds: 250_000_000,
    };
    let attrs = [(b"user.a=%".to_vec(), b"v\n".to_vec())];
    m.xattrs = &attrs;
    let bytes = encoded(&m);
    let expected = format!(
        "212 path={}\n15 linkpath=é\n19 size=8589934592\n15 uid=2097152\n18 gid=4294967295\n15 mtime=-1.75\n\
         32 SCHILY.xattr.user.a%3D%25=v\n\n",
        String::from_utf8(long.clone()).unwrap()
    );
    assert_eq!(records_of(&bytes), expected);
    let main = &bytes[bytes.len() - BLOCK..];
    assert_eq!(main[..100], long[..100]);
    assert_eq!(main[108..148], *b"0000000\x000000000\x0000000000000\x0000000000000\x00");
}

#[test]
fn sparse_files_and_directories_are_spelled_as_tar_does() {
    let mut m = member(b"a/b");
    m.sparse = Some(1 << 43);
    let bytes = encoded(&m);
    assert_eq!(
        records_of(&bytes),
        "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n23 GNU.sparse.name=a/b\n37 GNU.sparse.realsize=8796093022208\n"
    );
    assert!(bytes[bytes.len() - BLOCK..].starts_with(b"GNUSparseFile.0/a/b\0"));
    let mut m = member(b".");
    m.kind = EntryKind::Dir;
    assert!(encoded(&m).starts_with(b"./\0"));
}

#[test]
fn a_records_length_counts_its_own_digits() {
    for n in 0..1200 {
        let mut out = Vec::new();
        record(&mut out, b"k", &vec![b'v'; n]);
        let told = std::str::from_utf8(&out).unwrap().split(' ').next().unwrap().to_owned();
        assert_eq!(told, out.len().to_string());
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::collection::vec(11u8.., 1..6),
        proptest::collection::vec(b'a'..=b'z', 1..120),
    ]
    .prop_map(|mut part| {
        part.iter_mut().filter(|b| **b == b'/').for_each(|b| *b = b'_');
        part
    });
    // No newlines: this reader splits records at them. (GNU tar, in the tests of trees, does not.)
    proptest::collection::vec(part, 1..6).prop_map(|parts| [b"p".to_vec(), parts.join(&b'/')].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn another_reader_reads_the_same(
        path in name(),
        link in name(),
        kind in proptest::sample::select(vec![EntryKind::File, EntryKind::Dir, EntryKind::Symlink, EntryKind::Hardlink]),
        (uid, gid, seconds, ns) in (any::<u32>(), any::<u32>(), -10i64..1 << 40, 0u32..1_000_000_000),
        value in proptest::collection::vec(11u8.., 0..600),
    ) {
        let mut m = member(&path);
        m.kind = kind;
        let is_link = matches!(kind, EntryKind::Symlink | EntryKind::Hardlink);
        m.link = if is_link { &link } else { b"" };
        m.stored = 0;
        (m.uid, m.gid) = (uid, gid);
        m.mtime = Stamp { seconds, nanoseconds: ns };
        let attrs = [(b"user.x".to_vec(), value.clone())];
        m.xattrs = &attrs;
        let mut bytes = encoded(&m);
        bytes.resize(bytes.len() + 1024, 0);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        let mut expected = path.clone();
        if kind == EntryKind::Dir {
            expected.push(b'/');
        }
        prop_assert_eq!(&*entry.path_bytes(), &expected[..]);
        prop_assert_eq!(entry.link_name_bytes().map(|l| l.to_vec()), is_link.then(|| link.clone()));
        prop_assert_eq!(entry.header().mode().unwrap(), 0o4755);
        let mut found = 0;
        for record in entry.pax_extensions().unwrap().unwrap() {
            let record = record.unwrap();
            match record.key().unwrap() {
                "uid" => prop_assert_eq!(record.value().unwrap(), uid.to_string()),
                "gid" => prop_assert_eq!(record.value().unwrap(), gid.to_string()),
                "SCHILY.xattr.user.x" => {
                    prop_assert_eq!(record.value_bytes(), &value[..]);
                    found += 1;
                }
                "mtime" => {
                    let told: f64 = record.value().unwrap().parse().unwrap();
                    let exact = seconds as f64 + f64::from(ns) / 1e9;
                    prop_assert!((told - exact).abs() < 1e-3, "{} {}", told, exact);
                }
                _ => {}
            }
        }
        prop_assert_eq!(found, 1);
        prop_assert!(entries.next().is_none());
    }
}
