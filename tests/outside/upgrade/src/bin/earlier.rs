//! Before the upgrade.

use serde::{Deserialize, Serialize};

include!("../program.rs");

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: u32,
    lines: Vec<Line>,
    /// Later nobody asks for it.
    coupon: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    name: String,
    cents: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    id: u32,
    cents: u32,
}

fn order() -> Order {
    let lines = vec![Line { name: "tea".into(), cents: 350 }];
    Order { id: 7, lines, coupon: "none".into() }
}

#[outboard::task(name = "shop::total")]
fn total(order: Order) -> Receipt {
    Receipt { id: order.id, cents: order.lines.iter().map(|line| line.cents).sum() }
}

#[outboard::task(name = "shop::invoice")]
fn invoice(order: Order) -> String {
    format!("invoice {}", order.id)
}

#[outboard::task(name = "shop::ship")]
fn ship(order: u32) -> String {
    format!("order {order} by train")
}

#[outboard::task(name = "shop::pack")]
fn pack(order: u32) -> String {
    format!("order {order} in paper")
}

#[outboard::task(name = "shop::label")]
fn label(text: String) -> String {
    text
}

async fn calls(client: &outboard::Client) -> Vec<String> {
    vec![
        said(client, total, order()).await,
        said(client, invoice, order()).await,
        said(client, ship, 7).await,
        said(client, pack, 7).await,
        said(client, label, "tea".into()).await,
    ]
}
