//! The model: a gated recurrent unit over tokens of a few characters, in plain Rust.

use std::fmt;

use serde::Deserialize;

/// What `train/train.py` wrote: one line of JSON, then matrices row by row, each row a scale
/// (f32) and its weights (i8).
pub struct Model {
    hidden: usize,
    tokens: Vec<String>,
    /// A row for each token; also the weights of the output.
    embedding: Matrix,
    /// Rows of the update gate, the reset gate and the new state.
    input: Matrix,
    state: Matrix,
    bias: Vec<f32>,
    state_bias: Vec<f32>,
    output_bias: Vec<f32>,
}

/// The file is not one of this model.
#[derive(Debug)]
pub struct Malformed(&'static str);

/// An endless text: each item is the next token.
pub struct Writer<'a> {
    model: &'a Model,
    state: Vec<f32>,
    temperature: f32,
    random: fastrand::Rng,
}

struct Matrix {
    columns: usize,
    weights: Vec<f32>,
}

#[derive(Deserialize)]
struct Header {
    hidden: usize,
    tokens: Vec<String>,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model's file is malformed: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl Model {
    pub fn read(file: &[u8]) -> Result<Self, Malformed> {
        let end = file.iter().position(|&byte| byte == b'\n').ok_or(Malformed("no header"))?;
        let header = serde_json::from_slice(&file[..end]);
        let Header { hidden, tokens } = header.map_err(|_| Malformed("the header is no JSON"))?;
        let mut rest = &file[end + 1..];
        let model = Self {
            embedding: matrix(&mut rest, tokens.len(), hidden)?,
            input: matrix(&mut rest, 3 * hidden, hidden)?,
            state: matrix(&mut rest, 3 * hidden, hidden)?,
            bias: matrix(&mut rest, 1, 3 * hidden)?.weights,
            state_bias: matrix(&mut rest, 1, hidden)?.weights,
            output_bias: matrix(&mut rest, 1, tokens.len())?.weights,
            hidden,
            tokens,
        };
        if rest.is_empty() { Ok(model) } else { Err(Malformed("it is too long")) }
    }

    /// Continues a text. A higher temperature takes less likely words; equal seeds give equal
    /// texts.
    pub fn writer(&self, text: &str, temperature: f32, seed: u64) -> Writer<'_> {
        let state = vec![0.0; self.hidden];
        let random = fastrand::Rng::with_seed(seed);
        let mut writer = Writer { model: self, state, temperature, random };
        // A paragraph begins after a line feed. The book has typographic apostrophes.
        let text = format!("\n{}", text.trim_end().replace('\'', "’"));
        self.encode(&text).into_iter().for_each(|token| writer.read(token));
        writer
    }

    /// The longest token first. Characters that the model does not know are left out.
    fn encode(&self, mut text: &str) -> Vec<usize> {
        let mut encoded = Vec::new();
        while let Some(character) = text.chars().next() {
            let starting = |&n: &usize| text.starts_with(&self.tokens[n]);
            let longest = (0..self.tokens.len()).filter(starting);
            let longest = longest.max_by_key(|&n| self.tokens[n].len());
            encoded.extend(longest);
            text = &text[longest.map_or(character.len_utf8(), |n| self.tokens[n].len())..];
        }
        encoded
    }
}

impl Writer<'_> {
    /// Takes one token into the state.
    fn read(&mut self, token: usize) {
        let Model { hidden, embedding, input, state, bias, state_bias, .. } = self.model;
        let scale = (*hidden as f32).sqrt();
        let embedded: Vec<f32> = embedding.row(token).iter().map(|x| x * scale).collect();
        let of_input = input.times(&embedded);
        let of_state = state.times(&self.state);
        let gate = |n: usize| sigmoid(of_input[n] + bias[n] + of_state[n]);
        for (n, old) in self.state.iter_mut().enumerate() {
            let (update, reset, new) = (gate(n), gate(hidden + n), 2 * hidden + n);
            let new = of_input[new] + bias[new] + reset * (of_state[new] + state_bias[n]);
            *old = (1.0 - update) * new.tanh() + update * *old;
        }
    }

    /// Draws a token. What is twenty times less likely than the best is never drawn.
    fn draw(&mut self) -> usize {
        let Model { embedding, output_bias, .. } = self.model;
        let logits = embedding.times(&self.state);
        let logits: Vec<f32> = logits.iter().zip(output_bias).map(|(x, bias)| x + bias).collect();
        let best = logits.iter().copied().fold(f32::MIN, f32::max);
        let weight = |logit: &f32| {
            let chance = (logit - best).exp();
            if chance < 0.05 { 0.0 } else { ((logit - best) / self.temperature).exp() }
        };
        let weights: Vec<f32> = logits.iter().map(weight).collect();
        let mut left = self.random.f32() * weights.iter().sum::<f32>();
        let drawn = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        drawn.unwrap_or_default()
    }
}

impl<'a> Iterator for Writer<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let token = self.draw();
        self.read(token);
        Some(&self.model.tokens[token])
    }
}

impl Matrix {
    fn row(&self, row: usize) -> &[f32] {
        &self.weights[row * self.columns..][..self.columns]
    }

    fn times(&self, vector: &[f32]) -> Vec<f32> {
        self.weights.chunks_exact(self.columns).map(|row| dot(row, vector)).collect()
    }
}

/// Eight sums side by side, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn matrix(rest: &mut &[u8], rows: usize, columns: usize) -> Result<Matrix, Malformed> {
    let mut weights = Vec::new();
    for _ in 0..rows {
        let short = || Malformed("it is too short");
        let (scale, after) = rest.split_first_chunk().ok_or_else(short)?;
        let (row, after) = after.split_at_checked(columns).ok_or_else(short)?;
        let scale = f32::from_le_bytes(*scale);
        weights.extend(row.iter().map(|weight| f32::from(weight.cast_signed()) * scale));
        *rest = after;
    }
    Ok(Matrix { columns, weights })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const BOOK: &str = include_str!("../train/alice.txt");

    fn model() -> Model {
        Model::read(include_bytes!("../model.bin")).unwrap()
    }

    fn words(text: &str) -> impl Iterator<Item = String> {
        let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase)
    }

    #[test]
    fn nine_words_in_ten_are_words_of_the_book() {
        let known: HashSet<String> = words(BOOK).collect();
        let model = model();
        let text: String = model.writer("The Queen", 0.7, 1).take(500).collect();
        let all: Vec<String> = words(&text).collect();
        let good = all.iter().filter(|word| known.contains(*word)).count();
        assert!(all.len() > 200 && good * 10 >= all.len() * 9, "{good} of {}: {text}", all.len());
    }

    #[test]
    fn a_seed_repeats_its_text() {
        let model = model();
        let text = |seed| model.writer("Alice", 0.9, seed).take(50).collect::<String>();
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn a_prompt_of_any_characters_is_read() {
        let model = model();
        assert!(model.encode("日本").is_empty());
        for prompt in ["", "日本", "don't", " "] {
            assert!(model.writer(prompt, 0.7, 1).next().is_some());
        }
    }

    #[test]
    fn a_file_that_is_cut_off_is_refused() {
        let file = include_bytes!("../model.bin");
        assert!(Model::read(&file[..file.len() - 1]).is_err());
        assert!(Model::read(b"{}").is_err());
    }
}
