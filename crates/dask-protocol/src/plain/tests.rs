//! What is written plainly, and what is refused.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1000;

const REFERENCE: &[u8] = b"\x8c\x0fdask._task_spec\x8c\x07TaskRef\x93\x8c\x03k-1\x85R";

/// What is written of the tuple of arguments that some opcodes leave, with these
/// values.
fn written(opcodes: &[u8], values: &HashMap<Key, Serialized>) -> Result<Vec<u8>, NotPlain> {
    let pickle = [b"\x80\x04", opcodes, b"."].concat();
    let symbols = Symbols::read(&pickle, 0).map_err(|error| NotPlain(error.to_string()))?;
    let nodes = symbols.items(symbols.root()).ok_or_else(|| NotPlain("no tuple".into()))?;
    Template::of_tuple(&symbols, &[], nodes, LIMIT)?.fill(|key| values.get(key))
}

#[test]
fn values_are_written_plainly_with_what_they_refer_to() {
    let args = [b"(](K\x01K\x02e", REFERENCE, REFERENCE, b"t"].concat();
    let zero = Serialized::from_pickle(b"\x80\x05G\0\0\0\0\0\0\0\0.".to_vec());
    let expected = b"\x80\x04(](K\x01K\x02eG\0\0\0\0\0\0\0\0G\0\0\0\0\0\0\0\0t.";
    assert_eq!(written(&args, &HashMap::from([("k-1".into(), zero)])).unwrap(), expected);
    let bytes = Serialized::from_bytes(b"hi".to_vec());
    let with_bytes = written(&args, &HashMap::from([("k-1".into(), bytes)])).unwrap();
    assert!(with_bytes.ends_with(b"C\x02hiC\x02hit."));
    assert!(written(&args, &HashMap::new()).unwrap_err().0.contains("missing"));
}

#[test]
fn a_value_that_refers_to_itself_is_refused() {
    let pickle = [b"\x80\x04", REFERENCE, b"."].concat();
    let itself = HashMap::from([("k-1".into(), Serialized::from_pickle(pickle))]);
    let args = [REFERENCE, b"\x85"].concat();
    assert!(written(&args, &itself).unwrap_err().0.contains("refers to another"));
}

#[test]
fn what_only_python_has_is_refused_by_name() {
    let args = b"\x8c\x06pandas\x8c\x06Series\x93\x8c\x011\x85R\x85";
    let error = written(args, &HashMap::new()).unwrap_err();
    let advice = "send its numbers by `.to_numpy()`, or `.to_dict()`";
    assert_eq!(error.to_string(), format!("only Python knows pandas.Series: {advice}"));
    let decimal = b"\x8c\x07decimal\x8c\x07Decimal\x93(\x8c\x011tR";
    let args = [&decimal[..], b"\x85"].concat();
    let plain = [b"\x80\x04(", &decimal[..], b"t."].concat();
    assert_eq!(written(&args, &HashMap::new()).unwrap(), plain);
}

/// Doubles what is written 40 times.
fn doubled(what: &[u8]) -> Vec<u8> {
    let mut args = [what, b"\x940"].concat();
    for level in 0..40 {
        args.extend([b']', b'(', b'h', level, b'h', level, b'e', 0x94, b'0']);
    }
    args.extend([b'h', 40, 0x85]);
    args
}

#[test]
fn a_small_value_that_stands_for_a_huge_one_is_refused() {
    for what in [&b"]"[..], REFERENCE] {
        let error = written(&doubled(what), &HashMap::new()).unwrap_err();
        assert!(error.0.contains("limit"), "{error}");
    }
    let large = HashMap::from([("k-1".into(), Serialized::from_bytes(vec![0; LIMIT / 2]))]);
    let args = [REFERENCE, REFERENCE, b"\x86"].concat();
    assert!(written(&args, &large).unwrap_err().0.contains("limit"));
}

proptest! {
    #[test]
    fn nonsense_never_panics(
        code in prop::collection::vec(
            prop::sample::select(&b".NK\x01(t])}u\x85\x86\x93Rb\x94h\0cm\n"[..]), 0..100),
    ) {
        let _ = written(&code, &HashMap::new());
    }
}
