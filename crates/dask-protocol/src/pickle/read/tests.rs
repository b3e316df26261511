//! What is read of pickles, and what is refused.

use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> Result<Symbols<'_>, PickleError> {
    Symbols::read(bytes, 0)
}

/// What `pickle.dumps(operator.attrgetter("rust::square"), 4)` gives.
const ATTRGETTER: &[u8] = b"\x80\x04\x95.\0\0\0\0\0\0\0\x8c\x08operator\x94\x8c\nattrgetter\
    \x94\x93\x94\x8c\x0crust::square\x94\x85\x94R\x94.";

#[test]
fn a_call_stays_a_symbol() {
    let symbols = read(ATTRGETTER).unwrap();
    let call = symbols.call(symbols.root()).expect("a call");
    assert_eq!(symbols.global(call.callable), Some(("operator", "attrgetter")));
    let args = symbols.items(call.args).expect("a tuple");
    assert_eq!(symbols.str(args[0]), Some("rust::square"));
}

#[test]
fn an_object_is_shared_before_it_is_filled() {
    // x = []; x.append(x)
    let symbols = read(b"\x80\x04]\x94h\0a.").unwrap();
    assert_eq!(symbols.items(symbols.root()), Some(&[symbols.root()][..]));
}

#[test]
fn ints_have_any_width() {
    let int = |bytes: &[u8]| read(bytes).unwrap().root();
    assert_eq!(int(b"\x8a\x08\0\0\0\0\0\0\0\x80."), Node::Int(i64::MIN));
    assert_eq!(int(b"\x8a\0."), Node::Int(0));
    assert_eq!(int(b"J\xff\xff\xff\xff."), Node::Int(-1));
    assert!(matches!(int(b"\x8a\x09\0\0\0\0\0\0\0\x80\0."), Node::Long(_)));
}

#[test]
fn what_would_cost_too_much_is_refused() {
    assert_eq!(read(b"Nr\xff\xff\xff\xff.").unwrap_err(), PickleError::TooLarge);
    let mut many = vec![b']'; MAX_COST];
    many.push(b'.');
    assert_eq!(read(&many).unwrap_err(), PickleError::TooLarge);
    assert!(read(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.").is_err());
}

#[test]
fn a_mark_guards_what_is_below_it() {
    for broken in [&b"N(0."[..], b"N(a.", b"(.", b"N(\x85.", b".", b"", b"K", b"h\0.", b"]Nb."] {
        let result = read(broken);
        let fine = broken == b"N(0.";
        assert_eq!(result.is_ok(), fine, "{broken:?}: {result:?}");
    }
}

proptest! {
    #[test]
    fn nonsense_never_panics(
        code in prop::collection::vec(
            prop_oneof![
                any::<u8>(),
                prop::sample::select(&b".NKMJGCBXc()tabesu012hqrjRb]}\x80\x81\x85\x86\x87\x88\
                    \x89\x8a\x8b\x8c\x8f\x90\x91\x92\x93\x94\x96\x97\x98"[..]),
            ],
            0..200,
        ),
    ) {
        let _ = Symbols::read(&code, 2);
    }
}
