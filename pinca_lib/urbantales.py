"""The command ``python -m pinca_lib.urbantales``; what it does is in ``datasets.urbantales``."""

from pinca_lib.datasets.urbantales import main

if __name__ == "__main__":
    main()
