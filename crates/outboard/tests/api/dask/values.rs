//! Values between native workers and Python: what arrives as it was, and what is refused.

use serde::{Deserialize, Serialize};

use super::{Release, on_every_release};
use crate::python::values::Array;
use crate::support::zoo::*;

on_every_release!(native_workers_take_what_python_has, an_err_is_a_dict_or_an_exception,);

/// What it was given, as text.
#[outboard::task(name = "tests.given")]
fn given(
    number: f32,
    text: String,
    rows: Vec<Vec<f64>>,
    at: DateTime<Utc>,
    price: Decimal,
    id: Uuid,
) -> String {
    format!("{number} {text} {rows:?} {at:?} {price} {}", id.as_u128())
}

/// The sum of its numbers, and it again.
#[outboard::task(name = "tests.array")]
fn sum_of(array: Array) -> (u32, Array) {
    (array.0.data.iter().map(|byte| u32::from(*byte)).sum(), array)
}

async fn native_workers_take_what_python_has(release: Release) {
    let cluster = release.shared_native().await;
    let said = cluster
        .python(
            "import datetime, decimal, uuid, numpy
def call(name, *args):
    return client.submit(function(name), *args, resources=resource(name), pure=False)
rows = numpy.arange(6.).reshape(3, 2)
at = datetime.datetime(2026, 11, 30, 17, tzinfo=datetime.timezone.utc)
rest = at, decimal.Decimal('1.50'), uuid.UUID(int=2**127 + 1)
given = lambda rows: call('tests.given', numpy.float32(.1), numpy.str_('x'), rows, *rest).result()
print(given(rows))
# As it lies at a worker.
print(given(client.scatter(rows)) == given(rows) == given(rows.tolist()))
for array in [numpy.arange(300, dtype='u1').reshape(3, 100), numpy.int16([1, 2])]:
    sum, same = call('tests.array', array).result()
    print(sum, (same == array).all(), same.dtype, same.shape, type(same).__name__)
for wrong in [numpy.asfortranarray(rows), client.scatter(numpy.asfortranarray(rows)),
              numpy.array([None]), rest[1]]:
    error = call('tests.array', wrong).exception()
    print(type(error).__name__, str(error).rsplit('send ', 1)[-1])
",
        )
        .await;
    let number = (1_u128 << 127) + 1;
    let expected = format!(
        "0.1 x [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]] 2026-11-30T17:00:00Z 1.50 {number}\nTrue\n\
         33586 True uint8 (3, 100) ndarray\n3 True int16 (2,) ndarray\n\
         TypeError `numpy.ascontiguousarray(x)`\nTypeError `numpy.ascontiguousarray(x)`\n\
         TypeError `.tolist()`\nTypeError `numpy.asarray(x)`\n"
    );
    assert_eq!(said, expected);
}

#[derive(Debug, Serialize, Deserialize)]
struct TooSmall {
    least: u8,
}

#[outboard::task(name = "tests.halve")]
fn halve(number: u8) -> Result<u8, TooSmall> {
    if number < 2 { Err(TooSmall { least: 2 }) } else { Ok(number / 2) }
}

async fn an_err_is_a_dict_or_an_exception(release: Release) {
    let cluster = release.shared_native().await;
    let said = cluster
        .python(
            "sys.path.insert(0, sys.argv[2])
import outboard_dask
name = 'tests.halve'
plain, raising = (outboard_dask.function(name, raises=raises) for raises in (False, True))
def call(function, number):
    return client.submit(function, number, resources=resource(name))
print(call(plain, 8).result(), call(plain, 1).result())
print(call(raising, 8).result(), repr(call(raising, 1).exception()))
",
        )
        .await;
    assert_eq!(said, "{'Ok': 4} {'Err': {'least': 2}}\n4 ValueError({'least': 2})\n");
}
