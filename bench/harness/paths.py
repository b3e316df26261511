"""Where things are."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
VENV = TARGET / "bench" / "venv"
PYTHON = VENV / "bin" / "python"

README = ROOT / "README.md"
DOCUMENTS = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "docs" / "benchmarks.json"
PLOTS = ROOT / "docs" / "benchmarks"
