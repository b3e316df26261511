//! Whatever a pickle says, reading it ends, calls nothing, and costs no more than is in
//! proportion; what is plain in it comes back when it is written again.

use std::collections::BTreeMap;

use dask_protocol::exception::Exception;
use dask_protocol::key::Key;
use dask_protocol::pickle::{self, Symbols};
use dask_protocol::plain::Template;
use dask_protocol::run_spec::{RunSpec, reference};
use dask_protocol::{Serialized, exception};
use serde::{Deserialize, Serialize};

const LIMIT: usize = 1 << 16;

/// What serde may ask for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Sum {
    One(i64),
    Two { text: String, list: Vec<Sum> },
    Three(Option<bool>, (u8, f32)),
}

pub(crate) fn check(data: &[u8]) {
    let Some((buffers, bytes)) = data.split_first() else { return };
    let buffers = vec![b"buffer".to_vec(); usize::from(*buffers % 4)];
    let _ = Exception::read(bytes, Some(bytes));
    let _ = Serialized::from_pickle(bytes.to_vec()).into_bytes();
    let _ = pickle::from_slice::<BTreeMap<String, Vec<u64>>>(bytes);
    if let Ok(sum) = pickle::from_slice::<Sum>(bytes) {
        let again = pickle::to_vec(&sum).expect("it came as one");
        assert_eq!(
            pickle::to_vec(&pickle::from_slice::<Sum>(&again).expect("it is one")),
            Ok(again)
        );
    }
    let Ok(symbols) = Symbols::read(bytes, buffers.len()) else { return };
    let root = symbols.root();
    let _ = (symbols.type_name(root), Key::from_pickle(&symbols, root), reference(&symbols, root));
    let _ = exception::args(&symbols);
    if let Ok(RunSpec::Call { args, .. }) = RunSpec::read(&symbols) {
        let _ = Template::of_tuple(&symbols, &buffers, args, LIMIT);
    }
    let Ok(template) = Template::of(&symbols, &buffers, root, LIMIT) else { return };
    let seven = Serialized::from_bytes(vec![7]);
    let Ok(plain) = template.fill(|_| Some(&seven)) else { return };
    assert!(plain.len() <= LIMIT + 16, "{} bytes", plain.len());
    let symbols = Symbols::read(&plain, 0).expect("we wrote it");
    let template = Template::of(&symbols, &[], symbols.root(), LIMIT + 16).expect("it is plain");
    assert_eq!(template.fill(|_| None), Ok(plain), "what is plain stays as it is");
}
