#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanoseconds)| Stamp { seconds, nanoseconds })
}

fn extents() -> impl Strategy<Value = Vec<Extent>> {
    let id = proptest::option::of(any::<[u8; 16]>().prop_map(ChunkId::from_bytes));
    let extent = (any::<u32>(), any::<u32>(), 1u32.., id).prop_map(|(pack, offset, length, id)| Extent {
        pack,
        offset,
        length,
        id,
    });
    proptest::collection::vec(extent, 0..4)
}

fn path() -> impl Strategy<Value = Path> {
    proptest::collection::vec(any::<u8>(), 1..40).prop_map(Path)
}

fn content() -> impl Strategy<Value = Content> {
    let kind = proptest::sample::select(vec![
        EntryKind::Dir,
        EntryKind::Symlink,
        EntryKind::Fifo,
        EntryKind::Block,
    ]);
    let entry = (
        kind,
        path(),
        any::<(u32, u32, u32, u64, bool)>(),
        stamp(),
        stamp(),
        proptest::option::of(path()),
        extents(),
    )
        .prop_map(
            |(kind, path, (mode, uid, gid, inode, changed), mtime, ctime, link, extents)| {
                Content::Entry(Entry {
                    kind,
                    path,
                    mode,
                    uid,
                    gid,
                    size: 0,
                    mtime,
                    ctime,
                    inode,
                    link,
                    changed,
                    extents,
                })
            },
        );
    prop_oneof![
        entry,
        path().prop_map(|p| Content::Skip(p, SkipReason::Socket)),
        ("\\PC{0,30}", any::<u64>()).prop_map(|(n, rows)| Content::Table(n, rows)),
        extents().prop_map(Content::Data),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn contents_read_back_as_written(lines in proptest::collection::vec(content(), 0..20), closing in extents()) {
        let artefact = ArtefactId::from_bytes([3; 16]);
        let mut writer = ContentsWriter::new(Vec::new(), artefact).unwrap();
        for line in &lines {
            writer.write(line).unwrap();
        }
        let (bytes, written) = writer.finish(closing.clone()).unwrap();
        prop_assert_eq!(bytes.len() as u64, written);
        let mut expected = lines;
        expected.push(Content::End(closing));
        let read: Result<Vec<_>, _> = ContentsReader::new(&bytes[..], artefact).unwrap().collect();
        prop_assert_eq!(read.unwrap(), expected);
        for cut in [bytes.len() - 1, bytes.len() / 2] {
            let mut reader = match ContentsReader::new(&bytes[..cut], artefact) {
                Ok(reader) => reader,
                Err(_) => continue,
            };
            prop_assert!(reader.any(|line| line.is_err()), "cut contents must not read as whole");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = line::decode(&bytes);
    }
}

#[test]
fn other_artefacts_contents_are_refused() {
    let (bytes, _) = ContentsWriter::new(Vec::new(), ArtefactId::from_bytes([1; 16]))
        .unwrap()
        .finish(vec![])
        .unwrap();
    assert!(ContentsReader::new(&bytes[..], ArtefactId::from_bytes([2; 16])).is_err());
}

#[test]
fn lines_are_the_documented_ones() {
    let entry = Content::Entry(Entry {
        kind: EntryKind::File,
        path: Path(b"a/b".to_vec()),
        mode: 0o644,
        uid: 1,
        gid: 2,
        size: 5,
        mtime: Stamp {
            seconds: 10,
            nanoseconds: 11,
        },
        ctime: Stamp {
            seconds: 12,
            nanoseconds: 13,
        },
        inode: 99,
        link: None,
        changed: false,
        extents: vec![
            Extent {
                pack: 0,
                offset: 0,
                length: 512,
                id: None,
            },
            Extent {
                pack: 0,
                offset: 512,
                length: 512,
                id: Some(ChunkId::from_bytes([0xaa; 16])),
            },
        ],
    });
    let mut writer = ContentsWriter::new(Vec::new(), ArtefactId::from_bytes([1; 16])).unwrap();
    writer.write(&entry).unwrap();
    writer
        .write(&Content::Skip(Path(vec![0xff, b'x']), SkipReason::Socket))
        .unwrap();
    writer.write(&Content::Table("public.t".to_owned(), 7)).unwrap();
    let (bytes, _) = writer.finish(vec![]).unwrap();
    insta::assert_snapshot!(String::from_utf8(bytes).unwrap());
}

#[test]
fn paths_sort_like_a_walk() {
    let order = |a: &[u8], b: &[u8]| Path(a.to_vec()).compare(&Path(b.to_vec()));
    use std::cmp::Ordering::Less;
    assert_eq!(order(b".", b"!"), Less);
    assert_eq!(order(b"a", b"a/b"), Less);
    assert_eq!(
        order(b"a/b", b"a-b"),
        Less,
        "what is in a directory comes before its next sibling"
    );
}
