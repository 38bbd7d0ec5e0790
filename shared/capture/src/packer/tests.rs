#![allow(clippy::unwrap_used)]
use std::collections::HashSet;

use holdfast_format::{Content, ContentsError, PackRef};
use proptest::prelude::*;

use super::*;
use crate::testing::{Store, assemble, noise, pack_refs, packer};

fn index(packs: &[PackRef], extents: &[Extent], bad: &HashSet<PackId>) -> ParentIndex {
    let lines: Vec<Result<Content, ContentsError>> = vec![Ok(Content::Data(extents.to_vec()))];
    ParentIndex::build(packs, lines.into_iter(), bad).unwrap()
}

/// Adds pieces; a piece is (seed, length, whether it is a chunk).
fn pack(
    store: &Store,
    parent: Option<ParentIndex>,
    bad: &HashSet<PackId>,
    pieces: &[(u64, usize, bool)],
) -> (Packed, Vec<Extent>) {
    let mut packer = packer(store, parent, bad);
    let extents = pieces
        .iter()
        .map(|(seed, length, chunk)| {
            let bytes = noise(*length, *seed);
            if *chunk {
                packer.chunk(&bytes).unwrap()
            } else {
                packer.literal(&bytes, false).unwrap()
            }
        })
        .collect();
    (packer.finish().unwrap(), extents)
}

fn stream(pieces: &[(u64, usize, bool)]) -> Vec<u8> {
    pieces
        .iter()
        .flat_map(|(seed, length, _)| noise(*length, *seed))
        .collect()
}

