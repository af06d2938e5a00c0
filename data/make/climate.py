"""Write the wind climate that is shipped: sectors with frequency and Weibull parameters.

    python data/make/climate.py <file.epw> data/climates/<place>.csv --source "US DOE TMY3, ..."

The hours of the weather file are counted into 16 sectors; in each, A and k are fitted as in the
European Wind Atlas (``Climate.fitted``).
"""

import argparse
from pathlib import Path

from pinca_lib.comfort import Climate, load_climate


def table(climate: Climate, source: str) -> str:
    """Return a climate as the text of a CSV file that ``load_climate`` reads."""
    fitted = climate.fitted()
    assert fitted.weibull is not None
    lines = [
        f"# name: {climate.name}",
        f"# source: {source}",
        f"# height: {climate.height:g} m",
        f"# roughness: {climate.roughness:g} m",
        "direction,frequency,weibull_A,weibull_k",
    ]
    rows = zip(fitted.sectors, fitted.frequency, *fitted.weibull, strict=True)
    lines += [f"{degrees:g},{share:.5f},{A:.3f},{k:.3f}" for degrees, share, A, k in rows]
    return "\n".join([*lines, f"calm,{climate.calm:.5f},,"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weather", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--source", required=True)
    arguments = parser.parse_args()
    text = table(load_climate(arguments.weather), arguments.source)
    arguments.target.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
