//! After the upgrade: types have other names, places and fields, and functions other versions.

include!("../program.rs");

mod model {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Default, Serialize, Deserialize)]
    pub struct Purchase {
        #[serde(default)]
        pub currency: Option<String>,
        pub lines: Vec<Line>,
        pub id: u64,
        /// What the earlier build asks for.
        pub coupon: String,
        pub from: String,
    }

    #[derive(Debug, Deserialize)]
    pub struct Stripped {
        #[serde(default = "euro")]
        pub currency: String,
        pub lines: Vec<Line>,
        pub id: u64,
    }

    fn euro() -> String {
        "EUR".into()
    }

    #[derive(Debug, Default, Serialize, Deserialize)]
    pub struct Line {
        pub cents: u64,
        pub name: String,
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub struct Receipt {
        pub cents: u64,
        #[serde(default)]
        pub currency: String,
        pub id: u64,
    }
}

use model::{Line, Purchase, Receipt, Stripped};

/// Reads what both builds send, and sends what both of them read.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
struct Read(Stripped);

impl serde::Serialize for Read {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        purchase().serialize(serializer)
    }
}

fn purchase() -> Purchase {
    let lines = vec![Line { name: "tea".into(), cents: 350 }];
    Purchase { id: 8, lines, currency: None, coupon: String::new(), from: "web".into() }
}

#[outboard::task(name = "shop::total")]
fn total(order: Read) -> Receipt {
    let Read(Stripped { currency, lines, id }) = order;
    Receipt { cents: lines.iter().map(|line| line.cents).sum(), currency, id }
}

#[outboard::task(name = "shop::invoice")]
fn invoice(order: Purchase) -> String {
    format!("invoice {} from the {}", order.id, order.from)
}

#[outboard::task(name = "shop::ship", version = 2)]
fn ship(order: u64, express: bool) -> String {
    format!("order {order} by {}", if express { "plane" } else { "ship" })
}

#[outboard::task(name = "shop::pack", version = 1)]
fn pack_as_before(order: u32) -> String {
    format!("order {order} in recycled paper")
}

#[outboard::task(name = "shop::pack", version = 3)]
fn pack(order: u64) -> String {
    format!("order {order} in wood")
}

#[outboard::task(name = "shop::label")]
fn label(picture: Vec<u8>) -> Vec<u8> {
    picture
}

async fn calls(client: &outboard::Client) -> Vec<String> {
    let read = || {
        let Purchase { lines, id, .. } = purchase();
        Read(Stripped { currency: String::new(), lines, id })
    };
    vec![
        said(client, total, read()).await,
        said(client, invoice, purchase()).await,
        said(client, ship, (8, true)).await,
        said(client, pack, 8).await,
        said(client, label, b"tea".to_vec()).await,
    ]
}
