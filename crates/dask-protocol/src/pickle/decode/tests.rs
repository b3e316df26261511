//! What is read as values of Rust, and what is refused.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::pickle::{DEPTH, Pickle, from_slice, write_value};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Line(i8, u16),
    Text { content: String, bold: Option<bool> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Drawing {
    shapes: Vec<Shape>,
    sizes: BTreeMap<String, (i64, u64)>,
    nothing: (),
    letter: char,
}

fn pickled<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let mut pickle = Pickle::new();
    write_value(value, &mut pickle).map_err(|error| error.to_string())?;
    Ok(pickle.finish())
}

#[track_caller]
fn comes_back<T: Serialize + serde::de::DeserializeOwned + PartialEq + Debug>(value: T) {
    assert_eq!(from_slice::<T>(&pickled(&value).unwrap()).as_ref(), Ok(&value));
}

#[test]
fn values_come_back() {
    comes_back(());
    comes_back((1_u8, "two".to_owned(), 3.5, None::<u8>, Some(true)));
    comes_back([u64::MAX, 1 << 63, (1 << 63) - 1, 0]);
    comes_back([i64::MIN, i64::MAX, -1]);
    comes_back(vec![vec![1_u8, 2], vec![]]);
    let text = Shape::Text { content: "é".into(), bold: Some(false) };
    comes_back(Drawing {
        shapes: vec![Shape::Point, Shape::Circle(1.0), Shape::Line(-1, 2), text],
        sizes: [("a".to_owned(), (-5, u64::MAX))].into(),
        nothing: (),
        letter: 'ß',
    });
}

#[test]
fn integers_have_up_to_128_bits() {
    comes_back([i128::MIN, i128::MAX, -1, 1 << 64, 0]);
    comes_back([u128::MAX, 1 << 127, u64::MAX.into(), 0]);
    let two_to_100 = b"\x80\x04\x8a\x0d\0\0\0\0\0\0\0\0\0\0\0\0\x10.";
    let error = from_slice::<u64>(two_to_100).unwrap_err();
    assert!(error.to_string().contains("an int beyond 64 bits"), "{error}");
}

#[test]
fn depth_is_bounded_both_ways() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Link {
        End,
        Next(Option<Box<Link>>),
    }
    let chain = |levels| (0..levels).fold(Link::End, |next, _| Link::Next(Some(Box::new(next))));
    comes_back(chain(DEPTH / 2));
    let error = pickled(&chain(DEPTH / 2 + 1)).unwrap_err();
    assert!(error.contains("more than 128 levels"), "{error}");
}

#[test]
fn bytes_are_read_as_a_list_of_numbers_too() {
    assert_eq!(from_slice::<Vec<u8>>(b"\x80\x04C\x02\0\xff."), Ok(vec![0, 255]));
    assert_eq!(from_slice::<(u8, u8)>(b"\x80\x04](K\x01K\x02e."), Ok((1, 2)));
    assert!(from_slice::<(u8, u8)>(b"\x80\x04](K\x01e.").is_err());
}

#[test]
fn what_only_python_has_is_named() {
    let object = b"\x80\x04\x8c\x07decimal\x8c\x07Decimal\x93\x8c\x011\x85R.";
    let error = from_slice::<f64>(object).unwrap_err();
    assert!(error.to_string().contains("decimal.Decimal"), "{error}");
    assert!(error.to_string().contains("send `float(x)`"), "{error}");
    let enumeration = b"\x80\x04\x8c\x03app\x8c\x05Color\x93\x8c\x01a\x85R.";
    let error = from_slice::<Shape>(enumeration).unwrap_err().to_string();
    assert!(error.contains("app.Color") && error.contains("`.value` of an enum"), "{error}");
}

#[test]
fn a_small_pickle_that_stands_for_a_huge_value_is_refused() {
    // Each list holds the one before twice: 2 to the 40.
    let mut bomb = b"\x80\x04]\x94".to_vec();
    for level in 0..40 {
        bomb.extend([b']', b'(', b'h', level, b'h', level, b'e', 0x94]);
    }
    bomb.push(b'.');
    let error = from_slice::<serde::de::IgnoredAny>(&bomb).unwrap_err();
    assert!(error.to_string().contains("shares too much"), "{error}");
    let error = from_slice::<serde::de::IgnoredAny>(b"\x80\x04]\x94h\0a.").unwrap_err();
    assert!(error.to_string().contains("nested more than 128 levels"), "{error}");
}

proptest! {
    #[test]
    fn any_value_comes_back(
        ints in prop::collection::vec(any::<i64>(), 0..20),
        text in ".{0,40}",
        float in prop::num::f64::NORMAL,
        naturals in prop::collection::btree_map(".{0,8}", any::<u64>(), 0..8),
    ) {
        comes_back((ints, text, float, naturals));
    }
}

#[test]
fn options_of_options_come_back() {
    comes_back([None, Some(None), Some(Some(None)), Some(Some(Some(1_u8)))]);
    comes_back((Some(()), None::<()>, Some(Some(()))));
    let some_none = pickled(&Some(None::<u8>)).unwrap();
    let object = b"\x80\x04\x8c\x05types\x8c\x0fSimpleNamespace\x93)R}(\x8c\x04SomeNub.";
    assert_eq!(some_none, object);
}

