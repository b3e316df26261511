//! The network of `examples/digits` in plain Rust: three dense layers, with the weights of its
//! file. A library for such files would take longer to build than all of this program.

use anyhow::{Context, ensure};

/// The file that `examples/digits/train` wrote, in the format ONNX.
const FILE: &[u8] = include_bytes!("../../../examples/digits/digits.onnx");

/// The pixels of a drawing: eight rows of eight, each from 0 to `INK`.
pub(super) const PIXELS: usize = 64;
const INK: f32 = 16.0;

/// The layers' widths.
const WIDTHS: [usize; 4] = [PIXELS, 96, 48, 10];

/// A network of dense layers.
pub(super) struct Network(Vec<Layer>);

/// A layer: what each input adds to all outputs, input by input, and what they begin with.
struct Layer {
    matrix: Vec<f32>,
    bias: Vec<f32>,
}

impl Network {
    /// That of the example.
    ///
    /// # Errors
    ///
    /// If its file has other layers than this one knows.
    pub(super) fn load() -> anyhow::Result<Self> {
        let tensors: Vec<_> = message(FILE, MODEL_GRAPH)
            .flat_map(|graph| message(graph, GRAPH_INITIALIZER))
            .map(|tensor| {
                (message(tensor, TENSOR_NAME).next(), message(tensor, TENSOR_DATA).next())
            })
            .collect();
        let floats = |name: String, length: usize| {
            let named = |(of, data): &(Option<&[u8]>, Option<&'static [u8]>)| {
                data.filter(|_| *of == Some(name.as_bytes()))
            };
            let data = tensors.iter().find_map(named).with_context(|| format!("no {name}"))?;
            let (floats, _) = data.as_chunks();
            ensure!(floats.len() == length, "{name} has {} numbers, not {length}", floats.len());
            Ok(floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        };
        let layers = WIDTHS.windows(2).enumerate().map(|(at, widths)| {
            let [inputs, outputs] = [widths[0], widths[1]];
            let matrix = floats(format!("matrix{at}"), inputs * outputs)?;
            Ok(Layer { matrix, bias: floats(format!("bias{at}"), outputs)? })
        });
        layers.collect::<anyhow::Result<_>>().map(Self)
    }

    /// The digit that each drawing most likely is.
    pub(super) fn recognize(&self, drawings: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let pixels = drawings.iter().flat_map(|drawing| drawing.as_ref().iter().take(PIXELS));
        let mut values: Vec<f32> = pixels.map(|pixel| f32::from(*pixel) / INK).collect();
        for (at, layer) in self.0.iter().enumerate() {
            values = layer.apply(&values);
            if at + 1 < self.0.len() {
                values.iter_mut().for_each(|value| *value = value.max(0.0));
            }
        }
        // The largest sum is the largest chance.
        values.chunks_exact(WIDTHS[3]).map(largest).collect()
    }
}

impl Layer {
    /// The outputs for the inputs of several drawings. Each row of the matrix is read once for
    /// all of them.
    fn apply(&self, inputs: &[f32]) -> Vec<f32> {
        let outputs = self.bias.len();
        let width = self.matrix.len() / outputs;
        let mut sums = self.bias.repeat(inputs.len() / width);
        for (at, row) in self.matrix.chunks_exact(outputs).enumerate() {
            let drawings = inputs.chunks_exact(width).zip(sums.chunks_exact_mut(outputs));
            for (inputs, sums) in drawings {
                let input = inputs[at];
                sums.iter_mut().zip(row).for_each(|(sum, weight)| *sum += input * weight);
            }
        }
        sums
    }
}

fn largest(sums: &[f32]) -> u8 {
    let digits = (0..).zip(sums);
    digits.max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(digit, _)| digit)
}

/// Numbers of fields, of ONNX's `ModelProto`, `GraphProto` and `TensorProto`.
const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;
const TENSOR_NAME: u64 = 8;
const TENSOR_DATA: u64 = 9;

/// The fields of that number that are bytes, of a message of Protocol Buffers.
fn message(mut bytes: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let tag = varint(&mut bytes)?;
            let field = match tag & 7 {
                0 => {
                    varint(&mut bytes)?;
                    continue;
                }
                1 => bytes.split_off(..8)?,
                2 => {
                    let length = varint(&mut bytes)? as usize;
                    bytes.split_off(..length)?
                }
                5 => bytes.split_off(..4)?,
                _ => return None,
            };
            if tag >> 3 == number {
                return Some(field);
            }
        }
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A two of scikit-learn's data, for those who want a drawing.
pub(super) const TWO: [u8; PIXELS] = [
    0, 0, 0, 4, 15, 12, 0, 0, 0, 0, 3, 16, 15, 14, 0, 0, 0, 0, 8, 13, 8, 16, 0, 0, 0, 0, 1, 6, 15,
    11, 0, 0, 0, 1, 8, 13, 15, 1, 0, 0, 0, 9, 16, 16, 5, 0, 0, 0, 0, 3, 13, 16, 16, 11, 5, 0, 0, 0,
    0, 3, 11, 16, 9, 0,
];

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [u8; PIXELS] = [
        0, 0, 0, 12, 13, 5, 0, 0, 0, 0, 0, 11, 16, 9, 0, 0, 0, 0, 3, 15, 16, 6, 0, 0, 0, 7, 15, 16,
        16, 2, 0, 0, 0, 0, 1, 16, 16, 3, 0, 0, 0, 0, 1, 16, 16, 6, 0, 0, 0, 0, 1, 16, 16, 6, 0, 0,
        0, 0, 0, 11, 16, 10, 0, 0,
    ];

    #[test]
    fn digits_are_recognized_together_and_alone() {
        let network = Network::load().unwrap();
        assert_eq!(network.recognize(&[ONE, TWO, ONE]), [1, 2, 1]);
        assert_eq!(network.recognize(&[TWO]), [2]);
        let nothing: [[u8; PIXELS]; 0] = [];
        assert!(network.recognize(&nothing).is_empty());
    }
}
