//! The network: an ONNX file that `tract` runs.

use std::sync::Arc;

use tract_onnx::prelude::*;

/// What `train/train.py` wrote, ready to run.
pub struct Network(Arc<TypedRunnableModel>);

/// The pixels of a drawing: eight rows of eight, from 0 to 16.
pub const PIXELS: usize = 64;

impl Network {
    pub fn read(mut file: &[u8]) -> TractResult<Self> {
        let model = onnx().model_for_read(&mut file)?.into_optimized()?;
        Ok(Self(model.into_runnable()?))
    }

    /// The chances of the ten digits, for each of several drawings.
    pub fn chances(&self, drawings: &[Vec<f32>]) -> TractResult<Vec<Vec<f32>>> {
        let pixels = drawings.concat();
        let tensor = Tensor::from_shape(&[drawings.len(), PIXELS], &pixels)?;
        let outputs = self.0.run(tvec!(tensor.into_tvalue()))?;
        let chances = outputs[0].to_plain_array_view::<f32>()?;
        Ok(chances.outer_iter().map(|row| row.iter().copied().collect()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first digits of scikit-learn's data: 0, 1 and 2.
    const DIGITS: [[u8; PIXELS]; 3] = [
        [
            0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0, 0, 3, 15, 2, 0, 11, 8, 0, 0, 4,
            12, 0, 0, 8, 8, 0, 0, 5, 8, 0, 0, 9, 8, 0, 0, 4, 11, 0, 1, 12, 7, 0, 0, 2, 14, 5, 10,
            12, 0, 0, 0, 0, 6, 13, 10, 0, 0, 0,
        ],
        [
            0, 0, 0, 12, 13, 5, 0, 0, 0, 0, 0, 11, 16, 9, 0, 0, 0, 0, 3, 15, 16, 6, 0, 0, 0, 7, 15,
            16, 16, 2, 0, 0, 0, 0, 1, 16, 16, 3, 0, 0, 0, 0, 1, 16, 16, 6, 0, 0, 0, 0, 1, 16, 16,
            6, 0, 0, 0, 0, 0, 11, 16, 10, 0, 0,
        ],
        [
            0, 0, 0, 4, 15, 12, 0, 0, 0, 0, 3, 16, 15, 14, 0, 0, 0, 0, 8, 13, 8, 16, 0, 0, 0, 0, 1,
            6, 15, 11, 0, 0, 0, 1, 8, 13, 15, 1, 0, 0, 0, 9, 16, 16, 5, 0, 0, 0, 0, 3, 13, 16, 16,
            11, 5, 0, 0, 0, 0, 3, 11, 16, 9, 0,
        ],
    ];

    fn network() -> Network {
        Network::read(include_bytes!("../digits.onnx")).unwrap()
    }

    fn drawings() -> Vec<Vec<f32>> {
        DIGITS.map(|digit| digit.map(f32::from).to_vec()).to_vec()
    }

    fn best(chances: &[f32]) -> usize {
        (0..chances.len()).max_by(|&a, &b| chances[a].total_cmp(&chances[b])).unwrap()
    }

    #[test]
    fn several_digits_are_recognized_at_once() {
        let chances = network().chances(&drawings()).unwrap();
        let digits: Vec<usize> = chances.iter().map(|chances| best(chances)).collect();
        assert_eq!(digits, [0, 1, 2], "{chances:?}");
    }

    #[test]
    fn one_digit_has_the_chances_that_it_has_among_others() {
        let (network, drawings) = (network(), drawings());
        let together = network.chances(&drawings).unwrap();
        let alone = network.chances(&drawings[1..2]).unwrap();
        let pairs = together[1].iter().zip(&alone[0]);
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5), "{together:?} {alone:?}");
    }

    #[test]
    fn a_drawing_of_another_size_is_refused() {
        assert!(network().chances(&[vec![0.0; 63]]).is_err());
    }

    #[test]
    fn a_file_that_is_no_network_is_refused() {
        assert!(Network::read(b"no network").is_err());
    }
}
