"""Speed and accuracy, beside others: what produced every table of the documentation."""

from pathlib import Path

TABLES = Path(__file__).parent / "tables"
