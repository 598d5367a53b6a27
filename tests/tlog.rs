//! The transparency log's formats and proofs, beside programs that share no code with ours: ct-merkle,
//! and Cloudflare's `tlog_tiles` and `signed_note`; and a whole log that another program wrote.

#![allow(clippy::print_stderr, reason = "skips are shown")]

#[path = "support/corpus.rs"]
mod corpus;

use std::collections::HashMap;
use std::convert::Infallible;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use entente::proof::merkle::{self, leaf_hash};
use entente::proof::tree::{self, Subtrees, Tiled};
use entente::proof::{
    Checkpoint, Digest, Note, NoteKey, SecretKey, Signer, TileKind, TilePath, bundle_entries,
    tile_hashes,
};
use proptest::prelude::*;
use sha2::Sha256;
use signed_note::{Note as TheirNote, StandardVerifier, VerifierList};
use tlog_tiles::{Hash, Tile, check_record, check_tree};

/// Subtrees computed from all leaves.
struct Leaves(Vec<Digest>);

impl Subtrees for Leaves {
    type Error = Infallible;

    fn subtree(&self, level: u32, index: u64) -> Result<Digest, Infallible> {
        let from = usize::try_from(index << level).expect("a leaf");
        Ok(merkle::root(&self.0[from..from + (1 << level)]))
    }
}

fn entries(count: usize, salt: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|at| [salt.to_be_bytes(), at.to_be_bytes()].concat())
        .collect()
}

fn theirs(hash: &Digest) -> Hash {
    Hash(hash.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn roots_and_proofs_are_those_of_ct_merkle_and_tlog_tiles(
        (size, leaf, old) in (1usize..300).prop_flat_map(|size| (Just(size), 0..size, 1..=size)),
        salt: u64,
    ) {
        let entries = entries(size, salt);
        let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        entries.iter().cloned().for_each(|entry| other.push(entry));
        let leaves = Leaves(entries.iter().map(|entry| leaf_hash(&[entry])).collect());
        let root = tree::root(&leaves, size as u64).unwrap();
        let theirs_root = other.root();
        prop_assert_eq!(root.0.as_slice(), theirs_root.as_bytes().as_slice());

        let path = tree::inclusion_path(&leaves, leaf as u64, size as u64).unwrap().unwrap();
        let flat: Vec<u8> = path.iter().flat_map(|hash| hash.0).collect();
        let proof = other.prove_inclusion(leaf);
        prop_assert_eq!(flat.as_slice(), proof.as_bytes());
        let record = path.iter().map(theirs).collect();
        let (n, t) = (leaf as u64, size as u64);
        prop_assert!(check_record(&record, t, theirs(&root), n, theirs(&leaves.0[leaf])).is_ok());

        let path = tree::consistency_path(&leaves, old as u64, size as u64).unwrap().unwrap();
        if old < size {
            let flat: Vec<u8> = path.iter().flat_map(|hash| hash.0).collect();
            let proof = other.prove_consistency(size - old);
            prop_assert_eq!(flat.as_slice(), proof.as_bytes());
        }
        let before = tree::root(&leaves, old as u64).unwrap();
        let grown = path.iter().map(theirs).collect();
        prop_assert!(check_tree(&grown, t, theirs(&root), old as u64, theirs(&before)).is_ok());
    }

    #[test]
    fn paths_of_tiles_are_those_of_tlog_tiles(
        level in 0u8..=63, index in 0u64..(1 << 40), width in 1u16..=256, data: bool
    ) {
        let kind = if data { TileKind::Entries } else { TileKind::Hashes(level) };
        let path = TilePath::new(kind, index, width).unwrap();
        let level = if data { 0 } else { level };
        let other = Tile::new(8, level, index, width.into(), data);
        // Theirs names the height, which the specification has left out since.
        let text = other.path().replacen("tile/8/", "tile/", 1).replace("tile/data/", "tile/entries/");
        prop_assert_eq!(path.to_string(), text);
    }

    #[test]
    fn notes_and_checkpoints_are_read_and_verified_alike(
        size: u64, root: [u8; 32], seed: [u8; 32], changed in 0usize..400, to: u8
    ) {
        let signer = SecretKey::from_seed(seed).unwrap();
        let key = NoteKey::new("log.example/x", signer.public_key()).unwrap();
        let checkpoint = Checkpoint { origin: "log.example/x".into(), size, root: Digest(root) };
        let note = checkpoint.sign(&signer).unwrap();
        let verifier = StandardVerifier::new(&key.to_string()).unwrap();
        let known = VerifierList::new(vec![Box::new(verifier)]);
        let other = TheirNote::from_bytes(note.as_bytes()).unwrap();
        prop_assert!(other.verify(&known).is_ok());
        let read = tlog_tiles::Checkpoint::from_bytes(other.text()).unwrap();
        prop_assert_eq!((read.origin(), read.size(), read.hash().0), ("log.example/x", size, root));

        // Whatever byte is changed, both judge the note alike.
        let mut bytes = note.into_bytes();
        let at = changed % bytes.len();
        bytes[at] = to;
        let other = TheirNote::from_bytes(&bytes);
        let theirs = other.is_ok_and(|note| note.verify(&known).is_ok());
        let ours = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Note>().ok());
        let ours = ours.is_some_and(|note| note.verify(&[&key]).is_ok());
        prop_assert_eq!(ours, theirs);
    }
}

#[test]
fn a_log_that_another_program_wrote_leads_to_its_checkpoints() {
    let files = corpus::files("tlog/tessera-log");
    let files: HashMap<String, Vec<u8>> = files
        .into_iter()
        .filter_map(|(name, bytes)| Some((name.split_once("/log/")?.1.to_owned(), bytes)))
        .collect();
    let mut read = 0;
    for (name, note) in &files {
        if !name.starts_with("checkpoint") {
            continue;
        }
        let note: Note = String::from_utf8(note.clone())
            .expect("text")
            .parse()
            .expect("a note");
        let head = Checkpoint::parse(note.text()).expect("a checkpoint");
        let tile = |path: &TilePath| -> Result<Vec<Digest>, String> {
            let bytes = files
                .get(&path.to_string())
                .ok_or_else(|| path.to_string())?;
            tile_hashes(path, bytes).map_err(|error| error.to_string())
        };
        let tiled = Tiled::new(head.size, tile);
        assert_eq!(tree::root(&tiled, head.size).expect("tiles"), head.root);
        if let Some(path) = TilePath::in_tree(TileKind::Entries, 0, head.size) {
            let bundle = bundle_entries(&path, &files[&path.to_string()]).expect("a bundle");
            for (at, entry) in (0u64..).zip(bundle) {
                let path = tree::inclusion_path(&tiled, at, head.size).expect("tiles");
                let leaf = leaf_hash(&[entry]);
                let path = path.expect("in the tree");
                let proved = merkle::verify_inclusion(&leaf, at, head.size, &path, &head.root);
                assert_eq!(proved, Ok(()), "{name} {at}");
            }
        }
        read += 1;
    }
    if corpus::corpus().is_some() {
        assert!(read >= 4, "{read} checkpoints");
    }
}
