//! Errors in the body of `#[main]` show where an `async fn` shows them.

use std::net::TcpListener;

mod question_mark {
    #[outboard::main]
    async fn main() {
        let port: u16 = "9000".parse()?;
    }
}

mod conversion {
    #[outboard::main]
    async fn main() -> Result<(), String> {
        super::TcpListener::bind("127.0.0.1:0")?;
        Ok(())
    }
}

mod value {
    #[outboard::main]
    async fn main() -> Result<(), String> {
        if true {
            return Err(5);
        }
        "text"
    }
}

mod no_value {
    #[outboard::main(flavor = "current_thread")]
    async fn main() -> Result<(), String> {
        println!("done");
    }
}

#[outboard::main]
async fn main() -> u32 {
    7
}
