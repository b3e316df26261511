//! An error of Outboard as Rocket has it.

use std::io::Cursor;

use rocket::Request;
use rocket::http::Status;
use rocket::response::{self, Responder, Response};

/// An error of Outboard as a response, for `?` in handlers: problem details with their status.
#[derive(Debug)]
pub struct Problem(outboard_web::Problem);

impl From<outboard::Error> for Problem {
    fn from(error: outboard::Error) -> Self {
        Self(error.into())
    }
}

impl<'r> Responder<'r, 'static> for Problem {
    fn respond_to(self, _: &'r Request<'_>) -> response::Result<'static> {
        let (head, body) = self.0.into_http::<String>().into_parts();
        let mut response = Response::build();
        response.status(Status::new(head.status.as_u16()));
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            response.raw_header(name.to_string(), value);
        }
        response.sized_body(body.len(), Cursor::new(body)).ok()
    }
}