#[test]
fn a_nan_keeps_its_payload() {
    let bits = |single: u32| from_slice::<f32>(&pickled(&f32::from_bits(single)).unwrap());
    for single in [0x7fa0_0123, 0xffc0_0001, 0x7fc0_0000, 0x7f80_0001] {
        assert_eq!(bits(single).unwrap().to_bits(), single);
    }
    let double = f64::from_bits(0xfff4_0000_dead_beef);
    let back = from_slice::<f64>(&pickled(&double).unwrap()).unwrap();
    assert_eq!(back.to_bits(), double.to_bits());
}

#[test]
fn keys_are_tuples_and_never_dicts() {
    comes_back(BTreeMap::from([(vec![1_u8, 2], 1_u8), (vec![], 2)]));
    comes_back(BTreeMap::from([(None, 1_u8), (Some(2_u8), 2)]));
    let error = pickled(&vec![BTreeMap::from([(Some(None::<u8>), 1_u8)])]).unwrap_err();
    assert!(error.contains("send a list of pairs"), "{error}");
}

#[test]
fn an_error_says_where() {
    let drawing = b"\x80\x04}(\x8c\x06shapes](\x8c\x05Pointeu.";
    let error = from_slice::<BTreeMap<String, Vec<u8>>>(drawing).unwrap_err().to_string();
    assert!(error.ends_with("at `shapes[0]`"), "{error}");
    #[derive(Serialize)]
    struct Upload {
        files: Vec<std::path::PathBuf>,
    }
    let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&[0xff]);
    let error = pickled(&Upload { files: vec![path.into()] }).unwrap_err();
    assert!(error.ends_with("send its bytes instead, at `files[0]`"), "{error}");
}

#[test]
fn what_is_left_over_is_no_value() {
    let three = b"\x80\x04](K\x01K\x02K\x03e.";
    #[derive(Debug, Deserialize)]
    struct Two {
        _a: u8,
        _b: u8,
    }
    assert!(from_slice::<Two>(three).unwrap_err().to_string().contains("1 items too many"));
    assert!(from_slice::<[u8; 2]>(b"\x80\x04C\x03abc.").is_err());
}

/// What numpy 1 writes, and numpy 2, by the names of its modules.
fn both(pickle: &[u8]) -> [Vec<u8>; 2] {
    let text: String = pickle.iter().map(|byte| char::from(*byte)).collect();
    let renamed = text
        .replace("\x15numpy.core.multiarray", "\x16numpy._core.multiarray")
        .replace("\x12numpy.core.numeric", "\x13numpy._core.numeric");
    assert_ne!(text, renamed);
    [pickle.to_vec(), renamed.chars().map(|c| c as u8).collect()]
}

const I2: &[u8] =
    b"\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02i2\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xff\
    J\xff\xff\xff\xffK\x00tb";

#[test]
fn numpy_of_both_releases_is_known_by_its_names() {
    let scalar =
        [b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x06scalar\x93", I2, b"C\x02\xfe\xff\x86R."];
    for pickle in both(&scalar.concat()) {
        assert_eq!(from_slice::<i64>(&pickle), Ok(-2));
        assert!(from_slice::<u8>(&pickle).is_err());
    }
    let array = [
        b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x0c_reconstruct\x93\x8c\x05numpy\x8c\x07ndarray\x93K\x00\
        \x85C\x01b\x87R(K\x01K\x02K\x02\x86",
        I2,
        b"\x89C\x08\x00\x00\x01\x00\x02\x00\x03\x00tb.",
    ];
    let in_band = [
        b"\x80\x05\x8c\x12numpy.core.numeric\x8c\x0b_frombuffer\x93(\x96\x08\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x01\x00\x02\x00\x03\x00",
        I2,
        b"K\x02K\x02\x86\x8c\x01CtR.",
    ];
    for pickle in [array, in_band].iter().flat_map(|parts| both(&parts.concat())) {
        assert_eq!(from_slice::<[[u8; 2]; 2]>(&pickle), Ok([[0, 1], [2, 3]]));
        assert!(from_slice::<(Vec<u8>,)>(&pickle).is_err(), "one row would be lost");
    }
}

#[test]
fn a_small_pickle_that_stands_for_many_numbers_is_refused() {
    let range = b"\x80\x04\x8c\x08builtins\x8c\x05range\x93K\x00\x8a\x06\0\0\0\0\0\x01K\x01\x87R.";
    let error = from_slice::<Vec<u64>>(range).unwrap_err().to_string();
    assert!(error.contains("shares too much"), "{error}");
    // A shape of 2 to the 40 rows of nothing.
    let rows = [
        &b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x0c_reconstruct\x93\x8c\x05numpy\x8c\x07ndarray\x93K\x00\
        \x85C\x01b\x87R(K\x01\x8a\x06\0\0\0\0\0\x01K\x00\x86"[..],
        I2,
        b"\x89C\x00tb.",
    ];
    let error = from_slice::<Vec<Vec<u8>>>(&rows.concat()).unwrap_err().to_string();
    assert!(error.contains("shares too much"), "{error}");
}
