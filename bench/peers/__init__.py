"""The Python peers: one adaptor each, and what is asked of all of them."""
