"""The step of the automaton as loops that Numba compiles for a CPU."""
