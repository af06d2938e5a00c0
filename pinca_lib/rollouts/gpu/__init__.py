"""The step of the automaton as kernels that Triton compiles for an NVIDIA GPU."""
