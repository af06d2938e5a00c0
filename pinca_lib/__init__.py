"""PI-NCA: pedestrian wind between buildings from a physics-informed neural cellular automaton.

The library is divided into rooms. Each room imports only from the rooms above it in this list:

``errors``       errors whose message tells the user what to correct
``writing``      files that appear whole or not at all
``channels``     the state: names, order and units of its channels
``physics``      the laws of a mean flow, as residuals and bounds
``automaton``    the rule, its coarse cells and the wind frame
``rollouts``     many steps: ``rollout`` on a CPU, on a GPU or in plain PyTorch
``datasets``     simulated cases
``cities``       a place as people have it, the wind over it, files that lie where it lies
``evaluation``   how accurate a rule is, and where it does not apply
``training``     sample pool, losses, gradient descent
``runs``         parameters, run folders, checkpoints
``comfort``      a wind climate over a place: exceedance, criteria, classes
``plotting``     figures, maps and films
``viewer``       the live rollout

Import public names from here: ``from pinca_lib import CA, load_dataset, rollout``. A name is
imported when it is first used.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
