-- A shop that does not exist: 400 products, 4,000 customers, 50,000 orders of a year. The numbers
-- look random, and are the same each time.

CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, cents INTEGER NOT NULL);
CREATE TABLE customers (id INTEGER PRIMARY KEY, country TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers, day TEXT NOT NULL);
CREATE TABLE items (order_id INTEGER NOT NULL REFERENCES orders, product INTEGER NOT NULL REFERENCES products, quantity INTEGER NOT NULL);

WITH
  colours(n, colour) AS (VALUES
    (0, 'Amber'), (1, 'Black'), (2, 'Blue'), (3, 'Brown'), (4, 'Copper'), (5, 'Cream'), (6, 'Golden'), (7, 'Green'),
    (8, 'Grey'), (9, 'Ivory'), (10, 'Lilac'), (11, 'Olive'), (12, 'Orange'), (13, 'Pink'), (14, 'Purple'), (15, 'Red'),
    (16, 'Sand'), (17, 'Silver'), (18, 'White'), (19, 'Yellow')),
  things(n, thing, category, cents) AS (VALUES
    (0, 'armchair', 'Furniture', 24900), (1, 'bookcase', 'Furniture', 17900), (2, 'desk', 'Furniture', 32900),
    (3, 'stool', 'Furniture', 5900), (4, 'lamp', 'Light', 4900), (5, 'lantern', 'Light', 2900), (6, 'candle', 'Light', 900),
    (7, 'teapot', 'Kitchen', 3400), (8, 'mug', 'Kitchen', 1200), (9, 'bowl', 'Kitchen', 1500), (10, 'knife', 'Kitchen', 2600),
    (11, 'tray', 'Kitchen', 1900), (12, 'rug', 'Textiles', 8900), (13, 'curtain', 'Textiles', 4500),
    (14, 'cushion', 'Textiles', 2200), (15, 'blanket', 'Textiles', 3900), (16, 'vase', 'Decor', 2700),
    (17, 'mirror', 'Decor', 6900), (18, 'clock', 'Decor', 5400), (19, 'frame', 'Decor', 1400))
INSERT INTO products
SELECT colours.n * 20 + things.n + 1, colour || ' ' || thing, category, cents + 100 * (colours.n * 7 % 5)
FROM colours, things;

WITH RECURSIVE
  countries(n, country) AS (VALUES (0, 'Austria'), (1, 'Brazil'), (2, 'Canada'), (3, 'Denmark'), (4, 'France'),
    (5, 'Germany'), (6, 'India'), (7, 'Japan'), (8, 'Kenya'), (9, 'Mexico')),
  numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 4000)
INSERT INTO customers
SELECT i, country FROM numbers JOIN countries ON n = (i * 2654435761 >> 16) % 13 % 10;

WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 50000)
INSERT INTO orders
SELECT i, 1 + (i * 2654435761 >> 12) % 4000 * ((i * 2246822519 >> 13) % 1000) / 1000, date('2025-01-01', (i * 365 / 50001) || ' days')
FROM numbers;

INSERT INTO items
SELECT id, 1 + ((id * 5 + k) * 3266489917 >> 14) % 400 * ((id * 5 + k) * 668265263 >> 15 & 255) / 256, 1 + (id * 7 + k) % 11 / 8
FROM orders JOIN (SELECT column1 AS k FROM (VALUES (0), (1), (2), (3), (4))) ON k <= (id * 374761393 >> 11) % 5;

CREATE INDEX items_by_order ON items (order_id);
