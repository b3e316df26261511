//! Digits, as a visitor draws them.

use browser::Browser;

/// Draws strokes, whose points are parts of the canvas, with a pointer.
const DRAW: &str = "
    const send = (type, [x, y]) => {
        const box = pad.getBoundingClientRect();
        const at = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
        pad.dispatchEvent(new PointerEvent(type, { pointerId: 1, bubbles: true, ...at }));
    };
    pad.setPointerCapture = () => {};
    document.getElementById('clear').click();
    for (const stroke of STROKES) {
        send('pointerdown', stroke[0]);
        for (let n = 1; n < stroke.length; n++) {
            const [from, to] = [stroke[n - 1], stroke[n]];
            for (let part = 0.1; part < 1.05; part += 0.1) {
                send('pointermove', [0, 1].map(k => from[k] + (to[k] - from[k]) * part));
            }
        }
        send('pointerup', stroke.at(-1));
    }";

/// Digits as people write them.
pub const DRAWN: [(&str, &str); 10] = [
    (
        "0",
        "[[[.5,.1],[.36,.18],[.29,.36],[.28,.6],[.36,.83],[.5,.9],[.64,.83],[.72,.6],[.71,.36],[.64,.18],[.5,.1]]]",
    ),
    ("1", "[[[.4,.25],[.54,.1],[.54,.9]]]"),
    ("2", "[[[.3,.28],[.38,.13],[.55,.1],[.68,.2],[.68,.36],[.55,.56],[.3,.88],[.72,.88]]]"),
    (
        "3",
        "[[[.3,.15],[.5,.1],[.66,.18],[.66,.36],[.48,.47],[.66,.58],[.68,.76],[.52,.9],[.3,.85]]]",
    ),
    ("4", "[[[.55,.1],[.28,.6],[.74,.6]],[[.6,.38],[.58,.92]]]"),
    ("5", "[[[.7,.1],[.36,.1],[.34,.45],[.52,.4],[.68,.52],[.69,.72],[.54,.9],[.3,.86]]]"),
    (
        "6",
        "[[[.62,.1],[.42,.28],[.32,.55],[.34,.8],[.5,.9],[.66,.8],[.66,.62],[.52,.53],[.35,.63]]]",
    ),
    ("7", "[[[.28,.12],[.72,.12],[.58,.45],[.46,.9]]]"),
    (
        "8",
        "[[[.5,.48],[.35,.36],[.36,.18],[.5,.1],[.64,.18],[.65,.36],[.5,.48],[.34,.62],[.34,.82],[.5,.9],[.66,.82],[.66,.62],[.5,.48]]]",
    ),
    ("9", "[[[.66,.36],[.5,.48],[.36,.38],[.36,.2],[.5,.1],[.65,.18],[.67,.4],[.6,.7],[.48,.9]]]"),
];

/// A zero, as the page sends it.
pub const ZERO: &str = "[0,0,5,13,9,1,0,0,0,0,13,15,10,15,5,0,0,3,15,2,0,11,8,0,0,4,12,0,0,8,8,0,\
    0,5,8,0,0,9,8,0,0,4,11,0,1,12,7,0,0,2,14,5,10,12,0,0,0,0,6,13,10,0,0,0]";

/// Draws a digit on the page of the examples `digits` and `sklearn`.
pub fn draw(browser: &Browser, strokes: &str) {
    browser.script(&DRAW.replace("STROKES", strokes));
}
