//! The reports that there are. A browser names one; it sends no SQL.

use serde::Serialize;

/// One report.
#[derive(Serialize)]
pub struct Report {
    pub name: &'static str,
    title: &'static str,
    about: &'static str,
    pub sql: &'static str,
}

/// The report of a name.
pub fn find(name: &str) -> Option<&'static Report> {
    REPORTS.iter().find(|report| report.name == name)
}

pub const REPORTS: [Report; 5] = [
    Report {
        name: "months",
        title: "Revenue by month",
        about: "A scan of all items",
        sql: "\
SELECT substr(day, 1, 7) AS month, COUNT(DISTINCT orders.id) AS orders,
       printf('%.2f', SUM(quantity * cents) / 100.0) AS revenue
FROM items JOIN orders ON orders.id = order_id JOIN products ON products.id = product
GROUP BY month ORDER BY month",
    },
    Report {
        name: "countries",
        title: "Categories by country",
        about: "Four tables joined",
        sql: "\
SELECT country, category, SUM(quantity) AS sold,
       printf('%.2f', SUM(quantity * cents) / 100.0) AS revenue
FROM items JOIN orders ON orders.id = order_id JOIN products ON products.id = product
     JOIN customers ON customers.id = customer
GROUP BY country, category ORDER BY country, category",
    },
    Report {
        name: "items",
        title: "Everything that was sold",
        about: "150,000 rows, 6 MB",
        sql: "\
SELECT day, orders.id AS \"order\", customer, name AS product, quantity,
       printf('%.2f', quantity * cents / 100.0) AS price
FROM items JOIN orders ON orders.id = order_id JOIN products ON products.id = product
ORDER BY day, orders.id",
    },
    Report {
        name: "together",
        title: "Bought together",
        about: "Items joined with themselves",
        sql: "\
SELECT one.name AS product, other.name AS \"bought with\", COUNT(*) AS times
FROM items a JOIN items b ON b.order_id = a.order_id AND b.product > a.product
     JOIN products one ON one.id = a.product JOIN products other ON other.id = b.product
GROUP BY a.product, b.product ORDER BY times DESC, product LIMIT 100",
    },
    Report {
        name: "alike",
        title: "Customers with the same taste",
        about: "Each with every other: takes a while",
        sql: "\
WITH bought AS (SELECT DISTINCT customer, product FROM items JOIN orders ON orders.id = order_id)
SELECT a.customer, b.customer AS \"is like\", COUNT(*) AS \"products of both\"
FROM bought a JOIN bought b ON b.product = a.product AND b.customer > a.customer
GROUP BY a.customer, b.customer ORDER BY 3 DESC LIMIT 100",
    },
];