fn pieces() -> impl Strategy<Value = Vec<(u64, usize, bool)>> {
    proptest::collection::vec((0u64..12, 1usize..4, any::<bool>()), 1..40).prop_map(|list| {
        list.into_iter()
            .map(|(seed, n, chunk)| (seed, n * 100, chunk))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn extents_give_the_stream_back(first in pieces(), second in pieces()) {
        let store = Store::default();
        let none = HashSet::new();
        let (packed, extents) = pack(&store, None, &none, &first);
        prop_assert_eq!(assemble(&store, &packed, &extents), stream(&first));
        let mut chunks: Vec<_> = first.iter().filter(|p| p.2).map(|p| (p.0, p.1)).collect();
        chunks.sort_unstable();
        chunks.dedup();
        let literal: usize = first.iter().filter(|p| !p.2).map(|p| p.1).sum();
        let expected = literal + chunks.iter().map(|c| c.1).sum::<usize>();
        prop_assert_eq!(packed.new.bytes, expected as u64, "a chunk is stored once");

        let parent = index(&pack_refs(&packed), &extents, &none);
        let (later, extents) = pack(&store, Some(parent), &none, &second);
        prop_assert_eq!(assemble(&store, &later, &extents), stream(&second));
        for (piece, extent) in second.iter().zip(&extents) {
            let old = piece.2 && chunks.contains(&(piece.0, piece.1));
            prop_assert_eq!(later.packs[extent.pack as usize].stored.is_some(), old);
        }
    }

    #[test]
    fn a_stream_that_begins_again_stores_only_what_is_new(
        first in pieces(), ahead in pieces(), again in pieces(), stands in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let store = Store::default();
        let none = HashSet::new();
        let (packed, extents) = pack(&store, None, &none, &first);
        let parent = index(&pack_refs(&packed), &extents, &none);
        let mut packer = packer(&store, Some(parent), &none);
        let mut stored: Vec<Vec<Extent>> = Vec::new();
        for (seed, length, _) in &ahead {
            let header = noise(512, *seed);
            let data = noise(*length, *seed);
            stored.push(vec![packer.literal(&header, false).unwrap(), packer.chunk(&data).unwrap()]);
        }
        packer.begin_again();
        let mut expected = Vec::new();
        let mut extents = Vec::new();
        for ((old, (seed, length, _)), stands) in stored.iter().zip(&ahead).zip(&stands) {
            if *stands {
                let header = noise(512, *seed);
                extents.extend(packer.reuse(Origin::Precopy, &header, true, false, old).unwrap().unwrap());
                expected.extend([header, noise(*length, *seed)].concat());
            }
        }
        for (seed, length, _) in &again {
            extents.push(packer.chunk(&noise(*length, *seed)).unwrap());
            expected.extend(noise(*length, *seed));
        }
        let later = packer.finish().unwrap();
        prop_assert_eq!(assemble(&store, &later, &extents), expected);
        let mut chunks: Vec<_> = ahead.iter().chain(&again).map(|p| (p.0, p.1)).collect();
        chunks.sort_unstable();
        chunks.dedup();
        chunks.retain(|new| !first.iter().any(|old| old.2 && (old.0, old.1) == *new));
        let new = ahead.len() * 512 + chunks.iter().map(|c| c.1).sum::<usize>();
        prop_assert_eq!(later.new.bytes, new as u64);
    }
}

#[test]
fn packs_close_between_target_and_maximum() {
    let store = Store::default();
    let none = HashSet::new();
    let pieces: Vec<_> = (0..45).map(|i| (i, 1_000_000 + i as usize, i % 3 > 0)).collect();
    let (packed, extents) = pack(&store, None, &none, &pieces);
    assert_eq!(assemble(&store, &packed, &extents), stream(&pieces));
    let (last, full) = packed.packs.split_last().unwrap();
    assert_eq!(full.len(), 2);
    assert!(
        full.iter()
            .all(|p| (PACK_TARGET..=PACK_MAX).contains(&(p.plain as usize)))
    );
    assert!((last.plain as usize) < PACK_TARGET);
    assert_eq!(packed.new.packs, 3);

    // A piece that does not fit beside what is there closes the pack before it.
    let (packed, _) = pack(&store, None, &none, &[(1, 15 << 20, false), (2, 15 << 20, false)]);
    assert_eq!(packed.packs.len(), 2);
    let mut packer = packer(&store, None, &none);
    assert!(matches!(
        packer.literal(&noise(PACK_MAX + 1, 1), false),
        Err(CaptureError::Piece(_))
    ));
}

#[test]
fn thin_and_bad_packs_are_not_referenced() {
    let store = Store::default();
    let none = HashSet::new();
    let pieces = [(1, 4000, true), (2, 5000, true)];
    let (packed, extents) = pack(&store, None, &none, &pieces);
    let mut refs = pack_refs(&packed);
    refs[0].used = 4000;
    let thin = index(&refs, &extents[..1], &none);
    assert!(thin.is_empty());
    let (later, again) = pack(&store, Some(thin), &none, &pieces[..1]);
    assert!(later.packs[0].stored.is_none());
    assert_eq!(assemble(&store, &later, &again), stream(&pieces[..1]));

    // The same bytes once more would be the same pack, which is known to be bad: they get another id.
    let bad = HashSet::from([packed.packs[0].id]);
    let parent = index(&pack_refs(&packed), &extents, &bad);
    assert!(parent.is_empty());
    let (later, again) = pack(&store, Some(parent), &bad, &pieces);
    assert_ne!(later.packs[0].id, packed.packs[0].id);
    assert_eq!((later.packs[0].plain, later.packs[0].used), (9001, 9000));
    assert_eq!(assemble(&store, &later, &again), stream(&pieces));
}

#[test]
fn contents_that_do_not_fit_their_packs_are_refused() {
    let store = Store::default();
    let none = HashSet::new();
    let (packed, extents) = pack(&store, None, &none, &[(1, 4000, true)]);
    let refs = pack_refs(&packed);
    for (pack, offset) in [(1, 0), (0, 1), (0, u32::MAX)] {
        let odd = Extent {
            pack,
            offset,
            ..extents[0]
        };
        let lines: Vec<Result<Content, ContentsError>> = vec![Ok(Content::Data(vec![odd]))];
        assert!(ParentIndex::build(&refs, lines.into_iter(), &none).is_err());
    }
}

#[test]
fn extents_that_no_own_pack_holds_do_not_stand() {
    let store = Store::default();
    let none = HashSet::new();
    let mut packer = packer(&store, None, &none);
    let header = packer.literal(&noise(512, 1), false).unwrap();
    let data = packer.chunk(&noise(700, 2)).unwrap();
    packer.begin_again();
    for (pack, offset) in [(1, 512), (0, 513), (0, u32::MAX)] {
        let odd = Extent { pack, offset, ..data };
        let none = packer.reuse(Origin::Precopy, &noise(512, 1), true, false, &[header, odd]);
        assert!(none.unwrap().is_none());
    }
    assert_eq!(packer.size(), 0);
}

#[test]
fn headers_are_referenced_only_if_they_are_the_same() {
    let store = Store::default();
    let none = HashSet::new();
    let header = noise(512, 1);
    let other = noise(512, 2);
    for keep_id in [false, true] {
        let mut first = packer(&store, None, &none);
        let old = vec![
            first.literal(&header, keep_id).unwrap(),
            first.chunk(&noise(700, 3)).unwrap(),
        ];
        let refs = pack_refs(&first.finish().unwrap());
        let reuse = |header: &[u8], same_header| {
            let mut next = packer(&store, Some(index(&refs, &old, &none)), &none);
            let extents = next
                .reuse(Origin::Parent, header, same_header, keep_id, &old)
                .unwrap()
                .unwrap();
            let packed = next.finish().unwrap();
            assert_eq!(assemble(&store, &packed, &extents), [header, &noise(700, 3)].concat());
            packed.new.bytes
        };
        assert_eq!(reuse(&header, true), 0);
        assert_eq!(reuse(&header, false), if keep_id { 0 } else { 512 });
        assert_eq!(reuse(&noise(1024, 1), true), 1024);
        if keep_id {
            assert_eq!(reuse(&other, true), 512, "an id says more than the caller");
        }
    }
}
