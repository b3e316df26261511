"""Installs the peers, asks them one after the other, and writes what was seen."""
