"""Run ``python -m pinca_lib.urbantales``; the converter is in ``datasets.urbantales``."""

from pinca_lib.datasets.urbantales import main

if __name__ == "__main__":
    main()
