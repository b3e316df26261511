//! Tensors of `ndarray`, which go to a worker process and back without being encoded.
//!
//! ```sh
//! cargo run --release --example tensors --features bytemuck
//! ```

use ndarray::{Array2, ArrayD, ArrayViewD, Axis, Ix2};
use outboard::{Array, Client, Error};

/// A tensor of `ndarray` that reads the items where they are.
fn view(array: &Array<f32>) -> ArrayViewD<'_, f32> {
    ArrayViewD::from_shape(array.shape(), array).expect("the shape has as many items")
}

/// The items of a tensor, which are moved if they are in C order.
fn array(tensor: ArrayD<f32>) -> Array<f32> {
    let tensor = match tensor.is_standard_layout() {
        true => tensor,
        false => tensor.as_standard_layout().into_owned(),
    };
    let shape = tensor.shape().to_vec();
    let (items, first) = tensor.into_raw_vec_and_offset();
    assert_eq!(first.unwrap_or(0), 0, "it was not cut out of another one");
    Array::shaped(shape, items)
}

#[outboard::task]
fn product(left: Array<f32>, right: Array<f32>) -> Result<Array<f32>, String> {
    let matrix = |array| view(array).into_dimensionality::<Ix2>().map_err(|why| why.to_string());
    let (left, right) = (matrix(&left)?, matrix(&right)?);
    if left.ncols() != right.nrows() {
        return Err(format!("{:?} and {:?} have no product", left.shape(), right.shape()));
    }
    Ok(array(left.dot(&right).into_dyn()))
}

#[outboard::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env().await?;
    let left = Array2::from_shape_fn((300, 200), |(row, column)| (row + column) as f32);
    let right = Array2::<f32>::eye(200) * 2.0;
    let task = client.submit(product, (array(left.clone().into_dyn()), array(right.into_dyn())));
    let doubled = task.await?.expect("200 columns and 200 rows");
    let doubled = view(&doubled).into_dimensionality::<Ix2>().expect("a matrix");
    assert_eq!(doubled, left * 2.0);
    println!("{:?}, sum of the first row: {}", doubled.shape(), doubled.row(0).sum());

    let column = array(Array2::<f32>::zeros((7, 1)).into_dyn());
    let refused = client.submit(product, (column.clone(), column)).await?;
    println!("{}", refused.expect_err("7 rows and 1 column"));
    assert_eq!(doubled.len_of(Axis(1)), 200);
    Ok(())
}
