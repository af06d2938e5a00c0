"""The automaton's step as kernels that Triton compiles for an NVIDIA GPU."""
