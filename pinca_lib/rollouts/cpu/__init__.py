"""The automaton's step as loops that Numba compiles for a CPU."""
